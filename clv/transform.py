"""From raw tables to tested marts, on DuckDB or BigQuery; what that would cost, and the documentation of it all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from clv.contract import snapshot_columns
from clv.dbt_runner import (
    Node,
    Progress,
    Target,
    bigquery_target,
    building,
    duckdb_target,
    one_line,
    raise_for_database,
    run_dbt,
)
from clv.errors import ClvError, InputError
from clv.home import Home, remove, replacing
from clv.load import Shop, read_shop
from clv.settings import Settings
from clv.sizes import Table, columns_without_values, expected_rows, expected_table
from clv.warehouse import DuckDBWarehouse, Warehouse, open_warehouse, prices

if TYPE_CHECKING:  # Google's clients take a second to import
    from clv.warehouse.bigquery import BigQueryWarehouse, Estimate

DEFAULT_HORIZON_DAYS = 90
"""The horizon of the first marts, if none is asked for."""

FINGERPRINTS = "select distinct cutoff_date, partition_fingerprint from {snapshots}"
"""Asked before and after a build, to say which cutoffs were built anew."""


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
    built, dropped
        Cutoffs whose snapshots were built anew, and former cutoffs whose snapshots went; the snapshots of all other
        cutoffs were left as they were, because nothing they are made from has changed.
    tests
        Names of the data and unit tests, all of which passed.
    last_purchase_date
        Of all that is loaded; the as-of day may lie before or after it.
    """

    source: str
    as_of_date: date
    horizon_days: int
    cutoffs: tuple[date, ...]
    built: tuple[date, ...]
    dropped: tuple[date, ...]
    customer_count: int
    purchase_count: int
    snapshot_count: int
    models: tuple[Model, ...]
    tests: tuple[str, ...]
    seconds: float
    last_purchase_date: date

    @property
    def changes(self) -> str:
        """One sentence on the cutoffs that were built anew and those that went."""
        if self.built == self.cutoffs:
            built = f"all {len(self.cutoffs)} cutoffs were built"
        elif self.built:
            built = f"{len(self.built)} of {len(self.cutoffs)} cutoffs were built anew ({_days(self.built)})"
        else:
            built = f"none of the {len(self.cutoffs)} cutoffs has changed"
        return f"{built}; former ones dropped: {_days(self.dropped)}." if self.dropped else f"{built}."


def _days(days: Sequence[date]) -> str:
    """Up to six days; of more, the first and the last."""
    if len(days) > 6:
        return f"{days[0]} to {days[-1]}"
    return ", ".join(map(str, days))


@dataclass(frozen=True)
class Scan:
    """Bytes that a step would scan, and those that are billed: at least 10 MiB for each table that a query reads."""

    name: str
    kind: str
    scanned_bytes: int
    billed_bytes: int


@dataclass(frozen=True)
class DryRunReport:
    """About what ``clv transform`` would scan on BigQuery.

    Attributes
    ----------
    scans
        Each table, each test and what is asked about the partitions. A table that is there counts with the size it
        has now, one that is not built yet with the size expected of it (:mod:`clv.sizes`).
    """

    scans: tuple[Scan, ...]

    @property
    def scanned_bytes(self) -> int:
        """All of them together."""
        return sum(scan.scanned_bytes for scan in self.scans)

    @property
    def billed_bytes(self) -> int:
        """All that are billed together."""
        return sum(scan.billed_bytes for scan in self.scans)

    @property
    def price(self) -> float:
        """US dollars on demand, before the free TiB of each month."""
        return self.billed_bytes / 2**40 * prices.QUERIES_PER_TIB


