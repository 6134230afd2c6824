"""Charts, from frames to Altair; none of them asks the API."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from streamlit_app.money import symbol

_ACCENT, _SECOND, _QUIET = "#0f766e", "#d97706", "#94a3b8"
_BAR = 34

_FEW_BANDS = 4

Array = np.ndarray[Any, np.dtype[np.float64]]


def value_bands(expected: pd.Series, currency: str) -> pd.DataFrame:
    """Customers and expected revenue by band of expected value.

    Bands grow 1, 2, 5, 10, ... so that they tell something however skewed the values are; where that leaves fewer than
    four, as all values are alike, bands are equally wide.
    """
    values = expected.to_numpy(dtype=float)
    edges = _growing_edges(values)
    if np.unique(np.searchsorted(edges, values, side="right")).size < _FEW_BANDS:
        edges = _equal_edges(values)
    position = np.searchsorted(edges, values, side="right")
    unit = symbol(currency)
    labels = [f"below {unit} {edges[0]:,g}", *(f"{unit} {low:,g} to {high:,g}" for low, high in pairwise(edges))]
    total = values.sum()
    bands = pd.DataFrame(
        {
            "band": labels,
            "customers": [int((position == number).sum()) for number in range(len(labels))],
            "revenue": [float(values[position == number].sum()) for number in range(len(labels))],
        }
    )
    bands["share of customers"] = bands["customers"] / max(1, len(values))
    bands["share of expected revenue"] = bands["revenue"] / total if total > 0 else 0.0
    filled = bands["customers"].to_numpy().nonzero()[0]
    return bands.iloc[filled[0] : filled[-1] + 1] if len(filled) else bands.iloc[:0]


def _growing_edges(values: Array) -> list[float]:
    """Edges 1, 2, 5, 10, ...: nine, the last above all values; what is below the first is one band."""
    top = max(float(values.max(initial=0.0)), 0.01)
    steps = sorted(float(f"{factor}e{power}") for power in range(-6, 13) for factor in (1, 2, 5))
    above = next(number for number, step in enumerate(steps) if step > top)
    return steps[max(0, above - 8) : above + 1]


def _equal_edges(values: Array) -> list[float]:
    """About eight edges at round numbers, the last above all values."""
    low, high = float(values.min()), float(values.max())
    width = max(high - low, high / 100, 0.01) / 7
    power = 10.0 ** np.floor(np.log10(width))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= width)
    edges = [float(np.floor(low / step) * step)]
    while edges[-1] <= high:
        edges.append(float(round(edges[-1] / step + 1) * step))
    return edges


def bands_chart(bands: pd.DataFrame) -> alt.Chart:
    """Share of customers beside share of expected revenue, by band."""
    shares = ["share of customers", "share of expected revenue"]
    long = bands.melt(id_vars=["band", "customers", "revenue"], value_vars=shares, var_name="of", value_name="share")
    chart: alt.Chart = (
        alt.Chart(long)
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=alt.Y("band:N", sort=bands["band"].tolist()[::-1], title=None, axis=alt.Axis(labelLimit=220)),
            yOffset=alt.YOffset("of:N", sort=shares),
            x=alt.X("share:Q", axis=alt.Axis(format="%", tickCount=5), title=None),
            color=alt.Color(
                "of:N",
                scale=alt.Scale(domain=shares, range=[_QUIET, _ACCENT]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=[
                alt.Tooltip("band:N", title="Expected value"),
                alt.Tooltip("customers:Q", title="Customers", format=","),
                alt.Tooltip("revenue:Q", title="Expected revenue", format=",.2f"),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
        .properties(height=max(300, 48 * len(bands) + 60))
    )
    return chart


def concentration(expected: pd.Series, points: int = 200) -> pd.DataFrame:
    """Share of expected revenue held by the best customers, by their share."""
    values = np.sort(expected.to_numpy(dtype=float))[::-1]
    held = np.concatenate([[0.0], np.cumsum(values)])
    at = np.unique(np.linspace(0, len(values), min(points, len(values)) + 1).round().astype(int))
    total = held[-1] if held[-1] > 0 else 1.0
    return pd.DataFrame({"customers": at / max(1, len(values)), "revenue": held[at] / total})


def concentration_chart(curve: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """The best customers' share of expected revenue; the grey line is what equal customers would give."""
    x = alt.X(
        "customers:Q", axis=alt.Axis(format="%", tickCount=5), title="best customers", scale=alt.Scale(domain=[0, 1])
    )
    y = alt.Y(
        "revenue:Q", axis=alt.Axis(format="%", tickCount=5), title="of expected revenue", scale=alt.Scale(domain=[0, 1])
    )
    tooltip = [
        alt.Tooltip("customers:Q", title="Best customers", format=".1%"),
        alt.Tooltip("revenue:Q", title="hold of expected revenue", format=".1%"),
    ]
    area = alt.Chart(curve).mark_area(color=_ACCENT, opacity=0.15).encode(x=x, y=y)
    line = alt.Chart(curve).mark_line(color=_ACCENT, strokeWidth=2.5).encode(x=x, y=y, tooltip=tooltip)
    equal = alt.Chart(pd.DataFrame({"customers": [0, 1], "revenue": [0, 1]})).mark_line(color=_QUIET, strokeDash=[4, 4])
    return alt.layer(area, equal.encode(x=x, y=y), line).properties(height=300)


def importance_chart(importance: list[dict[str, Any]], currency: str, top: int = 15) -> alt.Chart:
    """How far each feature moves the expected value, on average over customers."""
    frame = pd.DataFrame(importance).head(top)
    chart: alt.Chart = (
        alt.Chart(frame)
        .mark_bar(color=_ACCENT, cornerRadiusEnd=3)
        .encode(
            y=alt.Y("feature:N", sort=frame["feature"].tolist(), title=None, axis=alt.Axis(labelLimit=220)),
            x=alt.X("mean_abs_contribution:Q", title=f"moves the expected value by, {symbol(currency)} per customer"),
            tooltip=[
                alt.Tooltip("feature:N", title="Feature"),
                alt.Tooltip("mean_abs_contribution:Q", title=f"Mean effect, {symbol(currency)}", format=",.3f"),
            ],
        )
        .properties(height=_BAR * len(frame) + 60)
    )
    return chart


def metric_frame(models: dict[str, dict[str, list[float | None]]], metric: str) -> pd.DataFrame:
    """One metric of the model and the baselines, with its interval; models that lack it are left out."""
    rows = [
        {"name": name, "value": values[metric][0], "low": values[metric][1], "high": values[metric][2]}
        for name, values in models.items()
        if values.get(metric) and values[metric][0] is not None
    ]
    return pd.DataFrame(rows, columns=["name", "value", "low", "high"])


def metric_chart(frame: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Points with their intervals, the model first and in colour."""
    y = alt.Y("name:N", sort=frame["name"].tolist(), title=None, axis=alt.Axis(labelLimit=160))
    color = alt.condition(alt.datum.name == "model", alt.value(_ACCENT), alt.value(_QUIET))
    tooltip = [alt.Tooltip("name:N", title="Model")] + [
        alt.Tooltip(f"{column}:Q", title=column.capitalize(), format=",.4f") for column in ("value", "low", "high")
    ]
    scale = alt.Scale(zero=False, nice=True)
    base = alt.Chart(frame).encode(y=y, color=color, tooltip=tooltip)
    bars = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", title=None, scale=scale), x2="high:Q")
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(x=alt.X("value:Q", title=None, scale=scale))
    return alt.layer(bars, dots).properties(height=34 * len(frame) + 50)
