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
    assert ledger.spent(C, 30) == window["amount"].sum()


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
    found, expected = read_ledger(warehouse), Ledger.of(data["customer"], data["day"], data["amount"])
    for name, values in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), values, err_msg=name)
