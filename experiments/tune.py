"""Tuning: Optuna over the hurdle's hyper-parameters, rolling-origin cross-validation by cutoff.

Each fold is binned once and reused by every trial; a trial that falls behind after a fold is pruned; every trial is a
child run of the tuning run, written in one batch. The study is kept in the home, so that a killed run can go on.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clv.bootstrap import Difference, Outcome, paired, resample
from clv.errors import InputError
from clv.evaluation import can_learn
from clv.metrics import normalized_gini
from clv.models.hurdle import Binned, bin_rows, fit_boosters, make_encoder
from clv.models.model import fit_history
from clv.models.recipe import Family, Recipe
from clv.predictor import Parts, mix
from clv.snapshots import Shop, Snapshots, read_snapshots
from clv.splits import Plan, plan
from experiments.workspace import Workspace

if TYPE_CHECKING:
    import optuna

    from experiments.tracking import Run

SPACE_VERSION = 1
"""Raised when :func:`suggest` changes: a study of another search space is never continued."""


HISTORY_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights of buy till you die that are compared with the default blend."""


@dataclass(frozen=True)
class FoldData:
    """One fold, encoded and binned.

    Attributes
    ----------
    history
        What buy till you die predicts; it has nothing to tune.
    """

    train: Binned
    test: NDArray[np.float32]
    outcome: Outcome
    history: Parts


@dataclass(frozen=True)
class TuneResult:
    """What tuning found.

    Attributes
    ----------
    recipe
        The best recipe, or the defaults if the history is too short to tune.
    gini, default_gini
        Mean normalized Gini over the folds of the best and of the default recipe; None without tuning.
    run_id
        The tuning run; None without tuning.
    trials
        Trials in the study, pruned ones included.
    note
        Why nothing was tuned, else empty.
    """

    recipe: Recipe
    gini: float | None
    default_gini: float | None
    run_id: str | None
    trials: int
    note: str = ""


def suggest(trial: optuna.Trial) -> Recipe:
    """Draw a recipe from the search space."""
    return Recipe(
        trees=trial.suggest_int("trees", 40, 300, log=True),
        max_depth=trial.suggest_int("max_depth", 2, 6),
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
        min_child_weight=trial.suggest_float("min_child_weight", 1.0, 60.0, log=True),
        subsample=trial.suggest_float("subsample", 0.6, 1.0),
        colsample=trial.suggest_float("colsample", 0.3, 1.0),
        reg_lambda=trial.suggest_float("reg_lambda", 0.5, 30.0, log=True),
        value_trees=trial.suggest_int("value_trees", 20, 200, log=True),
        value_max_depth=trial.suggest_int("value_max_depth", 1, 4),
        value_min_child_weight=trial.suggest_float("value_min_child_weight", 5.0, 60.0, log=True),
    )


