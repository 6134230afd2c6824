"""What dbt compiles for BigQuery, judged by GoogleSQL itself: Google's analyzer and its reference engine.

The wheel `zetasql` holds both. The analyzer must accept every statement; the reference engine evaluates the models one
after another on the same raw tables as DuckDB, and must find the same marts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from graphlib import TopologicalSorter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
import wasmtime
from zetasql.api import Analyzer, CatalogBuilder, PreparedQuery, TableBuilder
from zetasql.core import ZetaSqlLocalService, wasm_client
from zetasql.types import (
    AnalyzerOptions,
    LanguageOptions,
    ProductMode,
    SimpleTable,
    TableContent,
    ZetaSQLBuiltinFunctionOptions,
)

Rows = list[dict[str, Any]]
Raw = dict[str, Rows]
Nodes = dict[str, dict[str, Any]]

AS_OF, HORIZON = "2018-06-20", 45
SOURCES = ("olist", "transactions")


class NothingThere(BaseHTTPRequestHandler):
    """A BigQuery without any table; dbt asks even when it only compiles."""

    def do_GET(self) -> None:
        body = json.dumps({"error": {"code": 404, "errors": [{"reason": "notFound"}]}}).encode()
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def empty_bigquery() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), NothingThere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def compiled(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Nodes]:
    """Models and tests as compiled for BigQuery, by source."""
    folder = tmp_path_factory.mktemp("compiled")
    project = repository / "dbt"
    with empty_bigquery() as address:
        environment = os.environ | {
            "BIGQUERY_EMULATOR_HOST": address,
            "CLV_BIGQUERY_PROJECT": "project",
            "CLV_BIGQUERY_DATASET": "shop",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        }
        commands = [
            [
                *("--log-path", str(folder / "logs"), "compile", "--quiet", "--target", "bigquery", "--full-refresh"),
                *("--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(folder / source)),
                *("--vars", json.dumps({"source": source, "as_of_date": AS_OF, "horizon_days": HORIZON})),
            ]
            for source in SOURCES
        ]
        script = "import json, sys; from dbt.cli.main import dbtRunner as d; "
        script += "sys.exit(any([not d().invoke(command).success for command in json.loads(sys.argv[1])]))"
        process = [sys.executable, "-c", script, json.dumps(commands)]
        done = subprocess.run(process, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    return {
        source: {
            name: node
            for name, node in json.loads((folder / source / "manifest.json").read_text())["nodes"].items()
            if node.get("compiled_code")
        }
        for source in SOURCES
    }


class CachingConfig(wasmtime.Config):
    """Compiling the engine takes 20 seconds of two cores; wasmtime can keep the result in its cache folder."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = True


class GoogleSQL:
    """Tables of the reference engine; each is what a query has answered."""

    def __init__(self) -> None:
        language = LanguageOptions.maximum_features()
        language.product_mode = ProductMode.PRODUCT_EXTERNAL
        # Its own default is Los Angeles.
        self.options = AnalyzerOptions(language_options=language, default_timezone="UTC")
        self.functions = ZetaSQLBuiltinFunctionOptions(language_options=language)
        self.tables: dict[str, tuple[SimpleTable, TableContent]] = {}
        self.empty: dict[str, str] = {}

    def catalog(self, sql: str) -> Any:
        """The tables that the statement names: each call hands all it needs to the engine, which takes time."""
        builder = CatalogBuilder("warehouse").with_builtin_functions(self.functions)
        for name in self.named(sql):
            builder = builder.add_table(self.tables[name][0])
        return builder.build()

    def named(self, sql: str) -> set[str]:
        return set(re.findall(r"\bshop_\w+", sql)) & self.tables.keys()

    def analyze(self, sql: str) -> Any:
        sql = self.plain(sql)
        return Analyzer(self.options, self.catalog(sql)).analyze_statement(sql)

    def query(self, sql: str) -> tuple[Any, TableContent]:
        sql = self.plain(sql)
        query = (
            PreparedQuery.builder()
            .set_sql(sql)
            .set_analyzer_options(self.options)
            .set_catalog(self.catalog(sql))
            .set_table_content({name: self.tables[name][1] for name in self.named(sql)})
            .prepare()
        )
        with query:
            return query.columns, query.execute().content

    def plain(self, sql: str) -> str:
        """The catalog here is flat, `project`.`dataset`.`table` is dataset__table; and it takes no empty table."""
        flat = re.sub(r"`project`\.`(\w+)`\.`(\w+)`", r"\1__\2", sql)
        return re.sub(r"\bshop_\w+", lambda name: self.empty.get(name[0], name[0]), flat)

    def create(self, name: str, sql: str) -> None:
        columns, content = self.query(sql)
        if content.table_data is None:
            self.empty[name] = f"({self.plain(sql)})"
            return
        table = TableBuilder(name)
        for column in columns:
            table.add_column(column.name, column.type)
        self.tables[name] = (table.build(), content)

    def read(self, name: str) -> Rows:
        _, content = self.query(f"select to_json_string(t) from {name} as t")
        return [json.loads(row.cell[0].string_value) for row in content.table_data.row]


