"""Errors in plain words: what happened, what to do, which values are wrong."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from streamlit_app.client import ApiError

_HEADLINES = {
    "unreachable": "The prediction service can't be reached",
    "busy": "The prediction service is busy",
    "no_model": "There is no model to ask yet",
    "missing": "That is not there",
    "input": "The file can't be used as it is",
    "other": "The prediction service could not answer",
}
_ADVICE = {
    "unreachable": "Start it with `clv serve`, or check the address in `CLV_API_URL`; then try again.",
    "busy": "Try again in a moment.",
    "no_model": "Train and promote one with `clv run`; it is served a few seconds later.",
    "missing": "It may have been scored anew meanwhile; try again.",
    "input": "Correct the file, or the matching of its columns, and upload it again.",
    "other": "Try again; if it stays so, the log of the service says more.",
}


def show_error(error: ApiError) -> None:
    """Say what happened, what to do, and which values are wrong; offer another try where that may help."""
    st.error(f"**{_HEADLINES[error.trouble]}.** {error.message}\n\n{_ADVICE[error.trouble]}", icon=":material/error:")
    named = [one for one in error.errors if one.row is not None]
    if named:
        rows = [{"Row": one.row, "Column": one.field, "What is wrong": one.message} for one in named]
        st.caption("Rows are counted from 1, without the header line.")
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    if error.trouble != "input" and st.button("Try again", icon=":material/refresh:"):
        st.rerun()


def show_input_error(message: str) -> None:
    """Say what is wrong with an uploaded file."""
    show_error(ApiError("input", message))
