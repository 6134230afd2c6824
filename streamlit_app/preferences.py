"""How people like numbers and money to be written: a setting in the sidebar, kept in the address of the page."""

from __future__ import annotations

import streamlit as st

from streamlit_app.money import Style, Unit

KEYS = ("numbers", "money")
"""Names of the two in the address of a page."""

_MARKS = {
    "point": (",", "."),
    "comma": (".", ","),
    "space": ("\N{NARROW NO-BREAK SPACE}", ","),
    "apostrophe": ("’", "."),
}
_UNITS: tuple[Unit, ...] = ("before", "after", "code")
_COMMA = {"da", "de", "el", "es", "hr", "id", "it", "nl", "pt", "ro", "sl", "sr", "tr", "vi"}
_SPACE = {"bg", "cs", "et", "fi", "fr", "hu", "lt", "lv", "nb", "nn", "no", "pl", "ru", "sk", "sv", "uk"}


def show() -> None:
    """Draw the setting in the sidebar; without a choice the browser's language decides."""
    usual = _usual_marks(st.context.locale)
    with st.sidebar.expander("Number format", icon=":material/tune:"):
        st.selectbox(
            "Numbers",
            list(_MARKS),
            index=list(_MARKS).index(usual),
            format_func=_example,
            key=KEYS[0],
            bind="query-params",
            help="In texts, charts and cards. Tables write decimal commas where your browser's language does.",
        )
        st.selectbox(
            "Currency",
            _UNITS,
            format_func=lambda unit: Style(unit=unit).money(12.5, "USD"),
            key=KEYS[1],
            bind="query-params",
            help="The currency itself is the shop's.",
        )


def _example(name: str) -> str:
    """How the address of the page and people call it."""
    return Style(*_MARKS[name]).number(1234.56, 2).replace("\N{NARROW NO-BREAK SPACE}", " ")


def style() -> Style:
    """The style that was chosen."""
    marks = st.session_state.get(KEYS[0]) or _usual_marks(st.context.locale)
    return Style(*_MARKS[marks], unit=st.session_state.get(KEYS[1]) or "before")


def _usual_marks(locale: str | None) -> str:
    """What is usual where a language such as ``de-CH`` is spoken."""
    language, _, region = (locale or "en").replace("_", "-").partition("-")
    if region.upper() in ("CH", "LI"):
        return "apostrophe"
    return "comma" if language in _COMMA else "space" if language in _SPACE else "point"
