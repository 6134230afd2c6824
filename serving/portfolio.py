"""Totals of a set of customers, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import gammaincinv

from clv.predictor import Parts

NOTE = (
    "The intervals hold the chance of each customer, taken as independent, and the error of the model's totals when it "
    "was tested out of time. Neither knows a season or a crisis that was not in that test."
)
NOTE_UNTESTED = (
    "The intervals hold the chance of each customer only, taken as independent: this model's totals were never tested "
    "out of time, and an error of its level, a season or a crisis comes on top."
)


def portfolio(parts: Parts, about: Mapping[str, Any], value_interval: tuple[float, float]) -> dict[str, Any]:
    """Totals of customers with these parts.

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
    p, value, expected = parts.p_return, parts.value_if_return, parts.expected_value
    variation = _variation(*value_interval, level)
    level_error = _level_error(about.get("evaluation") or {})
    spend = expected.sum()
    spend_variance = float((p * value**2 * (1 + variation**2) - expected**2).sum() + (spend * level_error) ** 2)
    returners = p.sum()
    returner_variance = float((p * (1 - p)).sum() + (returners * level_error) ** 2)
    top = np.sort(expected)[::-1][: max(1, round(len(expected) / 10))]
    spend_low, spend_high = _quantiles(float(spend), spend_variance, level)
    returners_low, returners_high = _quantiles(float(returners), returner_variance, level)
    return {
        "customers": len(p),
        "expected_value": float(spend),
        "expected_value_low": spend_low,
        "expected_value_high": spend_high,
        "expected_returners": float(returners),
        "expected_returners_low": returners_low,
        "expected_returners_high": min(returners_high, float(len(p))),
        "return_share": float(returners / len(p)),
        "top_decile_share": float(top.sum() / spend) if spend > 0 else None,
        "level_error": level_error or None,
        "note": NOTE if level_error else NOTE_UNTESTED,
    }


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


def _quantiles(mean: float, variance: float, level: float) -> tuple[float, float]:
    if mean <= 0 or variance <= 0:
        return mean, mean
    shape = mean**2 / variance
    low, high = (float(gammaincinv(shape, (1 + side * level) / 2)) * variance / mean for side in (-1, 1))
    return low, high
