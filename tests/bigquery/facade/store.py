"""What the façade holds: a DuckDB database per project, and what DuckDB has no place for (labels, partitions, jobs)."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import duckdb

Key = tuple[str, str, str]
"""Project, dataset, table."""

TABLE_PROPERTIES = ("timePartitioning", "clustering", "labels", "description", "expirationTime")
DATASET_PROPERTIES = (
    *("labels", "description", "access", "location"),
    *("defaultTableExpirationMs", "defaultPartitionExpirationMs"),
)
RESULTS = "_results"
"""The hidden dataset of query results."""

TO_DUCKDB = {
    "STRING": "VARCHAR",
    "INTEGER": "BIGINT",
    "INT64": "BIGINT",
    "FLOAT": "DOUBLE",
    "FLOAT64": "DOUBLE",
    "BOOL": "BOOLEAN",
    "BOOLEAN": "BOOLEAN",
    "NUMERIC": "DECIMAL(38, 9)",
    "BIGNUMERIC": "DECIMAL(38, 18)",
    "BYTES": "BLOB",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP": "TIMESTAMPTZ",
    "JSON": "JSON",
}
FROM_DUCKDB = {
    "BOOLEAN": "BOOLEAN",
    "FLOAT": "FLOAT",
    "DOUBLE": "FLOAT",
    "BLOB": "BYTES",
    "DATE": "DATE",
    "TIME": "TIME",
    "TIMESTAMP": "DATETIME",
    "TIMESTAMP_S": "DATETIME",
    "TIMESTAMP_MS": "DATETIME",
    "TIMESTAMP_NS": "DATETIME",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "JSON": "JSON",
    **dict.fromkeys(
        (
            "TINYINT",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "UTINYINT",
            "USMALLINT",
            "UINTEGER",
            "UBIGINT",
            "HUGEINT",
            '"NULL"',
        ),
        "INTEGER",
    ),
}
MACROS = {"farm_fingerprint(value)": "(hash(value) >> 1)::bigint"}
"""Functions of BigQuery that sqlglot leaves as they are; other values, but the same use."""

WIDTHS = {"BOOLEAN": 1, "NUMERIC": 16, "BIGNUMERIC": 32}
"""Logical bytes of a value; 8 for all other types but text."""

STANDARD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
"""Types whose name in SQL differs from the one in REST."""


class Refusal(Exception):
    """What BigQuery answers when it refuses."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.error = {"reason": reason, "message": message, "location": "query"}

    def body(self) -> dict[str, Any]:
        """As REST shows it."""
        return {"error": {"code": self.code, "message": self.error["message"], "errors": [self.error]}}


def not_found(kind: str, name: str) -> Refusal:
    """A 404 in BigQuery's words."""
    return Refusal(404, "notFound", f"Not found: {kind} {name}")


def quoted(*names: str) -> str:
    """A name as DuckDB reads it."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def reference(key: Key) -> dict[str, str]:
    """A table's name as REST writes it."""
    return dict(zip(("projectId", "datasetId", "tableId"), key, strict=True))


def key_of(table: dict[str, str], project: str) -> Key:
    """A table's name from REST; a partition decorator is dropped."""
    return table.get("projectId", project), table["datasetId"], table["tableId"].split("$")[0]


def field(name: str, kind: Any, mode: str = "NULLABLE") -> dict[str, Any]:
    """A column's REST schema from its DuckDB type."""
    if kind.id == "list":
        return field(name, kind.children[0][1], "REPEATED")
    if kind.id == "struct":
        return {"name": name, "type": "RECORD", "mode": mode, "fields": [field(*child) for child in kind.children]}
    bigquery = "NUMERIC" if kind.id == "decimal" else FROM_DUCKDB.get(str(kind), "STRING")
    return {"name": name, "type": bigquery, "mode": mode}


def duckdb_type(column: dict[str, Any]) -> str:
    """A column's DuckDB type from its REST schema."""
    kind = column["type"].upper()
    if kind in ("RECORD", "STRUCT"):
        kind = "STRUCT(" + ", ".join(f"{quoted(f['name'])} {duckdb_type(f)}" for f in column["fields"]) + ")"
    else:
        kind = TO_DUCKDB[kind]
    return kind + "[]" if column.get("mode") == "REPEATED" else kind


