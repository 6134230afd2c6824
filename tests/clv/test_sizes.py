"""The sizes that are expected of marts that are not built yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from clv.load import Shop
from clv.sizes import Table, columns_without_values, expected_rows, expected_table

SHOP = Shop("s", "transactions", "EUR", "UTC", date(2020, 1, 1), date(2016, 1, 1), date(2020, 1, 1), 1000, 1000, "f")
TYPES = {"customer_id": "STRING", "purchase_date": "DATE", "amount": "NUMERIC", "is_purchase": "BOOL"}


@pytest.mark.parametrize(
    ("sql", "scanned"),
    [
        ("select customer_id from t", 34),
        ("select sum(case when Is_Purchase then Amount end) from t", 17),
        ("select count(*) from t where purchase_date is null", 8),
        ("select *, count(*) over () from t", 59),
        ("select amount_total from t", 0),
    ],
)
def test_a_query_scans_the_columns_that_it_names(sql: str, scanned: int) -> None:
    assert expected_table("purchases", TYPES, {"purchases": 10}, set()).scanned_bytes(sql) == 10 * scanned


def test_what_the_source_does_not_have_takes_nothing() -> None:
    empty = columns_without_values("select amount, cast(null as string) as category, cast(null as int64) as item_count")
    assert empty == {"category", "item_count"}
    types = {"customer_id": "STRING", "last_category": "STRING", "item_count_mean": "FLOAT64", "amount_max": "FLOAT64"}
    snapshots = expected_table("customer_snapshots", types, {"customer_snapshots": 1}, empty)
    assert snapshots == Table(1, {"customer_id": 34, "amount_max": 8})
    everything = expected_table("customer_snapshots", types, {"customer_snapshots": 1}, set())
    assert everything.widths["item_count_mean"] == 4, "it may be missing"


def test_a_cutoff_has_the_customers_who_have_bought_by_then() -> None:
    rows = expected_rows(SHOP, SHOP.as_of_date, 90)
    assert (rows["int_purchases"], rows["customers"], rows["cutoffs"]) == (1000, 1000, 38)
    # One order each: of four years' customers the 36 months before the last 90 days have 0.2 to 0.94.
    assert rows["customer_snapshots"] == pytest.approx(1000 * (2 + 36 * 0.57), rel=0.02)
    loyal = expected_rows(replace(SHOP, order_count=50_000), SHOP.as_of_date, 90)
    assert loyal["customer_snapshots"] == pytest.approx(1000 * 38, rel=0.01), "all have bought early"


def test_a_short_history_has_few_cutoffs() -> None:
    assert expected_rows(SHOP, date(2016, 4, 10), 90)["cutoffs"] == 2
    assert expected_rows(SHOP, date(2016, 6, 1), 30)["cutoffs"] == 2 + 13
    assert expected_rows(replace(SHOP, customer_count=0, order_count=0), date(2016, 2, 1), 31)["cutoffs"] == 2
