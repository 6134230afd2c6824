"""Running GoogleSQL on DuckDB: sqlglot translates; here is what a dialect can't do (scripts, OPTIONS, metadata)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.dialects.duckdb import DuckDB

from facade.store import STANDARD_NAMES, TO_DUCKDB, Key, Refusal, Store, not_found

MINIMUM_BILLED = 10 * 1024**2
"""Bytes billed at least for each table that a query reads."""


def _as_date(kind: type[exp.Expression]) -> Callable[[Any, Any], str]:
    """BigQuery's date arithmetic stays with dates, DuckDB's turns into timestamps."""
    return lambda generator, node: f"CAST({DuckDB.Generator.TRANSFORMS[kind](generator, node)} AS DATE)"


class Dialect(DuckDB):
    """DuckDB's, where sqlglot's own translation of GoogleSQL doesn't do."""

    class Generator(DuckDB.Generator):
        """How nodes are written."""

        TRANSFORMS: ClassVar = {
            **DuckDB.Generator.TRANSFORMS,
            **{kind: _as_date(kind) for kind in (exp.DateAdd, exp.DateSub)},
        }

        def datatype_sql(self, expression: exp.DataType) -> str:
            """NUMERIC has 9 decimals, not DuckDB's 3."""
            if expression.is_type("decimal", "bigdecimal") and not expression.expressions:
                return TO_DUCKDB["NUMERIC" if expression.is_type("decimal") else "BIGNUMERIC"]
            return super().datatype_sql(expression)

        def literal_sql(self, expression: exp.Literal) -> str:
            """0.1 is a FLOAT64, not a decimal."""
            text = super().literal_sql(expression)
            return text if expression.is_string or text.isdigit() else f"CAST({text} AS DOUBLE)"

        def in_sql(self, expression: exp.In) -> str:
            """`x in unnest(array)`."""
            unnest = expression.args.get("unnest")
            if unnest is None:
                return super().in_sql(expression)
            array = unnest.expressions[0] if isinstance(unnest, exp.Unnest) else unnest
            return self.sql(exp.func("list_contains", array, expression.this))


class Source(BigQuery):
    """GoogleSQL, less joins with an array that is not called UNNEST: to look for them takes a third of the time."""

    class Parser(BigQuery.Parser):
        """How it is read."""

        SUPPORTS_IMPLICIT_UNNEST: ClassVar = False


@dataclass
class Outcome:
    """What a script did: statistics of its last statement, and the table its last SELECT filled."""

    statement_type: str = "SELECT"
    target: Key | None = None
    result: Key | None = None
    affected: int | None = None
    schema: list[dict[str, Any]] = field(default_factory=list)
    processed: int = 0
    billed: int = 0
    tables: set[Key] = field(default_factory=set)


