"""The marts on BigQuery: the real dbt-bigquery against the façade, built twice, compared with DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery

from clv.dbt_runner import Target, raise_for_database
from clv.errors import InputError, UnavailableError
from clv.home import Home
from clv.load import load
from clv.settings import Settings
from clv.transform import DryRunReport, TransformReport, dry_run, transform
from clv.warehouse import Warehouse, open_warehouse
from clv.warehouse.bigquery import BigQueryWarehouse, setup_bigquery

LAST = date(2020, 12, 24)
"""The last purchase; the second build is as of the day after it: that nobody bought since is knowledge too."""

AS_OF = LAST + timedelta(days=1)
HORIZON = 45
MARTS = {
    "customers": "customer_id",
    "cutoffs": "cutoff_date",
    "purchases": "customer_id, purchase_date",
    "customer_snapshots": "cutoff_date, customer_id",
}


def write_log(path: Path, first: int, last: int) -> Path:
    """Orders of days `first` to `last` of 2020; some are returned a day later, some customers buy more often."""
    lines = ["customer_id,order_id,timestamp,amount"]
    for day in range(first, last + 1):
        moment = date(2020, 1, 1) + timedelta(days=day)
        for customer in range(20):
            if day % (20 + customer) == customer:
                lines.append(f"{customer:05d},{day}-{customer},{moment}T12:00:00,{10 + day % 7 + customer / 4}")
            elif (day - 1) % (20 + customer) == customer and customer % 4 == 0:
                lines.append(f"{customer:05d},{day}-{customer},{moment}T12:00:00,-5.5")
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass
class Story:
    """Two loads and two builds on BigQuery, the second after one more day."""

    settings: Settings
    before: DryRunReport
    first: TransformReport
    second: TransformReport
    between: list[dict[str, Any]]

    @property
    def warehouse(self) -> BigQueryWarehouse:
        warehouse = open_warehouse(self.settings)
        assert isinstance(warehouse, BigQueryWarehouse)
        return warehouse


def snapshots(warehouse: Warehouse) -> list[dict[str, Any]]:
    rows = warehouse.query("select * from marts.customer_snapshots order by cutoff_date, customer_id")
    return rows.to_pylist()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("logs")
    return write_log(folder / "year.csv", 0, 357), write_log(folder / "day.csv", 358, 358)


@pytest.fixture(scope="module")
def story(bigquery_facade: Any, logs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Story:
    settings = Settings(
        home=tmp_path_factory.mktemp("bigquery"),
        threads=2,
        warehouse="bigquery://marts-project/shop",
        bigquery_emulator_host=bigquery_facade.rest,
        bigquery_storage_emulator_host=bigquery_facade.storage,
    )
    year, day = logs
    setup_bigquery(settings)
    load(settings, year, source="transactions")
    before = dry_run(settings, as_of_date=LAST - timedelta(days=1), horizon_days=HORIZON)
    first = transform(settings, as_of_date=LAST - timedelta(days=1), horizon_days=HORIZON)
    between = snapshots(open_warehouse(settings))
    load(settings, day, source="transactions", append=True)
    second = transform(settings, as_of_date=AS_OF, horizon_days=HORIZON)
    return Story(settings, before, first, second, between)


def test_the_first_build_makes_everything(story: Story) -> None:
    assert story.first.built == story.first.cutoffs
    assert story.first.snapshot_count == len(story.between) > 100
    assert "features_know_only_what_was_known" in story.first.tests


def test_the_second_build_makes_only_what_has_changed(story: Story) -> None:
    as_of = LAST - timedelta(days=1)
    horizon = timedelta(days=HORIZON)
    assert story.second.built == (AS_OF - horizon, AS_OF)
    assert story.second.dropped == (as_of - horizon, as_of)
    kept = set(story.second.cutoffs) - set(story.second.built)
    assert len(kept) > 5
    assert [row for row in snapshots(story.warehouse) if row["cutoff_date"] in kept] == [
        row for row in story.between if row["cutoff_date"] in kept
    ]


@pytest.fixture(scope="module")
def duckdb_marts(logs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    settings = Settings(home=tmp_path_factory.mktemp("duckdb"), threads=2)
    load(settings, list(logs), source="transactions")
    transform(settings, as_of_date=AS_OF, horizon_days=HORIZON)
    return open_warehouse(settings)


def rows(warehouse: Warehouse, mart: str) -> list[dict[str, Any]]:
    """The rows of a mart, less what is the engine's own."""
    found = warehouse.query(f"select * from marts.{mart} order by {MARTS[mart]}").to_pylist()
    return [
        {
            name: float(value) if isinstance(value, Decimal) else value
            for name, value in row.items()
            if name != "partition_fingerprint"
        }
        for row in found
    ]


@pytest.mark.parametrize("mart", MARTS)
def test_the_marts_equal_those_of_duckdb(story: Story, duckdb_marts: Warehouse, mart: str) -> None:
    assert rows(story.warehouse, mart) == rows(duckdb_marts, mart)


