"""POST /explain adds up to the prediction; POST /portfolio adds up the customers."""

import httpx
import numpy as np
import pytest

from clv.money import money
from clv.predictor import Parts
from serving.explain import _sentence
from serving.portfolio import NOTE, NOTE_UNKNOWN, portfolio

PARTS = ("p_return", "value_if_return", "expected_value")


def test_contributions_add_up_and_the_sentence_names_the_strongest(api: httpx.Client, helpers) -> None:
    body = helpers.as_customers(helpers.random_customers(50, seed=8))
    answer = api.post("/explain", json=body)
    assert answer.status_code == 200, answer.text
    predictions = api.post("/predict", json=body).json()["predictions"]
    for one, prediction in zip(answer.json()["explanations"], predictions, strict=True):
        assert one["customer_id"] == prediction["customer_id"]
        for part in PARTS:
            assert one["prediction"][part] == pytest.approx(prediction[part], abs=1e-9)
            total = one["base"][part] + sum(c[part] for c in one["contributions"])
            assert total + one["other"][part] == pytest.approx(prediction[part], abs=1e-9)
            assert total == pytest.approx(prediction[part], abs=1e-4 * max(1.0, prediction["value_if_return"]))
        sizes = [abs(c["expected_value"]) for c in one["contributions"]]
        assert sizes == sorted(sizes, reverse=True)
        first = one["contributions"][0]
        direction = "adds" if first["expected_value"] > 0 else "takes"
        assert f"{first['feature']} (" in one["sentence"]
        assert f"{direction} {money(abs(first['expected_value']))} BRL" in one["sentence"]


def test_the_sentence_shows_tiny_amounts() -> None:
    contributions = [
        {"feature": "recency_days", "value": 3.0, "expected_value": 0.0032},
        {"feature": "amount_total", "value": 0.0061, "expected_value": -0.000213},
        {"feature": "state", "value": None, "expected_value": 0.000001},
    ]
    header = {"currency": "BRL", "horizon_days": 90}
    assert _sentence(header, {"expected_value": 0.0042}, {"expected_value": 0.0012}, contributions) == (
        "Expected to spend 0.0042 BRL in the next 90 days, from a base of 0.0012: recency_days (3) adds 0.0032 BRL, "
        "amount_total (0.0061) takes 0.000213 BRL."
    )


def test_only_so_many_are_explained_at_once(api: httpx.Client, helpers) -> None:
    body = {"customers": helpers.as_customers(helpers.random_customers(1))["customers"] * 501}
    response = api.post("/explain", json=body)
    assert response.status_code == 422
    assert "Expected 1 to 500 customers; found 501" in response.json()["detail"]


def test_a_portfolio_is_the_sum_of_its_customers(api: httpx.Client, helpers) -> None:
    body = helpers.as_customers(helpers.random_customers(300, seed=9))
    predictions = api.post("/predict", json=body).json()["predictions"]
    answer = api.post("/portfolio", json=body).json()
    total = answer["portfolio"]
    assert total["customers"] == 300
    for name, part in (("expected_value", "expected_value"), ("expected_returners", "p_return")):
        assert total[name] == pytest.approx(sum(one[part] for one in predictions), rel=1e-12)
        assert total[f"{name}_low"] < total[name] < total[f"{name}_high"]
    best = sorted((one["expected_value"] for one in predictions), reverse=True)[:30]
    assert total["top_decile_share"] == pytest.approx(sum(best) / total["expected_value"])
    assert total["shop_share"] is None
    assert total["level_error"] is None


