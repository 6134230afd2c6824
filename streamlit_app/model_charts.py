"""Charts about a model; frames in, Altair out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from streamlit_app import model_words as words
from streamlit_app.charting import NUMBERS, AnyChart, localized, names
from streamlit_app.money import Style, decimals_of, symbol
from streamlit_app.palette import Colours

_ROW = 34
_MANY_TIMES = 3
_TIMES = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]
"""What is written on an axis of ratios that reaches far; 1 must be on it."""


def metric_frame(models: Mapping[str, words.Intervals], metric: str) -> pd.DataFrame:
    """One metric of the model and the baselines, with its interval; models that lack it are left out."""
    rows = [
        {"name": words.baseline(name), "value": values[metric][0], "low": values[metric][1], "high": values[metric][2]}
        for name, values in models.items()
        if values.get(metric) and values[metric][0] is not None
    ]
    return pd.DataFrame(rows, columns=["name", "value", "low", "high"])


def metric_chart(frame: pd.DataFrame, colours: Colours, style: Style, ideal: float | None = None) -> AnyChart:
    """Points with their intervals, the model in colour; a line where the ideal is."""
    color = alt.condition(
        alt.datum.name == words.BASELINES[words.MODEL], alt.value(colours.accent), alt.value(colours.quiet)
    )
    tooltip = [
        alt.Tooltip("name:N", title="Model"),
        *(alt.Tooltip(f"{column}:Q", title=column.capitalize(), format=",.3f") for column in ("value", "low", "high")),
    ]
    # Some baselines promise many times too much: a ratio is judged by how many times it is off, and 0 is off the scale.
    is_wide = ideal is not None and frame["value"].max() > _MANY_TIMES
    if is_wide:
        frame = frame[frame["value"] > 0]
    scale = alt.Scale(type="log" if is_wide else "linear", zero=False, nice=True)
    base = alt.Chart(frame).encode(
        y=alt.Y("name:N", sort=frame["name"].tolist(), title=None, axis=names()), color=color, tooltip=tooltip
    )
    axis = alt.Axis(format=NUMBERS, values=_TIMES) if is_wide else alt.Axis(tickCount=5)
    bars = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", title=None, scale=scale, axis=axis), x2="high:Q")
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(x=alt.X("value:Q", title=None, scale=scale))
    layers = [bars, dots]
    if ideal is not None:
        line = alt.Chart(pd.DataFrame({"at": [ideal]})).mark_rule(strokeDash=[4, 4], color=colours.second)
        layers.insert(0, line.encode(x=alt.X("at:Q", title=None, scale=scale)))
    return localized(alt.layer(*layers).properties(height=_ROW * len(frame) + 40), style)


def over_time_chart(frame: pd.DataFrame, title: str, colours: Colours, style: Style, ideal: float | None) -> AnyChart:
    """A metric by cutoff (columns cutoff, value, and low and high where they are known)."""
    days = [alt.DateTime(year=day.year, month=day.month, date=day.day) for day in frame["cutoff"]]
    axis = alt.X("cutoff:T", title=None, axis=alt.Axis(format="%b %Y", values=days, labelOverlap="greedy"))
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=6))
    tooltip = [
        alt.Tooltip("cutoff:T", title="Cutoff", format="%Y-%m-%d"),
        alt.Tooltip("value:Q", title=title, format=",.3f"),
    ]
    line = alt.Chart(frame).mark_line(
        color=colours.accent, point={"filled": True, "size": 70, "color": colours.accent}, strokeWidth=2
    )
    layers: list[alt.Chart] = [line.encode(x=axis, y=y, tooltip=tooltip)]
    if {"low", "high"} <= set(frame.columns):
        band = alt.Chart(frame).mark_area(color=colours.accent, opacity=0.15)
        layers.insert(0, band.encode(x=axis, y=alt.Y("low:Q", title=None), y2="high:Q"))
    if ideal is not None:
        rule = alt.Chart(pd.DataFrame({"at": [ideal]})).mark_rule(strokeDash=[4, 4], color=colours.second)
        layers.append(rule.encode(y=alt.Y("at:Q", title=None)))
    return localized(alt.layer(*layers).properties(height=260), style)


def age_chart(frame: pd.DataFrame, colours: Colours, style: Style) -> AnyChart:
    """What old models lose to refitted ones (columns age_days, difference, low, high, cutoffs)."""
    tooltip = [
        alt.Tooltip("age_days:Q", title="Days old"),
        alt.Tooltip("cutoffs:Q", title="Cutoffs compared"),
        *(alt.Tooltip(f"{name}:Q", title=name.capitalize(), format="+,.3f") for name in ("difference", "low", "high")),
    ]
    ages = alt.Axis(values=frame["age_days"].tolist(), labelOverlap="greedy")
    x = alt.X("age_days:Q", title="age of the model, days", axis=ages, scale=alt.Scale(zero=False, nice=False))
    title = "ranking, old less new"
    band = alt.Chart(frame).mark_area(color=colours.accent, opacity=0.15)
    line = alt.Chart(frame).mark_line(
        color=colours.accent, point={"filled": True, "size": 70, "color": colours.accent}, strokeWidth=2
    )
    zero = alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(strokeDash=[4, 4], color=colours.second)
    layers = [
        band.encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q"),
        line.encode(x=x, y=alt.Y("difference:Q", title=title), tooltip=tooltip),
        zero.encode(y=alt.Y("at:Q", title=title)),
    ]
    return localized(alt.layer(*layers).properties(height=260), style)


def slices_chart(frame: pd.DataFrame, overall: float | None, colours: Colours, style: Style) -> AnyChart:
    """A metric by part of the customers (columns value, estimate, low, high, customers, returners)."""
    tooltip = [
        alt.Tooltip("value:N", title="Customers"),
        alt.Tooltip("customers:Q", title="How many", format=","),
        alt.Tooltip("returners:Q", title="Returned", format=","),
        *(alt.Tooltip(f"{name}:Q", title=name.capitalize(), format=",.3f") for name in ("estimate", "low", "high")),
    ]
    y = alt.Y("value:N", sort=frame["value"].tolist(), title=None, axis=names())
    base = alt.Chart(frame).encode(y=y, tooltip=tooltip)
    scale = alt.Scale(zero=False, nice=True)
    bars = base.mark_rule(strokeWidth=3, color=colours.accent)
    dots = base.mark_point(filled=True, size=90, color=colours.accent, opacity=1)
    bars = bars.encode(x=alt.X("low:Q", title=None, scale=scale, axis=alt.Axis(tickCount=6)), x2="high:Q")
    dots = dots.encode(x=alt.X("estimate:Q", title=None, scale=scale))
    layers = [bars, dots]
    if overall is not None:
        line = alt.Chart(pd.DataFrame({"at": [overall]})).mark_rule(strokeDash=[4, 4], color=colours.quiet)
        layers.insert(0, line.encode(x=alt.X("at:Q", title=None, scale=scale)))
    return localized(alt.layer(*layers).properties(height=_ROW * len(frame) + 40), style)


def importance_chart(
    importance: Sequence[Mapping[str, Any]], currency: str, colours: Colours, style: Style, top: int = 15
) -> AnyChart:
    """How far each feature moves the expected value, on average over customers."""
    frame = pd.DataFrame(importance).head(top)
    digits = decimals_of(frame["mean_abs_contribution"], 3)
    chart: alt.Chart = (
        alt.Chart(frame)
        .mark_bar(color=colours.accent, cornerRadiusEnd=3)
        .encode(
            y=alt.Y("feature:N", sort=frame["feature"].tolist(), title=None, axis=names()),
            x=alt.X(
                "mean_abs_contribution:Q",
                title=f"{symbol(currency)} per customer",
                axis=alt.Axis(format=NUMBERS, tickCount=5),
            ),
            tooltip=[
                alt.Tooltip("feature:N", title="Feature"),
                alt.Tooltip("mean_abs_contribution:Q", title=f"Mean effect, {symbol(currency)}", format=f",.{digits}f"),
            ],
        )
        .properties(height=26 * len(frame) + 60)
    )
    return localized(chart, style)
