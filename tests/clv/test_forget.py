"""Forgetting a person on both engines: no trace remains, and nobody else notices."""

import csv
import datetime as dt
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clv.errors import InputError
from clv.forget import forget
from clv.home import Home
from clv.load import load, read_shop
from clv.settings import Settings
from clv.synth import write_shop
from clv.warehouse import PREDICTION_LOG, DuckDBWarehouse, Warehouse, open_warehouse

TODAY = dt.date(2018, 12, 1)
NOW = dt.datetime(2018, 12, 1, tzinfo=dt.UTC)
CUTOFFS = [dt.date(2018, 3, 31), dt.date(2018, 6, 30)]
MARTS = {
    "customers": "select distinct customer_id from purchases",
    "purchases": "select customer_id, purchase_date from purchases",
    "customer_snapshots": "select distinct customer_id, cutoff_date from purchases, cutoffs "
    "where purchase_date <= cutoff_date",
    "cutoffs": "select cutoff_date, count(distinct customer_id) as customer_count from purchases, cutoffs "
    "where purchase_date <= cutoff_date group by 1",
    "customer_predictions": "select distinct customer_id, 0.5 as expected_value from purchases",
}
PURCHASES = {
    "olist": "select customer_unique_id as customer_id, cast(order_purchase_timestamp as date) as purchase_date "
    "from raw.olist_orders as orders inner join raw.olist_customers as customers "
    "on orders.customer_id = customers.customer_id",
    "transactions": "select customer_id, cast(purchased_at as date) as purchase_date from raw.transactions",
}


