"""How value is spread over customers: bands, tiers, concentration. Of use also where nearly all is nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from streamlit_app.money import Style, symbol

TIERS = {
    "A": "hold the first half",
    "B": "the next 30 %",
    "C": "the last 20 %",
}
"""Value tiers, by what the best hold of the expected revenue; customers of equal value are in one tier."""

_TIER_ENDS = (0.5, 0.8)
_FEW_BANDS = 4
_LEAST = 1e-5
"""Smaller values are not told apart; edges are written with six decimals."""

Array = np.ndarray[Any, np.dtype[np.float64]]


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Customers, the best first, with their ``rank`` (ties share the better one) and ``tier``."""
    ordered = table.sort_values(["expected_value", "customer_id"], ascending=[False, True], ignore_index=True)
    values = ordered["expected_value"].to_numpy(dtype=float)
    better = np.searchsorted(-values, -values, side="left")
    total = values.sum()
    held = np.concatenate([[0.0], np.cumsum(values)])[better] / (total if total > 0 else 1.0)
    names = np.array(list(TIERS))[np.searchsorted(_TIER_ENDS, held, side="right") if total > 0 else -1]
    tiers = pd.Categorical(np.broadcast_to(names, len(values)), categories=list(TIERS), ordered=True)
    return ordered.assign(rank=better + 1, tier=tiers)


def tier_table(customers: pd.DataFrame) -> pd.DataFrame:
    """One row per tier of ranked customers: how many, what they bring, from which value on."""
    groups = customers.groupby("tier", observed=True)
    tiers = groups.agg(
        customers=("customer_id", "size"),
        revenue=("expected_value", "sum"),
        mean_value=("expected_value", "mean"),
        p_return=("p_return", "mean"),
        from_value=("expected_value", "min"),
    )
    total = tiers["revenue"].sum()
    tiers["customer_share"] = tiers["customers"] / max(1, len(customers))
    tiers["revenue_share"] = tiers["revenue"] / total if total > 0 else 0.0
    return tiers.reset_index()


def half(values: pd.Series) -> int:
    """How few customers hold half of it; `values` fall."""
    held = values.to_numpy(dtype=float).cumsum()
    return int(np.searchsorted(held, held[-1] / 2)) + 1 if len(held) and held[-1] > 0 else 0


def concentration(values: pd.Series, points: int = 200) -> pd.DataFrame:
    """Share of expected revenue held by the best customers, by their share; `values` fall."""
    held = np.concatenate([[0.0], np.cumsum(values.to_numpy(dtype=float))])
    count = len(values)
    # Closer together where the best are: that is where the curve bends.
    at = np.unique(np.round(count * np.linspace(0, 1, min(points, count) + 1) ** 2).astype(int))
    total = held[-1] if held[-1] > 0 else 1.0
    return pd.DataFrame({"count": at, "customers": at / max(1, count), "revenue": held[at] / total})


def value_bands(expected: pd.Series, currency: str, style: Style) -> pd.DataFrame:
    """Customers and expected revenue by band of expected value.

    Bands grow 1, 2, 5, 10, ... so that they tell something however skewed the values are; where that leaves fewer than
    four, as all values are alike, bands are equally wide.
    """
    values = expected.to_numpy(dtype=float)
    edges = _growing_edges(values)
    if np.unique(np.searchsorted(edges, values, side="right")).size < _FEW_BANDS:
        edges = _equal_edges(values)
    position = np.searchsorted(edges, values, side="right")
    shown = _edge_labels(edges, style)
    unit = symbol(currency)
    labels = [f"below {unit} {shown[0]}", *(f"{unit} {low} to {high}" for low, high in pairwise(shown))]
    total = values.sum()
    bands = pd.DataFrame(
        {
            "band": labels,
            "low": [0.0, *edges[:-1]],
            "customers": [int((position == number).sum()) for number in range(len(labels))],
            "revenue": [float(values[position == number].sum()) for number in range(len(labels))],
        }
    )
    bands["share of customers"] = bands["customers"] / max(1, len(values))
    bands["share of expected revenue"] = bands["revenue"] / total if total > 0 else 0.0
    filled = bands["customers"].to_numpy().nonzero()[0]
    return bands.iloc[filled[0] : filled[-1] + 1] if len(filled) else bands.iloc[:0]


def _edge_labels(edges: list[float], style: Style) -> list[str]:
    """Edges with as many digits as they have."""
    return [style.number(edge, len(f"{edge:.6f}".rstrip("0").partition(".")[2])) for edge in edges]


def _growing_edges(values: Array) -> list[float]:
    """Edges 1, 2, 5, 10, ...: nine, the last above all values; what is below the first is one band."""
    top = max(float(values.max(initial=0.0)), _LEAST)
    steps = sorted(float(f"{factor}e{power}") for power in range(-6, 13) for factor in (1, 2, 5))
    above = next(number for number, step in enumerate(steps) if step > top)
    return steps[max(0, above - 8) : above + 1]


def _equal_edges(values: Array) -> list[float]:
    """About eight edges at round numbers, the last above all values."""
    low, high = float(values.min()), float(values.max())
    width = max(high - low, high / 100, _LEAST if high > 0 else 0.01) / 7
    power = 10.0 ** np.floor(np.log10(width))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= width)
    edges = [float(np.floor(low / step) * step)]
    while edges[-1] <= high:
        edges.append(float(round(edges[-1] / step + 1) * step))
    return edges
