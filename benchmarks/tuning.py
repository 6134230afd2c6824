"""Time of a search: what most people write, and ours, on the same folds, machine and store, with as many trials.

    python -m benchmarks.tuning                (about a quarter of an hour on two cores)
    python -m benchmarks.tuning --quick        (a smoke test)

100,000 rows of 30 columns, 5 folds. The usual way is scikit-learn's `cross_val_score` over a hurdle of XGBoost's
estimators, Optuna, and one nested MLflow run a trial by the fluent API; once without and once with Optuna's median
pruner after each fold. Ours comes in five steps, each on top of the one before: folds binned once, one batch of logging
a trial, a part of those who did not return, pruning (the same median, and what is worse than the best trial on the same
rows beyond noise), parallel trials. Sampler, seed, search space, folds, metric, number of histogram bins and threads in
all are the same. The winners, refitted with their fixed rounds on all rows, are compared on rows of a later time.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold, cross_val_score

from clv.bootstrap import Outcome, paired, resample
from clv.contract import Contract, Feature
from clv.machine import usable_cores
from clv.metrics import normalized_gini
from clv.models.hurdle import MAX_BIN, SMALLEST_SPEND, bin_rows, fit_boosters, make_encoder
from clv.models.recipe import Recipe
from clv.predictor import Parts
from clv.settings import Settings
from experiments.console import Console
from experiments.study import STARTUP_TRIALS, open_study
from experiments.tune import OTHERS_IN_TRIALS, FoldData, search
from experiments.workspace import Workspace

ROWS, NUMBERS, CATEGORIES, FOLDS, SEED = 100_000, 26, 4, 5, 11
CONTRACT = Contract(
    (
        *(Feature(f"number_{i}", "number", "", nullable=False) for i in range(NUMBERS)),
        *(Feature(f"category_{i}", "category", "", nullable=False) for i in range(CATEGORIES)),
    )
)


@dataclass(frozen=True)
class Data:
    """Rows with what followed."""

    X: pd.DataFrame
    is_return: NDArray[np.bool_]
    value: NDArray[np.float64]

    def outcome(self, rows: NDArray[np.intp]) -> Outcome:
        """What followed some of the rows."""
        return Outcome(rows, self.is_return[rows], self.value[rows])


@dataclass(frozen=True)
class Result:
    """One way: how long it took, its best score, and what its winner predicts of the later rows."""

    name: str
    seconds: float
    cv_gini: float
    pruned: int
    later: Parts


def make(rows: int, seed: int) -> Data:
    """Rows of which a tenth return, by some of the columns; the others are noise."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, NUMBERS))
    codes = rng.integers(0, 12, size=(rows, CATEGORIES))
    effects = np.random.default_rng(0).normal(size=(2, CATEGORIES, 12)) * 0.4
    picked = effects[:, np.arange(CATEGORIES), codes].sum(axis=2)
    log_odds = -2.9 + numbers[:, 0] + 0.7 * np.abs(numbers[:, 1]) + 0.5 * numbers[:, 2] * numbers[:, 3] + picked[0]
    returned = rng.random(rows) < 1 / (1 + np.exp(-log_odds))
    value = np.where(returned, rng.gamma(2.0, 40.0, rows) * np.exp(0.4 * numbers[:, 4] + 0.5 * picked[1]), 0.0)
    X = pd.DataFrame(numbers, columns=[f"number_{i}" for i in range(NUMBERS)])
    levels = np.array([f"level {i}" for i in range(12)])
    for i in range(CATEGORIES):
        X[f"category_{i}"] = pd.Categorical(levels[codes[:, i]])
    return Data(X, returned, value)


