"""Writes docs/model-card.md: the card of the version in Production in the home of `CLV_HOME`, as `clv train` wrote it.

Made after ``make demo``, so the page shows the synthetic shop's model; ``make docs-generated`` runs it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from clv.settings import Settings
from experiments.console import Console
from experiments.workspace import Workspace

DOCS = Path(__file__).resolve().parent

NOTE = "*The card of `make demo`'s model, of a shop made up in the format of Olist, as `clv train` wrote it.*"


def card() -> str:
    """The card as Markdown."""
    workspace = Workspace(Settings.from_environment(os.environ), Console(quiet=True))
    version = workspace.registry.production()
    if version is None:
        sys.exit("Nothing is in Production; run `make demo` first.")
    found = workspace.tracker.artifact(version.run_id, "model_card.md")
    if found is None:
        sys.exit(f"Version {version.number} has no card; train it anew.")
    return f"{NOTE}\n\n{found.decode()}"


if __name__ == "__main__":
    (DOCS / "model-card.md").write_text(card(), encoding="utf-8")
