"""The app's parts that need no browser and no service."""

import doctest

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clv.errors import InputError
from streamlit_app import batches, distribution, money, uploads


def test_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(money).failed == 0


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=200))
def test_bands_lose_no_customer_and_no_revenue(values: list[float]) -> None:
    bands = charts.value_bands(pd.Series(values), "BRL")
    assert bands["customers"].sum() == len(values)
    assert bands["revenue"].sum() == pytest.approx(sum(values))
    assert bands["band"].is_unique


def test_bands_stay_useful_with_99_percent_near_zero() -> None:
    values = pd.Series([0.01] * 9900 + list(np.geomspace(1, 5000, 100)))
    bands = charts.value_bands(values, "BRL")
    assert len(bands) >= 5
    assert bands.iloc[0]["share of customers"] >= 0.99
    assert bands.iloc[0]["share of expected revenue"] < 0.01


def test_bands_stay_useful_where_values_are_alike() -> None:
    assert len(charts.value_bands(pd.Series(np.linspace(15, 25, 500)), "EUR")) >= 4


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=500))
def test_concentration_goes_from_nothing_to_all_above_equality(values: list[float]) -> None:
    curve = charts.concentration(pd.Series(values))
    assert curve.iloc[0].tolist() == [0, 0]
    assert curve["customers"].iloc[-1] == 1
    if sum(values) > 0:
        assert curve["revenue"].iloc[-1] == pytest.approx(1)
        assert (curve["revenue"] >= curve["customers"] - 1e-9).all()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["customer_id", "purchased_at", "amount"], ("customer_id", "purchased_at", "amount", None)),
        (["Invoice No", "Invoice Date", "Total", "User ID"], ("User ID", "Invoice Date", "Total", "Invoice No")),
        (["id", "x"], (None, None, None, None)),
    ],
)
def test_columns_are_guessed(columns: list[str], expected: tuple) -> None:
    assert tuple(uploads.guess_columns(columns).values()) == expected


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        (["2018-03-31", "2018-03-31 14:05:00"], None),
        (["19970101", "19980630"], "%Y%m%d"),
        (["31/12/2018", "01/02/2018"], "%d/%m/%Y"),
        (["12/31/2018", "01/02/2018"], "%m/%d/%Y"),
        (["31.12.2018"], "%d.%m.%Y"),
    ],
)
def test_date_formats_are_guessed(values: list[str], pattern: str | None) -> None:
    assert uploads.DATE_FORMATS[uploads.guess_date_format(pd.Series(values, dtype="str"))] == pattern


def test_values_that_can_not_be_read_are_left_for_the_api_to_name() -> None:
    log = pd.DataFrame({"c": ["a", "b"], "t": ["31/12/2018", "soon"], "v": ["1.234,50", "x"]}, dtype="str")
    matching = uploads.Matching("c", "t", "v", date_format="31/03/2018", has_decimal_comma=True)
    sent = uploads.purchases_of(log, matching)
    assert sent["purchased_at"].tolist() == ["2018-12-31 00:00:00", "soon"]
    assert sent["amount"].tolist() == ["1234.50", "x"]


def test_ids_are_read_verbatim() -> None:
    assert uploads.read_csv(b"\xef\xbb\xbfid,n\r\n00001,NA\r\nnull,\r\n")["id"].tolist() == ["00001", "null"]


def test_large_logs_are_split_between_customers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_PURCHASES", 100)
    draw = np.random.default_rng(1)
    log = pd.DataFrame({"customer_id": [f"c{number}" for number in draw.integers(0, 60, 950)]})
    parts = client._by_customer(log)
    assert max(map(len, parts)) <= 100
    assert sorted(pd.concat(parts).index) == list(range(950))
    owners = [set(part["customer_id"]) for part in parts]
    assert sum(map(len, owners)) == len(set.union(*owners))


def test_a_customer_too_large_for_a_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_PURCHASES", 10)
    with pytest.raises(client.ApiError, match="One customer has more than 10 purchases"):
        client._by_customer(pd.DataFrame({"customer_id": ["a", "b"] + ["c"] * 11}))


def test_incomplete_features_are_named() -> None:
    assert uploads.is_features(["a", "b", "x"], ["a", "b", "c"])
    with pytest.raises(InputError, match="lacks the columns customer_id, c"):
        uploads.check_features(["a", "b"], ["a", "b", "c"])
