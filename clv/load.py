"""Loading a shop: files in, a checked raw schema out, swapped in as one step.

Whatever goes wrong (bad input, a full disk, a killed process), the warehouse is the one there was before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from clv.calendar import default_as_of_day
from clv.errors import InputError
from clv.home import Home, disk_errors, remove
from clv.settings import Settings
from clv.sources import olist, transactions
from clv.sources.tables import Loaded, literal
from clv.sources.transactions import TransactionColumns
from clv.warehouse import DuckDBWarehouse, Warehouse, open_warehouse

Source = Literal["olist", "transactions"]

SOURCES = {"olist": olist, "transactions": transactions}
"""What reads each source, and the SQL that knows its raw tables."""

STRAY_DAYS, STRAY_SHARE = 365, 0.01
"""Purchases are stray if they are at most this share and no other follows them for so many days."""


@dataclass(frozen=True)
class Shop:
    """The one row of ``raw.shop``: what is loaded."""

    shop_id: str
    source: str
    currency: str
    time_zone: str
    as_of_date: date
    first_purchase_date: date
    last_purchase_date: date
    customer_count: int
    order_count: int
    fingerprint: str


@dataclass(frozen=True)
class LoadReport:
    """What a load did.

    Attributes
    ----------
    files
        Table, file, rows, dropped rows and sha256 of each loaded file.
    notes
        Sentences on what was accepted but is worth knowing.
    customers, orders, total_amount
        Of the whole shop after the load (Olist: every order, canceled ones too; amounts are payments).
    first_purchase_date, last_purchase_date
        Of purchases: customer-days with a positive net amount.
    as_of_date
        The default as-of day.
    shop_id
        Fingerprint of the shop's first load.
    fingerprint
        sha256 over the sha256 of all files of the shop, in the order in which they were loaded last.
    """

    source: str
    files: tuple[Loaded, ...]
    notes: tuple[str, ...]
    customers: int
    orders: int
    total_amount: Decimal
    currency: str
    time_zone: str
    first_purchase_date: date
    last_purchase_date: date
    as_of_date: date
    shop_id: str
    fingerprint: str


def load(
    settings: Settings,
    path: Path | Sequence[Path],
    *,
    source: Source,
    columns: TransactionColumns | None = None,
    append: bool = False,
    replace_shop: bool = False,
    today: date | None = None,
    progress: Callable[[str], None] | None = None,
) -> LoadReport:
    """Load a shop's files into the raw schema of the warehouse.

    By default the files are the whole shop: they replace what was loaded, and what was derived from it goes too. With
    `append` they are more of the same shop: their orders are added or, where the order id is known, replaced; loading
    the same file again then changes nothing. Appended transactions without order ids must be of later days than the
    loaded ones without; loading the same file again is then refused.

    Parameters
    ----------
    settings
        Home, warehouse and the share of incomplete rows that may be dropped.
    path
        A file or folder, or several. Olist: the Kaggle zip, a folder with its CSV files, or those files. Transactions:
        CSV, CSV.gz or Parquet.
    source
        Which of the two it is.
    columns
        Column names and formats of transactions; for Olist only `currency` and `time_zone` apply.
    append
        Add to the shop instead of replacing it.
    replace_shop
        Allow another shop (another source or currency, or none of the loaded customers) in the place of this one.
    today
        The shop's current day; by default what the clock says in its time zone. Orders after the next day are refused.
    progress
        Is told each step.

    Returns
    -------
    LoadReport
        What was loaded.

    Raises
    ------
    InputError
        If the input can't be used, or is another shop's; names file, line and column.
    UnavailableError
        If the home or warehouse can't be read or written.
    """
    tell = progress or (lambda step: None)
    paths = [path] if isinstance(path, Path) else list(path)
    options = _checked_options(source, columns)
    if append and replace_shop:
        raise InputError(
            "--append adds to the loaded shop and --replace-shop puts another in its place; give one of them."
        )
    home = Home(settings.home, settings.lock_wait_seconds).open()
    warehouse = open_warehouse(settings)
    with home.writing("load"), _workspace(home.root / ".load") as workspace:
        previous = None if replace_shop else read_shop(warehouse)
        if previous is not None and previous.source != source:
            raise InputError(
                f"Warehouse {warehouse.address} holds a shop of source {previous.source}, not {source}; give "
                "--replace-shop to put this one in its place, or name another folder with --home."
            )
        if append and previous is not None:
            _refuse_another_zone(options.time_zone, previous)
        time_zone = options.time_zone or (previous.time_zone if previous else SOURCES[source].TIME_ZONE)
        now = datetime.now(ZoneInfo(time_zone))
        tomorrow = ((today or now.date()) + timedelta(days=1)).isoformat()
        with (
            warehouse.loading(
                former=SOURCES[source].REPLACED_BY if append and previous is not None else None, workspace=workspace
            ) as next_tables,
            DuckDBWarehouse(next_tables.path, settings.threads, settings.memory_limit).connect(
                read_only=False
            ) as connection,
        ):
            connection.execute(f"set temp_directory = {literal(str(workspace / 'spilled'))}")
            connection.execute("create schema if not exists raw")
            if source == "olist":
                found = olist.find(paths, workspace)
                loaded, notes, plain = olist.write(connection, found, settings.max_null_share, tomorrow, tell)
                next_tables.plain.update(plain)
                currency = None
            else:
                logs = transactions.find(paths, workspace)
                loaded, notes, currency = transactions.write(
                    connection, logs, options, time_zone, settings.max_null_share, tomorrow, tell
                )
            currency = _one_currency(source, options.currency, currency, previous, append=append)
            if previous is not None and not append:
                _refuse_strangers(connection, warehouse, source)
            tell("recording what was loaded")
            _record_files(connection, source, loaded)
            shop, total_amount, unused, strays = _record_shop(connection, source, currency, time_zone, previous)
    notes = [*notes, *next_tables.notes]
    if strays:
        notes = [*notes, strays]
    if unused:
        notes = [
            *notes,
            f"purchases after {shop.as_of_date}, whose days look incomplete and which are not used unless --as-of "
            f"{shop.last_purchase_date} takes them in: {unused:,}.",
        ]
    return LoadReport(
        source=source,
        files=tuple(loaded),
        notes=tuple(notes),
        customers=shop.customer_count,
        orders=shop.order_count,
        total_amount=total_amount,
        currency=shop.currency,
        time_zone=shop.time_zone,
        first_purchase_date=shop.first_purchase_date,
        last_purchase_date=shop.last_purchase_date,
        as_of_date=shop.as_of_date,
        shop_id=shop.shop_id,
        fingerprint=shop.fingerprint,
    )


def read_shop(warehouse: Warehouse) -> Shop | None:
    """The shop that is loaded, or None."""
    if not warehouse.has_table("raw", "shop"):
        return None
    rows = warehouse.query(f"select {', '.join(Shop.__dataclass_fields__)} from raw.shop").to_pylist()
    return Shop(**rows[0]) if rows else None


def _checked_options(source: str, columns: TransactionColumns | None) -> TransactionColumns:
    if source not in SOURCES:
        raise InputError(f"--source {source!r} is not known; expected olist or transactions.")
    options = (columns or TransactionColumns()).checked()
    if source == "olist" and options != TransactionColumns(time_zone=options.time_zone, currency=options.currency):
        raise InputError(
            "Column, format, decimal and delimiter options are for --source transactions; Olist's files have fixed "
            "ones."
        )
    return options


@contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """An empty folder of ours, gone afterwards; what a killed load left in it is removed."""
    remove(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        remove(folder)


def _one_currency(source: str, asked: str | None, found: str | None, previous: Shop | None, *, append: bool) -> str:
    """The shop's currency, from the option, the files, the loaded shop or the default; they must not contradict."""
    known = {
        "--currency": asked,
        "the currency column": found,
        "the loaded shop": previous.currency if previous else None,
    }
    says = {where: code for where, code in known.items() if code is not None}
    if len(set(says.values())) > 1:
        raise InputError(
            f"Currencies differ ({', '.join(f'{where}: {code}' for where, code in says.items())}); expected one per "
            "shop" + (", so give --replace-shop to load another one." if previous and not append else ".")
        )
    return next(iter(says.values()), SOURCES[source].CURRENCY)