def literal(value: Any, kind: str) -> str:
    if value is None:
        return f"cast(null as {kind})"
    return f"cast({json.dumps(str(value))} as {kind})"


def raw_table(path: Path, table: str) -> str:
    """A SELECT that answers the rows of a raw table, with the types that `clv load` gives it on BigQuery."""
    kinds = {"VARCHAR": "string", "INTEGER": "int64", "BIGINT": "int64", "DOUBLE": "float64", "DATE": "date"}
    kinds |= {"DECIMAL(18,4)": "numeric", "TIMESTAMP": "datetime"}
    with duckdb.connect(str(path), read_only=True) as connection:
        relation = connection.sql(f"from raw.{table}")
        columns = [(name, kinds[str(kind)]) for name, kind in zip(relation.columns, relation.types, strict=True)]
        rows = relation.fetchall()
    if not rows:
        return "select " + ", ".join(f"cast(null as {kind}) as {name}" for name, kind in columns) + " limit 0"
    structs = ", ".join(
        "(" + ", ".join(literal(value, kind) for value, (_, kind) in zip(row, columns, strict=True)) + ")"
        for row in rows
    )
    fields = ", ".join(f"{name} {kind}" for name, kind in columns)
    return f"select * from unnest(array<struct<{fields}>>[{structs}])"


def in_order(nodes: Nodes) -> list[dict[str, Any]]:
    """Models, each after those it reads."""
    models = {name: node for name, node in nodes.items() if node["resource_type"] == "model"}
    graph = {name: [other for other in node["depends_on"]["nodes"] if other in models] for name, node in models.items()}
    return [models[name] for name in TopologicalSorter(graph).static_order()]


