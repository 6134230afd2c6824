"""The saved views of MLflow's run list, by what its UI makes of them."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from experiments import views


def state(view: str) -> dict[str, Any]:
    """What the UI reads."""
    packed = json.loads(views.tags()[f"mlflow.sharedViewState.{view}"])["state"].removeprefix("deflate;")
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return found


@pytest.mark.parametrize("view", [views.MODELS, views.TRIALS])
def test_no_run_is_folded_away_and_every_heading_is_read_to_its_end(view: str) -> None:
    """MLflow folds runs away under their parents where the order is by start time, its default."""
    found = state(view)
    assert found["orderByKey"].startswith("metrics.")
    assert found["orderByKey"] in found["selectedColumns"]
    assert found["columnOrder"] == found["selectedColumns"]
    for column in found["selectedColumns"]:
        heading = column.partition(".")[2].strip("`")
        assert found["columnWidths"].get(column, 100) >= 6 * len(heading) + 22, column


def test_the_documentation_names_the_columns_of_the_view(repository: Path) -> None:
    page = (repository / "docs" / "comparing-runs.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.split("| column |")[1].split("\n\n")[0].splitlines()[2:]]
    told = {name for row in rows for name in row.replace("`", "").replace(" ", "").split(",")}
    told = {f"normalized_gini{name}" if name.startswith("_") else name for name in told}
    shown = {column.partition(".")[2].strip("`") for column in state(views.MODELS)["selectedColumns"]}
    assert told == shown
