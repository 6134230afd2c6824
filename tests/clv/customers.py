"""Customers made up in memory, with what a model sees of them and what they did next."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clv.contract import Contract, Feature

CONTRACT = Contract(
    (
        Feature("purchase_count", "number", "purchases", nullable=False, minimum=1),
        Feature("recency_days", "number", "days", nullable=False, minimum=0),
        Feature("tenure_days", "number", "days", nullable=False, minimum=0),
        Feature("amount_mean", "number", "currency", nullable=False),
        Feature("amount_total", "number", "currency", nullable=False),
        Feature("last_review_score", "number", "points", nullable=True, minimum=1, maximum=5),
        Feature("state", "category", "", nullable=True),
    )
)

Customers = tuple[pd.DataFrame, NDArray[np.bool_], NDArray[np.float64]]


def customers(n: int, seed: int) -> Customers:
    """Features, who returned, and what they spent: recent ones and those of SP are likelier to return."""
    rng = np.random.default_rng(seed)
    count = rng.geometric(0.6, n).astype(float)
    tenure = rng.integers(30, 500, n).astype(float)
    amount = rng.gamma(3.0, 25.0, n)
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(n)],
            "purchase_count": count,
            "recency_days": np.where(count > 1, np.floor(tenure * rng.random(n)), tenure),
            "tenure_days": tenure,
            "amount_mean": amount,
            "amount_total": amount * count,
            "last_review_score": np.where(rng.random(n) < 0.3, np.nan, rng.integers(1, 6, n)),
            "state": rng.choice(np.array(["SP", "RJ", "MG", None], dtype=object), n),
        }
    )
    p = 0.05 + 0.3 * (frame["state"] == "SP") + 0.3 * np.exp(-frame["recency_days"] / 60)
    returned = rng.random(n) < p
    return (
        frame,
        returned.to_numpy(copy=True),
        np.where(returned, rng.gamma(2.0, 30.0 + 40 * (frame["state"] == "RJ"), n), 0.0),
    )
