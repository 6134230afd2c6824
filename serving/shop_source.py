"""Where the scored shop is read from: always a DuckDB file, the embedded warehouse or a copy of what is in BigQuery."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

import duckdb

from clv.sources.tables import literal
from clv.spill import spill_folder
from serving.problems import Problem

CATALOG = "shop"
"""Name of the attached file; its schemas are those of the warehouse."""

NONE_SCORED = "No shop has been scored yet; `clv score` writes what is shown here."
"""Said where the warehouse holds no predictions."""


class Source(Protocol):
    """Gives cursors on the shop as it is now; one that was given goes on reading what it knows.

    So a connection is never closed, only let go of: DuckDB closes the file with the last cursor, and closing the
    connection would end them all in the middle of their work.
    """

    def start(self) -> None:
        """Begin to follow the shop, where that takes work."""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor; the shop is attached as `CATALOG`.

        Raises
        ------
        Problem
            404 if there is no shop, 503 if it can't be read.
        """

    def close(self) -> None:
        """Let go of the shop."""


class NoShop:
    """No shop to show.

    Parameters
    ----------
    reason
        Why, for those who ask.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def start(self) -> None:
        """Nothing to follow."""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Raise the 404 that says why."""
        raise Problem(404, self._reason)

    def close(self) -> None:
        """Nothing to let go of."""


class WarehouseFile:
    """The embedded warehouse.

    A writer puts a new file in the place of the old one, so the file is opened anew when another one stands there.

    Parameters
    ----------
    file
        The file; need not be there yet.
    threads
        DuckDB's threads.
    """

    def __init__(self, file: Path, threads: int) -> None:
        self._file = file
        self._threads = threads
        self._lock = threading.Lock()
        self._opened: tuple[tuple[int, int, int], duckdb.DuckDBPyConnection] | None = None

    def start(self) -> None:
        """Nothing to follow: the file is looked at when somebody asks."""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor on the file that is there now."""
        with self._lock:
            return self._connection().cursor()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._opened = None

    def _connection(self) -> duckdb.DuckDBPyConnection:
        try:
            stat = self._file.stat()
        except OSError:
            raise Problem(404, NONE_SCORED) from None
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._opened is not None and self._opened[0] == version:
            return self._opened[1]
        try:
            connection = attach(self._file, self._threads)
        except duckdb.Error as error:
            raise Problem(503, f"The warehouse can't be opened: {type(error).__name__}.") from error
        self._opened = version, connection
        return connection


def attach(file: Path, threads: int) -> duckdb.DuckDBPyConnection:
    """A connection that reads `file` as `CATALOG` and nothing else."""
    # Attached to a fresh database in memory: DuckDB shares instances by path and would hand out the old file.
    limits = {"threads": str(threads), "memory_limit": "1GB", "temp_directory": spill_folder()}
    connection = duckdb.connect(":memory:", config=limits)
    try:
        connection.execute(f"attach {literal(str(file))} as {CATALOG} (read_only)")
        connection.execute("set enable_external_access = false")
    except duckdb.Error:
        connection.close()
        raise
    return connection
