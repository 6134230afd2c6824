"""Customer: what one customer bought, is expected to spend, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from streamlit_app import customer_charts, feature_words, page, shop, tables, what_if
from streamlit_app.client import Client
from streamlit_app.distribution import value_bands
from streamlit_app.palette import colours
from streamlit_app.preferences import style
from streamlit_app.shop import Customer, Shop


def show() -> None:
    """The page."""
    st.title("What is a customer worth, and why?", anchor=False)
    page.guarded(_show)


def _show(api: Client, facts: Mapping[str, Any]) -> None:
    found = page.shop_or_hint(api, facts)
    if found is None:
        return
    st.caption(found.describe(style()))
    text = st.text_input(
        "Find a customer", key=page.CUSTOMER_KEY, type="search", placeholder="an id, or part of it", bind="query-params"
    )
    row = shop.find(found, text) if text else None
    if row is None:
        _show_matches(found, (text or "").strip())
        return
    _show_neighbours(found, row)
    _show_figures(found, row)
    one = shop.details(api, found, row)
    left, right = page.beside(2)
    with left:
        _show_purchases(found, one)
    with right:
        _show_standing(found, row)
    if one.features is None:
        st.info(
            "What the model sees of this customer is not kept, so there is nothing to explain; `clv score` keeps it.",
            icon=":material/info:",
        )
    else:
        _show_why(api, facts, found, one, one.features)


def _show_matches(found: Shop, wanted: str) -> None:
    matches = shop.search(found.customers, wanted)
    if matches.empty:
        st.info(f"No customer has “{wanted}” in the id.", icon=":material/search_off:")
        return
    many = f"{style().number(len(matches))} customers"
    st.caption(
        (f"{many} have “{wanted}” in the id. " if wanted else f"{many}, the best first. ")
        + "Tick the box of a row to open it."
    )
    picked = tables.customers(matches, found, key="matches")
    if picked is not None:
        page.open_customer(picked)


def _show_neighbours(found: Shop, row: Mapping[str, Any]) -> None:
    """Buttons to the next better and the next weaker customer."""
    ids = found.customers["customer_id"]
    place = int((ids == row["customer_id"]).to_numpy().argmax())
    with st.container(horizontal=True):
        for label, icon, other in (("Better", "arrow_upward", place - 1), ("Weaker", "arrow_downward", place + 1)):
            is_there = 0 <= other < len(ids)
            st.button(
                label,
                icon=f":material/{icon}:",
                disabled=not is_there,
                on_click=_open,
                args=(ids.iloc[other] if is_there else "",),
                help="The next customer by expected value.",
            )
        st.button("All customers", icon=":material/list:", on_click=_open, args=("",))


def _open(customer_id: str) -> None:
    st.session_state[page.CUSTOMER_KEY] = customer_id


def _show_figures(found: Shop, customer: Mapping[str, Any]) -> None:
    say, currency, level = style(), found.currency, style().share(found.interval_level)
    chance, low, high = customer["p_return"], customer["value_if_return_low"], customer["value_if_return_high"]
    places = page.four()
    page.figure(
        next(places),
        f"Expected value, {found.horizon_days} days",
        say.money(customer["expected_value"], currency),
        f"{say.money(chance * low, currency)} to {say.money(chance * high, currency)}",
        about="The chance to return times the value if they do. The range is the chance times the range of that value.",
    )
    page.figure(
        next(places),
        "Chance to return",
        say.share(chance),
        f"{say.share(found.totals['return_share'])} on average",
        about=f"Of at least one purchase in the {found.horizon_days} days.",
    )
    page.figure(
        next(places),
        "Value if they return",
        say.money(customer["value_if_return"], currency),
        f"{say.money(low, currency)} to {say.money(high, currency)}",
        about=f"{level} of the customers who return spend within the range.",
    )
    page.figure(
        next(places),
        "Rank",
        say.number(customer["rank"]),
        f"top {say.share(customer['rank'] / len(found.customers))}",
        about=f"Of {say.number(len(found.customers))} customers by expected value; tier {customer['tier']}.",
    )


def _show_purchases(found: Shop, one: Customer) -> None:
    st.subheader("What they bought", anchor=False)
    purchases, say = one.purchases, style()
    if purchases is None or found.as_of_date is None:
        why = "A file of features holds no purchases."
        if found.features is None:
            why = "The shop's data no longer hold this customer's purchases; `clv score` brings the list up to date."
        st.info(why, icon=":material/info:")
        return
    st.altair_chart(
        customer_charts.timeline_chart(purchases, found.as_of_date, found.horizon_days, found.currency, colours(), say),
        width="stretch",
        alt="Purchases over time",
    )
    last = purchases["day"].max()
    st.caption(
        f"{f'{len(purchases)} purchases' if len(purchases) > 1 else 'One purchase'}, "
        f"{say.money(float(purchases['amount'].sum()), found.currency)} in all, the last on {last:%Y-%m-%d}. The "
        "shaded days are those the prediction is about."
    )
    with st.expander("All purchases"):
        known = purchases.dropna(axis="columns", how="all").assign(day=purchases["day"].dt.date)
        st.dataframe(known.rename(columns=lambda name: name.replace("_", " ")), hide_index=True, width="stretch")


def _show_standing(found: Shop, row: Mapping[str, Any]) -> None:
    st.subheader("Where they stand", anchor=False)
    bands = value_bands(found.customers["expected_value"], found.currency, style())
    st.altair_chart(
        customer_charts.standing_chart(bands, float(row["expected_value"]), colours(), style()),
        width="stretch",
        alt="Share of customers by band of expected value",
    )
    st.caption("All customers by expected value, and the band this one is in.")


@st.fragment
def _show_why(api: Client, facts: Mapping[str, Any], found: Shop, one: Customer, features: dict[str, Any]) -> None:
    """The explanation beside controls that change it; changing one redraws nothing else."""
    with page.errors_in_words():
        _explain(api, facts, found, one, features)


def _explain(api: Client, facts: Mapping[str, Any], found: Shop, one: Customer, features: dict[str, Any]) -> None:
    customer_id, say, currency = one.row["customer_id"], style(), found.currency
    explanation = api.explain(customer_id, features)
    strongest = [one["feature"] for one in explanation["contributions"]]
    meanings = {feature["name"]: feature["description"] for feature in facts["contract"]}
    st.subheader("Why, and what if", anchor=False)
    answer, question = page.beside(2, 400)
    with question:
        st.caption(
            "Change what the model sees, and it is asked again. Features hang together in life, here each changes on "
            "its own: this shows how the model thinks, not what would happen."
        )
        changed = what_if.controls(customer_id, features, facts["contract"], strongest)
        is_changed = changed != features
        if is_changed:
            st.button("As it is", icon=":material/undo:", on_click=what_if.reset, args=(customer_id, strongest))
    with answer:
        if is_changed:
            before, explanation = explanation["prediction"], api.explain(customer_id, changed)
            _show_change(before, api.predict(customer_id, changed), found)
        st.altair_chart(
            customer_charts.waterfall_chart(
                customer_charts.steps(explanation, meanings, currency, say), currency, colours(), say
            ),
            width="stretch",
            alt="What each feature adds to the expected value",
        )
        st.caption(("**If it were so:** " if is_changed else "") + feature_words.sentence(explanation, currency, say))


def _show_change(before: Mapping[str, float], after: Mapping[str, float], found: Shop) -> None:
    say, currency = style(), found.currency
    more_value = after["expected_value"] - before["expected_value"]
    more_chance = after["p_return"] - before["p_return"]
    row = page.row()
    row.metric(
        "Expected value, if",
        say.money(after["expected_value"], currency),
        say.money(more_value, currency),
        **_direction(more_value),
    )
    row.metric(
        "Chance to return, if",
        say.share(after["p_return"]),
        f"{say.number(100 * more_chance, 1)} points",
        **_direction(more_chance),
    )
    low, high = after["value_if_return_low"], after["value_if_return_high"]
    row.metric(
        "Value if they return, if",
        say.money(after["value_if_return"], currency),
        f"{say.money(low, currency)} to {say.money(high, currency)}",
        delta_color="off",
        delta_arrow="off",
    )


def _direction(change: float) -> dict[str, Any]:
    """Arrow and colour of a change; left alone, Streamlit knows the minus of the keyboard only."""
    if change < 0:
        return {"delta_arrow": "down", "delta_color": "red"}
    return {"delta_arrow": "up", "delta_color": "green"}


if __name__ == "__main__":
    show()
