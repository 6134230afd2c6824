"""What the docs say of Olist's data themselves: orders that were canceled, answers to reviews, bytes to upload.

    .venv/bin/python -m benchmarks.olist_data --output docs/results      (a minute)

Canceled and unavailable orders are left out of the marts. To see what that changes, the marts are built once more from
raw tables that call these orders shipped.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from datetime import date
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from benchmarks.record import OUTPUT_HELP, save
from benchmarks.shops import OLIST, clv
from clv.sources import olist

HORIZON_DAYS = 90
SHOWN = (date(2017, 8, 31), date(2017, 11, 30), date(2018, 2, 28), date(2018, 5, 31))
FAILED = "('canceled', 'unavailable')"


def main() -> None:
    """Build both, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clv-olist-") as temporary:
        home = Path(temporary) / "home"
        file = home / "warehouse.duckdb"
        clv(home, "load", OLIST, "--source", "olist")
        as_built = marts(home)
        with duckdb.connect(str(file)) as warehouse:
            hours = scalar(
                warehouse,
                "select median(date_diff('second', review_creation_date, review_answer_timestamp)) / 3600 "
                "from raw.olist_order_reviews",
            )
            uploaded = parquet_bytes(warehouse, Path(temporary) / "raw.parquet")
            warehouse.execute(f"update raw.olist_orders set order_status = 'shipped' where order_status in {FAILED}")
        kept = marts(home)
    table = [["", "left out (as built)", "kept"], *side_by_side(as_built, kept)]
    for row in table:
        print(" | ".join(row))
    sizes = [member.file_size for member in zipfile.ZipFile(OLIST).infolist()]
    plain = plain_sizes()
    figures = {
        "review_hours": round(hours),
        "csv_files": len(sizes),
        "csv_mb": round(sum(sizes) / 1e6),
        "plain_files": len(plain),
        "plain_mb": round(sum(plain) / 1e6),
        "parquet_mb": round(uploaded / 1e6),
    }
    print(figures)
    save(arguments.output, "olist_data", table=table, **figures)


def scalar(warehouse: duckdb.DuckDBPyConnection, query: str) -> float:
    """The one number that a query finds."""
    [(found,)] = warehouse.execute(query).fetchall()
    return float(found)


def plain_sizes() -> list[int]:
    """Bytes of the files that `clv load` uploads to BigQuery as they lie."""
    with tempfile.TemporaryDirectory() as workspace, duckdb.connect() as warehouse:
        warehouse.execute("create schema raw")
        found = olist.find([OLIST], Path(workspace))
        _, _, plain = olist.write(warehouse, found, 0.01, "2018-12-31", lambda step: None)
        return [path.stat().st_size for path in plain.values()]


def parquet_bytes(warehouse: duckdb.DuckDBPyConnection, file: Path) -> int:
    """Bytes of the raw tables, if `clv load` uploaded all of them to BigQuery as Parquet."""
    names = warehouse.execute(
        "select table_name from information_schema.tables where table_schema = 'raw' and table_name like 'olist%'"
    ).fetchall()
    total = 0
    for (name,) in names:
        pq.write_table(warehouse.sql(f'from raw."{name}"').to_arrow_table(), file)
        total += file.stat().st_size
    return total


def marts(home: Path) -> dict[str, float]:
    """Build the marts; sizes of the shop, and who came back."""
    clv(home, "transform", "--horizon-days", HORIZON_DAYS)
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        found = {
            "customers": scalar(warehouse, "select count(*) from marts.customers"),
            "purchases": scalar(warehouse, "select sum(purchase_count) from marts.customers"),
            "revenue": scalar(warehouse, "select sum(amount_total) from marts.customers"),
            "repeated": scalar(warehouse, "select avg((purchase_count > 1)::int) from marts.customers"),
        }
        for day in SHOWN:
            there = f"from marts.customer_snapshots where cutoff_date = '{day}'"
            found[f"{day} returned"] = scalar(warehouse, f"select sum(is_return::int) {there}")
            found[f"{day} customers"] = scalar(warehouse, f"select count(*) {there}")
    return found


def side_by_side(as_built: dict[str, float], kept: dict[str, float]) -> list[list[str]]:
    """Both as the docs show them."""

    def more(what: str, decimals: int) -> list[str]:
        size, other = as_built[what], kept[what]
        return [f"{size:,.{decimals}f}", f"{other:,.{decimals}f} ({other / size - 1:+.1%})".replace("%)", " %)")]

    def returned(found: dict[str, float], day: date) -> str:
        back, there = found[f"{day} returned"], found[f"{day} customers"]
        return f"{back:,.0f} of {there:,.0f} ({100 * back / there:.2f} %)"

    return [
        ["customers with a purchase", *more("customers", 0)],
        ["purchases", *more("purchases", 0)],
        ["revenue, BRL", *more("revenue", 2)],
        ["bought on 2 days or more", *(f"{100 * found['repeated']:.2f} %" for found in (as_built, kept))],
        *(
            [
                f"{'...' if number else f'returned within {HORIZON_DAYS} days'} of {day}",
                *(returned(found, day) for found in (as_built, kept)),
            ]
            for number, day in enumerate(SHOWN)
        ),
    ]


if __name__ == "__main__":
    main()
