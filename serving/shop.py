"""The last scored shop, read only: what ``clv score`` left in the warehouse."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from clv.predictor import Parts
from clv.sources.tables import quoted
from serving.bigquery import is_bigquery, open_bigquery
from serving.mirror import Mirror
from serving.problems import Problem, invalid_field
from serving.settings import ServingSettings
from serving.shop_source import CATALOG, NONE_SCORED, NoShop, Source, WarehouseFile

COLUMNS = (
    "customer_id",
    "p_return",
    "value_if_return",
    "value_if_return_low",
    "value_if_return_high",
    "expected_value",
    "percentile",
)
SORTABLE = tuple(sign + name for name in COLUMNS for sign in ("", "-"))
"""Sort orders; a minus means the highest first."""

MAX_PURCHASES = 1_000
"""Most purchases shown of one customer, the newest."""

_PURCHASES = {
    "purchase_date": "purchase_date",
    "amount": "cast(amount as double)",
    "return_amount": "cast(return_amount as double)",
    "order_count": "order_count",
    "item_count": "item_count",
    "category": "category",
    "payment_type": "payment_type",
}
_BATCH_ROWS = 50_000


class ScoredShop:
    """Reads the scored shop from its source.

    Parameters
    ----------
    source
        Gives cursors on it.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def total(self) -> float | None:
        """Total expected value of the scored shop; None where there is none."""
        try:
            with self._cursor() as cursor:
                return float(_summary(cursor)["expected_value"])
        except Problem:
            return None

    def page(self, sort: str, limit: int, after: str | None, search: str | None) -> dict[str, Any]:
        """One page of customers.

        Parameters
        ----------
        sort
            One of `SORTABLE`; ties go by customer.
        after
            The cursor the page before ended with.
        search
            Part of a customer's id.

        Raises
        ------
        Problem
            404 if no shop was scored, 422 if the cursor is not one of this sort order.
        """
        name, is_falling = sort.removeprefix("-"), sort.startswith("-")
        # A number that is missing (a baseline has no percentile) sorts as NaN, above all others, and equals itself.
        key = name if name == "customer_id" else f"coalesce({name}, 'nan'::double)"
        conditions: list[str] = ["true"]
        values: list[Any] = []
        if search:
            conditions.append("contains(lower(customer_id), lower(?))")
            values.append(search)
        if after is not None:
            value, customer = _read_cursor(after, sort)
            beyond = "<" if is_falling else ">"
            conditions.append(f"({key} {beyond} ? or ({key} = ? and customer_id > ?))")
            values += [value, value, customer]
        order = f"{key} {'desc' if is_falling else 'asc'}, customer_id"
        with self._cursor() as cursor:
            summary = _summary(cursor)
            rows = cursor.execute(
                f"select {', '.join(COLUMNS)} from marts.customer_predictions where {' and '.join(conditions)} "
                f"order by {order} limit ?",
                [*values, limit + 1],
            ).fetchall()
        customers = [dict(zip(COLUMNS, row, strict=True)) for row in rows[:limit]]
        last = customers[-1] if len(rows) > limit else None
        return {
            "scored": summary,
            "customers": customers,
            "next_cursor": None if last is None else _write_cursor(sort, last[name], last["customer_id"]),
        }

    def parts(self) -> tuple[dict[str, Any], Parts]:
        """Which scoring it is, and both parts of every customer's prediction.

        Raises
        ------
        Problem
            404 if no shop was scored.
        """
        with self._cursor() as cursor:
            summary = _summary(cursor)
            columns = cursor.execute("select p_return, value_if_return from marts.customer_predictions").fetchnumpy()
        return summary, Parts(columns["p_return"], columns["value_if_return"])

    def customer(self, customer_id: str, features: Sequence[str] = ()) -> dict[str, Any]:
        """Prediction, purchases and features of one customer.

        Parameters
        ----------
        features
            Names of the features; the snapshot may lack them or have been replaced since, then there are none.

        Raises
        ------
        Problem
            404 if no shop was scored or it has no such customer.
        """
        with self._cursor() as cursor:
            summary = _summary(cursor)
            found = cursor.execute(
                f"select {', '.join(COLUMNS)} from marts.customer_predictions where customer_id = ?", [customer_id]
            ).fetchone()
            if found is None:
                raise Problem(404, "The scored shop has no such customer; ids are compared verbatim.")
            purchases = cursor.execute(
                f"select {', '.join(_PURCHASES.values())} from marts.purchases "
                "where customer_id = ? and purchase_date <= ? order by purchase_date desc limit ?",
                [customer_id, summary["as_of_date"], MAX_PURCHASES],
            ).fetchall()
            known = _features(cursor, customer_id, summary["as_of_date"], features)
        return {
            "scored": summary,
            "prediction": dict(zip(COLUMNS, found, strict=True)),
            "features": known,
            "purchases": [dict(zip(_PURCHASES, row, strict=True)) for row in purchases],
        }

    def write_parquet(self, target: Path) -> None:
        """Write all predictions to a Parquet file, highest expected value first, in bounded memory.

        Raises
        ------
        Problem
            404 if no shop was scored.
        """
        with self._cursor() as cursor:
            _summary(cursor)
            reader = cursor.sql(
                f"select {', '.join(COLUMNS)} from marts.customer_predictions order by expected_value desc, customer_id"
            ).to_arrow_reader(_BATCH_ROWS)
            with pq.ParquetWriter(target, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor on the shop as it is now."""
        cursor = self.source.cursor()
        try:
            yield cursor
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise Problem(503, f"The warehouse can't be read: {type(error).__name__}.") from error
        finally:
            cursor.close()


def source_of(settings: ServingSettings) -> Source:
    """Where these settings say that the scored shop is."""
    if not settings.scored_shop:
        return NoShop("This service shows no scored shop; it is switched off by CLV_SCORED_SHOP.")
    if is_bigquery(settings):
        opened = partial(open_bigquery, settings)
        return Mirror(opened, settings.warehouse, threads=settings.threads, seconds=settings.poll_seconds)
    kind, _, rest = settings.warehouse.partition("://")
    if kind == "duckdb" and len(rest) > 1:
        return WarehouseFile(Path(rest[1:]).absolute(), settings.threads)
    return NoShop(NONE_SCORED)


def _summary(cursor: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Which scoring it is; also makes the file's schemas the ones that are meant.

    Raises
    ------
    Problem
        404 if no shop was scored, or one without customers.
    """
    cursor.execute(f"use {CATALOG}")
    try:
        row = cursor.execute(
            """
            select any_value(as_of_date), any_value(horizon_days), any_value(scored_by), count(*), sum(expected_value)
            from marts.customer_predictions
            """
        ).fetchall()[0]
    except duckdb.CatalogException:
        raise Problem(404, NONE_SCORED) from None
    as_of_date, horizon_days, scored_by, customers, expected_value = row
    if not customers:
        raise Problem(404, "The shop that was scored last has no customers.")
    return {
        "as_of_date": str(as_of_date),
        "horizon_days": horizon_days,
        "scored_by": scored_by,
        "customers": customers,
        "expected_value": expected_value,
    }


def _features(
    cursor: duckdb.DuckDBPyConnection, customer_id: str, as_of_date: str, names: Sequence[str]
) -> dict[str, Any] | None:
    """The customer's snapshot on the day of the scoring, if it is there with all these features."""
    if not names:
        return None
    try:
        found = cursor.execute(
            f"select {', '.join(map(quoted, names))} from marts.customer_snapshots "
            "where customer_id = ? and cutoff_date = cast(? as date)",
            [customer_id, as_of_date],
        ).fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    return None if found is None else dict(zip(names, found, strict=True))


def _write_cursor(sort: str, value: Any, customer_id: str) -> str:
    value = float("nan") if value is None else value
    return base64.urlsafe_b64encode(json.dumps([sort, value, customer_id]).encode()).decode()


def _read_cursor(text: str, sort: str) -> tuple[float | str, str]:
    try:
        made_for, value, customer_id = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
        f"{value}{customer_id}".encode()  # half a character is no text
    except (binascii.Error, ValueError, TypeError, RecursionError):
        made_for = value = customer_id = None
    kind = str if sort.removeprefix("-") == "customer_id" else float
    if made_for != sort or not isinstance(value, kind) or not isinstance(customer_id, str):
        raise invalid_field("cursor", "Expected next_cursor of an answer in the same sort order.")
    return value, customer_id
