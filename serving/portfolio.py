"""Totals of a set of customers, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clv.predictor import Array, Parts, total_interval

NOTE = (
    "The intervals hold the chance of each customer, taken as independent, and how uncertain the level is that all of "
    "them share: season, drift and how well such forecasts met this shop's closed windows. They know no crisis that "
    "the shop has not seen."
)
NOTE_UNKNOWN = (
    "The intervals hold the chance of each customer only, taken as independent: how uncertain this model's level is "
    "was not measured, and a season or a crisis comes on top."
)

CURVE_POINTS = 60


def portfolio(parts: Parts, about: Mapping[str, Any], value_interval: tuple[float, float]) -> dict[str, Any]:
    """Totals of customers with these parts, and of the best k of them.

    Parameters
    ----------
    about
        The model's facts: the share that its intervals hold, how uncertain its level is.
    value_interval
        Factors around ``value_if_return`` that held the spend of those who returned.

    Notes
    -----
    A customer spends B·S: B is 1 with probability p, S has mean m and, read off the value interval as if lognormal, a
    coefficient of variation c. So Var[B·S] = p·m²·(1 + c²) - (p·m)². Independent variances add up; the uncertainty of
    the level that all customers share is put on top, see :func:`clv.predictor.total_interval`.
    """
    share = about["interval_level"]
    order = np.argsort(-parts.expected_value, kind="stable")
    p, value, expected = parts.p_return[order], parts.value_if_return[order], parts.expected_value[order]
    counts = _counts(len(p))
    variation = _variation(*value_interval, share)
    level_sd = float((about.get("level") or {}).get("sd", 0.0))

    def of_the_best(values: Array) -> Array:
        """Sums over the best k customers, for each of the counts."""
        return np.cumsum(values)[counts - 1]

    spend, returners = of_the_best(expected), of_the_best(p)
    spend_variance = of_the_best(p * value**2 * (1 + variation**2) - expected**2)
    spend_low, spend_high = total_interval(spend, spend_variance, level_sd, share)
    returners_low, returners_high = total_interval(returners, of_the_best(p * (1 - p)), level_sd, share)
    curve = {
        "customers": counts,
        "expected_value": spend,
        "expected_value_low": spend_low,
        "expected_value_high": spend_high,
        "expected_returners": returners,
    }
    points = [
        dict(zip(curve, point, strict=True)) for point in zip(*(each.tolist() for each in curve.values()), strict=True)
    ]
    total = float(spend[-1])
    top = float(expected[: max(1, round(len(p) / 10))].sum())
    return {
        **points[-1],
        "expected_returners_low": float(returners_low[-1]),
        "expected_returners_high": min(float(returners_high[-1]), float(len(p))),
        "return_share": float(returners[-1] / len(p)),
        "top_decile_share": top / total if total > 0 else None,
        "level_error": level_sd or None,
        "note": NOTE if level_sd else NOTE_UNKNOWN,
        "curve": points,
    }


def _counts(customers: int) -> NDArray[np.int64]:
    """How many customers each point of the curve is about: 1, 2, 5, 10, ... and steps that widen, up to all."""
    round_ones = [digit * 10**zeros for zeros in range(8) for digit in (1, 2, 5) if digit * 10**zeros <= customers]
    steps = np.linspace(0, 1, CURVE_POINTS - len(round_ones) + 1)[1:]
    return np.unique([*round_ones, *np.ceil(customers * steps**2).astype(np.int64)])


def _variation(low: float, high: float, share: float) -> float:
    """Coefficient of variation of the lognormal whose central interval is as wide as (low, high)."""
    if not 0 < low < high:
        return 1.0  # an interval from nothing says no more than that spend varies about as much as its mean
    sigma = np.log(high / low) / (2 * NormalDist().inv_cdf(0.5 + share / 2))
    return float(np.sqrt(np.expm1(sigma**2)))
