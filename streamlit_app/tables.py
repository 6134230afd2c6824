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
_MAX_SELECTABLE = 150_000
"""Beyond it rows are fetched as people scroll, and can't be selected."""


def customers(shown: pd.DataFrame, shop: Shop, key: str) -> str | None:
    """A table that can be sorted; the customer whose row was picked, if one was."""
    is_selectable = len(shown) <= _MAX_SELECTABLE
    everybody, unit = shop.customers, symbol(shop.currency)
    spread = f"{style().share(shop.interval_level)} of customers who return spend between the two bounds."
    percent = 100 * shown["p_return"]
    state = st.dataframe(
        shown.assign(p_return=percent)[list(_COLUMNS)],
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
                "Chance to return", format="%.2f %%", min_value=0, max_value=float(max(1.0, percent.max()))
            ),
            "value_if_return": _amount(
                everybody["value_if_return"], f"If they return, {unit}", "Expected spend of a customer who returns."
            ),
            "value_if_return_low": _amount(everybody["value_if_return_low"], "… at least", spread),
            "value_if_return_high": _amount(everybody["value_if_return_high"], "… at most", spread),
            "tier": st.column_config.TextColumn("Tier", help="By share of the expected revenue."),
            "rank": st.column_config.NumberColumn("Rank", format="%,d", help="1 is the best customer of all."),
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
