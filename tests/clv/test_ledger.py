from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from clv.ledger import EPOCH, Ledger, number, read_ledger
from clv.settings import Settings
from clv.warehouse import open_warehouse

C = date(2018, 3, 31)


def rows(seed: int = 0, n: int = 400) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "customer": draw.integers(0, 60, n),
            "day": number(C) + draw.integers(-90, 60, n),
            "amount": draw.choice([-20.0, 30.0, 50.0], n, p=[0.1, 0.5, 0.4]),
        }
    )
    return frame.groupby(["customer", "day"], as_index=False).sum()


def test_the_ledger_holds_every_purchase_of_who_has_bought() -> None:
    data = rows()
    ledger = Ledger.of(data["customer"], data["day"], data["amount"])
    first = data[data["amount"] > 0].groupby("customer")["day"].min()
    counted = data[data["day"] >= data["customer"].map(first)]
    assert ledger.amount.sum() == counted["amount"].sum()
    assert ledger.square.sum() == (counted["amount"] ** 2).sum()
    assert ledger.customers == len(first)
    assert (ledger.day >= ledger.first).all()


def test_what_is_spent_after_a_cutoff_is_that_of_known_customers_less_returns() -> None:
    data = rows(1)
    ledger = Ledger.of(data["customer"], data["day"], data["amount"])
    day = data["day"] - number(C)
    known = set(data.loc[(day <= 0) & (data["amount"] > 0), "customer"])
    window = data[(day > 0) & (day <= 30) & data["customer"].isin(known)]
    nets = window.groupby("customer")["amount"].sum()
    assert nets.min() < 0
    # who has bought but once by the end gives back what no label is lowered by
    days = data[(data["amount"] > 0) & (day <= 30)].groupby("customer")["day"].nunique()
    counted = nets[days.reindex(nets.index) > 1]
    assert ledger.spent(C, 30) == counted.sum()


def test_labels_are_those_of_each_customer_none_below_0() -> None:
    data = rows(1)
    earlier = C - timedelta(days=30)
    ledger = Ledger.of(data["customer"], data["day"], data["amount"], {30: [earlier, C]})
    for cutoff in (earlier, C):
        day = data["day"] - number(cutoff)
        known = set(data.loc[(day <= 0) & (data["amount"] > 0), "customer"])
        window = data[(day > 0) & (day <= 30) & data["customer"].isin(known)]
        assert ledger.labels[cutoff, 30] == window.groupby("customer")["amount"].sum().clip(lower=0).sum()
    # the floor is that of windows which had closed by then
    assert ledger.floor(C, 30) == ledger.labels[earlier, 30] / ledger.spent(earlier, 30) > 1
    both = sum(ledger.labels.values()) / (ledger.spent(earlier, 30) + ledger.spent(C, 30))
    assert ledger.floor(C + timedelta(days=30), 30) == both
    assert ledger.floor(C + timedelta(days=29), 30) == ledger.floor(C, 30)
    assert ledger.floor(earlier, 30) == ledger.floor(C, 60) == 1.0


def test_without_returns_labels_are_what_was_spent() -> None:
    data = rows(1)
    data["amount"] = data["amount"].abs()
    ledger = Ledger.of(data["customer"], data["day"], data["amount"], {30: [C]})
    assert not ledger.labels
    assert ledger.floor(C + timedelta(days=60), 30) == 1.0


def test_what_was_known_holds_no_later_row() -> None:
    data = rows(2)
    ledger = Ledger.of(data["customer"], data["day"], data["amount"])
    known = ledger.until(C)
    early = data[data["day"] <= number(C)]
    np.testing.assert_array_equal(known.amount, Ledger.of(early["customer"], early["day"], early["amount"]).amount)


@pytest.mark.parametrize("engine", ["duckdb", "bigquery"])
def test_both_engines_sum_up_the_same_ledger(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, threads=1)
    if engine == "bigquery":
        from clv.warehouse.bigquery import setup_bigquery

        environment = request.getfixturevalue("bigquery_facade").environment
        settings = Settings.from_environment(
            environment, home=tmp_path, threads=1, warehouse="bigquery://clv-ledger/clv"
        )
        setup_bigquery(settings)
    data = rows(3, n=60)
    table = pa.table(
        {
            "customer_key": data["customer"].to_numpy(np.int64),
            "purchase_date": [EPOCH + timedelta(days=int(day)) for day in data["day"]],
            "is_purchase": (data["amount"] > 0).to_numpy(),
            "amount": pa.array([Decimal(str(amount)) for amount in data["amount"]], pa.decimal128(18, 4)),
        }
    )
    warehouse = open_warehouse(settings)
    warehouse.write_table("intermediate", "int_purchases", table.to_batches(), table.schema)
    windows = {30: [C, C - timedelta(days=20)], 60: [C - timedelta(days=30)]}
    found = read_ledger(warehouse, windows)
    expected = Ledger.of(data["customer"], data["day"], data["amount"], windows)
    assert found.labels == pytest.approx(expected.labels)
    assert len(found.labels) == 3
    for name, values in vars(expected).items():
        if name != "labels":
            np.testing.assert_allclose(getattr(found, name), values, err_msg=name)
