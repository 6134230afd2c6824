"""From raw tables to tested marts: dbt works on a copy of the warehouse, which takes its place when all tests pass."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from clv.errors import ClvError, InputError, UnavailableError
from clv.home import Home, remove, replacing
from clv.load import Shop, read_shop
from clv.settings import Settings
from clv.warehouse import DuckDBWarehouse, open_warehouse

DBT_PROJECT = Path(__file__).resolve().parent.parent / "dbt"

Progress = Callable[[str, int, int], None]
"""Told after each step of dbt: its name, how many are done, how many there are."""


@dataclass(frozen=True)
class Model:
    """A table or view that dbt has built; `rows` is None for a view."""

    schema: str
    name: str
    rows: int | None
    seconds: float


@dataclass(frozen=True)
class TransformReport:
    """What ``clv transform`` did.

    Attributes
    ----------
    cutoffs
        All cutoffs in order; the last one is the as-of day and has no label.
    tests
        Names of the data and unit tests, all of which passed.
    """

    source: str
    as_of_date: date
    horizon_days: int
    cutoffs: tuple[date, ...]
    customer_count: int
    purchase_count: int
    snapshot_count: int
    models: tuple[Model, ...]
    tests: tuple[str, ...]
    seconds: float


def transform(
    settings: Settings,
    *,
    as_of_date: date | None,
    horizon_days: int,
    full_refresh: bool = False,
    progress: Progress | None = None,
) -> TransformReport:
    """Build and test the marts; on any failure the warehouse is left as it was.

    Parameters
    ----------
    as_of_date
        Last day that counts; None means the day that ``clv load`` found.
    horizon_days
        Length of the label window.
    full_refresh
        Build everything anew instead of only what has changed.

    Raises
    ------
    InputError
        If nothing is loaded, the as-of day or the horizon doesn't fit the history, or the data breaks a test.
    UnavailableError
        If the warehouse can't be written.
    """
    started = time.monotonic()
    home = Home(settings.home, settings.lock_wait_seconds).open()
    warehouse = open_warehouse(settings)
    with home.writing("transform"):
        shop = read_shop(warehouse)
        if shop is None:
            raise InputError(f"Warehouse {warehouse.path} has no shop loaded; load one first with `clv load PATH`.")
        as_of_date = _check_period(shop, as_of_date, horizon_days)
        with warehouse.replacing() as copy:
            _drop_what_dbt_makes_anew(warehouse, copy)
            nodes, sql = _run_dbt(
                settings,
                home,
                copy,
                variables={"source": shop.source, "as_of_date": str(as_of_date), "horizon_days": horizon_days},
                options=["--full-refresh"] if full_refresh else [],
                progress=progress or (lambda name, done, total: None),
            )
            _check_results(warehouse, copy, nodes, home)
            report = _describe(warehouse, copy, nodes, shop.source, as_of_date, horizon_days, started)
            with replacing(_serving_sql_path(home)) as temporary:
                temporary.write_text(sql.strip() + "\n", encoding="utf-8")
    return report


def serving_sql(settings: Settings) -> str:
    """The SELECT that computes the features over relations ``purchases`` and ``cutoffs``, as DuckDB runs it.

    Raises
    ------
    InputError
        If no transform has succeeded yet.
    """
    path = _serving_sql_path(Home(settings.home))
    if not path.exists():
        raise InputError(f"Serving SQL {path} does not exist; build the marts first with `clv transform`.")
    return path.read_text(encoding="utf-8")


def _serving_sql_path(home: Home) -> Path:
    return home.dbt_target / "serving_features.sql"


def _check_period(shop: Shop, as_of_date: date | None, horizon_days: int) -> date:
    as_of_date = as_of_date or shop.as_of_date
    first, last = shop.first_purchase_date, shop.last_purchase_date
    if not first <= as_of_date <= last:
        raise InputError(
            f"As-of day {as_of_date} is outside the loaded purchases; expected a day from {first} to {last}, "
            "so choose one with --as-of."
        )
    if horizon_days < 1:
        raise InputError(
            f"Horizon {horizon_days} is not a number of days; expected 1 or more, so change --horizon-days."
        )
    history_days = (as_of_date - first).days
    if horizon_days > history_days:
        raise InputError(
            f"Horizon {horizon_days} is longer than the history: {horizon_days} days needed, {history_days} days had "
            f"from the first purchase on {first} to the as-of day {as_of_date}; choose at most {history_days} with "
            "--horizon-days or load more."
        )
    return as_of_date


def _drop_what_dbt_makes_anew(warehouse: DuckDBWarehouse, copy: Path) -> None:
    """Remove views that another source may have left behind; marts stay, for predictions live beside them."""
    with warehouse.connect(copy, read_only=False) as connection:
        for schema in ("staging", "intermediate"):
            connection.execute(f"drop schema if exists {schema} cascade")


def _run_dbt(
    settings: Settings, home: Home, copy: Path, *, variables: dict[str, Any], options: list[str], progress: Progress
) -> tuple[list[dict[str, Any]], str]:
    """Run dbt in a process of its own; the answer is its list of models and tests, and the serving SQL."""
    spill = home.dbt_target / "spill"
    arguments = {
        "common": [
            "--no-version-check",
            "--log-level",
            "none",
            "--log-level-file",
            "info",
            "--log-path",
            str(home.logs),
        ],
        "options": [
            *("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target", "duckdb"),
            *("--target-path", str(home.dbt_target), "--vars", json.dumps(variables)),
        ],
        "build": options,
    }
    environment = os.environ | {
        "CLV_DUCKDB_PATH": str(copy),
        "CLV_DUCKDB_MEMORY_LIMIT": settings.memory_limit,
        "CLV_DUCKDB_SPILL_PATH": str(spill),
        "CLV_DBT_THREADS": str(settings.threads or os.cpu_count() or 1),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    }
    errors = home.logs / "dbt.stderr"
    try:
        with errors.open("w") as stderr:
            messages = list(
                _messages([sys.executable, "-m", "clv._dbt", json.dumps(arguments)], environment, stderr, progress)
            )
    finally:
        remove(spill)
    last = messages[-1] if messages else {"event": "crash", "message": f"it ended without a word (see {errors})"}
    if last["event"] != "results":
        _raise_for_database(str(last["message"]), home)
        raise ClvError(f"dbt could not run: {_one_line(last['message'])} (see {home.logs / 'dbt.log'}).")
    return last["nodes"], last["serving_sql"]


def _messages(
    command: list[str], environment: dict[str, str], stderr: Any, progress: Progress
) -> Iterator[dict[str, Any]]:
    """What the process says, less the steps, which go to `progress`; it is killed if we are interrupted."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        encoding="utf-8",
    )
    with process:
        try:
            for line in process.stdout or ():
                if not line.startswith("{"):
                    continue
                message = json.loads(line)
                if message["event"] == "node":
                    progress(message["name"], message["index"], message["total"])
                else:
                    yield message
        except BaseException:
            process.kill()
            raise