def transform(
    settings: Settings,
    *,
    as_of_date: date | None,
    horizon_days: int | None,
    full_refresh: bool = False,
    today: date | None = None,
    progress: Progress | None = None,
) -> TransformReport:
    """Build and test the marts.

    On DuckDB any failure leaves the warehouse as it was. On BigQuery each table is replaced in one step, but not all
    of them together: after a failure the tables that were already built are the new ones, the others the old.

    Parameters
    ----------
    as_of_date
        Last day that counts, at the latest tomorrow; None means the day that ``clv load`` found.
    horizon_days
        Length of the label window; None means that of the marts there are, and 90 days where there are none.
    full_refresh
        Build everything anew instead of only the snapshots that have changed.
    today
        The shop's current day; by default what the clock says in its time zone.

    Raises
    ------
    InputError
        If nothing is loaded, the as-of day or the horizon doesn't fit the history, or the data breaks a test.
    UnavailableError
        If the warehouse can't be read or written.
    """
    started = time.monotonic()
    home = Home(settings.home, settings.lock_wait_seconds).open()
    warehouse = open_warehouse(settings)
    with home.writing("transform"):
        shop, as_of_date, horizon_days = _check(warehouse, as_of_date, horizon_days, today)
        with building(warehouse) as target:
            former = _partitions(target)
            full_refresh = full_refresh or not former
            nodes, sql = run_dbt(
                settings,
                home,
                target,
                ["build", "--exclude-resource-type", "exposure", *(["--full-refresh"] if full_refresh else [])],
                variables=_variables(shop, as_of_date, horizon_days),
                progress=progress or (lambda name, done, total: None),
            )
            _check_results(target, nodes, home)
            report = _describe(target, nodes, shop, as_of_date, horizon_days, former, full_refresh, started)
            assert sql is not None, "a build compiles it"
            with replacing(_serving_sql_path(home)) as temporary:
                temporary.write_text(sql.strip() + "\n", encoding="utf-8")
    return report


def dry_run(
    settings: Settings, *, as_of_date: date | None, horizon_days: int | None, full_refresh: bool = False
) -> DryRunReport:
    """Ask BigQuery how much ``clv transform`` would scan; no model and no test is run.

    Raises
    ------
    InputError
        If the warehouse is not BigQuery, nothing is loaded, or the as-of day or the horizon doesn't fit the history.
    UnavailableError
        If BigQuery can't be reached.
    """
    home = Home(settings.home, settings.lock_wait_seconds).open()
    warehouse = open_warehouse(settings)
    if isinstance(warehouse, DuckDBWarehouse):
        raise InputError(
            f"Warehouse {warehouse.address} is a DuckDB file, where a scan costs nothing; --dry-run is for "
            "bigquery://PROJECT/DATASET."
        )
    from clv.warehouse.bigquery import BigQueryWarehouse

    assert isinstance(warehouse, BigQueryWarehouse)
    with home.writing("transform --dry-run"):
        shop, as_of_date, horizon_days = _check(warehouse, as_of_date, horizon_days, None)
        target = bigquery_target(warehouse)
        full_refresh = full_refresh or not _has_snapshots(warehouse)
        nodes, _ = run_dbt(
            settings,
            home,
            target,
            ["compile", *(["--full-refresh"] if full_refresh else [])],
            variables=_variables(shop, as_of_date, horizon_days),
        )
    rows = expected_rows(shop, as_of_date, horizon_days)
    return DryRunReport(tuple(_scans(warehouse, target, nodes, rows, full_refresh)))


def _scans(
    warehouse: BigQueryWarehouse, target: Target, nodes: list[Node], rows: dict[str, int], full_refresh: bool
) -> Iterator[Scan]:
    """Each model and test, in dbt's order: what a node reads comes before it.

    A view is read through, and costs nothing to make. A table that does not exist yet is read as an empty one with the
    columns it will have, and the bytes that are expected of these are added.
    """
    stubs: dict[str, str] = {}
    unbuilt: dict[str, dict[str, Table]] = {}
    empty: set[str] = set()

    def behind(node: Node) -> dict[str, Table]:
        return {name: table for parent in node["models"] for name, table in unbuilt.get(parent, {}).items()}

    def readable(node: Node) -> str:
        sql = str(node["sql"])
        for relation, stub in stubs.items():
            sql = sql.replace(relation, stub)
        return sql

    def asked(node: Node) -> tuple[Estimate, Scan]:
        own, tables = warehouse.estimate(readable(node)), behind(node).values()
        scanned = own.scanned_bytes + sum(table.scanned_bytes(str(node["sql"])) for table in tables)
        billed = max(scanned, prices.MINIMUM_BILLED * (own.table_count + len(tables)))
        return own, Scan(node["name"], node["kind"], scanned, billed)

    for node in nodes:
        if node["kind"] not in ("model", "test"):
            continue
        if node["materialized"] == "view":
            empty |= columns_without_values(node["sql"])
            stubs[node["relation"]] = f"({readable(node)})"
            unbuilt[node["name"]] = behind(node)
            continue
        own, scan = asked(node)
        yield scan
        if node["kind"] == "test":
            continue
        if not warehouse.has_table(target.schema(node), node["name"]):
            columns = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in own.columns.items())
            stubs[node["relation"]] = f"(select {columns} limit 0)"
            unbuilt[node["name"]] = {node["name"]: expected_table(node["name"], own.columns, rows, empty)}
        elif node["materialized"] == "incremental" and not full_refresh:
            # Deleting and merging read all columns of what they change. What that is shows only then: at most all.
            yield asked(_question(node, f"{node['name']} (writing)", f"select * from {node['relation']}"))[1]
        if node["name"] == "customer_snapshots":
            fingerprints = FINGERPRINTS.format(snapshots=node["relation"])
            for when in ["after"] if node["name"] in unbuilt else ["before", "after"]:
                yield asked(_question(node, f"partitions {when}", fingerprints))[1]


