"""Time is the split: which cutoffs train, tune and test.

A cutoff may train for a test at cutoff T only if its label window had closed by T. Everything a model was tuned on
closed before the first test cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from clv.errors import InputError

MAX_TESTS = 3
MAX_FOLDS = 3


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
    horizon = timedelta(days=horizon_days)
    chosen: list[Fold] = []
    for test in sorted(cutoffs, reverse=True):
        if len(chosen) == most:
            break
        too_close = chosen and (chosen[-1].test - test).days < spacing_days
        train = apart([cutoff for cutoff in cutoffs if cutoff + horizon <= test], horizon_days)
        if test + horizon <= until and not too_close and train:
            chosen.append(Fold(train, test))
    return tuple(reversed(chosen))


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


def plan(cutoffs: Sequence[date], *, first_purchase_date: date, as_of_date: date, horizon_days: int) -> Plan:
    """Which cutoffs train, tune and test, by the length of the history.

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
    train = apart(cutoffs, horizon_days)
    full = days >= 4 * horizon_days
    spacing = max(1, horizon_days // 3)
    tests = rolling_origin(cutoffs, horizon_days, until=as_of_date, most=MAX_TESTS if full else 1, spacing_days=spacing)
    folds = (
        rolling_origin(cutoffs, horizon_days, until=tests[0].test, most=MAX_FOLDS, spacing_days=spacing)
        if full and tests
        else ()
    )
    return Plan(train, tests, folds, _note(days, horizon_days, full=full, tests=tests, folds=folds), not full)


def _note(days: int, horizon_days: int, *, full: bool, tests: Sequence[Fold], folds: Sequence[Fold]) -> str:
    if full and folds:
        return ""
    if full:
        return "No earlier cutoff is left to tune on: defaults without tuning."
    had = f"The history has {days} days; the full protocol needs {4 * horizon_days} for a horizon of {horizon_days}"
    if not tests:
        return f"{had}: defaults without tuning, no out-of-time test, too little history to judge."
    return f"{had}: defaults without tuning, {len(tests)} test cutoff(s), too little history to judge."
