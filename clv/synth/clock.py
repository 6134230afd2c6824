"""The shop's season, and operational time: the clock in which purchases come at a constant rate."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.int64]
"""Moments as whole seconds since 1970-01-01 00:00 in the shop's local time."""
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

DAY = 86_400
HOUR = 3_600

_WEEKDAY = np.array([1.10, 1.10, 1.05, 1.00, 1.00, 0.80, 0.95])  # Monday first
_HOUR = np.array([5, 2, 1, 1, 1, 1, 2, 5, 12, 20, 25, 27, 26, 27, 28, 27, 27, 25, 24, 25, 26, 25, 22, 15])
_GIFT_START, _PEAK_END, _GIFT_END = (11, 20), (11, 30), (12, 23)


def seconds(day: date) -> int:
    """Midnight at the start of `day`."""
    return int(np.datetime64(day, "s").astype(np.int64))


def calendar(start: date, stop: date) -> NDArray[np.datetime64]:
    """All days from `start` to `stop`, both included."""
    return np.datetime64(start, "D") + np.arange((stop - start).days + 1)


def is_gift_season(moments: Seconds) -> NDArray[np.bool_]:
    """Whether the moments lie between the November peak's first day and 23 December."""
    days = moments.astype("datetime64[s]").astype("datetime64[D]")
    return _between(_month_day(days), _GIFT_START, _GIFT_END)


def season(days: NDArray[np.datetime64]) -> Floats:
    """How busy each day is, relative to an ordinary one: yearly wave, weekday, November peak and Christmas."""
    numbers = days.astype("datetime64[D]").astype(np.int64)
    day_of_year = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    wave = 1 + 0.2 * np.sin(2 * np.pi * (day_of_year - 60) / 365.25)
    month_day = _month_day(days)
    peak = np.where(_between(month_day, _GIFT_START, _PEAK_END), 2.0, 1.0)
    christmas = np.where(_between(month_day, (12, 1), _GIFT_END), 1.4, 1.0)
    return np.asarray(wave * _WEEKDAY[(numbers + 3) % 7] * peak * christmas)  # day 0 of the epoch was a Thursday


class Clock:
    """Operational time: the integral of the season from `start`, an ordinary day counting about 1.

    Parameters
    ----------
    start
        First day; operational time is 0 at its midnight.
    stop
        Last day the clock is asked about.
    """

    def __init__(self, start: date, stop: date) -> None:
        hourly = np.outer(season(calendar(start, stop + timedelta(days=1))), _HOUR / _HOUR.sum()).ravel()
        self._moments = (seconds(start) + HOUR * np.arange(hourly.size + 1)).astype(np.float64)
        self._elapsed = np.concatenate([[0.0], np.cumsum(hourly)])

    def elapsed(self, moments: Seconds | int) -> Floats:
        """Operational time at `moments`."""
        return np.asarray(np.interp(moments, self._moments, self._elapsed))

    def moments(self, elapsed: Floats) -> Seconds:
        """Inverse of :meth:`elapsed`, to the whole second at or before."""
        return np.floor(np.interp(elapsed, self._elapsed, self._moments)).astype(np.int64)


def _month_day(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    months = days.astype("datetime64[M]")
    month = months.astype(np.int64) % 12 + 1
    return np.asarray(100 * month + (days - months.astype("datetime64[D]")).astype(np.int64) + 1)


def _between(month_day: NDArray[np.int64], first: tuple[int, int], last: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray((month_day >= 100 * first[0] + first[1]) & (month_day <= 100 * last[0] + last[1]))
