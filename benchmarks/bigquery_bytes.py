"""What `clv` scans and stores on BigQuery, measured in BigQuery's logical bytes against the tests' stand-in for it.

    python -m benchmarks.bigquery_bytes                  # a log of 20,000 and one of 60,000 orders; some minutes
    python -m benchmarks.bigquery_bytes --orders 100000

The log has four years and ids of 32 characters. Printed: what the first `clv transform --dry-run` says, what the one
after a further day (`clv load --append`) says, and the bytes of every table. A column counts in every table of a
statement that has one of its name, so scans are upper bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import duckdb

from benchmarks.warehouse import write_orders
from clv.load import load
from clv.settings import Settings
from clv.transform import DryRunReport, dry_run, transform
from clv.warehouse import SCHEMAS, open_warehouse
from clv.warehouse.bigquery import BigQueryWarehouse, setup_bigquery

FACADE = Path(__file__).resolve().parent.parent / "tests" / "bigquery"
YESTERDAY = date(2022, 12, 29)


def show(what: str, report: DryRunReport, orders: int) -> None:
    print(
        f"{what:<16} {len(report.scans):3} statements, scanned {report.scanned_bytes / orders:8,.0f} bytes an order, "
        f"billed {report.billed_bytes:13,} bytes"
    )


def measure(orders: int, folder: Path, addresses: dict[str, str]) -> None:
    files = {"history": f"< '{YESTERDAY + timedelta(days=1)}'", "day": f"::date = '{YESTERDAY + timedelta(days=1)}'"}
    write_orders(folder / "all.parquet", orders, "text")
    with duckdb.connect(config={"temp_directory": str(folder / "spill")}) as connection:
        for name, days in files.items():
            connection.execute(
                "copy (select customer_id, order_id, purchased_at as timestamp, abs(amount) as amount "
                f"from '{folder / 'all.parquet'}' where purchased_at {days}) to '{folder / name}.parquet'"
            )
    settings = Settings(
        home=folder / "home",
        threads=2,
        warehouse=f"bigquery://bytes/shop{orders}",
        bigquery_emulator_host=addresses["rest"],
        bigquery_storage_emulator_host=addresses["storage"],
        maximum_bytes_billed=10**13,
    )
    setup_bigquery(settings)
    load(settings, folder / "history.parquet", source="transactions")
    show("first build", dry_run(settings, as_of_date=YESTERDAY, horizon_days=90), orders)
    built = transform(settings, as_of_date=YESTERDAY, horizon_days=90)
    load(settings, folder / "day.parquet", source="transactions", append=True)
    show("one more day", dry_run(settings, as_of_date=YESTERDAY + timedelta(days=1), horizon_days=90), orders)
    print(f"{built.snapshot_count / orders:.1f} snapshots an order at {len(built.cutoffs)} cutoffs; stored:")
    warehouse = open_warehouse(settings)
    assert isinstance(warehouse, BigQueryWarehouse)
    client = warehouse.clients.rest
    for schema in SCHEMAS:
        for item in client.list_tables(f"{warehouse.project}.{warehouse.dataset}_{schema}"):
            table = client.get_table(item.reference)
            if table.table_type == "TABLE" and table.num_bytes > orders:
                print(f"    {schema}.{item.table_id:<20} {table.num_bytes / orders:8,.0f} bytes an order")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, nargs="+", default=[20_000, 60_000])
    arguments = parser.parse_args()
    environment = os.environ | {"PYTHONPATH": str(FACADE)}
    with subprocess.Popen(
        [sys.executable, "-m", "facade"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as facade:
        assert facade.stdout is not None
        addresses = json.loads(facade.stdout.readline())
        for orders in arguments.orders:
            print(f"{orders:,} orders", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                measure(orders, Path(folder), addresses)
        facade.terminate()


if __name__ == "__main__":
    main()
