"""The embedded warehouse: one DuckDB file, read by many, replaced as a whole by one writer.

A writing step works on a copy of the file and renames it over the old one when everything has succeeded. A step that
fails, is killed or fills the disk leaves the last good state, and readers keep the file they have opened.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout

from clv.errors import InputError, UnavailableError, first_line
from clv.home import disk_errors, remove, replacing
from clv.machine import usable_cores
from clv.settings import Settings
from clv.sources.tables import literal
from clv.spill import spill_folder
from clv.warehouse.protocol import SCHEMAS, NextTables


class DuckDBWarehouse:
    """A DuckDB file.

    Parameters
    ----------
    path
        The file; need not exist yet.
    threads
        0 means one per core that this process may use.
    memory_limit
        As DuckDB writes it, for instance ``2GB``.
    lock_wait_seconds
        How long a second writer waits for the first.
    """

    def __init__(self, path: Path, threads: int = 0, memory_limit: str = "2GB", lock_wait_seconds: float = 60) -> None:
        self.path = path
        self.threads = threads or usable_cores()
        self.memory_limit = memory_limit
        self.lock_wait_seconds = lock_wait_seconds

    @property
    def address(self) -> str:
        """The file."""
        return str(self.path)

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
                config={
                    "threads": str(self.threads),
                    "memory_limit": self.memory_limit,
                    "temp_directory": f"{target}.spill-{os.getpid()}",  # of this process alone: others may read, too
                },
            )
        except duckdb.Error as error:
            raise UnavailableError(f"Warehouse {target} can't be opened: {first_line(error)}") from error
        try:
            with _commit_errors(target):
                yield connection
                if not read_only:
                    connection.execute("checkpoint")
        except (duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException) as error:
            raise UnavailableError(f"Warehouse {target} can't be read or written: {first_line(error)}") from error
        finally:
            connection.close()

    @contextmanager
    def replacing(self, *, from_copy: bool = True) -> Iterator[Path]:
        """Yield the path of the next version of the file; it takes the place of this one on success.

        Raises
        ------
        UnavailableError
            If another process writes the file for longer than the wait, or it can't be written.
        """
        with self._locked(), replacing(self.path) as temporary:
            log = temporary.with_name(temporary.name + ".wal")
            log.unlink(missing_ok=True)
            try:
                if from_copy and self.path.exists():
                    shutil.copyfile(self.path, temporary)
                yield temporary
            finally:
                log.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other writers out: a home's lock does not, for two homes may name the same file."""
        lock = FileLock(self.path.with_name(f".lock.{self.path.stem}"), timeout=self.lock_wait_seconds)
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                raise UnavailableError(
                    f"Warehouse {self.path} is being written by another process; wait for it to end and try again."
                ) from None
        try:
            yield
        finally:
            lock.release()

    def query(self, sql: str, parameters: Mapping[str, str] | None = None) -> pa.Table:
        """Answer of one SELECT as an Arrow table; ``$name`` stands for a parameter."""
        with self.connect() as connection:
            return connection.sql(sql, params=dict(parameters or {})).to_arrow_table()

    def batches(self, sql: str, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Answer of one SELECT as a stream of Arrow batches."""
        with self.connect() as connection:
            yield from connection.sql(sql).to_arrow_reader(rows)

    def frame(self, sql: str) -> pd.DataFrame:
        """Answer of one SELECT as a frame, for a person to look at."""
        with self.connect() as connection:
            answer: pd.DataFrame = connection.sql(sql).df()
        return answer

    def columns(self, schema: str, table: str) -> tuple[str, ...]:
        """Columns of the table or view, none if it isn't there."""
        if not self.path.exists():
            return ()
        with self.connect() as connection:
            found = connection.execute(
                "select column_name from information_schema.columns where table_schema = ? and table_name = ? "
                "order by ordinal_position",
                [schema, table],
            ).fetchall()
        return tuple(name for (name,) in found)

    def has_table(self, schema: str, table: str) -> bool:
        """Whether the table or view is there."""
        return bool(self.columns(schema, table))

    def write_table(self, schema: str, table: str, batches: Iterable[pa.RecordBatch], columns: pa.Schema) -> None:
        """Create the table from Arrow batches, in the place of the former one; on failure that one stays."""
        with self.replacing() as copy, self.connect(copy, read_only=False) as connection:
            connection.execute(f"create schema if not exists {schema}")
            connection.register("batches", pa.RecordBatchReader.from_batches(columns, batches))
            connection.execute(f"create or replace table {schema}.{table} as select * from batches")

    @contextmanager
    def loading(self, *, former: Mapping[str, str] | None, workspace: Path) -> Iterator[NextTables]:
        """Yield the next version of the file: a copy, or an empty one; it takes the place of this one on success."""
        with self.replacing(from_copy=former is not None) as next_file:
            yield NextTables(next_file)

    def erase(
        self, marks: Mapping[str, Sequence[str]], updates: Sequence[str] = (), schemas: Sequence[str] = SCHEMAS
    ) -> dict[str, int]:
        """Delete the marked rows in a copy, and write that anew: a DuckDB file keeps the bytes of deleted rows."""
        with self.connect() as connection:
            tables = _tables_with(connection, schemas, list(marks))
            counts = {table: _count(connection, table, columns, marks) for table, columns in tables.items()}
        counts = {table: count for table, count in counts.items() if count}
        if not counts:
            return {}
        with self.replacing() as copy:
            with self.connect(copy, read_only=False) as connection:
                connection.execute("begin")
                for table in counts:
                    connection.execute(f"delete from {table} where {_marked(tables[table])}", _of(marks, tables[table]))
                for update in updates:
                    connection.execute(update)
                connection.execute("commit")
            self._rewrite(copy)
        return counts

    def _rewrite(self, path: Path) -> None:
        """Copy table by table into a fresh file, which takes the place of this one."""
        fresh = path.with_name(path.name + ".fresh")
        remove(fresh)
        try:
            with self.connect(fresh, read_only=False) as connection:
                connection.execute(f"attach {literal(str(path))} as former (read_only)")
                [(current,)] = connection.execute("select current_database()").fetchall()
                connection.execute(f'copy from database former to "{current}"')
                connection.execute("detach former")
            fresh.replace(path)
        finally:
            remove(fresh)


def in_memory(settings: Settings | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory, within the limits of the settings (or the default ones); it spills into temporary files."""
    settings = settings or Settings()
    limits = {"threads": str(settings.threads), "memory_limit": settings.memory_limit}
    return duckdb.connect(config={**limits, "temp_directory": spill_folder()})


def _tables_with(
    connection: duckdb.DuckDBPyConnection, schemas: Sequence[str], names: Sequence[str]
) -> dict[str, list[str]]:
    """Tables (not views) of these schemas that have some of these columns, and which."""
    rows = connection.execute(
        "select table_schema || '.' || table_name, list(column_name) from information_schema.columns "
        "inner join information_schema.tables using (table_catalog, table_schema, table_name) "
        "where table_type = 'BASE TABLE' and list_contains($schemas, table_schema) "
        "and list_contains($names, column_name) group by 1 order by 1",
        {"schemas": list(schemas), "names": list(names)},
    ).fetchall()
    return dict(rows)


def _count(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str], marks: Mapping[str, Sequence[str]]
) -> int:
    sql = f"select count(*) from {table} where {_marked(columns)}"
    return int(connection.execute(sql, _of(marks, columns)).fetchall()[0][0])


def _marked(columns: Sequence[str]) -> str:
    """The WHERE that finds marked rows."""
    return " or ".join(f"list_contains(${column}, {column})" for column in columns)


def _of(marks: Mapping[str, Sequence[str]], columns: Sequence[str]) -> dict[str, Sequence[str]]:
    """The marks in these columns: DuckDB takes no parameter that a statement doesn't name."""
    return {column: marks[column] for column in columns}


@contextmanager
def _commit_errors(path: Path) -> Iterator[None]:
    """A commit fails only where the disk does: the file is ours alone."""
    try:
        yield
    except duckdb.TransactionException as error:
        raise UnavailableError(f"Warehouse {path} can't be written: {first_line(error)}") from error
