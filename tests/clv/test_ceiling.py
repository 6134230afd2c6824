"""The ceiling is that of the latent habits: measured on shops whose habits are known."""

import numpy as np
import pandas as pd
import pytest

from clv.ceiling import gap_spread, gini_ceiling
from clv.metrics import normalized_gini
from clv.models.btyd import BTYDModel
from clv.predictor import BuyTillYouDie, PurchaseProcess, Spend

HORIZON = 90
TRUE = BuyTillYouDie(PurchaseProcess(0.6, 60.0, 0.8, 2.5), Spend(6.0, 4.0, 15.0), HORIZON, 1e9)


def shop(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A BG/NBD shop: histories, spend in the window, and what the true habits promised of it."""
    rng = np.random.default_rng(seed)
    process, spend = TRUE.purchases, TRUE.spend
    rate = rng.gamma(process.r, 1 / process.alpha, n)
    leaving = rng.beta(process.a, process.b, n)
    mean = spend.p / rng.gamma(spend.q, 1 / spend.v, n)
    age = rng.integers(30, 400, n).astype(float)
    count, last, future = np.ones(n), np.zeros(n), np.zeros(n)
    alive = np.ones(n, dtype=bool)
    alive_at_age = np.ones(n, dtype=bool)
    moment = np.zeros(n)
    while alive.any():
        moment = np.where(alive, moment + rng.exponential(1 / rate), np.inf)
        past, window = alive & (moment <= age), alive & (moment > age) & (moment <= age + HORIZON)
        count[past] += 1
        last[past] = moment[past]
        future[window] += 1
        leaves = rng.random(n) < leaving
        alive_at_age &= ~(past & leaves)
        alive &= (past | window) & ~leaves
    promised = alive_at_age * -np.expm1(-rate * leaving * HORIZON) / leaving * mean
    amount = rng.gamma(spend.p * count) * mean / (spend.p * count)
    frame = pd.DataFrame(
        {
            "purchase_count": count,
            "recency_days": age - last,
            "tenure_days": age,
            "amount_mean": amount,
            "amount_total": amount * count,
        }
    )
    spent = np.where(future > 0, rng.gamma(np.maximum(spend.p * future, 1e-9)) * mean / spend.p, 0.0)
    return frame, spent, promised


def test_it_is_what_the_true_habits_reach() -> None:
    frame, spent, promised = shop(20_000, seed=1)
    reached = normalized_gini(spent, promised)
    model = BTYDModel().fit(frame, horizon_days=HORIZON)
    by_truth = gini_ceiling(TRUE, frame, rng=np.random.default_rng(0))
    by_fit = gini_ceiling(model.model_, frame, rng=np.random.default_rng(0))
    observed = normalized_gini(spent, model.predict_parts(frame).expected_value)
    assert by_truth == pytest.approx(reached, abs=0.03)
    assert by_fit == pytest.approx(reached, abs=0.05)
    assert observed < by_fit - 0.05


def gaps(shape: float, n: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Customers with 3 to 9 gaps drawn from a Gamma of this shape: 1 is random, more is more regular."""
    rng = np.random.default_rng(seed)
    rows = [rng.gamma(shape, rng.uniform(5, 50), rng.integers(3, 10)) for _ in range(n)]
    return pd.DataFrame(
        {
            "purchase_count": [len(row) + 1.0 for row in rows],
            "gap_mean_days": [row.mean() for row in rows],
            "gap_sd_days": [row.std(ddof=1) for row in rows],
        }
    )


@pytest.mark.parametrize("shape", [1.0, 4.0, 25.0])
def test_the_spread_of_gaps_tells_how_regular_purchases_are(shape: float) -> None:
    assert gap_spread(gaps(shape)) == pytest.approx(1 / shape, rel=0.25)


def test_too_few_gaps_count_as_random() -> None:
    assert gap_spread(gaps(25.0, n=10)) == 1.0
    assert gap_spread(pd.DataFrame({"purchase_count": [3.0] * 99})) == 1.0


def test_regular_customers_can_be_foreseen_further() -> None:
    frame, _, _ = shop(3000, seed=2)
    regular = frame.assign(gap_mean_days=20.0, gap_sd_days=2.0).assign(
        purchase_count=np.maximum(frame["purchase_count"], 4)
    )
    by_chance = gini_ceiling(TRUE, regular.drop(columns=["gap_sd_days"]), rng=np.random.default_rng(0))
    assert by_chance < 0.97 < gini_ceiling(TRUE, regular, rng=np.random.default_rng(0)) < 1


def test_nobody_comes_back() -> None:
    frame, _, _ = shop(50, seed=3)
    gone = BuyTillYouDie(PurchaseProcess(1e-9, 1e9, 1.0, 1.0), TRUE.spend, HORIZON, 1e9)
    assert np.isnan(gini_ceiling(gone, frame, rng=np.random.default_rng(0)))
