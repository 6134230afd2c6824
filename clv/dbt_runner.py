"""Running dbt: in a process of its own, on a copy of the DuckDB file or on BigQuery's datasets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clv.errors import ClvError, InputError, UnavailableError
from clv.home import Home, remove
from clv.settings import Settings
from clv.warehouse import DuckDBWarehouse, Warehouse

PROJECT = Path(__file__).resolve().parent.parent / "dbt"

_DISK_ERRORS = "IO Error|Out of Memory Error|Permission Error|FATAL Error|TransactionContext Error: Failed to commit"

Progress = Callable[[str, int, int], None]
"""Told after each step of dbt: its name, how many are done, how many there are."""

Node = dict[str, Any]
"""A model or test as the process reports it, see :func:`clv._dbt.summary`."""


@dataclass(frozen=True)
class Target:
    """Where dbt builds.

    Attributes
    ----------
    name
        dbt's name of the target.
    warehouse
        Reads what dbt has built.
    prefix
        What comes before our name of a schema.
    environment
        What the profile needs to know.
    """

    name: str
    warehouse: Warehouse
    prefix: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def schema(self, node: Node) -> str:
        """Our name of the schema that a model lives in."""
        return str(node["schema"]).removeprefix(self.prefix)


@contextmanager
def building(warehouse: Warehouse) -> Iterator[Target]:
    """Yield where to build the marts.

    DuckDB: a copy of the file, which takes its place if the block ends well; a failure changes nothing. BigQuery: the
    datasets themselves. There each table is replaced in one step and a failed test stops what depends on it, but what
    was built before stays.
    """
    if not isinstance(warehouse, DuckDBWarehouse):
        yield bigquery_target(warehouse)
        return
    with warehouse.replacing() as copy:
        next_marts = DuckDBWarehouse(copy, warehouse.threads, warehouse.memory_limit)
        with next_marts.connect(read_only=False) as connection:
            # Views that another source may have left behind; marts stay, for predictions live beside them.
            for schema in ("staging", "intermediate"):
                connection.execute(f"drop schema if exists {schema} cascade")
        yield duckdb_target(next_marts)


def duckdb_target(warehouse: DuckDBWarehouse) -> Target:
    """A DuckDB file."""
    environment = {"CLV_DUCKDB_PATH": str(warehouse.path), "CLV_DUCKDB_MEMORY_LIMIT": warehouse.memory_limit}
    return Target("duckdb", warehouse, environment=environment)


def bigquery_target(warehouse: Warehouse) -> Target:
    """BigQuery's datasets; their location is found, not guessed.

    Raises
    ------
    InputError
        If they don't exist.
    UnavailableError
        If they can't be reached.
    """
    from clv.warehouse.bigquery import BigQueryWarehouse
    from clv.warehouse.google import clear_errors

    assert isinstance(warehouse, BigQueryWarehouse)
    with clear_errors(warehouse.address):
        location = warehouse.clients.rest.get_dataset(f"{warehouse.project}.{warehouse.dataset}_raw").location
    environment = {
        "CLV_BIGQUERY_PROJECT": warehouse.project,
        "CLV_BIGQUERY_DATASET": warehouse.dataset,
        "CLV_BIGQUERY_LOCATION": location or warehouse.settings.bigquery_location,
        "CLV_BIGQUERY_MAXIMUM_BYTES_BILLED": str(warehouse.settings.maximum_bytes_billed),
        "BIGQUERY_EMULATOR_HOST": warehouse.settings.bigquery_emulator_host,
    }
    return Target("bigquery", warehouse, prefix=f"{warehouse.dataset}_", environment=environment)


def run_dbt(
    settings: Settings,
    home: Home,
    target: Target,
    command: Sequence[str],
    *,
    variables: Mapping[str, Any],
    progress: Progress = lambda name, done, total: None,
) -> tuple[list[Node], str | None]:
    """Run one dbt command; the answer is its models and tests and, of a build, the SELECT that a model carries.

    Raises
    ------
    ClvError
        If dbt can't run.
    UnavailableError
        If the warehouse can't be read or written.
    """
    spill = home.dbt_target / "spill"
    arguments = {
        "common": [
            *("--no-version-check", "--log-level", "none", "--log-level-file", "info"),
            *("--log-path", str(home.logs)),
        ],
        "options": ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)],
        "variables": json.dumps(dict(variables)),
        "target": target.name,
        "target_path": str(home.dbt_target),
        "command": list(command),
    }
    environment = (
        os.environ
        | {
            "CLV_DUCKDB_PATH": ":memory:",  # the SELECT that a model carries is DuckDB's, whatever the target
            "CLV_DUCKDB_SPILL_PATH": str(spill),
            "CLV_DBT_THREADS": str(settings.threads),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        }
        | dict(target.environment)
    )
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
        raise_for_database(target, str(last["message"]), home)
        raise ClvError(f"dbt could not run: {one_line(last['message'])} (see {home.logs / 'dbt.log'}).")
    return last["nodes"], last["serving_sql"]


def _messages(
    command: list[str], environment: Mapping[str, str], stderr: Any, progress: Progress
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


def raise_for_database(target: Target, message: str, home: Home) -> None:
    """Raise if the message is neither the data's fault nor ours: a full disk, no permission, a limit.

    Raises
    ------
    InputError
        If a query would bill more than is allowed.
    UnavailableError
        If the database can't be read or written.
    """
    if target.name == "duckdb":
        if found := re.search(rf"({_DISK_ERRORS})[^\n]*", message):
            raise UnavailableError(
                f"The warehouse can't be written: {found[0]}; see that disk and memory suffice (details in "
                f"{home.logs / 'dbt.log'})."
            )
        return
    address = target.warehouse.address
    if found := re.search(r"[^\n]*bytes billed[^\n]*", message, re.IGNORECASE):
        raise InputError(
            f"{address}: {_said(found[0])}; raise the limit with CLV_BIGQUERY_MAXIMUM_BYTES_BILLED if the cost is "
            "meant."
        )
    refused = r"[^\n]*(Access Denied|quota|credentials|Unable to connect|Not found: (Dataset|Project))[^\n]*"
    if found := re.search(refused, message, re.IGNORECASE):
        raise UnavailableError(f"{address}: {_said(found[0])} (details in {home.logs / 'dbt.log'}).")


def _said(line: str) -> str:
    """What BigQuery said, without what its client adds before and behind."""
    found = re.search(r"; reason: \w+, message: (?P<said>.*?)(, location: \S+)?$", line)
    return one_line(found["said"] if found else line).rstrip(".")


def one_line(message: Any) -> str:
    """The message without line breaks."""
    return " ".join(str(message).split())
