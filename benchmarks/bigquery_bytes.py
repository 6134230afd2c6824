"""What `clv` scans and stores on BigQuery, measured in BigQuery's logical bytes against the tests' stand-in for it.

    python -m benchmarks.bigquery_bytes                  # a log of 20,000 and one of 60,000 orders; some minutes
    python -m benchmarks.bigquery_bytes --orders 100000

The log has four years and ids of 32 characters. Printed: what the first `clv transform --dry-run` says, what the one
after a further day (`clv load --append`) says, what the jobs of the two builds then scanned, the bytes of every table,
and what that costs in a month. A column counts in every table of a statement that has one of its name, so scans are
upper bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
from google.cloud.bigquery import QueryJob

from benchmarks.record import OUTPUT_HELP, save
from benchmarks.shops import REPOSITORY, clv
from benchmarks.warehouse import write_orders
from clv.load import load
from clv.settings import Settings
from clv.transform import DryRunReport, TransformReport, dry_run, transform
from clv.warehouse import SCHEMAS, open_warehouse, prices
from clv.warehouse.bigquery import BigQueryWarehouse, setup_bigquery

FACADE = REPOSITORY / "tests" / "bigquery"
YESTERDAY = date(2022, 12, 29)
HORIZON_DAYS = 90
SIZES = (100_000, 1_000_000, 10_000_000)
TRANSFORMS, READS = 30, 8
"""In a month: a transform every day, and two reads of all snapshots every week."""

GIB, TIB = 2**30, 2**40
SNAPSHOTS = "customer_snapshots"


@dataclass(frozen=True)
class Measured:
    """Of one log of orders: what the tables hold, and what would be scanned, in bytes."""

    orders: int
    tables: dict[str, int]
    cutoffs: int
    rebuilt: int
    first: DryRunReport
    next_day: DryRunReport
    first_ran: int
    next_day_ran: int

    def an_order(self, size: int) -> int:
        """Bytes of it that an order takes."""
        return round(size / self.orders)

    @property
    def stored(self) -> int:
        """Bytes of all tables."""
        return sum(self.tables.values())

    @property
    def largest(self) -> int:
        """Bytes that the largest of all statements scans."""
        return max(scan.scanned_bytes for scan in (*self.first.scans, *self.next_day.scans))


def measure(orders: int, folder: Path, addresses: dict[str, str]) -> Measured:
    """Load and build a log, then one more day of it."""
    files = {"history": f"< '{YESTERDAY + timedelta(days=1)}'", "day": f"::date = '{YESTERDAY + timedelta(days=1)}'"}
    write_orders(folder / "all.parquet", orders, "text")
    with duckdb.connect(config={"temp_directory": str(folder / "spill")}) as connection:
        for name, days in files.items():
            connection.execute(
                "copy (select customer_id, order_id, purchased_at as timestamp, abs(amount) as amount "
                f"from '{folder / 'all.parquet'}' where purchased_at {days}) to '{folder / name}.parquet'"
            )
    settings = _settings(folder, f"shop{orders}", addresses)
    setup_bigquery(settings)
    load(settings, folder / "history.parquet", source="transactions")
    first = dry_run(settings, as_of_date=YESTERDAY, horizon_days=HORIZON_DAYS)
    built, first_ran = _ran(settings, YESTERDAY)
    tables = _tables(settings, orders)
    load(settings, folder / "day.parquet", source="transactions", append=True)
    today = YESTERDAY + timedelta(days=1)
    next_day = dry_run(settings, as_of_date=today, horizon_days=HORIZON_DAYS)
    rebuilt, next_day_ran = _ran(settings, today)
    return Measured(orders, tables, len(built.cutoffs), len(rebuilt.built), first, next_day, first_ran, next_day_ran)


def _ran(settings: Settings, as_of: date) -> tuple[TransformReport, int]:
    """A build, and the bytes that its jobs scanned."""
    warehouse = open_warehouse(settings)
    assert isinstance(warehouse, BigQueryWarehouse)
    before = {job.job_id for job in warehouse.clients.rest.list_jobs()}
    report = transform(settings, as_of_date=as_of, horizon_days=HORIZON_DAYS)
    jobs = [job for job in warehouse.clients.rest.list_jobs() if job.job_id not in before]
    return report, sum(job.total_bytes_processed for job in jobs if isinstance(job, QueryJob))


def smallest_olist(folder: Path, addresses: dict[str, str]) -> int:
    """Bytes billed by the first build of a small shop with Olist's tables: the minimum of each that is read."""
    clv(folder / "home", "synth", folder / "made-up", "--customers", 500)
    settings = _settings(folder, "olist", addresses)
    setup_bigquery(settings)
    load(settings, folder / "made-up" / "shop", source="olist")
    return dry_run(settings, as_of_date=None, horizon_days=HORIZON_DAYS).billed_bytes


