"""Uploading a file: drop it, say which column is what, ask."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clv.errors import InputError
from streamlit_app import batches, page, uploads
from streamlit_app.batches import Answer, Progress
from streamlit_app.client import ApiError, Client
from streamlit_app.distribution import ranked
from streamlit_app.money import symbol
from streamlit_app.notices import show_error, show_input_error
from streamlit_app.shop import Shop, forget, keep, uploaded

Content = TypeVar("Content")

_NONE = "(none)"
_PREVIEW = 5
_READ = "file_as_read"
_EARLIEST, _LATEST = date(1900, 1, 1), date(2200, 1, 1)


@dataclass(frozen=True)
class Question:
    """What can be asked about a file.

    Attributes
    ----------
    key
        All that the answer depends on, the files first; an answer to another question is never shown.
    name
        What people call the file.
    ask
        Asks the API.
    as_of_date, purchases, features
        What the customers' pages need, see :class:`streamlit_app.shop.Shop`.
    """

    key: tuple[Any, ...]
    name: str
    ask: Callable[[Progress], Answer]
    as_of_date: str | None = None
    purchases: pd.DataFrame | None = None
    features: pd.DataFrame | None = None


def drop() -> Sequence[Any]:
    """The place to drop files; needs no service."""
    return st.file_uploader(
        "Your file",
        accept_multiple_files=True,
        key="files",
        help="A transaction log or a file with the model's features, as CSV, CSV.gz or Parquet, or Olist's tables. "
        "It is sent to the prediction service, and kept in this session only.",
    )


def answered(api: Client, facts: Mapping[str, Any], files: Sequence[Any]) -> Shop | None:
    """Let people ask about their files; the shop they show, once it is answered."""
    mine = uploaded()
    if not files:
        if mine is None:
            _explain(facts)
        else:
            st.button("Forget this file", on_click=forget, icon=":material/delete:")
        return mine
    ids = tuple((file.name, file.size, file.file_id) for file in files)
    is_answered = mine is not None and mine.question is not None and mine.question[0] == ids
    try:
        with st.expander("How the file is read", expanded=not is_answered):
            question = _question(api, facts, files, ids)
            if question is None:
                return None
            if st.button("Predict", type="primary", icon=":material/play_arrow:"):
                forget()
                keep(_ask(question))
                st.rerun()  # the answer is what is looked at now, no longer the file
    except InputError as error:
        show_input_error(str(error))
        return None
    except ApiError as error:
        show_error(error)
        return None
    return mine if mine is not None and mine.question == question.key else None


def _explain(facts: Mapping[str, Any]) -> None:
    names = [feature["name"] for feature in facts["contract"]]
    log, features, olist = page.beside(3, 220)
    with log.container(border=True, height="stretch"):
        st.subheader("A transaction log", anchor=False)
        st.markdown(
            "One row per purchase or order line: **who**, **when**, **how much**. CSV or Parquet. Columns are guessed, "
            "you can correct them. Returns are negative amounts."
        )
        st.code("customer_id,date,amount\n00001,2018-03-01,120.50\n00001,2018-05-20,80.00", language="csv")
    with features.container(border=True, height="stretch"):
        st.subheader("A file of features", anchor=False)
        st.markdown(
            f"For data teams: one row per customer with the {len(names)} features of the model, as dbt's "
            "`customer_snapshots` has them; the page *Model* describes each."
        )
        st.code("\n".join(textwrap.wrap(", ".join(["customer_id", *names]), 26)[:3]), language="csv")
    with olist.container(border=True, height="stretch"):
        st.subheader("Olist's orders", anchor=False)
        st.markdown(
            "The zip as Kaggle gives it, or its CSV files together: orders, customers, items, payments, products, "
            "sellers, reviews and category names."
        )
        st.code("brazilian-ecommerce.zip", language=None)
    st.caption(
        f"The model has learnt from one shop, in {facts['model']['currency']}, up to {facts['model']['as_of_date']}. "
        "For a file of another shop, trust the order of its customers more than their amounts."
    )


def _question(api: Client, facts: Mapping[str, Any], files: Sequence[Any], ids: Any) -> Question | None:
    """What the files are, and what can be asked about them; None until people have said enough."""
    names = [file.name for file in files]
    # Loading tables needs DuckDB and more, which other files and pages do without.
    from streamlit_app import olist

    if olist.is_olist(names):
        return _about_olist(api, ids, {file.name: file.getvalue() for file in files})
    if len(files) > 1:
        raise InputError(f"{len(files)} files were dropped ({', '.join(names)}); expected one, or Olist's tables.")
    frame = _once(ids, lambda: _reading(lambda: uploads.read(names[0], files[0].getvalue())))
    features = [feature["name"] for feature in facts["contract"]]
    if uploads.is_features(frame.columns, features):
        return _about_features(api, facts["contract"], ids, frame)
    return _about_log(api, facts, ids, frame)


def _once(key: Any, read: Callable[[], Content]) -> Content:
    """Read a file once, not on every run of the page; the session holds the last one only."""
    known = st.session_state.get(_READ)
    if known is None or known[0] != key:
        known = st.session_state[_READ] = (key, read())
    content: Content = known[1]
    return content


def _reading(read: Callable[[], Content]) -> Content:
    with st.spinner("Reading the file …"):
        return read()


def _about_olist(api: Client, ids: Any, files: Mapping[str, bytes]) -> Question:
    from streamlit_app import olist

    def load() -> olist.Orders:
        with st.status("Reading Olist's tables …") as status:

            def tell(step: str) -> None:
                status.update(label=f"Olist's tables: {step} …")

            orders = olist.read(files, tell)
            status.update(label="Olist's tables are read", state="complete")
            return orders

    orders = _once(ids, load)
    found = f"Olist's tables: {len(orders.purchases):,} orders."
    st.success(found, icon=":material/receipt_long:")
    if orders.notes:
        with st.popover("Worth knowing of the tables", icon=":material/info:"):
            st.markdown("\n".join(f"- {note[0].upper()}{note[1:]}" for note in orders.notes))
    as_of = _as_of(_row_of_four()[0], orders.as_of_date)
    _preview(orders.purchases)
    return _about_purchases(api, (ids, as_of), next(iter(files)), orders.purchases, as_of)


def _about_features(api: Client, contract: Sequence[dict[str, Any]], ids: Any, frame: pd.DataFrame) -> Question:
    uploads.check_features(frame.columns, [feature["name"] for feature in contract])
    st.success(f"A file of features: {len(frame):,} customers.", icon=":material/table_view:")
    _preview(frame)
    return Question(
        (ids,),
        ids[0][0],
        lambda progress: batches.from_features(api, frame, contract, progress),
        features=batches.typed(frame, contract),
    )


def _about_log(api: Client, facts: Mapping[str, Any], ids: Any, frame: pd.DataFrame) -> Question | None:
    """Let people say which column of a log is what; None until they have."""
    st.success(f"A transaction log: {len(frame):,} rows. Which column is what?", icon=":material/receipt_long:")
    matching = _match(frame)
    if matching is None:
        st.info("Choose the columns that hold customer, date and amount.", icon=":material/arrow_upward:")
        _preview(frame)
        return None
    first, second, third = _row_of_four()[:3]
    matching = _look(first, second, frame, matching)
    purchases, usual = _matched(ids, frame, matching)
    as_of = _as_of(third, usual)
    _preview(purchases.rename(columns=matching.columns))
    st.caption(
        "The first rows, as they are understood. Amounts are taken as "
        f"{symbol(facts['model']['currency'])}, the currency the model has learnt in."
    )
    return _about_purchases(api, (ids, matching, as_of), ids[0][0], purchases, as_of, matching.columns)


def _about_purchases(
    api: Client,
    key: Any,
    name: str,
    purchases: pd.DataFrame,
    as_of: date,
    columns: Mapping[str, str] | None = None,
) -> Question:
    is_later = uploads.is_after(purchases, as_of)
    if is_later.all():
        raise InputError(f"All purchases are after {as_of}; choose a later as-of day.")
    if is_later.any():
        count = int(is_later.sum())
        st.caption(f"{count:,} row{'' if count == 1 else 's'} after {as_of} left out.")
    known = purchases[~is_later]
    return Question(
        key,
        name,
        lambda progress: batches.from_purchases(api, known, as_of.isoformat(), progress, columns),
        as_of_date=as_of.isoformat(),
        purchases=known,
    )


@st.cache_data(scope="session", max_entries=1, show_spinner="Reading dates and amounts …")
def _matched(ids: Any, _frame: pd.DataFrame, matching: uploads.Matching) -> tuple[pd.DataFrame, date]:
    purchases = uploads.purchases_of(_frame, matching)
    # A shop may be a day ahead of UTC; `clv load` allows for the same.
    uploads.check_days(purchases, matching.time, datetime.now(UTC).date() + timedelta(days=1))
    usual = uploads.as_of_day(purchases)
    assert usual is not None
    return purchases, usual


def _match(frame: pd.DataFrame) -> uploads.Matching | None:
    """Columns as guessed and corrected; None until there are three; refuses one that is chosen twice."""
    columns = list(frame.columns)
    guess = uploads.guess_columns(columns)
    first, second, third, fourth = _row_of_four()
    customer = _pick(first, "Customer", columns, guess["customer"])
    time = _pick(second, "Date", columns, guess["time"])
    amount = _pick(third, "Amount", columns, guess["amount"])
    order = _pick(fourth, "Order (optional)", [_NONE, *columns], guess["order"] or _NONE)
    if customer is None or time is None or amount is None:
        return None
    return uploads.Matching(customer, time, amount, None if order == _NONE else order)


def _row_of_four() -> list[DeltaGenerator]:
    return page.beside(4, 180, most=4)


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


def _as_of(place: Any, usual: date) -> date:
    day: date = place.date_input(
        "As of",
        value=max(usual, _EARLIEST),
        min_value=_EARLIEST,
        max_value=_LATEST,
        format="YYYY-MM-DD",
        help="The last day that is known; predictions are for the days after it. Later rows are not sent.",
    )
    return day


def _pick(column: Any, label: str, options: list[str], chosen: str | None) -> str | None:
    index = options.index(chosen) if chosen in options else None
    picked: str | None = column.selectbox(
        label, options, index=index, placeholder="choose", key=f"pick-{label}-{options}"
    )
    return picked


def _preview(frame: pd.DataFrame) -> None:
    st.dataframe(frame.head(_PREVIEW), hide_index=True, width="stretch")


def _ask(question: Question) -> Shop:
    """Ask the API, with a bar on the screen."""
    text = "Asking the model …"
    bar = st.progress(0.0, text)
    try:
        answer = question.ask(lambda done: bar.progress(done, text))
    finally:
        bar.empty()
    if answer.table.empty:
        raise InputError("No customer in the file has a purchase by that day, so there is nothing to predict.")
    return Shop(
        name=question.name,
        model=answer.model,
        as_of_date=question.as_of_date,
        interval_level=answer.interval_level,
        customers=ranked(answer.table),
        totals=answer.totals,
        warnings=tuple(answer.warnings),
        purchases=question.purchases,
        features=question.features,
        question=question.key,
    )
