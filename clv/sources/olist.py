"""Olist's eight tables (and the optional ninth), as Kaggle gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import duckdb

from clv.errors import InputError
from clv.sources import files, values
from clv.sources.files import RawFile
from clv.sources.tables import Loaded, count, csv_rows, line_of, literal, quoted, read_header, reading_errors

Kind = Literal["text", "integer", "money", "double", "time"]

_TYPES = {"text": "varchar", "integer": "integer", "money": values.MONEY, "double": "double", "time": "timestamp"}
_EXPECTED = {
    "integer": "a whole number",
    "money": "an amount such as 1234.56",
    "double": "a number such as 12.5",
    "time": "a time such as 2018-01-31 10:56:33",
}
_PARSERS: dict[str, Callable[[str], str]] = {
    "integer": values.integer,
    "money": values.money,
    "double": values.double,
    "time": values.local_time,
}
_PLAIN = {
    "text": r"[^\x00-\x20]([^\x00-\x1f]*[^\x00-\x20])?",
    "integer": r"-?\d+",
    "money": r"-?\d+(\.\d{1,4})?",
    "double": r"-?\d+(\.\d+)?",
    "time": r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}",
}
"""How each kind is written where no two readers of CSV disagree, as they do on outer blanks, ``""`` and line breaks."""


@dataclass(frozen=True)
class Table:
    """One CSV file and the raw table it becomes.

    Attributes
    ----------
    name, file
        The raw table and Kaggle's name of the file.
    columns
        Names and kinds.
    required
        Columns that must have a value; rows without one are dropped up to the allowed share.
    key
        Columns that together are unique; Olist has no exception.
    replaces_by
        An appended row replaces the stored ones with the same value here; without it the table is replaced whole.
    parents
        Columns whose value must be found in the table of that name; Olist has no exception.
    """

    name: str
    file: str
    columns: dict[str, Kind]
    required: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    replaces_by: str = ""
    parents: dict[str, str] = field(default_factory=dict)
    optional: bool = False


def _texts(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, "text")


def _times(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, "time")


# Parents come before their children: a row that is dropped takes its children with it.
TABLES = (
    Table(
        "olist_customers",
        "olist_customers_dataset.csv",
        _texts("customer_id", "customer_unique_id", "customer_zip_code_prefix", "customer_city", "customer_state"),
        required=("customer_id", "customer_unique_id"),
        key=("customer_id",),
        replaces_by="customer_id",
    ),
    Table(
        "olist_orders",
        "olist_orders_dataset.csv",
        _texts("order_id", "customer_id", "order_status")
        | _times(
            "order_purchase_timestamp",
            "order_approved_at",
            "order_delivered_carrier_date",
            "order_delivered_customer_date",
            "order_estimated_delivery_date",
        ),
        required=("order_id", "customer_id", "order_status", "order_purchase_timestamp"),
        key=("order_id",),
        replaces_by="order_id",
        parents={"customer_id": "olist_customers"},
    ),
    Table(
        "olist_products",
        "olist_products_dataset.csv",
        _texts("product_id", "product_category_name")
        | dict.fromkeys(
            (
                "product_name_lenght",
                "product_description_lenght",
                "product_photos_qty",
                "product_weight_g",
                "product_length_cm",
                "product_height_cm",
                "product_width_cm",
            ),
            "double",
        ),
        required=("product_id",),
        key=("product_id",),
        replaces_by="product_id",
    ),
    Table(
        "olist_sellers",
        "olist_sellers_dataset.csv",
        _texts("seller_id", "seller_zip_code_prefix", "seller_city", "seller_state"),
        required=("seller_id",),
        key=("seller_id",),
        replaces_by="seller_id",
    ),
    Table(
        "olist_order_items",
        "olist_order_items_dataset.csv",
        {
            "order_id": "text",
            "order_item_id": "integer",
            "product_id": "text",
            "seller_id": "text",
            "shipping_limit_date": "time",
            "price": "money",
            "freight_value": "money",
        },
        required=("order_id", "order_item_id", "product_id", "seller_id", "price", "freight_value"),
        key=("order_id", "order_item_id"),
        replaces_by="order_id",
        parents={"order_id": "olist_orders", "product_id": "olist_products", "seller_id": "olist_sellers"},
    ),
    Table(
        "olist_order_payments",
        "olist_order_payments_dataset.csv",
        {
            "order_id": "text",
            "payment_sequential": "integer",
            "payment_type": "text",
            "payment_installments": "integer",
            "payment_value": "money",
        },
        required=("order_id", "payment_sequential", "payment_type", "payment_value"),
        key=("order_id", "payment_sequential"),
        replaces_by="order_id",
        parents={"order_id": "olist_orders"},
    ),
    Table(
        "olist_order_reviews",
        "olist_order_reviews_dataset.csv",
        {
            "review_id": "text",
            "order_id": "text",
            "review_score": "integer",
            "review_comment_title": "text",
            "review_comment_message": "text",
            "review_creation_date": "time",
            "review_answer_timestamp": "time",
        },
        required=("review_id", "order_id", "review_score"),
        key=("review_id", "order_id"),
        replaces_by="order_id",
        parents={"order_id": "olist_orders"},
    ),
    Table(
        "olist_category_translation",
        "product_category_name_translation.csv",
        _texts("product_category_name", "product_category_name_english"),
        required=("product_category_name",),
        key=("product_category_name",),
        replaces_by="product_category_name",
    ),
    Table(
        "olist_geolocation",
        "olist_geolocation_dataset.csv",
        {
            "geolocation_zip_code_prefix": "text",
            "geolocation_lat": "double",
            "geolocation_lng": "double",
            "geolocation_city": "text",
            "geolocation_state": "text",
        },
        optional=True,
    ),
)

REPLACED_BY = {table.name: table.replaces_by for table in TABLES if table.replaces_by}
"""The column of each raw table by which appended rows replace stored ones."""

CURRENCY = "BRL"
"""Olist's currency."""