@pytest.fixture(scope="module")
def engine(built: Path, compiled: dict[str, Nodes]) -> GoogleSQL:
    """The raw tables and, one after another, all models of Olist."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wasm_client, "Config", CachingConfig)
        ZetaSqlLocalService.get_instance()
    engine = GoogleSQL()
    with duckdb.connect(str(built), read_only=True) as connection:
        tables = connection.execute("select table_name from duckdb_tables() where schema_name = 'raw'").fetchall()
    for (table,) in tables:
        engine.create(f"shop_raw__{table}", raw_table(built, table))
    for model in in_order(compiled["olist"]):
        engine.create(f"{model['schema']}__{model['name']}", model["compiled_code"])
    return engine


def comparable(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date | datetime) else value


@pytest.mark.parametrize("mart", ["purchases", "customers", "cutoffs", "customer_snapshots"])
def test_googlesql_finds_the_same_marts_as_duckdb(engine: GoogleSQL, built: Path, mart: str) -> None:
    with duckdb.connect(str(built), read_only=True) as connection:
        rows = connection.sql(f"from marts.{mart}").to_arrow_table().to_pylist()
    expected = [{name: comparable(value) for name, value in row.items()} for row in rows]
    found = engine.read(f"shop_marts__{mart}")
    for row in (*expected, *found):
        row.pop("partition_fingerprint", None)  # each engine has its own hash

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        names = ("customer_id", "cutoff_date", "purchase_date")
        return tuple(str(row[name]) for name in names if name in row)

    assert len(found) == len(expected) > 0
    for mine, other in zip(sorted(expected, key=key), sorted(found, key=key), strict=True):
        assert mine.keys() == other.keys()
        for name, value in mine.items():
            # A decimal of 18 digits that JSON writes as text is still the same number.
            same = other[name] if not isinstance(value, float) or other[name] is None else float(other[name])
            assert same == (pytest.approx(value, rel=1e-14) if isinstance(value, float) else value), (key(mine), name)


def failures(engine: GoogleSQL, nodes: Nodes) -> dict[str, int]:
    """How many rows break each test, all asked for in one statement: each statement costs a tenth of a second."""
    tests = {node["name"]: node["compiled_code"] for node in nodes.values() if node["resource_type"] == "test"}
    counts = [f"select '{name}' as name, count(*) as row_count from ({sql})" for name, sql in tests.items()]
    engine.create("shop_tests__failures", " union all ".join(counts))
    found = {row["name"]: int(row["row_count"]) for row in engine.read("shop_tests__failures")}
    assert found.keys() == tests.keys()
    return found


def test_googlesql_finds_that_every_test_passes(engine: GoogleSQL, compiled: dict[str, Nodes]) -> None:
    found = failures(engine, compiled["olist"])
    assert len(found) > 30
    assert not any(found.values()), found


TRANSACTIONS = [
    ("a", "o", "2018-01-01 10:00:00", 5),
    ("a", None, "2018-01-01 11:00:00", -1),
    ("a", "p", "2018-02-11 11:00:00", 7),
    ("a", "q", "2018-03-31 11:00:00", 2),
    ("b", None, "2018-05-01 00:00:00", 2),
    ("b", "r", "2018-06-10 00:00:00", -3),
    ("c", "s", "2018-06-20 23:59:59", 4),
]


@pytest.fixture(scope="module")
def log_engine(engine: GoogleSQL, compiled: dict[str, Nodes]) -> GoogleSQL:
    """The models of a transaction log; `engine` has started the service."""
    log_engine = GoogleSQL()
    types = ("string", "string", "datetime", "numeric")
    structs = ", ".join(f"({', '.join(map(literal, row, types))})" for row in TRANSACTIONS)
    fields = "customer_id string, order_id string, purchased_at datetime, amount numeric"
    log_engine.create("shop_raw__transactions", f"select * from unnest(array<struct<{fields}>>[{structs}])")
    for model in in_order(compiled["transactions"]):
        log_engine.create(f"{model['schema']}__{model['name']}", model["compiled_code"])
    return log_engine


def test_googlesql_finds_the_features_of_a_transaction_log(log_engine: GoogleSQL, serving_query: str) -> None:
    """The same as DuckDB finds with the SELECT that a model carries."""
    found = log_engine.read("shop_marts__customer_snapshots")
    cutoffs = sorted({date.fromisoformat(row["cutoff_date"]) for row in found})
    nulls = ["category", "payment_type", "state", "item_count", "product_count", "category_count", "seller_count"]
    nulls += ["instalment_count", "freight_amount", "review_score", "promised_date", "delivered_date"]
    nulls += ["review_created_date", "review_answered_date"]
    with duckdb.connect() as connection:
        connection.execute("create table log (customer_id text, order_id text, purchased_at timestamp, amount double)")
        connection.executemany("insert into log values (?, ?, ?, ?)", TRANSACTIONS)
        connection.execute(
            f"create view purchases as select *, {', '.join(f'null as {name}' for name in nulls)} from log"
        )
        connection.execute("create table cutoffs as select unnest($1::date[]) as cutoff_date", [cutoffs])
        expected = connection.sql(serving_query).to_arrow_table().to_pylist()
    ours = {(row["customer_id"], row["cutoff_date"]): row for row in found}
    assert len(ours) == len(expected) > 5
    for row in expected:
        other = ours[row["customer_id"], row["cutoff_date"].isoformat()]
        for name, value in row.items():
            same = pytest.approx(value, rel=1e-14) if isinstance(value, float) else comparable(value)
            assert other[name] == same, (row["customer_id"], row["cutoff_date"], name)


def test_googlesql_finds_that_every_test_of_a_transaction_log_passes(
    log_engine: GoogleSQL, compiled: dict[str, Nodes]
) -> None:
    found = failures(log_engine, compiled["transactions"])
    assert len(found) > 15
    assert {name: count for name, count in found.items() if count} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "select median(x) from unnest([1, 2]) as x",
        "select coalesce(1, 'a')",
        "select * exclude (a) from (select 1 as a, 2 as b)",
        "select count(*) filter (where true)",
        "select timestamp '2020-01-01' = date '2020-01-01'",
    ],
)
def test_the_analyzer_is_a_judge(engine: GoogleSQL, statement: str) -> None:
    """What DuckDB or a translator would let pass, GoogleSQL refuses."""
    with pytest.raises(Exception, match=r"(?i)error|not found|no matching|syntax"):
        engine.analyze(statement)
