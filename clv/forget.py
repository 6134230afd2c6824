"""Forgetting a person: no row of theirs in the warehouse, no line in predictions or logs."""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from clv.errors import InputError
from clv.home import Home, replacing
from clv.load import SOURCES, Shop, read_shop
from clv.settings import Settings
from clv.sources.tables import literal
from clv.warehouse import Warehouse, open_warehouse
from clv.warehouse.duckdb import in_memory

_SHORT_NUMBER = re.compile(r"[\d.]{1,5}")
"""An id that may as well be a count, a second or a share."""


@dataclass(frozen=True)
class ForgetReport:
    """What was removed.

    Attributes
    ----------
    rows
        Rows by table of the warehouse.
    files
        Predictions and logs that were written anew without the person.
    """

    customer_id: str
    rows: Mapping[str, int]
    files: tuple[Path, ...]


def forget(settings: Settings, customer_id: str, *, prediction_logs: Sequence[Path] = ()) -> ForgetReport:
    """Remove a person from raw tables, marts, predictions (the tables, and the files in the home) and logs.

    All other customers' rows stay as they are. What is not ours to change keeps the person: the files that the shop was
    loaded from (loading them again brings the person back), predictions written elsewhere, backups, and on BigQuery
    time travel, which ends after 7 days by default. What a running service has answered and not yet logged comes later:
    so a person of whom only such rows are left can be forgotten once more.

    Parameters
    ----------
    settings
        Home and warehouse.
    customer_id
        The person, as in ``marts.customers``; on Olist the ``customer_unique_id``.
    prediction_logs
        Folders in which a service logs its predictions; what it logs to the warehouse is found without.

    Raises
    ------
    InputError
        If nothing is known of that id, nobody else would be left, one of the folders is not there, or a CSV file with
        customers can't be searched.
    UnavailableError
        If home or warehouse can't be written.
    """
    for folder in prediction_logs:
        if not folder.is_dir():
            raise InputError(f"Prediction log {folder} is no folder; name the one in the service's CLV_PREDICTION_LOG.")
    home = Home(settings.home, settings.lock_wait_seconds).open()
    warehouse = open_warehouse(settings)
    with home.writing("forget"):
        shop = read_shop(warehouse)
        if shop is None:
            raise InputError(f"Warehouse {warehouse.address} has no shop loaded, so there is nobody to forget.")
        orders = warehouse.query(SOURCES[shop.source].ORDERS, {"customer_id": customer_id}).to_pylist()
        if orders and shop.customer_count == 1:
            raise InputError(
                f"Customer {customer_id!r} is the only one of the shop; remove the whole warehouse "
                f"{warehouse.address} instead."
            )
        # Files first: as long as the warehouse knows the person the call can be repeated.
        files = list(_forget_in_tables([home.predictions, *prediction_logs], customer_id, settings))
        if orders:
            marks = _marks(customer_id, orders)
            files += _forget_in_logs(home.logs, {value for values in marks.values() for value in values})
            rows = warehouse.erase(marks, _updates(warehouse, shop))
        else:  # what a service has answered of somebody who is no customer, or no longer
            rows = warehouse.erase({"customer_id": [customer_id]}, schemas=("serving",))
        if not files and not rows:
            raise InputError(
                f"Customer {customer_id!r} is not in the warehouse {warehouse.address}; expected an id as the shop's "
                "files write it (for Olist the customer_unique_id)."
            )
    return ForgetReport(customer_id, rows, tuple(files))


