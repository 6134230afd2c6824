"""Reading checked text into DuckDB: CSV headers, rows of text, and where in a file a row stands."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from clv.errors import InputError, first_line
from clv.sources.files import RawFile


@dataclass(frozen=True)
class Loaded:
    """What became of one file: its table, its rows, and how many of them were dropped."""

    table: str
    file: str
    rows: int
    dropped: int
    sha256: str


def literal(text: str) -> str:
    """`text` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The one number that `sql` selects."""
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def read_header(file: RawFile, delimiter: str = ",") -> list[str]:
    """Column names in the first line of a CSV file.

    Raises
    ------
    InputError
        If the line isn't a header.
    """
    with _csv_records(file, delimiter) as records:
        _, header = next(records, (1, []))
    if not any(name.strip() for name in header):
        raise InputError(f"{file.name}: the first line is empty; expected a header with the column names.")
    return [name.strip() for name in header]


def csv_rows(file: RawFile, width: int, delimiter: str = ",") -> str:
    """SQL relation of the rows of a CSV file below its header; all text, columns ``c0``, ``c1`` and so on.

    What is empty is NULL, and an empty text if it is in quotes.
    """
    columns = ", ".join(f"'c{position}': 'varchar'" for position in range(width))
    return (
        f"read_csv({literal(str(file.path))}, auto_detect = false, header = true, delim = {literal(delimiter)}, "
        f"quote = '\"', escape = '\"', allow_quoted_nulls = false, columns = {{{columns}}})"
    )


@contextmanager
def reading_errors(file: RawFile, width: int, delimiter: str = ",") -> Iterator[None]:
    """Turn DuckDB's refusal of a file into one sentence that, for CSV, names the line and what is wrong with it."""
    try:
        yield
    except duckdb.Error as error:
        # Some damage to Parquet comes as the bare class; a full disk or memory has one of its own and is no fault of
        # the file.
        if type(error) not in (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.Error):
            raise
        if file.is_parquet:
            raise InputError(
                f"{file.name} is damaged or holds a time that fits no calendar ({first_line(error)}); write it again, "
                "and leave empty what is not known."
            ) from error
        _explain(file, width, delimiter)
        raise InputError(f"{file.name} can't be read as CSV: {first_line(error)}") from error


def line_of(file: RawFile, row: int, delimiter: str = ",") -> str:
    """Where row `row` (0 is the first below the header) stands, as a person counts.

    For CSV the line of the file, the header being line 1; quoted line breaks and blank lines count as an editor
    shows them. For Parquet the number of the row, the first being 1.
    """
    if file.is_parquet:
        return f"row {row + 1}"
    with _csv_records(file, delimiter) as records:
        next(records, None)
        for position, (line, _) in enumerate(records):
            if position == row:
                return f"line {line}"
    return f"row {row + 1} below the header"


def _explain(file: RawFile, width: int, delimiter: str) -> None:
    """Raise for the first record that isn't `width` fields wide or is badly quoted; only errors pay for this pass."""
    with _csv_records(file, delimiter) as records:
        for line, record in records:
            if len(record) != width:
                raise InputError(
                    f"{file.name}, line {line}: {len(record)} fields; expected {width}, as in the header (line 1)."
                )
    content = file.path.read_bytes()
    if 0 < content.count(b"\r\n") < content.count(b"\n"):
        raise InputError(f"{file.name} mixes line ends (LF and CRLF); make them all LF, for instance with `dos2unix`.")


@contextmanager
def _csv_records(file: RawFile, delimiter: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """(line on which it begins, fields) of each record that isn't blank, header included."""
    with file.path.open(encoding="utf-8-sig", newline="") as stream:
        yield _numbered(file, csv.reader(stream, delimiter=delimiter, strict=True))


def _numbered(file: RawFile, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    begin = 1
    csv.field_size_limit(max(csv.field_size_limit(), min(sys.maxsize, 2**31 - 1)))
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{file.name}, line {begin}: the quoting is broken ({error}); expected a closing quote before the "
                "next delimiter or line end."
            ) from None
        if record is None:
            return
        if record:
            yield begin, record
        begin = reader.line_num + 1  # type: ignore[attr-defined]
