"""A model in service: the native predictor, what the registry says of it, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.registry import Version
from serving.schemas import CustomerReader

if TYPE_CHECKING:
    from clv.predictor import Predictor

MAX_NAMED = 20
"""Most values or customers named in one warning."""


@dataclass(frozen=True)
class ServedModel:
    """One version, ready to answer.

    Attributes
    ----------
    version
        What the registry says of it.
    predictor
        The native model.
    folder
        Its files.
    reader
        Checks request bodies against its contract.
    loaded_at
        When this service loaded it.
    """

    version: Version
    predictor: Predictor
    folder: Path
    reader: CustomerReader
    loaded_at: datetime

    @property
    def about(self) -> Mapping[str, Any]:
        """Facts of the model, from its artifact."""
        return self.predictor.about

    @cached_property
    def contract(self) -> list[dict[str, Any]]:
        """The features it takes: kind, unit, range, and the values of a category it has learnt."""
        vocabulary = self.predictor.encoder.vocabulary
        return [
            {**feature, "values": list(vocabulary[feature["name"]]) if feature["name"] in vocabulary else None}
            for feature in self.about["contract"]
        ]

    @cached_property
    def header(self) -> dict[str, Any]:
        """What every answer says of the model."""
        return {
            "name": self.version.name,
            "version": self.version.version,
            "stage": self.version.stage,
            "as_of_date": self.about["as_of_date"],
            "horizon_days": self.about["horizon_days"],
            "currency": self.about["currency"],
        }

    @cached_property
    def figures(self) -> dict[str, Path]:
        """Its figures by name."""
        return {file.name: file for file in sorted((self.folder / "figures").glob("*.png"))}

    def columns(self, matrix: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """All columns of the answer for an encoded matrix of customers, none of it if there is no customer."""
        return self.predictor.columns(self.predictor.predict_matrix(matrix)) if len(matrix) else {}

    def answer(
        self, ids: Sequence[str], columns: Mapping[str, NDArray[np.float64]], warnings: Sequence[str]
    ) -> dict[str, Any]:
        """The answer for customers with these columns."""
        names = ("customer_id", *columns)
        rows = zip(ids, *(column.tolist() for column in columns.values()), strict=True)
        return {
            "model": self.header,
            "interval_level": self.about["interval_level"],
            "predictions": [dict(zip(names, row, strict=True)) for row in rows],
            "warnings": warnings,
        }

    def unknown_categories(self, records: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        """Values of categories the model has never seen, by feature."""
        found = {
            name: sorted({record[name] for record in records}.difference(known, (None,)))
            for name, known in self._known.items()
        }
        return {name: values for name, values in found.items() if values}

    @cached_property
    def _known(self) -> dict[str, frozenset[str]]:
        return {name: frozenset(values) for name, values in self.predictor.encoder.vocabulary.items()}


def unknown_warnings(unknown: Mapping[str, Sequence[str]]) -> list[str]:
    """One warning per feature with values the model has never seen."""
    return [
        f"{name}: {named(values)} {'is' if len(values) == 1 else 'are'} not known to the model and "
        f"count{'s' if len(values) == 1 else ''} as missing."
        for name, values in unknown.items()
    ]


def named(values: Sequence[str]) -> str:
    """The values, the first of them if there are many."""
    shown = ", ".join(f"'{value}'" for value in values[:MAX_NAMED])
    more = len(values) - MAX_NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown
