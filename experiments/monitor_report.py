"""What ``clv monitor`` saw, and the bounds by which it is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from clv import drift
from clv.bootstrap import Interval, Outcome
from clv.level import LEVEL_BOUNDS
from clv.money import money
from clv.predictor import Parts
from experiments.prediction_history import Scoring

DRIFT_BOUND = drift.LARGE
"""A feature drifts out of bounds if its index is above this ..."""

USUAL_FACTOR = 2.0
"""... and above this many times what it was over the same number of days before the model was made: a shop that grows
always drifts, and the model has learnt to live with it."""

SMALLEST_IMPORTANCE = 0.02
"""Drift of a feature with a smaller share of the model's contributions is shown, not judged."""


@dataclass(frozen=True)
class Closed:
    """Predictions beside what came of them.

    Attributes
    ----------
    by
        Who predicted: ``version 3``, a baseline, or a service.
    as_of_date, horizon_days
        Their window; for a service's log, the latest of several days.
    promised
        Gini that the version's test had led to expect, with its interval; None if there was no test.
    promised_total
        Total that the version forecast for its own as-of day, with its interval; None for any other day.
    metrics
        What it was; empty if too few returned to tell.
    """

    by: str
    as_of_date: date
    horizon_days: int
    parts: Parts
    outcome: Outcome
    promised: Interval | None
    promised_total: Interval | None
    metrics: Mapping[str, Interval]

    @property
    def returners(self) -> int:
        """Customers who came back."""
        return int(self.outcome.is_return.sum())


@dataclass(frozen=True)
class FeatureDrift:
    """Population stability index of a feature, from the model's as-of day to today.

    Attributes
    ----------
    usual
        The same over as many days before the model was made; None where the history does not reach back as far.
    importance
        Share of the model's contributions.
    """

    feature: str
    index: float
    usual: float | None
    importance: float

    @property
    def is_out(self) -> bool | None:
        """Whether it is out of bounds; None where that is not judged."""
        if self.usual is None or self.importance < SMALLEST_IMPORTANCE:
            return None
        return self.index > max(DRIFT_BOUND, USUAL_FACTOR * self.usual)


