"""Reading what people upload: a transaction log or a file of features, all values as text."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NoReturn

import pandas as pd
import pyarrow as pa
from pyarrow import compute, parquet

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

_PARQUET, _GZIP = b"PAR1", b"\x1f\x8b"
_EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files begin; a zip that is none of Olist's is a workbook, by all that people upload."""

_MOST_BYTES, _MOST_ROWS = 500 * 10**6, 5_000_000
"""What is packed may be many times larger than what was uploaded."""

_CLOCK_AND_MORE = r"(?:\d:\d{2}(?::\d{2})?|T\d{2,6})(?:[.,]\d+)?\s*[^\s\d:.,]"
"""A time of day with something after it: an offset, the name of a zone, or PM."""

_GROUPS_AND_POINT = r"[+-]?\d{1,3}(?:,\d{3})+\.\d+"
_GROUPS_AND_COMMA = r"[+-]?\d{1,3}(?:\.\d{3})+(?:,\d+)?"


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

    Raises
    ------
    InputError
        If a column is to be two things at once.
    """

    customer: str
    time: str
    amount: str
    order: str | None = None
    date_format: str = next(iter(DATE_FORMATS))
    has_decimal_comma: bool = False

    def __post_init__(self) -> None:
        roles: dict[str, str] = {}
        for role, name in zip(("Customer", "Date", "Amount", "Order"), self.columns.values(), strict=False):
            if name in roles:
                raise InputError(
                    f"Column {name} is chosen for {roles[name]} and {role}; expected a column of its own for each."
                )
            roles[name] = role

    @property
    def columns(self) -> dict[str, str]:
        """The file's name of each column the API knows."""
        names = {"customer_id": self.customer, "purchased_at": self.time, "amount": self.amount}
        return names if self.order is None else {**names, "order_id": self.order}


def read(name: str, content: bytes) -> pd.DataFrame:
    """Read a CSV, also one packed by gzip, or a Parquet file: every value as text, empty as missing.

    Raises
    ------
    InputError
        If it can't be read; in plain words.
    """
    if content.startswith(_PARQUET):
        return _read_parquet(content)
    if content.startswith(_EXCEL):
        raise InputError(f"{name} looks like an Excel workbook; save its sheet as CSV UTF-8 and upload that.")
    return _read_csv(_unpacked(content) if content.startswith(_GZIP) else content)