def _refuse_another_zone(asked: str | None, previous: Shop) -> None:
    """Refuse to append in another zone: the days of the loaded rows, which stay, were told in theirs."""
    if asked not in (None, previous.time_zone):
        raise InputError(
            f"Time zones differ (--time-zone: {asked}, the loaded shop: {previous.time_zone}); expected one per shop, "
            "so leave --time-zone out, or load all files anew without --append."
        )


def _refuse_strangers(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, source: str) -> None:
    """Refuse to replace a shop by files that share no customer with it."""
    customers = SOURCES[source].CUSTOMERS
    known = warehouse.query(f"select distinct customer_id from ({customers})")
    with connection.cursor() as cursor:
        cursor.register("known", known)
        shared = cursor.execute(f"select 1 from ({customers}) semi join known using (customer_id) limit 1").fetchall()
    if not shared:
        raise InputError(
            "The files share no customer with the loaded shop, so they are another shop's; give --replace-shop to "
            "put it in its place, --append if they are later orders of the same shop, or name another folder with "
            "--home."
        )


def _record_files(connection: duckdb.DuckDBPyConnection, source: str, loaded: Sequence[Loaded]) -> None:
    connection.execute(
        "create table if not exists raw.loads (source varchar, table_name varchar, file varchar, row_count bigint, "
        "dropped_count bigint, sha256 varchar, loaded_at timestamp)"
    )
    now = datetime.now(UTC).replace(tzinfo=None)
    connection.executemany(
        "insert into raw.loads values (?, ?, ?, ?, ?, ?, ?)",
        [[source, entry.table, entry.file, entry.rows, entry.dropped, entry.sha256, now] for entry in loaded],
    )


