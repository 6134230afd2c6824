"""Snapshots by the project's own SQL on DuckDB against pandas, and how time grows with the number of orders.

    python -m benchmarks.warehouse            # 200,000 orders, growth to 1,000,000; a minute
    python -m benchmarks.warehouse --full     # 2 million orders x 12 cutoffs, growth to 10 million; a quarter hour

Both read the same Parquet file of orders, write the same columns to Parquet and must find the same numbers. The pandas
side is written as one who knows pandas would: sorted once, `groupby` with built-in reductions, no `apply`. Each run is
a process of its own; memory is the most that the process and its children held at any time. The SQL is what `clv
transform` compiles and a model carries, with clv's own threads and memory limit (`CLV_THREADS`, `CLV_MEMORY_LIMIT`).
The growth is that of all its columns, written to a DuckDB table. With `--full` the largest is made once more with the
memory limit that clv has on a machine of 8 GB, and the exit code says whether the bars below were reached.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from benchmarks.pipeline import measured
from benchmarks.record import OUTPUT_HELP, save
from clv.contract import read_contract
from clv.settings import Settings
from clv.transform import serving_sql, transform
from clv.warehouse import DuckDBWarehouse, open_warehouse

CUTOFFS = [pd.Timestamp("2020-03-31") + pd.DateOffset(months=3 * quarter) for quarter in range(12)]
COMPARED = [
    *("recency_days", "tenure_days", "purchase_count", "gap_mean_days", "gap_sd_days", "gap_ratio"),
    *("amount_total", "amount_mean", "amount_max", "amount_first", "amount_last", "amount_trend"),
    *(f"{what}_{days}d" for days in (30, 90, 180, 365) for what in ("purchase_count", "amount")),
    *("return_count", "return_amount", "order_count", "first_weekday", "first_month"),
]
FASTER = {"text": 3.0, "integer": 1.5}
"""How many times faster than pandas the SQL has to be, at 2 million orders."""

MAXIMUM_EXPONENT, MAXIMUM_GB = 1.1, 8.0
"""Time may grow with this power of the orders; memory at 10 million orders."""

SMALL = "2GB"
"""The memory limit that clv has on a machine of 8 GB: where it spills more."""

SHOP_COLUMNS = {
    **dict.fromkeys(("category", "payment_type", "state"), "varchar"),
    **dict.fromkeys(("item_count", "product_count", "category_count", "seller_count", "instalment_count"), "bigint"),
    **dict.fromkeys(("promised_date", "delivered_date", "review_created_date", "review_answered_date"), "date"),
    "freight_amount": "decimal(18, 4)",
    "review_score": "bigint",
}


def write_orders(path: Path, orders: int, keys: str) -> None:
    """Orders of four years; customers differ in how often they buy; one row in 40 is a return."""
    key = "md5(customer::varchar)" if keys == "text" else "customer"
    order_key = "md5((-number)::varchar)" if keys == "text" else "number"
    with duckdb.connect(config={"temp_directory": f"{path}.spill", "memory_limit": "2GB"}) as connection:
        connection.execute(f"""
            copy (
                select
                    {key} as customer_id,
                    {order_key} as order_id,
                    timestamp '2019-01-01' + to_seconds(hash(number, 2) % 126230400) as purchased_at,
                    ((hash(number, 3) % 20000 + 1) / 100 * if(hash(number, 4) % 40 = 0, -1, 1))::decimal(18, 4)
                        as amount
                from (
                    select number, (power(hash(number, 1) % 1000003 / 1000003, 2) * {orders} / 3)::bigint as customer
                    from range({orders}) as r (number)
                )
            ) to '{path}' (format parquet)
        """)


def by_duckdb(path: Path, sql: str, target: Path, threads: int, memory_limit: str) -> None:
    """The compared columns to a Parquet file, or all columns to a table of a DuckDB file."""
    with duckdb.connect(str(target.with_suffix(".duckdb"))) as connection:
        connection.execute(f"set threads = {threads}; set memory_limit = '{memory_limit}'")
        connection.execute(f"set temp_directory = '{target.with_suffix('.spill')}'")
        nulls = ", ".join(f"null::{kind} as {name}" for name, kind in SHOP_COLUMNS.items())
        connection.execute(f"create view purchases as select *, {nulls} from '{path}'")
        days = ", ".join(f"('{cutoff.date()}'::date)" for cutoff in CUTOFFS)
        connection.execute(f"create view cutoffs as select * from (values {days}) as c (cutoff_date)")
        if target.suffix == ".duckdb":
            connection.execute(f"create table snapshots as {sql}")
        else:
            names = ", ".join(COMPARED)
            connection.execute(f"copy (select customer_id, cutoff_date, {names} from ({sql})) to '{target}'")


def by_pandas(path: Path, target: Path) -> None:
    orders = pd.read_parquet(path)
    orders["amount"] = orders["amount"].astype(float)
    orders["day"] = orders["purchased_at"].dt.normalize()
    orders["returned"] = (-orders["amount"]).clip(lower=0)
    days = (
        orders.groupby(["customer_id", "day"], sort=True)
        .agg(amount=("amount", "sum"), returned=("returned", "sum"), orders=("order_id", "nunique"))
        .reset_index()
    )
    days["amount"] = days["amount"].round(4)
    days["is_return"] = days["returned"] > 0
    purchases = days[days["amount"] > 0].copy()
    purchases["gap"] = purchases.groupby("customer_id")["day"].diff().dt.days
    snapshots = pd.concat([_snapshot(days, purchases, cutoff) for cutoff in CUTOFFS], ignore_index=True)
    snapshots.to_parquet(target)


def _snapshot(days: pd.DataFrame, purchases: pd.DataFrame, cutoff: pd.Timestamp) -> pd.DataFrame:
    past = purchases[purchases["day"] <= cutoff]
    known = days[days["day"] <= cutoff]
    frame = past.groupby("customer_id").agg(
        first=("day", "first"),
        last=("day", "last"),
        purchase_count=("day", "size"),
        gap_mean_days=("gap", "mean"),
        gap_sd_days=("gap", "std"),
        amount_so_far=("amount", "sum"),
        amount_max=("amount", "max"),
        amount_first=("amount", "first"),
        amount_last=("amount", "last"),
        order_count=("orders", "sum"),
    )
    frame = frame.join(
        known.groupby("customer_id").agg(
            amount_total=("amount", "sum"), return_count=("is_return", "sum"), return_amount=("returned", "sum")
        )
    )
    for window in (30, 90, 180, 365):
        start = cutoff - pd.Timedelta(days=window)
        counts = past[past["day"] > start].groupby("customer_id").size()
        amounts = known[known["day"] > start].groupby("customer_id")["amount"].sum()
        frame[f"purchase_count_{window}d"] = counts.reindex(frame.index, fill_value=0)
        frame[f"amount_{window}d"] = amounts.reindex(frame.index, fill_value=0.0)
    count = frame["purchase_count"]
    frame["recency_days"] = (cutoff - frame["last"]).dt.days
    frame["tenure_days"] = (cutoff - frame["first"]).dt.days
    frame["gap_ratio"] = frame["recency_days"] / frame["gap_mean_days"]
    frame["amount_mean"] = frame["amount_so_far"] / count
    earlier = (frame["amount_so_far"] - frame["amount_last"]) / (count - 1)
    frame["amount_trend"] = (frame["amount_last"] - earlier).where(count > 1)
    frame["first_weekday"] = frame["first"].dt.isocalendar().day
    frame["first_month"] = frame["first"].dt.month
    frame["cutoff_date"] = cutoff.date()
    return frame.reset_index()[["customer_id", "cutoff_date", *COMPARED]]


def measure(arguments: list[str], **environment: str) -> tuple[float, float]:
    """Seconds and peak memory (GB, process and children) of this script in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.warehouse", *arguments]
    with measured(arguments[-1]) as cost:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed with {done.returncode}")
    return float(json.loads(done.stdout)["seconds"]), cost.peak / 1e9