class Script:
    """One query job."""

    def __init__(self, store: Store, project: str, configuration: dict[str, Any], result: Key) -> None:
        self.store, self.project, self.result = store, project, result
        default = configuration.get("defaultDataset")
        self.default = (default.get("projectId", project), default["datasetId"]) if default else None
        self.limit = int(configuration.get("maximumBytesBilled") or 0)
        self.sql = configuration["query"]
        self.parameters, self.positions = _parameters(configuration)
        self.variables: set[str] = set()
        self.outcome = Outcome()
        self._information = itertools.count()

    def run(self, dry: bool) -> Outcome:
        """Run every statement, or only say what it would read and answer; a transaction left open is rolled back."""
        trees = [tree for tree in _parse(self.sql) if tree is not None]
        for tree in trees:
            self._charge(tree)
        try:
            for tree in trees:
                if not dry:
                    self._run(tree)
                elif isinstance(tree, exp.Query):
                    self.outcome.schema = self.store.columns(self._translated(tree))
        except duckdb.CatalogException as error:
            raise Refusal(404, "notFound", f"Not found: {error}") from error
        except duckdb.Error as error:
            raise Refusal(400, "invalidQuery", str(error)) from error
        finally:
            self._roll_back()
        if len(trees) > 1:
            self.outcome.statement_type = "SCRIPT"
        return self.outcome

    def _roll_back(self) -> None:
        try:
            self.store.duckdb.execute("rollback")
        except duckdb.TransactionException:
            return  # none was open

    def _charge(self, tree: exp.Expression) -> None:
        """Count the columns that the statement names, in all tables it names and those behind views."""
        if _is_free(tree):
            return
        tables = set(self._tables(tree))
        everything = any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star))
        names = {column.name.lower() for column in tree.find_all(exp.Column)}
        processed = 0
        for key in tables:
            sizes = self.store.bytes(key)
            processed += sum(size for name, size in sizes.items() if everything or name in names)
        self.outcome.tables |= tables
        self.outcome.processed += processed
        self.outcome.billed += max(processed, MINIMUM_BILLED * len(tables))
        if self.limit and self.outcome.billed > self.limit:
            raise Refusal(
                400,
                "bytesBilledLimitExceeded",
                f"Query exceeded limit for bytes billed: {self.limit}. {self.outcome.billed} or higher required.",
            )

    def _tables(self, tree: exp.Expression) -> Iterator[Key]:
        written = _target(tree) if isinstance(tree, (exp.Create, exp.Insert, exp.Drop)) else None
        for table in tree.find_all(exp.Table):
            if table is written or not table.name or not (table.db or self.default):
                continue
            key = (table.catalog or self.project, table.db or (self.default or ("", ""))[1], table.name)
            kind = self.store.tables(*key[:2]).get(key[2]) if key[0] in self.store.projects else None
            if kind == "TABLE":
                yield key
            elif kind == "VIEW":
                for query in _parse(self.store.properties[key]["view"]):
                    yield from self._tables(query)

    def _run(self, tree: exp.Expression) -> None:
        handlers: dict[type[exp.Expression], Callable[[Any], None]] = {
            exp.Query: self._select,
            exp.Create: self._create,
            exp.Drop: self._drop,
            exp.Merge: self._write,
            exp.Insert: self._write,
            exp.Update: self._write,
            exp.Delete: self._write,
            exp.TruncateTable: self._write,
            exp.Declare: self._declare,
            exp.Set: self._set,
            exp.Alter: self._alter,
        }
        for kind, handler in handlers.items():
            if isinstance(tree, kind):
                handler(tree)
                return
        if not isinstance(tree, (exp.Transaction, exp.Commit, exp.Rollback)):
            raise Refusal(400, "invalidQuery", f"Statement not supported by the façade: {tree.sql('bigquery')[:80]}")
        self.store.duckdb.execute(tree.sql("duckdb"))

    def _select(self, tree: exp.Query) -> None:
        self.store.replace(self.result, self._translated(tree))
        self.outcome.result = self.result
        self.outcome.schema = self.store.schema(self.result)

    def _declare(self, tree: exp.Declare) -> None:
        for item in tree.expressions:
            for name in item.this:
                self.variables.add(name.name.lower())
                self._assign(name.name, item.args.get("default") or exp.null())

    def _set(self, tree: exp.Set) -> None:
        for item in tree.expressions:
            self._assign(item.this.this.find(exp.Column).name, item.this.expression)

    def _assign(self, name: str, value: exp.Expression) -> None:
        query = value.unnest() if isinstance(value, exp.Subquery) else exp.select(value)
        query.set("kind", None)  # `select as struct` of one column
        self.store.duckdb.execute(f"set variable {name.lower()} = ({self._translated(query)})")

    def _alter(self, tree: exp.Alter) -> None:
        self.outcome.statement_type = "ALTER_TABLE"
        if not any(isinstance(action, exp.AlterSet) for action in tree.args["actions"]):
            self.store.duckdb.execute(self._translated(tree))

    def _drop(self, tree: exp.Drop) -> None:
        self.outcome.statement_type = f"DROP_{tree.args['kind']}"
        if tree.args["kind"] == "SCHEMA":
            table = tree.find(exp.Table)
            self.store.drop_dataset(table.catalog or self.project, table.db)
            return
        self.outcome.target = key = self._key(_target(tree))
        if key[2] in self.store.tables(*key[:2]):
            self.store.drop(key)
        elif not tree.args.get("exists"):
            raise not_found("Table", f"{key[0]}:{key[1]}.{key[2]}")

    def _create(self, tree: exp.Create) -> None:
        if tree.kind == "SCHEMA":
            self.outcome.statement_type = "CREATE_SCHEMA"
            self.store.create_dataset(tree.this.catalog or self.project, tree.this.db, {})
            return
        self.outcome.target = key = self._key(_target(tree))
        self.store.check_dataset(*key[:2])
        existing = self.store.tables(*key[:2]).get(key[2], tree.kind)
        if existing != tree.kind:
            raise Refusal(400, "invalidQuery", f"{'.'.join(key)} is currently a {existing}, not a {tree.kind}.")
        if key[2] in self.store.tables(*key[:2]) and tree.args.get("exists"):
            return
        self.outcome.statement_type = f"CREATE_{tree.kind}"
        properties = _properties(tree)
        query = tree.expression
        if tree.kind == "VIEW":
            properties["view"] = query.sql("bigquery")
            tree.set("this", _target(tree))
        elif query is not None:
            self.outcome.statement_type += "_AS_SELECT"
        columns = isinstance(tree.this, exp.Schema) and query is not None
        if columns:
            tree.set("expression", None)
        self.store.duckdb.execute(self._translated(tree))
        if columns:  # DuckDB takes a list of columns or a query, not both
            insert = exp.insert(query.unnest(), _target(tree))
            self.store.duckdb.execute(self._translated(insert))
        self.store.properties[key] = properties
        self.store.changed(key)

    def _write(self, tree: exp.Expression) -> None:
        if isinstance(tree, exp.Merge):
            _qualify_inserted_values(tree)
        row = self.store.duckdb.execute(self._translated(tree)).fetchone()
        self.outcome.statement_type = "TRUNCATE_TABLE" if isinstance(tree, exp.TruncateTable) else tree.key.upper()
        self.outcome.affected = row[0] if row else 0
        self.outcome.target = self._key(_target(tree))
        self.store.changed(self.outcome.target)

    def _key(self, table: exp.Table) -> Key:
        default = self.default or (self.project, "")
        return table.catalog or (self.project if table.db else default[0]), table.db or default[1], table.name

    def _translated(self, tree: exp.Expression) -> str:
        """The statement in DuckDB's words."""
        ctes = {cte.alias for cte in tree.find_all(exp.CTE)}

        def fix(node: exp.Expression) -> exp.Expression:
            match node:
                case exp.DataType(this=exp.DataType.Type.DECIMAL | exp.DataType.Type.BIGDECIMAL) if (
                    not node.expressions
                ):
                    name = "NUMERIC" if node.this == exp.DataType.Type.DECIMAL else "BIGNUMERIC"
                    return exp.DataType.build(TO_DUCKDB[name], dialect="duckdb")
                case exp.Table() if node.name.upper() == "__TABLES__" or node.name.upper().startswith(
                    "INFORMATION_SCHEMA."
                ):
                    return self._information_schema(node)
                case exp.Table() if isinstance(node.this, exp.Identifier) and (
                    node.db or node.name.lower() not in ctes
                ):
                    catalog, dataset, _ = self._key(node)
                    if dataset:
                        node.set("db", exp.to_identifier(dataset, quoted=True))
                        node.set("catalog", exp.to_identifier(catalog, quoted=True))
                case exp.Column() if not node.table and node.name.lower() in self.variables:
                    return exp.func("getvariable", exp.Literal.string(node.name.lower()))
                case exp.Parameter():
                    return self.parameters[node.name.lower()].copy()
                case exp.Placeholder() if self.parameters:
                    return next(self.positions).copy()
            return node

        return tree.transform(fix).sql(Dialect)

    def _information_schema(self, table: exp.Table) -> exp.Table:
        """A temporary relation with the metadata as of now."""
        view = table.name.upper().removeprefix("INFORMATION_SCHEMA.")
        project, dataset, _ = self._key(table)
        if view not in _INFORMATION:
            raise Refusal(400, "invalidQuery", f"INFORMATION_SCHEMA.{view} is not supported by the façade")
        schema, make = _INFORMATION[view]
        rows = [dict(zip(schema.names, row, strict=True)) for row in make(self.store, project, dataset)]
        name = f"information_{next(self._information)}"
        self.store.duckdb.register(name, pa.Table.from_pylist(rows, schema))
        return exp.alias_(exp.to_table(name), table.alias or view.lower(), table=True)


