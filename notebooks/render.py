"""Executes eda.ipynb on the shop of `CLV_HOME` and writes docs/eda.md with its figures; `make docs-notebook`.

The notebook itself is kept without outputs: it ships no customer data, and a difference in git is a difference in code.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from traitlets.config import Config

NOTEBOOK = Path(__file__).resolve().with_name("eda.ipynb")
DOCS = NOTEBOOK.parent.parent / "docs"


def execute() -> nbformat.NotebookNode:
    """Run every cell from the repository's root; the first error ends it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    return notebook


def render(notebook: nbformat.NotebookNode) -> None:
    """Write docs/eda.md and docs/images/eda/, without the code."""
    figures = DOCS / "images" / "eda"
    shutil.rmtree(figures, ignore_errors=True)
    figures.mkdir(parents=True)
    exporter = MarkdownExporter(config=Config({"MarkdownExporter": {"exclude_input": True}}))
    text, resources = exporter.from_notebook_node(notebook)
    for name, data in resources["outputs"].items():
        (figures / name).write_bytes(data)
        text = text.replace(f"]({name})", f"](images/eda/{name})")
    text = re.sub(r"<style scoped>.*?</style>\n", "", text, flags=re.DOTALL)
    text = re.sub(r"!\[png\]", "![figure]", text)
    text = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n{3,}", "\n\n", text)).strip()
    (DOCS / "eda.md").write_text(re.sub(r"\n{3,}", "\n\n", text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    render(execute())