@pytest.fixture(scope="module", params=["olist", "transactions"])
def source(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def files(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_shop(folder, customers=60, repeat_rate=0.5, shape=source, seed=5)
    return folder / ("shop" if source == "olist" else "transactions.csv")


@pytest.fixture(scope="module", params=["duckdb", "bigquery"])
def original(request: pytest.FixtureRequest, source: str, files: Path, tmp_path_factory) -> Settings:
    """A loaded shop with marts (made by hand, dbt takes longer), predictions and logs."""
    settings = Settings(home=tmp_path_factory.mktemp("original"), threads=2)
    if request.param == "bigquery":
        from clv.warehouse.bigquery import setup_bigquery

        environment = request.getfixturevalue("bigquery_facade").environment
        settings = Settings.from_environment(
            environment, home=settings.home, threads=2, warehouse=f"bigquery://clv-forgets/{source}"
        )
        setup_bigquery(settings)
    load(settings, files, source=source, today=TODAY)
    warehouse = open_warehouse(settings)
    with duckdb.connect() as connection:
        connection.register("purchases", warehouse.query(PURCHASES[source]))
        connection.register("cutoffs", pa.table({"cutoff_date": CUTOFFS}))
        for table, sql in MARTS.items():
            rows = connection.sql(sql).to_arrow_table()
            warehouse.write_table("marts", table, rows.to_batches(), rows.schema)
    ids = warehouse.query("select customer_id, expected_value from marts.customer_predictions order by customer_id")
    home = Home(settings.home).open()
    lines = [f"{row['customer_id']},{row['expected_value']}" for row in ids.to_pylist()]
    (home.predictions / "predictions.csv").write_text("\n".join(["customer_id,expected_value", *lines]) + "\n")
    for folder in (home.root / "elsewhere", home.served):
        folder.mkdir()
        pq.write_table(ids, folder / "predictions-1.parquet")
    if request.param == "bigquery":
        served = ids.append_column("predicted_at", pa.array([NOW] * len(ids), pa.timestamp("us", "UTC")))
        warehouse.append(*PREDICTION_LOG, served, partition_by="predicted_at", cluster_by="customer_id")
    (home.logs / "some.log").write_text("".join(f"asked for {line}\n" for line in lines) + "done\n")
    return settings


@pytest.fixture
def settings(original: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """A home of one's own; the BigQuery one is used up by one test."""
    home = tmp_path / "home"
    shutil.copytree(original.home, home)
    if original.warehouse.startswith("bigquery"):
        return original.model_copy(update={"home": home})
    return Settings(home=home, threads=2)


def everything(warehouse: Warehouse, source: str) -> dict[str, list[tuple]]:
    """All rows of all tables, less the two that only count."""
    tables = [f"marts.{table}" for table in MARTS if table != "cutoffs"]
    tables += (
        ["raw.transactions"]
        if source == "transactions"
        else [f"raw.olist_{name}" for name in ("customers", "orders", "order_items", "order_payments", "order_reviews")]
    )
    if warehouse.has_table(*PREDICTION_LOG):
        tables.append(".".join(PREDICTION_LOG))
    return {
        name: [tuple(row.values()) for row in warehouse.query(f"select * from {name}").to_pylist()] for name in tables
    }


def busiest(warehouse: Warehouse) -> str:
    found = warehouse.query(
        "select customer_id, count(*) as n from marts.purchases group by customer_id "
        "order by n desc, customer_id limit 1"
    )
    return found.to_pylist()[0]["customer_id"]


def traces(warehouse: Warehouse, source: str, customer_id: str) -> set[str]:
    """All ids that stand for the person."""
    if source == "transactions":
        sql = "select order_id, customer_id from raw.transactions where customer_id = $id"
    else:
        sql = (
            "select customers.customer_id, order_id from raw.olist_customers as customers left join raw.olist_orders "
            "as orders on customers.customer_id = orders.customer_id where customer_unique_id = $id"
        )
    found = warehouse.query(sql, {"id": customer_id}).to_pylist()
    return {customer_id, *(value for row in found for value in row.values() if value)}


def test_no_trace_remains_and_nobody_else_notices(settings: Settings, source: str) -> None:
    warehouse = open_warehouse(settings)
    person, before, shop = busiest(warehouse), everything(warehouse, source), read_shop(warehouse)
    ids = traces(warehouse, source, person)
    assert len(ids) > 2
    report = forget(settings, person, prediction_logs=[settings.home / "elsewhere"])

    after = everything(warehouse, source)
    kept = {name: [row for row in rows if not ids & set(row)] for name, rows in before.items()}
    assert {name: sorted(rows, key=repr) for name, rows in after.items()} == {
        name: sorted(rows, key=repr) for name, rows in kept.items()
    }
    assert report.rows == {name: len(rows) - len(kept[name]) for name, rows in before.items()}
    assert {str(path.relative_to(settings.home)) for path in report.files} == {
        "predictions/predictions.csv",
        "predictions/served/predictions-1.parquet",
        "elsewhere/predictions-1.parquet",
        "logs/some.log",
    }
    for path in settings.home.rglob("*"):
        if path.is_file():
            found = [text for text in ids if text.encode() in path.read_bytes()]
            assert not found, f"{path} still holds {found}"
    assert (settings.home / "logs" / "some.log").read_text().endswith("done\n")
    predicted = duckdb.read_csv(str(settings.home / "predictions" / "predictions.csv"), all_varchar=True).fetchall()
    assert sorted(row[0] for row in predicted) == sorted(row[0] for row in kept["marts.customer_predictions"])

    now = read_shop(warehouse)
    assert now.customer_count == shop.customer_count - 1
    assert (now.shop_id, now.as_of_date) == (shop.shop_id, shop.as_of_date)
    assert now.fingerprint != shop.fingerprint
    counted = warehouse.query(
        "select cutoff_date, count(*) as customer_count from marts.customer_snapshots group by cutoff_date "
        "order by cutoff_date"
    )
    stored = warehouse.query("select cutoff_date, customer_count from marts.cutoffs order by cutoff_date")
    assert stored.to_pylist() == counted.to_pylist()
    with pytest.raises(InputError, match=rf"Customer '{person}' is not in the warehouse"):
        forget(settings, person)

    log_late(warehouse, settings.home, person)
    again = forget(settings, person)
    assert (sum(again.rows.values()), len(again.files)) == (
        (0, 1) if isinstance(warehouse, DuckDBWarehouse) else (1, 0)
    )
    assert read_shop(warehouse) == now
    left = everything(warehouse, source)
    assert {name: sorted(rows, key=repr) for name, rows in left.items()} == {
        name: sorted(rows, key=repr) for name, rows in after.items()
    }


def log_late(warehouse: Warehouse, home: Path, customer_id: str) -> None:
    """What a service that was running when the person was forgotten writes a little later."""
    rows = pa.table(
        {
            "customer_id": [customer_id],
            "expected_value": [0.5],
            "predicted_at": pa.array([NOW], pa.timestamp("us", "UTC")),
        }
    )
    if isinstance(warehouse, DuckDBWarehouse):
        pq.write_table(rows, Home(home).served / "predictions-2.parquet")
    else:
        warehouse.append(*PREDICTION_LOG, rows, partition_by="predicted_at", cluster_by="customer_id")


def test_an_unknown_id_changes_nothing(settings: Settings, source: str) -> None:
    warehouse = open_warehouse(settings)
    before = everything(warehouse, source)
    files = {path: path.read_bytes() for path in settings.home.rglob("*") if path.is_file()}
    unknown = ["", "nobody", "' or true --", "asked"]  # the last is a word of the logs
    if source == "olist":  # its tables call the id of an order so: alone it must not take half of the order away
        unknown += warehouse.query("select min(customer_id) as id from raw.olist_customers")["id"].to_pylist()
    for customer_id in unknown:
        with pytest.raises(
            InputError, match=r"is not in the warehouse .*; expected an id as the shop's files write it"
        ):
            forget(settings, customer_id)
    assert everything(warehouse, source) == before
    assert {path: path.read_bytes() for path in settings.home.rglob("*") if path.is_file()} == files


def small(home: Path, text: str) -> Settings:
    return loaded(home, "customer,date,amount\n" + text)


def loaded(home: Path, text: str) -> Settings:
    settings = Settings(home=home, threads=2)
    path = home.parent / "log.csv"
    path.write_text(text)
    load(settings, path, source="transactions", today=TODAY)
    return settings


def test_the_last_customer_is_refused(tmp_path: Path) -> None:
    settings = small(tmp_path / "home", "a,2018-01-01,1\n")
    with pytest.raises(InputError, match=r"Customer 'a' is the only one of the shop; remove the whole warehouse"):
        forget(settings, "a")
    assert read_shop(open_warehouse(settings)).customer_count == 1


def test_a_log_that_is_not_there_is_told_before_anybody_is_forgotten(tmp_path: Path) -> None:
    settings = small(tmp_path / "home", "a,2018-01-01,1\nb,2018-01-02,2\n")
    with pytest.raises(InputError, match=r"Prediction log .*nowhere is no folder"):
        forget(settings, "a", prediction_logs=[tmp_path / "nowhere"])
    assert read_shop(open_warehouse(settings)).customer_count == 2


def test_nothing_loaded_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no shop loaded, so there is nobody to forget"):
        forget(Settings(home=tmp_path / "home"), "a")


def test_first_and_last_day_follow(tmp_path: Path) -> None:
    settings = small(tmp_path / "home", "a,2018-01-01,1\nb,2018-01-02,2\na,2018-01-05,1\nb,2018-01-04,2\n")
    forget(settings, "a")
    shop = read_shop(open_warehouse(settings))
    assert (shop.first_purchase_date, shop.last_purchase_date) == (dt.date(2018, 1, 2), dt.date(2018, 1, 4))
    assert (shop.customer_count, shop.order_count) == (1, 2)


def test_a_log_keeps_lines_that_only_contain_the_id_in_another_word(tmp_path: Path) -> None:
    settings = small(tmp_path / "home", "7,2018-01-01,1\n77,2018-01-02,2\n")
    log = settings.home / "logs" / "some.log"
    log.write_text("customer 7 asked\ncustomer 77 asked\nrun-7-x\n")
    forget(settings, "7")
    assert log.read_text() == "customer 77 asked\nrun-7-x\n"


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A shop that numbers its customers."""
    home = tmp_path_factory.mktemp("numbered") / "home"
    return loaded(home, "customer,date,amount,order_id\n7,2018-01-01,1,12\n77,2018-01-02,2,13\n")


@pytest.mark.parametrize(
    ("line", "is_theirs"),
    [
        ("customer 7 asked", True),
        ("KeyError: '7'", True),
        ('{"customer_id": "7"}', True),
        ("customer_id = 7 is not unique", True),
        ("Duplicate key (customer_id: 7)", True),
        ("Duplicate key (order_id: 12)", True),
        ("Original line: 7,2018-01-01,1", True),
        ("2018-01-01,1,7", True),
        ("GET /customers/7", True),
        ("10:00:01.7 started", False),
        ("7 of 33 OK created model marts.customers in 0.7 s", False),
        ("run took 7 s", False),
        ("order by 7", False),
        ("process 12 ended", False),
        ("customer 77 asked", False),
    ],
)
def test_a_short_number_is_an_id_only_where_a_log_says_so(
    numbered: Settings, tmp_path: Path, line: str, is_theirs: bool
) -> None:
    settings = Settings(home=Path(shutil.copytree(numbered.home, tmp_path / "home")), threads=2)
    log = settings.home / "logs" / "some.log"
    log.write_text(f"before\n{line}\nafter\n")
    forget(settings, "7")
    assert log.read_text().splitlines() == (["before", "after"] if is_theirs else ["before", line, "after"])


def test_a_long_id_is_found_wherever_it_stands_and_so_are_its_orders(tmp_path: Path) -> None:
    settings = loaded(tmp_path / "home", "customer,date,amount,order_id\n123456,2018-01-01,1,o-1\nb,2018-01-02,2,o-2\n")
    log = settings.home / "logs" / "some.log"
    log.write_text("took 123456 of them\nabout o-1 something\nabout o-2 something\nabout 1234567 something\n")
    forget(settings, "123456")
    assert log.read_text() == "about o-2 something\nabout 1234567 something\n"


def test_orders_of_olist_leave_the_logs_too(tmp_path: Path) -> None:
    shop = write_shop(tmp_path, customers=60, repeat_rate=0.5, shape="olist", seed=5).data
    settings = Settings(home=tmp_path / "home", threads=2)
    load(settings, shop, source="olist", today=TODAY)
    warehouse = open_warehouse(settings)
    person = warehouse.query("select min(customer_unique_id) as id from raw.olist_customers")["id"].to_pylist()[0]
    log = settings.home / "logs" / "dbt.log"
    log.write_text(
        "".join(f"Could not convert {one}.\n" for one in sorted(traces(warehouse, "olist", person))) + "end\n"
    )
    forget(settings, person)
    assert log.read_text() == "end\n"


ODD_IDS = [
    "a,b",
    'a"b',
    '"a"',
    "x\ny",
    "x\ry",
    " lead",
    "trail ",
    "#1",
    "'q'",
    "a;b\tc|d",
    "ä€",
    "null",
    "00001",
    "customer_id",
]
MANY = 25_000  # more rows than DuckDB looks at to guess how a file is written


@pytest.fixture(scope="module")
def odd_shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Customers with odd ids, who come last in a long file of predictions as `clv score` writes it."""
    settings = Settings(home=tmp_path_factory.mktemp("odd") / "home", threads=2)
    path = settings.home.parent / "log.parquet"
    ids = [*ODD_IDS, "c000001"]
    pq.write_table(
        pa.table({"customer_id": ids, "date": [dt.date(2018, 1, 1)] * len(ids), "amount": [1] * len(ids)}), path
    )
    load(settings, path, source="transactions", today=TODAY)
    return settings


def write_predictions(path: Path) -> None:
    ids = [*(f"c{number:06}" for number in range(MANY)), *ODD_IDS]
    answers = pa.table(
        {"customer_id": ids, "expected_value": [0.1 * row for row in range(len(ids))], "low": [float("nan")] * len(ids)}
    )
    with duckdb.connect() as connection:
        connection.register("answers", answers)
        connection.execute(f"copy (from answers) to '{path}' (format csv, header)")


def read_predictions(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream, strict=True))


@pytest.mark.parametrize("person", [*ODD_IDS, "c000001"])
def test_an_odd_id_leaves_a_long_csv_and_the_others_stay_as_they_are(
    odd_shop: Settings, tmp_path: Path, person: str
) -> None:
    settings = Settings(home=tmp_path / "home", threads=2)
    shutil.copytree(odd_shop.home, settings.home)
    path = settings.home / "predictions" / "predictions.csv"
    write_predictions(path)
    before, rows = path.read_bytes(), read_predictions(path)
    assert [row[0] for row in rows[1 + MANY :]] == ODD_IDS
    forget(settings, person)
    assert read_predictions(path) == [rows[0], *(row for row in rows[1:] if row[0] != person)]
    left = iter(before.splitlines(keepends=True))
    assert all(line in left for line in path.read_bytes().splitlines(keepends=True))  # what is left is as it was


def test_a_csv_that_a_spreadsheet_has_saved_again_is_searched_too(tmp_path: Path) -> None:
    settings = small(tmp_path / "home", "a,2018-01-01,1\nb,2018-01-02,2\n")
    path = settings.home / "predictions" / "mine.csv"
    path.write_bytes('\ufeff"customer_id";expected_value\r\na;0,5\r\nb;0,7\r\n'.encode())
    assert forget(settings, "a").files == (path,)
    assert path.read_bytes() == '\ufeff"customer_id";expected_value\r\nb;0,7\r\n'.encode()


def test_a_csv_that_can_not_be_searched_is_told_before_anything_is_removed(tmp_path: Path) -> None:
    settings = small(tmp_path / "home", "a,2018-01-01,1\nb,2018-01-02,2\n")
    (settings.home / "predictions" / "mine.csv").write_text('customer_id,note\nb,"never closed\na,x\n')
    with pytest.raises(InputError, match=r"mine\.csv can't be read as CSV .*; repair or remove it"):
        forget(settings, "a")
    assert read_shop(open_warehouse(settings)).customer_count == 2


CHILD = """
import os, signal, sys
from pathlib import Path
from clv.forget import forget
from clv.settings import Settings
from clv.warehouse import DuckDBWarehouse

rewrite = DuckDBWarehouse._rewrite
def killed(self, path):
    rewrite(self, path)
    os.kill(os.getpid(), signal.SIGKILL)
DuckDBWarehouse._rewrite = killed
forget(Settings(home=Path(sys.argv[1]), threads=2), "a")
"""


def test_killed_before_the_end_the_warehouse_is_as_it_was_and_the_next_call_works(tmp_path: Path) -> None:
    settings = small(tmp_path / "home", "a,2018-01-01,1\nb,2018-01-02,2\n")
    warehouse = settings.home / "warehouse.duckdb"
    before = warehouse.read_bytes()
    done = subprocess.run([sys.executable, "-c", CHILD, str(settings.home)], env=os.environ, check=False)
    assert done.returncode < 0
    assert warehouse.read_bytes() == before
    assert forget(settings, "a").rows == {"raw.transactions": 1}
    assert not list(settings.home.glob(".warehouse*"))
