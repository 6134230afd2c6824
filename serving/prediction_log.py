"""A log of predictions, for later comparison with what really happened; it never holds up a request."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.log_places import Place

SCHEMA = pa.schema(
    [
        ("predicted_at", pa.timestamp("us", "UTC")),
        ("model", pa.string()),
        ("version", pa.string()),
        ("as_of_date", pa.date32()),
        ("horizon_days", pa.int32()),
        ("customer_id", pa.string()),
        ("p_return", pa.float64()),
        ("value_if_return", pa.float64()),
        ("expected_value", pa.float64()),
        ("features_hash", pa.string()),
    ]
)

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
    """Collects predictions and hands them over to a place for them, in a thread of its own.

    What can't be written is tried again with the next; only what there is no room for is dropped.

    Parameters
    ----------
    place
        Where they go.
    capacity
        Most predictions that wait to be written; what comes on top is dropped and counted.
    seconds
        How long they are collected before they are written together; by default what suits the place.

    Attributes
    ----------
    written, dropped
        Predictions so far.
    failures
        Attempts to write that failed so far.
    """

    def __init__(self, place: Place, capacity: int, seconds: float | None = None) -> None:
        self.written = 0
        self.dropped = 0
        self.failures = 0
        self._place = place
        self._capacity = capacity
        self._enough = min(place.rows, max(1, capacity // 2))
        self._seconds = seconds or place.seconds
        self._waiting = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[datetime, Entry] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="clv-prediction-log", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 20) -> None:
        """Write what waits and end."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout=seconds)
            if self._thread.is_alive():
                _logger.error("%d predictions were not logged in %g s and are lost", self._waiting, seconds)

    def add(self, entry: Entry) -> None:
        """Hand over a request's predictions; returns at once, whatever the place does."""
        rows = len(entry.ids)
        with self._lock:
            if self._waiting + rows > self._capacity:
                self.dropped += rows
                return
            self._waiting += rows
        self._queue.put((datetime.now(UTC), entry))

    def _run(self) -> None:
        tables: list[pa.Table] = []
        is_open = True
        while is_open:
            is_open = self._collect(tables)
            if tables and self._write(tables):
                tables.clear()
        self._drop(sum(map(len, tables)))

    def _collect(self, tables: list[pa.Table]) -> bool:
        """Wait until there are enough predictions or it is time to write those there are; whether the log goes on.

        Some that are there already could not be written: however many come on top, it is too early to try again.
        """
        is_retry = bool(tables)
        deadline = time.monotonic() + self._seconds if is_retry else None
        rows = 0
        while is_retry or rows < self._enough:
            try:
                item = self._queue.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return True
            if item is None:
                return False
            try:
                tables.append(_table(*item))
            except Exception:
                # One request must not end the log for all others.
                _logger.exception("A request's predictions can't be logged")
                self._drop(len(item[1].ids))
                continue
            rows += len(item[1].ids)
            deadline = deadline or time.monotonic() + self._seconds
        return True

    def _write(self, tables: list[pa.Table]) -> bool:
        """Hand over the predictions; whether that went well."""
        rows = sum(map(len, tables))
        try:
            self._place.write(pa.concat_tables(tables))
        except Exception as error:
            # A full disk or a warehouse that is away must not end the log, let alone the service.
            _logger.error("%d predictions can't be logged now: %s", rows, error)
            self.failures += 1
            return False
        with self._lock:
            self.written += rows
            self._waiting -= rows
        return True

    def _drop(self, rows: int) -> None:
        with self._lock:
            self.dropped += rows
            self._waiting -= rows


def _table(at: datetime, entry: Entry) -> pa.Table:
    rows = len(entry.ids)
    return pa.table(
        [
            [at] * rows,
            [entry.model] * rows,
            [entry.version] * rows,
            [None if entry.as_of_date is None else date.fromisoformat(entry.as_of_date)] * rows,
            [entry.horizon_days] * rows,
            list(entry.ids),
            entry.p_return,
            entry.value_if_return,
            entry.expected_value,
            [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in entry.matrix],
        ],
        schema=SCHEMA,
    )
