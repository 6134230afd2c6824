"""The made-up demo shop: built once by a process of its own, where there is no registry to show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from clv.errors import UnavailableError
from clv.settings import Settings

LABEL = "A demo: the shop is made up, and the model has learnt from it. No real customer, no real money."

Report = Callable[[str, float], object]
"""Told what is being done and the share that is done."""

_ROOT = Path(__file__).resolve().parent.parent


def folder(settings: Settings) -> Path:
    """Where the demo shop lives: a home of its own, so that the user's stays free for their shop."""
    return settings.home / "demo-shop"


def build(where: Path, report: Report) -> Path:
    """The home with the demo shop, built if it is not there yet.

    Raises
    ------
    UnavailableError
        If it can't be built; says why.
    """
    from experiments.demo_shop import home_of  # here, as an app in front of an API elsewhere needs none of it

    there = home_of(where)
    if there is not None:
        return there
    # Settings of the registry that is not there must not lead the shop elsewhere.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CLV_", "MLFLOW_"))}
    kept = {name: os.environ[name] for name in ("CLV_THREADS", "CLV_MEMORY_LIMIT") if name in os.environ}
    environment |= {**kept, "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "experiments.demo_shop", str(where)],
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        for line in process.stdout or ():
            message = json.loads(line)
            if "share" in message:
                report(message["text"], message["share"])
            elif "home" in message:
                return Path(message["home"])
            elif "error" in message:
                raise UnavailableError(f"The demo shop could not be built: {message['error']}")
    raise UnavailableError("The demo shop could not be built; the log of this app says more.")
