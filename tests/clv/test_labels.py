"""Labels of any horizon, on both engines."""

from datetime import date, timedelta
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest

from clv.labels import closed, label, read_activity
from clv.settings import Settings
from clv.warehouse import Warehouse, open_warehouse

CUTOFF = date(2020, 3, 31)

DAYS = [
    # customer, days after the cutoff, is_purchase, amount
    ("on the day", 0, True, "10"),
    ("first day", 1, True, "10.10"),
    ("last day", 30, True, "20.20"),
    ("too late", 31, True, "30"),
    ("twice", 3, True, "5.05"),
    ("twice", 20, True, "6.06"),
    ("less a return", 3, True, "9"),
    ("less a return", 9, False, "-4.50"),
    ("only a return", 9, False, "-4.50"),
    ("more back than bought", 3, True, "9"),
    ("more back than bought", 9, False, "-40"),
]


@pytest.fixture(scope="module", params=["duckdb", "bigquery"])
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    settings = Settings(home=tmp_path_factory.mktemp("home"), threads=1)
    if request.param == "bigquery":
        from clv.warehouse.bigquery import setup_bigquery

        environment = request.getfixturevalue("bigquery_facade").environment
        settings = Settings.from_environment(
            environment, home=settings.home, threads=1, warehouse="bigquery://clv-labels/clv"
        )
        setup_bigquery(settings)
    table = pa.table(
        {
            "customer_id": [row[0] for row in DAYS],
            "purchase_date": [CUTOFF + timedelta(days=row[1]) for row in DAYS],
            "is_purchase": [row[2] for row in DAYS],
            "amount": pa.array([Decimal(row[3]) for row in DAYS], pa.decimal128(18, 4)),
        }
    )
    opened = open_warehouse(settings)
    opened.write_table("intermediate", "int_purchases", table.to_batches(), table.schema)
    return opened


def labels(warehouse: Warehouse, cutoffs: list[date], horizon_days: int) -> dict[tuple[str, date], tuple[bool, float]]:
    everybody = sorted({row[0] for row in DAYS} | {"never seen again"})
    customers = pd.DataFrame(
        [(who, cutoff) for cutoff in cutoffs for who in everybody], columns=["customer_id", "cutoff_date"]
    )
    found = label(customers, read_activity(warehouse, cutoffs, horizon_days))
    assert found[["customer_id", "cutoff_date"]].equals(customers)
    assert found.dtypes[["is_return", "future_value"]].astype(str).tolist() == ["bool", "float64"]
    return {
        (row.customer_id, row.cutoff_date): (row.is_return, row.future_value) for row in found.itertuples(index=False)
    }


def test_windows_are_closed_when_all_their_days_are_known() -> None:
    days = [CUTOFF, CUTOFF + timedelta(days=1)]
    assert closed(days, 30, CUTOFF + timedelta(days=30)) == (CUTOFF,)
    assert closed(days, 3_000_000, CUTOFF) == ()  # longer than the calendar


def test_the_window_starts_the_day_after_and_ends_with_the_horizon(warehouse: Warehouse) -> None:
    found = {who: values for (who, _), values in labels(warehouse, [CUTOFF], 30).items()}
    assert found == {
        "on the day": (False, 0.0),
        "first day": (True, 10.10),
        "last day": (True, 20.20),
        "too late": (False, 0.0),
        "twice": (True, 11.11),
        "less a return": (True, 4.5),
        "only a return": (False, 0.0),
        "more back than bought": (True, 0.0),
        "never seen again": (False, 0.0),
    }


def test_each_cutoff_has_its_own_window(warehouse: Warehouse) -> None:
    earlier, later = CUTOFF - timedelta(days=1), CUTOFF + timedelta(days=10)
    found = labels(warehouse, [earlier, later], 21)
    assert found["on the day", earlier] == (True, 10.0)
    assert found["twice", earlier] == (True, pytest.approx(11.11))
    assert found["twice", later] == (True, pytest.approx(6.06))
    assert found["too late", later] == (True, 30.0)
    assert found["first day", later] == (False, 0.0)


def test_no_day_asks_nothing(warehouse: Warehouse) -> None:
    assert read_activity(warehouse, [], 30).empty


def test_a_window_is_closed_once_its_last_day_is_over() -> None:
    days = [date(2020, 1, 1), date(2020, 1, 31), date(2020, 2, 1)]
    assert closed(days, 30, date(2020, 1, 30)) == ()
    assert closed(days, 30, date(2020, 1, 31)) == (days[0],)
    assert closed(reversed(days), 30, date(2020, 3, 2)) == (days[0], days[1], days[2])