def test_the_marts_are_made_for_bigquery(story: Story) -> None:
    table = story.warehouse.clients.rest.get_table(story.warehouse.table_id("marts", "customer_snapshots"))
    assert table.time_partitioning.field == "cutoff_date"
    assert table.time_partitioning.type_ == bigquery.TimePartitioningType.DAY
    assert table.clustering_fields == ["customer_id"]
    assert table.labels == {"project": "clv"}
    assert "One row per cutoff and customer" in table.description
    assert all(column.description for column in table.schema)
    for mart in ("customers", "purchases"):
        table = story.warehouse.clients.rest.get_table(story.warehouse.table_id("marts", mart))
        assert (table.clustering_fields, table.labels) == (["customer_id"], {"project": "clv"})


def test_a_dry_run_says_what_would_be_scanned(story: Story) -> None:
    names = {scan.name for scan in story.before.scans}
    assert {"int_purchases", "customer_snapshots", "snapshots_features_agree"} <= names
    assert "int_orders__transactions" not in names, "a view costs nothing"
    assert all(scan.scanned_bytes > 0 for scan in story.before.scans)
    assert story.before.scanned_bytes == sum(scan.scanned_bytes for scan in story.before.scans) > 0
    assert all(scan.billed_bytes >= max(scan.scanned_bytes, 10 * 2**20) for scan in story.before.scans)
    assert story.before.price == pytest.approx(story.before.billed_bytes / 2**40 * 6.25)
    scanned = {scan.name: scan.scanned_bytes for scan in story.before.scans}
    assert scanned["customer_snapshots"] >= scanned["int_purchases"] > 0


def test_a_dry_run_is_for_bigquery(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a DuckDB file, where a scan costs nothing; --dry-run is for bigquery://"):
        dry_run(Settings(home=tmp_path), as_of_date=None, horizon_days=HORIZON)


def test_nothing_bought_since_is_knowledge_too(story: Story) -> None:
    last = [row for row in snapshots(story.warehouse) if row["cutoff_date"] == AS_OF]
    assert min(row["recency_days"] for row in last) == (AS_OF - LAST).days


@pytest.mark.full_scale(
    "two dbt builds of its own: `make check` runs it; without dbt it is tried in tests/clv/test_bigquery.py"
)
@pytest.mark.timeout(900)
def test_lost_answers_change_nothing(
    story: Story, duckdb_marts: Warehouse, logs: tuple[Path, Path], tmp_path: Path
) -> None:
    """Of everything that the clients ask to be done the first answer is lost, so they ask again."""
    changed = {"home": tmp_path / "home", "warehouse": "bigquery://forgetful-builds/shop"}
    settings = story.settings.model_copy(update=changed)
    setup_bigquery(settings)
    load(settings, logs[0], source="transactions")
    first = transform(settings, as_of_date=LAST - timedelta(days=1), horizon_days=HORIZON)
    load(settings, logs[1], source="transactions", append=True)
    second = transform(settings, as_of_date=AS_OF, horizon_days=HORIZON)
    assert (first.built, second.built) == (story.first.built, story.second.built)
    for mart in MARTS:
        assert rows(open_warehouse(settings), mart) == rows(duckdb_marts, mart)


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        (
            "Database Error in model purchases (purchases.sql)\n  500 Query exceeded limit for bytes billed: 1. 9 or "
            "higher required.; reason: bytesBilledLimitExceeded, message: Query exceeded limit for bytes billed: 1. 9 "
            "or higher required., location: query\n\n  Location: US",
            InputError,
            "bigquery://p/d: Query exceeded limit for bytes billed: 1. 9 or higher required; raise the limit with "
            "CLV_BIGQUERY_MAXIMUM_BYTES_BILLED if the cost is meant.",
        ),
        (
            "Runtime Error\n  403 POST https://x/jobs: Quota exceeded: too much; reason: quotaExceeded, message: Quota "
            "exceeded: too much",
            UnavailableError,
            "bigquery://p/d: Quota exceeded: too much (details in ",
        ),
        ("Access Denied: Table p:d.t.", UnavailableError, "bigquery://p/d: Access Denied: Table p:d.t (details in "),
    ],
    ids=["bytes", "quota", "permission"],
)
def test_what_bigquery_refuses_to_dbt_is_one_clear_sentence(
    said: str, kind: type[Exception], expected: str, tmp_path: Path
) -> None:
    target = Target("bigquery", open_warehouse(Settings(home=tmp_path, warehouse="bigquery://p/d")))
    with pytest.raises(kind) as caught:
        raise_for_database(target, said, Home(tmp_path))
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


@pytest.mark.full_scale(
    "a dbt build of its own: `make check` runs it; without dbt it is tried in tests/clv/test_bigquery.py"
)
def test_a_query_over_the_limit_is_refused(story: Story) -> None:
    limited = story.settings.model_copy(update={"maximum_bytes_billed": 1})
    with pytest.raises(InputError, match=r"raise the limit with CLV_BIGQUERY_MAXIMUM_BYTES_BILLED"):
        transform(limited, as_of_date=LAST, horizon_days=HORIZON)
