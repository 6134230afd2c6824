"""The service's own way through the trees is XGBoost's, to the last bit."""

import json
import logging
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import xgboost as xgb

from clv.predictor import Encoder, Forest, Hurdle, Predictor
from serving.forest import BitForest, compiled

NUMBERS, CATEGORIES = 6, (3, 40)


def random_predictor(seed: int, depth: int, rounds: tuple[int, int] = (30, 20), form: str = "hurdle") -> Predictor:
    """Two bags of trees grown on noise, gaps and categories included, so that they split wherever they can."""
    draw = np.random.default_rng(seed)
    matrix = np.column_stack(
        [
            draw.normal(size=(400, NUMBERS - 1)),
            draw.integers(0, 4, (400, 1)),  # many customers right at a threshold
            *(draw.integers(0, size, (400, 1)) for size in CATEGORIES),
        ]
    ).astype(np.float32)
    matrix[draw.random(matrix.shape) < 0.2] = np.nan
    names = [f"n{place}" for place in range(NUMBERS)] + [f"c{place}" for place in range(len(CATEGORIES))]
    vocabulary = {f"c{place}": tuple(map(str, range(size))) for place, size in enumerate(CATEGORIES)}
    encoder = Encoder(tuple(names), vocabulary)

    def booster(objective: str, trees: int, bag: int) -> xgb.Booster:
        label = draw.random(400) < 0.3 if objective == "binary:logistic" else draw.gamma(2.0, 30.0, 400)
        data = xgb.DMatrix(matrix, label, feature_types=encoder.feature_types, enable_categorical=True)
        settings = {"objective": objective, "max_depth": depth, "seed": bag, "subsample": 0.7, "nthread": 1}
        return xgb.train({**settings, "max_cat_to_onehot": 5, "min_child_weight": 0.01}, data, trees)

    hurdles = tuple(
        Hurdle(booster("binary:logistic", rounds[0], bag), booster("reg:gamma", rounds[1] + bag, bag), form)
        for bag in range(2)
    )
    return Predictor(encoder, hurdles, about={}, value_interval=(0.5, 2.0), value_cap=1e9)


def forest_of(predictor: Predictor) -> BitForest:
    forest = compiled(predictor)
    assert forest is not None
    return forest


@pytest.mark.parametrize(("depth", "trees"), [(1, 30), (3, 30), (5, 10), (8, 2)])
def test_the_margins_are_those_of_xgboost_to_the_last_bit(depth: int, trees: int) -> None:
    predictor = random_predictor(seed=depth, depth=depth, rounds=(trees, trees // 2))
    forest = forest_of(predictor)
    matrix = forest.probe(1100, seed=1)
    assert np.isnan(matrix).any()
    for count in (1, 63, 64, 65, 512, 513, 1100):
        mine, theirs = forest.margins(matrix[:count]), predictor.forest.margins(matrix[:count])
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(np.unique(predictor.forest.margins(matrix)[0])) > 10  # the trees do ask something


def test_trees_that_are_a_single_leaf() -> None:
    predictor = random_predictor(seed=4, depth=3)
    stump = xgb.train({"max_depth": 3, "gamma": 1e9}, xgb.DMatrix(np.zeros((9, 8)), np.arange(9.0)), 2)
    hurdles = tuple(replace(hurdle, value=stump) for hurdle in predictor.hurdles)
    joined = replace(predictor, hurdles=hurdles)
    matrix = forest_of(predictor).probe(70)
    for one, other in zip(forest_of(joined).margins(matrix), joined.forest.margins(matrix), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_answer_is_the_predictors(predictor: Predictor, helpers: ModuleType) -> None:
    matrix = predictor.encoder.encode(helpers.random_customers(600, seed=8))
    mine = predictor.predict_matrix(matrix, forest_of(predictor).margins(matrix))
    theirs = predictor.predict_matrix(matrix)
    np.testing.assert_array_equal(mine.p_return, theirs.p_return)
    np.testing.assert_array_equal(mine.value_if_return, theirs.value_if_return)


def test_deep_trees_and_models_without_trees_stay_with_xgboost(caplog: pytest.LogCaptureFixture) -> None:
    assert compiled(random_predictor(seed=1, depth=12, rounds=(3, 3))) is None
    shallow = random_predictor(seed=1, depth=2)
    assert compiled(replace(shallow, hurdles=())) is None
    bare = xgb.train({"max_depth": 3}, xgb.DMatrix(np.zeros((9, 8)), np.arange(9.0)), 0)
    hurdles = tuple(replace(hurdle, p_return=bare, value=bare) for hurdle in shallow.hurdles)
    assert compiled(replace(shallow, hurdles=hurdles)) is None
    assert not caplog.records


def test_trees_that_come_to_mean_something_else_are_found_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another XGBoost may write other trees; the service then stays with XGBoost, and says so."""
    write = xgb.Booster.save_raw

    def turned(booster: xgb.Booster, raw_format: str) -> bytes:
        document = json.loads(write(booster, raw_format))
        for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
            tree["default_left"] = [1 - left for left in tree["default_left"]]
        return json.dumps(document).encode()

    predictor = random_predictor(seed=2, depth=3)
    predictor.__dict__["forest"] = Forest.of(predictor.hurdles)
    for wrong in (turned, lambda booster, raw_format: b'{"learner": {}}'):
        monkeypatch.setattr(xgb.Booster, "save_raw", wrong)
        with caplog.at_level(logging.WARNING, "serving.forest"):
            assert compiled(predictor) is None
        assert "large requests take longer" in caplog.text
        caplog.clear()