TIME_ZONE = "America/Sao_Paulo"
"""Olist's time zone; its times are local already."""

CUSTOMERS = "select customer_unique_id as customer_id from raw.olist_customers"
"""SQL of the shop's customers, repeats included."""

ORDERS = """
    select orders.order_id, customers.customer_id as order_customer_id
    from raw.olist_customers as customers
    left join raw.olist_orders as orders on customers.customer_id = orders.customer_id
    where customers.customer_unique_id = $customer_id
"""
"""SQL of a person's orders, and the ids the person has in them."""

TOTALS = """
    select
        (select count(distinct customer_unique_id) from raw.olist_customers) as customer_count,
        (select count(*) from raw.olist_orders) as order_count,
        (select coalesce(sum(payment_value), 0) from raw.olist_order_payments) as total_amount
"""
"""SQL of customers, orders and their total amount."""

PURCHASE_DAYS = """
    select purchase_date, count(*) as purchase_count
    from (
        select
            customers.customer_unique_id,
            cast(orders.order_purchase_timestamp as date) as purchase_date
        from raw.olist_orders as orders
        inner join raw.olist_customers as customers using (customer_id)
        inner join raw.olist_order_payments as payments using (order_id)
        where orders.order_status not in ('canceled', 'unavailable')
        group by 1, 2
        having sum(payments.payment_value) > 0
    )
    group by purchase_date
    order by purchase_date
"""
"""SQL of purchases (customer-days with a positive net amount, canceled and unavailable orders left out) per day."""


@dataclass(frozen=True)
class _Oddity:
    """Something Olist itself has in a small share of rows: up to that share (or one row) reported, above it refused."""

    says: str
    counts: str
    of: str
    share: float


