"""The level of a shop's predictions: the forecast total of all customers, and how such forecasts did before.

Learners rank customers well and carry the last window's season and trend into the next. The total has a better source:
the shop's own history as a whole (:mod:`clv.forecast`). A model's predictions are brought to it by one factor on
everybody's purchase rate, which leaves their order as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from clv.forecast import Forecast, forecast
from clv.ledger import EPOCH, Ledger

INTERVAL_LEVEL = 0.8
"""Probability with which the intervals of totals and values hold what will come."""

LEVEL_BOUNDS = (0.5, 2.0)
"""Total predicted / actual; further off is a broken level, not a season. The gate judges the estimate, ``clv monitor``
the whole interval."""

RECORD_WINDOWS = 12
RECORD_SPACING = 30
"""Closed windows, and days between their cutoffs, on which the forecast is tried out."""

FEWEST_DAYS = 60
"""Days of history before the first of them, at the least."""

PRIOR_WINDOWS = 2.0
"""The shop's own record weighs as many windows as it has, the regression's own mean and spread as many as this."""

LARGEST_SURPRISE = 4.0
"""A window that was further off, in standard deviations, counts as this far: a month of closed doors happens once."""

DOUBT = 0.5
"""Of a mean surprise this many standard errors are put down to chance."""


@dataclass(frozen=True)
class Window:
    """A closed window that was forecast with what was known at its cutoff, and what was spent in it."""

    forecast: Forecast
    spent: float

    def is_covered(self, share: float) -> bool:
        """Whether the interval held what was spent."""
        low, high = self.forecast.interval(share)
        return low <= self.spent <= high

    def to_json(self, share: float) -> dict[str, Any]:
        """In plain numbers."""
        low, high = self.forecast.interval(share)
        return {
            "cutoff": self.forecast.cutoff.isoformat(),
            "forecast": self.forecast.total,
            "low": low,
            "high": high,
            "spent": self.spent,
        }


def track_record(ledger: Ledger, cutoff: date, horizon_days: int) -> tuple[Window, ...]:
    """Forecasts of the windows that had closed by `cutoff`, the latest first, each with what was known at its own.

    A window needs as long a history before it as it is long itself.
    """
    known = ledger.until(cutoff)
    begin = EPOCH + timedelta(days=int(known.first.min()))
    windows: list[Window] = []
    for back in range(RECORD_WINDOWS):
        past = cutoff - timedelta(days=horizon_days + back * RECORD_SPACING)
        if (past - begin).days + 1 < max(horizon_days, FEWEST_DAYS):
            break
        windows.append(Window(forecast(known, past, horizon_days), known.spent(past, horizon_days)))
    return tuple(windows)


@dataclass(frozen=True)
class Level:
    """The level of a shop at a cutoff.

    Attributes
    ----------
    forecast
        Of the total; shifted, and its uncertainty widened or narrowed, by the shop's own record.
    record
        Closed windows it was tried out on, the latest first, each corrected by those that had closed before it.
    shift
        What the record has multiplied the total by.
    floor
        What it is multiplied by because no label is below 0, see :meth:`clv.ledger.Ledger.floor`; the record, too.
    """

    forecast: Forecast
    record: tuple[Window, ...]
    shift: float = 1.0
    floor: float = 1.0

    def covered(self, share: float) -> int:
        """How many windows of the record ended within their interval."""
        return sum(window.is_covered(share) for window in self.record)

    def to_json(self, share: float, factor: float) -> dict[str, Any]:
        """What ``model.json`` says of it, in plain numbers and one sentence; `factor` is the predictor's level."""
        low, high = self.forecast.interval(share)
        return {
            "factor": factor,
            "total": self.forecast.total,
            "total_low": low,
            "total_high": high,
            "sd": self.forecast.level_sd,
            "shift": self.shift,
            "floor": self.floor,
            "chance": self.forecast.chance,
            "season": self.forecast.season,
            "season_seen": self.forecast.season_seen,
            "windows": len(self.record),
            "windows_covered": self.covered(share),
            "record": [window.to_json(share) for window in reversed(self.record)],
            "note": self.note(share, factor),
        }

    def note(self, share: float, factor: float) -> str:
        """What was done, in plain words."""
        seen = self.forecast.season_seen
        season = (
            f"the shop has seen this time of the year before, {self.forecast.season:.2f} times as busy as the average"
            if seen > 0.5
            else "the shop has not seen this time of the year before, and what season it is widens the interval"
        )
        record = (
            f"{self.covered(share)} of {len(self.record)} closed windows, forecast the same way, ended within their "
            f"{share:.0%} interval"
            if self.record
            else "no window of this length has closed yet that it could be tried out on"
        )
        shift = (
            f"; as closed windows were {'over' if self.shift < 1 else 'under'}estimated, it is multiplied by "
            f"{self.shift:.2f}"
            if abs(self.shift - 1) >= 0.005
            else ""
        )
        floor = (
            f"; as who gives back more than they buy counts as 0, it is multiplied by {self.floor:.2f}"
            if self.floor >= 1.005
            else ""
        )
        return (
            f"The total is forecast from the shop's own history{shift}{floor}, and all purchase rates are multiplied "
            f"by {factor:.2f} to meet it; {season}; {record}."
        )


