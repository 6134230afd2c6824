"""A recipe over the shop's whole history: how steady it is, and how its rank decays as a model grows old.

At each cutoff the recipe is fitted on what had closed by then (age 0), and the model of every earlier cutoff is asked
as well (its age: the days between). Old and new models answer for the same customers, so their difference is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

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
)
from clv.evaluation import can_learn
from clv.metrics import METRICS
from clv.predictor import Parts
from clv.snapshots import Snapshots
from clv.splits import Fold

FEWEST_COMPARED = 2
"""An age at which fewer cutoffs could be compared says nothing about the next shop year."""

JUDGED = "normalized_gini"

SMALLEST_LOSS = 0.01
"""A smaller loss of Gini is no reason to train again, however surely many customers show it."""


class Fitted(Protocol):
    """A model that answers for the customers of any cutoff."""

    def predict_parts(self, frame: pd.DataFrame) -> Parts:
        """Two-part answer for n customers."""
        ...


Fit = Callable[[Fold], Fitted]
"""Fits the recipe on a fold's training cutoffs, as it would have been on the evening of its test cutoff."""


@dataclass(frozen=True)
class Cell:
    """One model, asked at one cutoff.

    Attributes
    ----------
    cutoff
        Day whose customers were asked about.
    fitted
        Day on whose evening the model was made.
    customers, returners
        How many there were, and how many of them came back.
    metrics
        With their intervals.
    """

    cutoff: date
    fitted: date
    customers: int
    returners: int
    metrics: Mapping[str, Interval]

    @property
    def age_days(self) -> int:
        """Age of the model at the cutoff."""
        return (self.cutoff - self.fitted).days


@dataclass(frozen=True)
class Age:
    """Models of about one age against those refitted at the same cutoffs.

    Attributes
    ----------
    days
        Mean age.
    cutoffs, returners
        Cutoffs that were compared, and who came back after them, each time counted.
    old, new
        Their metrics over these cutoffs.
    difference
        How much better the old ones are (negative: worse), with the verdict.
    """

    days: int
    cutoffs: int
    returners: int
    old: Mapping[str, float]
    new: Mapping[str, float]
    difference: Mapping[str, Difference]

    @property
    def is_judged(self) -> bool:
        """Whether enough customers came back to tell."""
        return self.returners >= FEWEST_RETURNERS

    @property
    def verdict(self) -> str:
        """Whether the old ones rank worse, in words; beyond noise and by less than matters is ``slightly worse``."""
        found = self.difference[JUDGED]
        if not self.is_judged:
            return TOO_FEW
        return "slightly worse" if found.verdict == "worse" and found.estimate > -SMALLEST_LOSS else found.verdict


