"""Past predictions, kept until it is known what came of them.

``clv score`` writes its table and file anew each time; here a copy of every scoring stays, one small Parquet file for
each as-of day, horizon and model. It lies in the home for both warehouses, outlives ``clv load``, and ``clv forget``
takes people out of it as out of every file below ``predictions``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from clv.errors import UnavailableError
from clv.home import Home
from clv.sources.tables import literal

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
    """

    path: Path
    shop_id: str
    scored_by: str
    as_of_date: date
    horizon_days: int

    @property
    def closes_on(self) -> date:
        """Last day of the window."""
        return self.as_of_date + timedelta(days=self.horizon_days)

    def read(self) -> pd.DataFrame:
        """The predictions, in the order of the customers."""
        sql = f"select {', '.join(COLUMNS)} from read_parquet({literal(str(self.path))}) order by customer_id"
        with _connect() as connection:
            frame: pd.DataFrame = _query(sql, connection).to_pandas()
        return frame


def path_of(home: Home, as_of_date: date, horizon_days: int, scored_by: str) -> Path:
    """Where a scoring is kept; the same one again takes the place of the former."""
    name = re.sub(r"[^a-z0-9]+", "-", scored_by.lower())
    return home.predictions / "history" / f"{as_of_date}-H{horizon_days}-{name}.parquet"


def export(connection: duckdb.DuckDBPyConnection, table: str, shop_id: str, path: Path) -> None:
    """Write a table of answers, with as_of_date, horizon_days and scored_by in each row, to be kept at `path`."""
    connection.execute(
        f"copy (select {', '.join(COLUMNS)}, as_of_date, horizon_days, scored_by, {literal(shop_id)} as shop_id "
        f"from {table}) to {literal(str(path))} (format parquet, compression zstd)"
    )


def scorings(home: Home, shop_id: str) -> list[Scoring]:
    """Every stored scoring of a shop, oldest first.

    Raises
    ------
    UnavailableError
        If a file can't be read.
    """
    return sorted(
        (scoring for scoring in _all(home) if scoring.shop_id == shop_id),
        key=lambda scoring: (scoring.as_of_date, scoring.path.name),
    )


def _all(home: Home) -> Iterator[Scoring]:
    with _connect() as connection:
        for path in (home.predictions / "history").glob("[!.]*.parquet"):
            rows = _query(
                f"select shop_id, scored_by, as_of_date, horizon_days from read_parquet({literal(str(path))}) limit 1",
                connection,
            )
            for row in rows.to_pylist():  # none if everybody in it was forgotten
                yield Scoring(path, **row)


def served(folders: Sequence[Path]) -> pd.DataFrame:
    """Read what services have logged: the last answer for each customer, version, as-of day and horizon.

    Answers whose request named no day can't be judged and are left out.

    Returns
    -------
    DataFrame
        ``customer_id``, the parts, ``version``, ``as_of_date``, ``horizon_days``, ``closes_on``.

    Raises
    ------
    UnavailableError
        If a file can't be read.
    """
    files = [str(path) for folder in folders for path in sorted(folder.rglob("[!.]*.parquet"))]
    if not files:
        return pd.DataFrame(columns=[*COLUMNS, "version", "as_of_date", "horizon_days", "closes_on"])
    sql = f"""
        select
            {", ".join(COLUMNS)},
            version,
            cast(as_of_date as date) as as_of_date,
            horizon_days,
            cast(as_of_date as date) + horizon_days as closes_on
        from read_parquet([{", ".join(map(literal, files))}])
        where as_of_date is not null and version is not null
        qualify row_number() over (
            partition by customer_id, version, as_of_date, horizon_days order by "at" desc
        ) = 1
        order by version, as_of_date, customer_id
        """
    with _connect() as connection:
        frame: pd.DataFrame = _query(sql, connection).to_pandas(date_as_object=True)
    return frame


def _connect() -> duckdb.DuckDBPyConnection:
    """A database in memory; what does not fit in goes where temporary files go, not into the current folder."""
    return duckdb.connect(config={"temp_directory": str(Path(tempfile.gettempdir()) / "clv-spill")})


def _query(sql: str, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    try:
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        raise UnavailableError(
            f"Stored predictions can't be read: {str(error).splitlines()[0]}; remove or restore the file."
        ) from error
