"""Who reads a log sees that long work goes on, and where it is; short work says no more than that it is done."""

import io
import re
import sys
from threading import Event, Semaphore

import pytest

from experiments.console import EVERY_SECONDS, Console


class Clock:
    """Time passes when the test says so; who waits by it has had their say before the test goes on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.was_waited_by = False
        self._waiting, self._due = Semaphore(0), Semaphore(0)

    def now(self) -> float:
        return self.seconds

    def wait(self, stop: Event, seconds: float) -> bool:
        self.was_waited_by = True
        self._waiting.release()
        while not (stop.is_set() or self._due.acquire(timeout=0.01)):
            pass
        return stop.is_set()

    def pass_by(self) -> None:
        """``EVERY_SECONDS`` later."""
        self._waiting.acquire()
        self.seconds += EVERY_SECONDS
        self._due.release()
        self._waiting.acquire()
        self._waiting.release()


def test_a_long_step_says_now_and_then_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Console(clock=clock).step("tune") as step:
        step.update("encoding folds")
        clock.pass_by()
        for trial in range(1, 8):
            step.update(f"best [cv] gini 0.{trial}", trial, 12)
        clock.pass_by()
        clock.pass_by()
        step.update("choosing the recipe")
        clock.pass_by()
        step.note = "12 trials"
    assert capsys.readouterr().err.splitlines() == [
        "… tune       encoding folds  30 s",
        "… tune       7/12  best [cv] gini 0.7  60 s",
        "… tune       7/12  best [cv] gini 0.7  90 s",
        "… tune       7/12  choosing the recipe  120 s",
        "✓ tune       12 trials  120.0 s",
    ]


def test_a_short_step_only_says_that_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Console(clock=clock).step("load") as step:
        for row in range(1000):
            step.update("", row, 1000)
        clock.seconds += 29
        step.note = "1,000 rows"
    assert capsys.readouterr().err.splitlines() == ["✓ load       1,000 rows  29.0 s"]


def test_a_step_that_fails_falls_silent(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()

    def fail() -> None:
        with Console(clock=clock).step("train"):
            clock.pass_by()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capsys.readouterr().err.splitlines() == ["… train      at work  30 s"]


@pytest.mark.parametrize("how", ["quiet", "as_json"])
def test_who_wants_no_steps_gets_no_lines(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Console(quiet=how == "quiet", as_json=how == "as_json", clock=clock).step("score") as step:
        step.update("", 1, 2)
    assert capsys.readouterr().err == ""
    assert not clock.was_waited_by


def test_a_terminal_has_its_spinner_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = io.StringIO(), Clock()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Console(clock=clock).step("score") as step:
        step.update("", 1, 2)
    assert "✓" in terminal.getvalue()
    assert not clock.was_waited_by


@pytest.mark.parametrize("columns", [None, 100, 80, 60])
def test_no_figure_of_a_table_is_cut(
    columns: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if columns:  # a terminal
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
    names = ["predictions", "customers", "back", "expected", "Gini", "interval", "promised", "why"]
    row = ["version 2, 2018-05-31 +90 d", "94,990", "1,500", "1,179", "-0.520", "-0.61 to -0.43", "0.77 to 0.84", ""]
    row[-1] = "complaints from the shop " * 5
    Console().table("Predictions whose window has closed", names[:-1], [row[:-1]])
    Console().table("with words at its end", [*names[:4], names[-1]], [[*row[:4], row[-1]]])
    told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "\u2026" not in told  # an ellipsis
    assert {"94,990", "1,179", "-0.520", "-0.43", "0.84", "1,500"} <= set(told.split())
    assert told.count("complaints") == 5
    assert not columns or max(map(len, told.splitlines())) <= columns
