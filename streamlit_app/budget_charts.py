"""The chart of a campaign."""

from __future__ import annotations

import altair as alt
import pandas as pd

from streamlit_app.campaign import Campaign
from streamlit_app.charting import NUMBERS, AnyChart, localized
from streamlit_app.money import Style, decimals_of, symbol
from streamlit_app.palette import Colours


def profit_chart(campaign: Campaign, chosen: int, currency: str, colours: Colours, style: Style) -> AnyChart:
    """Expected profit by number of customers, with its interval; where most is earned, and what was chosen."""
    everybody = len(campaign.profits) - 1
    reach = campaign.break_even if campaign.break_even is not None else everybody
    frame = campaign.curve(min(everybody, max(round(1.15 * reach), 2 * chosen, 10)))
    x = alt.X("customers:Q", title="customers contacted, the best first", axis=alt.Axis(format=NUMBERS, tickCount=6))
    title = f"expected profit, {symbol(currency)}"
    axis = alt.Axis(format=NUMBERS, tickCount=6)
    digits = decimals_of(frame["revenue"], 0)
    money = [
        alt.Tooltip(f"{name}:Q", title=title, format=f",.{digits}f")
        for name, title in (
            ("revenue", "Expected revenue"),
            ("cost", "Cost of contact"),
            ("profit", "Expected profit"),
            ("profit_low", "… at least"),
            ("profit_high", "… at most"),
        )
    ]
    tooltip = [alt.Tooltip("customers:Q", title="Customers", format=","), *money]
    base = alt.Chart(frame).encode(x=x)
    band = base.mark_area(color=colours.accent, opacity=0.18).encode(
        y=alt.Y("profit_low:Q", title=title, axis=axis), y2="profit_high:Q"
    )
    line = base.mark_line(color=colours.accent, strokeWidth=2.5).encode(y=alt.Y("profit:Q"), tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"profit": [0]})).mark_rule(color=colours.quiet).encode(y="profit:Q")
    marks = [band, zero, line]
    for customers, text, place in ((campaign.best, "most profit", -14), (chosen, "chosen", 16)):
        if text == "chosen" and chosen == campaign.best:
            continue
        dot = alt.Chart(pd.DataFrame([{**campaign.at(customers), "text": text}])).encode(x=x, y="profit:Q")
        marks.append(dot.mark_point(filled=True, size=100, color=colours.second, opacity=1).encode(tooltip=tooltip))
        marks.append(dot.mark_text(dy=place, color=colours.text, fontSize=12).encode(text="text:N"))
    return localized(alt.layer(*marks).properties(height=380), style)
