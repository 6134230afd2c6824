"""A plain transaction log: customer, time, amount and, where there is one, order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from clv.errors import InputError, first_line
from clv.sources import files, values
from clv.sources.files import RawFile
from clv.sources.tables import Loaded, count, csv_rows, line_of, literal, quoted, read_header, reading_errors

REPLACED_BY = {"transactions": "order_id"}
"""The column of each raw table by which appended rows replace stored ones."""

TIME_ZONE = "UTC"
"""Time zone of a shop that names none."""

CURRENCY = "USD"
"""Currency of a shop that names none."""

CUSTOMERS = "select customer_id from raw.transactions"
"""SQL of the shop's customers, repeats included."""

ORDERS = """
    select distinct order_id, cast(null as string) as order_customer_id
    from raw.transactions
    where customer_id = $customer_id
"""
"""SQL of a person's orders; the person has no other id."""

TOTALS = """
    select
        count(distinct customer_id) as customer_count,
        count(distinct order_id) + count(*) - count(order_id) as order_count,
        coalesce(sum(amount), 0) as total_amount
    from raw.transactions
"""
"""SQL of customers, orders (a row without order id counts as one) and their total amount."""

PURCHASE_DAYS = """
    select purchase_date, count(*) as purchase_count
    from (
        select customer_id, cast(purchased_at as date) as purchase_date
        from raw.transactions
        group by 1, 2
        having sum(amount) > 0
    )
    group by purchase_date
    order by purchase_date
"""
"""SQL of purchases (customer-days with a positive net amount) per day."""

_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")
_USUAL_NAMES = {
    "customer": ("customer_id", "customer", "user_id"),
    "time": ("timestamp", "purchased_at", "date", "order_date", "invoice_date"),
    "amount": ("amount", "revenue", "value", "total"),
    "order": ("order_id", "invoice"),
    "currency": ("currency",),
}
_NEEDED = ("customer", "time", "amount")
_TEXT_TYPES = ("VARCHAR", "ENUM", "UUID")
_WHOLE_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


@dataclass(frozen=True)
class TransactionColumns:
    """How to read a transaction log; what isn't given is recognised or has a default.

    Attributes
    ----------
    customer, time, amount, order
        Names of the columns; the usual names are recognised.
    time_format
        As for ``strptime``, for times that are neither ISO nor ``YYYYMMDD``.
    time_zone
        The shop's time zone: times with an offset are converted to it, times without are in it already.
    decimal
        ``.`` or ``,``.
    delimiter
        One character, or ``tab``.
    currency
        Three letters; else the one of a column ``currency``, else that of the last load, else :data:`CURRENCY`.
    """

    customer: str | None = None
    time: str | None = None
    amount: str | None = None
    order: str | None = None
    time_format: str | None = None
    time_zone: str | None = None
    decimal: str = "."
    delimiter: str = ","
    currency: str | None = None

    def checked(self) -> TransactionColumns:
        """The same options with ``tab`` spelled out.

        Raises
        ------
        InputError
            If an option can't be used; names it.
        """
        delimiter = "\t" if self.delimiter in ("tab", "\\t") else self.delimiter
        if len(delimiter) != 1 or delimiter in '"\r\n' or not delimiter.isascii():
            raise InputError(f"--delimiter {self.delimiter!r}: expected one character such as ';', or tab.")
        if self.decimal not in (".", ","):
            raise InputError(f"--decimal {self.decimal!r}: expected '.' or ','.")
        if self.time_zone is not None:
            check_time_zone(self.time_zone)
        if self.currency is not None:
            check_currency(self.currency, "--currency")
        if self.time_format is not None:
            try:
                with duckdb.connect() as connection:
                    connection.execute(f"select try_strptime('', {literal(self.time_format)})")
            except duckdb.Error as error:
                raise InputError(
                    f"--time-format {self.time_format!r} can't be used ({first_line(error)}); expected one "
                    "such as '%d/%m/%Y %H:%M'."
                ) from None
        return replace(self, delimiter=delimiter)


