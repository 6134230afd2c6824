"""Purchases as callers send them (JSON, CSV, Parquet), checked and typed inside DuckDB.

Whatever the format, a body first becomes rows of the table ``raw``: its row number and every column as text. One set of
checks then serves all formats, and DuckDB and Arrow work outside Python's lock, so that other requests go on.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from clv.errors import first_line
from clv.sources.values import MONEY, local_time, money
from serving.bodies import CSV
from serving.problems import MAX_ERRORS, FieldError, invalid, invalid_field
from serving.workspace import Workspace

Kind = Literal["text", "time", "date", "money", "count"]


@dataclass(frozen=True)
class Column:
    """A column of purchases."""

    name: str
    kind: Kind
    description: str
    is_required: bool = False
    minimum: float | None = None


COLUMNS = (
    Column("customer_id", "text", "The customer, verbatim.", is_required=True),
    Column("purchased_at", "time", "When, in the shop's local time.", is_required=True),
    Column("amount", "money", "What was paid; negative for a return.", is_required=True),
    Column("order_id", "text", "The order; rows with the same one are its lines."),
    Column("category", "text", "Category of the dearest item."),
    Column("payment_type", "text", "Means of payment."),
    Column("state", "text", "State the order went to."),
    Column("item_count", "count", "Items."),
    Column("product_count", "count", "Different products."),
    Column("category_count", "count", "Different categories."),
    Column("seller_count", "count", "Different sellers."),
    Column("instalment_count", "count", "Instalments it is paid in."),
    Column("freight_amount", "money", "Freight, part of the amount.", minimum=0),
    Column("review_score", "count", "Stars."),
    Column("promised_date", "date", "Delivery promised for."),
    Column("delivered_date", "date", "Delivered."),
    Column("review_created_date", "date", "Review asked for."),
    Column("review_answered_date", "date", "Review answered."),
)

_NAMES = [column.name for column in COLUMNS]
_EARLIEST, _LATEST = date(1900, 1, 1), date(2200, 1, 1)
_MAX_TEXT = 200
_MAX_NAMED = 20
_MAX_SHOWN = 60
_MAX_NUMBER = 1_000_000_000

_TYPES = {"text": "varchar", "time": "timestamp", "date": "date", "money": MONEY, "count": "bigint"}

EXPECTED = {
    "text": f"text of 1 to {_MAX_TEXT} characters",
    "time": "a date or time such as 2018-03-01 14:05:00, without a time zone",
    "date": "a date such as 2018-03-01",
    "money": f"a number such as 12.50, below {_MAX_NUMBER:,}",
    "count": f"a whole number from 0 to {_MAX_NUMBER:,}",
}

MAX_COLUMNS = 200
"""Most columns of a table, ten times what is understood."""

_PLAIN = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_decimal128,
    pa.types.is_date,
    pa.types.is_timestamp,
)
"""What a column of a Parquet file may be, beside text."""

_MAX_WIDTH = 16
"""Most bytes a number is stored in."""

_MAX_UNPACKED = 256 * 2**20
"""Most bytes that the columns of a Parquet file may unpack to."""

_HEADER = re.compile(rb"(\xef\xbb\xbf)?[\r\n]*")
"""What may come before the first line of a CSV."""

_NAME = re.compile(rb'("(?:[^"]++|"")*+"|)[^,\r\n]*+(?P<more>,?)')
"""A field of it, and whether another one follows."""

TABLES = (
    f"create temp table raw (row bigint, {', '.join(f'{name} varchar' for name in _NAMES)});"
    f"create temp table purchases (row bigint, {', '.join(f'{c.name} {_TYPES[c.kind]}' for c in COLUMNS)});"
)
"""Makes the tables a body goes through."""


@dataclass(frozen=True)
class Staged:
    """A body that has become the rows of ``raw``.

    Attributes
    ----------
    as_of
        The day whose knowledge counts.
    warnings
        What the caller should know.
    """

    as_of: date
    warnings: list[str]


def read_table(body: bytes, media_type: str, max_rows: int) -> pa.Table:
    """Read a CSV or Parquet body; only the columns that are understood are ever unpacked.

    Raises
    ------
    Problem
        422 if it can't be read or has too many rows or columns.
    """
    try:
        return _read_csv(body) if media_type == CSV else _read_parquet(body, max_rows)
    except MemoryError:  # Arrow's is an ArrowException as well
        raise
    except (pa.ArrowException, OSError) as error:
        what = "CSV in UTF-8 with commas" if media_type == CSV else "Parquet"
        raise invalid_field(None, f"The body can't be read as {what}: {first_line(error)}.") from None


def _read_csv(body: bytes) -> pa.Table:
    _check_width(_width(body))
    return pyarrow.csv.read_csv(
        pa.BufferReader(body),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(_NAMES, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    )


def _width(body: bytes) -> int:
    """Columns in the first line of a CSV; counted before it is read, and no further than it takes to refuse them."""
    place = _HEADER.match(body).end()  # type: ignore[union-attr]
    for count in range(1, MAX_COLUMNS + 1):
        name = _NAME.match(body, place)
        if name is None or not name["more"]:
            return count
        place = name.end()
    return MAX_COLUMNS + 1


def _check_width(columns: int) -> None:
    if columns > MAX_COLUMNS:
        raise invalid_field(None, f"The table has more than {MAX_COLUMNS} columns; leave out those that are not used.")


def _read_parquet(body: bytes, max_rows: int) -> pa.Table:
    source = pa.BufferReader(body)
    hinted = pyarrow.parquet.ParquetFile(source)
    names = hinted.schema_arrow.names
    _check_width(len(names))
    _check_double(names)
    leaves = [hinted.schema.column(place) for place in range(len(hinted.schema))]
    known = {leaf.path: place for place, leaf in enumerate(leaves) if leaf.path in _NAMES}
    # Text becomes a dictionary, whatever type the file hints at: a small file can stand for gigabytes of it.
    file = pyarrow.parquet.ParquetFile(source, read_dictionary=list(known))
    for field in file.schema_arrow:
        if field.name in _NAMES and not (field.name in known and _is_plain(field.type, leaves[known[field.name]])):
            found = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            raise invalid_field(
                field.name, f"Expected a column of plain values, such as text, numbers or times; found {_cut(found)}."
            )
    _check_size(file.metadata, list(known.values()), max_rows)
    table = file.read(list(known))
    unknown = [name for name in names if name not in _NAMES]
    nothing = [pa.nulls(len(table))] * len(unknown)
    return pa.Table.from_arrays([*table.columns, *nothing], [*table.column_names, *unknown])


def _is_plain(kind: pa.DataType, leaf: Any) -> bool:
    """Whether the values are text, as a dictionary, or take few bytes each, in the file as well.

    A decimal may be stored in any number of bytes.
    """
    if pa.types.is_dictionary(kind):
        return bool(pa.types.is_string(kind.value_type))
    return any(is_kind(kind) for is_kind in _PLAIN) and leaf.physical_type != "BYTE_ARRAY" and leaf.length <= _MAX_WIDTH


def _check_size(metadata: Any, places: Sequence[int], max_rows: int) -> None:
    """Refuse columns that become too many or too large, by what Arrow will read: the parts, not the file's total."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [[group.column(place) for group in groups] for place in places]
    counts = [sum(part.num_values for part in column) for column in columns]
    _check_count(max([metadata.num_rows, *counts]), max_rows)
    if sum(part.total_uncompressed_size for column in columns for part in column) > _MAX_UNPACKED:
        raise invalid_field(
            None, f"The body unpacks to more than {_MAX_UNPACKED // 2**20} MiB; send the customers in several requests."
        )


