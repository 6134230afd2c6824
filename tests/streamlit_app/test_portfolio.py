"""The page Portfolio on a scored shop: the numbers are the API's, the filters live in the address."""

import json

import numpy as np
import pytest

from streamlit_app.money import Style


def money(amount: float, style: Style = Style()) -> str:  # noqa: B008
    return style.money(amount, "BRL")


@pytest.fixture(scope="module")
def totals(scored_api) -> dict:
    return scored_api.get("/portfolio").json()["portfolio"]


def test_the_scored_shop_is_shown_as_the_api_answers(open_page, scored_api, predicted, totals) -> None:
    page = open_page(scored_api.base_url)
    assert page.metrics == {
        "Customers": "40",
        "Expected revenue, 90 days": money(totals["expected_value"]),
        "Share that will return": f"{100 * totals['return_share']:.0f} %",
        "Half comes from": page.metrics["Half comes from"],
    }
    low, high = totals["expected_value_low"], totals["expected_value_high"]
    assert low < totals["expected_value"] < high
    assert page.ranges["Expected revenue, 90 days"] == f"{money(low)} to {money(high)}"
    held = predicted["expected_value"].cumsum()
    few = int((held < held.iloc[-1] / 2).sum()) + 1
    assert page.ranges["Half comes from"] == f"{few} customers"
    assert page.charts == 2
    assert "known up to 2018-06-30" in page.captions
    assert page.customers["customer_id"].tolist() == predicted["customer_id"].tolist()
    assert page.customers["expected_value"].tolist() == pytest.approx(predicted["expected_value"].tolist())
    assert page.customers["p_return"].tolist() == pytest.approx(predicted["p_return"].tolist())


def test_tiny_amounts_are_shown(open_page, scored_as) -> None:
    scores = np.linspace(0.0011, 0.0073, 40)
    with scored_as(scores, [f"{row:02d}" for row in range(40)]) as api:
        page = open_page(api.base_url)
        assert page.metrics["Expected revenue, 90 days"] == "R$ 0.17"
        assert "40 customers, R$ 0.17 of expected revenue" in page.captions
        table = next(one for one in page.app.dataframe if "expected_value" in one.value.columns)
        config = json.loads(table.proto.columns)
        assert config["expected_value"]["type_config"]["format"] == "%,.4f"
        assert config["value_if_return"]["type_config"]["format"] == "%,.2f"
        page.go("budget").number("cost", 0.0004)
        assert page.metrics["Cost of contact"] == money(0.0004 * int(page.metrics["Contacted"]))
        assert page.app.number_input(key="cost").proto.format == "%.4f"


def test_search_and_tier_come_from_the_address_and_go_there(open_page, scored_api) -> None:
    page = open_page(scored_api.base_url, q="0003")
    assert page.app.text_input(key="q").value == "0003"
    assert sorted(page.customers["customer_id"]) == ["00003", *(f"0003{last}" for last in range(10))]
    page.run(page.app.text_input(key="q").set_value(""))
    everybody = page.customers
    page.run(page.app.segmented_control(key="tier").set_value("A"))
    assert set(page.customers["tier"]) == {"A"}
    assert page.customers["customer_id"].tolist() == everybody[everybody["tier"] == "A"]["customer_id"].tolist()
    page.run(page.app.text_input(key="q").set_value("nobody"))
    assert any("No customer has that in the id" in info.value for info in page.app.info)


def test_the_tiers_are_those_of_the_table(open_page, scored_api) -> None:
    page = open_page(scored_api.base_url)
    tiers = page.app.table[0].value
    sizes = page.customers["tier"].value_counts()
    assert [int(text) for text in tiers["Customers"]] == [sizes[tier] for tier in "ABC" if sizes[tier]]


def test_numbers_are_written_as_set(open_page, scored_api, totals) -> None:
    page = open_page(scored_api.base_url)
    page.run(page.app.selectbox(key="numbers").set_value("comma"))
    page.run(page.app.selectbox(key="money").set_value("after"))
    assert page.metrics["Expected revenue, 90 days"] == money(totals["expected_value"], Style(".", ",", "after"))
