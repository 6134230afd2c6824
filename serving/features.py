"""Features from raw purchases: the SELECT of the marts, as it travels in the model, in an in-memory DuckDB."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import duckdb
import pandas as pd
import pyarrow as pa

from serving.problems import MAX_ERRORS, FieldError, Problem, invalid
from serving.purchases import TABLES, Staged, stage_table, type_raw
from serving.workspace import Workspace

_ONE_PURCHASE = pa.table({"customer_id": ["1"], "purchased_at": ["2024-01-01"], "amount": ["10.00"]})

_SMALL_BODY = 32 * 1024
"""Up to this size planning takes longer than running, and lasting workspaces pay."""

Stage = Callable[[Workspace], Staged]
"""Fills ``raw`` from a body: ``stage_json`` or ``stage_table`` with all but the workspace filled in."""

_SHARED_ORDERS = f"""
select max(row), order_id from purchases where order_id is not null
group by order_id having count(distinct customer_id) > 1 order by 1 limit {MAX_ERRORS}
"""


@dataclass(frozen=True)
class Snapshot:
    """What was known of some customers on a day.

    Attributes
    ----------
    frame
        Features of the customers that have a prediction, in order of their first row.
    ids
        Their ids.
    left_out
        Customers without a purchase by that day, in order of their first row.
    staged
        The purchases they come from.
    """

    frame: pd.DataFrame
    ids: list[str]
    left_out: list[str]
    staged: Staged


class FeatureStore:
    """In-memory databases without access to files or network; every request has a cursor of its own.

    Parameters
    ----------
    threads
        DuckDB's threads for large requests.
    """

    def __init__(self, threads: int) -> None:
        self._connection = _open(threads, "2GB")
        # Few rows are not worth a second thread: handing them over costs more than they do.
        self._small = _open(1, "512MB")
        self._idle: queue.LifoQueue[Workspace] = queue.LifoQueue()

    def close(self) -> None:
        """Let go of the databases."""
        self._connection.close()
        self._small.close()

    def snapshot(self, stage: Stage, features_sql: str, body_size: int) -> Snapshot:
        """Compute the features of every customer among some purchases.

        Parameters
        ----------
        stage
            Where the purchases come from.
        features_sql
            The model's SELECT.
        body_size
            Size of the body they came in.

        Raises
        ------
        Problem
            422 naming rows and columns, if the purchases can't be used.
        """
        if body_size > _SMALL_BODY:
            with self._connection.cursor() as cursor:
                return _snapshot(Workspace(cursor, TABLES, is_lasting=False), stage, features_sql)
        with self._lasting() as workspace:
            return _snapshot(workspace, stage, features_sql)

    @contextmanager
    def _lasting(self) -> Iterator[Workspace]:
        """A workspace nobody else uses meanwhile; what is done in it leaves no trace."""
        try:
            workspace = self._idle.get_nowait()
        except queue.Empty:
            workspace = Workspace(self._small.cursor(), TABLES, is_lasting=True)
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

    def _give_back(self, workspace: Workspace) -> None:
        workspace.run_once("rollback")
        if workspace.is_worn:
            workspace.cursor.close()
        else:
            self._idle.put(workspace)

    def check(self, features_sql: str) -> list[str]:
        """Columns the SELECT makes of one purchase; raises what DuckDB raises if it can't run."""
        with self._connection.cursor() as cursor:
            snapshot = _snapshot(
                Workspace(cursor, TABLES, is_lasting=False),
                lambda workspace: stage_table(workspace, _ONE_PURCHASE, date(2024, 1, 31), max_rows=1),
                features_sql,
            )
        return list(snapshot.frame.columns)


def _open(threads: int, memory_limit: str) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": "false",
            "threads": str(threads),
            "memory_limit": memory_limit,
            "lock_configuration": "true",
        },
    )


def _snapshot(workspace: Workspace, stage: Stage, features_sql: str) -> Snapshot:
    staged = stage(workspace)
    type_raw(workspace, staged.as_of)
    _check_orders(workspace)
    frame = workspace.run(
        f"""
        select
            customers.customer_id as asked_id,
            features.*
        from (select customer_id, min(row) as row from purchases group by customer_id) as customers
        left join ({features_sql.strip().rstrip(";")}) as features on customers.customer_id = features.customer_id
        order by customers.row
        """
    ).df()
    is_known = frame["customer_id"].notna().to_numpy()
    ids = frame.pop("asked_id").to_numpy(dtype=object)
    return Snapshot(frame[is_known], ids[is_known].tolist(), ids[~is_known].tolist(), staged)


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
