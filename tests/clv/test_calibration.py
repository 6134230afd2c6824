"""The calibration of what Gamma-Gamma foretells: simulated slopes are found, and nothing is widened."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clv.models.calibration import FEWEST, fit_calibration
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.predictor import Array, Calibration, Predictor
from tests.clv.customers import CONTRACT, customers

RNG = np.random.default_rng
POSITIVE = st.floats(min_value=1e-6, max_value=1e6)


def returners(slope: float, n: int, *, seed: int, shape: float = 2.0) -> tuple[Array, Array]:
    """Spend foretold, and gamma-distributed spend whose mean follows the `slope`-th power of it."""
    rng = RNG(seed)
    foretold = np.exp(rng.normal(4, 0.7, n))
    mean = 80 * (foretold / 55) ** slope
    return foretold, rng.gamma(shape, mean / shape)


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.8, 1.0])
def test_the_slope_that_was_simulated_is_found(slope: float) -> None:
    foretold, spent = returners(slope, 20_000, seed=1)
    found = fit_calibration(foretold, spent)
    assert found is not None
    assert found.slope == pytest.approx(slope, abs=0.03)
    expected = 80 * (foretold / 55) ** slope
    np.testing.assert_allclose(found(foretold), expected, rtol=0.12)
    assert found(foretold).mean() == pytest.approx(spent.mean(), rel=0.03)


def test_it_is_where_the_likelihood_of_a_gamma_distribution_is_highest() -> None:
    """Among many other slopes and intercepts, with the prior told apart."""
    foretold, spent = returners(0.5, 300, seed=2)
    found = fit_calibration(foretold, spent)
    assert found is not None

    def loss(one: Calibration) -> float:
        mean = one(foretold)
        return float(np.sum(np.log(mean) + spent / mean) + 0.5 * ((one.slope - 1) / 0.5) ** 2)

    best = loss(found)
    for slope in np.linspace(0, 1, 41):
        for factor in np.linspace(0.8, 1.25, 31):
            assert best <= loss(Calibration(slope, found.unit, found.value * factor)) + 1e-6


def test_differences_are_never_widened() -> None:
    foretold, spent = returners(1.6, 5_000, seed=3)
    found = fit_calibration(foretold, spent)
    assert found is not None
    assert 0.999 < found.slope <= 1


def test_few_returners_are_not_asked_and_a_few_more_say_little() -> None:
    foretold, spent = returners(0.0, FEWEST, seed=4)
    assert fit_calibration(foretold[:-1], spent[:-1]) is None
    some, many = fit_calibration(foretold, spent), fit_calibration(*returners(0.0, 2_000, seed=4))
    assert some is not None
    assert many is not None
    assert some.slope > many.slope + 0.1


@pytest.mark.parametrize(("foretold", "spent"), [(0.0, 1.0), (1.0, 0.0)])
def test_where_nothing_is_spent_or_foretold_there_is_none(foretold: float, spent: float) -> None:
    assert fit_calibration(np.full(50, foretold), np.full(50, spent)) is None


@given(unit=POSITIVE, own=POSITIVE)
def test_the_unit_of_money_does_not_matter(unit: float, own: float) -> None:
    foretold, spent = returners(0.4, 200, seed=5)
    plain, other = fit_calibration(foretold, spent), fit_calibration(foretold * own, spent * unit)
    assert plain is not None
    assert other is not None
    assert other.slope == pytest.approx(plain.slope, abs=1e-4)
    np.testing.assert_allclose(other(foretold * own), plain(foretold) * unit, rtol=1e-3)


def test_refunds_and_returners_who_spent_nothing_are_finite() -> None:
    foretold, spent = returners(0.5, 400, seed=6)
    foretold[:50], spent[100:150] = 0.0, 0.0
    found = fit_calibration(foretold, spent)
    assert found is not None
    assert np.isfinite(found(foretold)).all()
    assert (found(foretold) >= 0).all()


@given(slope=st.floats(0, 1), value=POSITIVE, first=POSITIVE, more=st.floats(1, 1e3))
def test_the_order_of_what_is_foretold_stays(slope: float, value: float, first: float, more: float) -> None:
    low, high = Calibration(slope, 1.0, value)(np.array([first, first * more]))
    assert low <= high * (1 + 1e-12)
    assert high <= low * more * (1 + 1e-9)


@pytest.fixture(scope="module")
def model() -> Model:
    X, returned, value = customers(2_000, seed=7)
    today, _, _ = customers(2_000, seed=8)
    recipe = Recipe(bags=1, trees=10, value_trees=10)
    return Model(CONTRACT, recipe, seed=1, threads=1).fit(X, value, is_return=returned, today=today, horizon_days=90)


def test_a_blend_mixes_the_calibrated_spend(model: Model) -> None:
    today, _, _ = customers(300, seed=9)
    history = model.predictor_.history
    assert history is not None
    assert history.calibration is not None
    matrix = model.predictor_.encoder.encode(today)
    plain = replace(history, calibration=None).predict_parts(matrix)
    found = history.predict_parts(matrix)
    np.testing.assert_array_equal(found.p_return, plain.p_return)
    np.testing.assert_allclose(found.value_if_return, history.calibration(plain.value_if_return))


def test_contributions_add_up_and_it_is_saved_with_the_model(model: Model, tmp_path: Path) -> None:
    today, _, _ = customers(50, seed=9)
    predictor = model.predictor_
    assert predictor.history is not None
    matrix = predictor.encoder.encode(today)
    found = predictor.history.contributions(matrix)
    parts = predictor.history.predict_parts(matrix)
    np.testing.assert_allclose(found.value_base + found.value_if_return.sum(axis=1), parts.value_if_return)
    predictor.save(tmp_path)
    loaded = Predictor.load(tmp_path)
    assert loaded.history == predictor.history
    np.testing.assert_array_equal(
        loaded.predict_parts(today).expected_value, predictor.predict_parts(today).expected_value
    )
    assert json.loads((tmp_path / "model.json").read_text())["history"]["calibration"]["slope"] < 1
