"""A model in service: the native predictor, what the registry says of it, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from clv.predictor import Parts
from serving.customers import Coder
from serving.forest import FEWEST, BitForest
from serving.helpers import Helpers
from serving.registry import ModelFiles, Version
from serving.schemas import CustomerReader

if TYPE_CHECKING:
    from clv.predictor import Predictor

_FEWEST_SHARED = 1_000
"""Customers worth a helper's while: fewer take longer by handing the interpreter back and forth than by their trees."""

_FEWEST_SHARED_XGBOOST = 100
"""The same where XGBoost leads them, which takes longer, and away from the interpreter."""

_PIECE = 1_000
"""Predictions written at a time."""


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
        With its card and figures.
    files
        Keeps the folder on the disk.
    reader
        Checks request bodies against its contract.
    coder
        Encodes customers for it.
    forest
        Its trees for many customers; None if XGBoost's own have to do.
    loaded_at
        When this service loaded it.
    """

    version: Version
    predictor: Predictor
    folder: Path
    files: ModelFiles
    reader: CustomerReader
    coder: Coder
    forest: BitForest | None
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

    def parts(self, matrix: NDArray[np.float32], helpers: Helpers) -> Parts:
        """Both parts of the answer for an encoded matrix of customers; many of them are shared out."""
        fewest = _FEWEST_SHARED_XGBOOST if self.forest is None else _FEWEST_SHARED
        pieces = min(helpers.count, len(matrix) // fewest)
        if pieces < 2:
            return self._parts(matrix)
        shared = helpers.map(self._parts, np.array_split(matrix, pieces))
        p_return, value_if_return = zip(*((parts.p_return, parts.value_if_return) for parts in shared), strict=True)
        return Parts(np.concatenate(p_return), np.concatenate(value_if_return))

    def _parts(self, matrix: NDArray[np.float32]) -> Parts:
        if self.forest is None or len(matrix) < FEWEST:
            return self.predictor.predict_matrix(matrix)
        return self.predictor.predict_matrix(matrix, self.forest.margins(matrix))

    def columns(self, matrix: NDArray[np.float32], helpers: Helpers) -> dict[str, NDArray[np.float64]]:
        """All columns of the answer for an encoded matrix of customers, none of it if there is no customer."""
        return self.predictor.columns(self.parts(matrix, helpers)) if len(matrix) else {}

    def answer(
        self,
        ids: Sequence[str],
        columns: Mapping[str, NDArray[np.float64]],
        warnings: Sequence[str],
        features: Sequence[Mapping[str, Any]] = (),
    ) -> bytes:
        """The answer for customers with these columns, and with their features if they are given, as JSON."""
        values = [ids, *(column.tolist() for column in columns.values()), *((features,) if features else ())]
        row_type = _row_type("customer_id", *columns, *(("features",) if features else ()))
        rows = list(map(row_type, *values))
        # Written in pieces: each holds the interpreter, and other requests want a turn.
        pieces = (msgspec.json.encode(rows[start : start + _PIECE]) for start in range(0, len(rows), _PIECE))
        predictions = b",".join(piece[1:-1] for piece in pieces)
        return b'%b%b],"warnings":%b}' % (self._head, predictions, to_json(warnings))

    @cached_property
    def _head(self) -> bytes:
        """What comes before the predictions."""
        head = {"model": self.header, "interval_level": self.about["interval_level"], "predictions": []}
        return to_json(head)[: -len("]}")]


@lru_cache
def _row_type(*names: str) -> type[msgspec.Struct]:
    """A prediction as it is written; four times as fast as a dictionary."""
    return msgspec.defstruct("Prediction", [(name, Any) for name in names], gc=False)