def tune(
    workspace: Workspace,
    *,
    trials: int,
    budget_seconds: float | None = None,
    jobs: int = 1,
    resume: bool = False,
    parent: Run | None = None,
) -> TuneResult:
    """Search for the best recipe.

    Parameters
    ----------
    trials
        Trials the study shall have in the end; the first one is the default recipe.
    budget_seconds
        Start no further trial after this time.
    jobs
        Trials in parallel.
    resume
        Go on with the study of the same data, cutoffs and search space instead of starting anew.
    parent
        Run to nest the tuning run under.
    """
    shop = workspace.shop()
    protocol = protocol_of(shop)
    if not protocol.folds:
        return TuneResult(Recipe(), None, None, None, 0, protocol.note)

    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    threads = max(1, workspace.settings.threads // jobs)
    with workspace.console.step("tune") as step:
        step.update("binning folds")
        folds = bin_folds(workspace, protocol)
        if not folds:
            step.note = "nobody returned before the first test cutoff: defaults without tuning"
            return TuneResult(Recipe(), None, None, None, 0, step.note)
        journal = workspace.home.root / "studies" / f"{study_key(workspace, shop)}.journal"
        journal.parent.mkdir(exist_ok=True)
        if not resume:
            journal.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(
            study_name="clv",
            storage=storage,
            load_if_exists=True,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=workspace.settings.seed, n_startup_trials=5),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )
        if not study.trials:
            study.enqueue_trial(_default_parameters())
        done = len(_finished(study))

        with workspace.tracker.run(
            f"tune H={shop.horizon_days}",
            parent=parent,
            tags={**shop_tags(shop), "clv.kind": "tune"},
            description=f"Rolling-origin search on {len(folds)} cutoffs that closed before the first test cutoff.",
        ) as run:
            run.log(
                params={
                    "trials": trials,
                    "jobs": jobs,
                    "folds": ", ".join(str(fold.test) for fold in protocol.folds),
                    "seed": workspace.settings.seed,
                }
            )

            def objective(trial: optuna.Trial) -> float:
                recipe = suggest(trial)
                ginis: list[float] = []
                for number, fold in enumerate(folds):
                    hurdle = fit_boosters(fold.train, recipe, seed=workspace.settings.seed, threads=threads)
                    parts = hurdle.predict_parts(fold.test)
                    ginis.append(normalized_gini(fold.outcome.future_value, parts.expected_value))
                    trial.set_user_attr(f"gini_fold_{number + 1}", ginis[-1])
                    trial.report(float(np.mean(ginis)), number)
                    if number + 1 < len(folds) and trial.should_prune():
                        raise optuna.TrialPruned
                return float(np.mean(ginis))

            def record(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
                complete = trial.state == optuna.trial.TrialState.COMPLETE
                metrics = {name: value for name, value in trial.user_attrs.items() if name.startswith("gini_fold_")}
                if complete and trial.value is not None:
                    metrics["cv_gini"] = trial.value
                workspace.tracker.trial(
                    run,
                    f"trial {trial.number}{'' if complete else ' (pruned)'}",
                    params=trial.params,
                    metrics=metrics,
                    tags={**shop_tags(shop), "clv.kind": "trial", "clv.state": trial.state.name.lower()},
                    status="FINISHED" if complete else "KILLED",
                )
                step.update(f"best cv gini {study.best_value:.3f}", len(_finished(study)), trials)

            step.update("", done, trials)
            if done < trials:
                study.optimize(
                    objective, n_trials=trials - done, timeout=budget_seconds, n_jobs=jobs, callbacks=[record]
                )
            step.update("choosing the family")
            best = Recipe(**study.best_params)
            parts = [
                fit_boosters(fold.train, best, seed=workspace.settings.seed, threads=threads).predict_parts(fold.test)
                for fold in folds
            ]
            best, differences = choose_mix(best, folds, parts, workspace.settings.seed)
            default = next(
                (t.value for t in study.trials if t.state.name == "COMPLETE" and t.params == _default_parameters()),
                None,
            )
            count = len(_finished(study))
            run.log(
                params={f"best_{name}": value for name, value in best.model_dump().items()},
                metrics={
                    "cv_gini": study.best_value,
                    **{f"history_{100 * weight:.0f}_over_default": d.estimate for weight, d in differences.items()},
                    **({"default_cv_gini": default} if default is not None else {}),
                },
                tags={
                    "clv.family": best.family,
                    **{f"clv.history_{100 * weight:.0f}": f"{d.verdict}" for weight, d in differences.items()},
                },
            )
            run.json(best.model_dump(), "recipe.json")
        step.note = f"{count} trials on {len(folds)} folds, best cv gini {study.best_value:.3f}"
        if default is not None:
            step.note += f" (defaults {default:.3f})"
        step.note += f"; {best.describe()}"
    return TuneResult(best, study.best_value, default, run.id, count)


def choose_mix(
    recipe: Recipe, folds: Sequence[FoldData], hurdle: Sequence[Parts], seed: int
) -> tuple[Recipe, dict[float, Difference]]:
    """Choose how much buy till you die weighs in the mix with XGBoost.

    The default blend stays unless another weight (none: XGBoost alone; all: buy till you die alone) is better in the
    paired bootstrap over the folds; of several the one with the highest mean Gini.

    Returns
    -------
    Recipe
        With its family and weight.
    dict
        The paired differences in normalized Gini from the default, by weight.
    """
    default = recipe.history_weight
    mixes = {
        weight: [mix(parts, fold.history, weight) for parts, fold in zip(hurdle, folds, strict=True)]
        for weight in {*HISTORY_WEIGHTS, default}
    }
    draws = resample(
        {str(weight): parts for weight, parts in mixes.items()},
        [fold.outcome for fold in folds],
        rng=np.random.default_rng(seed),
    )
    differences = {
        weight: paired(draws, str(weight), str(default))["normalized_gini"]
        for weight in HISTORY_WEIGHTS
        if weight != default
    }
    better = {weight: d.estimate for weight, d in differences.items() if d.verdict == "better"}
    weight = max(better, key=lambda weight: better[weight]) if better else default
    family: Family = "hurdle" if weight == 0 else "btyd" if weight == 1 else "blend"
    update = {"family": family, "history_weight": weight if family == "blend" else default}
    return recipe.model_copy(update=update), differences


def protocol_of(shop: Shop) -> Plan:
    """Which cutoffs train, tune and test for this shop.

    Raises
    ------
    InputError
        If there is but one customer, or less history than twice the horizon.
    """
    if shop.customers < 2:
        raise InputError(
            f"The shop has {shop.customers} customer by {shop.as_of_date}; a model needs several, so load more of them."
        )
    return plan(
        shop.cutoffs,
        first_purchase_date=shop.first_purchase_date,
        as_of_date=shop.as_of_date,
        horizon_days=shop.horizon_days,
    )


def bin_folds(workspace: Workspace, protocol: Plan) -> list[FoldData]:
    """Encode and bin once every fold that somebody returned in."""
    needed = sorted({cutoff for fold in protocol.folds for cutoff in (*fold.train, fold.test)})
    snapshots = read_snapshots(workspace.warehouse, workspace.contract, needed)
    pairs = [(snapshots.at(*fold.train), snapshots.at(fold.test)) for fold in protocol.folds]
    horizon_days = workspace.shop().horizon_days
    return [_bin_fold(workspace, train, test, horizon_days) for train, test in pairs if can_learn(train, test)]


def _bin_fold(workspace: Workspace, train: Snapshots, test: Snapshots, horizon_days: int) -> FoldData:
    encoder = make_encoder(workspace.contract, train.frame)
    binned = bin_rows(
        encoder, encoder.encode(train.frame), train.is_return, train.future_value, seed=workspace.settings.seed
    )
    matrix = encoder.encode(test.frame)
    history = fit_history(encoder, test.frame, horizon_days).predict_parts(matrix)
    return FoldData(binned, matrix, Outcome(test.customer_id, test.is_return, test.future_value), history)


def study_key(workspace: Workspace, shop: Shop) -> str:
    """Name of the study: the same data, cutoffs, features and search space go on with the same one."""
    essence = [
        shop.fingerprint,
        str(shop.as_of_date),
        shop.horizon_days,
        workspace.contract.fingerprint,
        workspace.settings.seed,
        SPACE_VERSION,
    ]
    return hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:16]


def shop_tags(shop: Shop) -> dict[str, object]:
    """Tags which let a run be found and reproduced."""
    return {
        "clv.shop_id": shop.shop_id,
        "clv.source": shop.source,
        "clv.data_fingerprint": shop.fingerprint,
        "clv.as_of_date": shop.as_of_date,
        "clv.horizon_days": shop.horizon_days,
    }


def _default_parameters() -> dict[str, object]:
    return Recipe().model_dump(exclude={"family", "history_weight", "bags"})


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if trial.state.is_finished()]
