"""Reading what people upload: a transaction log or a file of features, all values as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

import pandas as pd

from clv.calendar import default_as_of_day
from clv.errors import InputError

DATE_FORMATS = {
    "2018-03-31 (14:05:00)": None,
    "20180331": "%Y%m%d",
    "31/03/2018": "%d/%m/%Y",
    "03/31/2018": "%m/%d/%Y",
    "31.03.2018": "%d.%m.%Y",
    "31/03/2018 14:05": "%d/%m/%Y %H:%M",
    "03/31/2018 14:05": "%m/%d/%Y %H:%M",
}
"""How dates may be written: shown to people, understood by pandas; None is ISO 8601, which the API takes as it is."""

_GUESSES = {
    "customer": ("customer_id", "customer", "customer_unique_id", "user_id", "user", "client_id", "client", "buyer_id"),
    "time": ("purchased_at", "timestamp", "date", "order_date", "invoice_date", "purchase_date", "datetime", "time"),
    "amount": ("amount", "revenue", "value", "total", "price", "payment_value", "spend", "sales"),
    "order": ("order_id", "order", "invoice", "invoice_id", "invoice_no", "transaction_id"),
}
"""Names to guess by; the first that is there, else the first column with one of them as a word in its name.

A guess may be bold, people can correct it.
"""


@dataclass(frozen=True)
class Matching:
    """Which column of a log is what, and how its values are written.

    Attributes
    ----------
    customer, time, amount
        Columns.
    order
        Column of order ids, if there is one.
    date_format
        One of `DATE_FORMATS`.
    has_decimal_comma
        Amounts are written 1.234,56.
    """

    customer: str
    time: str
    amount: str
    order: str | None = None
    date_format: str = next(iter(DATE_FORMATS))
    has_decimal_comma: bool = False

    @property
    def columns(self) -> dict[str, str]:
        """The file's name of each column the API knows."""
        names = {"customer_id": self.customer, "purchased_at": self.time, "amount": self.amount}
        return names if self.order is None else {**names, "order_id": self.order}


def read_csv(content: bytes) -> pd.DataFrame:
    """Read a CSV, every value as text, empty as missing.

    Raises
    ------
    InputError
        If it can't be read; in plain words.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"Line {line:,} of the file is not UTF-8; save it as CSV UTF-8 and upload it again.") from None
    header = text.partition("\n")[0]
    if not header.strip():
        raise InputError("The file is empty; expected a header line and rows below it.")
    delimiter = max(",;\t|", key=header.count)
    if delimiter not in header and " " in header.strip():
        delimiter = r"\s+"
    try:
        frame = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, csv.Error) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("Error tokenizing data. C error: ")
        raise InputError(f"The file can't be read as CSV: {reason}.") from None
    if frame.empty:
        raise InputError("The file has a header but no rows.")
    return frame


def is_features(columns: Collection[str], features: Collection[str]) -> bool:
    """Whether a file is meant to be one of features: most of them are there."""
    return len(set(columns) & set(features)) > len(features) / 2


def check_features(columns: Collection[str], features: Sequence[str]) -> None:
    """Check that a file of features is complete.

    Raises
    ------
    InputError
        Naming the columns that are missing.
    """
    missing = [name for name in ("customer_id", *features) if name not in columns]
    if missing:
        raise InputError(f"The file of features lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}.")


def guess_columns(columns: Sequence[str]) -> dict[str, str | None]:
    """Guess which column is what by the usual names; None where nothing fits."""
    guesses: dict[str, str | None] = {}
    for role, names in _GUESSES.items():
        exact = [column for name in names for column in columns if _words(column) == name.split("_")]
        likely = [column for name in names for column in columns if name in _words(column)]
        free = [column for column in exact + likely if column not in guesses.values()]
        guesses[role] = free[0] if free else None
    return guesses


def _words(name: str) -> list[str]:
    """``Order Date``, ``order-date`` and ``OrderDate`` are the words order and date."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def guess_date_format(values: pd.Series) -> str:
    """The first way of writing dates that reads all of the first values."""
    sample = values.dropna().head(500)
    for label, pattern in DATE_FORMATS.items():
        if pd.to_datetime(sample, format=pattern or "ISO8601", errors="coerce").notna().all() and (
            pattern is not None or not sample.str.fullmatch(r"\d+").any()
        ):
            return label
    return next(iter(DATE_FORMATS))


def guess_decimal_comma(values: pd.Series) -> bool:
    """Whether amounts are written with a decimal comma."""
    sample = values.dropna().head(500)
    return bool(sample.str.contains(r",\d{1,2}$").any() and not sample.str.contains(r"\.\d{1,2}$").any())


def purchases_of(log: pd.DataFrame, matching: Matching) -> pd.DataFrame:
    """A log as the API takes it; values that can't be read stay as they are, for the API to name."""
    purchases = pd.DataFrame({name: log[column] for name, column in matching.columns.items()})
    purchases["purchased_at"] = _iso(purchases["purchased_at"], DATE_FORMATS[matching.date_format])
    if matching.has_decimal_comma:
        purchases["amount"] = _decimal(purchases["amount"])
    return purchases


def _iso(values: pd.Series, pattern: str | None) -> pd.Series:
    if pattern is None:
        return values
    dates = pd.to_datetime(values, format=pattern, errors="coerce")
    written = "%Y-%m-%d %H:%M:%S" if "%H" in pattern else "%Y-%m-%d"
    return dates.dt.strftime(written).where(dates.notna(), values)


def _decimal(values: pd.Series) -> pd.Series:
    return values.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)


def as_of_day(purchases: pd.DataFrame) -> date | None:
    """The last day that looks complete, as ``clv load`` finds it; None if no date can be read."""
    days = _days(purchases)
    visits = purchases.assign(day=days)[days.notna()].drop_duplicates(["customer_id", "day"])["day"].value_counts()
    if visits.empty:
        return None
    daily = visits.sort_index().asfreq("D", fill_value=0)
    return default_as_of_day(daily.index[0].date(), daily.to_numpy())


def is_after(purchases: pd.DataFrame, day: date) -> pd.Series:
    """Which rows are after a day; rows whose date can't be read are not."""
    return _days(purchases) > pd.Timestamp(day)


def _days(purchases: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(purchases["purchased_at"], format="ISO8601", errors="coerce").dt.normalize()
