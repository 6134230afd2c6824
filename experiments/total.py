"""The total of all customers that were scored: its interval, what it is in words, and whether it is to be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clv.money import money

FEWEST_WINDOWS = 4
"""Closed windows on which a forecast was tried out; fewer say nothing of how good it is."""

LEAST_COVERED = 0.5
"""Share of them that must have ended within their interval; a record below it is not bad luck."""

LARGEST_SHARE = 0.25
"""Share of a total above which one customer is named as its risk."""


def interval(level: Mapping[str, Any] | None, total: float) -> tuple[float, float] | None:
    """Interval of a total whose customers share a level; None where none is known.

    The chance of single purchases grows with the total, as its variance is proportional to it.

    Parameters
    ----------
    level
        ``Predictor.about["level"]``, or what :meth:`clv.level.Level.to_json` says.
    total
        In the shop's currency; that of the level's own day, or what the same model expects of other customers.
    """
    if not level or total <= 0:
        return None
    import numpy as np

    from clv.level import INTERVAL_LEVEL
    from clv.predictor import total_interval

    variance = level["chance"] * level["total"] * total
    low, high = total_interval(np.array([total]), np.array([variance]), level["sd"], INTERVAL_LEVEL)
    return float(low[0]), float(high[0])


def amount(total: float, ends: tuple[float, float] | None, currency: str, share: float) -> str:
    """A total with its interval, or plainly without one.

    Examples
    --------
    >>> amount(12340.2, (9100.0, 16200.0), "BRL", 0.8)
    '12,340 BRL (80% interval: 9,100 to 16,200)'
    >>> amount(0.0, None, "BRL", 0.8)
    '0 BRL (no interval is known)'
    """
    said = "no interval is known" if ends is None else f"{share:.0%} interval: {' to '.join(money(x, 0) for x in ends)}"
    return f"{money(total, 0)} {currency} ({said})"


def doubt(level: Mapping[str, Any]) -> str:
    """A warning if forecasts of closed windows were far off more often than chance explains; else empty."""
    from clv.level import INTERVAL_LEVEL

    windows, covered = level["windows"], level["windows_covered"]
    if windows < FEWEST_WINDOWS or covered >= LEAST_COVERED * windows:
        return ""
    return (
        f"Of {windows} closed windows, forecast the same way, {f'only {covered}' if covered else 'none'} ended within "
        f"the {INTERVAL_LEVEL:.0%} interval: the total may be further off than its interval says."
    )


def dependence(largest: float, expected: float) -> str:
    """A warning if much of a total is expected of one customer; else empty.

    Examples
    --------
    >>> dependence(61.0, 100.0)
    'One customer makes up 61% of the total: its interval knows of their chance purchases, not of their leaving.'
    """
    if expected <= 0 or largest <= LARGEST_SHARE * expected:
        return ""
    return (
        f"One customer makes up {largest / expected:.0%} of the total: its interval knows of their chance purchases, "
        "not of their leaving."
    )
