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
"""The shop's own record of errors weighs as many windows as it has, the regression's own spread as many as this."""


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
        Of the total; its uncertainty is widened or narrowed by the shop's own record.
    record
        Closed windows it was tried out on, the latest first.
    """

    forecast: Forecast
    record: tuple[Window, ...]

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
        return (
            f"The total is forecast from the shop's own history, and all purchase rates are multiplied by "
            f"{factor:.2f} to meet it; {season}; {record}."
        )


def fit_level(ledger: Ledger, cutoff: date, horizon_days: int) -> Level:
    """Forecast the total after `cutoff`, and closed windows before it to see how good such forecasts are.

    The spread of the forecast is scaled by how far off, in its own terms, forecasts of closed windows were. Their mean
    error is not taken over: it says next to nothing of the next error.
    """
    record = track_record(ledger, cutoff, horizon_days)
    now = forecast(ledger, cutoff, horizon_days)
    if not record:
        return Level(now, ())
    scale = _scale(record, horizon_days)
    total_variance = now.level_sd**2 + np.log1p(now.chance)
    # The chance of single purchases is known well; what the record adds or takes away is the level's.
    level_variance = max(scale**2 * total_variance - np.log1p(now.chance), (now.level_sd / 2) ** 2)
    return Level(replace(now, level_sd=float(np.sqrt(level_variance))), record)


def _scale(record: Sequence[Window], horizon_days: int) -> float:
    """Root mean square surprise; windows that overlap count as fewer, and the regression's own spread as some."""
    count = max(1.0, len(record) * min(1.0, RECORD_SPACING / horizon_days))
    square = float(np.mean([window.forecast.surprise(window.spent) ** 2 for window in record]))
    return float(np.sqrt((PRIOR_WINDOWS + count * square) / (PRIOR_WINDOWS + count)))
