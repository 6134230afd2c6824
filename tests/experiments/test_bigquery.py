"""The command line on BigQuery: a shop is scored there as on DuckDB, through the real clients against the façade."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clv.settings import Settings
from clv.warehouse import SCHEMAS, Warehouse, open_warehouse
from clv.warehouse.bigquery import setup_bigquery


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """Datasets of each test's own."""
    return f"bigquery://verbs-project/{request.node.name}"


@pytest.fixture
def warehouse(address: str, bigquery_facade: Any, tmp_path: Path) -> Warehouse:
    """Empty datasets."""
    settings = Settings.from_environment(bigquery_facade.environment, home=tmp_path / "unused", warehouse=address)
    setup_bigquery(settings)
    return open_warehouse(settings)


def copy_tables(home: Path, to: Warehouse) -> None:
    """The raw tables and marts of a home's DuckDB file, with no dbt at work."""
    embedded = open_warehouse(Settings(home=home))
    found = embedded.query("select table_schema as s, table_name as t from information_schema.tables").to_pylist()
    for schema, table in ((row["s"], row["t"]) for row in found):
        if schema in SCHEMAS and schema != "staging" and table != "customer_predictions":
            rows = embedded.query(f"select * from {schema}.{table}")
            to.write_table(schema, table, rows.to_batches(), rows.schema)


@pytest.mark.timeout(900)
def test_a_shop_is_scored_on_bigquery_as_on_duckdb(
    copy_of_lab, address: str, warehouse: Warehouse, bigquery_facade: Any, clv, tmp_path: Path, full_scale: bool
) -> None:
    """With the model of the same shop; at full scale every table is made by the verbs themselves, too."""

    def on_bigquery(*arguments: object) -> Any:
        return clv(copy_of_lab.home, "--warehouse", address, *arguments, **bigquery_facade.environment)

    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    assert clv(copy_of_lab.home, "score", "--predictions", here).code == 0
    if full_scale:
        assert on_bigquery("load", copy_of_lab.log, "--source", "transactions").code == 0
        for _ in range(2):
            done = on_bigquery("--json", "transform", "--horizon-days", 30)
            assert done.code == 0, done.err
        assert done.json["built"] == []
    else:
        copy_tables(copy_of_lab.home, warehouse)
    done = on_bigquery("score", "--predictions", there)
    assert done.code == 0, done.err
    expected, found = pd.read_csv(here, dtype={"customer_id": str}), pd.read_csv(there, dtype={"customer_id": str})
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9)
    table = warehouse.query("select customer_id, expected_value from marts.customer_predictions").to_pandas()
    by_customer = found.set_index("customer_id")["expected_value"]
    assert table.set_index("customer_id")["expected_value"].to_dict() == pytest.approx(by_customer.to_dict())


@pytest.mark.full_scale("the gate twice: `make check` runs it")
@pytest.mark.timeout(900)
def test_the_gate_judges_on_bigquery_as_on_duckdb(
    copy_of_lab, address: str, warehouse: Warehouse, bigquery_facade: Any, clv
) -> None:
    """Features, level, leaks and the test out of time: the same report; then the version is in Production."""
    home = copy_of_lab.home
    copy_of_lab.register_again()
    copy_tables(home, warehouse)

    def judged(*options: str) -> dict[str, tuple[bool, str]]:
        done = clv(home, *options, "--json", "promote", "2", "--check", **bigquery_facade.environment)
        assert done.code == 0, done.err
        return {check["name"]: (check["passed"], check["detail"]) for check in done.json}

    here, there = judged(), judged("--warehouse", address)
    timed = "latency"
    assert here.keys() == there.keys() > {timed, "no leak", "level", "too good to be true"}
    assert {name: found for name, found in here.items() if name != timed} == {
        name: found for name, found in there.items() if name != timed
    }
    done = clv(home, "--warehouse", address, "promote", "2", "--by", "ana", **bigquery_facade.environment)
    assert done.code == 0, done.err
    assert copy_of_lab.state[1] == [(1, "Archived"), (2, "Production")]