@dataclass(frozen=True)
class Check:
    """One thing that is watched; `passed` is None where there is nothing to judge yet."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class MonitorReport:
    """What was seen.

    Attributes
    ----------
    as_of_date
        Last day of the data.
    version, model_as_of_date
        The model in Production; None if there is none.
    is_backtested, retrain_after_days
        Whether its recipe was, and the interval that suggests; None where none was seen that matters.
    closed
        The shop's scorings whose window has closed, latest first.
    served
        The services' answers whose window has closed.
    waiting
        Scorings whose window is still open.
    drift
        By index, the largest first; empty if there is nothing to compare, see :func:`no_drift`.
    """

    as_of_date: date
    currency: str
    version: str | None
    model_as_of_date: date | None
    is_backtested: bool
    retrain_after_days: int | None
    closed: tuple[Closed, ...]
    served: tuple[Closed, ...]
    waiting: tuple[Scoring, ...]
    drift: tuple[FeatureDrift, ...]
    checks: tuple[Check, ...] = ()
    run_id: str = ""

    @property
    def is_model_newer(self) -> bool:
        """Whether the model has seen more than the data now hold: their as-of day was set back."""
        return self.model_as_of_date is not None and self.model_as_of_date > self.as_of_date

    @property
    def age_days(self) -> int | None:
        """Age of the model; None if there is none or it is newer than the data."""
        if self.model_as_of_date is None or self.is_model_newer:
            return None
        return (self.as_of_date - self.model_as_of_date).days

    @property
    def failures(self) -> tuple[Check, ...]:
        """Checks that are out of bounds."""
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def verdict(self) -> str:
        """All of it in a sentence."""
        if self.failures:
            return f"Out of bounds: {'; '.join(f'{check.name}: {check.detail}' for check in self.failures)}."
        if not self.closed:
            return f"In bounds as far as can be told: {no_scoring_closed(self)}."
        return "In bounds."


def checks_of(report: MonitorReport) -> Iterator[Check]:
    """Judge all that is watched."""
    yield from _check_predictions(report)
    if report.version is None:
        yield Check("model", None, no_drift(report))
        return
    yield _check_drift(report)
    yield _check_age(report)


def _check_predictions(report: MonitorReport) -> Iterator[Check]:
    """Rank and level of the latest scoring that has closed."""
    latest = next(iter(report.closed), None)
    if latest is None:
        yield Check("rank and level", None, no_scoring_closed(report))
        return
    what = f"{latest.by} of {latest.as_of_date}"
    if not latest.metrics:
        few = f"{what}: {latest.returners} of {len(latest.parts.p_return):,} customers came back, too few to tell"
        yield Check("rank and level", None, few)
        return
    gini, ratio = latest.metrics["normalized_gini"], latest.metrics["total_ratio"]
    if latest.promised is None:
        yield Check("rank", None, f"{what} had a Gini of {_of(gini)}; it was never tested, so nothing was promised")
    else:
        yield Check(
            "rank",
            gini.high >= latest.promised.low,
            f"{what} had a Gini of {_of(gini)}, its test had {_of(latest.promised)}",
        )
    low, high = LEVEL_BOUNDS
    yield Check(
        "level",
        ratio.high >= low and ratio.low <= high,
        f"{what} predicted {_of(ratio, 2)} times what was spent, bounds {low:g} to {high:g}{_of_total(latest)}",
    )


def _of_total(closed: Closed) -> str:
    """Whether the interval of the total held."""
    if closed.promised_total is None:
        return ""
    low, high = closed.promised_total.low, closed.promised_total.high
    spent = float(closed.outcome.future_value.sum())
    held = "held" if low <= spent <= high else "missed"
    return f"; the interval of its total, {money(low, 0)} to {money(high, 0)}, {held} the {money(spent, 0)}"


def no_scoring_closed(report: MonitorReport) -> str:
    """Why there is nothing to judge yet."""
    if not report.waiting:
        return "no prediction is stored yet, `clv score` keeps them"
    first = min(report.waiting, key=lambda scoring: scoring.closes_on)
    return (
        f"no stored prediction has closed yet, the first (of {first.as_of_date}) does on {first.closes_on} and the "
        f"data end on {report.as_of_date}"
    )


def no_drift(report: MonitorReport) -> str:
    """Why there is no drift to show."""
    if report.version is None:
        return "no model of this shop is in Production"
    if report.is_model_newer:
        return (
            f"the data end on {report.as_of_date}, before the as-of day of version {report.version}: nothing to compare"
        )
    return f"version {report.version} keeps no profile of its inputs; train again to have one"


def _check_drift(report: MonitorReport) -> Check:
    if not report.drift:
        return Check("inputs", None, no_drift(report))
    judged = [found for found in report.drift if found.is_out is not None]
    out = [found for found in judged if found.is_out]
    if out:
        named = ", ".join(f"{found.feature} {found.index:.2f} (usual {found.usual:.2f})" for found in out[:3])
        return Check("inputs", False, f"{len(out)} of {len(judged)} features drift more than usual: {named}")
    largest = report.drift[0]
    if not judged:
        return Check(
            "inputs", None, f"largest index {largest.index:.2f} ({largest.feature}); nothing to compare it with"
        )
    return Check("inputs", True, f"largest index {largest.index:.2f} ({largest.feature}), no more than usual")


def _check_age(report: MonitorReport) -> Check:
    age, limit = report.age_days, report.retrain_after_days
    made = f"version {report.version} of {report.model_as_of_date} is"
    if age is None:
        return Check("age", None, f"{made} newer than the data, which end on {report.as_of_date}")
    made = f"{made} {age} days old"
    if not report.is_backtested:
        return Check("age", None, f"{made}; `clv backtest` would tell after how long to train again")
    if limit is None:
        return Check("age", True, f"{made}; its backtest saw no decay that matters")
    return Check("age", age < limit, f"{made}, its backtest suggests to retrain before {limit}")


def _of(found: Interval, digits: int = 3) -> str:
    return f"{found.estimate:.{digits}f} ({found.low:.2f} to {found.high:.2f})"
