"""A thread that looks again and again, and less often while looks fail."""

import threading
import time

import pytest

from serving.follower import Follower


class Clock(threading.Event):
    """Time that passes at once, until so many waits are over."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._most = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0)
        if len(self.waits) == self._most:
            self.set()
        return True


@pytest.mark.parametrize(
    ("longest", "waits"), [(40, [30, 60, 120, 240, 480, 600, 600, 15, 30]), (4, [30, 60, 60, 60, 60, 60, 60, 15, 30])]
)
def test_looks_that_fail_get_rarer_until_one_succeeds(longest: int, waits: list[float]) -> None:
    looks = iter([False] * 7 + [True, False])
    follower = Follower("clv-test", lambda: next(looks), 15, longest)
    follower.ending = Clock(len(waits))
    follower.start()
    follower.stop(timeout=5)
    assert follower.ending.waits == waits


def test_it_ends_when_it_is_told_to() -> None:
    looks: list[str] = []

    def look() -> bool:
        looks.append(threading.current_thread().name)
        return True

    follower = Follower("clv-test", look, 60)
    follower.stop(timeout=1)  # that it never began is no error
    follower = Follower("clv-test", look, 60)
    follower.start()
    started = time.monotonic()
    while not looks:
        assert time.monotonic() - started < 5
    follower.stop(timeout=30)
    assert time.monotonic() - started < 10
    assert looks == ["clv-test"]
    assert "clv-test" not in [thread.name for thread in threading.enumerate()]
