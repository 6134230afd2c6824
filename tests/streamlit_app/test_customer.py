"""The page Customer: search, figures, explanation and what-if are the API's."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamlit_app import batches, feature_words, shop
from streamlit_app.client import ApiError, Client
from streamlit_app.money import Style


def money(amount: float) -> str:
    return Style().money(amount, "BRL")


def why(answer: dict[str, Any]) -> str:
    """The strongest reason, as the page tells it."""
    one = answer["explanations"][0]
    first = one["contributions"][0]
    value, amount = first["value"], first["expected_value"]
    written = "not known" if value is None else value if isinstance(value, str) else feature_words.shown(value, Style())
    sign = "+" if amount >= 0 else ""
    return (
        f"ends at {money(one['prediction']['expected_value'])}. What moves it most: "
        f"{feature_words.LABELS.get(first['feature'], first['feature'])}: {written} ({sign}{money(amount)})"
    )


def test_without_a_choice_all_customers_are_offered_the_best_first(open_page, scored_api, predicted) -> None:
    page = open_page(scored_api.base_url, "customer")
    assert page.customers["customer_id"].tolist() == predicted["customer_id"].tolist()
    page.run(page.app.text_input(key="customer").set_value("0003"))
    assert all("0003" in one for one in page.customers["customer_id"])
    assert len(page.customers) == 11
    page.run(page.app.text_input(key="customer").set_value("x"))
    assert "No customer has “x” in the id" in page.app.info[0].value


def test_a_customer_from_the_address(open_page, scored_api, predicted) -> None:
    expected = predicted.iloc[4]
    page = open_page(scored_api.base_url, "customer", customer=expected["customer_id"])
    assert page.metrics["Expected value, 90 days"] == money(expected["expected_value"])
    assert page.metrics["Value if they return"] == money(expected["value_if_return"])
    low, high = expected["value_if_return_low"], expected["value_if_return_high"]
    assert page.ranges["Value if they return"] == f"{money(low)} to {money(high)}"
    chance = expected["p_return"]
    assert page.ranges["Expected value, 90 days"] == f"{money(chance * low)} to {money(chance * high)}"
    assert page.metrics["Rank"] == str((predicted["expected_value"] > expected["expected_value"]).sum() + 1)
    assert page.charts == 3
    one = scored_api.get(f"/customers/{expected['customer_id']}").json()
    spent = sum(purchase["amount"] for purchase in one["purchases"])
    assert f"{len(one['purchases'])} purchases, " in page.captions
    assert money(spent) in page.captions
    body = {"customers": [{"customer_id": expected["customer_id"], "features": one["features"]}]}
    assert why(scored_api.post("/explain", json=body).json()) in page.captions


ODD_IDS = ("a\nb", "\n", "..", "a/b", "50%", " a ", "é 漢")


def test_customers_with_odd_ids_can_be_opened(open_page, scored_as) -> None:
    with scored_as(np.arange(1.0, len(ODD_IDS) + 1), ODD_IDS) as api:
        page = open_page(api.base_url, "customer", customer=ODD_IDS[0])
        for value, customer_id in enumerate(ODD_IDS, start=1):
            assert page.app.text_input(key="customer").value == customer_id
            assert page.metrics["Expected value, 90 days"] == money(value)
            assert "2 purchases, " in page.captions
            if value < len(ODD_IDS):
                page.press("Better")


def test_spaces_around_an_id_count_where_the_id_has_them() -> None:
    customers = pd.DataFrame({"customer_id": [" a ", "a", "b"]})
    found = shop.Shop("Test", {}, None, 0.8, customers, {})
    for text, customer_id in ((" a ", " a "), ("a", "a"), (" b ", "b")):
        row = shop.find(found, text)
        assert row is not None
        assert row["customer_id"] == customer_id
    assert shop.find(found, "c") is None


def test_a_slider_asks_the_api_again(open_page, scored_api, predicted) -> None:
    customer = predicted["customer_id"][0]
    page = open_page(scored_api.base_url, "customer", customer=customer)
    assert "Expected value, if" not in page.metrics
    slider = next(one for one in page.app.slider if one.label == "days since last purchase")
    page.run(slider.set_value(300.0))
    features = {**predicted["features"][0], "recency_days": 300.0}
    body = {"customers": [{"customer_id": customer, "features": features}]}
    answer = scored_api.post("/predict", json=body).json()["predictions"][0]
    assert answer["expected_value"] != pytest.approx(predicted["expected_value"][0])
    assert page.metrics["Expected value, if"] == money(answer["expected_value"])
    assert page.metrics["Expected value, 90 days"] == money(predicted["expected_value"][0])
    assert why(scored_api.post("/explain", json=body).json()) in page.captions
    page.press("As it is")
    assert "Expected value, if" not in page.metrics


def test_to_the_neighbour_and_back_to_all(open_page, scored_api, predicted) -> None:
    page = open_page(scored_api.base_url, "customer", customer=predicted["customer_id"][3])
    page.press("Weaker")
    assert page.app.text_input(key="customer").value == predicted["customer_id"][4]
    page.press("Better").press("Better")
    assert page.app.text_input(key="customer").value == predicted["customer_id"][2]
    page.press("All customers")
    assert len(page.customers) == 40


def test_a_customer_of_an_uploaded_log(open_page, api, log: str, predict_log) -> None:
    page = open_page(api.base_url).upload(log).press("Predict").go("customer")
    assert "file.csv" in page.captions
    page.run(page.app.text_input(key="customer").set_value("00038"))
    last = max(line.split(",")[1] for line in log.splitlines()[1:])
    expected = predict_log(last).set_index("customer_id").loc["00038"]
    assert page.metrics["Chance to return"] == Style().share(expected["p_return"])
    assert page.metrics["Value if they return"] == money(expected["value_if_return"])
    assert "3 purchases, R$ 145.50 in all, the last on" in page.captions
    assert len(page.app.slider) > 0


def test_a_customer_of_a_features_file(open_page, api, helpers) -> None:
    customers = helpers.random_customers(5, seed=3)
    csv = customers.assign(customer_id=list("abcde")).to_csv(index=False)
    page = open_page(api.base_url).upload(csv).press("Predict").go("customer")
    page.run(page.app.text_input(key="customer").set_value("c"))
    assert any("holds no purchases" in info.value for info in page.app.info)
    body = helpers.as_customers(customers.iloc[[2]])
    assert why(api.post("/explain", json=body).json()) in page.captions


def test_a_service_that_goes_away_is_told_where_it_is_missed(open_page, scored_api, predicted, monkeypatch) -> None:
    page = open_page(scored_api.base_url, "customer", customer=predicted["customer_id"][0])

    def gone(*_: object) -> None:
        raise ApiError("unreachable", "It is gone.")

    monkeypatch.setattr(Client, "explain", gone)
    page.run(page.app.slider[0].set_value(page.app.slider[0].max))
    assert "It is gone." in page.app.error[0].value
    assert page.metrics["Rank"] == "1"


@pytest.mark.parametrize(("time", "amount"), [("2018-03-01 14:05:00 UTC", "5"), ("2018-03-01", "1_000")])
def test_purchases_only_the_service_can_read_are_named(time: str, amount: str) -> None:
    log = pd.DataFrame({"customer_id": "a", "purchased_at": ["2018-01-01", time], "amount": ["1", amount]}, dtype="str")
    with pytest.raises(ApiError, match=f"Row 2: '{amount}' at '{time}' can't be read") as caught:
        shop._per_day(log)
    assert caught.value.trouble == "input"


def test_whole_numbers_of_a_features_file_can_be_sent_again() -> None:
    contract = [{"name": "recency_days", "kind": "number"}, {"name": "state", "kind": "category"}]
    file = pd.DataFrame({"customer_id": ["a"], "recency_days": ["3"], "state": [None]}, dtype="str")
    features = shop._from_file(batches.typed(file, contract), "a")
    assert json.loads(json.dumps(features)) == {"recency_days": 3, "state": None}


def test_a_scored_customer_whose_purchases_are_gone_is_shown_without_them() -> None:
    """The shop's data were replaced, and not scored again."""
    api = SimpleNamespace(scored_customer=lambda _: {"purchases": [], "features": {"purchase_count": 2.0}})
    found = SimpleNamespace(features=None, purchases=None, as_of_date=None)
    one = shop.details(api, found, {"customer_id": "a"})  # type: ignore[arg-type]
    assert (one.purchases, one.features) == (None, {"purchase_count": 2.0})
