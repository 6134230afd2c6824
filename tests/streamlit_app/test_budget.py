"""The page Budget: the profit is the API's curve less the cost, and the caution is always there."""

import numpy as np

from streamlit_app.money import Style


def money(amount: float) -> str:
    return Style().money(amount, "BRL")


def test_the_most_profitable_number_is_found(open_page, scored_api, predicted) -> None:
    values = predicted["expected_value"].to_numpy()
    cost = float(np.median(values)) * 0.3
    page = open_page(scored_api.base_url, "budget").number("cost", cost)
    profit = 0.3 * values.cumsum() - cost * np.arange(1, 41)
    best = int(profit.argmax()) + 1
    assert 0 < best < 40
    assert page.metrics["Contacted"] == str(best)
    assert page.metrics["Expected profit"] == money(profit.max())
    assert page.customers["customer_id"].tolist() == predicted["customer_id"].tolist()[:best]
    assert page.charts == 1


def test_what_is_in_the_address_is_what_is_shown(open_page, scored_api, predicted) -> None:
    curve = scored_api.get("/portfolio").json()["portfolio"]["curve"]
    point = next(one for one in curve if one["customers"] >= 5)
    k = point["customers"]
    page = open_page(scored_api.base_url, "budget", k=str(k), cost="2", margin="50")
    assert page.metrics["Contacted"] == str(k)
    assert page.metrics["Cost of contact"] == money(2 * k)
    assert page.metrics["Expected profit"] == money(0.5 * point["expected_value"] - 2 * k)
    ends = [money(0.5 * point[f"expected_value_{end}"] - 2 * k) for end in ("low", "high")]
    assert page.ranges["Expected profit"] == " to ".join(ends)
    assert len(page.customers) == k


def test_the_caution_says_how_much_the_contact_must_bring(open_page, scored_api, predicted) -> None:
    page = open_page(scored_api.base_url, "budget", k="10", cost="1", margin="40")
    caution = page.app.warning[0].value
    assert "A forecast is not the effect of a campaign" in caution
    needed = 10 / (0.4 * predicted["expected_value"][:10].sum())
    assert f"at least **{100 * needed:.1f} %**" in caution or f"at least **{100 * needed:.0f} %**" in caution
    page.number("k", 40).number("cost", 1000.0)
    assert "it would not pay for itself" in page.app.warning[0].value


def test_where_no_contact_pays_nobody_is_listed(open_page, scored_api) -> None:
    page = open_page(scored_api.base_url, "budget").number("cost", 1e6)
    assert "No contact pays at this cost" in page.app.info[0].value
    assert not page.metrics
    page.number("cost", 0.0)
    assert page.metrics["Contacted"] == "40"


def test_nonsense_in_the_address_is_ignored(open_page, scored_api) -> None:
    page = open_page(scored_api.base_url, "budget", k="zero", margin="900", cost="-1", numbers="none")
    assert page.metrics["Contacted"]