def _parse(sql: str) -> list[Any]:
    try:
        return sqlglot.parse(sql, read=Source)
    except sqlglot.errors.SqlglotError as error:
        raise Refusal(400, "invalidQuery", f"Syntax error: {error}") from error


def _parameters(configuration: dict[str, Any]) -> tuple[dict[str, exp.Expression], Iterator[exp.Expression]]:
    given = configuration.get("queryParameters", [])
    values = [_literal(item.get("parameterValue", {}), item["parameterType"]) for item in given]
    return {item.get("name", str(n)).lower(): v for n, (item, v) in enumerate(zip(given, values, strict=True))}, iter(
        values
    )


def _literal(value: dict[str, Any], kind: dict[str, Any]) -> exp.Expression:
    if kind["type"] == "ARRAY":
        return exp.Array(expressions=[_literal(item, kind["arrayType"]) for item in value.get("arrayValues", [])])
    text = value.get("value")
    return exp.cast(exp.null() if text is None else exp.Literal.string(text), TO_DUCKDB[kind["type"]], dialect="duckdb")


def _is_free(tree: exp.Expression) -> bool:
    """To make a view costs nothing, nor does a SELECT that wants no row, as dbt asks for the columns it would have."""
    if isinstance(tree, exp.Create):
        return tree.kind == "VIEW"
    limit = tree.args.get("limit") if isinstance(tree, exp.Query) else None
    return limit is not None and limit.expression.name == "0"


