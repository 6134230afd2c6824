"""Portfolio: upload a file, see what the customers are worth."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pandas as pd
import streamlit as st

from clv.errors import InputError
from streamlit_app import charts, uploads
from streamlit_app.client import ApiError, Predictions, Progress
from streamlit_app.money import money, share, symbol
from streamlit_app.notices import show_error, show_input_error
from streamlit_app.service import client

_RESULT = "portfolio_result"
_NONE = "(none)"


@dataclass(frozen=True)
class Question:
    """What can be asked about a file.

    Attributes
    ----------
    key
        What the answer depends on beside the file; an answer to another question is never shown.
    ask
        Asks the API.
    """

    key: Any
    ask: Callable[[Progress], Predictions]


def show() -> None:
    """The page."""
    st.title("What will your customers spend?")
    try:
        facts = client().model()
    except ApiError as error:
        show_error(error)
        return
    except InputError as error:
        show_error(ApiError("other", str(error)))
        return
    model = facts["model"]
    st.caption(
        f"Model version {model['version']} ({model['stage']}) looks {model['horizon_days']} days ahead and has learnt "
        f"from purchases up to {model['as_of_date']}."
    )
    uploaded = st.file_uploader(
        "Transactions or features, as CSV",
        type=["csv", "txt"],
        help="A transaction log: customer, date, amount and, if you have it, order. Or a file with the model's "
        "features. It is sent to the prediction service and kept in this session only.",
    )
    if uploaded is None:
        _show_empty(facts)
        return
    content = uploaded.getvalue()
    try:
        frame = _read(content)
        names = [feature["name"] for feature in facts["contract"]]
        question = _about_features(frame, facts) if uploads.is_features(frame.columns, names) else _about_log(frame)
        if question is None:
            return
        key = (hashlib.sha256(content).digest(), question.key)
        if st.button("Predict", type="primary", icon=":material/play_arrow:"):
            st.session_state.pop(_RESULT, None)
            st.session_state[_RESULT] = (key, _ask(question))
    except InputError as error:
        show_input_error(str(error))
        return
    except ApiError as error:
        show_error(error)
        return
    result = st.session_state.get(_RESULT)
    if result is not None and result[0] == key:
        _show_result(result[1])


def _show_empty(facts: dict[str, Any]) -> None:
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.subheader("A transaction log", anchor=False)
        st.markdown(
            "One row per purchase (or order line): **who**, **when**, **how much**. Column names are guessed, you can "
            "correct them. Returns are negative amounts."
        )
        st.code(
            "customer_id,date,amount,order_id\n00001,2018-03-01,120.50,a-1\n00001,2018-05-20,80.00,a-2", language="csv"
        )
    with right.container(border=True, height="stretch"):
        st.subheader("A file of features", anchor=False)
        st.markdown(
            f"One row per customer with the {len(facts['contract'])} features of the model, as dbt's "
            "`customer_snapshots` has them; the page *Model* describes each."
        )
        names = [feature["name"] for feature in facts["contract"]]
        st.code("\n".join(textwrap.wrap(", ".join(["customer_id", *names]), 52)[:3]), language="csv")


@st.cache_data(max_entries=4, show_spinner="Reading the file …")
def _read(content: bytes) -> pd.DataFrame:
    return uploads.read_csv(content)


def _about_features(frame: pd.DataFrame, facts: dict[str, Any]) -> Question:
    """Check a file of features and show it."""
    uploads.check_features(frame.columns, [feature["name"] for feature in facts["contract"]])
    st.success(f"A file of features: {len(frame):,} customers.", icon=":material/table_view:")
    _preview(frame)
    return Question(None, lambda progress: client().predict(frame, facts["contract"], progress))


def _about_log(frame: pd.DataFrame) -> Question | None:
    """Let people say which column of a log is what; None until they have."""
    st.success(f"A transaction log: {len(frame):,} rows. Which column is what?", icon=":material/receipt_long:")
    matching = _match(frame)
    if matching is None:
        st.info("Choose the columns that hold customer, date and amount.", icon=":material/arrow_upward:")
        _preview(frame)
        return None
    first, second, third, _ = st.columns(4)
    matching = _look(first, second, frame, matching)
    purchases = uploads.purchases_of(frame, matching)
    last = uploads.last_day(purchases)
    as_of = third.date_input(
        "As of",
        value=date.today() if last is None else last.date(),
        min_value=date(1900, 1, 1),
        max_value=date(2200, 1, 1),
        format="YYYY-MM-DD",
        help="The last day that is known; predictions are for the days after it. Later rows are not sent.",
    )
    is_later = uploads.is_after(purchases, as_of)
    _preview(frame)
    if is_later.all():
        raise InputError(f"All purchases are after {as_of}; choose a later as-of day.")
    if is_later.any():
        st.caption(f"{int(is_later.sum()):,} rows after {as_of} are left out.")
    return Question(
        (matching, as_of),
        lambda progress: client().predict_purchases(
            purchases[~is_later], as_of.isoformat(), progress, matching.columns
        ),
    )


def _match(frame: pd.DataFrame) -> uploads.Matching | None:
    """Columns as guessed and corrected; None until there are three."""
    columns = list(frame.columns)
    guess = uploads.guess_columns(columns)
    first, second, third, fourth = st.columns(4)
    customer = _pick(first, "Customer", columns, guess["customer"])
    time = _pick(second, "Date", columns, guess["time"])
    amount = _pick(third, "Amount", columns, guess["amount"])
    order = _pick(fourth, "Order (optional)", [_NONE, *columns], guess["order"] or _NONE)
    if customer is None or time is None or amount is None:
        return None
    return uploads.Matching(customer, time, amount, None if order == _NONE else order)


def _look(first: Any, second: Any, frame: pd.DataFrame, matching: uploads.Matching) -> uploads.Matching:
    """How dates and amounts are written, as guessed and corrected."""
    formats, decimals = list(uploads.DATE_FORMATS), ["1,234.56", "1.234,56"]
    date_format = first.selectbox(
        "Dates look like",
        formats,
        index=formats.index(uploads.guess_date_format(frame[matching.time])),
        key=f"format-{matching.time}",
    )
    decimal = second.selectbox(
        "Amounts look like",
        decimals,
        index=int(uploads.guess_decimal_comma(frame[matching.amount])),
        key=f"decimal-{matching.amount}",
    )
    return replace(matching, date_format=date_format, has_decimal_comma=decimal == decimals[1])


def _pick(column: Any, label: str, options: list[str], chosen: str | None) -> str | None:
    index = options.index(chosen) if chosen in options else None
    picked: str | None = column.selectbox(
        label, options, index=index, placeholder="choose", key=f"pick-{label}-{options}"
    )
    return picked


def _preview(frame: pd.DataFrame) -> None:
    with st.expander("First rows of the file"):
        st.dataframe(frame.head(20), hide_index=True, width="stretch")


def _ask(question: Question) -> Predictions:
    """Ask the API, with a bar on the screen."""
    text = "Asking the model …"
    bar = st.progress(0.0, text)
    try:
        return question.ask(lambda done: bar.progress(done, text))
    finally:
        bar.empty()


def _show_result(result: Predictions) -> None:
    for warning in result.warnings:
        st.warning(warning, icon=":material/info:")
    table = result.table
    if table.empty:
        st.info("No customer in the file has a purchase by that day, so there is nothing to predict.")
        return
    currency, horizon = result.model["currency"], result.model["horizon_days"]
    st.divider()
    _show_figures(table, currency, horizon)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Who is worth how much", anchor=False)
        st.altair_chart(charts.bands_chart(charts.value_bands(table["expected_value"], currency)), width="stretch")
        st.caption(
            f"Customers by what they are expected to spend in the next {horizon} days, beside the revenue they hold."
        )
    with right:
        st.subheader("How concentrated it is", anchor=False)
        curve = charts.concentration(table["expected_value"])
        st.altair_chart(charts.concentration_chart(curve), width="stretch")
        half = float(curve["customers"][curve["revenue"] >= 0.5].min())
        st.caption(f"The best {share(half)} of customers hold half of the expected revenue.")
    _show_table(table, currency, horizon, result.interval_level)


def _show_figures(table: pd.DataFrame, currency: str, horizon: int) -> None:
    customers, revenue, returning, best = st.columns(4)
    customers.metric("Customers", f"{len(table):,}", border=True)
    revenue.metric(f"Expected revenue, {horizon} days", money(table["expected_value"].sum(), currency), border=True)
    returning.metric(
        "Share that will return",
        share(table["p_return"].mean()),
        help=f"About {table['p_return'].sum():,.0f} customers with at least one purchase.",
        border=True,
    )
    best.metric("Best customer", money(table["expected_value"].max(), currency), border=True)


def _show_table(table: pd.DataFrame, currency: str, horizon: int, level: float) -> None:
    st.subheader("Every customer", anchor=False)
    ordered = table.sort_values("expected_value", ascending=False, kind="stable")
    shown = ordered.assign(p_return=100 * ordered["p_return"])
    amount = f"{symbol(currency)} %.2f"
    spread = f"{level:.0%} of customers who return spend between the two bounds."
    st.dataframe(
        shown,
        hide_index=True,
        width="stretch",
        height=420,
        column_order=[
            "customer_id",
            "expected_value",
            "p_return",
            "value_if_return",
            "value_if_return_low",
            "value_if_return_high",
            "percentile",
        ],
        column_config={
            "customer_id": st.column_config.TextColumn("Customer", pinned=True),
            "expected_value": st.column_config.NumberColumn(
                "Expected value", format=amount, help=f"Expected spend in the next {horizon} days."
            ),
            "p_return": st.column_config.ProgressColumn(
                "Chance to return", format="%.2f %%", min_value=0, max_value=float(max(1.0, shown["p_return"].max()))
            ),
            "value_if_return": st.column_config.NumberColumn("Value if they return", format=amount),
            "value_if_return_low": st.column_config.NumberColumn("… at least", format=amount, help=spread),
            "value_if_return_high": st.column_config.NumberColumn("… at most", format=amount, help=spread),
            "percentile": st.column_config.NumberColumn(
                "Percentile", format="%d", help="Share of the shop's scored customers with a lower expected value."
            ),
        },
    )
    st.download_button(
        "Download as CSV",
        ordered.to_csv(index=False).encode(),
        file_name="customer-values.csv",
        mime="text/csv",
        icon=":material/download:",
    )


if __name__ == "__main__":
    show()