_ODDITIES = (
    # Nobody is refused whose order was dropped (its row may lack the very id that names them, so those are counted), or
    # who was loaded, and judged, before.
    _Oddity(
        "customers without an order",
        """
        select greatest(0, count(*) - (
            select count(*) from dropped_olist_orders where customer_id is null or trim(customer_id) = ''
        ))
        from new_customers
        where customer_id not in (select customer_id from raw.olist_orders)
        and customer_id not in (select customer_id from dropped_olist_orders where customer_id is not null)
        """,
        "olist_customers",
        0.0,  # Olist: none of 99,441
    ),
    _Oddity(
        "orders without a payment",
        "select count(*) from raw.olist_orders where order_id not in (select order_id from raw.olist_order_payments)",
        "olist_orders",
        0.001,  # Olist: 1 of 99,441
    ),
    _Oddity(
        "orders without an item that are neither canceled nor unavailable",
        """
        select count(*) from raw.olist_orders
        where order_id not in (select order_id from raw.olist_order_items)
        and order_status not in ('canceled', 'unavailable')
        """,
        "olist_orders",
        0.001,  # Olist: 8 of 99,441
    ),
    _Oddity(
        "reviews that share their review_id with a review of another order",
        "select count(*) - count(distinct review_id) from raw.olist_order_reviews",
        "olist_order_reviews",
        0.01,  # Olist: 814 of 99,224
    ),
)

_REMARKS = {
    "customers whose orders were all canceled or unavailable, and who are not scored": """
        select count(*)
        from (
            select customers.customer_unique_id
            from raw.olist_customers as customers
            inner join raw.olist_orders as orders using (customer_id)
            group by customers.customer_unique_id
            having bool_and(orders.order_status in ('canceled', 'unavailable'))
        )
    """,
    "orders without an item": """
        select count(*) from raw.olist_orders where order_id not in (select order_id from raw.olist_order_items)
    """,
    "reviews without a creation date": """
        select count(*) from raw.olist_order_reviews where review_creation_date is null
    """,
    "products without a category": "select count(*) from raw.olist_products where product_category_name is null",
    "product categories without a translation": """
        select count(distinct product_category_name) from raw.olist_products
        where product_category_name not in (select product_category_name from raw.olist_category_translation)
    """,
}


def find(paths: Sequence[Path], workspace: Path) -> dict[str, RawFile]:
    """The files of Olist's tables in a zip, a folder or a list of CSV files, by Kaggle's file name.

    Raises
    ------
    InputError
        If a table other than geolocation is missing; names all that are.
    """
    wanted = [table.file for table in TABLES]
    found: dict[str, RawFile] = {}
    for path in paths:
        files.require(path)
        if path.is_dir():
            members = [member for member in files.members_of(path, (".csv",)) if member.name in wanted]
            more = {member.name: files.open_file(member, workspace) for member in members}
        elif path.suffix.lower() == ".csv":
            more = {path.name: files.open_file(path, workspace)} if path.name in wanted else {}
        else:
            more = files.unzip(path, wanted, workspace)
        if twice := more.keys() & found.keys():
            raise InputError(f"{', '.join(sorted(twice))} is given twice; expected each table once.")
        found |= more
    missing = [table.file for table in TABLES if not table.optional and table.file not in found]
    if missing:
        where = ", ".join(path.name for path in paths)
        raise InputError(
            f"{where} lacks {len(missing)} of Olist's tables ({', '.join(missing)}); expected the Kaggle zip, or a "
            "folder with its CSV files under their own names (only geolocation is optional). A log of purchases "
            "needs --source transactions."
        )
    return found