def check_time_zone(name: str) -> None:
    """Refuse what isn't the name of a time zone."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise InputError(
            f"--time-zone {name!r} is not known; expected a name such as America/Sao_Paulo or UTC."
        ) from None


def check_currency(code: str, where: str) -> None:
    """Refuse what isn't three capital letters."""
    if not re.fullmatch("[A-Z]{3}", code):
        raise InputError(f"{where} {code!r}: expected the three capital letters of a currency, such as USD.")


def find(paths: Sequence[Path], workspace: Path) -> list[RawFile]:
    """The CSV, CSV.gz and Parquet files that `paths` name; of a folder, those directly in it.

    Raises
    ------
    InputError
        If there is none, or one can't be used.
    """
    found: list[RawFile] = []
    for path in paths:
        files.require(path)
        members = list(files.members_of(path, _SUFFIXES)) if path.is_dir() else [path]
        if not members:
            raise InputError(f"{path} holds no .csv, .csv.gz or .parquet file; expected at least one transaction log.")
        found += [files.open_file(member, workspace) for member in members]
    return found


def write(
    connection: duckdb.DuckDBPyConnection,
    found: list[RawFile],
    columns: TransactionColumns,
    time_zone: str,
    max_null_share: float,
    tomorrow: str,
    progress: Callable[[str], None],
) -> tuple[list[Loaded], list[str], str | None]:
    """Check the files and write them to ``raw.transactions``, over the orders they replace there.

    Rows with an order id replace the stored rows of that order. Rows without one can't be told from stored rows, so
    they must be of later days than every stored row without one; loading the same file twice is refused by that.

    Parameters
    ----------
    connection
        On the next version of the warehouse, not yet in use.
    found
        From :func:`find`.
    columns
        Checked options.
    time_zone
        The shop's.
    max_null_share
        Share of rows without customer, time or amount that are dropped; more are refused.
    tomorrow
        The last day (``YYYY-MM-DD``) on which an order may have been placed.
    progress
        Is told each step.

    Returns
    -------
    tuple
        What became of each file, what was accepted but is worth knowing, and the currency found in the files.

    Raises
    ------
    InputError
        For the first thing that is wrong; names file, line and column.
    """
    log = _Log(connection, found, columns)
    notes: list[str] = []
    for position, file in enumerate(found):
        progress(f"reading {file.name}")
        notes += log.read(position, file, time_zone)
    progress("checking the transactions")
    log.check_values(tomorrow)
    log.check_unit(max_null_share)
    currency = log.currency()
    dropped = log.drop_incomplete(max_null_share)
    notes += log.remarks()
    log.merge()
    loaded = [
        Loaded("transactions", file.name, log.counts[position], dropped[position], file.sha256)
        for position, file in enumerate(found)
    ]
    for entry in loaded:
        if entry.dropped:
            notes.append(f"{entry.file}: rows without customer, time or amount, which were dropped: {entry.dropped:,}.")
    return loaded, notes, currency


