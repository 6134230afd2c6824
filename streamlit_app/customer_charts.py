"""Charts about one customer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from clv.money import matters
from streamlit_app.charting import NUMBERS, AnyChart, localized, names
from streamlit_app.feature_words import label, moved, shown
from streamlit_app.money import Style, decimals_of, symbol
from streamlit_app.palette import Colours

_STEPS = 7
"""Features shown on their own in a waterfall."""

_HEADROOM = 1.15
"""Of the largest purchase, so that what is written above hides none."""

_TEXT = 40
"""Pixels for what is written beside the longest bar."""


def timeline_chart(
    purchases: pd.DataFrame, as_of: str, horizon_days: int, currency: str, colours: Colours, style: Style
) -> AnyChart:
    """What was bought when, and the days the prediction is about."""
    as_of_day = pd.Timestamp(as_of)
    days = {"start": [as_of_day], "end": [as_of_day + pd.Timedelta(days=horizon_days)]}
    ahead = pd.DataFrame(days).assign(text=f"next {horizon_days} days")
    shade = alt.Chart(ahead).mark_rect(color=colours.second, opacity=0.15).encode(x="start:T", x2="end:T")
    said = alt.Chart(ahead).mark_text(align="right", baseline="top", dx=-4, color=colours.text)
    x = alt.X("day:T", title=None, axis=alt.Axis(format="%Y-%m", tickCount=6, labelOverlap="greedy"))
    most = max(0.0, float(purchases["amount"].max()))
    scale = alt.Scale(domainMax=_HEADROOM * most) if most > 0 else alt.Scale()
    axis = alt.Axis(format=NUMBERS, tickCount=5)
    y = alt.Y("amount:Q", title=f"amount, {symbol(currency)}", scale=scale, axis=axis)
    digits = decimals_of(purchases["amount"])
    base = alt.Chart(purchases.assign(zero=0.0)).encode(
        x=x,
        tooltip=[
            alt.Tooltip("day:T", title="Day", format="%Y-%m-%d"),
            alt.Tooltip("amount:Q", title=f"Amount, {symbol(currency)}", format=f",.{digits}f"),
            *([alt.Tooltip("category:N", title="Category")] if "category" in purchases else []),
        ],
    )
    stems = base.mark_rule(color=colours.accent, opacity=0.5).encode(y="zero:Q", y2="amount:Q")
    heads = base.mark_point(filled=True, size=70, color=colours.accent, opacity=1).encode(y=y)
    layers = alt.layer(shade, stems, heads, said.encode(x="start:T", y=alt.value(0), text="text:N"))
    return localized(layers.properties(height=260), style)


def standing_chart(bands: pd.DataFrame, value: float, colours: Colours, style: Style) -> AnyChart:
    """All customers by band of expected value; the band that holds `value` stands out."""
    mine = int(np.searchsorted(bands["low"].to_numpy(), value, side="right")) - 1
    is_mine = np.arange(len(bands)) == max(0, mine)
    shares = bands["share of customers"]
    frame = bands.assign(
        is_mine=is_mine,
        text=[style.share(share) + "  ← this customer" * bool(me) for share, me in zip(shares, is_mine, strict=True)],
    )
    base = alt.Chart(frame).encode(
        y=alt.Y("band:N", sort=bands["band"].tolist()[::-1], title=None, axis=names(150)),
        x=alt.X("share of customers:Q", axis=None, scale=alt.Scale(domain=[0, 1.35 * float(shares.max())])),
        tooltip=[
            alt.Tooltip("band:N", title="Expected value"),
            alt.Tooltip("customers:Q", title="Customers", format=","),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        color=alt.condition(alt.datum.is_mine, alt.value(colours.accent), alt.value(colours.quiet))
    )
    texts = base.mark_text(align="left", dx=4, fontSize=11).encode(
        text="text:N", color=alt.condition(alt.datum.is_mine, alt.value(colours.accent), alt.value(colours.text))
    )
    return localized(alt.layer(bars, texts).properties(height=260), style)


def steps(explanation: Mapping[str, Any], meanings: Mapping[str, str], currency: str, style: Style) -> pd.DataFrame:
    """A waterfall: where each step starts and ends, from the base to the expected value; weak features are one step."""
    named = explanation["contributions"][:_STEPS]
    rest = explanation["contributions"][_STEPS:]
    added = [(f"{label(one['feature'])}: {shown(one['value'], style)}", one["expected_value"]) for one in named]
    left = sum(one["expected_value"] for one in rest) + explanation["other"]["expected_value"]
    base, total = explanation["base"]["expected_value"], explanation["prediction"]["expected_value"]
    if rest or matters(left, total):
        added.append(("all else", left))
    amounts = np.array([base, *(amount for _, amount in added)])
    ends = amounts.cumsum()
    frame = pd.DataFrame(
        {
            "step": ["starting point", *(name for name, _ in added), "expected value"],
            "start": [0.0, *ends[:-1], 0.0],
            "end": [*ends, total],
            "amount": [*amounts, total],
        }
    )
    said = [meanings.get(one["feature"], "") for one in named]
    said += ["All other features together."] * (len(added) - len(named))
    frame["meaning"] = [
        "What the model starts from.",
        *said,
        "What the steps add up to.",
    ]
    frame["kind"] = ["whole", *("adds" if amount >= 0 else "takes" for _, amount in added), "whole"]
    frame["text"] = [
        style.money(amount, currency) if kind == "whole" else moved(amount, currency, style)
        for kind, amount in zip(frame["kind"], frame["amount"], strict=True)
    ]
    return frame


def waterfall_chart(frame: pd.DataFrame, currency: str, colours: Colours, style: Style) -> AnyChart:
    """The steps of a waterfall, written beside the bars."""
    reach = frame[["start", "end"]].to_numpy()
    low, high = min(0.0, reach.min()), float(reach.max()) or 0.01
    digits = decimals_of(frame["amount"])
    base = alt.Chart(frame.assign(right=frame[["start", "end"]].max(axis=1))).encode(
        y=alt.Y("step:N", sort=frame["step"].tolist(), title=None, axis=names(230)),
        tooltip=[
            alt.Tooltip("step:N", title="Step"),
            alt.Tooltip("meaning:N", title="Meaning"),
            alt.Tooltip("amount:Q", title=f"Adds, {symbol(currency)}", format=f"+,.{digits}f"),
            alt.Tooltip("end:Q", title=f"Makes, {symbol(currency)}", format=f",.{digits}f"),
        ],
    )
    scale = alt.Scale(domain=[low, high], nice=False)
    bars = base.mark_bar(cornerRadius=2, height={"band": 0.7}).encode(
        x=alt.X("start:Q", title=f"{symbol(currency)}", scale=scale, axis=alt.Axis(format=NUMBERS, tickCount=5)),
        x2="end:Q",
        color=alt.Color(
            "kind:N",
            legend=None,
            scale=alt.Scale(domain=["whole", "adds", "takes"], range=[colours.quiet, colours.accent, colours.second]),
        ),
    )
    texts = base.mark_text(align="left", dx=4, color=colours.text, fontSize=11).encode(
        x=alt.X("right:Q", scale=scale), text="text:N"
    )
    return localized(alt.layer(bars, texts).properties(height=34 * len(frame) + 40, padding={"right": _TEXT}), style)
