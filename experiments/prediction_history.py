"""Past predictions, kept until it is known what came of them.

``clv score`` writes its table and file anew each time; here a copy of every scoring stays, one small Parquet file for
each as-of day, horizon and model. It lies in the home for both warehouses, outlives ``clv load``, and ``clv forget``
takes people out of it as out of every file below ``predictions``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from clv.errors import InputError, UnavailableError, first_line
from clv.home import Home
from clv.settings import Settings
from clv.sources.tables import literal
from clv.warehouse import PREDICTION_LOG, Warehouse
from clv.warehouse.duckdb import in_memory

COLUMNS = ("customer_id", "p_return", "value_if_return", "expected_value")
"""What is kept of each customer; the rest can be computed or is of no use later."""


@dataclass(frozen=True)
class Scoring:
    """One stored scoring of the shop.

    Attributes
    ----------
    scored_by
        ``version N``, or the baseline that stood in.
    as_of_date, horizon_days
        The window is as_of_date + 1 .. as_of_date + horizon_days.
    scored_at
        When it was written, in UTC, as the file's rows say: a file's own time changes when it is copied or somebody
        is forgotten. Files of before rows said so are the oldest.
    """

    path: Path
    shop_id: str
    scored_by: str
    as_of_date: date
    horizon_days: int
    scored_at: datetime = datetime.min

    @property
    def closes_on(self) -> date:
        """Last day of the window."""
        return self.as_of_date + timedelta(days=self.horizon_days)

    def read(self, settings: Settings | None = None) -> pd.DataFrame:
        """The predictions, in the order of the customers."""
        sql = f"select {', '.join(COLUMNS)} from read_parquet({literal(str(self.path))}) order by customer_id"
        with in_memory(settings) as connection:
            frame: pd.DataFrame = _query(sql, connection).to_pandas()
        return frame


def path_of(home: Home, as_of_date: date, horizon_days: int, scored_by: str) -> Path:
    """Where a scoring is kept; the same one again takes the place of the former."""
    name = re.sub(r"[^a-z0-9]+", "-", scored_by.lower())
    return home.predictions / "history" / f"{as_of_date}-H{horizon_days}-{name}.parquet"


def export(connection: duckdb.DuckDBPyConnection, table: str, shop_id: str, path: Path) -> None:
    """Write a table of answers, with as_of_date, horizon_days and scored_by in each row, to be kept at `path`."""
    now = datetime.now(UTC).replace(tzinfo=None)
    connection.execute(
        f"copy (select {', '.join(COLUMNS)}, as_of_date, horizon_days, scored_by, {literal(shop_id)} as shop_id, "
        f"timestamp '{now}' as scored_at from {table}) to {literal(str(path))} (format parquet, compression zstd)"
    )


def scorings(home: Home, shop_id: str, settings: Settings | None = None) -> list[Scoring]:
    """Every stored scoring of a shop, oldest first.

    Raises
    ------
    UnavailableError
        If a file can't be read.
    """
    return sorted(
        (scoring for scoring in _all(home, settings) if scoring.shop_id == shop_id),
        key=lambda scoring: (scoring.as_of_date, scoring.path.name),
    )


def _all(home: Home, settings: Settings | None) -> Iterator[Scoring]:
    with in_memory(settings) as connection:
        for path in (home.predictions / "history").glob("[!.]*.parquet"):
            rows = _query(
                f"select * exclude ({', '.join(COLUMNS)}) from read_parquet({literal(str(path))}) limit 1",
                connection,
            )
            for row in rows.to_pylist():  # none if everybody in it was forgotten
                yield Scoring(path, **row)


IN_WAREHOUSE = "warehouse"
"""The word for the prediction log that belongs to the warehouse, as in the service's ``CLV_PREDICTION_LOG``."""

_ANSWERS = pa.schema(
    [
        ("predicted_at", pa.timestamp("us", "UTC")),
        ("customer_id", pa.string()),
        ("p_return", pa.float64()),
        ("value_if_return", pa.float64()),
        ("expected_value", pa.float64()),
        ("version", pa.string()),
        ("as_of_date", pa.date32()),
        ("horizon_days", pa.int64()),
    ]
)
"""What is read of a prediction log."""


def served(home: Home, warehouse: Warehouse, logs: Sequence[str], settings: Settings | None = None) -> pd.DataFrame:
    """Read what services have logged: the last answer for each customer, version, as-of day and horizon.

    Answers whose request named no day can't be judged and are left out.

    Parameters
    ----------
    logs
        Folders, or `IN_WAREHOUSE`.

    Returns
    -------
    DataFrame
        ``customer_id``, the parts, ``version``, ``as_of_date``, ``horizon_days``, ``closes_on``.

    Raises
    ------
    InputError
        If one of them is not there.
    UnavailableError
        If one can't be read.
    """
    folders = [home.served if log == IN_WAREHOUSE else Path(log) for log in dict.fromkeys(logs)]
    tables = [_ANSWERS.empty_table()]
    if IN_WAREHOUSE in logs and warehouse.has_table(*PREDICTION_LOG):
        tables.append(warehouse.query(_last_answers(".".join(PREDICTION_LOG))))
        folders.remove(home.served)
    for folder in folders:
        if folder == home.served and not folder.is_dir():
            raise InputError(
                f"Warehouse {warehouse.address} has no prediction log; a service that is started with "
                f"CLV_PREDICTION_LOG={IN_WAREHOUSE} writes one."
            )
        if not folder.is_dir():
            raise InputError(
                f"Prediction log {folder} is no folder; name the one in the service's CLV_PREDICTION_LOG, or "
                f"{IN_WAREHOUSE}."
            )
    files = [literal(str(path)) for folder in folders for path in sorted(folder.rglob("[!.]*.parquet"))]
    with in_memory(settings) as connection:
        if files:
            tables.append(_query(_last_answers(f"read_parquet([{', '.join(files)}])"), connection))
        connection.register("answers", pa.concat_tables([table.cast(_ANSWERS) for table in tables]))
        frame: pd.DataFrame = _query(_last_answers("answers"), connection).to_pandas(date_as_object=True)
    windows = pd.to_timedelta(frame["horizon_days"], unit="D")
    closes_on = (pd.to_datetime(frame["as_of_date"]) + windows).dt.date
    return frame.drop(columns="predicted_at").assign(closes_on=closes_on)


def _last_answers(relation: str) -> str:
    """The SELECT, for both engines."""
    return f"""
        select {", ".join(_ANSWERS.names)}
        from {relation}
        where as_of_date is not null and version is not null
        qualify row_number() over (
            partition by customer_id, version, as_of_date, horizon_days order by predicted_at desc
        ) = 1
        order by version, as_of_date, customer_id
        """


def _query(sql: str, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    try:
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise UnavailableError(
            f"Stored predictions can't be read: {first_line(error)}; remove or restore the file."
        ) from error