def _question(model: Node, name: str, sql: str) -> Node:
    """A query about one model."""
    return {"name": name, "kind": "query", "sql": sql, "models": [model["name"]]}


def docs(settings: Settings) -> Path:
    """Write the documentation of models, columns, tests and lineage as one HTML page; the answer is its path.

    Raises
    ------
    InputError
        If nothing is loaded or the marts are not built yet.
    UnavailableError
        If the warehouse can't be read.
    """
    home = Home(settings.home, settings.lock_wait_seconds).open()
    warehouse = open_warehouse(settings)
    page = home.dbt_target / "docs.html"
    with home.writing("docs"):
        shop = read_shop(warehouse)
        if shop is None or not warehouse.has_table("marts", "cutoffs"):
            raise InputError(f"Warehouse {warehouse.address} has no marts; build them first with `clv transform`.")
        built = warehouse.query("select as_of_date, horizon_days from marts.cutoffs").to_pylist()[0]
        copy = home.dbt_target / "docs" / "warehouse.duckdb"
        try:
            if isinstance(warehouse, DuckDBWarehouse):
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(warehouse.path, copy)
                target = duckdb_target(DuckDBWarehouse(copy, warehouse.threads, warehouse.memory_limit))
            else:
                target = bigquery_target(warehouse)
            run_dbt(
                settings,
                home,
                target,
                ["docs", "generate", "--static"],
                variables=_variables(shop, built["as_of_date"], built["horizon_days"]),
            )
        finally:
            remove(copy.parent)
        written = home.dbt_target / ("" if target.name == "duckdb" else target.name) / "static_index.html"
        written.replace(page)
    return page


def _variables(shop: Shop, as_of_date: date, horizon_days: int) -> dict[str, Any]:
    return {"source": shop.source, "as_of_date": str(as_of_date), "horizon_days": horizon_days}


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


def _check(
    warehouse: Warehouse, as_of_date: date | None, horizon_days: int | None, today: date | None
) -> tuple[Shop, date, int]:
    """The shop, the as-of day and the horizon.

    The day may lie after the last purchase, for that nobody bought since is knowledge too.
    """
    shop = read_shop(warehouse)
    if shop is None:
        raise InputError(f"Warehouse {warehouse.address} has no shop loaded; load one first with `clv load PATH`.")
    today = today or datetime.now(ZoneInfo(shop.time_zone)).date()
    as_of_date = as_of_date or shop.as_of_date
    first, tomorrow = shop.first_purchase_date, today + timedelta(days=1)
    if not first <= as_of_date <= tomorrow:
        raise InputError(
            f"As-of day {as_of_date} is {'before the first purchase' if as_of_date < first else 'later than tomorrow'};"
            f" expected a day from {first} to {tomorrow}, so choose one with --as-of."
        )
    if horizon_days is None:
        horizon_days = _built_horizon(warehouse) or DEFAULT_HORIZON_DAYS
    if horizon_days < 1:
        raise InputError(
            f"Horizon {horizon_days} is not a number of days; expected 1 or more, so change --horizon-days."
        )
    history_days = (as_of_date - first).days
    if horizon_days > history_days:
        raise InputError(
            f"Horizon {horizon_days} is longer than the history: {horizon_days} days needed, {history_days} days had "
            f"from the first purchase on {first} to the as-of day {as_of_date}; load more"
            + (
                f", or choose at most {history_days // 2} with --horizon-days: a model needs twice the horizon."
                if history_days > 1
                else "."
            )
        )
    return shop, as_of_date, horizon_days


