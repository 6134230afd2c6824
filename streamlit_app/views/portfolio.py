"""Portfolio: what the customers of a shop are worth, and who holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from streamlit_app import page, portfolio_charts, shop, tables, upload_form
from streamlit_app.client import Client
from streamlit_app.distribution import TIERS, concentration, half, tier_table, value_bands
from streamlit_app.palette import colours
from streamlit_app.preferences import style
from streamlit_app.shop import SCORED, SOURCE, UPLOADED, Shop


def show() -> None:
    """The page; a file can be dropped before the service has started."""
    st.title("What will your customers spend?", anchor=False)
    source = st.segmented_control(
        "Which customers?", [SCORED, UPLOADED], default=SCORED, required=True, key=SOURCE, persist_state="session"
    )
    files = upload_form.drop() if source == UPLOADED else []
    page.guarded(lambda api, facts: _show(api, facts, source, files))


def _show(api: Client, facts: Mapping[str, Any], source: str, files: Sequence[Any]) -> None:
    found = upload_form.answered(api, facts, files) if source == UPLOADED else shop.scored(api, facts)
    if found is not None:
        _show_shop(found)
    elif source == SCORED:
        st.info(
            "No shop has been scored yet: `clv score` or `clv run` does it. Or drop a file of your own.",
            icon=":material/storefront:",
        )
        st.button("Use your own file", on_click=_use_own_file, type="primary", icon=":material/upload_file:")


def _use_own_file() -> None:
    st.session_state[SOURCE] = UPLOADED


def _show_shop(found: Shop) -> None:
    st.caption(found.describe(style()))
    for warning in found.warnings:
        st.caption(f":material/info: {warning}")
    _show_figures(found)
    left, right = page.beside(2)
    with left:
        _show_bands(found)
    with right:
        _show_concentration(found)
    _show_tiers(found)
    _show_customers(found)


def _show_figures(found: Shop) -> None:
    totals, say, currency = found.totals, style(), found.currency
    count = int(totals["customers"])
    places = page.four()
    page.figure(next(places), "Customers", say.number(count), "in all")
    page.figure(
        next(places),
        f"Expected revenue, {found.horizon_days} days",
        say.money(totals["expected_value"], currency),
        f"{say.money(totals['expected_value_low'], currency)} to {say.money(totals['expected_value_high'], currency)}",
        about=f"{found.range_means(say)} {totals['note']}",
    )
    page.figure(
        next(places),
        "Share that will return",
        say.share(totals["return_share"]),
        f"{say.share(totals['expected_returners_low'] / count)} to "
        f"{say.share(totals['expected_returners_high'] / count)}",
        about=f"About {say.number(totals['expected_returners'])} customers with at least one purchase in the "
        f"{found.horizon_days} days. {found.range_means(say)}",
    )
    few = half(found.customers["expected_value"])
    page.figure(
        next(places),
        "Half comes from",
        say.share(few / count),
        f"{say.number(few)} customers",
        about="The best customers who together hold half of the expected revenue.",
    )


def _show_bands(found: Shop) -> None:
    st.subheader("Who is worth how much", anchor=False)
    bands = value_bands(found.customers["expected_value"], found.currency, style())
    st.altair_chart(
        portfolio_charts.bands_chart(bands, colours(), style()),
        width="stretch",
        alt="Share of customers and of expected revenue by band of expected value",
    )
    st.caption(
        f"Customers by what each is expected to spend in the next {found.horizon_days} days: how many there are, and "
        "how much of the expected revenue they hold."
    )


def _show_concentration(found: Shop) -> None:
    st.subheader("How concentrated it is", anchor=False)
    values, say = found.customers["expected_value"], style()
    few = half(values)
    st.altair_chart(
        portfolio_charts.concentration_chart(concentration(values), few / max(1, len(values)), colours(), say),
        width="stretch",
        alt="Share of expected revenue held by the best customers",
    )
    st.caption(
        f"The best {say.number(few)} customers ({say.share(few / max(1, len(values)))}) hold half of the expected "
        "revenue. The dashed line is a shop whose customers are all alike."
    )


def _show_tiers(found: Shop) -> None:
    st.subheader("Value tiers", anchor=False)
    tiers, say, currency = tier_table(found.customers), style(), found.currency
    rows = [
        {
            "Tier": f"**{tier['tier']}** · {TIERS[tier['tier']]}",
            "Customers": say.number(tier["customers"]),
            "of all": say.share(tier["customer_share"]),
            "Expected revenue": say.money(tier["revenue"], currency),
            "of it": say.share(tier["revenue_share"]),
            "From a value of": say.money(tier["from_value"], currency),
            "On average": say.money(tier["mean_value"], currency),
            "Will return": say.share(tier["p_return"]),
        }
        for tier in tiers.to_dict("records")
    ]
    unbroken = pd.DataFrame(rows).map(lambda text: text.replace(" ", "\N{NO-BREAK SPACE}"))
    st.table(unbroken, border="horizontal", hide_index=True)


@st.fragment
def _show_customers(found: Shop) -> None:
    """The table; searching in it redraws nothing else."""
    st.subheader("Every customer", anchor=False)
    search, tier = st.columns([2, 1], vertical_alignment="bottom")
    text = search.text_input(
        "Find a customer", key="q", type="search", placeholder="part of an id", live=True, bind="query-params"
    )
    chosen = tier.segmented_control("Tier", list(TIERS), key="tier", bind="query-params")
    shown = shop.search(found.customers, text or "")
    if chosen:
        shown = shown[shown["tier"] == chosen]
    if shown.empty:
        st.info("No customer has that in the id" + (" and that tier." if chosen else "."), icon=":material/search_off:")
        return
    say = style()
    st.caption(
        f"{say.number(len(shown))} customers, {say.money(shown['expected_value'].sum(), found.currency)} of expected "
        "revenue. Click a column's head to sort, or a row's box to open the customer."
    )
    picked = tables.customers(shown, found, key="customers")
    tables.download(shown, "customer-values.csv")
    if picked is not None:
        page.open_customer(picked)


if __name__ == "__main__":
    show()
