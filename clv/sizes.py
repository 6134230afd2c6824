"""How large the marts will be, before there are any: a dry run says nothing of a table that is not built yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from clv.contract import snapshot_columns
from clv.load import Shop

ID_BYTES, TEXT_BYTES = 34, 12
"""Of an id or fingerprint of 32 letters, and of other texts: categories; with the 2 bytes that say how long it is."""

OTHER_BYTES = {"BOOL": 1, "NUMERIC": 16}
"""Of the types that take more or less than 8 bytes; a missing value takes none."""

MAXIMUM_CUTOFFS = 36
"""So many at most on the calendar, and two beside them; ``int_cutoffs`` says why."""


@dataclass(frozen=True)
class Table:
    """A table that is not built yet: about how many rows it will have, and the bytes of a row by column."""

    rows: int
    widths: Mapping[str, int]

    def scanned_bytes(self, sql: str) -> int:
        """About what `sql` would scan of it: all columns that it names anywhere, all there are if it has a star."""
        words = set(re.findall(r"\w+", sql.lower()))
        has_star = "*" in re.sub(r"count\(\s*\*\s*\)", "", sql.lower())
        return self.rows * sum(width for name, width in self.widths.items() if has_star or name.lower() in words)


def expected_table(name: str, columns: Mapping[str, str], rows: Mapping[str, int], empty: set[str]) -> Table:
    """What the model `name` will make.

    Of the snapshots' values that may be missing every second one is taken to be.

    Parameters
    ----------
    columns
        Types by name, as a dry run tells them.
    rows
        What :func:`expected_rows` says; of a model that it doesn't know the most it says of any.
    empty
        Columns of purchases that the source doesn't have: they are null, and so is what is made from them.
    """
    widths = {column: _width(column, kind) for column, kind in columns.items() if column not in empty}
    if name == "customer_snapshots":
        meta = {column["name"]: column["config"]["meta"] for column in snapshot_columns()}
        widths = {
            column: width // 2 if meta[column]["nullable"] else width
            for column, width in widths.items()
            if not empty.intersection(meta[column].get("source", ()))
        }
    return Table(rows.get(name, max(rows.values())), widths)


def _width(column: str, kind: str) -> int:
    if kind == "STRING":
        return ID_BYTES if column.endswith(("_id", "_fingerprint")) else TEXT_BYTES
    return OTHER_BYTES.get(kind, 8)


def expected_rows(shop: Shop, as_of_date: date, horizon_days: int) -> dict[str, int]:
    """Rows of each mart, from what ``clv load`` has counted.

    A cutoff has the customers who have bought by then. How many these are is taken as if everybody bought equally
    often, at random times: of a shop that grows that is too many, of one that lost its new customers too few.
    """
    history = (as_of_date - shop.first_purchase_date).days
    orders_each = shop.order_count / max(shop.customer_count, 1)
    last = history - horizon_days
    step = 30 if horizon_days >= 45 else 7  # month ends, or Sundays
    days = [history, last, *range(last - 1, min(horizon_days, 30), -step)[:MAXIMUM_CUTOFFS]]
    shares = [1 - (1 - day / history) ** orders_each for day in days]
    return {
        "int_purchases": shop.order_count,
        "purchases": shop.order_count,
        "customers": shop.customer_count,
        "int_cutoffs": len(days),
        "cutoffs": len(days),
        "customer_snapshots": round(shop.customer_count * sum(shares)),
    }


def columns_without_values(sql: str) -> set[str]:
    """Columns for which this SELECT answers null, because its source has no such thing."""
    return set(re.findall(r"cast\(null as \w+\) as (\w+)", sql))
