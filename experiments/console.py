"""What a person sees: steps with a spinner and bars on standard error, results on standard output.

Where standard error is no terminal but a file or a pipe, a step that takes long says now and then where it is, on a
line of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Protocol, Self

import rich.box
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

EVERY_SECONDS = 30.0
"""How often a step says where it is if nobody sees a spinner: short ones never do, and a log stays short."""

WIDTH_OF_A_FILE = 200
"""Width of tables that nobody sees in a terminal."""


class Clock(Protocol):
    """Time as it passes; tests bring their own."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def wait(self, stop: Event, seconds: float) -> bool:
        """Wait until `stop` is set, `seconds` at most; whether it is set."""
        ...


class _RealClock:
    def now(self) -> float:
        return time.monotonic()

    def wait(self, stop: Event, seconds: float) -> bool:
        return stop.wait(seconds)


@dataclass
class Step:
    """A step under way; `note` ends up beside its tick."""

    update: Callable[..., None]
    note: str = ""


class _Spinner:
    """For a terminal: a spinner, and a bar once a total is known."""

    def __init__(self, title: str, console: RichConsole) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=console.quiet,
        )
        self._task = self._progress.add_task(title, total=None, text="")

    def update(self, text: str = "", done: int | None = None, total: int | None = None) -> None:
        self._progress.update(self._task, text=text, completed=done, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


class _Lines:
    """For a file or a pipe: a line every ``EVERY_SECONDS``, whether or not the step moved."""

    def __init__(self, title: str, console: RichConsole, clock: Clock) -> None:
        self._title, self._console, self._clock = title, console, clock
        self._text = ""
        self._done: int | None = None
        self._total: int | None = None
        self._stop = Event()
        self._thread = Thread(target=self._tell, daemon=True)

    def update(self, text: str = "", done: int | None = None, total: int | None = None) -> None:
        self._text = text
        self._done = self._done if done is None else done
        self._total = self._total if total is None else total

    def _tell(self) -> None:
        started = self._clock.now()
        while not self._clock.wait(self._stop, EVERY_SECONDS):
            count = "" if self._done is None or self._total is None else f"{self._done:,}/{self._total:,}"
            where = "  ".join(filter(None, [count, self._text])) or "at work"
            self._console.print(f"… {self._title:<10} {where}  {self._clock.now() - started:.0f} s", markup=False)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


class Console:
    """Where output goes.

    Parameters
    ----------
    quiet
        Show no steps, only results, warnings and errors.
    as_json
        Print results as one JSON document; steps are not shown.
    clock
        The real one by default.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False, clock: Clock | None = None) -> None:
        self.as_json = as_json
        self._clock = clock or _RealClock()
        self._err = RichConsole(stderr=True, quiet=quiet or as_json, highlight=False, soft_wrap=True)
        self._out = RichConsole(quiet=as_json, highlight=False, soft_wrap=True)
        if not self._out.is_terminal:  # a file has no width; 80, rich's guess, cuts tables
            self._out.width = WIDTH_OF_A_FILE

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show where the block is while it runs, then a tick with the time it took.

        The step's ``update(text, done, total)`` moves it.
        """
        started = self._clock.now()
        with self._display(title) as display:
            step = Step(display.update)
            yield step
        took = f"{self._clock.now() - started:.1f} s"
        self._err.print(f"[green]✓[/] {title:<10} {escape(step.note)}  [dim]{took}[/]")

    def _display(self, title: str) -> _Spinner | _Lines:
        if self._err.is_terminal or self._err.quiet:
            return _Spinner(title, self._err)
        return _Lines(title, self._err, self._clock)

    def note(self, text: str) -> None:
        """Something worth knowing, on standard error."""
        self._err.print(f"  {text}", markup=False)

    def warn(self, text: str) -> None:
        """Something to act on; shown even when quiet."""
        RichConsole(stderr=True, highlight=False, soft_wrap=True).print(f"[yellow]![/] {escape(text)}")

    def say(self, text: str, style: str | None = None) -> None:
        """A line of the result; what looks like markup (a path with brackets) is text."""
        self._out.print(text, style=style, markup=False)

    def check(self, passed: bool, text: str) -> None:
        """A line of the result with how it went."""
        self._out.print(f"  {'[green]passed[/]' if passed else '[red]FAILED[/]'} {escape(text)}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table of the result; the first column is text, the others are right-aligned.

        In a terminal that is too narrow for it the last column is broken into lines, then the gaps shrink, and if that
        is not enough all columns are broken: nothing is cut.
        """
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        words = [word for cells in (columns, *rows) for word in cells[-1].split()]
        least = sum(widths[:-1]) + max(map(len, words), default=0)
        room, gaps = self._out.width - 2, len(widths) - 1
        table = Table(
            title=title,
            title_justify="left",
            title_style="bold",
            box=rich.box.SIMPLE_HEAD,
            padding=(0, 1) if least + 3 * gaps <= room else (0, 0),
            pad_edge=False,
        )
        for number, column in enumerate(columns):
            whole = least + gaps <= room and number + 1 < len(columns)
            table.add_column(column, justify="left" if number == 0 else "right", no_wrap=whole, overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        self._out.print(table)

    def result(self, value: Any) -> None:
        """The verb's result as JSON, if JSON was asked for."""
        if self.as_json:
            print(json.dumps(value, default=str))