def _record_shop(
    connection: duckdb.DuckDBPyConnection, source: str, currency: str, time_zone: str, previous: Shop | None
) -> tuple[Shop, Decimal, int, str]:
    """Write the row of ``raw.shop``.

    Returns
    -------
    tuple
        That row, the total amount, the purchases after the as-of day, and what to say of stray purchases at the start.
    """
    customers, orders, total_amount = connection.execute(SOURCES[source].TOTALS).fetchall()[0]
    days = connection.execute(SOURCES[source].PURCHASE_DAYS).fetchall()
    if not days:
        raise InputError("No customer has a day with a positive amount; expected at least one purchase.")
    first, last = days[0][0], days[-1][0]
    counts = np.zeros((last - first).days + 1, dtype=np.int64)
    for day, purchases in days:
        counts[(day - first).days] = purchases
    as_of_date = default_as_of_day(first, counts)
    # A file loaded again replaces all that it brought before, so its former loads don't count; given twice in one
    # load its rows are there twice.
    sums = connection.execute(
        "select sha256 from raw.loads "
        "qualify loaded_at = max(loaded_at) over (partition by table_name, sha256) "
        "order by loaded_at, table_name, sha256"
    ).fetchall()
    fingerprint = hashlib.sha256("\n".join(row[0] for row in sums).encode()).hexdigest()
    shop = Shop(
        shop_id=previous.shop_id if previous else fingerprint,
        source=source,
        currency=currency,
        time_zone=time_zone,
        as_of_date=as_of_date,
        first_purchase_date=first,
        last_purchase_date=last,
        customer_count=int(customers),
        order_count=int(orders),
        fingerprint=fingerprint,
    )
    connection.execute(
        "create or replace table raw.shop (shop_id varchar, source varchar, currency varchar, time_zone varchar, "
        "as_of_date date, first_purchase_date date, last_purchase_date date, customer_count bigint, order_count "
        "bigint, fingerprint varchar)"
    )
    values = [getattr(shop, name) for name in Shop.__dataclass_fields__]
    connection.execute(f"insert into raw.shop values ({', '.join('?' * len(values))})", values)
    return shop, total_amount, int(counts[(as_of_date - first).days + 1 :].sum()), _strays(days)


def _strays(days: Sequence[tuple[date, int]]) -> str:
    """What to say of a few purchases long before all others, such as of 1900-01-01 for an unknown day; else empty."""
    total = sum(purchases for _, purchases in days)
    early, found = 0, ""
    for (day, purchases), (following, _) in pairwise(days):
        early += purchases
        gap = (following - day).days
        if early > STRAY_SHARE * total:
            break
        if gap >= STRAY_DAYS:
            found = (
                f"purchases up to {day}, {gap:,} days before the next: {early:,}; they make the history look longer "
                "than it is, so leave them out if that day stands for an unknown one."
            )
    return found
