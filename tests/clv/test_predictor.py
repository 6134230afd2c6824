import ast
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clv.predictor
from clv.errors import InputError
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.predictor import Forest, History, Parts, Predictor, at_level, blend, total_interval
from tests.clv.customers import CONTRACT, customers


def fit(seed: int, n: int = 4000, **recipe: Any) -> Model:
    X, returned, value = customers(n, seed)
    return Model(CONTRACT, Recipe(**recipe), seed=3, threads=2).fit(
        X, value, is_return=returned, today=X, horizon_days=90
    )


FAMILIES = ("blend", "hurdle", "tweedie", "offset", "btyd", "covariates")


@cache
def predictor_of(family: str) -> Predictor:
    """A family, with all its facts."""
    recipe = {"covariate_weight": 0.5} if family == "covariates" else {"family": family}
    return replace(
        fit(seed=1, **recipe).predictor_,
        about={"horizon_days": 90},
        value_interval=(0.4, 1.9),
        percentiles=tuple(np.linspace(0, 100, 101)),
        features_sql="select 1",
    )


@pytest.fixture(scope="module", params=FAMILIES)
def predictor(request: pytest.FixtureRequest) -> Predictor:
    return predictor_of(request.param)


@pytest.fixture(scope="module")
def hurdle() -> Predictor:
    return fit(seed=1, family="hurdle").predictor_


def test_joined_boosters_give_the_margins_of_each_to_the_last_bit(hurdle: Predictor) -> None:
    X, _, _ = customers(300, seed=2)
    matrix = hurdle.encoder.encode(X)
    first, *others = hurdle.hurdles
    shorter = replace(first, p_return=first.p_return[:7], value=first.value[:3])  # bags need not be of one length
    for hurdles in ((first,), (shorter, first, *others)):
        joined = Forest.of(hurdles).margins(matrix)
        for bag, each in enumerate(hurdles):
            for booster, margins in ((each.p_return, joined[0]), (each.value, joined[1])):
                alone = booster.inplace_predict(matrix, predict_type="margin")
                np.testing.assert_array_equal(margins[:, bag].astype(np.float32), alone)


def test_what_is_saved_is_what_is_loaded(predictor: Predictor, tmp_path: Path) -> None:
    X, _, _ = customers(500, seed=2)
    predictor.save(tmp_path / "model")
    again = Predictor.load(tmp_path / "model")
    pd.testing.assert_frame_equal(
        predictor.table(predictor.predict_parts(X)), again.table(again.predict_parts(X)), check_exact=True
    )
    assert (again.about, again.features_sql) == (dict(predictor.about), predictor.features_sql)


