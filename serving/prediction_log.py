"""A log of predictions, for later comparison with what really happened; it never holds up a request."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clv.errors import InputError
from clv.home import replacing

SCHEMA = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),
        ("model", pa.string()),
        ("version", pa.string()),
        ("as_of_date", pa.string()),
        ("horizon_days", pa.int32()),
        ("customer_id", pa.string()),
        ("p_return", pa.float64()),
        ("value_if_return", pa.float64()),
        ("expected_value", pa.float64()),
        ("features_hash", pa.string()),
    ]
)

_ROWS_PER_FILE = 50_000
_SECONDS_PER_FILE = 30.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """The predictions of one request.

    Attributes
    ----------
    model, version, horizon_days
        Which model answered.
    as_of_date
        Day of the features where the request names it; else None: whoever sends features knows their day, the service
        does not.
    ids, p_return, value_if_return, expected_value
        The answers.
    matrix
        The encoded features, of which a hash is kept.
    """

    model: str
    version: str | None
    horizon_days: int
    as_of_date: str | None
    ids: Sequence[str]
    p_return: NDArray[np.float64]
    value_if_return: NDArray[np.float64]
    expected_value: NDArray[np.float64]
    matrix: NDArray[np.float32]


class PredictionLog:
    """Parquet files in a folder, written by a thread of its own.

    Parameters
    ----------
    folder
        Where the files go; made if it is not there.
    capacity
        Most predictions that wait to be written; what comes on top is dropped and counted.

    Attributes
    ----------
    written, dropped
        Predictions so far.
    """

    def __init__(self, folder: Path, capacity: int) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Setting CLV_PREDICTION_LOG = {str(folder)!r} can't be used as a folder ({error.strerror}); name "
                "another or unset it."
            ) from None
        self.folder = folder
        self.written = 0
        self.dropped = 0
        self._capacity = capacity
        self._waiting = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[datetime, Entry] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._files = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="clv-prediction-log", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 10) -> None:
        """Write what waits and end."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout=seconds)

    def add(self, entry: Entry) -> None:
        """Hand over a request's predictions; returns at once, whatever the disk does."""
        rows = len(entry.ids)
        with self._lock:
            if self._waiting + rows > self._capacity:
                self.dropped += rows
                return
            self._waiting += rows
        self._queue.put((datetime.now(UTC), entry))

    def _run(self) -> None:
        is_open = True
        while is_open:
            entries: list[tuple[datetime, Entry]] = []
            rows, deadline = 0, None
            while rows < _ROWS_PER_FILE:
                try:
                    item = self._queue.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
                if item is None:
                    is_open = False
                    break
                entries.append(item)
                rows += len(item[1].ids)
                deadline = deadline or time.monotonic() + _SECONDS_PER_FILE
            if entries:
                self._write(entries, rows)

    def _write(self, entries: list[tuple[datetime, Entry]], rows: int) -> None:
        self._files += 1
        name = f"predictions-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{self._files:06d}.parquet"
        try:
            table = pa.concat_tables([_table(at, entry) for at, entry in entries])
            with replacing(self.folder / name) as temporary:
                pq.write_table(table, temporary)
        except Exception as error:
            # A full disk must not end the log, let alone the service: it is counted, and the next file may fit.
            _logger.error("%d predictions can't be logged: %s", rows, error)
            with self._lock:
                self.dropped += rows
                self._waiting -= rows
            return
        with self._lock:
            self.written += rows
            self._waiting -= rows


def _table(at: datetime, entry: Entry) -> pa.Table:
    rows = len(entry.ids)
    return pa.table(
        [
            [at] * rows,
            [entry.model] * rows,
            [entry.version] * rows,
            [entry.as_of_date] * rows,
            [entry.horizon_days] * rows,
            list(entry.ids),
            entry.p_return,
            entry.value_if_return,
            entry.expected_value,
            [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in entry.matrix],
        ],
        schema=SCHEMA,
    )
