"""Which shop the pages are about: the one that was scored last, or the file someone uploaded in this session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import streamlit as st

from streamlit_app import batches, uploads
from streamlit_app.client import ApiError, Client
from streamlit_app.distribution import ranked
from streamlit_app.money import Style

SOURCE = "source"
"""Key of the widget that chooses between the two."""

SCORED, UPLOADED = "The scored shop", "Your own file"

_STATE = "uploaded_shop"


@dataclass(frozen=True)
class Shop:
    """Customers and what they are expected to bring.

    Attributes
    ----------
    name
        What people call it.
    model
        The model that answered: version, horizon, currency, ...
    as_of_date
        The last day that is known; the horizon starts after it.
    interval_level
        What the intervals hold.
    customers
        One row each, the best first, with rank and tier; see :func:`streamlit_app.distribution.ranked`.
    totals
        Of all of them, with intervals and the curve of the best k.
    warnings
        What people should know about it.
    purchases
        The uploaded log, if that is where it comes from.
    features
        The uploaded features, by customer, if that is where it comes from.
    question
        What was asked about an uploaded file; None for the scored shop.
    """

    name: str
    model: Mapping[str, Any]
    as_of_date: str | None
    interval_level: float
    customers: pd.DataFrame
    totals: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    purchases: pd.DataFrame | None = None
    features: pd.DataFrame | None = None
    question: tuple[Any, ...] | None = None

    @property
    def currency(self) -> str:
        """Of all amounts."""
        return str(self.model["currency"])

    @property
    def horizon_days(self) -> int:
        """Days the predictions are about."""
        return int(self.model["horizon_days"])

    @property
    def is_uploaded(self) -> bool:
        """Whether it lives in this session only."""
        return self.question is not None

    def range_means(self, style: Style) -> str:
        """How to read a range."""
        return f"In {style.share(self.interval_level)} of cases the truth lies within the range."

    def describe(self, style: Style) -> str:
        """One line on what is looked at."""
        since = f" · known up to {self.as_of_date}" if self.as_of_date else ""
        version = f"version {self.model['version']}" if self.model["version"] else "of a run"
        return (
            f"**{self.name}** · {style.number(len(self.customers))} customers{since} · next {self.horizon_days} days · "
            f"model {version} ({self.model['stage']})"
        )


@dataclass(frozen=True)
class Customer:
    """One customer of a shop.

    Attributes
    ----------
    row
        The customer's row in the shop's table.
    purchases
        Day, amount and what else is known of each purchase, the newest first; None where they are not known.
    features
        What the model sees; None where that is not kept.
    """

    row: Mapping[str, Any]
    purchases: pd.DataFrame | None = None
    features: dict[str, Any] | None = field(default=None)


def uploaded() -> Shop | None:
    """The file that was uploaded and answered in this session."""
    shop: Shop | None = st.session_state.get(_STATE)
    return shop


def keep(shop: Shop) -> None:
    """Look at this file from now on."""
    st.session_state[_STATE] = shop


def forget() -> None:
    """Forget what was uploaded."""
    st.session_state.pop(_STATE, None)


def current(api: Client, facts: Mapping[str, Any]) -> Shop | None:
    """The shop the pages are about; None where there is none."""
    if st.session_state.get(SOURCE) == UPLOADED and (mine := uploaded()) is not None:
        return mine
    return scored(api, facts)


def scored(api: Client, facts: Mapping[str, Any]) -> Shop | None:
    """The shop that was scored last; None where none was."""
    stamp = api.scored()
    if stamp is None:
        return None
    return _read_scored(api, api.url, tuple(stamp.items()), facts["model"]["version"], facts["loaded_at"])


@st.cache_resource(max_entries=2, show_spinner="Reading the scored shop …")
def _read_scored(
    _api: Client, url: str, stamp: tuple[tuple[str, Any], ...], version: str | None, loaded_at: str
) -> Shop:
    """Read it once for all sessions, until it is scored anew or another model comes into service; nobody changes it."""
    answer = _api.scored_portfolio()
    return Shop(
        name="The shop as last scored",
        model=answer["model"],
        as_of_date=dict(stamp)["as_of_date"],
        interval_level=answer["interval_level"],
        customers=ranked(_api.scored_customers()),
        totals=answer["portfolio"],
        warnings=tuple(answer["warnings"]),
    )


def find(shop: Shop, text: str) -> Mapping[str, Any] | None:
    """The row of the customer with exactly this id; where there is none, of the one without the spaces around it."""
    ids = shop.customers["customer_id"]
    for customer_id in (text, text.strip()):
        found = shop.customers[ids == customer_id]
        if not found.empty:
            return dict(found.iloc[0])
    return None


def search(customers: pd.DataFrame, text: str) -> pd.DataFrame:
    """Customers whose id has `text` in it, whatever its case."""
    text = text.strip()
    return customers[customers["customer_id"].str.contains(text, case=False, regex=False)] if text else customers


def details(api: Client, shop: Shop, row: Mapping[str, Any]) -> Customer:
    """All that is known of a customer."""
    customer_id = row["customer_id"]
    if shop.features is not None:
        return Customer(row, features=_from_file(shop.features, customer_id))
    if shop.purchases is not None and shop.as_of_date is not None:
        mine = shop.purchases[shop.purchases["customer_id"] == customer_id]
        return Customer(row, _per_day(mine), batches.features_of(api, mine, shop.as_of_date))
    answer = api.scored_customer(customer_id)
    purchases = pd.DataFrame(answer["purchases"]).rename(columns={"purchase_date": "day"})
    if purchases.empty:  # the shop's data were replaced after it was scored
        return Customer(row, features=answer.get("features"))
    return Customer(row, purchases.assign(day=pd.to_datetime(purchases["day"])), answer.get("features"))


def _per_day(log: pd.DataFrame) -> pd.DataFrame:
    """Purchases as the model counts them: what a day brought, the newest first."""
    day, amount = uploads.days_of(log), pd.to_numeric(log["amount"], errors="coerce")
    unread = (day.isna() | amount.isna()).to_numpy()
    if unread.any():  # the service reads some forms of times and numbers that pandas does not
        place = int(unread.argmax())
        row, values = int(log.index[place]) + 1, log.iloc[place]
        raise ApiError("input", f"Row {row:,}: {values['amount']!r} at {values['purchased_at']!r} can't be read.")
    days = pd.DataFrame(
        {
            "day": day,
            "amount": amount,
            **({"category": log["category"]} if "category" in log else {}),
        }
    )
    groups = days.groupby("day", as_index=False)
    return groups.agg({"amount": "sum", **({"category": "first"} if "category" in log else {})})[::-1]


def _from_file(features: pd.DataFrame, customer_id: str) -> dict[str, Any]:
    """A customer's features as the API takes them."""
    return {str(name): None if pd.isna(value) else value for name, value in features.loc[customer_id].items()}
