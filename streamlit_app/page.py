"""What all pages share: the service they ask, and what they show when it can't answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clv.errors import ClvError
from streamlit_app import preferences, shop
from streamlit_app.client import ApiError, Client
from streamlit_app.notices import show_error
from streamlit_app.service import client

PORTFOLIO, CUSTOMER = "views/portfolio.py", "views/customer.py"

CUSTOMER_KEY = "customer"
"""Name of the customer in the address of a page."""

_CARRIED = "carried"
_PAIR_PIXELS = 400


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Show what goes wrong in the block in plain words; a fragment needs its own, as it also runs without its page."""
    try:
        yield
    except ApiError as error:
        show_error(error)
    except ClvError as error:
        show_error(ApiError("other", str(error)))


def guarded(show: Callable[[Client, dict[str, Any]], None]) -> None:
    """Show something that needs the API and the facts of its model; else say in plain words why that can't be."""
    with errors_in_words():
        api = client()
        show(api, api.model())


def shop_or_hint(api: Client, facts: Mapping[str, Any]) -> shop.Shop | None:
    """The shop the pages are about, named in a line; where there is none, how to get one."""
    found = shop.current(api, facts)
    if found is None:
        st.info(
            "There is no shop to look at yet: none was scored (`clv score`), and no file was uploaded in this session.",
            icon=":material/storefront:",
        )
        st.page_link(PORTFOLIO, label="Upload a file on the page Portfolio", icon=":material/upload_file:")
    return found


def row() -> DeltaGenerator:
    """A row for elements side by side; what finds no place in a narrow window goes below."""
    return st.container(horizontal=True)


def four() -> Iterator[DeltaGenerator]:
    """Places for four figures: all side by side, or two by two in a narrow window."""
    pairs = st.grid(2, min_column_width=_PAIR_PIXELS)
    for _ in range(2):
        pair = pairs.container(horizontal=True)
        yield from (pair, pair)


def beside(count: int, least_pixels: int = 340, most: int = 3) -> list[DeltaGenerator]:
    """Places side by side, `most` or as many as find so many pixels each; the others go below."""
    places = st.grid(min(count, most), min_column_width=least_pixels, gap=("small", "medium"))
    return [places.cell() for _ in range(count)]


def figure(place: DeltaGenerator, label: str, value: str, note: str | None = None, *, about: str | None = None) -> None:
    """A number in a frame, with a grey note below it; `about` is shown on demand."""
    place.metric(label, value, note, delta_color="off", delta_arrow="off", help=about, border=True)


def open_customer(customer_id: str) -> NoReturn:
    """Go to the page of this customer; what is set for all pages goes along."""
    settings = {name: st.session_state[name] for name in preferences.KEYS}
    st.session_state[_CARRIED] = {**settings, CUSTOMER_KEY: customer_id}
    st.switch_page(CUSTOMER, query_params={})


def carry_on() -> None:
    """Set what the page before has sent along; comes before the widgets that show it."""
    st.session_state.update(st.session_state.pop(_CARRIED, {}))
