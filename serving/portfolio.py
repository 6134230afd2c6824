"""Totals of a set of customers, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from clv.predictor import Parts

Array = NDArray[np.float64]

NOTE = (
    "The intervals hold the chance of each customer, taken as independent, and the error of the model's totals when it "
    "was tested out of time. Neither knows a season or a crisis that was not in that test."
)
NOTE_UNTESTED = (
    "The intervals hold the chance of each customer only, taken as independent: this model's totals were never tested "
    "out of time, and an error of its level, a season or a crisis comes on top."
)


CURVE_POINTS = 60


def portfolio(parts: Parts, about: Mapping[str, Any], value_interval: tuple[float, float]) -> dict[str, Any]:
    """Totals of customers with these parts, and of the best k of them.

    Parameters
    ----------
    about
        The model's facts: the level of its intervals, its test out of time.
    value_interval
        Factors around ``value_if_return`` that held the spend of those who returned.

    Notes
    -----
    A customer spends B·S: B is 1 with probability p, S has mean m and, read off the value interval as if lognormal, a
    coefficient of variation c. So Var[B·S] = p·m²·(1 + c²) - (p·m)². Independent variances add up; the relative error
    of the total out of time is put on top. Quantiles are those of the gamma distribution with that mean and variance,
    which is never negative and close to normal for many customers.
    """
    level = about["interval_level"]
    order = np.argsort(-parts.expected_value, kind="stable")
    p, value, expected = parts.p_return[order], parts.value_if_return[order], parts.expected_value[order]
    counts = _counts(len(p))
    variation = _variation(*value_interval, level)
    level_error = _level_error(about.get("evaluation") or {})

    def of_the_best(values: Array) -> Array:
        """Sums over the best k customers, for each of the counts."""
        return np.cumsum(values)[counts - 1]

    spend, returners = of_the_best(expected), of_the_best(p)
    spend_variance = of_the_best(p * value**2 * (1 + variation**2) - expected**2) + (spend * level_error) ** 2
    spend_low, spend_high = _quantiles(spend, spend_variance, level)
    returner_variance = of_the_best(p * (1 - p)) + (returners * level_error) ** 2
    returners_low, returners_high = _quantiles(returners, returner_variance, level)
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
        "level_error": level_error or None,
        "note": NOTE if level_error else NOTE_UNTESTED,
        "curve": points,
    }


def _counts(customers: int) -> NDArray[np.int64]:
    """How many customers each point of the curve is about: closer together where the best are, all at the end."""
    steps = np.arange(1, CURVE_POINTS + 1) / CURVE_POINTS
    return np.unique(np.ceil(customers * steps**2).astype(np.int64))


def _variation(low: float, high: float, level: float) -> float:
    """Coefficient of variation of the lognormal whose central interval is as wide as (low, high)."""
    if not 0 < low < high:
        return 1.0  # an interval from nothing says no more than that spend varies about as much as its mean
    sigma = np.log(high / low) / (2 * NormalDist().inv_cdf(0.5 + level / 2))
    return float(np.sqrt(np.expm1(sigma**2)))


def _level_error(evaluation: Mapping[str, Any]) -> float:
    """Relative root mean square error of the total out of time: how far it was off, and how surely that is known."""
    ratio, low, high = evaluation.get("models", {}).get("model", {}).get("total_ratio", (None, None, None))
    if ratio is None:
        return 0.0
    spread = 0.0
    if low is not None and high is not None:
        spread = (high - low) / (2 * NormalDist().inv_cdf(0.5 + evaluation["level"] / 2))
    return float(np.hypot(ratio - 1, spread))


def _quantiles(mean: Array, variance: Array, level: float) -> tuple[Array, Array]:
    """Ends of the central interval of the gamma distributions with these means and variances."""
    is_spread = (mean > 0) & (variance > 0)
    mean_, variance_ = np.where(is_spread, mean, 1.0), np.where(is_spread, variance, 1.0)
    low, high = (gammaincinv(mean_**2 / variance_, (1 + side * level) / 2) * variance_ / mean_ for side in (-1, 1))
    return np.where(is_spread, low, mean), np.where(is_spread, high, mean)
