"""Forgetting a person: no row of theirs in the warehouse, no line in predictions or logs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from clv.errors import InputError
from clv.home import Home, replacing
from clv.load import Shop, read_shop
from clv.settings import Settings
from clv.sources import olist, transactions
from clv.sources.tables import literal
from clv.warehouse import Warehouse, open_warehouse

_SOURCES = {"olist": olist, "transactions": transactions}


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
        If nothing is known of that id, nobody else would be left, or one of the folders is not there.
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
        orders = warehouse.query(_SOURCES[shop.source].ORDERS, {"customer_id": customer_id}).to_pylist()
        if orders and shop.customer_count == 1:
            raise InputError(
                f"Customer {customer_id!r} is the only one of the shop; remove the whole warehouse "
                f"{warehouse.address} instead."
            )
        # Files first: as long as the warehouse knows the person the call can be repeated.
        files = list(_forget_in_tables([home.predictions, *prediction_logs], customer_id))
        if orders:
            files += _forget_in_logs(home.logs, customer_id)
            rows = warehouse.erase(_marks(customer_id, orders), _updates(warehouse, shop))
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
    source = _SOURCES[shop.source]
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


def _forget_in_tables(folders: Sequence[Path], customer_id: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".csv", ".parquet") and _drop_rows(path, customer_id):
                yield path


def _forget_in_logs(folder: Path, customer_id: str) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _drop_lines(path, customer_id):
            yield path


def _drop_rows(path: Path, customer_id: str) -> bool:
    """Write a table anew without the person; whether that was necessary."""
    is_csv = path.suffix == ".csv"
    rows = f"read_csv({literal(str(path))}, all_varchar = true)" if is_csv else f"read_parquet({literal(str(path))})"
    with duckdb.connect(config={"temp_directory": f"{path}.spill"}) as connection:
        columns = connection.sql(f"select * from {rows} limit 0").columns
        if "customer_id" not in columns:
            return False
        others = connection.sql(
            f"select * from {rows} where customer_id is distinct from $customer_id", params={"customer_id": customer_id}
        )
        if len(others) == len(connection.sql(f"from {rows}")):
            return False
        with replacing(path) as temporary:
            others.write_csv(str(temporary)) if is_csv else others.write_parquet(str(temporary))
    return True


def _drop_lines(path: Path, customer_id: str) -> bool:
    """Write a log anew without the lines that name the person; whether that was necessary."""
    named = re.compile(rf"(?<![\w-]){re.escape(customer_id)}(?![\w-])")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    others = [line for line in lines if not named.search(line)]
    if len(others) == len(lines):
        return False
    with replacing(path) as temporary:
        temporary.write_text("".join(others), encoding="utf-8")
    return True