def fit_level(ledger: Ledger, cutoff: date, horizon_days: int) -> Level:
    """Forecast the total after `cutoff`, and closed windows before it to see how good such forecasts are."""
    tried = track_record(ledger, cutoff, horizon_days)
    now = forecast(ledger, cutoff, horizon_days)
    found = corrected(now, tried)
    record = [replace(window, forecast=corrected(window.forecast, _closed_by(window, tried))) for window in tried]
    floor = ledger.floor(cutoff, horizon_days)
    return Level(
        forecast=replace(found, total=floor * found.total),
        record=tuple(
            Window(replace(window.forecast, total=floor * window.forecast.total), floor * window.spent)
            for window in record
        ),
        shift=found.total / now.total,
        floor=floor,
    )


def corrected(now: Forecast, closed: Sequence[Window]) -> Forecast:
    """A forecast as the windows ask that had closed by its cutoff.

    They are measured in surprises, how many of its own standard deviations a forecast was off: what it was not sure of
    says little. The mean surprise beyond chance shifts the total, the rest widens or narrows the interval; both are
    shrunk to what the regression says of itself.
    """
    if not closed:
        return now
    # windows that overlap count as fewer
    count = max(1.0, len(closed) * min(1.0, RECORD_SPACING / now.horizon_days))
    surprises = np.array([window.forecast.surprise(window.spent) for window in closed])
    surprises = np.clip(surprises, -LARGEST_SURPRISE, LARGEST_SURPRISE)
    mean = float(surprises.mean())
    bias = np.sign(mean) * max(0.0, abs(mean) - DOUBT / np.sqrt(count)) * count / (PRIOR_WINDOWS + count)
    square = float(np.mean((surprises - bias) ** 2))
    scale_squared = (PRIOR_WINDOWS + count * square) / (PRIOR_WINDOWS + count)
    variance = now.level_sd**2 + np.log1p(now.chance)
    # The chance of single purchases is known well; what the record adds or takes away is the level's.
    level_variance = max(scale_squared * variance - np.log1p(now.chance), (now.level_sd / 2) ** 2)
    shift = float(np.exp(-bias * np.sqrt(variance)))
    return replace(now, total=now.total * shift, chance=now.chance / shift, level_sd=float(np.sqrt(level_variance)))


def _closed_by(window: Window, tried: Sequence[Window]) -> list[Window]:
    """The windows that had closed when `window` was forecast."""
    last = window.forecast.cutoff - timedelta(days=window.forecast.horizon_days)
    return [other for other in tried if other.forecast.cutoff <= last]
