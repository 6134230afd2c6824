"""Where logged predictions go: Parquet files in a folder, or a table of a BigQuery warehouse."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from clv.errors import InputError
from clv.home import Home, replacing
from clv.warehouse.protocol import PREDICTION_LOG
from serving.bigquery import is_bigquery, open_bigquery
from serving.settings import ServingSettings

if TYPE_CHECKING:  # Google's clients take a second to import
    from clv.warehouse.bigquery import BigQueryWarehouse


class Place(Protocol):
    """Takes rows.

    Attributes
    ----------
    seconds
        How long rows are collected before they are written together, if the settings do not say.
    rows
        So many are written together before time is up.
    """

    seconds: float
    rows: int

    def write(self, rows: pa.Table) -> None:
        """Keep these rows; raises if they are not kept."""


class Folder:
    """A Parquet file for each write.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    """

    seconds = 30.0
    rows = 50_000

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Setting CLV_PREDICTION_LOG: {path} can't be used as a folder ({error.strerror}); name another or "
                "unset it."
            ) from None
        self.path = path
        self._writer = secrets.token_hex(8)  # services in containers share the process id, and may share the folder
        self._numbers = count(1)

    def write(self, rows: pa.Table) -> None:
        """Write a file."""
        name = f"predictions-{datetime.now(UTC):%Y%m%dT%H%M%S}-{self._writer}-{next(self._numbers):06d}.parquet"
        with replacing(self.path / name) as temporary:
            pq.write_table(rows, temporary)


class WarehouseTable:
    """A load job for each write.

    Parameters
    ----------
    open_warehouse
        Opens the warehouse; called when there is something to write.
    """

    seconds = 300.0
    rows = 500_000
    """288 load jobs a day, or some more; BigQuery takes 1,500 a table, of all services together."""

    def __init__(self, open_warehouse: Callable[[], BigQueryWarehouse]) -> None:
        self._open_warehouse = open_warehouse
        self._warehouse: BigQueryWarehouse | None = None

    def write(self, rows: pa.Table) -> None:
        """Append to the table."""
        self._warehouse = self._warehouse or self._open_warehouse()
        self._warehouse.append(*PREDICTION_LOG, rows, partition_by="predicted_at", cluster_by="customer_id")


def place_of(settings: ServingSettings) -> Place | None:
    """Where these settings say that predictions are logged; None for nowhere.

    Raises
    ------
    InputError
        If a folder can't be made.
    """
    if settings.prediction_log is None:
        return None
    if settings.prediction_log != "warehouse":
        return Folder(Path(settings.prediction_log))
    if is_bigquery(settings):
        return WarehouseTable(partial(open_bigquery, settings))
    # A DuckDB file has one writer, which puts a new file in its place each time: no place to add to every half minute.
    return Folder(Home(settings.common.home).served)
