"""What is too good to be true, and which feature is to blame."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from clv.bootstrap import Interval, Outcome
from clv.contract import Contract, Feature
from clv.evaluation import Evaluation
from clv.leaks import ABOVE_ORACLE, FAR, build_features, shuffled_orders, suspects, too_good, without_future
from clv.predictor import Parts
from clv.settings import Settings
from clv.snapshots import Snapshots

CUTOFF = date(2018, 5, 31)
N = 4000


def evaluation(ceiling: float, **noise: float) -> Evaluation:
    """Models that know the future up to their noise."""
    rng = np.random.default_rng(3)
    value = np.where(rng.random(N) < 0.1, rng.gamma(2, 50, N), 0.0)
    parts = {}
    for name, amount in noise.items():
        guess = np.exp(rng.normal(size=N) * amount) * (0.05 + (value > 0))
        parts[name] = (Parts(guess / (1 + guess), np.full(N, 100.0)),)
    return Evaluation((CUTOFF,), (Outcome(np.arange(N), value > 0, value),), parts, 1, (), (ceiling,))


def test_an_honest_model_is_believed() -> None:
    assert too_good(evaluation(0.95, model=3.0, btyd=4.0)) is None
    assert too_good(evaluation(float("nan"), model=0.1, btyd=4.0)) is None


def test_far_above_the_baselines_is_not_believed() -> None:
    found = too_good(evaluation(0.95, model=1.2, btyd=6.0))
    assert found is not None
    assert found.baseline == "btyd"
    assert FAR < found.share < 1
    assert "far above btyd" in found.reason


def test_above_the_ceiling_is_not_believed() -> None:
    found = too_good(evaluation(0.5, model=1.0, btyd=6.0))
    assert found is not None
    assert "above the ceiling, 0.500" in found.reason


def test_a_ceiling_that_a_plain_rule_is_above_accuses_nobody() -> None:
    assert too_good(evaluation(0.5, model=0.8, btyd=1.0)) is None


@pytest.mark.parametrize(("low", "believed"), [(ABOVE_ORACLE - 0.01, True), (ABOVE_ORACLE + 0.01, False)])
def test_nobody_beats_the_oracle_of_a_synthetic_shop(low: float, believed: bool) -> None:
    found = too_good(evaluation(0.95, model=3.0, btyd=4.0), Interval(1.2, low, 1.4))
    assert (found is None) is believed


@pytest.mark.parametrize("kind", ["number", "category"])
def test_the_feature_that_contains_the_label_is_the_most_suspicious(kind: str) -> None:
    rng = np.random.default_rng(1)
    value = np.where(rng.random(N) < 0.1, rng.gamma(2, 50, N), 0.0)
    frame = pd.DataFrame(
        {
            "cutoff_date": np.where(np.arange(N) < N // 2, 0, 1),
            "customer_id": np.arange(N),
            "is_return": value > 0,
            "future_value": value,
            "honest": value * np.exp(rng.normal(size=N) * 0.2) * (rng.random(N) < 0.3),
            "constant": 1.0,
            "missing": np.nan,
            "state": pd.Categorical(rng.choice(["SP", "RJ"], N)),
            "leak": value if kind == "number" else pd.Categorical(np.where(value > 50, "big", "small")),
        }
    )
    contract = Contract(
        (
            *(Feature(name, "number", "", nullable=True) for name in ("honest", "constant", "missing")),
            Feature("state", "category", "", nullable=True),
            Feature("leak", kind, "", nullable=True),  # type: ignore[arg-type]
        )
    )
    ranked = suspects(Snapshots(frame[: N // 2]), Snapshots(frame[N // 2 :]), contract)
    assert [one.feature for one in ranked[:2]] == ["leak", "honest"]
    assert ranked[0].gini > 0.8
    assert all(abs(one.gini) < 1e-9 for one in ranked if one.feature in ("constant", "missing"))


ORDERS = pd.DataFrame(
    {
        "customer_id": ["a", "a", "b", "b", "c", "new"],
        "amount": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "review_score": [5.0, 1.0, 2.0, 3.0, 4.0, 1.0],
        **{
            name: pd.to_datetime(["2018-05-01", "2018-06-05", "2018-05-31", "2018-07-01", "2018-01-01", "2018-06-06"])
            for name in ("purchase_date", "delivered_date")
        },
        "review_created_date": pd.to_datetime(["2018-05-20", None, "2018-05-30", None, "2018-06-03", None]),
        "review_answered_date": pd.to_datetime(["2018-06-01", None, "2018-05-31", None, "2018-06-04", None]),
    }
)


def test_without_the_future_later_orders_and_facts_are_unknown() -> None:
    known = without_future(ORDERS, CUTOFF)
    assert list(known["customer_id"]) == ["a", "b", "c"]
    assert known["review_score"].isna().tolist() == [True, False, True]
    assert known["review_created_date"].isna().tolist() == [False, False, True]
    assert ORDERS["review_score"].notna().all()


def test_features_are_rebuilt_within_the_limits_of_the_settings() -> None:
    sql = "select current_setting('threads') as threads, current_setting('memory_limit') as memory, * from cutoffs"
    (found,) = build_features(ORDERS, sql, [CUTOFF], Settings(threads=3, memory_limit="512MiB")).to_dict("records")
    assert (found["threads"], found["memory"], found["cutoff_date"].date()) == (3, "512.0 MiB", CUTOFF)


def test_a_shuffled_future_keeps_the_past_and_deals_out_the_rest() -> None:
    dealt = shuffled_orders(ORDERS, CUTOFF, np.random.default_rng(4))
    later = ORDERS["purchase_date"] > pd.Timestamp(CUTOFF)
    pd.testing.assert_frame_equal(dealt[~later], ORDERS[~later])
    pd.testing.assert_frame_equal(dealt.drop(columns="customer_id"), ORDERS.drop(columns="customer_id"))
    assert dealt.loc[5, "customer_id"] == "new"  # who was not there yet takes no part
    heirs = [shuffled_orders(ORDERS, CUTOFF, np.random.default_rng(seed)).loc[1, "customer_id"] for seed in range(40)]
    assert set(heirs) == {"a", "b", "c"}
