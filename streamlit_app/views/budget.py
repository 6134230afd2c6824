"""Budget: what contacting the best customers costs, and what they are expected to bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from streamlit_app import budget_charts, campaign, page, tables
from streamlit_app.client import Client
from streamlit_app.money import decimals_of, symbol
from streamlit_app.palette import colours
from streamlit_app.preferences import style
from streamlit_app.shop import Shop


def show() -> None:
    """The page."""
    st.title("Whom is it worth contacting?", anchor=False)
    page.guarded(_show)


def _show(api: Client, facts: Mapping[str, Any]) -> None:
    found = page.shop_or_hint(api, facts)
    if found is None:
        return
    st.caption(found.describe(style()))
    everybody, digits = len(found.customers), decimals_of(found.customers["expected_value"])
    first, second, third = page.beside(3, 180)
    cost = first.number_input(
        f"Cost of one contact, {symbol(found.currency)}",
        min_value=0.0,
        value=1.0,
        step=10.0 ** (1 - digits),
        format=f"%.{digits}f",
        key="cost",
        bind="query-params",
    )
    margin = second.number_input(
        "Margin, % of revenue",
        min_value=1,
        max_value=100,
        value=30,
        step=5,
        key="margin",
        bind="query-params",
        help="What is left of the revenue once the goods are paid.",
    )
    wanted = third.number_input(
        "Customers to contact",
        min_value=1,
        max_value=everybody,
        value=None,
        step=max(1, everybody // 100),
        placeholder="most profitable",
        key="k",
        bind="query-params",
        help="The best first. Empty: as many as bring the highest expected profit.",
    )
    planned = campaign.plan(
        found.customers["expected_value"], found.totals["curve"], cost=float(cost or 0), margin=(margin or 1) / 100
    )
    chosen = int(wanted) if wanted else planned.best
    if chosen == 0:
        worth = style().money(float(found.customers["expected_value"].iloc[0]) * planned.margin, found.currency)
        st.info(
            f"No contact pays at this cost: even the best customer is expected to bring no more than {worth} of margin "
            f"in {found.horizon_days} days.",
            icon=":material/money_off:",
        )
        return
    _show_figures(found, planned, chosen, float(cost or 0))
    _show_caution(planned, chosen)
    _show_curve(found, planned, chosen, float(cost or 0))
    _show_list(found, chosen)


def _show_figures(found: Shop, planned: campaign.Campaign, chosen: int, cost: float) -> None:
    say, plan, currency = style(), planned.at(chosen), found.currency
    means = f"{found.range_means(say)} {found.totals['note']}"
    places = page.four()
    page.figure(
        next(places),
        "Contacted",
        say.number(chosen),
        f"{say.share(chosen / len(found.customers))} of all",
    )
    page.figure(
        next(places),
        f"Their revenue, {found.horizon_days} days",
        say.money(plan["revenue"], currency),
        f"{say.money(plan['revenue_low'], currency)} to {say.money(plan['revenue_high'], currency)}",
        about=f"What they are expected to spend. {means}",
    )
    page.figure(next(places), "Cost of contact", say.money(plan["cost"], currency), f"{say.money(cost, currency)} each")
    page.figure(
        next(places),
        "Expected profit",
        say.money(plan["profit"], currency),
        f"{say.money(plan['profit_low'], currency)} to {say.money(plan['profit_high'], currency)}",
        about=f"Margin on the expected revenue less the cost of contact. {means}",
    )


def _show_caution(planned: campaign.Campaign, chosen: int) -> None:
    needed = planned.needed_share(chosen)
    if needed > 1:
        pays = "Even if all of it came through the contact, it would not pay for itself."
    elif needed == 0:
        pays = "At no cost there is nothing to pay for."
    else:
        pays = (
            f"The contact pays for itself if at least **{style().share(needed)}** of that revenue would not have come "
            "without it."
        )
    st.warning(
        "**A forecast is not the effect of a campaign.** These customers are expected to spend this much as things "
        f"are, contacted or not, and the profit counts all of it. {pays} What a contact really adds, only a test with "
        "a group that is left alone can tell.",
        icon=":material/balance:",
    )


def _show_curve(found: Shop, planned: campaign.Campaign, chosen: int, cost: float) -> None:
    say, currency = style(), found.currency
    st.subheader("How many to contact", anchor=False)
    st.altair_chart(
        budget_charts.profit_chart(planned, chosen, currency, colours(), say),
        width="stretch",
        alt="Expected profit by number of customers contacted",
    )
    best = planned.at(planned.best)
    sentences = [
        f"Expected profit is highest, {say.money(best['profit'], currency)}, with the best {say.number(planned.best)} "
        f"customers: those whose expected value is above {say.money(cost / planned.margin, currency)}, where the "
        "margin on it pays the contact."
        if planned.best < len(found.customers)
        else "Every customer's margin pays the contact, so expected profit is highest with all of them."
    ]
    if planned.break_even is not None:
        sentences.append(f"Break-even is at {say.number(planned.break_even)} customers: beyond it money is lost.")
    sentences.append(f"The shaded band is the range. {found.range_means(say)}")
    st.caption(" ".join(sentences))


def _show_list(found: Shop, chosen: int) -> None:
    st.subheader("Who is in the list", anchor=False)
    listed = found.customers.head(chosen)
    picked = tables.customers(listed, found, key="listed")
    tables.download(listed, f"contact-list-{chosen}.csv")
    if picked is not None:
        page.open_customer(picked)


if __name__ == "__main__":
    show()