def largest_difference(first: Path, second: Path) -> float:
    """Largest relative difference of any number in two files of snapshots."""
    worst = ", ".join(
        f"max(abs(coalesce(a.{name}, -1) - coalesce(if(isnan(b.{name}::double), null, b.{name}), -1)) "
        f"/ greatest(1, abs(coalesce(a.{name}, 0))))"
        for name in COMPARED
    )
    with duckdb.connect(config={"temp_directory": f"{first}.spill"}) as connection:
        row = connection.execute(
            f"select {worst} from '{first}' as a inner join '{second}' as b "
            "on a.customer_id = b.customer_id and a.cutoff_date = b.cutoff_date::date"
        ).fetchall()[0]
        unmatched = connection.execute(
            f"select count(*) from '{first}' as a full join '{second}' as b on a.customer_id = b.customer_id "
            "and a.cutoff_date = b.cutoff_date::date where a.customer_id is null or b.customer_id is null"
        ).fetchall()[0][0]
    if unmatched:
        raise SystemExit(f"{unmatched} snapshots are in one of the two only")
    return float(max(row))


def compile_sql(folder: Path) -> str:
    """The SELECT as dbt compiles it, from a transform of a shop of a few orders."""
    settings = Settings(home=folder / "home", threads=2)
    warehouse = open_warehouse(settings)
    assert isinstance(warehouse, DuckDBWarehouse)
    path = warehouse.path
    path.parent.mkdir(parents=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("""
            create schema raw;
            create table raw.transactions as
                select 'a' as customer_id, null::varchar as order_id, d::timestamp as purchased_at,
                       1::decimal(18, 4) as amount
                from generate_series(date '2020-01-01', date '2020-06-01', interval 9 day) as t (d);
            create table raw.shop as
                select 's' as shop_id, 'transactions' as source, 'EUR' as currency, 'UTC' as time_zone,
                       date '2020-06-01' as as_of_date, date '2020-01-01' as first_purchase_date,
                       date '2020-06-01' as last_purchase_date, 1::bigint as customer_count,
                       1::bigint as order_count, 'f' as fingerprint;
        """)
    transform(settings, as_of_date=None, horizon_days=30)
    return serving_sql(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes of the README; minutes, and some GB of disk")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    parser.add_argument("--run", nargs=3, metavar=("ENGINE", "ORDERS", "TARGET"), help=argparse.SUPPRESS)
    parser.add_argument("--sql", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    settings = Settings.from_environment(os.environ)
    threads, memory_limit = settings.threads, settings.memory_limit
    if arguments.run:
        engine, orders, target = arguments.run[0], Path(arguments.run[1]), Path(arguments.run[2])
        started = time.perf_counter()
        if engine == "pandas":
            by_pandas(orders, target)
        else:
            sql = Path(arguments.sql).read_text()
            by_duckdb(orders, sql, target, threads, memory_limit)
        print(json.dumps({"seconds": time.perf_counter() - started}))
        return
    if missing := set(COMPARED) - set(read_contract().names):
        raise SystemExit(f"Not in the contract: {missing}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        query = folder / "features.sql"
        query.write_text(compile_sql(folder))
        duck = ["--sql", str(query)]
        count = 2_000_000 if arguments.full else 200_000
        print(f"{count:,} orders x {len(CUTOFFS)} cutoffs; DuckDB: {threads} threads, {memory_limit}; pandas has one")
        print("keys      pandas s  DuckDB s  faster  pandas GB  DuckDB GB    differ")
        missed = []
        shown = [["", "pandas", "DuckDB", ""]]
        for keys in FASTER:
            orders = folder / f"{keys}.parquet"
            write_orders(orders, count, keys)
            slow, much = measure(["--run", "pandas", str(orders), str(folder / "pandas.parquet")])
            fast, little = measure([*duck, "--run", "duckdb", str(orders), str(folder / f"{keys}-duckdb.parquet")])
            differ = largest_difference(folder / f"{keys}-duckdb.parquet", folder / "pandas.parquet")
            print(
                f"{keys:<8} {slow:9.1f} {fast:9.1f} {slow / fast:6.1f}x {much:10.2f} {little:10.2f} {differ:9.1e}",
                flush=True,
            )
            sides = [f"{slow:.1f} s, {much:.1f} GB", f"{fast:.1f} s, {little:.1f} GB", f"{slow / fast:.1f}x"]
            shown.append([f"{count:,} orders, {keys} keys", *sides])
            if differ > 1e-6:
                raise SystemExit("pandas and DuckDB disagree")
            if slow / fast < FASTER[keys]:
                missed.append(f"{keys} keys: {slow / fast:.1f}x faster than pandas, {FASTER[keys]}x wanted")
            if little >= much:
                missed.append(f"{keys} keys: {little:.2f} GB, pandas {much:.2f}")
        print(f"\ngrowth (DuckDB, text keys)\n{'orders':>11} {'seconds':>8} {'GB':>6} {'exponent':>9}")
        before: tuple[int, float] | None = None
        for count in (100_000, 1_000_000, *([10_000_000] if arguments.full else [])):
            orders = folder / f"{count}.parquet"
            write_orders(orders, count, "text")
            seconds, memory = measure([*duck, "--run", "duckdb", str(orders), str(folder / f"{count}.duckdb")])
            exponent = math.log(seconds / before[1]) / math.log(count / before[0]) if before else np.nan
            print(f"{count:>11,} {seconds:8.1f} {memory:6.2f} {exponent:9.2f}", flush=True)
            growth = f"grows with the power {exponent:.2f}" if before else ""
            shown.append([f"{count:,} orders", "", f"{seconds:.1f} s, {memory:.1f} GB", growth])
            if before and exponent > MAXIMUM_EXPONENT:
                missed.append(f"growth to {count:,} orders: exponent {exponent:.2f}, at most {MAXIMUM_EXPONENT} wanted")
            if memory > MAXIMUM_GB:
                missed.append(f"{count:,} orders: {memory:.2f} GB, at most {MAXIMUM_GB} wanted")
            before = count, seconds
            if arguments.full and count == 10_000_000:
                again = [*duck, "--run", "duckdb", str(orders), str(folder / f"{count}-small.duckdb")]
                seconds, memory = measure(again, CLV_MEMORY_LIMIT=SMALL)
                print(f"{count:>11,} {seconds:8.1f} {memory:6.2f}  with a memory limit of {SMALL}", flush=True)
                name = f"{count:,} orders, `CLV_MEMORY_LIMIT={SMALL}`"
                shown.append([name, "", f"{seconds:.1f} s, {memory:.1f} GB", ""])
            for file in folder.glob(f"{count}*"):
                file.unlink()
        save(arguments.output, "warehouse", table=shown, cores=threads, memory_limit=memory_limit)
        if arguments.full and missed:
            raise SystemExit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