def _marks(customer_id: str, orders: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The columns, in whatever table, that tell whose a row is, and the person's values in them."""
    # Olist has an id per person and one per order; its raw tables call the latter `customer_id`.
    per_order = sorted({row["order_customer_id"] for row in orders} - {None})
    marks = {
        "customer_id": [customer_id, *per_order],
        "customer_unique_id": [customer_id],
        "order_customer_id": per_order,
        "order_id": sorted({row["order_id"] for row in orders} - {None}),
    }
    return {column: values for column, values in marks.items() if values}


def _updates(warehouse: Warehouse, shop: Shop) -> list[str]:
    """What was counted over all customers is counted again; the data are others now, and so is their fingerprint."""
    source = SOURCES[shop.source]
    fingerprint = hashlib.sha256(f"{shop.fingerprint} less one customer".encode()).hexdigest()
    updates = [
        f"""
        update raw.shop
        set
            customer_count = (select customer_count from ({source.TOTALS})),
            order_count = (select order_count from ({source.TOTALS})),
            first_purchase_date = (select min(purchase_date) from ({source.PURCHASE_DAYS})),
            last_purchase_date = (select max(purchase_date) from ({source.PURCHASE_DAYS})),
            fingerprint = '{fingerprint}'
        where true
        """
    ]
    if warehouse.has_table("marts", "cutoffs") and warehouse.has_table("marts", "customer_snapshots"):
        updates.append(
            """
            update marts.cutoffs as cutoffs
            set customer_count = counted.customer_count
            from (
                select
                    days.cutoff_date,
                    count(snapshots.customer_id) as customer_count
                from marts.cutoffs as days
                left join marts.customer_snapshots as snapshots on days.cutoff_date = snapshots.cutoff_date
                group by days.cutoff_date
            ) as counted
            where cutoffs.cutoff_date = counted.cutoff_date
            """
        )
    return updates


def _forget_in_tables(folders: Sequence[Path], customer_id: str, settings: Settings) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if (path.suffix == ".csv" and _drop_records(path, customer_id)) or (
                path.suffix == ".parquet" and _drop_rows(path, customer_id, settings)
            ):
                yield path


def _forget_in_logs(folder: Path, ids: Iterable[str]) -> Iterator[Path]:
    named = _naming(ids)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _drop_lines(path, named):
            yield path


def _drop_records(path: Path, customer_id: str) -> bool:
    """Write a CSV file anew without the person, all else byte by byte as it was; whether that was necessary."""
    with _open_text(path) as source:
        records = _records(source)
        _, header = next(records, ("", []))
        names = [name.strip('\ufeff"') for name in header]  # a spreadsheet puts a mark before the first
        if "customer_id" not in names:
            return False
        place = names.index("customer_id")
        theirs = {number for number, (_, fields) in enumerate(records, 1) if fields[place : place + 1] == [customer_id]}
    if not theirs:
        return False
    with replacing(path) as temporary, _open_text(path) as source, _open_text(temporary, "w") as target:
        target.writelines(text for number, (text, _) in enumerate(_records(source)) if number not in theirs)
    return True


def _open_text(path: Path, mode: Literal["r", "w"] = "r") -> TextIO:
    """Open a text whose bytes, whatever they are, come out as they went in."""
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")


def _records(stream: TextIO) -> Iterator[tuple[str, list[str]]]:
    """Text and fields of each record of a CSV file, header included; one may go on over several lines."""
    csv.field_size_limit(max(csv.field_size_limit(), min(sys.maxsize, 2**31 - 1)))
    first, lines = stream.readline(), list[str]()
    stream.seek(0)
    delimiter = next((mark for mark in ",;\t|" if mark in first), ",")
    try:
        for fields in csv.reader(_kept(stream, lines), delimiter=delimiter, strict=True):
            yield "".join(lines), fields
            lines.clear()
    except csv.Error as error:
        raise InputError(f"{stream.name} can't be read as CSV ({error}); repair or remove it and try again.") from None


def _kept(stream: TextIO, lines: list[str]) -> Iterator[str]:
    """Lines of the stream, each put into `lines`, too."""
    for line in stream:
        lines.append(line)
        yield line


def _drop_rows(path: Path, customer_id: str, settings: Settings) -> bool:
    """Write a Parquet file anew without the person; whether that was necessary."""
    rows = f"read_parquet({literal(str(path))})"
    with in_memory(settings) as connection:
        if "customer_id" not in connection.sql(f"select * from {rows} limit 0").columns:
            return False
        others = connection.sql(
            f"select * from {rows} where customer_id is distinct from $customer_id", params={"customer_id": customer_id}
        )
        if len(others) == len(connection.sql(f"from {rows}")):
            return False
        with replacing(path) as temporary:
            others.write_parquet(str(temporary))
    return True


def _naming(ids: Iterable[str]) -> re.Pattern[str]:
    """What finds one of the ids in a line of a log.

    Better a line too many than one too few, so an id counts wherever it stands as a word. A short number does where it
    is quoted, follows a word for what it is, or is a field of a CSV line: anywhere else it is hardly ever an id.
    """
    numbers = "|".join(sorted(re.escape(one) for one in ids if _SHORT_NUMBER.fullmatch(one)))
    words = "|".join(sorted(re.escape(one) for one in ids if not _SHORT_NUMBER.fullmatch(one)))
    forms = [rf"(?<![\w-])(?:{words})(?![\w-])"] if words else []
    if numbers:
        forms += [
            rf"(?P<quote>[\"'`])(?:{numbers})(?P=quote)",
            rf"(?i:(?:customer|order|person)\w*|\bid)[\s:=#/(\[\"']+(?:{numbers})(?![\w-])",
            rf"(?<![^\s,;|])(?:{numbers})(?=[,;|]\S)",
            rf"[,;|](?:{numbers})\s*$",
        ]
    return re.compile("|".join(forms))


def _drop_lines(path: Path, named: re.Pattern[str]) -> bool:
    """Write a log anew without the lines that name the person; whether that was necessary."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    others = [line for line in lines if not named.search(line)]
    if len(others) == len(lines):
        return False
    with replacing(path) as temporary:
        temporary.write_text("".join(others), encoding="utf-8")
    return True
