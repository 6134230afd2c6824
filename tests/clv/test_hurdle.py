import json
import signal
import threading

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from clv.contract import Contract, Feature
from clv.metrics import normalized_gini
from clv.models import hurdle as hurdle_module
from clv.models.hurdle import (
    CUSTOMER_FOLDS,
    FEWEST_OTHERS,
    MAX_BIN,
    Binned,
    bin_rows,
    customer_folds,
    fit_bags,
    fit_boosters,
    make_encoder,
)
from clv.models.recipe import Recipe
from clv.predictor import Parts

CONTRACT = Contract((Feature("x", "number", "", nullable=False),))


def rare(n: int, rate: float, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"x": rng.normal(size=n)})
    returned = rng.random(n) < rate * np.exp(X["x"].to_numpy()) / np.exp(0.5)
    return X, returned, np.where(returned, rng.gamma(2, 20, n), 0.0)


def test_a_bag_holds_every_returner_and_stands_for_everybody() -> None:
    X, returned, value = rare(40_000, 0.01, seed=1)
    encoder = make_encoder(CONTRACT, X)
    binned = bin_rows(encoder, encoder.encode(X), returned, value, seed=3)
    rows = binned.returns.num_row()
    others = int((~returned).sum())
    assert rows == returned.sum() + int(FEWEST_OTHERS * others)
    assert binned.returns.get_label().sum() == returned.sum()
    weight = binned.returns.get_weight().sum()
    assert abs(weight - len(X)) < 10
    assert binned.base_rate == returned.mean()


def test_where_many_return_nobody_is_left_out() -> None:
    X, returned, value = rare(5_000, 0.2, seed=1)
    encoder = make_encoder(CONTRACT, X)
    assert bin_rows(encoder, encoder.encode(X), returned, value, seed=3).returns.num_row() == len(X)


def test_drawing_and_weighing_keeps_the_level_and_the_order() -> None:
    """The mean prediction is the share who return, among new customers too, and rises with x."""
    X, returned, value = rare(60_000, 0.01, seed=1)
    encoder = make_encoder(CONTRACT, X)
    binned = bin_rows(encoder, encoder.encode(X), returned, value, seed=3)
    hurdle = fit_boosters(binned, Recipe(trees=60, patience=0), seed=1, threads=2)
    fresh, came, _ = rare(60_000, 0.01, seed=2)
    p = hurdle.predict_parts(encoder.encode(fresh)).p_return
    assert abs(p.mean() / came.mean() - 1) < 0.15
    low, high = hurdle.predict_parts(encoder.encode(pd.DataFrame({"x": [-1.0, 2.0]}))).p_return
    assert high > 3 * low


@pytest.mark.parametrize("objective", ["gamma", "lognormal"])
def test_the_unit_of_money_changes_nothing_but_the_unit(objective: str) -> None:
    X, returned, value = rare(5_000, 0.2, seed=1)
    value[np.flatnonzero(returned)[:5]] = 0.0  # all of it came back
    encoder = make_encoder(CONTRACT, X)
    matrix = encoder.encode(X)

    def spend(unit: float) -> np.ndarray:
        binned = bin_rows(encoder, matrix, returned, value * unit, seed=3)
        hurdle = fit_boosters(binned, Recipe(trees=20, value_objective=objective), seed=1, threads=2)
        return hurdle.predict_parts(matrix).value_if_return

    np.testing.assert_allclose(spend(2.0**-14) * 2**14, spend(1.0), rtol=1e-4)


@pytest.mark.parametrize(
    ("form", "options"),
    [("hurdle", {}), ("hurdle", {"value_objective": "lognormal"}), ("tweedie", {}), ("offset", {})],
    ids=str,
)
def test_every_form_finds_the_level_and_the_order(form: str, options: dict[str, str]) -> None:
    """Totals of fresh customers are right, and who is likely to return and spend much comes first."""
    X, returned, value = rare(30_000, 0.05, seed=1)
    encoder = make_encoder(CONTRACT, X)
    guess = Parts(np.full(len(X), 0.02), np.full(len(X), 90.0))  # far off: half as often, twice as much
    start = guess if form == "offset" else None
    binned = bin_rows(encoder, encoder.encode(X), returned, value, seed=3, form=form, start=start)
    hurdle = fit_boosters(binned, Recipe(trees=60, value_trees=60, patience=0, **options), seed=1, threads=2)
    fresh, came, spent = rare(30_000, 0.05, seed=2)
    parts = hurdle.predict_parts(encoder.encode(fresh), start)
    assert abs(parts.p_return.mean() / came.mean() - 1) < 0.1
    assert abs(parts.expected_value.sum() / spent.sum() - 1) < 0.12
    assert normalized_gini(spent, parts.expected_value) > 0.9 * normalized_gini(spent, fresh["x"])


