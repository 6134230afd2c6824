"""What a benchmark found, kept as FOLDER/NAME.json: the docs are written from docs/results by `benchmarks.results`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

OUTPUT_HELP = "also write FOLDER/NAME.json; docs/results is what the docs show"


def save(folder: Path | None, name: str, *, table: Sequence[Sequence[object]] = (), **figures: float | str) -> None:
    """Write the record of a benchmark, if a folder is given.

    Parameters
    ----------
    folder
        `docs/results`, or any other; None writes nothing.
    name
        Of the record: the docs name it between `<!-- ` and ` -->`.
    table
        Rows as the docs show them, the head first.
    **figures
        Single numbers that a sentence of the docs quotes, rounded as it does; `cores` if not all that there are.
    """
    if folder is None:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cells = [[str(cell) for cell in row] for row in table]
    record = {"date": date.today().isoformat(), "cores": cores} | figures | {"table": cells}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
