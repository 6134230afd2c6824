"""Slices part the customers, agree with the whole, and claim nothing where few came back."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from clv.bootstrap import Outcome, intervals, resample
from clv.predictor import Parts
from clv.slices import FEWEST_RETURNERS, MISSING, MOST_VALUES, REST, labels, slices

CUTOFF = date(2018, 5, 31)
N = 3000


@pytest.fixture(scope="module")
def shop() -> tuple[Parts, Outcome]:
    rng = np.random.default_rng(5)
    chance = rng.beta(1, 5, N)
    back = rng.random(N) < chance
    return Parts(chance, np.full(N, 50.0)), Outcome(np.arange(N), back, np.where(back, rng.gamma(2, 25, N), 0.0))


def test_a_slice_of_everybody_is_the_whole(shop) -> None:
    parts, outcome = shop
    (only,) = slices([parts], [outcome], [{"state": np.full(N, "SP", dtype=object)}], seed=3)
    whole = intervals(resample({"m": [parts]}, [outcome], rng=np.random.default_rng(3)), "m")
    assert (only.slicing, only.value, only.customers) == ("state", "SP", N)
    assert only.returners == outcome.is_return.sum()
    assert only.metrics == {name: whole[name] for name in only.metrics}


def test_slices_part_the_customers_and_the_rare_ones_are_one(shop) -> None:
    parts, outcome = shop
    rng = np.random.default_rng(1)
    state = np.array([f"s{code:02}" for code in np.minimum(rng.geometric(0.15, N), 40)], dtype=object)
    found = slices([parts], [outcome], [{"state": state}], seed=3)
    assert len(found) == MOST_VALUES
    assert found[-1].value == REST
    assert sum(one.customers for one in found) == N
    assert sum(one.returners for one in found) == outcome.is_return.sum()
    sizes = [one.customers for one in found[:-1]]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("extra", "enough"), [(-1, False), (0, True)])
def test_nothing_is_claimed_of_a_slice_with_few_returners(shop, extra: int, enough: bool) -> None:
    parts, outcome = shop
    few = np.zeros(N, dtype=bool)
    few[np.flatnonzero(outcome.is_return)[: FEWEST_RETURNERS + extra]] = True
    few[np.flatnonzero(~outcome.is_return)[:200]] = True
    found = slices([parts], [outcome], [{"state": np.where(few, "few", "rest").astype(object)}], seed=3)
    one = next(one for one in found if one.value == "few")
    assert one.returners == FEWEST_RETURNERS + extra
    assert (one.is_enough, bool(one.metrics)) == (enough, enough)


def test_a_customer_of_several_cutoffs_counts_once(shop) -> None:
    parts, outcome = shop
    group = {"state": np.full(N, "SP", dtype=object)}
    (only,) = slices([parts, parts], [outcome, outcome], [group, group], seed=3)
    assert (only.customers, only.returners) == (N, outcome.is_return.sum())


def test_labels_of_a_cutoff() -> None:
    frame = pd.DataFrame(
        {
            "first_state": pd.Categorical(["SP", None, "RJ"]),
            "first_category": pd.Categorical([None, None, None]),
            "tenure_days": [0.0, 31.0, 150.0],
            "purchase_count": [1.0, 2.0, 5.0],
        }
    )
    found = labels(frame, CUTOFF)
    assert list(found["state"]) == ["SP", MISSING, "RJ"]
    assert "first_category" not in found
    assert list(found["acquisition_month"]) == ["2018-05", "2018-04", "2018-01"]
    assert list(found["purchases_so_far"]) == ["one", "two or more", "two or more"]


def test_months_stand_in_order(shop) -> None:
    parts, outcome = shop
    months = np.array(["2018-03", "2018-01", "2018-02"], dtype=object)[np.arange(N) % 3]
    found = slices([parts], [outcome], [{"acquisition_month": months}], seed=3)
    assert [one.value for one in found] == ["2018-01", "2018-02", "2018-03"]
