"""Shops out of the ordinary: every family of model predicts finite numbers in range, or refuses in one sentence."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from clv.errors import InputError
from clv.models.model import Model
from clv.models.recipe import Family, Recipe
from tests.clv.customers import CONTRACT, Customers, customers


def shop(n: int = 400) -> Customers:
    """An ordinary small shop."""
    return customers(n, seed=3)


def one_whale() -> Customers:
    frame, returned, value = shop()
    frame.loc[0, ["purchase_count", "recency_days", "tenure_days", "amount_mean", "amount_total"]] = [
        9,
        2,
        290,
        9e5,
        8.1e6,
    ]
    returned[0], value[0] = True, 1e6
    return frame, returned, value


def constant_features() -> Customers:
    frame, returned, value = shop()
    return frame.assign(amount_mean=10.0, last_review_score=np.nan, state="SP"), returned, value


def all_come_back() -> Customers:
    frame, _, _ = shop()
    return frame, np.ones(len(frame), dtype=bool), np.full(len(frame), 25.0)


def all_is_refunded() -> Customers:
    """What they bought before was given back, and so is all they buy next."""
    frame, returned, value = shop()
    return frame.assign(amount_total=-5.0), returned, np.zeros_like(value)


def a_handful() -> Customers:
    frame, returned, value = shop(8)
    returned[:2], value[:2] = True, 30.0
    return frame, returned, value


def one_history() -> Customers:
    """A single snapshot of people who all did the same on the same day."""
    frame, returned, value = shop(60)
    same = frame.iloc[[0] * 60].reset_index(drop=True)
    return same.assign(purchase_count=1.0, recency_days=40.0, tenure_days=40.0), returned, value


@pytest.mark.parametrize("family", get_args(Family))
@pytest.mark.parametrize(
    "make",
    [one_whale, constant_features, all_come_back, all_is_refunded, a_handful, one_history],
    ids=lambda f: f.__name__,
)
def test_predictions_are_finite_and_in_range(make: Callable[[], Customers], family: str) -> None:
    X, returned, value = make()
    recipe: dict[str, Any] = {"family": family, "bags": 1, "trees": 20, "value_trees": 20}
    for options in ({}, {"value_objective": "lognormal", "monotone": True}) if family == "blend" else ({},):
        model = Model(CONTRACT, Recipe(**recipe, **options), seed=1, threads=1)
        parts = model.fit(X, value, is_return=returned, today=X, horizon_days=90).predict_parts(X)
        assert np.isfinite(parts.p_return).all()
        assert ((parts.p_return >= 0) & (parts.p_return <= 1)).all()
        assert np.isfinite(parts.value_if_return).all()
        assert (parts.value_if_return >= 0).all()
        largest = max(value.max(), X["amount_total"].max(), X["amount_mean"].max())
        assert parts.value_if_return.max() <= 6 * largest  # nobody is worth many times what anybody ever spent


@pytest.mark.parametrize("family", [family for family in get_args(Family) if family != "btyd"])
def test_without_a_returner_there_is_nothing_to_learn(family: str) -> None:
    X, returned, value = shop()
    model = Model(CONTRACT, Recipe(family=family), seed=1, threads=1)
    with pytest.raises(InputError, match="No repeat buyer among 400 labelled snapshots"):
        model.fit(X, 0 * value, is_return=returned & False, today=X, horizon_days=90)