def test_monotone_means_that_a_longer_silence_never_raises() -> None:
    rng = np.random.default_rng(5)
    contract = Contract((Feature("recency_days", "number", "", nullable=False), *CONTRACT.features))
    X = pd.DataFrame({"recency_days": rng.integers(0, 300, 3000).astype(float), "x": rng.normal(size=3000)})
    returned = rng.random(3000) < 0.2  # noise, which a tree without the constraint follows up and down
    encoder = make_encoder(contract, X)
    binned = bin_rows(encoder, encoder.encode(X), returned, np.where(returned, 10.0, 0.0), seed=1)
    line = encoder.encode(pd.DataFrame({"recency_days": np.arange(300.0), "x": 0.0}))
    steps = {
        monotone: np.diff(
            fit_boosters(binned, Recipe(monotone=monotone, trees=120, patience=0), seed=1, threads=2)
            .predict_parts(line)
            .p_return
        )
        for monotone in (True, False)
    }
    assert steps[True].max() <= 1e-9 < steps[False].max()


def test_the_snapshots_of_a_customer_stay_together_and_every_fold_has_returners() -> None:
    rng = np.random.default_rng(4)
    customer = rng.integers(0, 300, 2000).astype(str).astype(object)
    returned = np.isin(customer, ["7", "70", "77", "170", "177"]) & (rng.random(2000) < 0.9)
    fold = customer_folds(customer, returned)
    assert all(len(set(fold[customer == one])) == 1 for one in set(customer))
    assert set(fold[returned]) == set(range(CUSTOMER_FOLDS))
    order = rng.permutation(2000)
    np.testing.assert_array_equal(customer_folds(customer[order], returned[order]), fold[order])


@pytest.mark.parametrize(
    ("form", "options"),
    [("hurdle", {}), ("hurdle", {"value_objective": "lognormal"}), ("tweedie", {}), ("offset", {})],
    ids=str,
)
def test_boosting_stops_once_other_customers_gain_nothing(form: str, options: dict[str, str]) -> None:
    """Soon where labels are noise, later where they follow x; and the answer is that of the rounds that are kept."""
    X, returned, value = rare(20_000, 0.05, seed=1)
    encoder = make_encoder(CONTRACT, X)
    start = Parts(np.full(len(X), 0.05), np.full(len(X), 40.0)) if form == "offset" else None
    held_out = np.arange(len(X)) % 5 == 0
    recipe = Recipe(patience=15, learning_rate=0.1, **options)
    rounds = {}
    for name, order in {"x": np.arange(len(X)), "noise": np.random.default_rng(2).permutation(len(X))}.items():
        labels = returned[order], value[order]
        binned = bin_rows(encoder, encoder.encode(X), *labels, seed=3, form=form, start=start, held_out=held_out)
        hurdle = fit_boosters(binned, recipe, seed=1, threads=2)
        rounds[name] = hurdle.p_return.num_boosted_rounds()
        assert hurdle.value.num_boosted_rounds() < recipe.value_trees
    assert rounds["noise"] < 10 < rounds["x"] < recipe.trees


def test_held_out_customers_say_when_to_stop_and_nothing_else() -> None:
    X, returned, value = rare(20_000, 0.05, seed=1)
    encoder = make_encoder(CONTRACT, X)
    held_out = np.arange(len(X)) % 5 == 0
    binned = bin_rows(encoder, encoder.encode(X), returned, value, seed=3, held_out=held_out)
    stopped = fit_boosters(binned, Recipe(patience=15), seed=1, threads=2)
    rounds = stopped.p_return.num_boosted_rounds(), stopped.value.num_boosted_rounds()
    fixed = fit_boosters(
        binned, Recipe(patience=0, trees=rounds[0], value_trees=rounds[1]), seed=1, threads=2
    ).predict_parts(encoder.encode(X))
    assert binned.returns.get_label().sum() == returned[~held_out].sum()
    np.testing.assert_allclose(stopped.predict_parts(encoder.encode(X)).expected_value, fixed.expected_value, rtol=1e-5)