@dataclass(frozen=True)
class Backtest:
    """The answers of all models at all cutoffs of one horizon.

    Attributes
    ----------
    horizon_days
        Length of the window.
    cutoffs
        Test cutoffs, earliest first.
    outcomes
        What happened after each.
    fitted
        By age in cutoffs (0: refitted, 1: made at the cutoff before, ...), for each cutoff, the day the model is of;
        None where no model is that old.
    parts
        Their answers.
    seed
        Of the bootstrap.
    """

    horizon_days: int
    cutoffs: tuple[date, ...]
    outcomes: tuple[Outcome, ...]
    fitted: Mapping[int, tuple[date | None, ...]]
    parts: Mapping[int, tuple[Parts | None, ...]]
    seed: int

    @cached_property
    def draws(self) -> Draws:
        """The bootstrap's draws, the same for all models."""
        models = {str(step): parts for step, parts in self.parts.items()}
        return resample(models, self.outcomes, rng=np.random.default_rng(self.seed))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every model at every cutoff, by cutoff, then by age."""
        cells = [
            Cell(
                cutoff,
                fitted,
                len(self.outcomes[column].is_return),
                int(self.outcomes[column].is_return.sum()),
                intervals(self.draws, str(step), cutoff=column),
            )
            for column, cutoff in enumerate(self.cutoffs)
            for step, by_cutoff in self.fitted.items()
            if (fitted := by_cutoff[column]) is not None
        ]
        return tuple(cells)

    def refitted(self) -> dict[str, Interval]:
        """Metrics of the recipe, refitted at each cutoff, averaged over them."""
        return intervals(self.draws, "0")

    def scatter(self) -> tuple[float, float]:
        """Standard deviation of the Gini over the cutoffs, and what chance alone makes of a Gini that never moves.

        The latter is the bootstrap's, over customers; well above it the recipe is better at some times than at others.
        """
        column = list(METRICS).index(JUDGED)
        estimates = pd.Series(self.draws.estimates["0"][:, column])
        by_chance = pd.DataFrame(self.draws.replicates["0"][:, :, column].T).var()
        return float(estimates.std()), float(np.sqrt(by_chance.mean()))

    @cached_property
    def ages(self) -> tuple[Age, ...]:
        """Old against refitted models, the youngest first."""
        found = []
        for step, by_cutoff in self.fitted.items():
            columns = [column for column, fitted in enumerate(by_cutoff) if fitted is not None]
            if step == 0 or not columns:
                continue
            days = [(self.cutoffs[column] - day).days for column, day in enumerate(by_cutoff) if day is not None]
            old, new = (self._means(name, columns) for name in (str(step), "0"))
            came_back = sum(int(self.outcomes[column].is_return.sum()) for column in columns)
            difference = paired(self.draws, str(step), "0")
            found.append(Age(round(float(np.mean(days))), len(columns), came_back, old, new, difference))
        return tuple(found)

    def _means(self, name: str, columns: list[int]) -> dict[str, float]:
        """Metrics of a model over some cutoffs, as far as they are defined."""
        means = pd.DataFrame(self.draws.estimates[name][columns]).mean().tolist()
        return dict(zip(METRICS, means, strict=True))

    def retrain_after_days(self) -> int | None:
        """First age at which models rank worse than refitted ones by what matters; None if that was never seen.

        One age in forty looks worse by chance alone, so the next age, if there is one, must be worse as well.
        """
        known = self._known
        has_lost = [age.verdict == "worse" for age in known]
        for position, age in enumerate(known):
            if all(has_lost[position : position + 2]):
                return age.days
        return None

    @property
    def _known(self) -> list[Age]:
        """Ages at which enough cutoffs were compared, and enough customers came back."""
        return [age for age in self.ages if age.cutoffs >= FEWEST_COMPARED and age.is_judged]

    def note(self) -> str:
        """What that means, in a sentence."""
        known = self._known
        if not known and any(age.cutoffs >= FEWEST_COMPARED for age in self.ages):
            return f"Too few customers came back, fewer than {FEWEST_RETURNERS}, to see a model grow old."
        if not known:
            return (
                f"Too little history to see a model grow old: it takes {FEWEST_COMPARED + 1} cutoffs that can be "
                f"tested, there {'is' if len(self.cutoffs) == 1 else 'are'} {len(self.cutoffs)}."
            )
        days = self.retrain_after_days()
        if days is None:
            lost = {age.days: -age.difference[JUDGED].estimate for age in known if "worse" in age.verdict}
            if not lost:
                return f"No decay seen: models up to {known[-1].days} days old rank no worse than refitted ones."
            most = max(lost.values())
            if most < SMALLEST_LOSS:
                return (
                    f"Hardly any decay: models of up to {max(lost)} days rank worse than refitted ones, but by no more "
                    f"than {most:.3f} of Gini; from {SMALLEST_LOSS} on it would matter."
                )
            return (
                f"No lasting decay seen: models of up to {max(lost)} days rank worse than refitted ones, but at no two "
                f"ages in a row by {SMALLEST_LOSS} of Gini or more."
            )
        age = next(age for age in known if age.days == days)
        loss = age.difference[JUDGED]
        return (
            f"Retrain before a model is {days} days old: by then it ranks worse than a refitted one (Gini "
            f"{loss.estimate:+.3f}, {LEVEL:.0%} interval {loss.low:+.3f} to {loss.high:+.3f}, {age.cutoffs} cutoffs)."
        )


def run(
    snapshots: Snapshots,
    tests: Sequence[Fold],
    fit: Fit,
    *,
    horizon_days: int,
    seed: int,
    progress: Callable[[Fold, int], None] | None = None,
) -> Backtest:
    """Fit at each test cutoff and ask every model that was there by then.

    A cutoff before which nobody had returned, or after which nobody did, can't test anything and is left out.

    Parameters
    ----------
    snapshots
        Labelled snapshots of all training and test cutoffs, for this horizon.
    tests
        What to test, earliest first.
    fit
        Fits the recipe.
    progress
        Is told each fold, and how many are done.
    """
    usable: list[Fold] = []
    models: list[Fitted] = []
    outcomes: list[Outcome] = []
    answers: list[list[Parts]] = []
    for number, fold in enumerate(tests):
        if progress:
            progress(fold, number)
        test = snapshots.at(fold.test)
        if not can_learn(snapshots.at(*fold.train), test):
            continue
        usable.append(fold)
        models.append(fit(fold))
        outcomes.append(Outcome(test.customer_id, test.is_return, test.future_value))
        answers.append([model.predict_parts(test.frame) for model in models])
    days = tuple(fold.test for fold in usable)
    steps = range(len(days))
    return Backtest(
        horizon_days,
        days,
        tuple(outcomes),
        {step: tuple(days[at - step] if at >= step else None for at in steps) for step in steps},
        {step: tuple(answers[at][at - step] if at >= step else None for at in steps) for step in steps},
        seed,
    )
