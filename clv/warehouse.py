"""The embedded warehouse: one DuckDB file, read by many, replaced as a whole by one writer.

A writing step works on a copy of the file and renames it over the old one when everything has succeeded. A step that
fails, is killed or fills the disk leaves the last good state, and readers keep the file they have opened.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa

from clv.errors import InputError, UnavailableError
from clv.home import replacing
from clv.settings import Settings


class Warehouse(Protocol):
    """What the rest of the project needs of a warehouse."""

    def query(self, sql: str) -> pa.Table:
        """Answer of one SELECT as an Arrow table."""

    def batches(self, sql: str, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Answer of one SELECT as a stream of Arrow batches."""

    def has_table(self, schema: str, table: str) -> bool:
        """Whether the table or view is there."""


class DuckDBWarehouse:
    """A DuckDB file.

    Parameters
    ----------
    path
        The file; need not exist yet.
    threads
        0 means one per core.
    memory_limit
        As DuckDB writes it, for instance ``2GB``.
    """

    def __init__(self, path: Path, threads: int = 0, memory_limit: str = "2GB") -> None:
        self.path = path
        self.threads = threads or os.cpu_count() or 1
        self.memory_limit = memory_limit

    @contextmanager
    def connect(self, path: Path | None = None, *, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file (or the copy at `path`), by default to read.

        Raises
        ------
        InputError
            If there is nothing loaded yet.
        UnavailableError
            If the file is damaged, locked or the disk is full.
        """
        target = path or self.path
        if read_only and not target.exists():
            raise InputError(f"Warehouse {target} does not exist; load a shop first with `clv load PATH`.")
        try:
            connection = duckdb.connect(
                str(target),
                read_only=read_only,
                config={"threads": str(self.threads), "memory_limit": self.memory_limit},
            )
        except duckdb.Error as error:
            raise UnavailableError(f"Warehouse {target} can't be opened: {_first_line(error)}") from error
        try:
            yield connection
            if not read_only:
                connection.execute("checkpoint")
        except (duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException) as error:
            raise UnavailableError(f"Warehouse {target} can't be read or written: {_first_line(error)}") from error
        finally:
            connection.close()

    @contextmanager
    def replacing(self, *, from_copy: bool = True) -> Iterator[Path]:
        """Yield the path of the next version of the file; it takes the place of this one on success."""
        with replacing(self.path) as temporary:
            log = temporary.with_name(temporary.name + ".wal")
            log.unlink(missing_ok=True)
            try:
                if from_copy and self.path.exists():
                    shutil.copyfile(self.path, temporary)
                yield temporary
            finally:
                log.unlink(missing_ok=True)

    def query(self, sql: str) -> pa.Table:
        """Answer of one SELECT as an Arrow table."""
        with self.connect() as connection:
            return connection.sql(sql).to_arrow_table()

    def batches(self, sql: str, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Answer of one SELECT as a stream of Arrow batches."""
        with self.connect() as connection:
            yield from connection.sql(sql).to_arrow_reader(rows)

    def has_table(self, schema: str, table: str) -> bool:
        """Whether the table or view is there."""
        if not self.path.exists():
            return False
        with self.connect() as connection:
            found = connection.execute(
                "select 1 from information_schema.tables where table_schema = ? and table_name = ?", [schema, table]
            ).fetchone()
        return found is not None


def open_warehouse(settings: Settings) -> DuckDBWarehouse:
    """The warehouse that `settings` name.

    Raises
    ------
    InputError
        If the address is not of a known kind.
    """
    kind, _, rest = settings.warehouse.partition("://")
    if kind == "duckdb" and rest.startswith("/") and len(rest) > 1:
        return DuckDBWarehouse(Path(rest[1:]).absolute(), settings.threads, settings.memory_limit)
    raise InputError(f"Warehouse {settings.warehouse!r} is not known; expected duckdb:///PATH.")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