def stage_table(workspace: Workspace, table: pa.Table, as_of: date, max_rows: int) -> Staged:
    """Fill ``raw`` from an Arrow table.

    Raises
    ------
    Problem
        422 if columns are missing or double, or rows too many.
    """
    names = table.column_names
    _check_double(names)
    missing = [column.name for column in COLUMNS if column.is_required and column.name not in names]
    if missing:
        message = f"Column is missing; found {_listed(names)}."
        raise invalid([FieldError(row=None, field=name, message=message) for name in missing])
    _check_count(len(table), max_rows)
    known = [name for name in names if name in _NAMES]
    numbered = table.select(known).append_column("row", pa.array(range(1, len(table) + 1), pa.int64()))
    # Cut just above what is allowed: a dictionary in a small file can stand for gigabytes.
    texts = [f"left(cast({name if name in known else 'null'} as varchar), {_MAX_TEXT + 1})" for name in _NAMES]
    workspace.cursor.register("received", numbered)
    try:
        workspace.run_once(f"insert into raw select row, {', '.join(texts)} from received")
    finally:
        workspace.cursor.unregister("received")
    workspace.run_once("insert into cutoffs values (?)", [as_of])
    ignored = [name for name in names if name not in _NAMES]
    return Staged(as_of, [f"Columns that are not used: {_listed(ignored)}."] if ignored else [])


