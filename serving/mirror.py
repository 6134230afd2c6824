"""The scored shop of a BigQuery warehouse as a local copy: read once per scoring, then every page is free and quick."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from clv.errors import ClvError, first_line
from clv.spill import spill_folder
from serving.follower import Follower
from serving.problems import Problem
from serving.shop_source import NONE_SCORED, attach

if TYPE_CHECKING:  # Google's clients take a second to import
    from clv.warehouse.bigquery import BigQueryWarehouse

PURCHASE_COLUMNS = (
    "customer_id",
    "purchase_date",
    "amount",
    "return_amount",
    "order_count",
    "item_count",
    "category",
    "payment_type",
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What can be told of the copy; replaced as a whole, never changed.

    Attributes
    ----------
    copied
        When the predictions in the copy were written in BigQuery; None if there is no copy.
    at
        When they were copied.
    copies, failures
        Copies made, and looks that failed, so far.
    trouble
        Why the last look failed, if it did.
    is_known
        Whether a look has succeeded yet.
    """

    copied: datetime | None = None
    at: datetime | None = None
    copies: int = 0
    failures: int = 0
    trouble: str | None = None
    is_known: bool = False


class Mirror:
    """Looks in a thread of its own whether the shop was scored anew, and then copies it; a request never waits for it.

    To look costs nothing, and a copy is read by the Storage Read API alone: no query is run. The copy lies in a
    temporary file that loses its name as soon as it is open: nobody else can read it, and however the process ends,
    nothing is left behind. Whatever fails, the last good copy stays.

    Parameters
    ----------
    open_warehouse
        Opens the warehouse.
    address
        Its address, for messages.
    threads
        DuckDB's threads for requests.
    seconds
        Time between two looks.

    Attributes
    ----------
    state
        What can be told of the copy.
    """

    def __init__(
        self, open_warehouse: Callable[[], BigQueryWarehouse], address: str, threads: int, seconds: float
    ) -> None:
        self.state = State()
        self._open_warehouse = open_warehouse
        self._address = address
        self._threads = threads
        self._seconds = seconds
        self._warehouse: BigQueryWarehouse | None = None
        self._copy: duckdb.DuckDBPyConnection | None = None
        self._lock = threading.Lock()
        self._follower = Follower("clv-mirror", self.refresh, seconds)

    def start(self) -> None:
        """Begin to follow the shop; returns at once."""
        self._follower.start()

    def close(self) -> None:
        """Stop following and drop the copy."""
        self._follower.stop(timeout=5)
        self._swap(None)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor on the last good copy."""
        with self._lock:
            if self._copy is not None:
                return self._copy.cursor()
        state = self.state
        if state.trouble is None and state.is_known:
            raise Problem(404, NONE_SCORED)
        reason = state.trouble or "It is being copied; try again in a moment."
        raise Problem(
            503,
            f"The scored shop in {self._address} is not here yet. {reason}",
            headers={"Retry-After": str(max(1, round(self._seconds)))},
        )

    def refresh(self) -> bool:
        """Look once, and copy the shop if it was scored anew; whether that went well."""
        before = self.state
        try:
            self.state = self._next(before)
        except Exception as error:
            if self._follower.ending.is_set():
                return False
            # Whatever BigQuery, the network or the disk does, the service goes on with what it has.
            is_expected = isinstance(error, ClvError)
            trouble = str(error) if is_expected else f"{type(error).__name__}: {first_line(error)}"
            self.state = replace(self.state, trouble=trouble, failures=before.failures + 1)
            if before.trouble != trouble:
                _logger.warning("The scored shop can't be copied: %s", trouble, exc_info=not is_expected)
        return self.state.trouble is None

    def _next(self, before: State) -> State:
        self._warehouse = self._warehouse or self._open_warehouse()
        changed = self._warehouse.changed_at("marts", "customer_predictions")
        if changed is None:
            self._swap(None)
            return replace(before, copied=None, at=None, trouble=None, is_known=True)
        if changed == before.copied:
            return replace(before, trouble=None)
        started = time.monotonic()
        copy, customers, size = self._made(self._warehouse)
        self._swap(copy)
        _logger.info(
            "The scored shop was copied from %s: %d customers, %.1f MB, in %.1f s",
            *(self._address, customers, size / 1e6, time.monotonic() - started),
        )
        return State(changed, datetime.now(UTC), before.copies + 1, before.failures, None, is_known=True)

    def _swap(self, copy: duckdb.DuckDBPyConnection | None) -> None:
        """Put a copy in the place of the former, which is gone with the last cursor on it."""
        with self._lock:
            self._copy = copy

    def _made(self, warehouse: BigQueryWarehouse) -> tuple[duckdb.DuckDBPyConnection, int, int]:
        """A new copy, its customers and its bytes."""
        with tempfile.TemporaryDirectory(prefix="clv-shop-") as folder:
            file = Path(folder) / "shop.duckdb"
            limits = {"threads": "1", "memory_limit": "256MB", "temp_directory": spill_folder()}
            with duckdb.connect(str(file), config=limits) as connection:
                customers = self._fill(connection, warehouse)
            return attach(file, self._threads), customers, file.stat().st_size

    def _fill(self, connection: duckdb.DuckDBPyConnection, warehouse: BigQueryWarehouse) -> int:
        """Copy the predictions, and of those customers the purchases and features of the as-of day."""
        connection.execute("create schema marts")
        self._write(connection, "customer_predictions", warehouse.scan("marts", "customer_predictions"))
        [(customers, day)] = connection.execute(
            "select count(*), any_value(as_of_date) from marts.customer_predictions"
        ).fetchall()
        if customers:
            known = f"purchase_date <= cast('{day}' as date)"
            self._write(connection, "purchases", warehouse.scan("marts", "purchases", PURCHASE_COLUMNS, known))
            of_the_day = f"cutoff_date = cast('{day}' as date)"
            self._write(connection, "customer_snapshots", warehouse.scan("marts", "customer_snapshots", (), of_the_day))
        return int(customers)

    def _write(self, connection: duckdb.DuckDBPyConnection, table: str, batches: Iterable[pa.RecordBatch]) -> None:
        for number, batch in enumerate(batches):
            if self._follower.ending.is_set():
                raise InterruptedError
            connection.register("batch", batch)
            connection.execute(
                f"insert into marts.{table} from batch" if number else f"create table marts.{table} as from batch"
            )
            connection.unregister("batch")