def _unpacked(content: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as packed:
            unpacked = packed.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise InputError("The file looks like gzip but is damaged; pack and upload it again.") from None
    if len(unpacked) > _MOST_BYTES:
        raise InputError(f"The file is larger than {_MOST_BYTES // 10**6} MB once unpacked; split it by customer.")
    return unpacked


def _read_parquet(content: bytes) -> pd.DataFrame:
    """Read a Parquet file, every value as text; columns of lists and the like are left out.

    Raises
    ------
    InputError
        If it can't be read; in plain words.
    """
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        rows = file.metadata.num_rows
        if rows > _MOST_ROWS:
            raise InputError(f"The file has {rows:,} rows, at most {_MOST_ROWS:,} can be read; split it by customer.")
        table = file.read()
    except (pa.ArrowException, OSError):
        raise InputError("The file looks like Parquet but is damaged; write and upload it again.") from None
    if rows == 0:
        raise InputError("The file has columns but no rows.")
    columns = zip(table.column_names, table.columns, strict=True)
    texts = {name: _as_text(column) for name, column in columns if not pa.types.is_nested(column.type)}
    return pd.DataFrame({name: text.to_pandas() for name, text in texts.items()}, dtype="str")


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column's values as a CSV would hold them."""
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        column = column.cast(pa.timestamp("s"), safe=False)
    if pa.types.is_floating(column.type):
        column = compute.if_else(compute.is_nan(column), None, column)
    return column.cast(pa.string())


def _read_csv(content: bytes) -> pd.DataFrame:
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
    if "\0" in text:
        raise InputError("The file is not text in UTF-8; save it as CSV UTF-8 and upload it again.")
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
    return frame if isinstance(frame.index, pd.RangeIndex) else _without_ends(frame)


def _without_ends(frame: pd.DataFrame) -> pd.DataFrame:
    """Bring back the columns pandas took for row names as rows hold more values than the header; the last are empty."""
    values = pd.concat([frame.index.to_frame(index=False), frame.reset_index(drop=True)], axis="columns")
    named = len(frame.columns)
    if values.iloc[:, named:].apply(lambda ends: ends.str.strip()).fillna("").ne("").any(axis=None):
        raise InputError(
            f"The rows hold {len(values.columns)} values, but the header names {named} columns; name each column and "
            "upload it again."
        )
    return values.iloc[:, :named].set_axis(frame.columns, axis="columns")


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
        if _times(sample, pattern).notna().all() and (pattern is not None or not sample.str.fullmatch(r"\d+").any()):
            return label
    return next(iter(DATE_FORMATS))


def guess_decimal_comma(values: pd.Series) -> bool:
    """Whether amounts are written with a decimal comma."""
    sample = values.dropna().head(500).str.strip()
    return bool(sample.str.contains(r",\d{1,2}$").any() and not sample.str.contains(r"\.\d{1,2}$").any())


def purchases_of(log: pd.DataFrame, matching: Matching) -> pd.DataFrame:
    """A log as the API takes it; values that can't be read stay as they are, for the API to name.

    Raises
    ------
    InputError
        If a time has a zone: only ``clv load`` is told the shop's, so only it can convert. If amounts with a decimal
        comma hold a point that parts no thousands.
    """
    purchases = pd.DataFrame({name: log[column] for name, column in matching.columns.items()})
    times = purchases["purchased_at"].str.strip()
    zoned = times.str.contains(_CLOCK_AND_MORE, regex=True, na=False)
    if zoned.any():
        what = "a local time such as 2018-03-01 14:05:00, with no zone after it"
        _refuse(times, zoned, matching.time, f"expected {what}, found {{}}.")
    purchases["purchased_at"] = _iso(times, DATE_FORMATS[matching.date_format])
    purchases["amount"] = _decimal(purchases["amount"].str.strip(), matching)
    return purchases


def check_days(purchases: pd.DataFrame, column: str, latest: date) -> None:
    """Check that there are days and none lies in the future.

    Parameters
    ----------
    purchases
        From :func:`purchases_of`.
    column
        The file's name of the column of times.
    latest
        The last day there may be.

    Raises
    ------
    InputError
        Naming the first row that is wrong.
    """
    times, days = purchases["purchased_at"], days_of(purchases)
    if times.isna().all():
        raise InputError(f"Column {column} is empty; expected a date in each row.")
    if days.isna().all():
        what = "expected a date such as 2018-03-01, found {}; choose another column or another form of dates."
        _refuse(times, times.notna(), column, what)
    late = days > pd.Timestamp(latest)
    if late.any():
        _refuse(times, late, column, f"{{}} lies in the future; expected no day after {latest}.")


def _refuse(values: pd.Series, is_wrong: pd.Series, column: str, what: str) -> NoReturn:
    """Say what is wrong with the first such value; rows count as those the API names."""
    row = int(is_wrong.to_numpy().argmax())
    raise InputError(f"Row {row + 1:,}, column {column}: {what.format(repr(values.iloc[row][:60]))}")


def _iso(values: pd.Series, pattern: str | None) -> pd.Series:
    if pattern is None:
        return values
    dates = _times(values, pattern)
    written = "%Y-%m-%d %H:%M:%S" if "%H" in pattern else "%Y-%m-%d"
    texts: pd.Series = dates.dt.strftime(written).where(dates.notna(), values)
    return texts


def _decimal(values: pd.Series, matching: Matching) -> pd.Series:
    """Amounts without marks between thousands; as for ``clv load``, ``1,234`` may be either and is left as it is."""
    if not matching.has_decimal_comma:
        grouped = values.str.fullmatch(_GROUPS_AND_POINT, na=False)
        return values.mask(grouped, values.str.replace(",", "", regex=False))
    pointed = values.str.contains(".", regex=False, na=False)
    wrong = pointed & ~values.str.fullmatch(_GROUPS_AND_COMMA, na=False)
    if wrong.any():
        what = "expected an amount such as 1.234,56, found {}; choose how amounts look, or mend the file."
        _refuse(values, wrong, matching.amount, what)
    return values.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)


def as_of_day(purchases: pd.DataFrame) -> date | None:
    """The last day that looks complete, as ``clv load`` finds it; None if no date can be read."""
    days = days_of(purchases)
    visits = purchases.assign(day=days)[days.notna()].drop_duplicates(["customer_id", "day"])["day"].value_counts()
    if visits.empty:
        return None
    daily = visits.sort_index().asfreq("D", fill_value=0)
    return default_as_of_day(daily.index[0].date(), daily.to_numpy())


def is_after(purchases: pd.DataFrame, day: date) -> pd.Series:
    """Which rows are after a day; rows whose date can't be read are not."""
    later: pd.Series = days_of(purchases) > pd.Timestamp(day)
    return later


def days_of(purchases: pd.DataFrame) -> pd.Series:
    """The day of each row; none where it can't be read."""
    days: pd.Series = _times(purchases["purchased_at"], None).dt.normalize()
    return days


def _times(values: pd.Series, pattern: str | None) -> pd.Series:
    """Times without a zone; all are taken for UTC meanwhile, since pandas can't read several zones at once."""
    texts = values.str.strip()
    times = pd.to_datetime(texts, format=pattern or "ISO8601", errors="coerce", utc=True)
    return times.dt.tz_localize(None)
