"""Testing a recipe out of time: refit it at each test cutoff, beside the ladder of baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clv.baselines import Estimator, ladder
from clv.bootstrap import (
    FEWEST_RETURNERS,
    LEVEL,
    TOO_FEW,
    Difference,
    Draws,
    Interval,
    Outcome,
    intervals,
    paired,
    resample,
    share,
)
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

_Found = TypeVar("_Found", bound=Interval)


@dataclass(frozen=True)
class Evaluation:
    """Predictions of several models at the test cutoffs, and what happened.

    Attributes
    ----------
    cutoffs
        Test cutoffs, earliest first; empty if nothing could be tested.
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
    untested
        Why a cutoff that was to be a test is none, by cutoff.
    """

    cutoffs: tuple[date, ...]
    outcomes: tuple[Outcome, ...]
    parts: Mapping[str, tuple[Parts, ...]]
    seed: int
    groups: tuple[Labels, ...] = ()
    ceilings: tuple[float, ...] = ()
    levels: tuple[Level, ...] = ()
    untested: Mapping[date, str] = field(default_factory=dict)

    @cached_property
    def draws(self) -> Draws:
        """The bootstrap's draws, the same for all models."""
        return resample(self.parts, self.outcomes, rng=np.random.default_rng(self.seed))

    def intervals(self, name: str = MODEL) -> dict[str, Interval]:
        """Every metric of a model with its interval, averaged over the cutoffs; no interval if too few returned."""
        return {metric: self._known(found) for metric, found in intervals(self.draws, name).items()}

    def paired(self, reference: str, candidate: str = MODEL, level: float = LEVEL) -> dict[str, Difference]:
        """The candidate against a reference, metric by metric, on the same draws; no verdict if too few returned."""
        found = paired(self.draws, candidate, reference, level)
        if self.is_enough:
            return found
        return {name: replace(self._known(difference), verdict=TOO_FEW) for name, difference in found.items()}

    def share(self, reference: str, metric: str = "normalized_gini") -> Interval:
        """The recipe's metric as a share of a reference's; no interval if too few returned."""
        return self._known(share(self.draws, MODEL, reference, metric))

    def _known(self, found: _Found) -> _Found:
        """Without its bounds if too few returned: who draws one returner again and again gets the same each time."""
        return found if self.is_enough else replace(found, low=np.nan, high=np.nan)

    @cached_property
    def returners(self) -> int:
        """How many customers came back in the test windows, each counted once."""
        came_back = [outcome.customer_id[outcome.is_return] for outcome in self.outcomes]
        return len(pd.unique(np.concatenate(came_back))) if came_back else 0

    @property
    def is_enough(self) -> bool:
        """Whether enough of them came back to tell good from bad luck."""
        return self.returners >= FEWEST_RETURNERS

    @property
    def doubt(self) -> str:
        """Why nothing can be judged by it, in words; empty if something can, or if there was nothing to test at."""
        if not self.cutoffs:
            return self.left_out
        if self.is_enough:
            return ""
        came = "1 customer" if self.returners == 1 else f"{self.returners} customers"
        return f"{came} came back in the test windows, too few to tell"

    @property
    def left_out(self) -> str:
        """Which cutoffs tested nothing and why, in words; empty if there are none."""
        whys = dict.fromkeys(self.untested.values())
        return "; ".join(
            f"nothing could be tested at {', '.join(str(day) for day, why in self.untested.items() if why == one)}: "
            f"{one}"
            for one in whys
        )

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
        return _interval(self._spend_ratios(), level)

    def value_coverage(self, level: float) -> float | None:
        """Share of returners within the interval that the other cutoffs set; None with too few of them to tell.

        An interval holds its share where it was set; elsewhere this tells.
        """
        ratios, held, judged = self._spend_ratios(), 0, 0
        for number, own in enumerate(ratios):
            interval = _interval(ratios[:number] + ratios[number + 1 :], level)
            if interval is not None:
                held += int(np.sum((own >= interval[0]) & (own <= interval[1])))
                judged += len(own)
        return held / judged if judged >= FEWEST_RETURNERS else None

    def _spend_ratios(self) -> list[NDArray[np.float64]]:
        """What the returners of each cutoff spent over what was predicted that they would."""
        return [
            (outcome.future_value / np.maximum(parts.value_if_return, 1e-9))[outcome.is_return]
            for parts, outcome in zip(self.parts.get(MODEL, ()), self.outcomes, strict=True)
        ]


def _interval(ratios: Sequence[NDArray[np.float64]], level: float) -> tuple[float, float] | None:
    joined = np.concatenate(ratios) if ratios else np.empty(0)
    if len(joined) < FEWEST_RETURNERS:
        return None
    tail = (1 - level) / 2
    return (
        float(np.quantile(joined, tail, method="lower")),
        float(np.quantile(joined, 1 - tail, method="higher")),
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
    untested: dict[date, str] = {}
    parts: dict[str, list[Parts]] = {name: [] for name in (*recipes, *baseline_names())}
    models: dict[str, Model] = {}
    learnt_from: tuple[date, ...] = ()
    for number, fold in enumerate(tests):
        if progress:
            progress(f"test cutoff {fold.test}", number, len(tests))
        train, test = snapshots.at(*fold.train), snapshots.at(fold.test)
        if not can_learn(train, test):
            came_before = train.is_return.any()
            within = f"nobody came back within {horizon_days} days"
            untested[fold.test] = within if came_before else "nobody had come back by then to learn from"
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
        untested=untested,
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
