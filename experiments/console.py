"""What a person sees: steps with a spinner and bars on standard error, results on standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import rich.box
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


@dataclass
class Step:
    """A step under way; `note` ends up beside its tick."""

    update: Callable[..., None]
    note: str = ""


class Console:
    """Where output goes.

    Parameters
    ----------
    quiet
        Show no steps, only results, warnings and errors.
    as_json
        Print results as one JSON document; steps are not shown.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.as_json = as_json
        self._err = RichConsole(stderr=True, quiet=quiet or as_json, highlight=False, soft_wrap=True)
        self._out = RichConsole(quiet=as_json, highlight=False, soft_wrap=True)
        if not self._out.is_terminal:  # a file has no width; 80, rich's guess, cuts tables
            self._out.width = 100

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a spinner (a bar once a total is known) while the block runs, then a tick with the time it took.

        The step's ``update(text, done, total)`` moves it.
        """
        started = time.monotonic()
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", style="dim"),
            TimeElapsedColumn(),
            console=self._err,
            transient=True,
            disable=not self._err.is_terminal or self._err.quiet,
        )
        task = progress.add_task(title, total=None, text="")

        def update(text: str = "", done: int | None = None, total: int | None = None) -> None:
            progress.update(task, text=text, completed=done, total=total)

        step = Step(update)
        with progress:
            yield step
        took = f"{time.monotonic() - started:.1f} s"
        self._err.print(f"[green]✓[/] {title:<10} {escape(step.note)}  [dim]{took}[/]")

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
        """A table of the result; the first column is text, the others are right-aligned."""
        table = Table(
            title=title,
            title_justify="left",
            title_style="bold",
            box=rich.box.SIMPLE_HEAD,
            padding=(0, 1),
            pad_edge=False,
        )
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right", no_wrap=number + 1 < len(columns))
        for row in rows:
            table.add_row(*map(escape, row))
        self._out.print(table)

    def result(self, value: Any) -> None:
        """The verb's result as JSON, if JSON was asked for."""
        if self.as_json:
            print(json.dumps(value, default=str))