def write(
    connection: duckdb.DuckDBPyConnection,
    found: dict[str, RawFile],
    max_null_share: float,
    tomorrow: str,
    progress: Callable[[str], None],
) -> tuple[list[Loaded], list[str], dict[str, Path]]:
    """Check the files and write them to the raw schema, over the rows they replace there.

    Parameters
    ----------
    connection
        On the next version of the warehouse, not yet in use.
    found
        Files by Kaggle's name, from :func:`find`.
    max_null_share
        Share of rows without a required value that are dropped; more are refused.
    tomorrow
        The last day (``YYYY-MM-DD``) on which an order may have been placed.
    progress
        Is told each step.

    Returns
    -------
    tuple
        What became of each file, what was accepted but is worth knowing, and by table the files that say just what the
        table says (no row was dropped), whoever reads them.

    Raises
    ------
    InputError
        For the first thing that is wrong; names file, line and column.
    """
    loaded: list[Loaded] = []
    notes: list[str] = []
    plain: dict[str, Path] = {}
    for table in TABLES:
        connection.execute(f"create table if not exists raw.{table.name} ({_definition(table)})")
        file = found.get(table.file)
        if file is None:
            notes.append(f"{table.file} is not there; it is optional and its table is empty.")
            continue
        progress(f"reading {file.name}")
        rows, is_plain = _stage(connection, table, file)
        dropped = _drop_incomplete(connection, table, file, rows, max_null_share)
        _check_dates(connection, table, file, tomorrow)
        _check_key(connection, table, file)
        orphaned = _drop_children(connection, table)
        loaded.append(Loaded(table.name, file.name, rows, dropped + orphaned, file.sha256))
        if is_plain and not dropped + orphaned:
            plain[table.name] = file.path
        if dropped:
            notes.append(f"{file.name}: rows without {' or '.join(table.required)}, which were dropped: {dropped:,}.")
        if orphaned:
            notes.append(f"{file.name}: rows of dropped rows, which were dropped with them: {orphaned:,}.")
    progress("checking that the tables fit together")
    _check_persons(connection, found)
    connection.execute(
        "create temp table new_customers as select customer_id from next_olist_customers "
        "where customer_id not in (select customer_id from raw.olist_customers)"
    )
    for table in TABLES:
        if table.file in found:
            _merge(connection, table)
    for table in TABLES:
        if table.file in found:
            _check_parents(connection, table, found[table.file])
    return loaded, notes + _judge_oddities(connection), plain


def _definition(table: Table) -> str:
    return ", ".join(f"{name} {_TYPES[kind]}" for name, kind in table.columns.items())


def _stage(connection: duckdb.DuckDBPyConnection, table: Table, file: RawFile) -> tuple[int, bool]:
    """Read the file as text, check the types, keep typed rows with their position.

    Returns
    -------
    tuple
        The number of rows, and whether the file has the table's columns alone, in plain writing.
    """
    header = read_header(file)
    missing = [name for name in table.columns if name not in header]
    if missing:
        raise InputError(
            f"{file.name}: column {', '.join(missing)} missing in the header; found {', '.join(header)}; expected "
            f"{', '.join(table.columns)}."
        )
    for name in table.columns:
        if header.count(name) > 1:
            raise InputError(f"{file.name}: column {name} is in the header {header.count(name)} times; expected once.")
    picked = ", ".join(f"c{header.index(name)} as {name}" for name in table.columns)
    with reading_errors(file, len(header)):
        connection.execute(f"create temp table text_rows as select {picked} from {csv_rows(file, len(header))}")
    rows = count(connection, "select count(*) from text_rows")
    if rows == 0 and not table.optional:
        raise InputError(f"{file.name} has a header but no rows; expected at least one.")
    _check_types(connection, table, file)
    typed = ", ".join(
        f"nullif({name}, '') as {name}" if kind == "text" else f"{_PARSERS[kind](name)} as {name}"
        for name, kind in table.columns.items()
    )
    connection.execute(f"create temp table next_{table.name} as select rowid as position, {typed} from text_rows")
    is_plain = header == list(table.columns) and not _count_unusual(connection, table)
    connection.execute("drop table text_rows")
    return rows, is_plain


def _count_unusual(connection: duckdb.DuckDBPyConnection, table: Table) -> int:
    """Rows with a value that isn't in plain writing."""
    unusual = " or ".join(
        f"not regexp_full_match({name}, {literal(_PLAIN[kind])})" for name, kind in table.columns.items()
    )
    return count(connection, f"select count(*) from text_rows where {unusual}")


