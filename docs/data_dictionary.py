"""Writes docs/data-dictionary.md from the YAML beside the marts, the only place where columns are described.

Run by ``make docs-generated``; a test fails when the page and the YAML disagree.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parent
MARTS = DOCS.parent / "dbt" / "models" / "marts"

HEAD = """# Data dictionary

Every column of the marts, generated from the YAML beside the dbt models (`make docs-generated`). `currency` is the
shop's. How a feature may know what it knows is in [Point in time](point-in-time.md); `clv docs` opens the same
descriptions with the lineage of every model.
"""


_SCORES = yaml.safe_load((MARTS / "customer_predictions.yml").read_text(encoding="utf-8"))["sources"][0]["tables"][0]

PREDICTIONS = {column["name"]: column["description"] for column in _SCORES["columns"]}
"""Columns of ``customer_predictions``, which is not made by dbt."""


def dictionary() -> str:
    """The page as Markdown."""
    models = [
        model
        for path in sorted(MARTS.glob("*.yml"), key=lambda path: (path.stem != "customer_snapshots", path.stem))
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", [])
    ]
    return "\n".join([HEAD, *(_section(model) for model in models), _predictions()])


def _section(model: dict[str, Any]) -> str:
    lines = [f"## {model['name']}", "", _one_line(model["description"]), ""]
    described = any("meta" in column.get("config", {}) for column in model["columns"])
    lines += (
        ["| column | role | unit | may be null | meaning |", "|---|---|---|---|---|"]
        if described
        else ["| column | type | meaning |", "|---|---|---|"]
    )
    return "\n".join([*lines, *(_row(column, described) for column in model["columns"])]) + "\n"


def _predictions() -> str:
    lines = [f"## {_SCORES['name']}", "", _one_line(_SCORES["description"]), ""]
    rows = [f"| `{name}` | {_one_line(meaning)} |" for name, meaning in PREDICTIONS.items()]
    return "\n".join([*lines, "| column | meaning |", "|---|---|", *rows]) + "\n"


def _row(column: dict[str, Any], described: bool) -> str:
    meaning = _one_line(column["description"])
    if not described:
        return f"| `{column['name']}` | {_type(column['data_type'])} | {meaning} |"
    meta = column.get("config", {}).get("meta", {})
    nullable = "yes" if meta.get("nullable") else "no"
    return f"| `{column['name']}` | {meta.get('role', '')} | {meta.get('unit', '')} | {nullable} | {meaning} |"


def _type(text: str) -> str:
    """DuckDB's name where a type differs between the engines."""
    choice = re.search(r"else '([^']+)'", text)
    return choice.group(1) if choice else text


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    (DOCS / "data-dictionary.md").write_text(dictionary(), encoding="utf-8")