def draw(trial: optuna.Trial) -> Recipe:
    """The search space of both ways."""
    return Recipe(
        family="hurdle",
        bags=1,
        patience=0,
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


class SklearnHurdle(BaseEstimator):  # type: ignore[misc]
    """The hurdle as one writes it with XGBoost's scikit-learn estimators."""

    def __init__(self, recipe: Recipe, threads: int) -> None:
        self.recipe = recipe
        self.threads = threads

    def fit(self, X: pd.DataFrame, y: NDArray[np.float64]) -> SklearnHurdle:
        """Fit both models."""
        recipe = self.recipe
        shared: dict[str, Any] = {
            "tree_method": "hist",
            "max_bin": MAX_BIN,
            "enable_categorical": True,
            "n_jobs": self.threads,
            "random_state": SEED,
            "learning_rate": recipe.learning_rate,
            "subsample": recipe.subsample,
            "colsample_bytree": recipe.colsample,
            "reg_lambda": recipe.reg_lambda,
        }
        self.returns_ = xgb.XGBClassifier(
            n_estimators=recipe.trees, max_depth=recipe.max_depth, min_child_weight=recipe.min_child_weight, **shared
        ).fit(X, y > 0)
        self.values_ = xgb.XGBRegressor(
            objective="reg:gamma",
            n_estimators=recipe.value_trees,
            max_depth=recipe.value_max_depth,
            min_child_weight=recipe.value_min_child_weight,
            **shared,
        ).fit(X[y > 0], np.maximum(y[y > 0], SMALLEST_SPEND))
        return self

    def predict(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Expected value."""
        expected: NDArray[np.float64] = self.returns_.predict_proba(X)[:, 1] * self.values_.predict(X)
        return expected


def scorer(estimator: SklearnHurdle, X: pd.DataFrame, y: NDArray[np.float64]) -> float:
    """Normalized Gini, as scikit-learn calls it."""
    return normalized_gini(y, estimator.predict(X))


def usual(name: str, data: Data, later: Data, trials: int, folder: Path, *, prune: bool) -> Result:
    """cross_val_score + Optuna + fluent MLflow."""
    threads = usable_cores()
    splits = list(KFold(FOLDS, shuffle=True, random_state=SEED).split(data.X))
    workspace = opened(folder)  # creates the same kind of store
    mlflow.set_experiment(experiment_id=workspace.tracker.experiment_id)

    def objective(trial: optuna.Trial) -> float:
        with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
            estimator = SklearnHurdle(draw(trial), threads)
            for key, value in trial.params.items():
                mlflow.log_param(key, value)
            if not prune:
                scores = cross_val_score(estimator, data.X, data.value, cv=splits, scoring=scorer)
            else:
                scores = np.array([])
                for number, split in enumerate(splits):
                    score = cross_val_score(estimator, data.X, data.value, cv=[split], scoring=scorer)
                    scores = np.append(scores, score)
                    trial.report(float(scores.mean()), number)
                    if number + 1 < FOLDS and trial.should_prune():
                        raise optuna.TrialPruned
            for number, score in enumerate(scores):
                mlflow.log_metric(f"gini_fold_{number + 1}", score)
            mlflow.log_metric("cv_gini", scores.mean())
        return float(scores.mean())

    started = time.perf_counter()
    with mlflow.start_run(run_name=name):
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=STARTUP_TRIALS),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS - 1)
            if prune
            else optuna.pruners.NopPruner(),
        )
        study.optimize(objective, n_trials=trials)
    return result(name, time.perf_counter() - started, study, data, later)


def ours(
    name: str,
    data: Data,
    later: Data,
    trials: int,
    folder: Path,
    *,
    batched: bool = True,
    others: float = OTHERS_IN_TRIALS,
    prune: bool = True,
    jobs: int = 1,
) -> Result:
    """The search of `clv tune` on these folds."""
    workspace = opened(folder)
    if not batched:
        mlflow.set_experiment(experiment_id=workspace.tracker.experiment_id)
    started = time.perf_counter()
    encoder = make_encoder(CONTRACT, data.X)
    matrix = encoder.encode(data.X)
    folds = []
    for train, test in KFold(FOLDS, shuffle=True, random_state=SEED).split(matrix):
        nothing = Parts(np.zeros(len(test)), np.zeros(len(test)))
        folds.append(
            FoldData(
                encoder,
                matrix[train],
                data.is_return[train],
                data.value[train],
                matrix[test],
                data.outcome(test),
                nothing,
                nothing,
                nothing.p_return,
                SEED,
                others_in_trials=others,
            )
        )
    with (
        open_study(folder / "study.journal", space=0, seed=SEED, resume=False) as study,
        workspace.tracker.run(name) as run,
    ):

        def record(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            metrics = {f"gini_fold_{number + 1}": gini for number, gini in enumerate(trial.user_attrs["ginis"])}
            if batched:
                workspace.tracker.trial(
                    run, f"trial {trial.number}", params=trial.params, metrics=metrics, tags={}, status="FINISHED"
                )
                return
            with mlflow.start_run(run_name=f"trial {trial.number}", tags={"mlflow.parentRunId": run.id}):
                for key, value in trial.params.items():
                    mlflow.log_param(key, value)
                for key, gini in metrics.items():
                    mlflow.log_metric(key, gini)

        threads = max(1, usable_cores() // jobs)
        search(study, folds, trials=trials, jobs=jobs, threads=threads, record=record, draw=draw, prune=prune)
        seconds = time.perf_counter() - started
        return result(name, seconds, study, data, later)


def result(name: str, seconds: float, study: optuna.Study, data: Data, later: Data) -> Result:
    """Refit the winner on all rows with its fixed rounds and predict the later ones."""
    recipe = draw(optuna.trial.FixedTrial(study.best_params))
    encoder = make_encoder(CONTRACT, data.X)
    binned = bin_rows(encoder, encoder.encode(data.X), data.is_return, data.value, seed=SEED)
    hurdle = fit_boosters(binned, recipe, seed=SEED, threads=usable_cores())
    pruned = sum(trial.state.name == "PRUNED" for trial in study.trials)
    return Result(name, seconds, study.best_value, pruned, hurdle.predict_parts(encoder.encode(later.X)))


def opened(folder: Path) -> Workspace:
    return Workspace(Settings(home=folder), Console(quiet=True))


def main() -> None:
    """Time all ways, one after the other, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--output", type=Path, help="folder for tuning.json and tuning.md")
    parser.add_argument("--quick", action="store_true", help="a smoke test: fewer rows and trials")
    arguments = parser.parse_args()
    rows, trials = (4_000, 7) if arguments.quick else (ROWS, arguments.trials)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    data, later = make(rows, seed=1), make(rows // 2, seed=2)
    jobs = min(4, usable_cores())
    ways: dict[str, Callable[[str, Path], Result]] = {
        "usual": lambda name, folder: usual(name, data, later, trials, folder, prune=False),
        "usual, pruning": lambda name, folder: usual(name, data, later, trials, folder, prune=True),
        "ours: folds binned once": lambda name, folder: ours(
            name, data, later, trials, folder, batched=False, others=np.inf, prune=False
        ),
        "+ one batch a trial": lambda name, folder: ours(name, data, later, trials, folder, others=np.inf, prune=False),
        f"+ {OTHERS_IN_TRIALS:.0f} others for each returner": lambda name, folder: ours(
            name, data, later, trials, folder, prune=False
        ),
        "+ pruning": lambda name, folder: ours(name, data, later, trials, folder),
        f"+ {jobs} parallel trials = clv tune --jobs {jobs}": lambda name, folder: ours(
            name, data, later, trials, folder, jobs=jobs
        ),
    }
    found = []
    with tempfile.TemporaryDirectory(prefix="clv-tuning-") as temporary:
        for number, (name, run) in enumerate(ways.items()):
            found.append(run(name, Path(temporary) / str(number)))
            print(f"{name}: {found[-1].seconds:.1f} s", flush=True)
    lines = table(found, later, rows, trials)
    print("\n".join(lines))
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "tuning.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        plain = [
            {"name": one.name, "seconds": one.seconds, "cv_gini": one.cv_gini, "pruned": one.pruned} for one in found
        ]
        (arguments.output / "tuning.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def table(found: list[Result], later: Data, rows: int, trials: int) -> list[str]:
    """Times, what each step gains, and whether the winners can be told apart later."""
    outcome = later.outcome(np.arange(len(later.value)))
    draws = resample({one.name: [one.later] for one in found}, [outcome], rng=np.random.default_rng(SEED))
    plain, pruning, final = found[0], found[1], found[-1]
    lines = [
        f"# Tuning: {rows:,} rows, {NUMBERS + CATEGORIES} columns, {FOLDS} folds, {trials} trials, "
        f"{usable_cores()} cores",
        "",
        "| way | seconds | times as fast as usual | as with pruning | pruned | cv Gini | later, over usual |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        d = paired(draws, one.name, plain.name)["normalized_gini"]
        times = [plain.seconds / one.seconds, pruning.seconds / one.seconds]
        lines.append(
            f"| {one.name} | {one.seconds:.1f} | {times[0]:.2f} | {times[1]:.2f} "
            f"| {one.pruned} | {one.cv_gini:.4f} | {d.estimate:+.4f} ({d.low:+.4f} to {d.high:+.4f}) {d.verdict} |"
        )
    against = {name: paired(draws, final.name, name)["normalized_gini"].verdict for name in (plain.name, pruning.name)}
    lines += [
        "",
        f"- {plain.seconds / final.seconds:.1f} times as fast as without pruning (bar 3), "
        f"{pruning.seconds / final.seconds:.1f} times as with it (bar 2).",
        "- On later rows our winner is " + ", ".join(f"{verdict} ({name})" for name, verdict in against.items()) + ".",
    ]
    return lines


if __name__ == "__main__":
    main()
