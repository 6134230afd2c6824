"""Testing a recipe out of time: refit it at each test cutoff, beside the ladder of baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd

from clv.baselines import Estimator, ladder
from clv.bootstrap import LEVEL, Difference, Draws, Interval, Outcome, intervals, paired, resample
from clv.ceiling import gini_ceiling
from clv.contract import Contract
from clv.ledger import Ledger
from clv.level import Level, fit_level
from clv.models.btyd import BTYDModel
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.predictor import Parts, at_level
from clv.slices import Labels, Slice, labels, slices
from clv.snapshots import Snapshots
from clv.splits import Fold

MODEL = "model"
"""Name of the recipe under test, among the baselines."""

BTYD = "btyd"
"""Name of the last rung: BG/NBD and Gamma-Gamma alone."""

FEWEST_RETURNERS = 20
"""Fewer returners than this say too little about the spread of their spend."""


@dataclass(frozen=True)
class Evaluation:
    """Predictions of several models at the test cutoffs, and what happened.

    Attributes
    ----------
    cutoffs
        Test cutoffs, earliest first; empty if the history was too short for a test.
    outcomes
        What happened, by cutoff.
    parts
        Predictions by model name, then by cutoff; ``model`` is the recipe under test.
    seed
        Of the bootstrap.
    groups
        By cutoff, the slices of the customers.
    ceilings
        By cutoff, the normalized Gini of who knew every customer's habits.
    levels
        By cutoff, the forecast that the recipes were brought to; empty if their totals are the learners' own.
    """

    cutoffs: tuple[date, ...]
    outcomes: tuple[Outcome, ...]
    parts: Mapping[str, tuple[Parts, ...]]
    seed: int
    groups: tuple[Labels, ...] = ()
    ceilings: tuple[float, ...] = ()
    levels: tuple[Level, ...] = ()

    @cached_property
    def draws(self) -> Draws:
        """The bootstrap's draws, the same for all models."""
        return resample(self.parts, self.outcomes, rng=np.random.default_rng(self.seed))

    def intervals(self, name: str = MODEL) -> dict[str, Interval]:
        """Every metric of a model with its interval, averaged over the cutoffs."""
        return intervals(self.draws, name)

    def paired(self, reference: str, candidate: str = MODEL, level: float = LEVEL) -> dict[str, Difference]:
        """The candidate against a reference, metric by metric, on the same draws."""
        return paired(self.draws, candidate, reference, level)

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """The recipe under test on some customers only."""
        return slices(self.parts[MODEL], self.outcomes, self.groups, seed=self.seed)

    @property
    def ceiling(self) -> float | None:
        """Mean of the ceilings of the normalized Gini; None if there are none."""
        known = [ceiling for ceiling in self.ceilings if np.isfinite(ceiling)]
        return float(np.mean(known)) if known else None

    @property
    def baselines(self) -> list[str]:
        """The rungs of the ladder, in order."""
        return [name for name in baseline_names() if name in self.parts]

    def best_baseline(self, names: Sequence[str] | None = None) -> str:
        """The rung with the highest normalized Gini, of `names` if given.

        Of equals, which all say the same of everybody, it is not ``zero``.
        """
        ginis = {name: self.intervals(name)["normalized_gini"].estimate for name in names or self.baselines}
        return max(ginis, key=lambda name: (ginis[name], name != "zero"))

    def pooled(self, name: str = MODEL) -> tuple[Parts, Outcome]:
        """Predictions and outcomes of all cutoffs in one."""
        return (
            Parts(
                np.concatenate([parts.p_return for parts in self.parts[name]]),
                np.concatenate([parts.value_if_return for parts in self.parts[name]]),
            ),
            Outcome(
                np.concatenate([outcome.customer_id for outcome in self.outcomes]),
                np.concatenate([outcome.is_return for outcome in self.outcomes]),
                np.concatenate([outcome.future_value for outcome in self.outcomes]),
            ),
        )

    def value_interval(self, level: float) -> tuple[float, float] | None:
        """Factors around value_if_return which held the spend of a share `level` of those who returned, out of time.

        They are split-conformal quantiles of actual over predicted; None with too few returners to tell.
        """
        if not self.cutoffs:
            return None
        parts, outcome = self.pooled()
        predicted = np.maximum(parts.value_if_return[outcome.is_return], 0.01)
        ratios = outcome.future_value[outcome.is_return] / predicted
        if len(ratios) < FEWEST_RETURNERS:
            return None
        tail = (1 - level) / 2
        return (
            float(np.quantile(ratios, tail, method="lower")),
            float(np.quantile(ratios, 1 - tail, method="higher")),
        )


