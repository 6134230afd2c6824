"""What the rest of the project needs of a warehouse, whichever engine it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa

SHOP_SCHEMAS = ("raw", "staging", "intermediate", "marts")
"""Where the tables of the shop that is loaded live; loading another one replaces all of them."""

SCHEMAS = (*SHOP_SCHEMAS, "serving")
"""All of them, on BigQuery the datasets ``DATASET_raw``, ``DATASET_staging``, ...; ``serving`` is there only, and
written by the prediction service."""

PREDICTION_LOG = ("serving", "prediction_log")
"""The table in which services log what they have answered, where the warehouse is BigQuery."""


@dataclass(frozen=True)
class NextTables:
    """The next ``raw`` tables, while they are being written.

    Attributes
    ----------
    path
        The DuckDB file that takes them.
    plain
        By table, a CSV file that says what the table says, whoever reads it; for a warehouse that reads files itself.
    notes
        What the warehouse has to say once the tables are its own.
    """

    path: Path
    plain: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Warehouse(Protocol):
    """One shop's tables; names are ``schema.table`` in SQL for both engines."""

    @property
    def address(self) -> str:
        """Where it is, for messages."""

    def query(self, sql: str, parameters: Mapping[str, str] | None = None) -> pa.Table:
        """Answer of one SELECT as an Arrow table; ``$name`` stands for a parameter."""

    def batches(self, sql: str, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Answer of one SELECT as a stream of Arrow batches of about `rows` rows."""

    def frame(self, sql: str) -> pd.DataFrame:
        """Answer of one SELECT as a frame, for a person to look at."""

    def columns(self, schema: str, table: str) -> tuple[str, ...]:
        """Columns of the table or view, none if it isn't there; nothing is scanned or billed."""

    def has_table(self, schema: str, table: str) -> bool:
        """Whether the table or view is there."""

    def write_table(self, schema: str, table: str, batches: Iterable[pa.RecordBatch], columns: pa.Schema) -> None:
        """Create the table from Arrow batches, in the place of the former one; on failure that one stays."""

    def loading(self, *, former: Mapping[str, str] | None, workspace: Path) -> AbstractContextManager[NextTables]:
        """Yield what takes the next ``raw`` tables; when the block ends well they are the warehouse's.

        With `former` the file holds today's tables, to add to; it names the column by which rows of a table replace
        others, for tables that have one. Without, the file is empty and what was derived from the former tables goes
        with them. If the block fails, or the writing does, the warehouse stays as it is. `workspace` is a folder for
        temporary files.
        """

    def erase(
        self, marks: Mapping[str, Sequence[str]], updates: Sequence[str] = (), schemas: Sequence[str] = SCHEMAS
    ) -> dict[str, int]:
        """Delete the rows of all tables in which one of these columns has one of these values, all or nothing.

        `updates` are run after that, in the same step; where no row is marked, nothing is done at all. The answer
        counts the deleted rows by table.
        """
