"""Features from raw purchases: the SELECT of the marts, as it travels in the model, in an in-memory DuckDB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import duckdb
import pandas as pd
import pyarrow as pa

from serving.problems import MAX_ERRORS, FieldError, invalid
from serving.purchases import Staged, stage_table, type_raw

_MEMORY_LIMIT = "2GB"

_ONE_PURCHASE = pa.table({"customer_id": ["1"], "purchased_at": ["2024-01-01"], "amount": ["10.00"]})

Stage = Callable[[duckdb.DuckDBPyConnection], Staged]
"""Makes the relation ``raw`` of a body: ``stage_json`` or ``stage_table`` with all but the cursor filled in."""


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
    """One in-memory database without access to files or network; every request has a cursor of its own.

    Parameters
    ----------
    threads
        DuckDB's threads.
    """

    def __init__(self, threads: int) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "enable_external_access": "false",
                "threads": str(threads),
                "memory_limit": _MEMORY_LIMIT,
                "lock_configuration": "true",
            },
        )

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def snapshot(self, stage: Stage, features_sql: str) -> Snapshot:
        """Compute the features of every customer among some purchases.

        Raises
        ------
        Problem
            422 naming rows and columns, if the purchases can't be used.
        """
        with self._connection.cursor() as cursor:
            staged = stage(cursor)
            type_raw(cursor, staged.as_of)
            _check_orders(cursor)
            cursor.execute("create temp table cutoffs as select ?::date as cutoff_date", [staged.as_of])
            cursor.execute(f"create temp table features as {features_sql.strip().rstrip(';')}")
            frame = cursor.execute(
                """
                select
                    customers.customer_id as asked_id,
                    features.*
                from (select customer_id, min(row) as row from purchases group by customer_id) as customers
                left join features on customers.customer_id = features.customer_id
                order by customers.row
                """
            ).df()
        is_known = frame["customer_id"].notna().to_numpy()
        ids = frame.pop("asked_id").to_numpy(dtype=object)
        return Snapshot(frame[is_known], ids[is_known].tolist(), ids[~is_known].tolist(), staged)

    def check(self, features_sql: str) -> list[str]:
        """Columns the SELECT makes of one purchase; raises what DuckDB raises if it can't run."""
        snapshot = self.snapshot(
            lambda cursor: stage_table(cursor, _ONE_PURCHASE, date(2024, 1, 31), max_rows=1), features_sql
        )
        return list(snapshot.frame.columns)


def _check_orders(cursor: duckdb.DuckDBPyConnection) -> None:
    """An order belongs to one customer."""
    shared = cursor.execute(
        f"""
        select max(row), order_id from purchases where order_id is not null
        group by order_id having count(distinct customer_id) > 1 order by 1 limit {MAX_ERRORS}
        """
    ).fetchall()
    if shared:
        raise invalid(
            [
                FieldError(row=row, field="order_id", message=f"Order '{order}' belongs to more than one customer.")
                for row, order in shared
            ]
        )