def evaluate(
    snapshots: Snapshots,
    contract: Contract,
    recipes: Mapping[str, Recipe],
    tests: Sequence[Fold],
    *,
    horizon_days: int,
    seed: int,
    threads: int,
    ledger: Ledger | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Refit each recipe and each baseline at each test cutoff and predict the customers of that cutoff.

    A cutoff before which nobody had returned, or after which nobody did, can't test anything and is left out. Test
    cutoffs closer together than training ones may have the same labels to learn from: these are learnt from once.

    Parameters
    ----------
    ledger
        The shop's history as a whole: at each test cutoff the recipes are brought to the level that is forecast from
        what was known then, as a registered model is. None leaves the level to the learners.
    """
    cutoffs: list[date] = []
    outcomes: list[Outcome] = []
    groups: list[Labels] = []
    ceilings: list[float] = []
    levels: list[Level] = []
    parts: dict[str, list[Parts]] = {name: [] for name in (*recipes, *baseline_names())}
    models: dict[str, Model] = {}
    learnt_from: tuple[date, ...] = ()
    for number, fold in enumerate(tests):
        if progress:
            progress(f"test cutoff {fold.test}", number, len(tests))
        train, test = snapshots.at(*fold.train), snapshots.at(fold.test)
        if not can_learn(train, test):
            continue
        cutoffs.append(fold.test)
        outcomes.append(Outcome(test.customer_id, test.is_return, test.future_value))
        groups.append(labels(test.frame, fold.test))
        level = fit_level(ledger, fold.test, horizon_days) if ledger is not None else None
        if level is not None:
            levels.append(level)
        for name, recipe in recipes.items():
            former = models.get(name)
            if former is not None and former.can_move_on and fold.train == learnt_from:
                model = former.move_on(test.frame, horizon_days=horizon_days)
            else:
                model = Model(contract, recipe, seed=seed, threads=threads).fit(
                    train.frame,
                    train.future_value,
                    is_return=train.is_return,
                    today=test.frame,
                    horizon_days=horizon_days,
                )
            models[name] = model
            bare = model.predict_parts(test.frame)
            parts[name].append(bare if level is None else at_level(bare, level.forecast.factor(bare)))
        learnt_from = fold.train
        for name in baseline_names():
            baseline = fit_baseline(name, train, test.frame, horizon_days)
            parts[name].append(baseline.predict_parts(test.frame))
            if isinstance(baseline, BTYDModel):
                ceilings.append(gini_ceiling(baseline.model_, test.frame, rng=np.random.default_rng(seed)))
    return Evaluation(
        tuple(cutoffs),
        tuple(outcomes),
        {name: tuple(by_cutoff) for name, by_cutoff in parts.items()},
        seed,
        tuple(groups),
        tuple(ceilings),
        levels=tuple(levels),
    )


def can_learn(train: Snapshots, test: Snapshots) -> bool:
    """Whether somebody returned in both, so that there is something to learn and to test."""
    return bool(train.is_return.any() and test.is_return.any())


def baseline_names() -> list[str]:
    """The ladder's rungs, from the plainest up; buy till you die is the last one."""
    return [*ladder(), BTYD]


def fit_baseline(name: str, train: Snapshots, today: pd.DataFrame, horizon_days: int) -> Estimator:
    """Fit a rung on labelled snapshots; buy till you die needs no labels and takes the customers to predict."""
    if name == BTYD:
        return BTYDModel().fit(today, horizon_days=horizon_days)
    return ladder()[name].fit(train.frame, train.future_value, horizon_days=horizon_days)
