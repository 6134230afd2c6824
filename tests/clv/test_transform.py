"""``transform`` around dbt: what it checks first, what it reports, and that a failure changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest

from clv.errors import InputError
from clv.settings import Settings
from clv.transform import DEFAULT_HORIZON_DAYS, TransformReport, _check, serving_sql, transform
from clv.warehouse import open_warehouse

FIRST, LAST = date(2020, 1, 1), date(2020, 12, 30)


def write_log(settings: Settings, *rows: str, customers: int = 40) -> Path:
    """A transaction log as ``clv load`` leaves it: every customer buys on every 30th day, then `rows`."""
    path = open_warehouse(settings).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"""
            create schema raw;
            create table raw.transactions (
                customer_id varchar, order_id varchar, purchased_at timestamp, amount decimal(18, 4)
            );
            insert into raw.transactions
            select
                format('{{:05d}}', customer), format('{{}}-{{}}', customer, visit),
                timestamp '{FIRST} 12:00:00' + interval (30 * visit + customer % 5) day, 10 + visit
            from range({customers}) as c (customer), range(13) as v (visit)
            where 30 * visit + customer % 5 < 365;
            create table raw.shop as select
                'shop' as shop_id, 'transactions' as source, 'EUR' as currency, 'UTC' as time_zone,
                date '{LAST}' as as_of_date, date '{FIRST}' as first_purchase_date, date '{LAST}' as last_purchase_date,
                {customers}::bigint as customer_count, count(*) as order_count, 'fingerprint' as fingerprint
            from raw.transactions;
            create schema marts;
            create table marts.customer_predictions as select 'kept' as word;
        """)
        for row in rows:
            connection.execute(f"insert into raw.transactions values ({row})")
    return path


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def leftovers(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir() if path.name in file.name} - {path.name}


def start(settings: Settings, before: str = "") -> subprocess.Popen[str]:
    """Transform in a process of its own that says each step."""
    script = f"""
        {before}
        from pathlib import Path
        from clv.settings import Settings
        from clv.transform import transform
        transform(
            Settings(home=Path({str(settings.home)!r}), threads=2), as_of_date=None, horizon_days=45,
            progress=lambda name, done, total: print(name, flush=True),
        )
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", threads=2, lock_wait_seconds=20)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which a transform was killed half-way, dbt at work."""
    settings = Settings(home=tmp_path_factory.mktemp("killed"), threads=2, lock_wait_seconds=20)
    path = write_log(
        settings, "'back', 'o1', '2020-03-01', 50", "'back', 'o2', '2020-03-01', -20", "'back', null, '2020-12-01', -5"
    )
    before = path.read_bytes()
    process = start(settings)
    assert process.stdout is not None
    assert "int_orders__transactions" in [process.stdout.readline().strip() for _ in range(8)]
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.read_bytes() == before
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline, (
            "dbt outlived its parent and could write to a file that the next call makes anew"
        )
        time.sleep(0.05)
    return settings


@pytest.fixture(scope="module")
def seen() -> list[tuple[str, int, int]]:
    return []


@pytest.fixture(scope="module")
def report(killed: Settings, seen: list[tuple[str, int, int]]) -> TransformReport:
    """The transform after the killed one."""
    return transform(killed, as_of_date=None, horizon_days=45, progress=lambda *step: seen.append(step))


def test_works_after_a_kill(killed: Settings, report: TransformReport) -> None:
    path = open_warehouse(killed).path
    assert query(path, "select count(*) from marts.customer_snapshots") == [(report.snapshot_count,)]
    assert leftovers(path) == set()


def test_reports_what_was_built_and_tested(report: TransformReport, seen: list[tuple[str, int, int]]) -> None:
    assert report.source == "transactions"
    assert (report.as_of_date, report.horizon_days) == (LAST, 45)
    assert report.cutoffs[0] == date(2020, 1, 31)
    assert report.cutoffs[-2:] == (date(2020, 11, 15), LAST)
    assert report.customer_count == 41
    rows = {model.name: model.rows for model in report.models}
    assert rows["customers"] == 41
    assert rows["int_orders__transactions"] is None
    assert "stg_olist__orders" not in rows
    assert "features_know_only_what_was_known" in report.tests
    assert "snapshots_cover_every_customer" in report.tests
    assert len(seen) == len(report.models) + len(report.tests)
    assert {total for _, _, total in seen} == {len(seen)}


def test_says_which_cutoffs_were_built(report: TransformReport) -> None:
    days = report.cutoffs
    assert report.changes == f"all {len(days)} cutoffs were built."
    one_more = replace(report, built=days[-2:], dropped=(date(2020, 11, 14),))
    assert one_more.changes == (
        f"2 of {len(days)} cutoffs were built anew ({days[-2]}, {days[-1]}); former ones dropped: 2020-11-14."
    )
    assert replace(report, built=days[2:]).changes.endswith(f"were built anew ({days[2]} to {days[-1]}).")
    assert replace(report, built=()).changes == f"none of the {len(days)} cutoffs has changed."


