"""``python -m experiments.demo_shop FOLDER``: a home with a small made-up shop and its model, for the app to show.

A process of its own, so that what training takes is given back when it ends. On standard output it says how far it is,
one JSON object a line: ``{"share": 0.4, "text": "..."}``, in the end ``{"home": ...}`` or ``{"error": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clv import __version__
from clv.errors import ClvError, UnavailableError
from clv.home import disk_errors, remove
from experiments.cli import quieten
from experiments.console import Console, Step

CUSTOMERS = 4_000
TRIALS = 3

_MARK = "built.json"

_STEPS = {
    "synth": (0.00, "Making up a shop"),
    "load": (0.02, "Loading its files into the warehouse"),
    "transform": (0.04, "Building and testing features with dbt"),
    "tune": (0.44, "Searching for a good recipe"),
    "train": (0.55, "Testing it out of time and training the model"),
    "gate": (0.94, "Asking the gate"),
    "score": (0.96, "Predicting every customer"),
}
"""Where each step of the chain begins as a share of the whole, and what people are told."""

Say = Callable[[dict[str, Any]], None]


def home_of(folder: Path) -> Path | None:
    """The home in `folder`; None until it is complete and of this version of clv."""
    try:
        mark = json.loads((folder / _MARK).read_text())
    except (OSError, ValueError):
        return None
    return folder / "home" if mark.get("clv") == __version__ else None


def build(folder: Path, say: Say, *, customers: int = CUSTOMERS, trials: int = TRIALS) -> Path:
    """Build the home unless it is there; who comes second waits for the first.

    Raises
    ------
    UnavailableError
        If the folder can't be written, or the gate refuses the model.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say({"share": 0.0, "text": "Somebody else is building it"})
            lock.acquire()
    try:
        built = home_of(folder)
        if built is not None:
            return built
        home = folder / "home"
        remove(home)  # what a killed process left behind
        _run(home, say, customers, trials)
        with disk_errors(folder):
            (folder / _MARK).write_text(json.dumps({"clv": __version__, "customers": customers}) + "\n")
    finally:
        lock.release()
    return home


def _run(home: Path, say: Say, customers: int, trials: int) -> None:
    from clv.settings import Settings
    from experiments.demo import build as run_chain
    from experiments.workspace import Workspace

    os.environ["CLV_HOME"] = str(home)
    workspace = Workspace(Settings(home=home), _Teller(say))
    result = run_chain(workspace, customers=customers, trials=trials)
    if result.refused:
        raise UnavailableError(f"The demo shop has no model to show: {result.refused}")


class _Teller(Console):
    """Says where the chain is instead of drawing it."""

    def __init__(self, say: Say) -> None:
        super().__init__(quiet=True)
        self._say = say

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Say that a step begins, and each move of it."""
        starts = [*(share for share, _ in _STEPS.values()), 1.0]
        begin, text = _STEPS[title]
        end = starts[starts.index(begin) + 1]

        def update(detail: str = "", done: int | None = None, total: int | None = None) -> None:
            share = begin + (end - begin) * done / total if done is not None and total else begin
            self._say({"share": round(share, 3), "text": text})

        update()
        yield Step(update)


def main() -> int:
    """Build the home in the folder that is named; returns the exit code."""
    quieten()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")  # nobody else's print may come between
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        say({"home": str(build(Path(sys.argv[1]), say))})
    except ClvError as error:
        say({"error": str(error)})
        return error.exit_code
    except BrokenPipeError:  # the app that wanted it has ended; the next one builds it anew
        return UnavailableError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
