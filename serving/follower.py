"""Following something that changes elsewhere, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Follower:
    """Looks again and again, and waits twice as long after each look in a row that asks for it.

    Parameters
    ----------
    name
        Of the thread.
    look
        Looks once; False to wait longer, as after trouble. Must not raise.
    seconds
        Time between two looks.
    longest
        Looks are at most this many times as far apart.

    Attributes
    ----------
    ending
        Set when it is told to end, for looks that take long.
    """

    def __init__(self, name: str, look: Callable[[], bool], seconds: float, longest: int = 40) -> None:
        self.ending = threading.Event()
        self._look = look
        self._seconds = seconds
        self._longest = longest
        # A daemon: who is looked at may hang, which must not keep the process from ending.
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)

    def start(self) -> None:
        """Begin to look; returns at once."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End, and wait so many seconds for a look that is going on."""
        self.ending.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _follow(self) -> None:
        failures = 0
        while not self.ending.is_set():
            failures = 0 if self._look() else failures + 1
            self.ending.wait(self._seconds * min(2**failures, self._longest))
