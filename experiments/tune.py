"""Tuning: Optuna over family and hyper-parameters, rolling-origin cross-validation by cutoff.

Each fold is binned once and reused by every trial; a trial that falls behind after a fold is pruned; every trial is a
child run of the tuning run, written in one batch. The study is kept in the home, so that a killed run can go on.

A trial is one XGBoost model, which knows nothing of BG/NBD unless its family is ``offset``, and learns from a part of
those who did not return. In the end the best, mixed
with BG/NBD in several ways, stand beside the default recipe, which stays unless one of them is better by a paired
verdict over the folds.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from clv.bootstrap import Difference, Outcome, Verdict, paired, resample
from clv.deviance import explained
from clv.metrics import normalized_gini
from clv.models.covariates import fit_covariates
from clv.models.hurdle import (
    CUSTOMER_FOLDS,
    OTHERS_PER_RETURNER,
    Binned,
    bin_rows,
    customer_folds,
    fit_bags,
    make_encoder,
)
from clv.models.model import fit_history
from clv.models.recipe import COVARIATE_WEIGHT, Recipe
from clv.predictor import Array, Encoder, Parts, blend, mix, with_chance
from clv.snapshots import Shop, Snapshots
from clv.splits import Plan
from experiments import report
from experiments.protocol import count_returners, protocol_of, shop_tags, untuned_recipe
from experiments.pruning import Rivals
from experiments.study import give_up_killed, open_study
from experiments.workspace import Workspace

if TYPE_CHECKING:
    import optuna

    from experiments.tracking import Run

TUNED = "tuned_"
"""Names of candidates that were tuned on the folds begin with it."""

SPACE_VERSION = 4
"""Raised when :func:`suggest` or what trials learn from changes: a study of another search space is never continued."""

HISTORY_WEIGHTS = (0.1, 0.25, 0.4, 0.75)
"""Weights of buy till you die in the blends that are compared with the default one, with as many returners to learn
from as the folds have in the mean."""

WINS_OF_TUNED = 2
"""How many of three verdicts a candidate needs that was tuned on the very folds that judge it; others need one."""

OTHERS_IN_TRIALS = 3.0
"""Others that a trial learns from for each returner, weighed up: trials are compared with each other, and with three
controls for a case three quarters of what all could tell is known, in half the time or less."""

_ALONE = {"family": "hurdle", "history_weight": 0.5, "covariate_weight": 0.0}
"""Makes a recipe one of XGBoost with nothing mixed in."""


@dataclass
class FoldData:
    """One fold: encoded once, and binned once for each form of model that is asked for.

    Attributes
    ----------
    matrix, is_return, future_value
        Labelled snapshots to train on.
    test, outcome
        The customers to predict, and what they did.
    history, start
        What buy till you die predicts of `test` and of `matrix`; it has nothing to tune.
    covariates
        P(return) of `test` by BG/NBD with covariates, which has nothing to tune either; None: too few returned.
    customer_fold
        Which of the rows a bag holds out, to see when to stop; None: none, for recipes without patience.
    cutoff
        The day it predicts from.
    others_in_trials
        Others that a trial learns from for each returner.
    """

    encoder: Encoder
    matrix: NDArray[np.float32]
    is_return: NDArray[np.bool_]
    future_value: NDArray[np.float64]
    test: NDArray[np.float32]
    outcome: Outcome
    history: Parts
    start: Parts
    covariates: Array | None
    seed: int
    customer_fold: NDArray[np.intp] | None = None
    cutoff: date | None = None
    others_in_trials: float = OTHERS_IN_TRIALS
    _binned: dict[str, Binned] = field(default_factory=dict)
    _predicted: dict[tuple[Recipe, int], Parts] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    def binned(self, form: str) -> Binned:
        """What trials of a form learn from, binned by whoever asks first."""
        with self._lock:
            if form not in self._binned:
                self._binned[form] = self.bag(form, 0, others_per_returner=self.others_in_trials)
            return self._binned[form]

    def bag(self, form: str, number: int, others_per_returner: float = OTHERS_PER_RETURNER) -> Binned:
        """Bin a bag."""
        fold = self.customer_fold
        return bin_rows(
            self.encoder,
            self.matrix,
            self.is_return,
            self.future_value,
            seed=self.seed + number,
            form=form,
            start=self.start,
            held_out=fold == number % CUSTOMER_FOLDS if fold is not None else None,
            others_per_returner=others_per_returner,
        )

    def tried(self, recipe: Recipe, *, threads: int) -> Parts:
        """What a trial predicts of `test`: one bag of XGBoost alone."""
        (hurdle,) = fit_bags(lambda _: self.binned(recipe.form), recipe, [0], seed=self.seed, threads=threads)
        return hurdle.predict_parts(self.test, self.history)

    def predict(self, recipe: Recipe, *, threads: int, bags: int = 1) -> Parts:
        """What XGBoost alone, fitted by a recipe, predicts of `test`; no bag is fitted twice."""
        missing = [number for number in range(bags) if (recipe, number) not in self._predicted]

        hurdles = fit_bags(partial(self.bag, recipe.form), recipe, missing, seed=self.seed, threads=threads)
        for number, hurdle in zip(missing, hurdles, strict=True):
            self._predicted[recipe, number] = hurdle.predict_parts(self.test, self.history)
        total = self._predicted[recipe, 0]
        for number in range(1, bags):
            total = mix(total, self._predicted[recipe, number], 1 / (number + 1))
        return total

    def with_covariates(self, parts: Parts, weight: float) -> Parts:
        """What XGBoost predicts of `test`, with BG/NBD with covariates mixed into P(return)."""
        return parts if self.covariates is None else with_chance(parts, self.covariates, weight)


@dataclass(frozen=True)
class TuneResult:
    """What tuning found.

    Attributes
    ----------
    recipe
        The best recipe, or the defaults if the history is too short to tune.
    gini, default_gini
        Mean normalized Gini over the folds of the best trial and of XGBoost with default parameters, neither of them
        mixed; None without tuning.
    run_id
        The tuning run; None without tuning.
    trials
        Trials in the study, pruned ones included.
    note
        Why nothing was tuned, or not again; else empty.
    """

    recipe: Recipe
    gini: float | None
    default_gini: float | None
    run_id: str | None
    trials: int
    note: str = ""


def suggest(trial: optuna.Trial) -> Recipe:
    """Draw a recipe from the search space: XGBoost in one of its forms."""
    family = trial.suggest_categorical("family", ["hurdle", "offset", "tweedie"])
    drawn: dict[str, Any] = {
        "family": family,
        "max_depth": trial.suggest_int("max_depth", 2, 6),
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
        "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 60.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.6, 1.0),
        "colsample": trial.suggest_float("colsample", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.5, 30.0, log=True),
        "monotone": trial.suggest_categorical("monotone", [False, True]),
    }
    if family == "tweedie":
        return Recipe(**drawn, tweedie_power=trial.suggest_float("tweedie_power", 1.2, 1.8))
    return Recipe(
        **drawn,
        value_objective=trial.suggest_categorical("value_objective", ["gamma", "lognormal"]),
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
        Trials the study shall have in the end; the first two are the defaults.
    budget_seconds
        Start no further trial after this time.
    jobs
        Trials in parallel.
    resume
        Go on with the study of the same data and cutoffs instead of starting anew. An interrupted tuning run is
        opened again; one that ended well is used as it is or, if trials are missing, left alone: its trials are
        written below a new run too, for MLflow lets no parameter change.
    parent
        Run to nest the tuning run under.

    Raises
    ------
    InputError
        If the study to resume is damaged, of another search space or of another seed.
    """
    shop = workspace.shop()
    protocol = protocol_of(shop)
    default = untuned_recipe(workspace)
    if not protocol.folds:
        return TuneResult(default, None, None, None, 0, protocol.note)

    seed = workspace.settings.seed
    threads = max(1, workspace.settings.threads // jobs)
    path = workspace.home.root / "studies" / f"{study_key(workspace, shop)}.journal"
    with (
        workspace.console.step("tune") as step,
        open_study(path, space=SPACE_VERSION, seed=seed, resume=resume) as study,
    ):
        give_up_killed(study)
        done, earlier = len(_finished(study)), study.user_attrs.get("run_id")
        status = workspace.tracker.status(earlier) if earlier is not None else None
        if resume and not done:
            workspace.console.warn("There is no trial of these data to resume, so the search begins anew.")
        elif earlier is not None and status is None:
            workspace.console.warn(
                f"Run {earlier} of this search was deleted or is in another store; a new one gets its trials."
            )
        if status == "FINISHED" and done >= trials and (recipe := _recipe_of(workspace, earlier)) is not None:
            step.note = f"nothing to resume: the search is complete with {done} trials"
            value, of_default = _best(study), _of_default(study)
            note = f"The search is complete with {done} trials, and run {earlier} is used."
            return TuneResult(recipe, value, of_default, earlier, done, note)
        step.update("encoding folds")
        folds = [fold for fold in bin_folds(workspace, protocol) if has_order(fold.outcome)]
        if not folds:
            step.note = "nothing, and the defaults stay: in each window everybody spent the same"
            return TuneResult(default, None, None, None, 0, f"Tuned {step.note}.")
        # a default that was under way when the search was killed is tried again
        made = [t.system_attrs.get("fixed_params") for t in study.trials if t.state.name != "FAIL"]
        for family in ("hurdle", "offset"):
            if _default_parameters(family) not in made:
                study.enqueue_trial(_default_parameters(family))

        with workspace.tracker.run(
            f"tune H={shop.horizon_days}",
            parent=parent,
            tags={**shop_tags(shop), "clv.kind": "tune"},
            description=f"Rolling-origin search on {len(folds)} cutoffs that closed before the first test cutoff.",
            reopen=earlier if status not in (None, "FINISHED") else None,
        ) as run:
            study.set_user_attr("run_id", run.id)
            run.log(params={"folds": ", ".join(str(fold.cutoff) for fold in folds), "seed": seed})
            # the tests' windows are none of its business; the folds' days are the parameter `folds`
            report.log_data(run, workspace, shop, train=protocol.train)
            _log_missing(workspace, run, shop, _finished(study))

            def record(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
                _log_trial(workspace, run, shop, trial)
                best = _best(study)
                step.update(f"best cv gini {math.nan if best is None else best:.3f}", len(_finished(study)), trials)

            step.update("", done, trials)
            search(
                study,
                folds,
                trials=trials - done,
                budget_seconds=budget_seconds,
                jobs=jobs,
                threads=threads,
                record=record,
            )
            found = candidates(
                default,
                _best_by_family(_complete(study)),
                folds,
                returners=count_returners(shop, protocol),
                threads=workspace.settings.threads,
                progress=lambda name: step.update(f"choosing the recipe: bagging {name}"),
            )
            step.update("choosing the recipe: verdicts")
            best, differences = choose(found, default, [fold.outcome for fold in folds], seed)
            value, of_default = _best(study), _of_default(study)
            count = len(_finished(study))
            run.log(
                # only now: a search that goes on may be given others, and a parameter never changes
                params={"trials": count, "jobs": jobs} | {f"best_{k}": v for k, v in best.model_dump().items()},
                metrics={"cv_gini": value, "default_cv_gini": of_default}
                | {f"over_default/{name}": d.estimate for name, d in differences.items()},
                tags={"clv.family": best.family, "clv.chosen": best.describe()}
                | {f"clv.over_default.{name}": d.verdict for name, d in differences.items()},
            )
            run.json(best.model_dump(), "recipe.json")
        step.note = f"{count} trials on {len(folds)} folds"
        if value is not None:
            step.note += f", best cv gini of XGBoost alone {value:.3f}"
        step.note += f"; {best.describe()}"
        if best == default:
            step.note += " (the default: nothing was told to be better)"
    return TuneResult(best, value, of_default, run.id, count)


def _recipe_of(workspace: Workspace, run_id: str) -> Recipe | None:
    """What a tuning run found; None if it lost it."""
    found = workspace.tracker.artifact(run_id, "recipe.json")
    with suppress(ValidationError):  # of another version of clv
        return Recipe.model_validate_json(found) if found is not None else None
    return None


def _log_missing(workspace: Workspace, run: Run, shop: Shop, finished: Sequence[optuna.trial.FrozenTrial]) -> None:
    """Write those trials of a resumed study that the run lacks or that a killed process had written by halves."""
    written = workspace.tracker.trials(run) if finished else {}
    for trial in finished:
        run_id, status = written.get(str(trial.number), (None, ""))
        if status != "FINISHED":
            _log_trial(workspace, run, shop, trial, run_id)


def _log_trial(
    workspace: Workspace, run: Run, shop: Shop, trial: optuna.trial.FrozenTrial, run_id: str | None = None
) -> None:
    """Write a finished trial as a child of the tuning run.

    One that was pruned is FINISHED too, since nothing went wrong: its name and the tag ``clv.state`` tell.
    """
    family, is_complete = trial.params.get("family", ""), trial.state.name == "COMPLETE"
    ginis = {f"gini_fold_{number + 1}": gini for number, gini in enumerate(trial.user_attrs.get("ginis", []))}
    workspace.tracker.trial(
        run,
        f"trial {trial.number} {family}{'' if is_complete else ' (pruned)'}",
        params=trial.params,
        metrics={**ginis, "cv_gini": trial.value if is_complete else None},
        tags={
            **shop_tags(shop),
            "clv.kind": "trial",
            "clv.state": trial.state.name.lower(),
            "clv.family": family,
            "clv.trial": trial.number,
        },
        status="FAILED" if trial.state.name == "FAIL" else "FINISHED",
        began=trial.datetime_start,
        ended=trial.datetime_complete,
        run_id=run_id,
    )


def has_order(outcome: Outcome) -> bool:
    """Whether some spent more than others; where none did (one subscription at one price) no order is better."""
    return math.isfinite(normalized_gini(outcome.future_value, outcome.future_value))


def search(
    study: optuna.Study,
    folds: Sequence[FoldData],
    *,
    trials: int,
    jobs: int,
    threads: int,
    record: Callable[[optuna.Study, optuna.trial.FrozenTrial], None],
    budget_seconds: float | None = None,
    draw: Callable[[optuna.Trial], Recipe] = suggest,
    prune: bool = True,
) -> None:
    """Make `trials` further trials: the mean normalized Gini over the folds, given up where it falls behind.

    Parameters
    ----------
    threads
        XGBoost's threads in each of the `jobs` trials under way.
    record
        Called with every finished trial.
    draw
        The search space.
    prune
        Whether what falls behind is given up: behind the study's pruner, or its family's best (:mod:`.pruning`).
    """
    import optuna

    rivals = Rivals()
    actual = [fold.outcome.future_value for fold in folds]

    def objective(trial: optuna.Trial) -> float:
        recipe = draw(trial)
        ginis: list[float] = []
        scores: list[NDArray[np.float64]] = []
        for number, fold in enumerate(folds):
            parts = fold.tried(recipe, threads=threads)
            ginis.append(normalized_gini(fold.outcome.future_value, parts.expected_value))
            scores.append(parts.expected_value)
            trial.report(float(np.mean(ginis)), number)
            may_stop = prune and number + 1 < len(folds)
            if may_stop and (rivals.outdo(recipe.family, actual, scores) or trial.should_prune()):
                trial.set_user_attr("ginis", ginis)
                raise optuna.TrialPruned
        trial.set_user_attr("ginis", ginis)
        rivals.finished(recipe.family, float(np.mean(ginis)), scores)
        return float(np.mean(ginis))

    if trials > 0:
        study.optimize(objective, n_trials=trials, timeout=budget_seconds, n_jobs=jobs, callbacks=[record])


def candidates(
    default: Recipe,
    tuned: Mapping[str, Recipe],
    folds: Sequence[FoldData],
    *,
    returners: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, tuple[Recipe, list[Parts]]]:
    """The default recipe and those that may take its place, and what each predicts of every fold, bagged.

    Parameters
    ----------
    default
        A blend; it stays if nothing is better.
    tuned
        The best recipe found of each family of XGBoost.
    returners
        How many the model has to learn from in the end: more than the folds had, which are earlier.
    progress
        Is told what is fitted next.
    """
    seen = [int(np.count_nonzero(fold.is_return)) for fold in folds]
    even = default.history_weight
    # where the share is left to the fit, folds judge with the smaller one: the fit chooses from far more labels
    share = COVARIATE_WEIGHT if default.covariate_weight is None else default.covariate_weight

    def predicted(name: str, recipe: Recipe) -> list[Parts]:
        progress(name)
        return [fold.predict(recipe, threads=threads, bags=recipe.bags) for fold in folds]

    def share_with(weight: float, count: int) -> float:
        return history_weight(weight, count / float(np.mean(seen)), even=even)

    found: dict[str, tuple[Recipe, list[Parts]]] = {}
    alone = {"": default, TUNED: tuned.get("hurdle", default)}
    alone = {stem: recipe.model_copy(update=_ALONE) for stem, recipe in alone.items()}
    if alone[TUNED] == alone[""]:
        del alone[TUNED]
    for stem, recipe in alone.items():
        trees = predicted(f"{stem}hurdle", recipe)
        hurdle = recipe.model_copy(update={"history_weight": even, "covariate_weight": default.covariate_weight})
        told = [fold.with_covariates(parts, share) for parts, fold in zip(trees, folds, strict=True)]
        found[f"{stem}hurdle"] = (hurdle, told)
        for weight in sorted({*HISTORY_WEIGHTS, even}):
            weighted = hurdle.model_copy(update={"family": "blend", "history_weight": share_with(weight, returners)})
            mixed = [
                blend(parts, fold.history, share_with(weight, count))
                for parts, fold, count in zip(told, folds, seen, strict=True)
            ]
            found[f"{stem}blend_{100 * weight:.0f}"] = (weighted, mixed)
    for family in ("offset", "tweedie"):
        if family in tuned:
            found[TUNED + family] = (tuned[family], predicted(TUNED + family, tuned[family]))
    found["btyd"] = (default.model_copy(update={"family": "btyd"}), [fold.history for fold in folds])
    return found


def history_weight(weight: float, growth: float, *, even: float) -> float:
    """Weight of buy till you die with `growth` times as many returners to learn from.

    It counts for as many returners as before, so that its weight shrinks as they become more. It stays on its side of
    the even weight: of the other side the folds said nothing.

    Examples
    --------
    >>> history_weight(0.25, 3.0, even=0.5)
    0.1
    >>> history_weight(0.75, 9.0, even=0.5)
    0.5
    """
    if weight == even:
        return even
    grown = weight / (weight + (1 - weight) * growth)
    bounded = min(grown, even) if weight < even else max(grown, even)
    return min(max(round(bounded, 3), 0.001), 0.999)


def choose(
    found: Mapping[str, tuple[Recipe, Sequence[Parts]]], default: Recipe, outcomes: Sequence[Outcome], seed: int
) -> tuple[Recipe, dict[str, Difference]]:
    """Keep the default recipe unless another is better by a paired verdict over the folds.

    Better is whose mean normalized Gini is higher, if one of three paired differences says so beyond noise and none
    says the opposite: in normalized Gini, in ROC AUC of returning, or in the spend explained (:mod:`clv.deviance`); a
    few large customers blur the Gini of a small shop. Of several the one with the highest mean Gini is taken. What was
    tuned on these very folds takes the place of what was not only if it is better than that in turn, by two of the
    three: it was chosen from many trials, and some of what the folds say for it is luck.

    Returns
    -------
    Recipe
        The chosen one.
    dict
        The paired differences in normalized Gini from the default, of those whose mean Gini is above its, with the
        verdict of all three.
    """
    mean = {
        name: np.mean([normalized_gini(o.future_value, p.expected_value) for p, o in zip(parts, outcomes, strict=True)])
        for name, (_, parts) in found.items()
    }
    holder = next(name for name, (recipe, _) in found.items() if recipe == default)
    names = [name for name in found if mean[name] > mean[holder]]
    draws = resample({name: found[name][1] for name in [holder, *names]}, outcomes, rng=np.random.default_rng(seed))

    def over(name: str, reference: str, wins: int = 1) -> Difference:
        by_metric = paired(draws, name, reference)
        deviance = explained(found[name][1], found[reference][1], outcomes)
        verdicts = [by_metric["normalized_gini"].verdict, by_metric["roc_auc"].verdict, deviance.verdict]
        joint: Verdict = "not distinguishable"
        if "worse" not in verdicts and verdicts.count("better") >= wins:
            joint = "better"
        if "better" not in verdicts and "worse" in verdicts:
            joint = "worse"
        return replace(by_metric["normalized_gini"], verdict=joint)

    differences = {name: over(name, holder) for name in names}
    for is_tuned in (False, True):
        better = [
            name
            for name in names
            if name.startswith(TUNED) == is_tuned
            and mean[name] > mean[holder]
            and over(name, holder, WINS_OF_TUNED if is_tuned else 1).verdict == "better"
        ]
        holder = max(better, key=lambda name: mean[name], default=holder)
    return found[holder][0], differences


def bin_folds(workspace: Workspace, protocol: Plan) -> list[FoldData]:
    """Encode every fold once."""
    snapshots = workspace.snapshots(sorted({cutoff for fold in protocol.folds for cutoff in (*fold.train, fold.test)}))
    horizon_days = workspace.shop().horizon_days
    return [
        _fold(workspace, fold.test, snapshots.at(*fold.train), snapshots.at(fold.test), horizon_days)
        for fold in protocol.folds
    ]


def _fold(workspace: Workspace, cutoff: date, train: Snapshots, test: Snapshots, horizon_days: int) -> FoldData:
    encoder = make_encoder(workspace.contract, train.frame)
    matrix, rows = encoder.encode(test.frame), encoder.encode(train.frame)
    returned, spent = rows[train.is_return], train.future_value[train.is_return]
    history = fit_history(encoder, test.frame, horizon_days, returned, spent)
    seed = workspace.settings.seed
    customer_fold = customer_folds(train.customer_id, train.is_return)
    covariates = fit_covariates(
        encoder, rows, train.is_return, customer_fold == 0, horizon_days=horizon_days, seed=seed
    )
    return FoldData(
        encoder=encoder,
        matrix=rows,
        is_return=train.is_return,
        future_value=train.future_value,
        test=matrix,
        outcome=Outcome(test.customer_id, test.is_return, test.future_value),
        history=history.predict_parts(matrix),
        start=history.predict_parts(rows),
        covariates=covariates.process.p_return(matrix) if covariates is not None else None,
        seed=seed,
        customer_fold=customer_fold,
        cutoff=cutoff,
    )


def study_key(workspace: Workspace, shop: Shop) -> str:
    """Name of the study: one for the same data, cutoffs and features.

    Search space and seed stand inside, so that one of another is found and told rather than passed over.
    """
    essence = [
        shop.fingerprint,
        str(shop.as_of_date),
        shop.horizon_days,
        workspace.contract.fingerprint,
    ]
    return hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:16]


def _default_parameters(family: str) -> dict[str, Any]:
    left_out = {
        "family",
        "history_weight",
        "covariate_weight",
        "bags",
        "patience",
        "trees",
        "value_trees",
        "tweedie_power",
    }
    return {"family": family, **Recipe().model_dump(exclude=left_out)}


def _best_by_family(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, Recipe]:
    """The recipe of the best trial of each family."""
    ordered = sorted(trials, key=lambda trial: trial.value or 0.0)
    return {trial.params["family"]: Recipe(**trial.params) for trial in ordered}


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that told something: all but those under way and those that were killed."""
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def _best(study: optuna.Study) -> float | None:
    return max((trial.value for trial in _complete(study) if trial.value is not None), default=None)


def _of_default(study: optuna.Study) -> float | None:
    return next((t.value for t in _complete(study) if t.params == _default_parameters("hurdle")), None)
