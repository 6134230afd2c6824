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


PREDICTIONS = {
    "customer_id": "The customer.",
    "p_return": "Probability of a purchase in the window.",
    "value_if_return": "What is spent then, if anything, in currency.",
    "expected_value": "The product of the two, in currency.",
    "value_if_return_low": "Lower end of the 80 % interval of what a returning customer spends; null by a baseline.",
    "value_if_return_high": "Its upper end.",
    "percentile": "Whole percent of customers whose expected value is at most this one's; null if all are alike.",
    "as_of_date": "The last day that was known.",
    "horizon_days": "Length of the window after it, in days.",
    "scored_by": "What predicted: a version of the registry, or a baseline where no model may.",
}
"""Not made by dbt, so no YAML describes it."""


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
    lines = ["## customer_predictions", "", "One row per customer, as `clv score` last wrote it beside the marts.", ""]
    rows = [f"| `{name}` | {meaning} |" for name, meaning in PREDICTIONS.items()]
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
