"""How value is spread: bands, tiers and concentration lose nobody and nothing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlit_app import distribution
from streamlit_app.money import Style

VALUES = st.lists(st.floats(0, 1e9), min_size=1, max_size=200)
few = settings(deadline=None, max_examples=40)


def table(values: list[float]) -> pd.DataFrame:
    ids = [f"{row:04d}" for row in range(len(values))]
    return pd.DataFrame({"customer_id": ids, "expected_value": values, "p_return": 0.5})


def bands(values: object, currency: str = "BRL") -> pd.DataFrame:
    return distribution.value_bands(pd.Series(values, dtype=float), currency, Style())


@few
@given(VALUES)
def test_bands_lose_no_customer_and_no_revenue(values: list[float]) -> None:
    found = bands(values)
    assert found["customers"].sum() == len(values)
    assert found["revenue"].sum() == pytest.approx(sum(values))
    assert found["band"].is_unique


def test_bands_stay_useful_with_99_percent_near_zero() -> None:
    found = bands([0.01] * 9900 + list(np.geomspace(1, 5000, 100)))
    assert len(found) >= 5
    assert found.iloc[0]["share of customers"] >= 0.99
    assert found.iloc[0]["share of expected revenue"] < 0.01


def test_bands_stay_useful_where_values_are_alike() -> None:
    assert len(bands(np.linspace(15, 25, 500), "EUR")) >= 4


def test_bands_stay_useful_where_all_amounts_are_tiny() -> None:
    assert len(bands(np.linspace(0.0015, 0.0025, 500))) >= 4
    assert len(bands(np.geomspace(1e-6, 1e-4, 500))) >= 4


def test_bands_are_written_as_people_are_used_to() -> None:
    found = distribution.value_bands(pd.Series([0.4, 1500.0]), "EUR", Style(".", ","))
    assert found["band"].iloc[-1] == "€ 1.500 to 2.000"


@few
@given(VALUES)
def test_tiers_are_tie_safe_and_hold_what_they_say(values: list[float]) -> None:
    found = distribution.ranked(table(values))
    assert found["expected_value"].is_monotonic_decreasing
    assert (found.groupby("expected_value")["tier"].nunique() == 1).all()
    assert found["tier"].is_monotonic_increasing
    assert found["rank"].tolist() == found["expected_value"].rank(method="min", ascending=False).tolist()
    total = found["expected_value"].sum()
    if total > 0:
        for tier, end in (("A", 0.5), ("B", 0.8)):
            before = found[found["tier"] > tier]["expected_value"].max() if (found["tier"] > tier).any() else 0
            upto = found[found["tier"] <= tier]["expected_value"].sum()
            assert upto >= end * total * (1 - 1e-9)
            assert before <= found[found["tier"] <= tier]["expected_value"].min()
    tiers = distribution.tier_table(found)
    assert tiers["customers"].sum() == len(values)
    assert tiers["revenue"].sum() == pytest.approx(total)


@few
@given(VALUES)
def test_concentration_goes_from_nothing_to_all_above_equality(values: list[float]) -> None:
    falling = pd.Series(values).sort_values(ascending=False)
    curve = distribution.concentration(falling)
    assert curve.iloc[0].tolist() == [0, 0, 0]
    assert curve["customers"].iloc[-1] == 1
    count = distribution.half(falling)
    if sum(values) > 0:
        assert curve["revenue"].iloc[-1] == pytest.approx(1)
        assert (curve["revenue"] >= curve["customers"] - 1e-9).all()
        assert falling.iloc[:count].sum() >= sum(values) / 2 * (1 - 1e-9)
        assert falling.iloc[: count - 1].sum() <= sum(values) / 2 * (1 + 1e-9)
    else:
        assert count == 0
