"""The service beside a BigQuery warehouse, from start to end: what it shows, logs and forgets."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from clv.settings import Settings
from clv.warehouse import SCHEMAS, open_warehouse
from clv.warehouse.bigquery import BigQueryWarehouse, setup_bigquery
from experiments.console import Console
from experiments.servers import environment
from experiments.workspace import Workspace
from serving.app import create_app
from serving.settings import ServingSettings

ADDRESS = "bigquery://service-project/shop"


def tables(warehouse: BigQueryWarehouse) -> list[str]:
    return [
        f"{schema}.{item.table_id}"
        for schema in SCHEMAS
        for item in warehouse.clients.rest.list_tables(f"{warehouse.project}.{warehouse.dataset}_{schema}")
    ]


def copy_tables(home: Path, to: BigQueryWarehouse) -> None:
    """The tables of a home's DuckDB file, with no dbt at work."""
    embedded = open_warehouse(Settings(home=home))
    found = embedded.query("select schema_name, table_name from duckdb_tables()").to_pylist()
    for schema, table in ((row["schema_name"], row["table_name"]) for row in found):
        rows = embedded.query(f"select * from {schema}.{table}")
        to.write_table(schema, table, rows.to_batches(), rows.schema)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.timeout(900)
def test_it_shows_what_was_scored_logs_what_it_answers_and_nothing_knows_a_person_that_was_forgotten(
    copy_of_lab, bigquery_facade: Any, clv, tmp_path: Path
) -> None:
    home, variables = copy_of_lab.home, {**bigquery_facade.environment, "CLV_WAREHOUSE": ADDRESS}
    settings = Settings.from_environment(variables, home=tmp_path / "unused")
    setup_bigquery(settings)
    warehouse = BigQueryWarehouse(ADDRESS.removeprefix("bigquery://"), settings)
    copy_tables(home, warehouse)

    own = {"CLV_HOME": str(home), "CLV_POLL_SECONDS": "0.2", "CLV_PREDICTION_LOG": "warehouse"}
    embedded = TestClient(create_app(ServingSettings.from_environment({"CLV_HOME": str(home)})))
    beside = TestClient(create_app(ServingSettings.from_environment(variables | own)))
    with beside:
        until(lambda: beside.get("/ready").status_code == 200)
        until(lambda: beside.get("/customers").status_code == 200)
        page = beside.get("/customers").json()
        person, day = page["customers"][0]["customer_id"], page["scored"]["as_of_date"]
        with embedded:
            until(lambda: embedded.get("/ready").status_code == 200)
            for path in ("/customers", f"/customers/{person}", "/portfolio"):
                assert beside.get(path).json() == embedded.get(path).json()
        assert beside.get(f"/customers/{person}").json()["features"]
        (home / "warehouse.duckdb").unlink()  # from here on BigQuery alone

        bought = {"customer_id": person, "purchased_at": day, "amount": 12.5}
        assert beside.post("/predict/purchases", json={"as_of": day, "purchases": [bought]}).status_code == 200
        assert clv(home, "forget", person, **variables).code == 0
        until(lambda: beside.get(f"/customers/{person}").status_code == 404)
        assert beside.get("/customers").json()["scored"]["customers"] == page["scored"]["customers"] - 1
    logged = warehouse.query("select customer_id from serving.prediction_log")
    assert logged["customer_id"].to_pylist() == [person]  # answered before, written when the service ended
    assert clv(home, "--json", "forget", person, **variables).json["rows"] == {"serving.prediction_log": 1}

    assert {"raw.transactions", "marts.customer_snapshots", "serving.prediction_log"} < set(tables(warehouse))
    for table in tables(warehouse):
        assert not [row for row in warehouse.query(f"select * from {table}").to_pylist() if person in row.values()]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} > {".parquet", ".csv", ".db", ".json"}
    for path in files:
        content = str(pq.read_table(path).to_pydict()).encode() if path.suffix == ".parquet" else path.read_bytes()
        assert person.encode() not in content, path


def test_clv_serve_hands_on_the_warehouse_it_was_given(tmp_path: Path) -> None:
    workspace = Workspace(Settings(home=tmp_path, warehouse=ADDRESS), Console(quiet=True))
    assert ServingSettings.from_environment(environment(workspace)).warehouse == ADDRESS
