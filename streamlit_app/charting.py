"""What all charts share."""

from __future__ import annotations

import altair as alt

from streamlit_app.money import Style

AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart


def localized(chart: AnyChart, style: Style) -> AnyChart:
    """Write the chart's numbers as people are used to."""
    number = alt.NumberLocale(decimal=style.decimal, thousands=style.thousands, grouping=[3], currency=["", ""])
    localized: AnyChart = chart.configure(locale=alt.Locale(number=number))
    return localized
