"""Customers by columns, wherever they come from, and the matrix that boosters take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clv.predictor import Encoder

Column = Sequence[Any] | NDArray[Any]
"""One feature of all customers: numbers or texts, None or NaN where it is not known."""

FEW = 100
"""Customers whose numbers cost less than a call for each feature."""


@dataclass(frozen=True)
class Customers:
    """Some customers.

    Attributes
    ----------
    ids
        Their ids.
    columns
        Their features by name, in the same order.
    """

    ids: Sequence[str]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.ids)

    def records(self) -> list[dict[str, Any]]:
        """One dictionary of features per customer."""
        names = tuple(self.columns)
        columns = map(_listed, self.columns.values())
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _listed(column: Column) -> Sequence[Any]:
    """The column with None for what is not known."""
    if not isinstance(column, np.ndarray):
        return column
    return [None if value != value else value for value in column.tolist()]  # NaN alone is not equal to itself


class Coder:
    """Encodes customers as one model's encoder does, without a frame.

    Parameters
    ----------
    encoder
        The model's.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._codes: dict[str, dict[str, float] | None] = {
            name: {value: float(code) for code, value in enumerate(encoder.vocabulary[name])}
            if name in encoder.vocabulary
            else None
            for name in encoder.features
        }

    def matrix(self, customers: Customers) -> NDArray[np.float32]:
        """The encoded matrix, shape (n, features), missing as NaN."""
        count = len(customers)
        columns = [
            customers.columns[name] if codes is None else map(codes.get, customers.columns[name])
            for name, codes in self._codes.items()
        ]
        if count <= FEW:
            return np.fromiter(chain.from_iterable(columns), np.float32).reshape(len(columns), count).T.copy()
        matrix = np.empty((count, len(columns)), np.float32)
        for place, column in enumerate(columns):
            matrix[:, place] = column if isinstance(column, np.ndarray) else np.fromiter(column, np.float32, count)
        return matrix

    def unknown(self, customers: Customers) -> dict[str, list[str]]:
        """Values outside the vocabulary, by feature; they are predicted as missing."""
        found = {
            name: sorted(set(customers.columns[name]).difference(codes, (None,)))
            for name, codes in self._codes.items()
            if codes is not None
        }
        return {name: values for name, values in found.items() if values}