def _settings(folder: Path, dataset: str, addresses: dict[str, str]) -> Settings:
    return Settings(
        home=folder / "home",
        threads=2,
        warehouse=f"bigquery://bytes/{dataset}",
        bigquery_emulator_host=addresses["rest"],
        bigquery_storage_emulator_host=addresses["storage"],
        maximum_bytes_billed=10**13,
    )


def _tables(settings: Settings, least: int) -> dict[str, int]:
    """Bytes of each table that has `least` or more."""
    warehouse = open_warehouse(settings)
    assert isinstance(warehouse, BigQueryWarehouse)
    client = warehouse.clients.rest
    found = [
        client.get_table(item.reference)
        for schema in SCHEMAS
        for item in client.list_tables(f"{warehouse.project}.{warehouse.dataset}_{schema}")
    ]
    return {
        table.table_id: table.num_bytes for table in found if table.table_type == "TABLE" and table.num_bytes > least
    }


def by_order(logs: Sequence[Measured]) -> list[list[str]]:
    """Bytes an order, log by log."""
    one = logs[-1]
    parts = ", ".join(f"`{name}` {one.an_order(size):,}" for name, size in one.tables.items())
    next_day = (
        f"scanned by `transform` after one more day ({one.rebuilt} of {one.cutoffs} partitions built; comparing, "
        "merging and testing read all snapshots), as `--dry-run` says before"
    )
    rows = {
        f"stored: {parts}": [log.stored for log in logs],
        "scanned by the first `transform`, as `--dry-run` says before": [log.first.scanned_bytes for log in logs],
        "what its jobs then scanned": [log.first_ran for log in logs],
        next_day: [log.next_day.scanned_bytes for log in logs],
        "what the jobs of that one then scanned": [log.next_day_ran for log in logs],
        f"scanned by a read of all snapshots (`train`; `score` reads one of {one.cutoffs} cutoffs)": [
            log.tables[SNAPSHOTS] for log in logs
        ],
    }
    head = ["bytes an order", *(f"{log.orders:,} orders" for log in logs)]
    return [
        head,
        *(
            [what, *(f"{log.an_order(size):,}" for log, size in zip(logs, sizes, strict=True))]
            for what, sizes in rows.items()
        ),
    ]


def by_month(scanned: int, stored: int) -> list[list[str]]:
    """What a shop costs in a month that scans and stores so many bytes an order, at three sizes."""
    rows = [["orders in the history", "scanned in a month", "queries", "stored", "storage"]]
    for orders in SIZES:
        tib, gib = scanned * orders / TIB, stored * orders / GIB
        queries = max(tib - prices.FREE_QUERIES_TIB, 0) * prices.QUERIES_PER_TIB
        storage = max(gib - prices.FREE_STORAGE_GIB, 0) * prices.STORAGE_PER_GIB
        without = f" (${tib * prices.QUERIES_PER_TIB:.2f} without the free TiB)"
        rows.append([f"{orders:,}", f"{tib:.2f} TiB", f"${queries:.2f}{without}", f"{gib:.1f} GiB", f"${storage:.2f}"])
    return rows


@contextmanager
def stand_in() -> Iterator[dict[str, str]]:
    """The tests' stand-in for BigQuery, and its addresses."""
    environment = os.environ | {"PYTHONPATH": str(FACADE)}
    with subprocess.Popen(
        [sys.executable, "-m", "facade"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as facade:
        assert facade.stdout is not None
        yield json.loads(facade.stdout.readline())
        facade.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, nargs="+", default=[20_000, 60_000])
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    arguments = parser.parse_args()
    logs = []
    with stand_in() as addresses:
        for orders in arguments.orders:
            with tempfile.TemporaryDirectory() as folder:
                logs.append(measure(orders, Path(folder), addresses))
        with tempfile.TemporaryDirectory() as folder:
            billed = smallest_olist(Path(folder), addresses)
    small, last, table = logs[0], logs[-1], by_order(logs)
    stored = last.an_order(last.stored)
    scanned = TRANSFORMS * last.an_order(last.next_day.scanned_bytes) + READS * last.an_order(last.tables[SNAPSHOTS])
    for row in (*table, *by_month(scanned, stored)):
        print(" | ".join(row))
    save(
        arguments.output,
        "bigquery_bytes",
        table=table,
        stored=stored,
        scanned_in_a_month=scanned,
        by_month=by_month(scanned, stored),
        largest_gb=round(last.an_order(last.largest) * SIZES[-1] / 1e9),
        least_log_gb=f"{small.first.billed_bytes / 1e9:.1f} to {small.next_day.billed_bytes / 1e9:.1f}",
        least_olist_gb=f"{billed / 1e9:.1f}",
    )


if __name__ == "__main__":
    main()