def _check_types(connection: duckdb.DuckDBPyConnection, table: Table, file: RawFile) -> None:
    typed = {name: kind for name, kind in table.columns.items() if kind != "text"}
    if not typed:
        return
    firsts = ", ".join(
        f"min(rowid) filter (where trim({name}) != '' and ({_PARSERS[kind](name)}) is null)"
        for name, kind in typed.items()
    )
    found = connection.execute(f"select {firsts} from text_rows").fetchone()
    wrong = [(position, name) for position, name in zip(found or (), typed, strict=True) if position is not None]
    if wrong:
        position, name = min(wrong)
        value = connection.execute(f"select {name} from text_rows where rowid = {position}").fetchone()
        raise InputError(
            f"{file.name}, {line_of(file, position)}, column {name}: expected {_EXPECTED[typed[name]]}, found "
            f"{value[0] if value else ''!r}."
        )


def _drop_incomplete(
    connection: duckdb.DuckDBPyConnection, table: Table, file: RawFile, rows: int, max_null_share: float
) -> int:
    """Set rows without a required value aside in ``dropped_<table>``; return their number."""
    blank = {
        name: f"({name} is null or trim({name}) = '')" if table.columns[name] == "text" else f"({name} is null)"
        for name in table.required
    }
    where = " or ".join(blank.values()) or "false"
    connection.execute(f"create temp table dropped_{table.name} as select * from next_{table.name} where {where}")
    dropped = count(connection, f"select count(*) from dropped_{table.name}")
    if dropped > max_null_share * rows:
        position = count(connection, f"select min(position) from dropped_{table.name}")
        missing = next(
            name
            for name in table.required
            if count(
                connection, f"select count(*) from dropped_{table.name} where position = {position} and {blank[name]}"
            )
        )
        raise InputError(
            f"{file.name}: {dropped:,} of {rows:,} rows have no value in a required column (the first: "
            f"{line_of(file, position)}, column {missing}); expected at most {max_null_share:.1%}, "
            "so mend the file or leave more of them out with CLV_MAX_NULL_SHARE."
        )
    if dropped:
        connection.execute(f"delete from next_{table.name} where {where}")
    return dropped


def _check_dates(connection: duckdb.DuckDBPyConnection, table: Table, file: RawFile, tomorrow: str) -> None:
    """Refuse times before all history, and orders that are yet to be placed."""
    for column in (name for name, kind in table.columns.items() if kind == "time"):
        early = connection.execute(
            f"select position, cast({column} as varchar) from next_{table.name} where {column} < date "
            f"'{values.EARLIEST_DAY}' order by position limit 1"
        ).fetchone()
        if early:
            raise InputError(
                f"{file.name}, {line_of(file, early[0])}, column {column}: {values.says_too_early(early[1])}"
            )
    if table.name != "olist_orders":
        return
    late = connection.execute(
        "select position, order_purchase_timestamp from next_olist_orders where order_purchase_timestamp >= date "
        f"'{tomorrow}' + interval 1 day order by position limit 1"
    ).fetchone()
    if late:
        raise InputError(
            f"{file.name}, {line_of(file, late[0])}, column order_purchase_timestamp: {late[1]} lies in the future; "
            f"expected no day after {tomorrow}."
        )


def _check_key(connection: duckdb.DuckDBPyConnection, table: Table, file: RawFile) -> None:
    if not table.key:
        return
    key = ", ".join(table.key)
    twice = connection.execute(
        f"select min(position), max(position), {key} from next_{table.name} group by {key} having count(*) > 1 order "
        "by 1 limit 1"
    ).fetchone()
    if twice:
        raise InputError(
            f"{file.name}, {line_of(file, twice[0])} and {line_of(file, twice[1])}: {key} = "
            f"{', '.join(map(str, twice[2:]))} occurs more than once; expected it to be unique."
        )


