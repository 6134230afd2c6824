"""What a benchmark found, kept as FOLDER/NAME.json: the docs are written from docs/results by `benchmarks.results`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from clv.machine import usable_cores

Rows = Sequence[Sequence[object]]

OUTPUT_HELP = "also write FOLDER/NAME.json; docs/results is what the docs show"


def save(folder: Path | None, name: str, *, table: Rows = (), **figures: float | str | Rows) -> None:
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
        Single numbers that a sentence of the docs quotes, rounded as it does, and further tables; `cores` if not all
        that there are.
    """
    if folder is None:
        return
    cells = [[str(cell) for cell in row] for row in table]
    record = {"date": date.today().isoformat(), "cores": usable_cores()} | figures | {"table": cells}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
