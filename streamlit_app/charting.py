"""What all charts share."""

from __future__ import annotations

from typing import TypeVar

import altair as alt

from streamlit_app.money import Style

NUMBERS = ",~f"
"""Format of the numbers on an axis: as many digits as they need."""

AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart


Kind = TypeVar("Kind", bound=AnyChart)


def names(limit: int = 170) -> alt.Axis:
    """An axis of names, so wide at most, each beside its row."""
    return alt.Axis(labelLimit=limit, labelFlush=False)


def localized(chart: Kind, style: Style) -> Kind:
    """Write the chart's numbers as people are used to."""
    number = alt.NumberLocale(decimal=style.decimal, thousands=style.thousands, grouping=[3], currency=["", ""])
    written: Kind = chart.configure(locale=alt.Locale(number=number))
    return written
