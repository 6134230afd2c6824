import numpy as np
import pandas as pd

from clv.contract import Contract, Feature
from clv.models.hurdle import FEWEST_OTHERS, bin_rows, fit_boosters, make_encoder
from clv.models.recipe import Recipe

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
    hurdle = fit_boosters(binned, Recipe(trees=60), seed=1, threads=2)
    fresh, came, _ = rare(60_000, 0.01, seed=2)
    p = hurdle.predict_parts(encoder.encode(fresh)).p_return
    assert abs(p.mean() / came.mean() - 1) < 0.15
    low, high = hurdle.predict_parts(encoder.encode(pd.DataFrame({"x": [-1.0, 2.0]}))).p_return
    assert high > 3 * low