def _built_horizon(warehouse: Warehouse) -> int | None:
    """The horizon that the marts were built with; models were trained for it. None without marts."""
    if not warehouse.has_table("marts", "cutoffs"):
        return None
    rows = warehouse.query("select horizon_days from marts.cutoffs limit 1").to_pylist()
    return int(rows[0]["horizon_days"]) if rows else None


def _has_snapshots(warehouse: Warehouse) -> bool:
    """Whether there is a table of snapshots with the contract's columns."""
    described = {column["name"] for column in snapshot_columns()}
    return set(warehouse.columns("marts", "customer_snapshots")) == described


def _partitions(target: Target) -> dict[date, str]:
    """Fingerprints of the snapshots by cutoff; empty if there are none, or of other columns than the contract's."""
    if not _has_snapshots(target.warehouse):
        return {}
    rows = target.warehouse.query(FINGERPRINTS.format(snapshots="marts.customer_snapshots"))
    return {row["cutoff_date"]: row["partition_fingerprint"] for row in rows.to_pylist()}


def _check_results(target: Target, nodes: list[Node], home: Home) -> None:
    broken = [node for node in nodes if node["status"] in ("error", "runtime error")]
    for node in broken:
        raise_for_database(target, str(node["message"]), home)
    failed = [node for node in nodes if node["status"] == "fail"]
    if failed:
        described = "; ".join(_describe_failure(target.warehouse, node) for node in failed)
        left = "the marts are left as they were" if target.name == "duckdb" else "what depends on it was not built"
        raise InputError(
            f"The data breaks {len(failed)} test{'s' if len(failed) > 1 else ''}, so {left}: {described}. Correct the "
            "files and load them again."
        )
    if broken:
        node = broken[0]
        raise ClvError(
            f"dbt {node['kind']} {node['name']} failed: {one_line(node['message'])} (see {home.logs / 'dbt.log'})."
        )


def _describe_failure(warehouse: Warehouse, node: Node) -> str:
    """Which test failed on which model, for how many rows, and the first of them."""
    models = " and ".join(node["models"])
    if node["kind"] == "unit_test":
        return f"unit test {node['name']} on {models}"
    rows = warehouse.query(f"select * from ({node['sql']}) as broken limit 1").to_pylist()
    example = ", ".join(f"{name} = {value}" for name, value in list(rows[0].items())[:6]) if rows else "not shown"
    count = node["failures"] or 0
    return f"{node['name']} on {models} ({count:,} row{'s' if count != 1 else ''}, for example {example})"


def _describe(
    target: Target,
    nodes: list[Node],
    shop: Shop,
    as_of_date: date,
    horizon_days: int,
    former: dict[date, str],
    full_refresh: bool,
    started: float,
) -> TransformReport:
    built = [node for node in nodes if node["kind"] == "model"]
    counts = " union all ".join(
        f"select '{node['name']}' as name, count(*) as row_count from {target.schema(node)}.{node['name']}"
        for node in built
        if node["materialized"] != "view"
    )
    rows = {row["name"]: int(row["row_count"]) for row in target.warehouse.query(counts).to_pylist()}
    cutoffs = tuple(
        row["cutoff_date"]
        for row in target.warehouse.query("select cutoff_date from marts.cutoffs order by 1").to_pylist()
    )
    last_labelled = as_of_date - timedelta(days=horizon_days)
    if rows["customers"] == 0 or cutoffs[0] > last_labelled:
        raise InputError(
            f"No customer has a purchase by {last_labelled}, the last day with {horizon_days} days until the as-of day "
            f"{as_of_date}; choose a shorter horizon with --horizon-days or load more."
        )
    partitions = _partitions(target)
    return TransformReport(
        source=shop.source,
        as_of_date=as_of_date,
        horizon_days=horizon_days,
        cutoffs=cutoffs,
        built=tuple(cutoff for cutoff in cutoffs if full_refresh or partitions.get(cutoff) != former.get(cutoff)),
        dropped=tuple(sorted(former.keys() - partitions.keys())),
        customer_count=rows["customers"],
        purchase_count=rows["purchases"],
        snapshot_count=rows["customer_snapshots"],
        models=tuple(
            Model(target.schema(node), node["name"], rows.get(node["name"]), node["seconds"]) for node in built
        ),
        tests=tuple(sorted(node["name"] for node in nodes if node["kind"] in ("test", "unit_test"))),
        seconds=time.monotonic() - started,
        last_purchase_date=shop.last_purchase_date,
    )
