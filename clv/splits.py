"""Time is the split: which cutoffs train, tune and test.

A cutoff may train for a test at cutoff T only if its label window had closed by T. Everything a model was tuned on
closed before the first test cutoff.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from clv.bootstrap import FEWEST_RETURNERS
from clv.errors import InputError

MAX_TESTS = 3
MAX_FOLDS = 3

FEWEST_LABELS = 0.1
"""A fold judges models if it learns from this part of the returners that the registered model learns from."""


@dataclass(frozen=True)
class Fold:
    """Train on the snapshots of `train`, score those of `test`."""

    train: tuple[date, ...]
    test: date


@dataclass(frozen=True)
class Plan:
    """What the history of a shop allows.

    Attributes
    ----------
    train
        What the registered model is fitted on: labelled cutoffs, each apart from the next.
    tests
        Out-of-time tests of a recipe, earliest first; empty if the history is too short.
    folds
        Rolling-origin folds for tuning, all closed before the first test; empty if the history is too short.
    note
        One sentence when the protocol is less than full, else empty.
    is_short
        Whether the history has fewer than four horizons: too little to judge a model by.
    """

    train: tuple[date, ...]
    tests: tuple[Fold, ...]
    folds: tuple[Fold, ...]
    note: str
    is_short: bool = False

    @property
    def cutoffs(self) -> tuple[date, ...]:
        """Every cutoff that training and testing need, earliest first."""
        tested = {cutoff for fold in self.tests for cutoff in (*fold.train, fold.test)}
        return tuple(sorted({*self.train, *tested}))


def rolling_origin(
    cutoffs: Sequence[date], horizon_days: int, *, until: date, most: int, spacing_days: int
) -> tuple[Fold, ...]:
    """At most `most` folds whose label closes by `until`, the latest ones, at least `spacing_days` apart.

    Parameters
    ----------
    cutoffs
        Labelled cutoffs.
    horizon_days
        Length of the label window.
    until
        Day by which each fold's own label window has closed.
    most
        Largest number of folds.
    spacing_days
        Smallest distance between two test cutoffs.

    Returns
    -------
    tuple of Fold
        Earliest first; a cutoff with nothing to train on makes no fold.
    """
    chosen: list[Fold] = []
    for fold in reversed(every_fold(cutoffs, horizon_days)):
        if len(chosen) == most:
            break
        too_close = chosen and (chosen[-1].test - fold.test).days < spacing_days
        if fold.test + timedelta(days=horizon_days) <= until and not too_close:
            chosen.append(fold)
    return tuple(reversed(chosen))


def every_fold(cutoffs: Sequence[date], horizon_days: int) -> tuple[Fold, ...]:
    """Every cutoff that has an earlier one whose label had closed by then, earliest first.

    Parameters
    ----------
    cutoffs
        Labelled cutoffs.
    horizon_days
        Length of the label window.
    """
    horizon = timedelta(days=horizon_days)
    every = [
        Fold(apart([earlier for earlier in cutoffs if earlier + horizon <= test], horizon_days), test)
        for test in sorted(cutoffs)
    ]
    return tuple(fold for fold in every if fold.train)


def apart(cutoffs: Sequence[date], horizon_days: int) -> tuple[date, ...]:
    """The latest cutoff and, going back, those at least 0.3 horizons (at most 27 days) before the one kept last.

    Label windows that nearly coincide repeat the same purchases: they cost time and teach next to nothing.
    """
    spacing = timedelta(min(27, int(0.3 * horizon_days)))
    kept: list[date] = []
    for cutoff in sorted(cutoffs, reverse=True):
        if not kept or cutoff <= kept[-1] - spacing:
            kept.append(cutoff)
    return tuple(reversed(kept))


def plan(returners: Mapping[date, int], *, first_purchase_date: date, as_of_date: date, horizon_days: int) -> Plan:
    """Which cutoffs train, tune and test, by the length of the history.

    From four horizons on there are as many tests, up to three, as leave a fold to tune on; where not even a single one
    does, or no fold can judge, there are as many as the history allows, and no tuning.

    Parameters
    ----------
    returners
        How many customers returned after each labelled cutoff.

    Raises
    ------
    InputError
        If the history is shorter than twice the horizon.
    """
    days = (as_of_date - first_purchase_date).days + 1
    if days < 2 * horizon_days:
        raise InputError(
            f"The history has {days} days, {first_purchase_date} to {as_of_date}; a horizon of {horizon_days} days "
            f"needs at least {2 * horizon_days}, so load more history or shorten --horizon-days."
        )
    cutoffs = sorted(returners)
    train = apart(cutoffs, horizon_days)
    if days < 4 * horizon_days:
        tests = _latest(cutoffs, horizon_days, as_of_date, 1)
        return Plan(train, tests, (), _short(days, horizon_days, tests), is_short=True)
    tests = _latest(cutoffs, horizon_days, as_of_date, MAX_TESTS)
    # a young shop tests at fewer cutoffs, lest nothing closes before the first of them that it could tune on
    for skipped, first in enumerate(tests):
        if closed := _latest(cutoffs, horizon_days, first.test, MAX_FOLDS):
            folds = tuple(fold for fold in closed if _can_judge(fold, train, returners))
            came_back = sum(returners[fold.test] for fold in folds)
            if came_back >= FEWEST_RETURNERS:
                return Plan(train, tests[skipped:], folds, "")
            return Plan(train, tests, (), _unjudged(came_back, sum(returners[fold.test] for fold in closed)))
    return Plan(train, tests, (), _untuned(days))


def _latest(cutoffs: Sequence[date], horizon_days: int, until: date, most: int) -> tuple[Fold, ...]:
    return rolling_origin(cutoffs, horizon_days, until=until, most=most, spacing_days=max(1, horizon_days // 3))


def _can_judge(fold: Fold, train: Sequence[date], returners: Mapping[date, int]) -> bool:
    """Whether a fold says something about the registered model, which learns from the cutoffs `train`.

    From a handful of returners XGBoost learns nothing, and what starts from BG/NBD stays there: a fold with so few
    would speak for such models just where they are not yet what they will be.
    """
    in_fold, in_the_end = (sum(returners[cutoff] for cutoff in cutoffs) for cutoffs in (fold.train, train))
    return returners[fold.test] > 0 and in_fold >= max(1.0, FEWEST_LABELS * in_the_end)


def _untuned(days: int) -> str:
    return (
        f"The history of {days} days leaves no cutoff to tune on before the first test: defaults without tuning "
        "until it is some weeks longer."
    )


def _unjudged(in_folds: int, in_all: int) -> str:
    """Why: of the returners after all cutoffs before the tests, so many were after cutoffs that can judge."""
    if not in_all:
        why = "nobody came back"
    elif not in_folds:
        why = "fewer customers had come back than a tenth of those the registered model learns from"
    else:
        why = f"{in_folds} customers came back, too few to choose by (at least {FEWEST_RETURNERS})"
    return f"Before the tests {why}: defaults without tuning."


def _short(days: int, horizon_days: int, tests: Sequence[Fold]) -> str:
    had = f"The history has {days} days; the full protocol needs {4 * horizon_days} for a horizon of {horizon_days}"
    if not tests:
        return f"{had}: defaults without tuning, no out-of-time test, too little history to judge."
    return f"{had}: defaults without tuning, one test cutoff, too little history to judge."
