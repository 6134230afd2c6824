import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from clv.errors import ClvError, InputError, UnavailableError
from clv.home import Home
from clv.load import LoadReport, load, read_shop
from clv.settings import Settings
from clv.sources.olist import TABLES
from clv.sources.transactions import TransactionColumns
from clv.warehouse import DuckDBWarehouse, open_warehouse

TODAY = date(2018, 6, 1)
HEADER = "customer,date,amount"
FIRST = f"{HEADER}\na,2018-01-01,1\nb,2018-01-02,2\n"
LATER = f"{HEADER}\na,2018-01-03,4\nz,2018-01-04,8\n"
OTHER = f"{HEADER}\nx,2018-01-03,4\ny,2018-01-04,8\n"

CHILD = """
import os, resource, signal, sys
from datetime import date
from pathlib import Path
from clv.errors import ClvError
from clv.load import load
from clv.settings import Settings

how, home, path = sys.argv[1:]
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
def kill_at(step):
    if step.startswith(how):
        os.kill(os.getpid(), signal.SIGKILL)
try:
    settings = Settings(home=Path(home), threads=2)
    load(settings, Path(path), source="transactions", today=date(2018, 6, 1), progress=kill_at)
except ClvError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def config(home: Path) -> Settings:
    return Settings(home=home, threads=2)


def load_text(home: Path, text: str, **options: object) -> LoadReport:
    path = home.parent / "some.csv"
    path.write_text(text)
    return load(config(home), path, source="transactions", today=TODAY, **options)  # type: ignore[arg-type]


def contents(home: Path) -> dict[Path, bytes]:
    """All files but those that only lock."""
    files = (member for member in home.rglob("*") if member.is_file() and not member.name.startswith(".lock"))
    return {member: member.read_bytes() for member in files}


def refused_text(home: Path, text: str, match: str, kind: type[ClvError] = InputError, **options: object) -> None:
    before = contents(home)
    with pytest.raises(kind, match=match):
        load_text(home, text, **options)
    assert contents(home) == before


def rows_of(home: Path, sql: str = "from raw.transactions order by purchased_at") -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return rows


def execute(home: Path, sql: str) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute(sql)


@pytest.fixture(scope="module")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("first") / "home"
    load_text(home, FIRST)
    return home


@pytest.fixture
def home(first_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first_home, tmp_path / "home"))


def olist_folder(folder: Path) -> Path:
    """One order of one customer."""
    rows = {
        "olist_customers": "c,a,1,x,SP",
        "olist_orders": "o,c,delivered,2018-01-01 00:00:00,,,,",
        "olist_order_items": "o,1,p,s,,1,0",
        "olist_order_payments": "o,1,boleto,1,1",
        "olist_order_reviews": "r,o,5,,,,",
        "olist_products": "p,,,,,,,,",
        "olist_sellers": "s,1,x,SP",
        "olist_category_translation": "a,b",
    }
    folder.mkdir()
    for table in TABLES:
        if table.name in rows:
            (folder / table.file).write_text(f"{','.join(table.columns)}\n{rows[table.name]}\n")
    return folder


def test_the_report_is_frozen_and_says_what_is_recorded(home: Path) -> None:
    report = load_text(home, FIRST)
    shop = read_shop(open_warehouse(config(home)))
    assert shop is not None
    assert (shop.shop_id, shop.fingerprint, shop.as_of_date) == (report.shop_id, report.fingerprint, date(2018, 1, 2))
    with pytest.raises(FrozenInstanceError):
        report.orders = 0  # type: ignore[misc]


def test_purchases_after_the_as_of_day_are_told(tmp_path: Path) -> None:
    days = [date(2018, 1, 1) + timedelta(days=day) for day in range(70)]
    dense = HEADER + "\n" + "".join(f"c{number},{day},5\n" for day in days for number in range(3))
    assert load_text(tmp_path / "dense", dense).notes == (
        "some.csv: columns used: customer = customer, time = date, amount = amount.",
    )
    # two customers, one of whom bought twice that day; a return is no purchase
    tail = "x,2018-04-20,5\nx,2018-04-20,7\ny,2018-05-02,5\ny,2018-05-03,-5\n"
    report = load_text(tmp_path / "tail", dense + tail)
    assert (report.as_of_date, report.last_purchase_date) == (days[-1], date(2018, 5, 2))
    assert (
        f"purchases after {days[-1]}, whose days look incomplete and which are not used unless --as-of 2018-05-02 "
        "takes them in: 2."
    ) in report.notes


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("x,1900-01-01,5\n", "purchases up to 1900-01-01, 43,099 days before the next: 1;"),
        ("x,1900-01-01,5\nx,1970-01-01,5\n", "purchases up to 1970-01-01, 17,532 days before the next: 2;"),
        ("x,2017-03-01,5\n", None),  # ten months before is no matter
        ("".join(f"x{number},1970-01-01,5\n" for number in range(9)), None),  # nor are many a slip
    ],
)
def test_stray_purchases_long_before_all_others_are_told(tmp_path: Path, first: str, told: str | None) -> None:
    days = [date(2018, 1, 1) + timedelta(days=day) for day in range(70)]
    dense = HEADER + "\n" + first + "".join(f"c{number},{day},5\n" for day in days for number in range(3))
    found = [note for note in load_text(tmp_path / "some", dense).notes if note.startswith("purchases up to")]
    assert len(found) == (told is not None)
    assert not told or (found[0].startswith(told) and "unknown" in found[0])


def test_nothing_loaded_is_no_shop(tmp_path: Path) -> None:
    assert read_shop(open_warehouse(config(tmp_path / "home"))) is None


def test_a_load_replaces_the_last_one_and_what_was_derived_from_it(home: Path) -> None:
    before = read_shop(open_warehouse(config(home)))
    execute(home, "create schema marts; create table marts.purchases as select 1 as one")
    report = load_text(home, LATER)
    assert before is not None
    assert report.shop_id == before.shop_id
    assert report.fingerprint != before.fingerprint
    assert [row[0] for row in rows_of(home)] == ["a", "z"]
    assert rows_of(home, "select count(*) from raw.loads") == [(1,)]
    assert not open_warehouse(config(home)).has_table("marts", "purchases")


def test_the_same_file_again_gives_the_same_fingerprint(home: Path) -> None:
    first = read_shop(open_warehouse(config(home)))
    again = load_text(home, FIRST)
    assert first is not None
    assert again.fingerprint == again.shop_id == first.fingerprint


# --- one shop per home ------------------------------------------------------------------------------------------------


def test_customers_of_another_shop_need_replace_shop(home: Path) -> None:
    refused_text(home, OTHER, "share no customer with the loaded shop.*--replace-shop.*--append")
    old = read_shop(open_warehouse(config(home)))
    report = load_text(home, OTHER, replace_shop=True)
    assert old is not None
    assert report.shop_id == report.fingerprint != old.shop_id


def test_another_source_needs_replace_shop(home: Path, tmp_path: Path) -> None:
    folder = olist_folder(tmp_path / "olist")
    for append in (False, True):
        with pytest.raises(InputError, match=r"holds a shop of source transactions, not olist; give --replace-shop"):
            load(config(home), folder, source="olist", today=TODAY, append=append)
    assert load(config(home), folder, source="olist", today=TODAY, replace_shop=True).source == "olist"
    refused_text(home, FIRST, "holds a shop of source olist, not transactions")
    tables = rows_of(home, "select count(*) from information_schema.tables where table_name = 'transactions'")
    assert tables == [(0,)]


def test_append_and_replace_shop_contradict(home: Path) -> None:
    refused_text(home, FIRST, "give one of them", append=True, replace_shop=True)


def test_an_unknown_source_is_refused(home: Path) -> None:
    with pytest.raises(InputError, match="--source 'shopify' is not known"):
        load(config(home), home, source="shopify")  # type: ignore[arg-type]


def test_replace_shop_forgets_currency_and_zone(home: Path) -> None:
    load_text(home, FIRST, columns=TransactionColumns(currency="GBP", time_zone="Europe/London"), replace_shop=True)
    assert load_text(home, FIRST).currency == "GBP"
    report = load_text(home, OTHER, replace_shop=True)
    assert (report.currency, report.time_zone) == ("USD", "UTC")


# --- append -----------------------------------------------------------------------------------------------------------


def test_append_to_nothing_is_a_first_load(tmp_path: Path) -> None:
    assert load_text(tmp_path / "home", FIRST, append=True).total_amount == 3


def test_append_of_later_days_keeps_rows_marts_and_shop(home: Path) -> None:
    before = read_shop(open_warehouse(config(home)))
    execute(home, "create schema marts; create table marts.purchases as select 1 as one")
    report = load_text(home, LATER, append=True)
    assert before is not None
    assert report.shop_id == before.shop_id
    assert report.fingerprint != before.fingerprint
    assert (report.customers, report.orders, report.total_amount) == (3, 4, Decimal(15))
    assert rows_of(home, "select count(*) from raw.loads") == [(2,)]
    assert open_warehouse(config(home)).has_table("marts", "purchases")


def test_append_without_order_ids_refuses_days_that_are_loaded(home: Path) -> None:
    refused_text(home, FIRST, "line 2: 2018-01-01 00:00:00 is not after 2018-01-02, the last loaded day", append=True)
    refused_text(home, f"{HEADER}\na,2018-01-03,4\na,2018-01-02 23:00,4\n", r"some\.csv, line 3: ", append=True)


def test_append_with_order_ids_replaces_whole_orders(tmp_path: Path) -> None:
    home = tmp_path / "home"
    load_text(home, f"{HEADER},order_id\na,2018-01-01,1,k\na,2018-01-01,2,k\nb,2018-01-02,4,m\n")
    for _ in range(2):
        report = load_text(home, f"{HEADER},order_id\na,2018-01-01,8,k\nc,2018-01-05,16,n\n", append=True)
        assert report.total_amount == Decimal(4 + 8 + 16)
        assert report.orders == 3


WITH_ORDERS = f"{HEADER},order_id\na,2018-01-01 23:30,1,k\nb,2018-01-02,4,m\n"
MORE_ORDERS = f"{HEADER},order_id\na,2018-01-03,8,k\nc,2018-01-05,16,n\n"


def test_append_in_another_time_zone_is_refused(tmp_path: Path) -> None:
    home, tokyo = tmp_path / "home", TransactionColumns(time_zone="Asia/Tokyo")
    load_text(home, WITH_ORDERS, columns=TransactionColumns(time_zone="Europe/Berlin"))
    says = r"Time zones differ \(--time-zone: Asia/Tokyo, the loaded shop: Europe/Berlin\)"
    refused_text(home, MORE_ORDERS, says, columns=tokyo, append=True)
    for zone in (None, "Europe/Berlin"):
        report = load_text(home, MORE_ORDERS, columns=TransactionColumns(time_zone=zone), append=True)
        assert report.time_zone == "Europe/Berlin"
    assert load_text(home, WITH_ORDERS, columns=tokyo).time_zone == "Asia/Tokyo"  # all rows are read anew


def test_the_fingerprint_follows_what_appended_files_change(tmp_path: Path) -> None:
    """A file given again brings its orders back as they were: nothing new, unless another had changed them since."""
    home = tmp_path / "home"
    first = load_text(home, WITH_ORDERS).fingerprint
    assert load_text(home, WITH_ORDERS, append=True).fingerprint == first
    second = load_text(home, MORE_ORDERS, append=True)
    again = load_text(home, MORE_ORDERS, append=True)
    assert (again.fingerprint, again.total_amount) == (second.fingerprint, second.total_amount)
    back = load_text(home, WITH_ORDERS, append=True)
    assert back.total_amount != second.total_amount
    assert back.fingerprint not in (first, second.fingerprint)


def test_a_file_given_twice_in_one_load_counts_twice(tmp_path: Path) -> None:
    home, path = tmp_path / "home", tmp_path / "log.csv"
    path.write_text(WITH_ORDERS)

    def given(times: int, append: bool = False) -> LoadReport:
        return load(config(home), [path] * times, source="transactions", today=TODAY, append=append)

    once, twice = given(1), given(2)
    assert twice.total_amount == 2 * once.total_amount
    assert twice.fingerprint != once.fingerprint
    assert given(1, append=True).fingerprint == once.fingerprint  # its orders take the place of the doubled ones


def test_appended_customers_may_all_be_new(home: Path) -> None:
    assert load_text(home, OTHER, append=True).customers == 4


# --- whatever goes wrong, the old state stays -------------------------------------------------------------------------


def child(how: str, home: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, how, str(home), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("step", ["reading", "checking", "recording"])
def test_killed_in_the_middle_the_next_load_works(home: Path, tmp_path: Path, step: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(LATER)
    before = (home / "warehouse.duckdb").read_bytes()
    assert child(step, home, path).returncode == -9
    assert (home / "warehouse.duckdb").read_bytes() == before
    assert [row[0] for row in rows_of(home)] == ["a", "b"]
    assert load_text(home, LATER).total_amount == 12
    left = {member.name for member in home.iterdir()}
    assert not {name for name in left if "next" in name or name == ".load" or name.endswith((".wal", ".tmp"))}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_full_disk_is_one_clear_error_and_changes_nothing(home: Path, tmp_path: Path, is_first: bool) -> None:
    if is_first:
        shutil.rmtree(home)
        Home(home).open()
    path = tmp_path / "log.csv"
    path.write_text(HEADER + "\n" + "".join(f"a{n % 9973 * n},2018-01-01,{n % 977}.{n % 89}\n" for n in range(50_000)))
    path.write_text(path.read_text() + "a,2018-01-01,1\n")
    before = contents(home)
    result = child("full", home, path)
    assert result.returncode == UnavailableError.exit_code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "warehouse" in result.stdout
    assert contents(home) == before
    assert load(config(home), path, source="transactions", today=TODAY).files[0].rows == 50_001


def test_a_second_writer_is_told_who_holds_the_lock(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(LATER)
    impatient = Settings(home=home, threads=2, lock_wait_seconds=0.1)
    with Home(home).writing("train"), pytest.raises(UnavailableError, match="being written by `clv train`"):
        load(impatient, path, source="transactions", today=TODAY)


def test_another_home_does_not_write_the_same_warehouse_at_the_same_time(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(OTHER)
    warehouse = DuckDBWarehouse(home / "warehouse.duckdb", 2, lock_wait_seconds=0.1)
    (loaded,) = pa.table({"one": [1]}).to_batches()

    def first_writes() -> Iterator[pa.RecordBatch]:
        before = contents(home)
        with pytest.raises(UnavailableError, match=r"warehouse\.duckdb is being written by another process; wait for"):
            warehouse.write_table("marts", "theirs", [loaded], loaded.schema)
        assert contents(home) == before
        yield loaded

    DuckDBWarehouse(warehouse.path, 2).write_table("marts", "ours", first_writes(), loaded.schema)
    warehouse.write_table("marts", "theirs", [loaded], loaded.schema)
    assert [warehouse.has_table("marts", name) for name in ("ours", "theirs")] == [True, True]
    assert len(rows_of(home)) == 2


def test_two_homes_write_one_warehouse_one_after_the_other(home: Path, tmp_path: Path) -> None:
    address = f"duckdb:///{home / 'warehouse.duckdb'}"
    wait = "import sys; from pathlib import Path; from clv.warehouse import DuckDBWarehouse\n" + (
        "with DuckDBWarehouse(Path(sys.argv[1])).replacing(): print('held', flush=True); sys.stdin.readline()"
    )
    path = tmp_path / "log.csv"
    path.write_text(LATER)
    other = Settings(home=tmp_path / "other", warehouse=address, threads=2)
    with subprocess.Popen(
        [sys.executable, "-c", wait, home / "warehouse.duckdb"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(load, other, path, source="transactions", today=TODAY)
            time.sleep(1)
            assert not loading.done()
            holder.stdin.write("go\n")
            holder.stdin.flush()
            assert loading.result(60).total_amount == 12
    assert [row[0] for row in rows_of(home)] == ["a", "z"]


def test_a_damaged_warehouse_is_named_and_can_be_replaced(home: Path) -> None:
    (home / "warehouse.duckdb").write_bytes(b"not a database" * 1000)
    refused_text(home, FIRST, r"warehouse\.duckdb can't be opened", UnavailableError)
    assert load_text(home, FIRST, replace_shop=True).total_amount == 3


def test_readers_of_the_old_warehouse_are_not_disturbed(home: Path) -> None:
    with open_warehouse(config(home)).connect() as reader:
        load_text(home, LATER)
        assert reader.execute("select count(*) from raw.transactions where customer_id = 'b'").fetchall() == [(1,)]
    assert rows_of(home, "select count(*) from raw.transactions where customer_id = 'b'") == [(0,)]
