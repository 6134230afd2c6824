"""The notebook is kept without outputs, and runs on any shop."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest


@pytest.fixture(scope="module")
def notebook(repository: Path) -> nbformat.NotebookNode:
    return nbformat.read(repository / "notebooks" / "eda.ipynb", as_version=4)


def test_the_notebook_holds_no_outputs(notebook: nbformat.NotebookNode) -> None:
    assert [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []


def test_the_notebook_reads_marts_only(notebook: nbformat.NotebookNode) -> None:
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")

    assert "marts." in code
    assert not any(f"{schema}." in code for schema in ("raw", "staging", "intermediate"))


@pytest.mark.full_scale("executed by `make check`")
@pytest.mark.parametrize("shape", ["olist", "transactions"])
def test_the_notebook_runs_on_a_synthetic_shop(
    shape: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLV_HOME", str(tmp_path / "home"))
    source = str(tmp_path / "made-up" / ("shop" if shape == "olist" else "transactions.csv"))
    for words in (
        ["synth", str(tmp_path / "made-up"), "--customers", "3000", "--shape", shape],
        ["load", source, "--source", shape],
        ["transform"],
    ):
        subprocess.run([sys.executable, "-m", "experiments.cli", *words], check=True, env=os.environ, cwd=repository)

    executed = runpy.run_path(str(repository / "notebooks" / "render.py"))["execute"]()

    outputs = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 7