def cell(value: Any, column: dict[str, Any], microseconds: bool) -> dict[str, Any]:
    """A value as REST writes it: everything is text."""
    if column["mode"] == "REPEATED":
        return {"v": [cell(item, {**column, "mode": "NULLABLE"}, microseconds) for item in value or []]}
    if value is None:
        return {"v": None}
    match column["type"]:
        case "RECORD":
            return {"v": {"f": [cell(value.get(child["name"]), child, microseconds) for child in column["fields"]]}}
        case "BOOLEAN":
            text = str(value).lower()
        case "TIMESTAMP":
            since = value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
            text = str(since // dt.timedelta(microseconds=1)) if microseconds else repr(since.total_seconds())
        case "DATETIME":
            text = value.isoformat()
        case "BYTES":
            text = base64.b64encode(value).decode()
        case _:
            text = _plain(value) if isinstance(value, decimal.Decimal) else str(value)
    return {"v": text}


def _plain(value: decimal.Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class Store:
    """All state; whoever touches it holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.duckdb = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        self.duckdb.execute("set TimeZone = 'UTC'")
        for name, body in MACROS.items():
            self.duckdb.execute(f"create macro {name} as {body}")
        self.projects: set[str] = set()
        self.datasets: dict[tuple[str, str], dict[str, Any]] = {}
        self.properties: dict[Key, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.running: dict[str, Future[dict[str, Any]]] = {}
        self.pool = ThreadPoolExecutor(8)
        self.uploads: dict[str, tuple[dict[str, Any], bytearray]] = {}
        self.modified: dict[Key, int] = {}
        self._bytes: dict[Key, dict[str, int]] = {}

    def open_project(self, project: str) -> None:
        """Every project exists once it is named."""
        if project not in self.projects:
            self.duckdb.execute(f"attach ':memory:' as {quoted(project)}")
            self.duckdb.execute(f"create schema {quoted(project, RESULTS)}")
            self.projects.add(project)

    def create_dataset(self, project: str, dataset: str, properties: dict[str, Any]) -> None:
        """Create it if need be."""
        self.open_project(project)
        self.duckdb.execute(f"create schema if not exists {quoted(project, dataset)}")
        self.datasets.setdefault((project, dataset), {k: v for k, v in properties.items() if k in DATASET_PROPERTIES})

    def check_dataset(self, project: str, dataset: str) -> None:
        """Refuse a dataset that is not there."""
        if (project, dataset) not in self.datasets and dataset != RESULTS:
            raise not_found("Dataset", f"{project}:{dataset}")

    def drop_dataset(self, project: str, dataset: str) -> None:
        """Remove it with all its tables."""
        self.duckdb.execute(f"drop schema {quoted(project, dataset)} cascade")
        del self.datasets[project, dataset]
        self.properties = {key: value for key, value in self.properties.items() if key[:2] != (project, dataset)}

    def tables(self, project: str, dataset: str) -> dict[str, str]:
        """TABLE or VIEW by name."""
        found = self.duckdb.execute(
            "select table_name, table_type from information_schema.tables "
            "where table_catalog = ? and table_schema = ? order by 1",
            [project, dataset],
        ).fetchall()
        return {name: "VIEW" if kind == "VIEW" else "TABLE" for name, kind in found}

    def kind(self, key: Key) -> str:
        """TABLE or VIEW; refuses what is not there."""
        kind = self.tables(*key[:2]).get(key[2])
        if kind is None:
            raise not_found("Table", f"{key[0]}:{key[1]}.{key[2]}")
        return kind

    def columns(self, relation: str) -> list[dict[str, Any]]:
        """REST schema of a DuckDB relation."""
        return [field(row[0], duckdb.sqltype(row[1])) for row in self.duckdb.execute(f"describe {relation}").fetchall()]

    def schema(self, key: Key) -> list[dict[str, Any]]:
        """REST schema of a table, with the descriptions it was given."""
        given = {f["name"]: f for f in self.properties.get(key, {}).get("schema", {}).get("fields", [])}
        columns = self.columns(f"select * from {quoted(*key)}")
        for column in columns:
            told = given.get(column["name"], {})
            column |= {name: told[name] for name in ("description",) if told.get(name)}
            if told.get("mode") == "REQUIRED":
                column["mode"] = "REQUIRED"
        return columns

    def select(self, key: Key, names: list[str] | None = None, where: str = "") -> str:
        """A SELECT of the table's columns in the types that BigQuery would give them."""
        columns = [column for column in self.schema(key) if not names or column["name"] in names]
        casts = ", ".join(f"{quoted(c['name'])}::{duckdb_type(c)} as {quoted(c['name'])}" for c in columns)
        return f"select {casts} from {quoted(*key)}{where}"

    def count(self, key: Key) -> int:
        """Rows of a table."""
        return int(self.duckdb.execute(f"select count(*) from {quoted(*key)}").fetchall()[0][0])

    def drop(self, key: Key) -> None:
        """Remove a table or view."""
        self.duckdb.execute(f"drop {self.kind(key)} {quoted(*key)}")
        self.properties.pop(key, None)
        self.changed(key)

    def replace(self, key: Key, select: str, properties: dict[str, Any] | None = None) -> None:
        """Create a table from a SELECT, in the place of another one if there is one."""
        self.duckdb.execute(f"create or replace table {quoted(*key)} as {select}")
        self.properties[key] = properties or {}
        self.changed(key)

    def changed(self, key: Key) -> None:
        """A table was written: it is younger now, and its size another one."""
        self.modified[key] = max(int(time.time() * 1000), self.modified.get(key, 0) + 1)
        self._bytes.pop(key, None)

    def bytes(self, key: Key) -> dict[str, int]:
        """Logical bytes of each column, as BigQuery counts them: of text its length + 2."""
        if key not in self._bytes:
            columns = self.schema(key)
            sizes = ", ".join(
                f"coalesce(sum(strlen({quoted(c['name'])}) + 2), 0)"
                if c["type"] == "STRING" and c["mode"] != "REPEATED"
                else f"{WIDTHS.get(c['type'], 8)} * count({quoted(c['name'])})"
                for c in columns
            )
            row = self.duckdb.execute(f"select {sizes} from {quoted(*key)}").fetchall()[0]
            self._bytes[key] = {c["name"].lower(): int(size) for c, size in zip(columns, row, strict=True)}
        return self._bytes[key]
