"""Tables of customers, and their download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from streamlit_app.money import decimals_of, symbol
from streamlit_app.preferences import style
from streamlit_app.shop import Shop

_COLUMNS = (
    "customer_id",
    "expected_value",
    "p_return",
    "value_if_return",
    "value_if_return_low",
    "value_if_return_high",
    "tier",
    "rank",
)
_TIER, _RANK, _CHANCE = 45, 65, 120
"""Pixels of some columns, such that all are seen in a usual window."""

_MAX_SELECTABLE = 150_000
"""Beyond it rows are fetched as people scroll, and can't be selected."""


def customers(shown: pd.DataFrame, shop: Shop, key: str) -> str | None:
    """A table that can be sorted; the customer whose row was picked, if one was."""
    is_selectable = len(shown) <= _MAX_SELECTABLE
    everybody, unit = shop.customers, symbol(shop.currency)
    spread = f"{style().share(shop.interval_level)} of customers who return spend between the two bounds."
    state = st.dataframe(
        shown[list(_COLUMNS)],
        key=key,
        hide_index=True,
        width="stretch",
        height=430,
        lazy=not is_selectable,
        placeholder="–",
        alt="Customers by expected value",
        on_select="rerun" if is_selectable else "ignore",
        selection_mode="single-row",
        column_config={
            "customer_id": st.column_config.TextColumn("Customer"),
            "expected_value": _amount(
                everybody["expected_value"],
                f"Expected value, {unit}",
                f"Expected spend in the next {shop.horizon_days} days.",
            ),
            "p_return": st.column_config.ProgressColumn(
                "Chance to return",
                width=_CHANCE,
                format="percent",
                min_value=0,
                max_value=max(0.01, float(shown["p_return"].max())),
            ),
            "value_if_return": _amount(
                everybody["value_if_return"], "If they return", f"Expected spend of a customer who returns, {unit}."
            ),
            "value_if_return_low": _amount(everybody["value_if_return_low"], "… at least", spread),
            "value_if_return_high": _amount(everybody["value_if_return_high"], "… at most", spread),
            "tier": st.column_config.TextColumn("Tier", width=_TIER, help="By share of the expected revenue."),
            "rank": st.column_config.NumberColumn(
                "Rank", width=_RANK, format="%,d", help="1 is the best customer of all."
            ),
        },
    )
    rows = state["selection"]["rows"] if isinstance(state, Mapping) else []
    return str(shown["customer_id"].iloc[rows[0]]) if rows else None


def _amount(amounts: pd.Series, label: str, explanation: str) -> Any:
    digits = decimals_of(amounts)
    pattern = f"%,.{digits}f" if style().decimal == "." else "localized"
    return st.column_config.NumberColumn(label, format=pattern, step=10.0**-digits, help=explanation)


def download(shown: pd.DataFrame, name: str) -> None:
    """A button for these rows as CSV, in full precision; the file is made when it is asked for."""
    st.download_button(
        "Download as CSV",
        lambda: shown.to_csv(index=False).encode(),
        file_name=name,
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        shortcut=None,
    )
