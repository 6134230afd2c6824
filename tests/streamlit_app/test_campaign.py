"""The arithmetic of a campaign, against sums worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlit_app import campaign

VALUES = [100.0, 50.0, 10.0, 1.0]
CURVE = [
    {"customers": 2, "expected_value": 150.0, "expected_value_low": 75.0, "expected_value_high": 300.0},
    {"customers": 4, "expected_value": 161.0, "expected_value_low": 120.75, "expected_value_high": 241.5},
]


def test_profit_is_margin_on_the_best_less_their_cost() -> None:
    plan = campaign.plan(VALUES, CURVE, cost=4, margin=0.5)
    assert plan.profits["profit"].tolist() == [0, 46, 67, 68, 64.5]
    assert plan.best == 3
    assert plan.break_even is None
    assert plan.at(2)["profit_low"] == pytest.approx(0.5 * 75 - 8)
    assert plan.at(4)["profit_high"] == pytest.approx(0.5 * 241.5 - 16)
    # Between two points the relative width of the interval lies between theirs.
    assert plan.at(3)["revenue_low"] == pytest.approx(160 * (0.5 + 0.75) / 2)
    assert plan.needed_share(2) == pytest.approx(8 / 75)


def test_break_even_is_the_last_number_without_a_loss() -> None:
    plan = campaign.plan(VALUES, CURVE, cost=40, margin=0.8)
    assert plan.profits["profit"].tolist() == [0, 40, 40, 8, pytest.approx(-31.2)]
    assert plan.best == 1
    assert plan.break_even == 3
    assert campaign.plan(VALUES, CURVE, cost=90, margin=0.8).best == 0


def test_customers_without_value_never_pay() -> None:
    nothing = [{**point, **dict.fromkeys(list(point)[1:], 0.0)} for point in CURVE]
    plan = campaign.plan([0.0] * 4, nothing, cost=1, margin=0.5)
    assert plan.best == 0
    assert plan.break_even == 0
    assert plan.needed_share(1) == np.inf


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1e6), min_size=4, max_size=4), st.floats(0, 1e5), st.floats(0.01, 1), st.integers(0, 4))
def test_nobody_left_out_is_worth_more_than_the_contact(values, cost, margin, k) -> None:
    values = sorted(values, reverse=True)
    ends = dict.fromkeys(("expected_value", "expected_value_low", "expected_value_high"), sum(values))
    plan = campaign.plan(values, [{"customers": 4, **ends}], cost=cost, margin=margin)
    assert plan.at(plan.best)["profit"] >= plan.at(k)["profit"]
    if plan.best < len(values):
        assert margin * values[plan.best] <= cost * (1 + 1e-9) + 1e-6
    assert plan.curve(4)["customers"].tolist()[-1] == 4