def _target(tree: exp.Expression) -> exp.Table:
    """The table that a statement writes."""
    target = tree.this if isinstance(tree.this, exp.Expression) else tree
    return target if isinstance(target, exp.Table) else target.find(exp.Table)


def _qualify_inserted_values(tree: exp.Merge) -> None:
    """BigQuery looks up the values of a MERGE's INSERT in its source, DuckDB wants that said."""
    source = tree.args["using"].alias_or_name
    for when in tree.args["whens"].expressions:
        insert = when.args.get("then")
        if isinstance(insert, exp.Insert) and isinstance(insert.expression, exp.Tuple):
            for column in insert.expression.find_all(exp.Column):
                if not column.table:
                    column.set("table", exp.to_identifier(source))


def _properties(tree: exp.Create) -> dict[str, Any]:
    """Peel off what DuckDB lacks (PARTITION BY, CLUSTER BY, OPTIONS, keys) and keep it as REST shows it."""
    properties: dict[str, Any] = {}
    given = tree.args.get("properties")
    for item in given.expressions if given else []:
        if isinstance(item, exp.PartitionedByProperty):
            column = item.this if isinstance(item.this, exp.Identifier) else item.this.find(exp.Column)
            unit = item.this.args.get("unit")
            properties["timePartitioning"] = {"type": unit.name.upper() if unit else "DAY", "field": column.name}
        elif isinstance(item, exp.ClusterProperty):
            properties["clustering"] = {"fields": [column.name for column in item.expressions]}
        elif item.name == "description":
            properties["description"] = item.args["value"].name
        elif item.name == "labels":
            pairs = (pair.expressions for pair in item.args["value"].expressions)
            properties["labels"] = {key.name: value.name for key, value in pairs}
    tree.set("properties", None)
    if isinstance(tree.this, exp.Schema):
        columns = [column for column in tree.this.expressions if isinstance(column, exp.ColumnDef)]
        properties["schema"] = {"fields": [_column_properties(column) for column in columns]}
        tree.this.set("expressions", columns)
    return properties


