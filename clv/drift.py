"""Input drift: how far the customers to be scored have moved from those the model was made for.

A profile keeps, for each feature, the shares of customers in a few bins (tenths of the reference, or its most frequent
categories, and the missing ones). It holds no customer, is small enough to travel in the model, and is all that the
population stability index needs.

Examples
--------
>>> from clv.contract import Feature
>>> contract = Contract((Feature("recency_days", "number", "days", nullable=False),))
>>> before = pd.DataFrame({"recency_days": np.arange(100.0)})
>>> reference = profile(before, contract)
>>> stability(reference, before)
{'recency_days': 0.0}
>>> round(stability(reference, before + 20)["recency_days"], 2)
1.6
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clv.contract import Contract

MODERATE, LARGE = 0.1, 0.25
"""The customary bounds of the index: below the first no change worth a look, above the second another population."""

BINS = 10
CATEGORIES = 20
"""At most this many categories have a bin of their own; the others share one with what the reference never saw."""

SMALLEST_SHARE = 1e-4
"""Stands for an empty bin, whose logarithm is infinite."""

Profile = dict[str, dict[str, Any]]
"""By feature: ``kind``, ``edges`` or ``values``, and ``shares``, the last of which is that of missing values."""


def profile(frame: pd.DataFrame, contract: Contract) -> Profile:
    """Describe the customers of `frame` in plain lists and numbers, ready for JSON."""
    described: Profile = {}
    for feature in contract:
        column = frame[feature.name]
        bins = _edges(column) if feature.kind == "number" else _values(column)
        described[feature.name] = {**bins, "shares": _shares(bins, column).round(6).tolist()}
    return described


def stability(reference: Profile, frame: pd.DataFrame) -> dict[str, float]:
    """Population stability index of each feature that both have: ``sum((q - p) * ln(q / p))`` over the bins.

    It is 0 where nothing has changed, and rises with every share that has.
    """
    found = {}
    for name, described in reference.items():
        if name in frame:
            expected = np.maximum(described["shares"], SMALLEST_SHARE)
            actual = np.maximum(_shares(described, frame[name]), SMALLEST_SHARE)
            found[name] = float(np.round(np.sum((actual - expected) * np.log(actual / expected)), 6))
    return found


def _edges(column: pd.Series) -> dict[str, Any]:
    """Inner edges at the reference's tenths, and one just below its lowest value: below that nobody was."""
    numbers = _numbers(column)
    known = numbers[~np.isnan(numbers)]
    if len(known) == 0:
        return {"kind": "number", "edges": []}
    below = known.min() - 1e-9 * max(1.0, abs(known.min()))
    tenths = np.quantile(known, np.arange(1, BINS) / BINS, method="lower")
    return {"kind": "number", "edges": [float(below), *np.unique(tenths).tolist()]}


def _values(column: pd.Series) -> dict[str, Any]:
    counts = column.dropna().astype(str).value_counts()
    ordered = sorted(counts[counts > 0].items(), key=lambda item: (-item[1], item[0]))
    return {"kind": "category", "values": [value for value, _ in ordered[:CATEGORIES]]}


def _shares(bins: dict[str, Any], column: pd.Series) -> NDArray[np.float64]:
    """Share of the rows in each bin; the last one holds what is missing."""
    if bins["kind"] == "number":
        numbers = _numbers(column)
        size = len(bins["edges"]) + 1
        position = np.where(np.isnan(numbers), size, np.searchsorted(bins["edges"], numbers, side="left"))
    else:
        size = len(bins["values"]) + 1
        categories = column.astype("category").cat
        known = pd.Index(bins["values"], dtype=object).get_indexer(categories.categories.astype(str))
        codes = np.append(np.where(known < 0, size - 1, known), size)  # code -1, missing, finds the last entry
        position = codes[categories.codes]
    counts: NDArray[np.float64] = np.bincount(position, minlength=size + 1).astype(np.float64)
    return counts / max(len(column), 1)


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)