def _check_double(names: Sequence[str]) -> None:
    double = sorted(name for name, count in Counter(names).items() if count > 1)
    if double:
        raise invalid([FieldError(row=None, field=name, message="Column is there twice.") for name in double])


def _listed(names: Sequence[str]) -> str:
    """Names of columns, some of them if there are many; a caller may call them anything."""
    shown = ", ".join(_cut(name) for name in names[:_MAX_NAMED])
    more = len(names) - _MAX_NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown


def _cut(what: object) -> str:
    text = str(what)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def stage_json(workspace: Workspace, body: bytes, max_rows: int) -> Staged:
    """Fill ``raw`` from a JSON body.

    Raises
    ------
    Problem
        422 if it is not of the shape expected.
    """
    as_of = _check_document(workspace, body, max_rows)
    workspace.run_once("insert into cutoffs values (?)", [as_of])
    workspace.run(_SPLIT)
    _check_elements(workspace)
    workspace.run(_UNPACK)
    return Staged(as_of, [])


_KINDS = "json_type(text, ['$', '$.as_of', '$.purchases'])"
_KEYS = "json_keys(text)"
_AS_OF = "text ->> '$.as_of'"
_LENGTH = "json_array_length(text, '$.purchases')"

_SPLIT = """
insert into elements
select row_number() over (), purchase
from (select unnest(from_json(text, '{"purchases": ["JSON"]}').purchases) as purchase from body)
"""

_UNPACK = (
    f"insert into raw select row, unnest(from_json(purchase, '{json.dumps(dict.fromkeys(_NAMES, 'VARCHAR'))}')) "
    "from elements"
)

_NO_OBJECT = f"""
select row from elements where json_type(purchase) is distinct from 'OBJECT' order by row limit {MAX_ERRORS}
"""

_NOT_TEXT = " union all ".join(
    f"select row, '{name}', 'Expected {EXPECTED['text']}; found a ' || "
    f"case when json_type(purchase, '$.{name}') in ('ARRAY', 'OBJECT') "
    f"then lower(json_type(purchase, '$.{name}')) else 'value without quotes' end || '.' "
    f"from elements where json_type(purchase, '$.{name}') not in ('VARCHAR', 'NULL')"
    for name in (column.name for column in COLUMNS if column.kind == "text")
)

_WRONG_FIELDS = f"""
select row, field, 'Field is unknown; expected {", ".join(_NAMES)}.' as message
from (select row, unnest(json_keys(purchase)) as field from elements)
where field not in ({", ".join(f"'{name}'" for name in _NAMES)})
union all {_NOT_TEXT}
order by 1, 2 limit {MAX_ERRORS}
"""


def _check_document(workspace: Workspace, body: bytes, max_rows: int) -> date:
    """Check everything but the purchases themselves; returns the as-of day."""

    def ask(fact: str) -> Any:
        """One at a time: each takes four times the body's memory, and DuckDB would give it back after the last."""
        return workspace.run(f"select {fact} from body").fetchall()[0][0]

    try:
        workspace.run_once("insert into body values (?)", [body.decode()])
        document, as_of, purchases = ask(_KINDS)
    except UnicodeDecodeError as error:
        raise invalid_field(None, f"The body is not UTF-8: byte {error.start + 1:,} can't be read.") from None
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise invalid_field(None, f"The body is not JSON: {first_line(error).partition('.  Input')[0]}.") from None
    if document != "OBJECT" or purchases != "ARRAY":
        raise invalid_field("purchases", 'Expected an object {"as_of": "YYYY-MM-DD", "purchases": [...]}.')
    unknown = sorted(set(ask(_KEYS)) - {"as_of", "purchases"})
    if unknown:
        raise invalid(
            [
                FieldError(row=None, field=name, message="Field is unknown; expected as_of and purchases.")
                for name in unknown
            ]
        )
    _check_count(ask(_LENGTH), max_rows)
    return parse_day(ask(_AS_OF) if as_of == "VARCHAR" else None)


