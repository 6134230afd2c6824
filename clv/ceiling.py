"""How well anybody could rank customers: the ceiling that a result is read against.

Even somebody who knew each customer's hidden habits (how often they buy, whether they are still there, how much they
spend) could not foresee in which weeks they happen to buy. The ceiling is the normalized Gini of that somebody, in
futures drawn from the fitted buy-till-you-die model. A model sees less than that, so a model which is above it has
most likely seen the future.

Buy till you die takes purchases for random events. Where customers buy more regularly than that, a subscription for
instance, more can be foreseen: the spread of their gaps tells by how much, and what is out of reach shrinks by it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from clv.metrics import normalized_gini
from clv.predictor import Array, BuyTillYouDie

FUTURES = 5
"""Futures drawn; the ceiling is their mean."""

FEWEST_GAPS = 2
FEWEST_CUSTOMERS = 30
"""Customers with two gaps or more that it takes to tell how regularly a shop's customers buy."""


def gini_ceiling(
    model: BuyTillYouDie, customers: pd.DataFrame, *, rng: np.random.Generator, futures: int = FUTURES
) -> float:
    """Normalized Gini of the expected value given each customer's true habits, ``nan`` if nobody comes back.

    Habits are drawn from what the model makes of each customer's history, then futures from the habits.

    Parameters
    ----------
    model
        Fitted on these customers.
    customers
        Columns purchase_count, recency_days, tenure_days, amount_mean; and gap_mean_days, gap_sd_days where known.
    """
    drawn = [normalized_gini(*_future(model, customers, rng)) for _ in range(futures)]
    known = [gini for gini in drawn if np.isfinite(gini)]
    return 1.0 - (1.0 - float(np.mean(known))) * min(1.0, gap_spread(customers)) if known else float("nan")


def gap_spread(customers: pd.DataFrame) -> float:
    """Variance of the gaps between a customer's purchases over their squared mean: 1 at random, 0 like clockwork.

    For n gaps at random the sample's ratio is n / (n + 1) on average, which is made up for. It is 1 where too few
    customers have several gaps.
    """
    if not {"gap_mean_days", "gap_sd_days"} <= set(customers.columns):
        return 1.0
    gaps = customers["purchase_count"].to_numpy(dtype=np.float64) - 1
    mean, spread = (customers[name].to_numpy(dtype=np.float64) for name in ("gap_mean_days", "gap_sd_days"))
    several = (gaps >= FEWEST_GAPS) & (mean > 0) & np.isfinite(spread)
    if np.count_nonzero(several) < FEWEST_CUSTOMERS:
        return 1.0
    n = gaps[several]
    return float(np.mean((spread[several] / mean[several]) ** 2 * (n + 1) / n))


def _future(model: BuyTillYouDie, customers: pd.DataFrame, rng: np.random.Generator) -> tuple[Array, Array]:
    """What each customer spends in one future, and what was to be expected knowing their habits."""
    count, recency, tenure, amount = (
        customers[name].to_numpy(dtype=np.float64)
        for name in ("purchase_count", "recency_days", "tenure_days", "amount_mean")
    )
    process, spend, horizon = model.purchases, model.spend, model.horizon_days
    x, t_x, T = np.maximum(count - 1, 0), np.clip(tenure - recency, 0, tenure), tenure

    alive = rng.random(len(x)) < process.p_alive(x, t_x, T)
    rate = rng.gamma(process.r + x, 1 / (process.alpha + T))
    leaving = np.clip(rng.beta(process.a, process.b + x), 1e-12, 1.0)
    mean_amount = spend.p / np.maximum(
        rng.gamma(spend.q + spend.p * (x + 1), 1 / (spend.v + (x + 1) * np.maximum(amount, 0))), 1e-300
    )
    expected = alive * -np.expm1(-rate * leaving * horizon) / leaving * mean_amount

    # a purchase a day at most, and none after the one they leave at
    purchases = np.minimum(np.minimum(rng.poisson(rate * horizon), rng.geometric(leaving)), horizon) * alive
    spent = np.where(purchases > 0, rng.gamma(np.maximum(spend.p * purchases, 1e-12)) * mean_amount / spend.p, 0.0)
    return spent, expected
