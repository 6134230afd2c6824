"""Where one request's purchases are worked on: temporary tables of its own, statements planned once where it pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

_MOST_PREPARED = 64

_TABLES = """
create temp table body (text varchar);
create temp table cutoffs (cutoff_date date);
create temp table elements (row bigint, purchase json);
"""


class Workspace:
    """A cursor with empty tables.

    Planning takes longer than running where there are few rows. A lasting workspace therefore keeps its tables and
    its plans; each request works in a transaction that is rolled back, so the next one finds the tables empty.

    Parameters
    ----------
    cursor
        A cursor of its own.
    tables
        Statements that make the tables of purchases.
    is_lasting
        Whether statements are prepared; plans made for few rows would be bad ones for many.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection, tables: str, *, is_lasting: bool) -> None:
        self.cursor = cursor
        self.cursor.execute(_TABLES + tables)
        self._prepared: dict[str, str] | None = {} if is_lasting else None

    @property
    def is_worn(self) -> bool:
        """Whether it holds the plans of many models that are no longer served."""
        return self._prepared is not None and len(self._prepared) > _MOST_PREPARED

    def run(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run a statement that is the same for every request."""
        if self._prepared is None:
            return self.cursor.execute(sql)
        name = self._prepared.get(sql)
        if name is None:
            name = f"statement_{len(self._prepared)}"
            self.cursor.execute(f"prepare {name} as {sql}")
            self._prepared[sql] = name
        return self.cursor.execute(f"execute {name}")

    def run_once(self, sql: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        """Run a statement that depends on the request."""
        return self.cursor.execute(sql, values)