def _drop_children(connection: duckdb.DuckDBPyConnection, table: Table) -> int:
    """Drop rows whose parent was dropped from the same load, so that they aren't taken for orphans."""
    dropped = 0
    for column, parent in table.parents.items():
        if not count(connection, f"select count(*) from dropped_{parent}"):
            continue
        where = f"{column} in (select {column} from dropped_{parent})"
        connection.execute(f"insert into dropped_{table.name} select * from next_{table.name} where {where}")
        dropped += count(connection, f"select count(*) from next_{table.name} where {where}")
        connection.execute(f"delete from next_{table.name} where {where}")
    return dropped


def _check_persons(connection: duckdb.DuckDBPyConnection, found: dict[str, RawFile]) -> None:
    """Refuse a loaded ``customer_id`` or order of another person; within a load, keys and parents rule that out."""
    customers, orders = (found[table.file] for table in TABLES[:2])
    moved = connection.execute(
        """
        select given.position, given.customer_id, given.customer_unique_id, stored.customer_unique_id
        from next_olist_customers as given
        inner join raw.olist_customers as stored using (customer_id)
        where given.customer_unique_id != stored.customer_unique_id
        order by given.position
        limit 1
        """
    ).fetchone()
    if moved:
        position, customer, person, loaded = moved
        raise InputError(
            f"{customers.name}, {line_of(customers, position)}, column customer_unique_id: customer_id {customer!r} is "
            f"of {person!r}, but was loaded for {loaded!r}; expected one person per customer_id, so mend the file, or "
            "load all files anew without --append."
        )
    moved = connection.execute(
        """
        with persons as (
            select customer_id, customer_unique_id from next_olist_customers
            union
            select customer_id, customer_unique_id from raw.olist_customers
        )
        select given.position, given.order_id, persons.customer_unique_id, owners.customer_unique_id
        from next_olist_orders as given
        inner join raw.olist_orders as stored using (order_id)
        inner join persons on given.customer_id = persons.customer_id
        inner join persons as owners on stored.customer_id = owners.customer_id
        where persons.customer_unique_id != owners.customer_unique_id
        order by given.position
        limit 1
        """
    ).fetchone()
    if moved:
        position, order, person, loaded = moved
        raise InputError(
            f"{orders.name}, {line_of(orders, position)}, column customer_id: order {order!r} is of "
            f"customer_unique_id {person!r}, but was loaded for {loaded!r}; expected one person per order, so mend the "
            "file, or load all files anew without --append."
        )


def _merge(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    stored = f"raw.{table.name}"
    if count(connection, f"select count(*) from {stored}"):
        by = table.replaces_by
        where = f"where {by} in (select {by} from next_{table.name})" if by else ""
        connection.execute(f"delete from {stored} {where}")
    columns = ", ".join(quoted(name) for name in table.columns)
    connection.execute(f"insert into {stored} select {columns} from next_{table.name}")


def _check_parents(connection: duckdb.DuckDBPyConnection, table: Table, file: RawFile) -> None:
    for column, parent in table.parents.items():
        orphans = connection.execute(
            f"select count(*), min(position), arg_min({column}, position) from next_{table.name} where {column} not "
            f"in (select {column} from raw.{parent})"
        ).fetchone()
        if orphans and orphans[0]:
            raise InputError(
                f"{file.name}, {line_of(file, orphans[1])}, column {column}: {orphans[2]!r} is not in {parent} (such "
                f"rows: {orphans[0]:,}); expected every one to be there."
            )


def _judge_oddities(connection: duckdb.DuckDBPyConnection) -> list[str]:
    notes = []
    for oddity in _ODDITIES:
        found, rows = count(connection, oddity.counts), count(connection, f"select count(*) from raw.{oddity.of}")
        if found > max(1, oddity.share * rows):
            raise InputError(
                f"{oddity.says}: {found:,} of {rows:,} in {oddity.of}; expected at most {oddity.share:.1%}, about "
                "what Olist itself has, so the files don't belong together or are cut short."
            )
        if found:
            notes.append(f"{oddity.says}: {found:,}.")
    for says, counts in _REMARKS.items():
        if found := count(connection, counts):
            notes.append(f"{says}: {found:,}.")
    return notes