def _check_elements(workspace: Workspace) -> None:
    """Each purchase is an object, with known fields; text is text."""
    errors = [
        FieldError(row=row, field=None, message="Expected an object with the fields of a purchase.")
        for (row,) in workspace.run(_NO_OBJECT).fetchall()
    ]
    if not errors:
        rows = workspace.run(_WRONG_FIELDS).fetchall()
        errors = [FieldError(row=row, field=field, message=message) for row, field, message in rows]
    if errors:
        raise invalid(errors)


def type_raw(workspace: Workspace, as_of: date) -> None:
    """Check every value of ``raw`` and fill the typed ``purchases`` from it.

    Raises
    ------
    Problem
        422 naming rows and fields.
    """
    counts = workspace.run(_COUNT_BAD).fetchall()[0]
    if any(counts):
        bad = " union all ".join(
            f"select row, '{column.name}', left({column.name}, 60) from raw, cutoffs where {_is_bad(column)}"
            for column, count in zip(COLUMNS, counts, strict=True)
            if count
        )
        rows = workspace.run_once(f"{bad} order by 1, 2 limit {MAX_ERRORS}").fetchall()
        raise invalid([_explain(row, field, found, as_of) for row, field, found in rows], sum(counts))
    workspace.run(_CAST)


def _is_bad(column: Column) -> str:
    """SQL condition: the value is missing though required, or not of its kind."""
    name = column.name
    good = {
        "text": f"length({name}) <= {_MAX_TEXT}" + (f" and {name} <> ''" if column.is_required else ""),
        "time": f"cast({local_time(name)} as date) between date '{_EARLIEST}' and cutoff_date",
        "date": f"cast({local_time(name)} as date) between date '{_EARLIEST}' and date '{_LATEST}'",
        "money": f"length({name}) <= {_MAX_TEXT} and abs({money(name)}) < {_MAX_NUMBER}",
        "count": f"try_cast({name} as double) between 0 and {_MAX_NUMBER}"
        f" and try_cast({name} as double) = floor(try_cast({name} as double))",
    }[column.kind]
    if column.minimum is not None:
        good += f" and {money(name)} >= {column.minimum}"
    return f"not coalesce({good}, {'false' if column.is_required else f'{name} is null'})"


_COUNT_BAD = f"select {', '.join(f'count(*) filter ({_is_bad(column)})' for column in COLUMNS)} from raw, cutoffs"


def _cast(column: Column) -> str:
    """SQL value, of a text that was found to be good."""
    if column.kind == "money":
        return money(column.name)
    through = {"count": "double", "date": "timestamp"}.get(column.kind)
    text = f"trim({column.name})" if column.kind in ("time", "date") else column.name
    return f"cast({f'cast({text} as {through})' if through else text} as {_TYPES[column.kind]})"


_CAST = f"insert into purchases select row, {', '.join(map(_cast, COLUMNS))} from raw"


def _explain(row: int, name: str, found: str | None, as_of: date) -> FieldError:
    column = next(column for column in COLUMNS if column.name == name)
    expected = EXPECTED[column.kind] + (", not negative" if column.minimum == 0 else "")
    if found is None:
        message = f"Value is missing; expected {expected}."
    elif column.kind == "time" and _is_later(found, as_of):
        message = f"Purchase is after the as-of day {as_of}; found {found}."
    else:
        message = f"Expected {expected}; found '{found}'."
    return FieldError(row=row, field=name, message=message)


def _is_later(found: str, as_of: date) -> bool:
    try:
        return date.fromisoformat(found.strip()[:10]) > as_of
    except ValueError:
        return False


def parse_day(text: str | None) -> date:
    """The as-of day of a request.

    Raises
    ------
    Problem
        422 if it is missing or not a date.
    """
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        day = None
    if day is None or day.isoformat() != text or not _EARLIEST <= day <= _LATEST:  # there are weeks in ISO, too
        found = "" if text is None else f"; found {text[:60]!r}"
        raise invalid_field("as_of", f"Expected the as-of day as text YYYY-MM-DD{found}.")
    return day


def _check_count(count: int, max_rows: int) -> None:
    if not 1 <= count <= max_rows:
        raise invalid_field("purchases", f"Expected 1 to {max_rows:,} purchases; found {count:,}.")