def _check_results(warehouse: DuckDBWarehouse, copy: Path, nodes: list[dict[str, Any]], home: Home) -> None:
    broken = [node for node in nodes if node["status"] in ("error", "runtime error")]
    for node in broken:
        _raise_for_database(str(node["message"]), home)
    failed = [node for node in nodes if node["status"] == "fail"]
    if failed:
        described = "; ".join(_describe_failure(warehouse, copy, node) for node in failed)
        raise InputError(
            f"The data breaks {len(failed)} test{'s' if len(failed) > 1 else ''}, so the marts are left as they were: "
            f"{described}. Correct the files and load them again."
        )
    if broken:
        node = broken[0]
        raise ClvError(
            f"dbt {node['kind']} {node['name']} failed: {_one_line(node['message'])} (see {home.logs / 'dbt.log'})."
        )


def _describe_failure(warehouse: DuckDBWarehouse, copy: Path, node: dict[str, Any]) -> str:
    """Which test failed on which model, for how many rows, and the first of them."""
    models = " and ".join(node["models"])
    if node["kind"] == "unit_test":
        return f"unit test {node['name']} on {models}"
    with warehouse.connect(copy) as connection:
        rows = connection.sql(f"select * from ({node['sql']}) limit 1").to_arrow_table().to_pylist()
    example = ", ".join(f"{name} = {value}" for name, value in list(rows[0].items())[:6]) if rows else "not shown"
    count = node["failures"] or 0
    return f"{node['name']} on {models} ({count:,} row{'s' if count != 1 else ''}, for example {example})"


def _raise_for_database(message: str, home: Home) -> None:
    """Not the data's fault: disk full, memory too small, file not writable."""
    if found := re.search(r"(IO Error|Out of Memory Error|Permission Error|FATAL Error)[^\n]*", message):
        raise UnavailableError(
            f"The warehouse can't be written: {found.group(0)}; see that disk and memory suffice (details in "
            f"{home.logs / 'dbt.log'})."
        )


def _one_line(message: Any) -> str:
    return " ".join(str(message).split())


def _describe(
    warehouse: DuckDBWarehouse,
    copy: Path,
    nodes: list[dict[str, Any]],
    source: str,
    as_of_date: date,
    horizon_days: int,
    started: float,
) -> TransformReport:
    with warehouse.connect(copy) as connection:

        def count(table: str) -> int:
            return int(connection.execute(f"select count(*) from {table}").fetchall()[0][0])

        models = tuple(
            Model(
                schema=node["schema"],
                name=node["name"],
                rows=count(f'{node["schema"]}."{node["name"]}"') if node["materialized"] != "view" else None,
                seconds=node["seconds"],
            )
            for node in nodes
            if node["kind"] == "model"
        )
        cutoffs = tuple(
            row[0] for row in connection.execute("select cutoff_date from marts.cutoffs order by 1").fetchall()
        )
    rows = {model.name: model.rows or 0 for model in models}
    last_labelled = as_of_date - timedelta(days=horizon_days)
    if rows["customers"] == 0 or cutoffs[0] > last_labelled:
        raise InputError(
            f"No customer has a purchase by {last_labelled}, the last day with {horizon_days} days until the as-of day "
            f"{as_of_date}; choose a shorter horizon with --horizon-days or load more."
        )
    return TransformReport(
        source=source,
        as_of_date=as_of_date,
        horizon_days=horizon_days,
        cutoffs=cutoffs,
        customer_count=rows["customers"],
        purchase_count=rows["purchases"],
        snapshot_count=rows["customer_snapshots"],
        models=models,
        tests=tuple(sorted(node["name"] for node in nodes if node["kind"] in ("test", "unit_test"))),
        seconds=time.monotonic() - started,
    )
