"""Charts of how value is spread over customers; frames in, Altair out."""

from __future__ import annotations

import altair as alt
import pandas as pd

from streamlit_app.charting import AnyChart, localized, names
from streamlit_app.money import Style, decimals_of
from streamlit_app.palette import Colours

_FAR_RIGHT = 0.28
_SHARES = ["share of customers", "share of expected revenue"]


def bands_chart(bands: pd.DataFrame, colours: Colours, style: Style) -> AnyChart:
    """Share of customers beside share of expected revenue, by band; shares are written beside the bars."""
    long = bands.melt(id_vars=["band", "customers", "revenue"], value_vars=_SHARES, var_name="of", value_name="share")
    long["text"] = long["share"].map(style.share)
    base = alt.Chart(long).encode(
        y=alt.Y("band:N", sort=bands["band"].tolist()[::-1], title=None, axis=names(150)),
        yOffset=alt.YOffset("of:N", sort=_SHARES),
        x=alt.X("share:Q", axis=None, scale=alt.Scale(domain=[0, max(0.01, long["share"].max()) * 1.2])),
        tooltip=[
            alt.Tooltip("band:N", title="Expected value"),
            alt.Tooltip("customers:Q", title="Customers", format=","),
            alt.Tooltip("revenue:Q", title="Expected revenue", format=f",.{decimals_of(bands['revenue'])}f"),
            alt.Tooltip("share:Q", title="Share", format=".1%"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        color=alt.Color(
            "of:N",
            scale=alt.Scale(domain=_SHARES, range=[colours.quiet, colours.accent]),
            legend=alt.Legend(orient="top", title=None, labelLimit=0, columns=1),
        )
    )
    texts = base.mark_text(align="left", dx=4, color=colours.text, fontSize=11).encode(text="text:N")
    return localized(alt.layer(bars, texts).properties(height=max(180, 42 * len(bands) + 40)), style)


def concentration_chart(curve: pd.DataFrame, half_share: float, colours: Colours, style: Style) -> AnyChart:
    """The best customers' share of expected revenue, who hold half of it, and what equal customers would give."""
    x = alt.X("customers:Q", axis=alt.Axis(format="%", tickCount=5), title="share of customers, the best first")
    y = alt.Y("revenue:Q", axis=alt.Axis(format="%", tickCount=5), title="share of expected revenue")
    tooltip = [
        alt.Tooltip("count:Q", title="Best customers", format=","),
        alt.Tooltip("customers:Q", title="of all", format=".1%"),
        alt.Tooltip("revenue:Q", title="hold of expected revenue", format=".1%"),
    ]
    area = alt.Chart(curve).mark_area(color=colours.accent, opacity=0.15).encode(x=x, y=y)
    line = alt.Chart(curve).mark_line(color=colours.accent, strokeWidth=2.5).encode(x=x, y=y, tooltip=tooltip)
    ends = pd.DataFrame({"customers": [0, 1], "revenue": [0, 1]})
    equal = alt.Chart(ends).mark_line(color=colours.quiet, strokeDash=[4, 4]).encode(x=x, y=y)
    half = pd.DataFrame({"customers": [half_share], "revenue": [0.5], "text": [f"{style.share(half_share)} hold half"]})
    dot = alt.Chart(half).mark_point(filled=True, size=90, color=colours.second, opacity=1).encode(x=x, y=y)
    # Where it hides neither the curve nor the dashed line.
    is_left = half_share > _FAR_RIGHT
    text = alt.Chart(half).mark_text(
        align="right" if is_left else "left",
        baseline="bottom" if is_left else "middle",
        dx=-8 if is_left else 10,
        color=colours.text,
        fontSize=12,
    )
    layers = alt.layer(area, equal, line, dot, text.encode(x=x, y=y, text="text:N"))
    return localized(layers.properties(height=330), style)
