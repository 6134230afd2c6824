"""The column contract: which features a model takes, of which kind, in which unit and range.

Its only source is the YAML beside the dbt model ``customer_snapshots``; nothing is written down twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from clv.errors import InputError

Kind = Literal["number", "category"]

SNAPSHOTS_YAML = Path(__file__).resolve().parent.parent / "dbt" / "models" / "marts" / "customer_snapshots.yml"


@dataclass(frozen=True)
class Feature:
    """One column a model takes.

    Attributes
    ----------
    kind
        ``number`` (double) or ``category`` (string).
    unit
        For people: days, purchases, currency, share, ...
    nullable
        Whether the value may be missing.
    minimum, maximum
        Inclusive bounds of a number, where there are any.
    """

    name: str
    kind: Kind
    unit: str
    nullable: bool
    minimum: float | None = None
    maximum: float | None = None
    description: str = ""


@dataclass(frozen=True)
class Contract:
    """The features of a model, in order."""

    features: tuple[Feature, ...]

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [feature.name for feature in self.features]

    @property
    def fingerprint(self) -> str:
        """Short hash of names, kinds and nullability: two models with the same one take the same customers."""
        essence = [(feature.name, feature.kind, feature.nullable) for feature in self.features]
        return hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:12]

    def to_json(self) -> list[dict[str, Any]]:
        """As plain lists and dictionaries, for the model artifact."""
        return [asdict(feature) for feature in self.features]


def read_contract(path: Path = SNAPSHOTS_YAML) -> Contract:
    """Read the contract from dbt's YAML: the columns whose ``meta.role`` is ``feature``, in order.

    Raises
    ------
    InputError
        If the file is missing or describes no feature.
    """
    features = tuple(
        Feature(
            name=column["name"],
            kind=meta["kind"],
            unit=meta["unit"],
            nullable=meta["nullable"],
            minimum=meta.get("minimum"),
            maximum=meta.get("maximum"),
            description=" ".join(column["description"].split()),
        )
        for column in snapshot_columns(path)
        if (meta := column["config"]["meta"])["role"] == "feature"
    )
    if not features:
        raise InputError(f"Column contract {path} describes no feature; expected columns with meta role: feature.")
    return Contract(features)


def snapshot_columns(path: Path = SNAPSHOTS_YAML) -> list[dict[str, Any]]:
    """Every column of ``customer_snapshots`` as dbt's YAML describes it, features and others, in order.

    Raises
    ------
    InputError
        If the file is missing.
    """
    if not path.exists():
        raise InputError(f"Column contract {path} is missing; run clv from a complete checkout of the repository.")
    # libyaml's reader where there is one: five times as fast
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    models = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["models"]
    columns: list[dict[str, Any]] = next(m["columns"] for m in models if m["name"] == "customer_snapshots")
    return columns
