import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from clv.baselines import (
    HistoricalRate,
    Mean,
    NewestFirst,
    Persistence,
    TotalSpend,
    Zero,
    ladder,
)
from clv.metrics import normalized_gini

HORIZON = 90

COLUMNS = {
    "zero": [],
    "mean": [],
    "newest_first": ["tenure_days", "recency_days"],
    "historical_rate": ["purchase_count", "tenure_days", "amount_mean"],
    "total_spend": ["amount_total"],
    "persistence": ["amount_90d"],
}
"""What each rung reads of a frame."""


def snapshots(size, seed, repeat_rate=0.2):
    rng = np.random.default_rng(seed)
    count = 1 + rng.poisson(0.5, size)
    tenure = rng.integers(0, 400, size) * 1.0
    mean = rng.lognormal(3, 1, size)
    frame = pd.DataFrame(
        {
            "tenure_days": tenure,
            "recency_days": np.where(count > 1, np.floor(tenure * rng.random(size)), tenure),
            "purchase_count": count * 1.0,
            "amount_mean": mean,
            "amount_total": mean * count,
            **{f"amount_{days}d": np.where(tenure < days, mean, 0.0) for days in (30, 90, 180, 365)},
        }
    )
    return frame, np.where(rng.random(size) < repeat_rate, rng.lognormal(3, 1, size), 0.0)


def assert_valid(parts, size):
    assert len(parts.p_return) == len(parts.value_if_return) == size
    assert np.isfinite(parts.p_return).all()
    assert np.isfinite(parts.value_if_return).all()
    assert ((parts.p_return >= 0) & (parts.p_return <= 1)).all()
    assert (parts.value_if_return >= 0).all()


@pytest.mark.parametrize("name", ladder())
@given(size=st.integers(1, 40), seed=st.integers(0, 10**6), repeat_rate=st.sampled_from([0.0, 0.05, 0.6, 1.0]))
def test_every_rung_gives_valid_parts(name, size, seed, repeat_rate):
    frame, value = snapshots(size, seed, repeat_rate)
    rung = ladder()[name].fit(frame, value, horizon_days=HORIZON)
    assert_valid(rung.predict_parts(frame), size)
    assert_valid(rung.predict_parts(snapshots(25, seed + 1)[0]), 25)
    assert_valid(rung.predict_parts(frame.head(0)), 0)


@pytest.mark.parametrize(("name", "columns"), COLUMNS.items())
def test_a_rung_needs_only_its_columns_and_scores_rows_one_by_one(name, columns):
    frame, value = snapshots(60, 1)
    rung = ladder()[name]
    rung.fit(frame[columns], value, horizon_days=HORIZON)
    together = rung.predict_parts(frame[columns]).expected_value
    alone = [rung.predict_parts(frame.iloc[[row]]).expected_value[0] for row in range(len(frame))]
    assert together == pytest.approx(alone)


def test_zero_and_mean_by_hand():
    frame, value = pd.DataFrame(index=range(4)), np.array([30.0, 10.0, 0.0, 0.0])
    assert Zero().fit(frame, value, horizon_days=HORIZON).predict_parts(frame).expected_value.tolist() == [0] * 4
    parts = Mean().fit(frame, value, horizon_days=HORIZON).predict_parts(frame)
    assert parts.p_return.tolist() == [0.5] * 4
    assert parts.value_if_return.tolist() == [20.0] * 4


@pytest.mark.parametrize("repeat_rate", [0.005, 0.2, 0.9])
def test_newest_first_ranks_by_tenure_then_recency_around_the_base_rate(repeat_rate):
    frame, value = snapshots(5000, 2, repeat_rate)
    parts = NewestFirst().fit(frame, value, horizon_days=HORIZON).predict_parts(frame)
    order = rankdata([tenure * 1000 + recency for tenure, recency in frame[["tenure_days", "recency_days"]].to_numpy()])
    assert rankdata(-parts.p_return) == pytest.approx(order)
    assert parts.p_return.mean() == pytest.approx(np.mean(value > 0))
    assert np.unique(parts.value_if_return).tolist() == pytest.approx([value[value > 0].mean()])


def test_newest_first_still_tells_apart_customers_older_than_any_it_was_fitted_on():
    frame, value = snapshots(500, 3)
    older = pd.DataFrame({"tenure_days": [900.0, 800.0, 1000.0], "recency_days": [900.0, 10.0, 1000.0]})
    chance = NewestFirst().fit(frame, value, horizon_days=HORIZON).predict_parts(older).p_return
    assert chance[1] > chance[0] > chance[2] > 0


def test_historical_rate_by_hand():
    frame = pd.DataFrame({"purchase_count": [2.0], "tenure_days": [199.0], "amount_mean": [25.0]})
    parts = HistoricalRate().fit(frame, np.zeros(1), horizon_days=100).predict_parts(frame)
    assert parts.p_return[0] == pytest.approx(1 - np.exp(-1.0))  # 2 purchases in 200 days, so 1 in the next 100
    assert parts.value_if_return[0] == 25.0


@pytest.mark.parametrize(("rung", "column"), [(TotalSpend(), "amount_total"), (Persistence(), "amount_90d")])
def test_spend_rungs_are_proportional_and_reach_the_training_total(rung, column):
    frame, value = snapshots(3000, 4)
    expected = rung.fit(frame, value, horizon_days=HORIZON).predict_parts(frame).expected_value
    spend = frame[column].to_numpy()
    assert expected.sum() == pytest.approx(value.sum())
    assert expected == pytest.approx(spend * value.sum() / spend.sum())


@pytest.mark.parametrize(("horizon_days", "window"), [(1, 30), (60, 30), (61, 90), (90, 90), (180, 180), (730, 365)])
def test_persistence_takes_the_window_nearest_to_the_horizon(horizon_days, window):
    frame, value = snapshots(50, 5)
    assert Persistence().fit(frame, value, horizon_days=horizon_days).window_days_ == window


def test_persistence_without_recent_spend_predicts_nothing():
    frame, value = snapshots(50, 6)
    frame["amount_90d"] = 0.0
    assert Persistence().fit(frame, value, horizon_days=HORIZON).predict_parts(frame).expected_value.sum() == 0


def test_the_ladder_starts_with_nothing_and_its_rungs_are_fresh():
    frame, value = snapshots(400, 7)
    names = list(ladder())
    assert names[:2] == ["zero", "mean"]
    for name in names[:2]:
        parts = ladder()[name].fit(frame, value, horizon_days=HORIZON).predict_parts(frame)
        assert normalized_gini(value, parts.expected_value) == 0
    assert ladder()["mean"] is not ladder()["mean"]