def test_the_curve_is_the_portfolio_of_the_best(api: httpx.Client, helpers) -> None:
    body = helpers.as_customers(helpers.random_customers(300, seed=9))
    predictions = api.post("/predict", json=body).json()["predictions"]
    ranked = sorted(range(300), key=lambda row: -predictions[row]["expected_value"])
    curve = api.post("/portfolio", json=body).json()["portfolio"]["curve"]
    counts = [point["customers"] for point in curve]
    assert counts == sorted(set(counts))
    assert {1, 2, 5, 10, 100, 200, 300} <= set(counts)
    assert len(counts) <= 60
    for point in (curve[0], curve[len(curve) // 2], curve[-1]):
        best = {"customers": [body["customers"][row] for row in ranked[: point["customers"]]]}
        alone = api.post("/portfolio", json=best).json()["portfolio"]
        assert {name: alone[name] for name in point} == pytest.approx(point, rel=1e-9)


def test_purchases_add_up_as_their_features_do(api: httpx.Client) -> None:
    rows = [
        {"customer_id": name, "purchased_at": day, "amount": amount}
        for name, day, amount in (("a", "2018-05-01", 10), ("a", "2018-06-01", 30), ("b", "2018-02-01", 99))
    ]
    answer = api.post("/predict/purchases?features=true", json={"as_of": "2018-06-30", "purchases": rows}).json()
    customers = [{"customer_id": one["customer_id"], "features": one["features"]} for one in answer["predictions"]]
    total = api.post("/portfolio/purchases", json={"as_of": "2018-06-30", "purchases": rows}).json()
    assert total == api.post("/portfolio", json={"customers": customers}).json()
    assert total["portfolio"]["customers"] == 2


def test_nobody_is_nothing_to_add_up(api: httpx.Client) -> None:
    rows = [{"customer_id": "a", "purchased_at": "2018-05-01", "amount": amount} for amount in (10, -10)]
    response = api.post("/portfolio/purchases", json={"as_of": "2018-06-30", "purchases": rows})
    assert response.status_code == 422
    assert "there is nothing to add up" in response.json()["detail"]


def test_the_interval_holds_what_two_part_customers_spend() -> None:
    draw = np.random.default_rng(4)
    p, value = draw.uniform(0.02, 0.5, 400), draw.uniform(20, 200, 400)
    sigma = 0.7
    width = np.exp(sigma * 1.2815515655446004)
    totals = portfolio(Parts(p, value), {"interval_level": 0.8}, (np.exp(-(sigma**2) / 2) / width, width))
    assert totals["note"] == NOTE_UNKNOWN
    # the lognormal whose central 80 % interval has this width: sigma, less half its square in the log of the mean
    sigma_read = np.log(width**2 / np.exp(-(sigma**2) / 2)) / (2 * 1.2815515655446004)
    spend = (draw.uniform(size=(20_000, 400)) < p) * value
    spend = spend * np.exp(sigma_read * draw.standard_normal(spend.shape) - sigma_read**2 / 2)
    sums = spend.sum(axis=1)
    inside = (sums >= totals["expected_value_low"]) & (sums <= totals["expected_value_high"])
    assert inside.mean() == pytest.approx(0.8, abs=0.02)
    assert sums.mean() == pytest.approx(totals["expected_value"], rel=0.02)


def test_an_uncertain_level_widens_the_interval_of_every_total() -> None:
    """A thousand customers average their chance out, but not the level that they share."""
    parts = Parts(np.full(1000, 0.1), np.full(1000, 100.0))
    about = {"interval_level": 0.8}
    narrow = portfolio(parts, about, (0.4, 1.9))
    wide = portfolio(parts, {**about, "level": {"sd": 0.3}}, (0.4, 1.9))
    assert (wide["level_error"], wide["note"]) == (0.3, NOTE)
    assert wide["expected_value"] == narrow["expected_value"]
    for name in ("expected_value", "expected_returners"):
        # at least as wide as the level alone would make it, on the log scale
        assert np.log(wide[f"{name}_high"] / wide[f"{name}_low"]) > 2 * 1.2815 * 0.29
        assert np.log(narrow[f"{name}_high"] / narrow[f"{name}_low"]) < 2 * 1.2815 * 0.2


def test_nobody_is_expected_back() -> None:
    nothing = Parts(np.zeros(3), np.zeros(3))
    totals = portfolio(nothing, {"interval_level": 0.8}, (0.0, 2.0))
    assert (totals["expected_value_low"], totals["expected_value_high"]) == (0, 0)
    assert totals["top_decile_share"] is None
