"""BG/NBD with covariates: simulated truth is found, and what travels in the artifact says what was fitted."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import approx_fprime

from clv.models import covariates
from clv.models.covariates import fit_covariates
from clv.models.hurdle import customer_folds
from clv.predictor import CovariateProcess, Effect, Encoder
from tests.clv.processes import ENCODER, HORIZON, simulated


def fit(matrix: NDArray[np.float32], is_return: NDArray[np.bool_], fold: NDArray[np.intp]) -> CovariateProcess:
    fitted = fit_covariates(ENCODER, matrix, is_return, fold == 0, horizon_days=HORIZON, seed=1)
    assert fitted is not None
    return fitted.process


@pytest.fixture(scope="module")
def process() -> CovariateProcess:
    matrix, is_return, _, fold = simulated(20_000, seed=1)
    return fit(matrix, is_return, fold)


def test_simulated_truth_is_found(process: CovariateProcess) -> None:
    matrix, _, chance, _ = simulated(5_000, seed=2)
    p = process.p_return(matrix)
    assert np.corrcoef(p, chance)[0, 1] > 0.97
    assert p.mean() == pytest.approx(chance.mean(), rel=0.05)
    for code in range(3):
        of_it = matrix[:, 4] == code
        assert p[of_it].mean() == pytest.approx(chance[of_it].mean(), rel=0.1)


def test_the_covariates_say_something(process: CovariateProcess) -> None:
    matrix, _, chance, _ = simulated(5_000, seed=2)
    without = replace(process, effects=()).p_return(matrix)
    assert np.mean((process.p_return(matrix) - chance) ** 2) < 0.3 * np.mean((without - chance) ** 2)


def test_effects_that_travel_are_those_that_were_fitted() -> None:
    """The chances of the rows learnt from are the same by the design and by the effects."""
    matrix, is_return, _, fold = simulated(3_000, seed=3)
    seen: list[NDArray[np.float64]] = []

    def spied(*arguments: object) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
        answer = chances(*arguments)  # type: ignore[arg-type]
        seen.append(answer[0])
        return answer

    chances = covariates._chances
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covariates, "_chances", spied)
        fitted = fit_covariates(ENCODER, matrix, is_return, fold == 0, horizon_days=HORIZON, seed=1)
    assert fitted is not None
    told = fitted.process.p_return(matrix[fitted.chosen])
    assert min(np.abs(told - p).max() for p in seen if len(p) == len(told)) < 1e-5


def test_what_is_missing_counts_where_only_one_value_is_known() -> None:
    rng = np.random.default_rng(6)
    is_known = rng.random(4_000) < 0.5
    is_return = rng.random(4_000) < np.where(is_known, 0.4, 0.02)
    encoder = Encoder((*CovariateProcess.FEATURES, "state"), {"state": ("SP",)})
    matrix = np.tile(np.array([1, 50, 50, 0], np.float32), (4_000, 1))
    matrix[~is_known, 3] = np.nan
    fitted = fit_covariates(encoder, matrix, is_return, np.arange(4_000) % 5 == 0, horizon_days=HORIZON, seed=0)
    assert fitted is not None
    p = fitted.process.p_return(matrix)
    for own in (is_known, ~is_known):
        assert p[own].mean() == pytest.approx(is_return[own].mean(), abs=0.01)


def test_the_gradient_is_that_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, is_return, _, fold = simulated(200, seed=4)
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def compare(loss, start, **_):  # type: ignore[no-untyped-def]
        at = np.random.default_rng(5).normal(0, 0.3, len(start))
        sides = [approx_fprime(at, lambda c: loss(c)[0], step) for step in (1e-3, -1e-3)]
        found.append((loss(at)[1], (sides[0] + sides[1]) / 2))
        return SimpleNamespace(x=start)

    monkeypatch.setattr(covariates, "minimize", compare)
    fit(matrix, is_return, fold)
    gradient, differences = found[0]
    np.testing.assert_allclose(gradient, differences, atol=1e-3 * np.abs(gradient).max())


def test_effects_are_counted_from_their_means_and_constants_have_none(process: CovariateProcess) -> None:
    matrix, _, _, _ = simulated(20_000, seed=1)
    assert [ENCODER.features[effect.column] for effect in process.effects] == [
        "first_discount",
        "first_category",
        "score",
    ]
    np.testing.assert_allclose(process.added(matrix).mean(axis=0), 0, atol=1e-4)


def test_features_that_say_nothing_have_hardly_an_effect() -> None:
    """The coefficients of a feature are penalised together; a penalty of each by its square leaves a third here."""
    matrix, is_return, _, fold = simulated(3_000, seed=1)
    noise = np.random.default_rng(3).normal(size=(len(matrix), 12)).astype(np.float32)
    matrix = np.hstack([matrix, noise])
    encoder = Encoder((*ENCODER.features, *(f"noise_{number}" for number in range(12))), ENCODER.vocabulary)
    fitted = fit_covariates(encoder, matrix, is_return, fold == 0, horizon_days=HORIZON, seed=1)
    assert fitted is not None
    process = fitted.process
    spread = dict(zip((effect.column for effect in process.effects), process.added(matrix).std(axis=0), strict=True))
    of_category, of_noise = spread[4].max(), max(spread[column].max() for column in range(7, 19))
    assert of_noise < 0.1 * of_category


def test_without_covariates_it_is_a_process_all_share() -> None:
    matrix, is_return, _, fold = simulated(3_000, seed=7)
    encoder = Encoder(ENCODER.features[:3], {})
    fitted = fit_covariates(encoder, matrix[:, :3], is_return, fold == 0, horizon_days=HORIZON, seed=1)
    assert fitted is not None
    shared = fitted.process
    assert shared.effects == ()
    assert shared.p_return(matrix).mean() == pytest.approx(is_return.mean(), rel=0.05)


def test_what_was_never_missing_counts_as_the_mean(process: CovariateProcess) -> None:
    matrix, _, _, _ = simulated(10, seed=6)
    matrix[:, 3] = np.nan
    [discount] = [number for number, effect in enumerate(process.effects) if effect.column == 3]
    np.testing.assert_array_equal(process.added(matrix)[:, discount], 0)


def test_effects_are_straight_between_their_knots_and_level_beyond(process: CovariateProcess) -> None:
    number = Effect(3, (1.0, 3.0), ((0.0, 4.0), (1.0, 1.0), (2.0, -2.0)), (9.0, 8.0, 7.0))
    category = Effect(4, (0.0, 1.0, 2.0), ((5.0, 6.0, 7.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)), (-1.0, -2.0, -3.0))
    both = replace(process, effects=(number, category))
    matrix = np.full((6, 7), np.nan, np.float32)
    matrix[:, 3] = [-5, 1, 2, 3, 99, np.nan]
    matrix[:, 4] = [0, 1, 2, np.nan, 0, np.nan]
    of_number, of_category = np.moveaxis(both.added(matrix), 1, 0)
    np.testing.assert_array_equal(of_number, [[0, 1, 2], [0, 1, 2], [2, 1, 0], [4, 1, -2], [4, 1, -2], [9, 8, 7]])
    np.testing.assert_array_equal(of_category, [[5, 0, 0], [6, 0, 0], [7, 1, 0], [-1, -2, -3], [5, 0, 0], [-1, -2, -3]])


@given(
    st.lists(
        st.tuples(
            st.integers(1, 5000),
            st.floats(0, 10_000, width=32),
            st.floats(0, 10_000, width=32),
            st.one_of(st.just(float("nan")), st.floats(-(2.0**99), 2.0**99, width=32)),
            st.sampled_from([0.0, 1.0, 2.0, float("nan")]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_chances_are_chances_and_contributions_add_up_to_them(process: CovariateProcess, rows: list[tuple]) -> None:
    matrix = np.array([[*row, 7.0, float("nan")] for row in rows], np.float32)
    p = process.p_return(matrix)
    assert ((p >= 0) & (p <= 1)).all()
    added, base = process.contributions(matrix)
    np.testing.assert_allclose(base + added.sum(axis=1), p, atol=1e-9)


def test_silence_never_raises_the_chance_of_repeat_buyers(process: CovariateProcess) -> None:
    for count in (2, 5, 40):
        recency = np.linspace(0, 500, 50)
        rows = np.column_stack([np.full(50, count), recency, np.full(50, 500.0)])
        matrix = np.hstack([rows, np.tile([0.5, 1, 7, 3], (50, 1))]).astype(np.float32)
        assert (np.diff(process.p_return(matrix)) <= 0).all()


def test_without_a_returner_to_judge_by_nothing_is_fitted() -> None:
    matrix, is_return, _, fold = simulated(300, seed=7)
    for nobody in (fold == 0, fold != 0):
        few = is_return & ~nobody
        assert fit_covariates(ENCODER, matrix, few, fold == 0, horizon_days=HORIZON, seed=1) is None


@pytest.mark.parametrize("returners", [5, 20, 295])
def test_a_few_customers_are_enough_for_an_answer(returners: int) -> None:
    matrix, _, _, _ = simulated(300, seed=7)
    is_return = np.arange(300) < returners
    process = fit(matrix, is_return, customer_folds(np.arange(300).astype(object), is_return))
    p = process.p_return(matrix)
    assert np.isfinite(p).all()
    assert p.mean() == pytest.approx(returners / 300, rel=0.25)


@pytest.mark.parametrize(("limit", "most"), [("MOST_ROWS", 4_000), ("MOST_CELLS", 400_000)])
def test_very_many_rows_are_drawn_from_and_weighed(limit: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, is_return, chance, fold = simulated(20_000, seed=8)
    monkeypatch.setattr(covariates, limit, most)
    few, again = (fit(matrix, is_return, fold).p_return(matrix) for _ in range(2))
    np.testing.assert_array_equal(few, again)
    assert few.mean() == pytest.approx(chance.mean(), rel=0.1)
    assert np.corrcoef(few, chance)[0, 1] > 0.95
