"""Features from raw purchases: the SELECT of the marts, as it travels in the model, in an in-memory DuckDB."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clv.settings import default_memory_limit
from serving.customers import Customers
from serving.problems import MAX_ERRORS, FieldError, Problem, invalid
from serving.purchases import COLUMNS, TABLES, Staged, stage_table, type_raw
from serving.workspace import Workspace

_ONE_PURCHASE = pa.table({"customer_id": ["1"], "purchased_at": ["2024-01-01"], "amount": ["10.00"]})

_SMALL_BODY = 32 * 1024
"""Up to this size planning takes longer than running, and lasting workspaces pay."""

_AT_ONCE = 25_000
"""Purchases whose features are computed at once: more of them would take more memory, and hardly less time."""

Columns = dict[str, NDArray[Any]]
"""What a SELECT answers, by column; masked where it is null."""

Stage = Callable[[Workspace], Staged]
"""Fills ``raw`` from a body: ``stage_json`` or ``stage_table`` with all but the workspace filled in."""

_SHARED_ORDERS = f"""
select max(row), order_id from purchases where order_id is not null
group by order_id having count(distinct customer_id) > 1 order by 1 limit {MAX_ERRORS}
"""

_MOST_MONEY = 10**14
"""What a customer's money must stay below: sums are of the same type as what is added up."""

_MONEY = [column.name for column in COLUMNS if column.kind == "money"]

_TOO_MUCH = f"""
select row, field from (
    unpivot (select min(row) as row, {", ".join(f"sum(abs({name})) as {name}" for name in _MONEY)}
        from purchases group by customer_id)
    on {", ".join(_MONEY)} into name field value total
) where total >= {_MOST_MONEY} order by 1, 2 limit {MAX_ERRORS}
"""


@dataclass(frozen=True)
class Snapshot:
    """What was known of some customers on a day.

    Attributes
    ----------
    customers
        The customers that have a prediction, in order of their first row.
    left_out
        Customers without a purchase by that day, in order of their first row.
    staged
        The purchases they come from.
    """

    customers: Customers
    left_out: list[str]
    staged: Staged


class FeatureStore:
    """In-memory databases without access to files or network; every request has a cursor of its own.

    Parameters
    ----------
    threads
        DuckDB's threads for large requests.
    at_once
        About so many purchases of a large request are worked on at once.
    memory_limit
        For all large requests together, such as ``2GB``; as for the rest of `clv` by default.
    """

    def __init__(self, threads: int, at_once: int = _AT_ONCE, memory_limit: str | None = None) -> None:
        self._at_once = at_once
        self._memory_limit = memory_limit or default_memory_limit()
        self._connection = _open(threads, self._memory_limit)
        # Few rows are not worth a second thread, nor a good plan: both cost more than they save.
        self._small = _open(1, "512MB")
        self._idle: queue.LifoQueue[Workspace] = queue.LifoQueue()

    def close(self) -> None:
        """Let go of the databases."""
        self._connection.close()
        self._small.close()

    def snapshot(self, stage: Stage, features_sql: str, names: Sequence[str], body_size: int) -> Snapshot:
        """Compute the features of every customer among some purchases.

        Parameters
        ----------
        stage
            Where the purchases come from.
        features_sql
            The model's SELECT.
        names
            The features among its columns.
        body_size
            Size of the body they came in.

        Raises
        ------
        Problem
            422 naming rows and columns, if the purchases can't be used; 503 if there is no memory left for them.
        """
        answer = self._of_many if body_size > _SMALL_BODY else self._of_few
        try:
            return answer(stage, features_sql, names)
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            raise Problem(
                503,
                "There is not enough memory for this request now; try again in a moment, or send it in several.",
                headers={"Retry-After": "5"},
            ) from error

    def _of_few(self, stage: Stage, features_sql: str, names: Sequence[str]) -> Snapshot:
        with self._lasting() as workspace:
            staged = stage(workspace)
            _check_and_type(workspace, staged)
            return _snapshot(staged, _features(workspace, features_sql), names)

    def _of_many(self, stage: Stage, features_sql: str, names: Sequence[str]) -> Snapshot:
        try:
            with self._connection.cursor() as cursor:
                workspace = Workspace(cursor, TABLES, is_lasting=False)
                staged = stage(workspace)
                self._release()
                _check_and_type(workspace, staged)
                return _snapshot(staged, self._in_parts(workspace, features_sql), names)
        finally:
            self._release()

    def _in_parts(self, workspace: Workspace, features_sql: str) -> Columns:
        """Features as of all purchases at once, in the memory of some.

        The SELECT takes ten times what the purchases take. No customer's features depend on another customer, so
        whole customers can take turns.
        """
        [(count,)] = workspace.run("select count(*) from purchases").fetchall()
        parts = -(-count // self._at_once)
        if parts == 1:
            return _features(workspace, features_sql)
        workspace.run_once("drop table raw")
        workspace.run_once("alter table purchases rename to all_purchases")
        found = []
        for part in range(parts):
            self._release()
            workspace.run_once(
                "create or replace temp table purchases as "
                f"from all_purchases where hash(customer_id) % {parts} = {part}"
            )
            found.append(_features(workspace, features_sql))
        order = np.argsort(np.concatenate([columns["asked_row"] for columns in found]))
        return {name: _joined([columns.pop(name) for columns in found])[order] for name in list(found[0])}

    @contextmanager
    def _lasting(self) -> Iterator[Workspace]:
        """A workspace nobody else uses meanwhile; what is done in it leaves no trace."""
        try:
            workspace = self._idle.get_nowait()
        except queue.Empty:
            cursor = self._small.cursor()
            cursor.execute("pragma disable_optimizer")
            workspace = Workspace(cursor, TABLES, is_lasting=True)
        workspace.run_once("begin")
        try:
            yield workspace
        except Problem:
            self._give_back(workspace)
            raise
        except BaseException:
            workspace.cursor.close()  # nobody knows what state it is in
            raise
        self._give_back(workspace)

    def _release(self) -> None:
        """Hand what a large request no longer needs back to the system: allocators would keep 150 MB of it.

        DuckDB has no statement for that, but empties its allocator whenever the limit is set, in some hundredths of a
        second.
        """
        with self._connection.cursor() as cursor:  # the connection itself takes one call at a time
            cursor.execute(f"set memory_limit = '{self._memory_limit}'")
        pa.default_memory_pool().release_unused()

    def _give_back(self, workspace: Workspace) -> None:
        workspace.run_once("rollback")
        if workspace.is_worn:
            workspace.cursor.close()
        else:
            self._idle.put(workspace)

    def check(self, features_sql: str) -> list[str]:
        """Columns the SELECT makes of one purchase; raises what DuckDB raises if it can't run."""
        with self._connection.cursor() as cursor:
            workspace = Workspace(cursor, TABLES, is_lasting=False)
            _check_and_type(workspace, stage_table(workspace, _ONE_PURCHASE, date(2024, 1, 31), max_rows=1))
            return list(_features(workspace, features_sql))


def _open(threads: int, memory_limit: str) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": "false",
            "threads": str(threads),
            "memory_limit": memory_limit,
            "temp_directory": "",  # what people have bought stays in memory
        },
    )


