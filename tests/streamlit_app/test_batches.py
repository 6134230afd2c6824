"""Many customers in several requests: nobody is torn apart, nothing is lost."""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest

from streamlit_app import batches, campaign
from streamlit_app.client import ApiError, Client


def test_large_logs_are_split_between_customers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_PURCHASES", 100)
    draw = np.random.default_rng(1)
    log = pd.DataFrame({"customer_id": [f"c{number}" for number in draw.integers(0, 60, 950)]})
    parts = batches._by_customer(log)
    assert max(map(len, parts)) <= 100
    assert sorted(pd.concat(parts).index) == list(range(950))
    owners = [set(part["customer_id"]) for part in parts]
    assert sum(map(len, owners)) == len(set.union(*owners))


def test_a_customer_too_large_for_a_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_PURCHASES", 10)
    with pytest.raises(ApiError, match="One customer has more than 10 purchases"):
        batches._by_customer(pd.DataFrame({"customer_id": ["a", "b"] + ["c"] * 11}))


def test_a_file_asked_in_parts_gets_the_answer_of_the_whole(api, helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    customers = helpers.random_customers(90, seed=5).astype(object).where(lambda frame: frame.notna(), None)
    customers = customers.map(lambda value: None if value is None else str(value)).assign(
        customer_id=[f"c{row}" for row in range(90)]
    )
    contract = api.get("/model").json()["contract"]
    client, done = Client(str(api.base_url)), []
    whole = batches.from_features(client, customers, contract)
    monkeypatch.setattr(batches, "MAX_CUSTOMERS", 40)
    parts = batches.from_features(client, customers, contract, done.append)
    pd.testing.assert_frame_equal(parts.table, whole.table)
    assert done == sorted(done)
    assert done[-1] == 1
    for name in ("customers", "expected_value", "expected_returners", "return_share"):
        assert parts.totals[name] == pytest.approx(whole.totals[name])
    # Added up, the intervals are wider than that of the whole, never narrower; and they hold the same middle.
    assert parts.totals["expected_value_low"] < whole.totals["expected_value_low"]
    assert parts.totals["expected_value_high"] > whole.totals["expected_value_high"]
    best = whole.table["expected_value"].sort_values(ascending=False).cumsum().to_numpy()
    curve = pd.DataFrame(parts.totals["curve"])
    assert curve["expected_value"].to_numpy() == pytest.approx(best[curve["customers"].astype(int) - 1], rel=0.02)
    assert curve["customers"].iloc[-1] == 90
    assert (curve["expected_value_low"] < curve["expected_value"]).all()
    assert "3 parts" in parts.totals["note"]


def test_the_answer_of_a_file_in_parts_can_be_planned_with() -> None:
    """Numbers of customers are whole ones, by which a campaign finds its rows."""

    def total(values: list[float]) -> dict:
        sums = ("expected_value", "expected_value_low", "expected_value_high", "expected_returners")
        curve = [{"customers": k, **dict.fromkeys(sums, sum(values[:k]))} for k in range(1, len(values) + 1)]
        return {**curve[-1], "expected_returners_low": 0.0, "expected_returners_high": 9.0, "note": "", "curve": curve}

    values = [[100.0, 10.0, 1.0], [50.0, 2.0]]
    joined = batches._joined([pd.DataFrame({"expected_value": one}) for one in values], [total(one) for one in values])
    best = sorted(values[0] + values[1], reverse=True)
    assert [point["customers"] for point in joined["curve"]] == [1, 2, 3, 4, 5]
    plan = campaign.plan(best, joined["curve"], cost=4, margin=0.5)
    assert plan.profits["profit"].tolist() == [0, 46, 67, 68, 65, 61.5]
    assert plan.profits["revenue_low"].tolist() == [0, *np.cumsum(best)]


def test_bad_rows_are_named_by_their_place_in_the_file(api, helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_CUSTOMERS", 4)
    customers = helpers.random_customers(10, seed=5).astype(str).assign(customer_id="a")
    customers.loc[6, "recency_days"] = "soon"
    contract = api.get("/model").json()["contract"]
    with pytest.raises(ApiError, match="Row 7, column recency_days") as caught:
        batches.from_features(Client(str(api.base_url)), customers, contract)
    assert caught.value.trouble == "input"


def test_an_answer_that_was_read_takes_no_memory(api) -> None:
    """Not even until Python collects its garbage."""
    client = Client(str(api.base_url))
    gc.disable()
    try:
        answer = client.ask("GET", "/model")
        assert answer.json()["model"]
        there = weakref.ref(answer)
        del answer
        assert there() is None
    finally:
        gc.enable()
