"""The documentation: nothing is left undescribed, and the site can be made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from clv.errors import InputError
from clv.load import load
from clv.settings import Settings
from clv.sources import olist
from clv.transform import docs
from clv.warehouse import open_warehouse
from experiments import score


@pytest.fixture(scope="module")
def described(repository: Path) -> dict[str, dict[str, Any]]:
    """What the YAML files say of each model."""
    files = (repository / "dbt" / "models").rglob("*.yml")
    return {model["name"]: model for file in files for model in yaml.safe_load(file.read_text()).get("models", ())}


def test_every_model_and_column_is_described(built: Path, described: dict[str, dict[str, Any]]) -> None:
    with duckdb.connect(str(built), read_only=True) as connection:
        found = connection.execute(
            "select table_name, column_name from information_schema.columns "
            "where table_schema in ('staging', 'intermediate', 'marts')"
        ).fetchall()
    columns = {
        (name, column["name"])
        for name, model in described.items()
        for column in model["columns"]
        if column["description"]
    }
    assert len(found) > 100
    assert set(found) <= columns
    built_models = {table for table, _ in found}
    assert {(table, column) for table, column in columns if table in built_models} == set(found), "no ghosts"
    assert all(model["description"] for model in described.values())


def test_every_source_and_column_is_described(repository: Path, tmp_path: Path) -> None:
    """What `clv load` and `clv score` write is what the YAML files describe, no more and no less."""
    log = tmp_path / "log.csv"
    log.write_text("customer_id,timestamp,amount\na,2020-01-01,1\n")
    settings = Settings(home=tmp_path / "home", threads=2)
    load(settings, log, source="transactions")
    raw = open_warehouse(settings).query(
        "select table_name, column_name from duckdb_columns() where schema_name = 'raw'"
    )
    written = [(row["table_name"], row["column_name"]) for row in raw.to_pylist()]
    written += [(table.name, column) for table in olist.TABLES for column in table.columns]
    written += [("customer_predictions", name) for name in score._ANSWERS.names]

    files = (repository / "dbt" / "models").rglob("*.yml")
    sources = [source for file in files for source in yaml.safe_load(file.read_text()).get("sources", ())]
    tables = [table for source in sources for table in source["tables"]]
    described = [(table["name"], column["name"]) for table in tables for column in table["columns"]]

    assert {"transactions", "loads", "shop"} <= {table for table, _ in written}
    assert sorted(described) == sorted(written)
    texts = [*sources, *tables, *(column for table in tables for column in table["columns"])]
    assert all(text["description"] for text in texts)


def test_every_model_has_its_description_beside_it(repository: Path, described: dict[str, dict[str, Any]]) -> None:
    for model in (repository / "dbt" / "models").rglob("*.sql"):
        assert model.with_suffix(".yml").exists(), model
        assert model.stem in described


def test_every_feature_has_unit_source_and_a_unit_test(repository: Path, described: dict[str, dict[str, Any]]) -> None:
    columns = described["customer_snapshots"]["columns"]
    features = {column["name"]: column["config"]["meta"] for column in columns if is_feature(column)}
    sources = {column["name"] for column in described["int_purchases"]["columns"]}
    assert len(features) > 40
    for name, meta in features.items():
        assert meta["unit"] or meta["kind"] == "category", name
        assert set(meta["source"]) <= sources, name
        assert meta["source"], name
    snapshots = yaml.safe_load((repository / "dbt/models/marts/customer_snapshots.yml").read_text())
    expected = [
        row for test in snapshots["unit_tests"] for row in test["expect"]["rows"] if features.keys() <= row.keys()
    ]
    assert {name for name in features if all(row[name] is None for row in expected)} == set()


def is_feature(column: dict[str, Any]) -> bool:
    return bool(column["config"]["meta"]["role"] == "feature")


@pytest.fixture(scope="module")
def home(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("docs") / "home"
    shutil.copytree(built.parent, home)
    return home


def test_the_site_is_one_page(home: Path) -> None:
    before = (home / "warehouse.duckdb").read_bytes()
    page = docs(Settings(home=home, threads=2))
    assert page.is_relative_to(home)
    text = page.read_text()
    assert "customer_snapshots" in text
    manifest = json.loads((home / "dbt" / "manifest.json").read_text())
    exposures = {exposure["name"]: exposure["depends_on"]["nodes"] for exposure in manifest["exposures"].values()}
    assert "model.clv.customer_snapshots" in exposures["clv_model"]
    assert "model.clv.purchases" in exposures["clv_app"]
    assert manifest["sources"]["source.clv.clv.loads"]["freshness"]["warn_after"] == {"count": 8, "period": "day"}
    assert (home / "warehouse.duckdb").read_bytes() == before


def test_there_must_be_marts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no marts; build them first with `clv transform`"):
        docs(Settings(home=tmp_path))
