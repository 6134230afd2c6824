"""Threads that share out the work of one request; XGBoost works outside Python's lock, with one thread a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Done = TypeVar("Done")


class Helpers:
    """So many threads for all requests together: OpenMP's would be as many for each, and get in each other's way.

    Parameters
    ----------
    count
        Threads.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="clv-helper")

    def map(self, work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> list[Done]:
        """Do the work on all pieces; the answers come in their order."""
        return list(self._pool.map(work, pieces))

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()