def _check_and_type(workspace: Workspace, staged: Staged) -> None:
    """Fill ``purchases`` from ``raw``."""
    type_raw(workspace, staged.as_of)
    _check_orders(workspace)
    _check_sums(workspace)


def _snapshot(staged: Staged, columns: Columns, names: Sequence[str]) -> Snapshot:
    ids, is_known = columns["asked_id"], columns["is_known"]
    # Each column is let go as soon as it is taken over: there may be many.
    customers = Customers(ids[is_known].tolist(), {name: _plain(columns.pop(name))[is_known] for name in names})
    return Snapshot(customers, ids[~is_known].tolist(), staged)


def _features(workspace: Workspace, features_sql: str) -> Columns:
    """Features of the customers of ``purchases``; only those that are known have some."""
    columns: Columns = workspace.run(
        f"""
        select
            customers.row as asked_row,
            customers.customer_id as asked_id,
            features.customer_id is not null as is_known,
            features.* exclude (customer_id)
        from (select customer_id, min(row) as row from purchases group by customer_id) as customers
        left join ({features_sql.strip().rstrip(";")}) as features on customers.customer_id = features.customer_id
        order by customers.row
        """
    ).fetchnumpy()
    return columns


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One column of several, masked if one of them is."""
    is_masked = any(isinstance(part, np.ma.MaskedArray) for part in parts)
    joined: NDArray[Any] = (np.ma.concatenate if is_masked else np.concatenate)(parts)
    return joined


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """The column without mask: NaN for a number that is not known, None for a text."""
    if not isinstance(column, np.ma.MaskedArray):
        return column
    missing: Any = np.nan if column.dtype.kind == "f" else None
    return np.where(np.ma.getmaskarray(column), missing, column.data)


def _check_orders(workspace: Workspace) -> None:
    """An order belongs to one customer."""
    shared = workspace.run(_SHARED_ORDERS).fetchall()
    if shared:
        raise invalid(
            [
                FieldError(row=row, field="order_id", message=f"Order '{order}' belongs to more than one customer.")
                for row, order in shared
            ]
        )


def _check_sums(workspace: Workspace) -> None:
    """What a customer has paid can be added up."""
    found = workspace.run(_TOO_MUCH).fetchall()
    if found:
        message = f"The customer's values add up to more than can be worked with; expected less than {_MOST_MONEY:,}."
        raise invalid([FieldError(row=row, field=field, message=message) for row, field in found])
