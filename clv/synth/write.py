"""Write a synthetic shop and its truth to a folder, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from clv.errors import InputError
from clv.home import remove, replacing
from clv.synth import log, olist
from clv.synth.clock import DAY, seconds
from clv.synth.ids import Stream, generator, hex_ids
from clv.synth.oracle import oracle
from clv.synth.shop import DEFAULT_END, DEFAULT_REPEAT_RATE, DEFAULT_START, Shop
from clv.synth.simulate import Baskets, chunk_sizes, order_frame, simulate

Shape = Literal["olist", "transactions"]
SHAPES: tuple[Shape, ...] = ("olist", "transactions")
SHOP_FOLDER, TRUTH_FOLDER = "shop", "truth"
TRUTH_CUSTOMERS, TRUTH_SHOP = "customers.parquet", "shop.json"
LONGEST_HORIZON_DAYS = 3_650


@dataclass(frozen=True)
class SynthSummary:
    """What was written.

    Attributes
    ----------
    shop
        The shop's true parameters.
    data
        What to load: the folder of Olist-shaped CSVs, or the transaction log.
    truth
        The folder that nothing but evaluation reads.
    files
        Every file written.
    customers
        Customers with a purchase.
    orders
        Orders, canceled and unavailable ones of an Olist-shaped shop included.
    repeat_rate
        Realised share of customers with purchases on at least two days.
    """

    shop: Shop
    data: Path
    truth: Path
    files: tuple[Path, ...]
    customers: int
    orders: int
    repeat_rate: float


def write_shop(
    folder: Path,
    *,
    customers: int,
    repeat_rate: float = DEFAULT_REPEAT_RATE,
    shape: Shape = "olist",
    seed: int = 42,
    horizon_days: int = 90,
    start: date = DEFAULT_START,
    end: date = DEFAULT_END,
    progress: Callable[[int, int], None] | None = None,
) -> SynthSummary:
    """Write a synthetic shop; the same arguments give the same bytes.

    `folder` gets ``shop/*.csv`` (Olist's tables, no geolocation) or ``transactions.csv``, and ``truth/``:
    ``shop.json`` with the parameters and ``customers.parquet`` with, per customer, ``p_return`` and ``expected_value``
    of the oracle and ``returned`` and ``future_value`` of what then happened in the `horizon_days` after the end.

    Parameters
    ----------
    folder
        A new or empty folder, or an earlier synthetic shop, which is replaced as a whole.
    customers
        Customers with a purchase; a few more people have only a failed order.
    repeat_rate
        Share of customers with purchases on at least two days.
    shape
        ``olist`` or ``transactions``.
    seed
        Seed of everything drawn.
    horizon_days
        Window of the truth.
    start, end
        First and last day of the data.
    progress
        Called with customers done and in all after each chunk.

    Raises
    ------
    InputError
        If an argument is out of range or `folder` holds something else.
    UnavailableError
        If the folder can't be written.
    """
    if customers < 1:
        raise InputError(f"{customers} customers; expected 1 or more.")
    if not 1 <= horizon_days <= LONGEST_HORIZON_DAYS:
        raise InputError(f"Horizon of {horizon_days} days; expected 1 to {LONGEST_HORIZON_DAYS}.")
    if shape not in SHAPES:
        raise InputError(f"Shape {shape!r} is unknown; expected {' or '.join(SHAPES)}.")
    shop = Shop.design(repeat_rate, seed, start, end)
    folder = folder.absolute()
    _check_replaceable(folder)
    with replacing(folder) as temporary:
        totals = _write(shop, temporary, customers, shape, horizon_days, progress)
        names = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
        former = folder.with_name(f".{folder.name}.former")
        remove(former)
        if folder.exists():
            folder.replace(former)
    remove(former)
    return SynthSummary(
        shop=shop,
        data=folder / (SHOP_FOLDER if shape == "olist" else log.TRANSACTIONS),
        truth=folder / TRUTH_FOLDER,
        files=tuple(folder / name for name in names),
        customers=customers,
        orders=totals.orders,
        repeat_rate=totals.repeaters / customers,
    )


@dataclass
class _Totals:
    orders: int = 0
    repeaters: int = 0


def _write(
    shop: Shop,
    folder: Path,
    customers: int,
    shape: Shape,
    horizon_days: int,
    progress: Callable[[int, int], None] | None,
) -> _Totals:
    (folder / TRUTH_FOLDER).mkdir(parents=True)
    shop.save(folder / TRUTH_FOLDER / TRUTH_SHOP)
    totals, done = _Totals(), 0
    with ExitStack() as stack:
        truth = _ParquetFile(folder / TRUTH_FOLDER / TRUTH_CUSTOMERS, stack)
        data = _CsvFolder(folder / SHOP_FOLDER if shape == "olist" else folder, stack)
        goods = olist.catalogue(shop)
        if shape == "olist":
            data.append(goods.tables)
        for chunk, size in enumerate(chunk_sizes(customers)):
            everything = simulate(shop, size, horizon_days, generator(shop, Stream.BASKETS, chunk))
            by_end = everything.moment < seconds(shop.end) + DAY
            past, future = everything.rows(by_end), everything.rows(~by_end)
            ids = hex_ids(size, generator(shop, Stream.CUSTOMER_IDS, chunk))
            details = generator(shop, Stream.DETAILS, chunk)
            if shape == "olist":
                tables = olist.tables(shop, goods, past, ids, details)
                totals.orders += tables[olist.ORDERS].num_rows
            else:
                table, orders = log.transactions(past, ids, details)
                tables = {log.TRANSACTIONS: table}
                totals.orders += orders
            data.append(tables)
            truth.append(_truth(shop, past, future, ids, horizon_days, covariates=shape == "olist"))
            totals.repeaters += _repeaters(past)
            done += size
            if progress:
                progress(done, customers)
    return totals


def _truth(
    shop: Shop, past: Baskets, future: Baskets, ids: pa.StringArray, horizon_days: int, *, covariates: bool
) -> pa.Table:
    best = oracle(shop, order_frame(shop, past, covariates=covariates), shop.end, horizon_days)
    cents = np.bincount(future.customer, weights=future.cents, minlength=past.customers)
    return pa.table(
        {
            "customer_id": ids,  # baskets are sorted by customer, so the oracle's order is the ids'
            "as_of_date": pa.array([shop.end] * past.customers, pa.date32()),
            "horizon_days": pa.array(np.full(past.customers, horizon_days), pa.int32()),
            "p_return": best["p_return"].to_numpy(),
            "expected_value": best["expected_value"].to_numpy(),
            "returned": cents > 0,
            "future_value": cents / 100,
        }
    )


def _repeaters(baskets: Baskets) -> int:
    days = np.unique(np.stack([baskets.customer, baskets.moment // DAY]), axis=1)
    return int((np.bincount(days[0]) > 1).sum())


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a new folder for the synthetic shop.")
    ours = {SHOP_FOLDER, TRUTH_FOLDER, log.TRANSACTIONS}
    names = {path.name for path in folder.iterdir()}
    if names and not (names <= ours and (folder / TRUTH_FOLDER / TRUTH_SHOP).is_file()):
        raise InputError(f"Folder {folder} holds something else than a synthetic shop; name a new or an empty folder.")


class _CsvFolder:
    """CSV files that grow chunk by chunk."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._writers: dict[str, pa.csv.CSVWriter] = {}

    def append(self, tables: dict[str, pa.Table]) -> None:
        """Append each table to the file of its name."""
        for name, table in tables.items():
            if name not in self._writers:
                self._folder.mkdir(exist_ok=True)
                writer = pa.csv.CSVWriter(self._folder / name, table.schema)
                self._writers[name] = self._stack.enter_context(writer)
            self._writers[name].write_table(table)


class _ParquetFile:
    """A Parquet file that grows chunk by chunk."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path, self._stack = path, stack
        self._writer: pa.parquet.ParquetWriter | None = None

    def append(self, table: pa.Table) -> None:
        """Append a chunk."""
        if self._writer is None:
            self._writer = self._stack.enter_context(pa.parquet.ParquetWriter(self._path, table.schema))
        self._writer.write_table(table)