def test_nets_returns(killed: Settings, report: TransformReport) -> None:
    snapshots = query(
        open_warehouse(killed).path,
        "select cutoff_date, purchase_count, amount_total, amount_mean, return_count, return_amount, future_value "
        "from marts.customer_snapshots where customer_id = 'back' order by cutoff_date",
    )
    assert snapshots[0] == (date(2020, 3, 31), 1, 30, 30, 1, 20, 0)
    assert snapshots[-1] == (LAST, 1, 25, 30, 2, 25, None)


def test_keeps_what_others_have_written_to_the_marts(killed: Settings, report: TransformReport) -> None:
    assert query(open_warehouse(killed).path, "select word from marts.customer_predictions") == [("kept",)]


def test_marts_survive_a_rename_of_the_file(killed: Settings, report: TransformReport, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.db"
    moved.write_bytes(open_warehouse(killed).path.read_bytes())
    assert query(moved, "select count(*) > 0 from staging.stg_transactions__transactions") == [(True,)]


def test_serving_sql_runs_on_bare_relations(killed: Settings, report: TransformReport) -> None:
    path = open_warehouse(killed).path
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        for name, sql in {
            "purchases": "select * from int_orders__transactions",
            "cutoffs": "select cutoff_date from marts.cutoffs",
        }.items():
            with duckdb.connect(str(path), read_only=True) as marts:
                sql = sql.replace("int_orders", "intermediate.int_orders").replace(
                    "*", "*, purchase_date as purchased_at"
                )
                connection.register(name, marts.sql(sql).to_arrow_table())
        served = connection.sql(f"select count(*) from ({serving_sql(killed)})").fetchall()
    assert served == [(report.snapshot_count,)]


def test_an_earlier_as_of_day_uses_nothing_later(killed: Settings, report: TransformReport) -> None:
    as_of = date(2020, 6, 10)
    again = transform(killed, as_of_date=as_of, horizon_days=20, full_refresh=True)
    path = open_warehouse(killed).path
    assert query(path, "select max(purchase_date) <= '2020-06-10' from intermediate.int_purchases") == [(True,)]
    assert again.cutoffs[-2:] == (date(2020, 5, 21), as_of)
    assert {cutoff.isoweekday() for cutoff in again.cutoffs[:-2]} == {7}
    assert serving_sql(killed)


def test_refuses_data_that_break_a_test(settings: Settings) -> None:
    path = write_log(settings, "'x', 'shared', '2020-03-01', 5", "'y', 'shared', '2020-03-02', 5")
    before = path.read_bytes()
    expected = r"breaks 1 test.*one_owner.* on stg_transactions__transactions \(1 row, for example order_id = shared\)"
    with pytest.raises(InputError, match=expected):
        transform(settings, as_of_date=None, horizon_days=45)
    assert path.read_bytes() == before
    assert leftovers(path) == set()


def test_a_full_disk_changes_nothing(settings: Settings) -> None:
    path = write_log(settings, customers=20_000)
    before = path.read_bytes()
    limit = len(before) + 2_000_000
    process = start(settings, f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))")
    _, errors = process.communicate()
    assert process.returncode != 0
    assert "UnavailableError" in errors.splitlines()[-1]
    assert path.read_bytes() == before
    assert leftovers(path) == set()


@pytest.mark.parametrize("horizon", [0, -3])
def test_refuses_a_horizon_that_is_none(settings: Settings, horizon: int) -> None:
    write_log(settings)
    with pytest.raises(InputError, match=f"Horizon {horizon} is not a number of days; expected 1 or more"):
        transform(settings, as_of_date=None, horizon_days=horizon)


def test_refuses_a_horizon_longer_than_the_history(settings: Settings) -> None:
    write_log(settings)
    with pytest.raises(InputError, match=r"400 days needed, 364 days had .* choose at most 182"):
        transform(settings, as_of_date=None, horizon_days=400)


@pytest.mark.parametrize(
    ("as_of", "found"), [(date(2019, 12, 31), "before the first purchase"), (date(2021, 3, 3), "later than tomorrow")]
)
def test_refuses_an_as_of_day_that_cannot_be(settings: Settings, as_of: date, found: str) -> None:
    write_log(settings)
    with pytest.raises(InputError, match=f"As-of day {as_of} is {found}; expected a day from {FIRST} to 2021-03-02"):
        transform(settings, as_of_date=as_of, horizon_days=45, today=date(2021, 3, 1))


def test_the_horizon_is_that_of_the_marts_unless_another_is_asked_for(settings: Settings) -> None:
    path, warehouse = write_log(settings), open_warehouse(settings)
    assert _check(warehouse, None, None, None)[2] == DEFAULT_HORIZON_DAYS
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table marts.cutoffs (horizon_days bigint)")
    assert _check(warehouse, None, None, None)[2] == DEFAULT_HORIZON_DAYS
    with duckdb.connect(str(path)) as connection:
        connection.execute("insert into marts.cutoffs values (45), (45)")
    assert _check(warehouse, None, None, None)[2] == 45
    assert _check(warehouse, None, 20, None)[2] == 20


def test_needs_a_loaded_shop(settings: Settings) -> None:
    with pytest.raises(InputError, match="no shop loaded; load one first with `clv load PATH`"):
        transform(settings, as_of_date=None, horizon_days=45)
    with pytest.raises(InputError, match="build the marts first with `clv transform`"):
        serving_sql(settings)
    assert not open_warehouse(settings).path.exists()