class _Log:
    """The files of one load, read into one temporary table ``log``: parsed values beside the text they came from."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, found: Sequence[RawFile], columns: TransactionColumns
    ) -> None:
        self.connection = connection
        self.files = found
        self.columns = columns
        self.counts: list[int] = []
        self.names: dict[str, str] = {}
        connection.execute(
            "create temp table log (file integer, customer_id varchar, order_id varchar, time_text varchar, is_zoned "
            f"boolean, purchased_at timestamp, amount_text varchar, amount {values.MONEY}, currency varchar)"
        )
        connection.execute(
            "create table if not exists raw.transactions (customer_id varchar, order_id varchar, purchased_at "
            f"timestamp, amount {values.MONEY})"
        )

    def read(self, position: int, file: RawFile, time_zone: str) -> list[str]:
        """Append one file; say which of its columns are used."""
        if file.is_parquet:
            relation = f"read_parquet({literal(str(file.path))})"
            try:
                described = self.connection.execute(f"describe select * from {relation}").fetchall()
            except duckdb.Error as error:
                raise InputError(
                    f"{file.name} is not a Parquet file or is damaged ({first_line(error)}); write it again."
                ) from None
            header, types = [row[0] for row in described], [row[1] for row in described]
            sources = [quoted(name) for name in header]
        else:
            header = read_header(file, self.columns.delimiter)
            types = ["VARCHAR"] * len(header)
            sources = [f"c{index}" for index in range(len(header))]
            relation = csv_rows(file, len(header), self.columns.delimiter)
        places = self._places(file, header)
        names = {role: header[place] for role, place in places.items()}
        if position and set(names) != set(self.names):
            raise InputError(
                f"{file.name} has {', '.join(names.values())} where {self.files[0].name} has "
                f"{', '.join(self.names.values())}; expected the same columns in every file of a load."
            )
        self.names = names
        picked = {role: (sources[place], types[place].split("(")[0]) for role, place in places.items()}
        is_zoned, time_text, local = self._time(file, *picked["time"], time_zone)
        amount_text, amount = self._amount(file, *picked["amount"])
        select = ", ".join(
            [
                str(position),
                self._text(file, names["customer"], *picked["customer"]),
                self._text(file, names["order"], *picked["order"]) if "order" in picked else "null",
                time_text,
                is_zoned,
                local,
                amount_text,
                amount,
                self._text(file, names["currency"], *picked["currency"]) if "currency" in picked else "null",
            ]
        )
        before = sum(self.counts)
        with reading_errors(file, len(header), self.columns.delimiter):
            self.connection.execute(f"insert into log select {select} from {relation}")
        self.counts.append(count(self.connection, "select count(*) from log") - before)
        if not self.counts[-1]:
            raise InputError(f"{file.name} has a header but no rows; expected at least one.")
        used = ", ".join(f"{role} = {name}" for role, name in names.items())
        return [f"{file.name}: columns used: {used}."]

    def _places(self, file: RawFile, header: Sequence[str]) -> dict[str, int]:
        """Where in the header each role stands."""
        asked = {"customer": self.columns.customer, "time": self.columns.time}
        asked |= {"amount": self.columns.amount, "order": self.columns.order, "currency": None}
        places: dict[str, int] = {}
        if not file.is_parquet and re.match("sep=.?", header[0]) and not any(header[1:]):
            raise InputError(f"{file.name}: the first line is Excel's {header[0]!r}, not the header; delete that line.")
        for role, name in asked.items():
            if name is not None:
                matching = [index for index, found in enumerate(header) if found == name.strip()]
                if not matching:
                    raise InputError(
                        f"{file.name}: column {name!r} (--{role}-column) is not in the header; found "
                        f"{', '.join(header)}."
                    )
            else:
                plain = [re.sub("[ _-]", "", found).casefold() for found in header]
                usual = [name.replace("_", "") for name in _USUAL_NAMES[role]]
                best = next((name for name in usual if name in plain), None)
                matching = [index for index, found in enumerate(plain) if found == best]
            if len(matching) > 1:
                raise InputError(
                    f"{file.name}: column {header[matching[0]]} is in the header {len(matching)} times; expected once."
                )
            if matching:
                places[role] = matching[0]
        missing = [role for role in _NEEDED if role not in places]
        if missing:
            raise InputError(self._says_missing(file, header, missing))
        return places

    def _says_missing(self, file: RawFile, header: Sequence[str], missing: Sequence[str]) -> str:
        if len(header) == 1 and not file.is_parquet:
            other = next((mark for mark in ";\t|," if mark in header[0]), None)
            if other is not None:
                option = "tab" if other == "\t" else f"'{other}'"
                return (
                    f"{file.name}: the header has one column, {header[0]!r}; expected several, so name what parts "
                    f"them: --delimiter {option}."
                )
        wanted = "; ".join(f"{role} (--{role}-column, or one of {', '.join(_USUAL_NAMES[role])})" for role in missing)
        return f"{file.name}: no column for {wanted}; found {', '.join(header)}."

    def _text(self, file: RawFile, name: str, source: str, kind: str) -> str:
        """An id, verbatim; blank is missing."""
        if kind not in (*_TEXT_TYPES, *_WHOLE_TYPES):
            raise InputError(f"{file.name}: column {name} is of type {kind}; expected text or whole numbers.")
        return f"case when trim(cast({source} as varchar)) != '' then cast({source} as varchar) end"

    def _amount(self, file: RawFile, source: str, kind: str) -> tuple[str, str]:
        """SQL of the text and of the value of an amount."""
        if kind in (*_TEXT_TYPES, *_WHOLE_TYPES):
            text = f"cast({source} as varchar)"
            return text, values.money(text, self.columns.decimal)
        if kind in ("FLOAT", "DOUBLE", "DECIMAL"):
            # pandas writes a missing number as NaN
            text = f"nullif(cast({source} as varchar), 'nan')"
            return text, f"case when {text} is not null then try_cast({source} as {values.MONEY}) end"
        raise InputError(f"{file.name}: column {self.names['amount']} is of type {kind}; expected numbers.")

    def _time(self, file: RawFile, source: str, kind: str, time_zone: str) -> tuple[str, str, str]:
        """SQL of whether a time has an offset, of its text and of the time in the shop's zone."""
        zone = literal(time_zone)
        if kind == "DATE":
            day = values.tellable(source, "date")
            return "false", f"cast({day} as varchar)", f"cast({day} as timestamp)"
        if kind in ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"):
            time = values.tellable(f"cast({source} as timestamp)", "timestamp")
            return "false", f"cast({time} as varchar)", time
        if kind == "TIMESTAMP WITH TIME ZONE":
            time = values.tellable(source, "timestamptz")
            return "true", f"cast({time} as varchar)", f"timezone({zone}, {time})"
        if kind not in (*_TEXT_TYPES, *_WHOLE_TYPES):
            raise InputError(f"{file.name}: column {self.names['time']} is of type {kind}; expected times or text.")
        text = f"cast({source} as varchar)"
        if self.columns.time_format is not None:
            parsed = f"try_strptime(trim({text}), {literal(self.columns.time_format)})"
            if "%z" in self.columns.time_format.lower():
                return "true", text, f"timezone({zone}, {parsed})"
            return "false", text, parsed
        instant = values.instant(text)
        local = f"coalesce({values.local_time(text)}, {values.compact_day(text)})"
        return f"({instant}) is not null", text, f"coalesce({local}, timezone({zone}, {instant}))"

    def _where(self, row: int) -> str:
        """File and line of a row of ``log``."""
        for file, rows in zip(self.files, self.counts, strict=True):
            if row < rows:
                return f"{file.name}, {line_of(file, row, self.columns.delimiter)}"
            row -= rows
        raise AssertionError("a row beyond the last file")

    def _first(self, condition: str, column: str) -> tuple[int, str] | None:
        """The first row of ``log`` for which `condition` holds, and what its `column` says."""
        found = self.connection.execute(
            f"select rowid, cast({column} as varchar) from log where {condition} order by rowid limit 1"
        ).fetchone()
        return (int(found[0]), str(found[1])) if found else None

    def check_values(self, tomorrow: str) -> None:
        """Refuse times and amounts that can't be read, times of two kinds, and days before all history or to come."""
        wrong = self._first("purchased_at is null and trim(time_text) != ''", "time_text")
        if wrong:
            raise InputError(f"{self._where(wrong[0])}, column {self.names['time']}: {self._says_time(wrong[1])}")
        wrong = self._first("amount is null and trim(amount_text) != ''", "amount_text")
        if wrong:
            raise InputError(f"{self._where(wrong[0])}, column {self.names['amount']}: {self._says_amount(wrong[1])}")
        kinds = self.connection.execute(
            "select is_zoned, min(rowid), arg_min(time_text, rowid) from log where purchased_at is not null group by "
            "1 order by 2"
        ).fetchall()
        if len(kinds) > 1:
            (_, _, usual), (_, row, other) = kinds
            raise InputError(
                f"{self._where(row)}, column {self.names['time']}: {other!r} and earlier {usual!r} mix times with "
                "and without an offset from UTC; expected one kind, with --time-zone naming the shop's zone."
            )
        early = self._first(f"purchased_at < date '{values.EARLIEST_DAY}'", "time_text")
        if early:
            raise InputError(f"{self._where(early[0])}, column {self.names['time']}: {values.says_too_early(early[1])}")
        late = self._first(f"purchased_at >= date '{tomorrow}' + interval 1 day", "purchased_at")
        if late:
            raise InputError(
                f"{self._where(late[0])}, column {self.names['time']}: {late[1]} lies in the future; expected no day "
                f"after {tomorrow}."
            )

    def check_unit(self, max_lost_share: float) -> None:
        """Refuse amounts of which more than this share would be lost in rounding, as in a unit that is too large."""
        lost = "amount = 0 and regexp_matches(regexp_replace(amount_text, '[eE].*', ''), '[1-9]')"
        rows = count(self.connection, f"select count(*) from log where {lost}")
        if rows > max_lost_share * sum(self.counts):
            first = self._first(lost, "amount_text")
            assert first is not None
            raise InputError(
                f"{rows:,} of {sum(self.counts):,} amounts are not 0 but would be with the four decimals that are kept "
                f"(the first: {self._where(first[0])}, column {self.names['amount']}: {first[1]!r}); give them in a "
                "smaller unit, such as cents."
            )

    def _says_time(self, found: str) -> str:
        if self.columns.time_format is not None:
            return f"expected a time as in --time-format {self.columns.time_format!r}, found {found!r}."
        return (
            f"expected an ISO time or day (2018-01-31 10:56:33, 2018-01-31, 20180131), found {found!r}; name another "
            "form with --time-format, for instance '%d/%m/%Y' or '%m/%d/%Y'."
        )

    def _says_amount(self, found: str) -> str:
        comma = self.columns.decimal == ","
        expected = "1234,56 (--decimal ,)" if comma else "1234.56"
        if not re.fullmatch(r"[-+\d.,eE]+", found.strip()):  # $5, 5 USD, (5.00), NULL
            advice = "take out all but digits, sign and decimal mark, and leave an unknown amount empty."
        elif comma:
            advice = "if a point marks its fraction, leave --decimal out."
        elif "," in found:
            advice = "if a comma marks its fraction: --decimal ,"
        else:
            advice = "an amount is one number below 10^14, of a return with a minus before it."
        return f"expected an amount such as {expected}, found {found!r}; {advice}"

    def currency(self) -> str | None:
        """The one currency that a column names, if there is such a column."""
        if "currency" not in self.names:
            return None
        found = self.connection.execute(
            "select trim(currency), min(rowid) from log where currency is not null group by 1 order by 2"
        ).fetchall()
        if len(found) > 1:
            raise InputError(
                f"{self._where(found[1][1])}, column {self.names['currency']}: {found[1][0]} after {found[0][0]} "
                f"(currencies in all: {len(found)}); expected one, so convert the amounts or load one currency only."
            )
        if not found:
            return None
        check_currency(found[0][0], f"Column {self.names['currency']}:")
        return str(found[0][0])

    def drop_incomplete(self, max_null_share: float) -> list[int]:
        """Drop rows without customer, time or amount, up to the allowed share; number per file."""
        incomplete = "customer_id is null or purchased_at is null or amount is null"
        found = dict(
            self.connection.execute(f"select file, count(*) from log where {incomplete} group by 1").fetchall()
        )
        dropped, rows = sum(found.values()), sum(self.counts)
        if dropped > max_null_share * rows:
            first = self._first(
                incomplete,
                "case when customer_id is null then 'customer' when purchased_at is null then 'time' else 'amount' end",
            )
            assert first is not None
            raise InputError(
                f"{dropped:,} of {rows:,} rows have no customer, time or amount (the first: {self._where(first[0])}, "
                f"column {self.names[first[1]]}); expected at most {max_null_share:.1%}, so mend the file or "
                "leave more of them out with CLV_MAX_NULL_SHARE."
            )
        if dropped == rows:
            raise InputError("No row has a customer, a time and an amount; expected at least one.")
        return [int(found.get(position, 0)) for position in range(len(self.files))]

    def remarks(self) -> list[str]:
        """What was accepted but is worth knowing."""
        row = self.connection.execute(
            """
            select
                count(*) filter (where amount < 0) as returns,
                count(*) filter (where amount = 0) as zeros,
                count(*) filter (where regexp_matches(amount_text, '[.,][0-9]{4}[0-9]*[1-9][0-9]*$')) as rounded
            from log
            where customer_id is not null and purchased_at is not null and amount is not null
            """
        ).fetchone()
        returns, zeros, rounded = row or (0, 0, 0)
        repeated = count(
            self.connection,
            "select sum(times - 1) from (select count(*) as times from log where customer_id is not null and "
            "purchased_at is not null and amount is not null group by customer_id, order_id, purchased_at, amount)",
        )
        says = {
            "rows with a negative amount, which count as returns": returns,
            "rows with an amount of zero, which are no purchase": zeros,
            "amounts that were rounded to four decimals": rounded,
            "rows that repeat another one in customer, time, amount and order, and were kept": repeated,
        }
        return [f"{what}: {times:,}." for what, times in says.items() if times]

    def merge(self) -> None:
        """Write to ``raw.transactions`` what is complete, over the stored orders with the same id."""
        complete = "customer_id is not null and purchased_at is not null and amount is not null"
        stored = self.connection.execute(
            "select cast(max(purchased_at) as date) from raw.transactions where order_id is null"
        ).fetchone()
        if stored and stored[0] is not None:
            early = self._first(
                f"{complete} and order_id is null and purchased_at < date '{stored[0]}' + interval 1 day",
                "purchased_at",
            )
            if early:
                raise InputError(
                    f"{self._where(early[0])}: {early[1]} is not after {stored[0]}, the last loaded day, and without "
                    "an order id --append can't tell new rows from loaded ones; append later days only, or load "
                    "everything anew without --append."
                )
        self._check_orders(complete)
        self.connection.execute(
            f"delete from raw.transactions where order_id in (select order_id from log where {complete})"
        )
        self.connection.execute(
            "insert into raw.transactions select customer_id, order_id, purchased_at, amount from log where "
            f"{complete} order by rowid"
        )

    def _check_orders(self, complete: str) -> None:
        """Refuse an order id of two customers; a loaded order must keep its customer as well."""
        shared = self.connection.execute(
            f"select order_id, min(rowid), arg_min(customer_id, rowid) from log where {complete} and order_id is not "
            "null group by order_id having min(customer_id) != max(customer_id) order by 2 limit 1"
        ).fetchone()
        if shared:
            order, row, customer = shared
            other = self._first(
                f"{complete} and order_id = {literal(order)} and customer_id != {literal(customer)}", "customer_id"
            )
            assert other is not None
            raise InputError(
                f"{self._where(other[0])}, column {self.names['order']}: order {order!r} is of customer "
                f"{other[1]!r}, but of {customer!r} in {self._where(row)}; expected one customer per order."
            )
        moved = self.connection.execute(
            "select min(log.rowid), arg_min(log.order_id, log.rowid), arg_min(stored.customer_id, log.rowid), "
            "arg_min(log.customer_id, log.rowid) from log inner join raw.transactions as stored using (order_id) "
            "where log.customer_id != stored.customer_id"
        ).fetchone()
        if moved and moved[0] is not None:
            raise InputError(
                f"{self._where(moved[0])}, column {self.names['order']}: order {moved[1]!r} is of customer "
                f"{moved[3]!r}, but was loaded for {moved[2]!r}; expected one customer per order."
            )