def test_bags_are_the_same_side_by_side_and_one_by_one() -> None:
    X, returned, value = rare(20_000, 0.05, seed=1)
    encoder = make_encoder(CONTRACT, X)
    matrix, fold = encoder.encode(X), np.arange(len(X)) % CUSTOMER_FOLDS

    def binned(bag: int) -> Binned:
        return bin_rows(encoder, matrix, returned, value, seed=3 + bag, held_out=fold == bag)

    recipe = Recipe(trees=60, value_trees=60, patience=10)
    wanted = [fit_boosters(binned(bag), recipe, seed=3 + bag, threads=1).predict_parts(matrix) for bag in (1, 2, 4)]
    assert len({parts.expected_value.sum() for parts in wanted}) == 3
    for threads in (1, 2, 5):
        found = fit_bags(binned, recipe, (1, 2, 4), seed=3, threads=threads)
        for hurdle, parts in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(hurdle.predict_parts(matrix).expected_value, parts.expected_value)
            for booster in (hurdle.p_return, hurdle.value):
                assert json.loads(booster.save_config())["learner"]["generic_param"]["nthread"] == str(threads)
    assert fit_bags(binned, recipe, (), seed=3, threads=2) == ()


def test_an_interrupt_waits_for_no_bag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty bags take long; while the second is binned somebody presses Ctrl-C."""
    X, returned, value = rare(2_000, 0.1, seed=1)
    encoder = make_encoder(CONTRACT, X)
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    trained: list[int] = []
    after = hurdle_module._Stop.after_iteration
    monkeypatch.setattr(
        hurdle_module._Stop, "after_iteration", lambda self, *at: trained.append(at[1]) or after(self, *at)
    )

    def binned(bag: int) -> Binned:
        if bag == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return bin_rows(encoder, encoder.encode(X), returned, value, seed=bag)

    recipe = Recipe(trees=5000, value_trees=5000, patience=0, max_depth=12)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit_bags(binned, recipe, range(20), seed=3, threads=2)
    finally:
        signal.signal(signal.SIGINT, former)
    assert len(trained) < 5000


def test_held_out_customers_need_not_be_binned() -> None:
    """As they are they are much quicker to ask, and the loss is the same: splits lie on the borders of bins."""
    X, returned, value = rare(20_000, 0.2, seed=1)
    X["state"] = np.random.default_rng(2).choice(["RJ", "SP", None], len(X))
    X.loc[::7, "x"] = np.nan
    encoder = make_encoder(Contract((*CONTRACT, Feature("state", "category", "", nullable=True))), X)
    matrix, held_out = encoder.encode(X), np.arange(len(X)) % 5 == 0
    binned = bin_rows(encoder, matrix, returned, value, seed=3, held_out=held_out)
    assert binned.held_out is not None
    as_they_are, _ = binned.held_out()
    same = xgb.QuantileDMatrix(
        matrix[held_out],
        label=returned[held_out],
        ref=binned.returns,
        max_bin=MAX_BIN,
        feature_names=binned.returns.feature_names,
        feature_types=binned.returns.feature_types,
        enable_categorical=True,
    )
    found: dict[str, dict[str, list[float]]] = {}
    xgb.train(
        {"objective": "binary:logistic", "max_bin": MAX_BIN},
        binned.returns,
        40,
        evals=[(as_they_are, "plain"), (same, "binned")],
        evals_result=found,
        verbose_eval=False,
    )
    assert found["plain"] == found["binned"]
    assert len(set(found["binned"]["logloss"])) > 30


def test_with_too_few_returners_to_hold_any_out_there_are_few_rounds() -> None:
    X, _, _ = rare(200, 0.05, seed=1)
    returned = np.arange(200) == 7
    encoder = make_encoder(CONTRACT, X)
    for held_out in (returned, ~returned):
        binned = bin_rows(encoder, encoder.encode(X), returned, 30.0 * returned, seed=3, held_out=held_out)
        assert binned.held_out is None
        assert fit_boosters(binned, Recipe(patience=12), seed=1, threads=1).p_return.num_boosted_rounds() == 12
