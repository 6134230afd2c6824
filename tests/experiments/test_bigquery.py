"""The command line on BigQuery: a shop is scored there as on DuckDB, through the real clients against the façade.

If ``CLV_TEST_BIGQUERY=bigquery://PROJECT/DATASET`` is set, it is scored on the real one, too: on datasets of that name
with a random suffix, which are deleted afterwards.
"""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clv.settings import Settings
from clv.warehouse import SCHEMAS, Warehouse, open_warehouse
from clv.warehouse.bigquery import setup_bigquery

REAL = os.environ.get("CLV_TEST_BIGQUERY")


@dataclass(frozen=True)
class Datasets:
    """Empty datasets of a test's own, and the variables by which they are found."""

    address: str
    environment: dict[str, str]
    warehouse: Warehouse
    is_real: bool


@pytest.fixture
def facade(request: pytest.FixtureRequest, bigquery_facade: Any, tmp_path: Path) -> Datasets:
    """On the stand-in."""
    address = f"bigquery://verbs-project/{request.node.originalname}"
    settings = Settings.from_environment(bigquery_facade.environment, home=tmp_path / "unused", warehouse=address)
    setup_bigquery(settings)
    return Datasets(address, bigquery_facade.environment, open_warehouse(settings), is_real=False)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Datasets]:
    """On BigQuery itself."""
    address = f"{REAL}_{uuid.uuid4().hex[:8]}"
    settings = Settings.from_environment(os.environ, home=tmp_path / "unused", warehouse=address)
    warehouse = open_warehouse(settings)
    try:
        datasets = setup_bigquery(settings)
        yield Datasets(address, dict(os.environ), warehouse, is_real=True)
    finally:
        for dataset in datasets:
            warehouse.clients.rest.delete_dataset(dataset, delete_contents=True, not_found_ok=True)


def copy_tables(home: Path, to: Warehouse) -> None:
    """The raw tables and marts of a home's DuckDB file, with no dbt at work."""
    embedded = open_warehouse(Settings(home=home))
    found = embedded.query("select table_schema as s, table_name as t from information_schema.tables").to_pylist()
    for schema, table in ((row["s"], row["t"]) for row in found):
        if schema in SCHEMAS and schema != "staging" and table != "customer_predictions":
            rows = embedded.query(f"select * from {schema}.{table}")
            to.write_table(schema, table, rows.to_batches(), rows.schema)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", ["facade", "real"] if REAL else ["facade"])
def test_a_shop_is_scored_on_bigquery_as_on_duckdb(
    copy_of_lab, place: str, request: pytest.FixtureRequest, clv, tmp_path: Path, full_scale: bool
) -> None:
    """With the model of the same shop; at full scale, and on the real one, the verbs make every table themselves."""
    datasets = request.getfixturevalue(place)

    def on_bigquery(*arguments: object) -> Any:
        return clv(copy_of_lab.home, "--warehouse", datasets.address, *arguments, **datasets.environment)

    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    assert clv(copy_of_lab.home, "score", "--predictions", here).code == 0
    if full_scale or datasets.is_real:
        assert on_bigquery("load", copy_of_lab.log, "--source", "transactions").code == 0
        for _ in range(2):
            done = on_bigquery("--json", "transform", "--horizon-days", 30)
            assert done.code == 0, done.err
        assert done.json["built"] == []
    else:
        copy_tables(copy_of_lab.home, datasets.warehouse)
    done = on_bigquery("score", "--predictions", there)
    assert done.code == 0, done.err
    expected, found = pd.read_csv(here, dtype={"customer_id": str}), pd.read_csv(there, dtype={"customer_id": str})
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9)
    table = datasets.warehouse.query("select customer_id, expected_value from marts.customer_predictions").to_pandas()
    by_customer = found.set_index("customer_id")["expected_value"]
    assert table.set_index("customer_id")["expected_value"].to_dict() == pytest.approx(by_customer.to_dict())


@pytest.mark.full_scale("the gate twice: `make check` runs it")
@pytest.mark.timeout(900)
def test_the_gate_judges_on_bigquery_as_on_duckdb(copy_of_lab, facade: Datasets, clv) -> None:
    """Features, level, leaks and the test out of time: the same report; then the version is in Production."""
    home = copy_of_lab.home
    copy_of_lab.register_again()
    copy_tables(home, facade.warehouse)

    def judged(*options: str) -> dict[str, tuple[bool, str]]:
        done = clv(home, *options, "--json", "promote", "2", "--check", **facade.environment)
        assert done.code == 0, done.err
        return {check["name"]: (check["passed"], check["detail"]) for check in done.json}

    here, there = judged(), judged("--warehouse", facade.address)
    timed = "latency"
    assert here.keys() == there.keys() > {timed, "no leak", "level", "too good to be true"}
    assert {name: found for name, found in here.items() if name != timed} == {
        name: found for name, found in there.items() if name != timed
    }
    done = clv(home, "--warehouse", facade.address, "promote", "2", "--by", "ana", **facade.environment)
    assert done.code == 0, done.err
    assert copy_of_lab.state[1] == [(1, "Archived"), (2, "Production")]