def test_the_folders_predict_without_clv(tmp_path: Path) -> None:
    """The file that travels imports nothing of ours, and a process that can't import clv answers the same."""
    imported = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name.split(".")[0]
        for node in ast.walk(ast.parse(Path(clv.predictor.__file__).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported - set(sys.stdlib_module_names) <= {"numpy", "pandas", "xgboost", "scipy", "duckdb"}

    X, _, _ = customers(50, seed=4)
    for family in FAMILIES:
        predictor_of(family).save(tmp_path / family)
    X.to_json(tmp_path / "x.json", orient="records", double_precision=15)
    script = (
        "import sys\nsys.modules['clv'] = None\nfrom pathlib import Path\nhere = list(sys.path)\n"
        "for family in sys.argv[1:]:\n"
        "    sys.modules.pop('predictor', None)\n"
        "    sys.path[:] = [family, *here]\n"
        "    import predictor, pandas\n"
        "    assert Path(predictor.__file__).resolve().parent == Path(family).resolve()\n"
        "    model = predictor.Predictor.load(Path(family))\n"
        "    print(repr(model.predict_parts(pandas.read_json('x.json')).expected_value.tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *FAMILIES], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for family, answer in zip(FAMILIES, done.stdout.splitlines(), strict=True):
        expected = predictor_of(family).predict_parts(X).expected_value
        np.testing.assert_allclose(ast.literal_eval(answer), expected, rtol=1e-12, err_msg=family)


def test_the_parts_multiply(predictor: Predictor) -> None:
    X, _, _ = customers(500, seed=5)
    table = predictor.table(predictor.predict_parts(X))
    np.testing.assert_allclose(table["expected_value"], table["p_return"] * table["value_if_return"], atol=1e-9)
    assert table["p_return"].between(0, 1).all()
    assert (table["value_if_return_low"] <= table["value_if_return"]).all()
    assert (table["value_if_return"] <= table["value_if_return_high"]).all()
    assert table["percentile"].between(0, 100).all()


def test_the_blend_mixes_either_part() -> None:
    X, _, _ = customers(3000, seed=6)
    found, hurdle, history = (fit(seed=1, family=family).predict_parts(X) for family in ("blend", "hurdle", "btyd"))
    np.testing.assert_allclose(found.p_return, (hurdle.p_return + history.p_return) / 2)
    np.testing.assert_allclose(found.value_if_return, (hurdle.value_if_return + history.value_if_return) / 2)
    half = blend(hurdle, history, 0.5)
    np.testing.assert_allclose(found.expected_value, half.expected_value)


def test_contributions_add_up_to_the_prediction(predictor: Predictor) -> None:
    X, _, _ = customers(200, seed=7)
    matrix = predictor.encoder.encode(X)
    parts, why = predictor.predict_matrix(matrix), predictor.contributions(matrix)
    np.testing.assert_allclose(why.p_return_base + why.p_return.sum(axis=1), parts.p_return, atol=1e-4)
    np.testing.assert_allclose(why.value_base + why.value_if_return.sum(axis=1), parts.value_if_return, rtol=1e-4)
    np.testing.assert_allclose(why.expected_base + why.expected_value.sum(axis=1), parts.expected_value, rtol=1e-4)


@pytest.mark.parametrize("level", [0.4, 1.0, 2.5])
def test_the_level_scales_the_total_and_keeps_order_and_bounds(predictor: Predictor, level: float) -> None:
    X, _, _ = customers(300, seed=13)
    raw, found = predictor.predict_parts(X), replace(predictor, level=level).predict_parts(X)
    np.testing.assert_allclose(found.expected_value, level * raw.expected_value, rtol=1e-9)
    np.testing.assert_allclose(found.expected_value, found.p_return * found.value_if_return, rtol=1e-9)
    assert ((found.p_return >= 0) & (found.p_return <= 1)).all()
    for before, after in ((raw.p_return, found.p_return), (raw.expected_value, found.expected_value)):
        order = np.argsort(before)
        assert (np.diff(after[order]) >= -1e-12).all()


@pytest.mark.parametrize("level", [0.4, 2.5])
def test_contributions_add_up_at_any_level(predictor: Predictor, level: float) -> None:
    X, _, _ = customers(200, seed=7)
    levelled = replace(predictor, level=level)
    matrix = levelled.encoder.encode(X)
    parts, why = levelled.predict_matrix(matrix), levelled.contributions(matrix)
    np.testing.assert_allclose(why.p_return_base + why.p_return.sum(axis=1), parts.p_return, atol=1e-4)
    np.testing.assert_allclose(why.value_base + why.value_if_return.sum(axis=1), parts.value_if_return, rtol=1e-4)
    np.testing.assert_allclose(why.expected_base + why.expected_value.sum(axis=1), parts.expected_value, rtol=1e-4)


def test_the_level_is_that_of_purchases_at_random() -> None:
    """Who buys at a rate and returns with probability p returns with 1 - (1 - p)^2 at twice the rate."""
    parts = at_level(Parts(np.array([0.0, 0.3, 1.0]), np.array([10.0, 20.0, 30.0])), 2.0)
    np.testing.assert_allclose(parts.p_return, [0, 0.51, 1])
    np.testing.assert_allclose(parts.expected_value, [0, 12, 60])


def test_a_total_interval_holds_its_share_of_totals_with_an_uncertain_level() -> None:
    draw = np.random.default_rng(14)
    spent = np.exp(0.25 * draw.standard_normal(50_000)) * draw.gamma(40, 100 / 40, 50_000)
    low, high = total_interval(np.array([100.0]), np.array([100.0**2 / 40]), 0.25, 0.8)
    assert np.mean((spent >= low) & (spent <= high)) == pytest.approx(0.8, abs=0.02)
    assert [float(end[0]) for end in total_interval(np.zeros(1), np.zeros(1), 0.25, 0.8)] == [0, 0]


def test_a_customer_who_buys_again_is_worth_more_to_buy_till_you_die() -> None:
    """Shapley: at equal tenure and amount, only the count tells two customers apart."""
    history = fit(seed=1, family="btyd").predictor_
    X, _, _ = customers(2, seed=12)
    X = X.assign(purchase_count=[1.0, 5.0], recency_days=10.0, tenure_days=300.0, amount_mean=50.0)
    why = history.contributions(history.encoder.encode(X)).expected_value
    count = CONTRACT.names.index("purchase_count")
    assert why[1, count] > why[0, count]
    untouched = [i for i, name in enumerate(CONTRACT.names) if name not in History.FEATURES]
    np.testing.assert_allclose(why[:, untouched], 0, atol=1e-9)


def test_an_unknown_category_counts_as_missing_and_is_named(predictor: Predictor) -> None:
    X, _, _ = customers(3, seed=8)
    unknown, missing = X.assign(state="XX"), X.assign(state=None)
    assert predictor.encoder.unknown(unknown) == {"state": ["XX"]}
    np.testing.assert_array_equal(
        predictor.predict_parts(unknown).expected_value, predictor.predict_parts(missing).expected_value
    )


def test_the_model_learns_what_is_there(hurdle: Predictor) -> None:
    """Directional: in this data São Paulo returns more and Rio spends more."""
    X, _, _ = customers(1000, seed=9)
    sp, rj, mg = (hurdle.predict_parts(X.assign(state=state)) for state in ("SP", "RJ", "MG"))
    assert sp.p_return.mean() > 2 * mg.p_return.mean()
    assert rj.value_if_return.mean() > 1.3 * mg.value_if_return.mean()


def test_training_is_reproducible() -> None:
    X, _, _ = customers(500, seed=10)
    np.testing.assert_array_equal(*(fit(seed=10, n=2000).predict_parts(X).expected_value for _ in range(2)))


def test_nobody_returned_is_refused() -> None:
    X, _, _ = customers(100, seed=11)
    model = Model(CONTRACT, Recipe(), seed=1, threads=1)
    with pytest.raises(InputError, match="No repeat buyer among 100 labelled snapshots"):
        model.fit(X, np.zeros(100), is_return=np.zeros(100, dtype=bool), today=X, horizon_days=90)