def _column_properties(column: exp.ColumnDef) -> dict[str, Any]:
    described: dict[str, Any] = {"name": column.name}
    for constraint in column.constraints:
        if isinstance(constraint.kind, exp.NotNullColumnConstraint):
            described["mode"] = "REQUIRED"
        elif isinstance(constraint.kind, exp.Properties):
            described |= {p.name: p.args["value"].name for p in constraint.kind.expressions if p.name == "description"}
    column.set("constraints", [c for c in column.constraints if isinstance(c.kind, exp.NotNullColumnConstraint)])
    return described


# ---- INFORMATION_SCHEMA, as far as dbt asks for it


def _each_table(store: Store, project: str, dataset: str) -> Iterator[tuple[Key, str]]:
    for name, kind in store.tables(project, dataset).items():
        yield (project, dataset, name), kind


def _tables(store: Store, project: str, dataset: str) -> Iterator[tuple[Any, ...]]:
    for key, kind in _each_table(store, project, dataset):
        yield *key, "BASE TABLE" if kind == "TABLE" else kind


def _sizes(store: Store, project: str, dataset: str) -> Iterator[tuple[Any, ...]]:
    for key, kind in _each_table(store, project, dataset):
        is_table = kind == "TABLE"
        size = sum(store.bytes(key).values()) if is_table else None
        yield *key, 1 if is_table else 2, size, store.count(key) if is_table else None


def _options(store: Store, project: str, dataset: str) -> Iterator[tuple[Any, ...]]:
    for key, _ in _each_table(store, project, dataset):
        if description := store.properties.get(key, {}).get("description"):
            yield *key, "description", "STRING", '"' + description.replace('"', '\\"') + '"'


def _columns(store: Store, project: str, dataset: str) -> Iterator[tuple[Any, ...]]:
    for key, _ in _each_table(store, project, dataset):
        properties = store.properties.get(key, {})
        partition = properties.get("timePartitioning", {}).get("field")
        clusters = properties.get("clustering", {}).get("fields", [])
        for position, column in enumerate(store.schema(key), 1):
            name = column["name"]
            kind = STANDARD_NAMES.get(column["type"], column["type"])
            nullable = "NO" if column["mode"] == "REQUIRED" else "YES"
            is_partitioning = "YES" if name == partition else "NO"
            rank = clusters.index(name) + 1 if name in clusters else None
            yield *key, name, position, nullable, kind, name, column.get("description"), is_partitioning, rank


def _no_rows(store: Store, project: str, dataset: str) -> Iterator[tuple[Any, ...]]:
    return iter(())


def _view(*columns: str) -> pa.Schema:
    names = ["table_catalog", "table_schema", "table_name", *columns]
    numbers = ("ordinal_position", "clustering_ordinal_position")
    return pa.schema([(name, pa.int64() if name in numbers else pa.string()) for name in names])


_COLUMN_VIEW = _view(
    *("column_name", "ordinal_position", "is_nullable", "data_type", "field_path", "description"),
    *("is_partitioning_column", "clustering_ordinal_position"),
)
_SIZE_VIEW = pa.schema(
    [
        *((name, pa.string()) for name in ("project_id", "dataset_id", "table_id")),
        *((name, pa.int64()) for name in ("type", "size_bytes", "row_count")),
    ]
)
_INFORMATION: dict[str, tuple[pa.Schema, Callable[[Store, str, str], Iterator[tuple[Any, ...]]]]] = {
    "TABLES": (_view("table_type"), _tables),
    "COLUMNS": (_COLUMN_VIEW, _columns),
    "COLUMN_FIELD_PATHS": (_COLUMN_VIEW, _columns),
    "TABLE_OPTIONS": (_view("option_name", "option_type", "option_value"), _options),
    "MATERIALIZED_VIEWS": (_view(), _no_rows),
    "__TABLES__": (_SIZE_VIEW, _sizes),
}
