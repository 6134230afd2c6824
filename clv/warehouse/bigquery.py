"""The warehouse that grows: BigQuery datasets DATASET_raw, _staging, _intermediate and _marts, and DATASET_serving.

Answers come as Arrow through the Storage Read API. Tables come in by load jobs, which cost nothing and are atomic each;
several together go to tables of their own first, then one transaction moves all rows.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types as storage

from clv.errors import InputError
from clv.settings import Settings
from clv.sources.tables import literal
from clv.warehouse.google import Clients, clear_errors, make_clients
from clv.warehouse.protocol import SCHEMAS, SHOP_SCHEMAS, NextTables

LABELS = {"project": "clv"}
_TABLE_NAME = re.compile(rf"\b({'|'.join(SCHEMAS)})\.(\w+)")
_PARAMETER = re.compile(r"\$(\w+)")
_SQL_TYPES = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}
"""Types that REST calls otherwise than SQL does; GoogleSQL doesn't know FLOAT."""
_ADDRESS = re.compile(r"(?P<project>[A-Za-z0-9.:-]+)/(?P<dataset>\w+)", re.ASCII)


@dataclass(frozen=True)
class Estimate:
    """What a dry run says of a statement: bytes scanned, number of tables read, SQL types of the answer's columns."""

    scanned_bytes: int
    table_count: int
    columns: Mapping[str, str]


class BigQueryWarehouse:
    """Datasets of one project.

    Parameters
    ----------
    name
        ``PROJECT/DATASET``.
    settings
        Emulator, if any, and the most bytes that a query may bill.
    patience_seconds
        How long a request is repeated that BigQuery doesn't answer.

    Raises
    ------
    InputError
        If the name is not of that form.
    """

    def __init__(self, name: str, settings: Settings, patience_seconds: float = 60) -> None:
        found = _ADDRESS.fullmatch(name)
        if found is None:
            raise InputError(f"Warehouse bigquery://{name} is not an address; expected bigquery://PROJECT/DATASET.")
        self.project, self.dataset = found["project"], found["dataset"]
        self.settings = settings
        self._retry = bigquery.DEFAULT_RETRY.with_timeout(patience_seconds)

    @property
    def address(self) -> str:
        """As settings name it."""
        return f"bigquery://{self.project}/{self.dataset}"

    @cached_property
    def clients(self) -> Clients:
        """The clients, made when they are first needed."""
        return make_clients(self.project, self.settings)

    def table_id(self, schema: str, table: str) -> str:
        """Full name of a table."""
        return f"{self.project}.{self.dataset}_{schema}.{table}"

    def translate(self, sql: str) -> str:
        """The same SQL with full table names."""
        return _TABLE_NAME.sub(lambda found: f"`{self.table_id(found[1], found[2])}`", sql)

    # ---- reading

    def query(self, sql: str, parameters: Mapping[str, str] | None = None) -> pa.Table:
        """Answer of one SELECT as an Arrow table; ``$name`` stands for a parameter."""
        given = [bigquery.ScalarQueryParameter(name, "STRING", value) for name, value in (parameters or {}).items()]
        if given:
            sql = _PARAMETER.sub(r"@\1", sql)
        with clear_errors(self.address):
            return self._run(sql, given).to_arrow(bqstorage_client=self.clients.storage)

    def batches(self, sql: str, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
        """Answer of one SELECT as a stream of Arrow batches of about `rows` rows."""
        with clear_errors(self.address):
            yield from _of_size(self._run(sql).to_arrow_iterable(bqstorage_client=self.clients.storage), rows)

    def frame(self, sql: str) -> pd.DataFrame:
        """Answer of one SELECT as a frame, for a person to look at."""
        import pandas_gbq  # type: ignore[import-untyped]

        with clear_errors(self.address):
            answer: pd.DataFrame = pandas_gbq.read_gbq(
                self.translate(sql),
                project_id=self.project,
                bigquery_client=self.clients.rest,
                dialect="standard",
                configuration={"query": {"maximumBytesBilled": str(self.settings.maximum_bytes_billed)}},
                use_bqstorage_api=not self.clients.is_emulated,  # it makes that client by itself
                progress_bar_type=None,
            )
        return answer

    def estimate(self, sql: str) -> Estimate:
        """What one statement would scan and answer; nothing is run, nothing is billed."""
        with clear_errors(self.address):
            job = self.clients.rest.query(
                self.translate(sql),
                job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False),
                retry=self._retry,
                job_retry=None,
            )
        columns = {field.name: _SQL_TYPES.get(field.field_type, field.field_type) for field in job.schema or ()}
        return Estimate(int(job.total_bytes_processed or 0), len(job.referenced_tables), columns)

    def columns(self, schema: str, table: str) -> tuple[str, ...]:
        """Columns of the table or view, none if it isn't there; nothing is scanned or billed.

        Raises
        ------
        InputError
            If not even its dataset is there.
        """
        with clear_errors(self.address):
            try:
                found = self.clients.rest.get_table(self.table_id(schema, table), retry=self._retry)
            except NotFound as error:
                if "Not found: Dataset" in str(error):
                    raise
                return ()
        return tuple(column.name for column in found.schema)

    def has_table(self, schema: str, table: str) -> bool:
        """Whether the table or view is there."""
        return bool(self.columns(schema, table))

    def changed_at(self, schema: str, table: str) -> datetime | None:
        """When the table was last written, to the millisecond; None if it is not there. Asking costs nothing."""
        # Not the etag: it is a hash of all there is to say of a table, some of which changes while the rows stay.
        with clear_errors(self.address):
            try:
                found: datetime = self.clients.rest.get_table(self.table_id(schema, table), retry=self._retry).modified
            except NotFound:
                return None
        return found

    def scan(
        self, schema: str, table: str, columns: Sequence[str] = (), where: str = "", rows: int = 100_000
    ) -> Iterator[pa.RecordBatch]:
        """Columns of one table, by default all, as Arrow batches by the Storage Read API alone: no query is run.

        There is at least one batch, so that the columns are known of a table without rows, too.

        Parameters
        ----------
        where
            A condition on columns of the table; one on the column it is partitioned by spares the other partitions.
        """
        wanted = storage.ReadSession(
            table=f"projects/{self.project}/datasets/{self.dataset}_{schema}/tables/{table}",
            data_format=storage.DataFormat.ARROW,
            read_options=storage.ReadSession.TableReadOptions(selected_fields=columns, row_restriction=where),
        )
        with clear_errors(self.address):
            client: Any = self.clients.storage  # untyped
            session = client.create_read_session(
                parent=f"projects/{self.project}", read_session=wanted, max_stream_count=1
            )
            header = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
            batches = (
                pa.ipc.read_record_batch(pa.py_buffer(message.arrow_record_batch.serialized_record_batch), header)
                for stream in session.streams
                for message in client.read_rows(stream.name)
            )
            yield from _of_size(chain([pa.RecordBatch.from_pylist([], schema=header)], batches), rows)

    def _run(
        self,
        sql: str,
        parameters: Sequence[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter] = (),
    ) -> bigquery.table.RowIterator:
        configuration = bigquery.QueryJobConfig(
            query_parameters=list(parameters),
            maximum_bytes_billed=self.settings.maximum_bytes_billed,
            labels=LABELS,
        )
        # Requests are repeated, jobs are not: that would go on for ten minutes, whatever the patience.
        job = self.clients.rest.query(self.translate(sql), job_config=configuration, retry=self._retry, job_retry=None)
        return job.result(retry=self._retry, job_retry=None)

    # ---- writing

    def write_table(self, schema: str, table: str, batches: Iterable[pa.RecordBatch], columns: pa.Schema) -> None:
        """Create the table from Arrow batches by one load job, in the place of the former one."""
        with clear_errors(self.address):
            self._load(self.table_id(schema, table), batches, columns)

    def append(self, schema: str, table: str, rows: pa.Table, *, partition_by: str, cluster_by: str) -> None:
        """Add rows by one load job; a table that is not there is made.

        A load job costs nothing, all its rows come or none, and they can be deleted at once (streamed ones can't for a
        while). A table takes 1,500 of them a day.

        Parameters
        ----------
        partition_by, cluster_by
            The column by whose days the table is partitioned, and the one by which rows lie together.
        """
        taker = bigquery.Table(self.table_id(schema, table), _fields(rows.schema))
        taker.time_partitioning = bigquery.TimePartitioning(field=partition_by)
        taker.clustering_fields = [cluster_by]
        taker.labels = LABELS
        with clear_errors(self.address):
            self.clients.rest.create_table(taker, exists_ok=True, retry=self._retry)
            self._load(self.table_id(schema, table), rows.to_batches(), rows.schema, is_added=True)

    def _load(
        self, table_id: str, batches: Iterable[pa.RecordBatch], columns: pa.Schema, *, is_added: bool = False
    ) -> None:
        how = bigquery.WriteDisposition
        configuration = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=_fields(columns),
            write_disposition=how.WRITE_APPEND if is_added else how.WRITE_TRUNCATE,
            labels=LABELS,
        )
        with tempfile.TemporaryFile() as file:
            with pq.ParquetWriter(file, columns) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            self.clients.rest.load_table_from_file(file, table_id, rewind=True, job_config=configuration).result(
                retry=self._retry
            )

    def _load_file(self, table_id: str, path: Path, columns: pa.Schema, row_count: int) -> bool:
        """Let BigQuery read a CSV file as it lies; answers whether it finds so many rows."""
        configuration = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.CSV,
            skip_leading_rows=1,
            schema=_fields(columns),
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            labels=LABELS,
        )
        with path.open("rb") as file:
            job = self.clients.rest.load_table_from_file(file, table_id, job_config=configuration)
        try:
            job.result(retry=self._retry)
        except BadRequest:
            return False
        return bool(job.output_rows == row_count)

    @contextmanager
    def loading(self, *, former: Mapping[str, str] | None, workspace: Path) -> Iterator[NextTables]:
        """Yield a local file for the next ``raw`` tables, and put them in the place of today's all together.

        A plain file is uploaded as it lies, of other tables the checked rows are; of tables to which something is added
        only the rows that are new, with those that they replace. What fails before the transaction changes nothing.
        What was derived from the former tables is dropped after it.
        """
        path = workspace / "next.duckdb"  # DuckDB calls the catalog so: no schema may have that name
        before = workspace / "before.duckdb"
        if former is not None:
            self._fetch_raw(before)
            shutil.copyfile(before, path)
        next_tables = NextTables(path)
        yield next_tables
        plain = next_tables.plain if former is None else {}
        with self._local(path) as connection, clear_errors(self.address):
            names = _raw_tables(connection, "next")
            if former is None:
                changes = [Change(name, f"select * from raw.{name}", replaces=None) for name in names]
            else:
                connection.execute(f"attach {literal(str(before))} as before (read_only)")
                changes = [
                    change
                    for name in names
                    if (change := _changed(connection, name, former.get(name), _raw_tables(connection, "before")))
                ]
            suffix = f"__{uuid.uuid4().hex[:8]}"
            try:
                for change in changes:
                    columns = connection.sql(f"select * from ({change.rows}) limit 0").to_arrow_table().schema
                    self._make_tables(change.table, suffix, columns)
                    taker = self.table_id("raw", change.table + suffix)
                    if file := plain.get(change.table):
                        [(row_count,)] = connection.execute(f"select count(*) from ({change.rows})").fetchall()
                        if self._load_file(taker, file, columns, row_count):
                            continue
                        next_tables.notes.append(
                            f"{file.name}: BigQuery did not find the {row_count:,} rows that were checked, so those "
                            "were uploaded."
                        )
                    self._load(taker, connection.sql(change.rows).to_arrow_reader(), columns)
                self._run(_transaction([statement for change in changes for statement in change.statements(suffix)]))
            finally:
                for change in changes:
                    taker = self.table_id("raw", change.table + suffix)
                    self.clients.rest.delete_table(taker, not_found_ok=True, retry=self._retry)
            if former is None:
                self._drop_all_but(names)

    def _local(self, path: Path) -> duckdb.DuckDBPyConnection:
        """Open a DuckDB file of ours; it spills beside itself."""
        limits = {"threads": str(self.settings.threads), "memory_limit": self.settings.memory_limit}
        return duckdb.connect(str(path), config={**limits, "temp_directory": f"{path}.spill"})

    def _fetch_raw(self, path: Path) -> None:
        """Today's raw tables as a local DuckDB file, by the Storage Read API alone: no query is billed."""
        with self._local(path) as connection, clear_errors(self.address):
            connection.execute("create schema raw")
            for item in self.clients.rest.list_tables(f"{self.project}.{self.dataset}_raw", retry=self._retry):
                if "__" not in item.table_id:
                    rows = self.clients.rest.list_rows(item.reference, retry=self._retry)
                    connection.register("rows", rows.to_arrow(bqstorage_client=self.clients.storage))
                    connection.execute(f"create table raw.{item.table_id} as select * from rows")
                    connection.unregister("rows")

    def _make_tables(self, name: str, suffix: str, columns: pa.Schema) -> None:
        """The table if there is none yet, and the one that takes the load, which vanishes if we are killed."""
        table = bigquery.Table(self.table_id("raw", name), _fields(columns))
        table.labels = LABELS
        found = self.clients.rest.create_table(table, exists_ok=True, retry=self._retry)
        if [field.name for field in found.schema] != columns.names:
            raise InputError(
                f"BigQuery table {found.full_table_id} has columns {', '.join(f.name for f in found.schema)}; expected "
                f"{', '.join(columns.names)}, so delete it and load again."
            )
        taker = bigquery.Table(self.table_id("raw", name + suffix), _fields(columns))
        taker.expires = datetime.now(UTC) + timedelta(days=1)
        self.clients.rest.create_table(taker, exists_ok=True, retry=self._retry)  # its answer may have been lost

    def _drop_all_but(self, raw: Sequence[str]) -> None:
        """Drop the raw tables of another source and everything derived; what services have logged stays."""
        for schema in SHOP_SCHEMAS:
            for item in self.clients.rest.list_tables(f"{self.project}.{self.dataset}_{schema}", retry=self._retry):
                if schema != "raw" or (item.table_id not in raw and "__" not in item.table_id):
                    self.clients.rest.delete_table(item.reference, not_found_ok=True, retry=self._retry)

    def erase(
        self, marks: Mapping[str, Sequence[str]], updates: Sequence[str] = (), schemas: Sequence[str] = SCHEMAS
    ) -> dict[str, int]:
        """Delete the marked rows of all tables in one transaction.

        BigQuery keeps deleted rows for time travel (7 days by default) and 7 more days for itself.
        """
        given = [bigquery.ArrayQueryParameter(column, "STRING", list(ids)) for column, ids in marks.items()]
        with clear_errors(self.address):
            conditions = dict(self._conditions(marks, schemas))
            if not conditions:
                return {}
            tables = list(conditions)
            counted = self._run(
                " union all ".join(
                    f"select {number} as number, count(*) as row_count from {table} where {conditions[table]}"
                    for number, table in enumerate(tables)
                ),
                given,
            )
            counts = {tables[row["number"]]: int(row["row_count"]) for row in counted if row["row_count"]}
            if not counts:
                return {}
            deletes = [f"delete from {table} where {conditions[table]}" for table in counts]
            self._run(_transaction([*deletes, *updates]), given)
        return counts

    def _conditions(self, marks: Mapping[str, Sequence[str]], schemas: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Each table (not view) with some of these columns, and the WHERE that finds the marked rows."""
        for schema in schemas:
            for item in self.clients.rest.list_tables(f"{self.project}.{self.dataset}_{schema}", retry=self._retry):
                if item.table_type == "TABLE":
                    names = {
                        field.name for field in self.clients.rest.get_table(item.reference, retry=self._retry).schema
                    }
                    if found := sorted(names & set(marks)):
                        yield f"{schema}.{item.table_id}", " or ".join(f"{name} in unnest(@{name})" for name in found)


def setup_bigquery(settings: Settings) -> tuple[str, ...]:
    """Create the datasets of ``bigquery://PROJECT/DATASET`` where they are missing; labelled, and nothing expires.

    Returns
    -------
    tuple of str
        The datasets.

    Raises
    ------
    InputError
        If the warehouse is no BigQuery address, or a dataset is there in another location.
    UnavailableError
        If credentials or permission are missing, or BigQuery can't be reached.
    """
    kind, _, name = settings.warehouse.partition("://")
    if kind != "bigquery":
        raise InputError(f"Warehouse {settings.warehouse} is not BigQuery; expected bigquery://PROJECT/DATASET.")
    warehouse = BigQueryWarehouse(name, settings)
    ids = tuple(f"{warehouse.project}.{warehouse.dataset}_{schema}" for schema in SCHEMAS)
    with clear_errors(warehouse.address):
        for dataset_id in ids:
            _set_up(warehouse.clients.rest, dataset_id, settings.bigquery_location)
    return ids


def _set_up(client: bigquery.Client, dataset_id: str, location: str) -> None:
    wanted = bigquery.Dataset(dataset_id)
    wanted.location = location
    wanted.labels = LABELS
    found = client.create_dataset(wanted, exists_ok=True)
    if (found.location or location).lower() != location.lower():
        raise InputError(
            f"BigQuery dataset {dataset_id} is in {found.location}, not in {location}; give --location "
            f"{found.location} or another name."
        )
    # Not only tables expire: of a partitioned one, as the snapshots are, single days would, too.
    expires = found.default_table_expiration_ms or found.default_partition_expiration_ms
    if expires or dict(found.labels) != dict(found.labels) | LABELS:
        found.default_table_expiration_ms = found.default_partition_expiration_ms = None
        found.labels = {**found.labels, **LABELS}
        client.update_dataset(found, ["default_table_expiration_ms", "default_partition_expiration_ms", "labels"])


def _transaction(statements: Sequence[str]) -> str:
    return ";\n".join(["begin transaction", *statements, "commit transaction"])


@dataclass(frozen=True)
class Change:
    """What is uploaded of a raw table, and whose place it takes.

    Attributes
    ----------
    rows
        The SELECT that answers the rows to upload.
    replaces
        The uploaded rows replace those with the same value in this column; None: they replace all; empty: none.
    """

    table: str
    rows: str
    replaces: str | None

    def statements(self, suffix: str) -> list[str]:
        """SQL that moves the rows from where they were uploaded to."""
        table, taker = f"raw.{self.table}", f"raw.{self.table}{suffix}"
        insert = f"insert into {table} select * from {taker}"
        if self.replaces is None:
            return [f"truncate table {table}", insert]
        if self.replaces:
            return [f"delete from {table} where {self.replaces} in (select {self.replaces} from {taker})", insert]
        return [insert]


def _raw_tables(connection: duckdb.DuckDBPyConnection, database: str) -> list[str]:
    found = connection.execute(
        "select table_name from duckdb_tables() where database_name = ? and schema_name = 'raw' order by 1", [database]
    )
    return [name for (name,) in found.fetchall()]


def _changed(connection: duckdb.DuckDBPyConnection, name: str, key: str | None, known: Sequence[str]) -> Change | None:
    """The difference between table `name` of the next file and of the attached one from before."""
    now, before = f"raw.{name}", f"before.raw.{name}"
    if name not in known:
        return Change(name, f"select * from {now}", replaces=None)
    added, gone = f"from {now} except all from {before}", f"from {before} except all from {now}"
    has_added = bool(connection.sql(f"{added} limit 1").fetchall())
    if not connection.sql(f"{gone} limit 1").fetchall():
        return Change(name, added, replaces="") if has_added else None
    lost = f"select 1 from ({gone}) as gone anti join {now} as now on gone.{key} = now.{key} limit 1"
    if key is None or connection.sql(lost).fetchall():
        return Change(name, f"select * from {now}", replaces=None)
    changed = f"select {key} from ({added}) union select {key} from ({gone})"
    return Change(
        name,
        f"select * from {now} where {key} in ({changed}) union all select * from ({added}) where {key} is null",
        replaces=key,
    )


def _fields(columns: pa.Schema) -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField(column.name, _type(column)) for column in columns]


def _type(column: pa.Field) -> str:
    """BigQuery's type of an Arrow column.

    Raises
    ------
    TypeError
        If it is of a kind that none of our tables has.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    for is_kind, name in (
        (pa.types.is_boolean, "BOOL"),
        (pa.types.is_integer, "INT64"),
        (pa.types.is_floating, "FLOAT64"),
        (pa.types.is_decimal, "NUMERIC"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_string, "STRING"),
        (pa.types.is_large_string, "STRING"),
    ):
        if is_kind(kind):
            return name
    if pa.types.is_timestamp(kind):
        return "DATETIME" if kind.tz is None else "TIMESTAMP"
    raise TypeError(f"Column {column.name} has Arrow type {kind}, which has no counterpart in BigQuery here.")


def _of_size(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Join small batches until there are `rows` rows."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(item.num_rows for item in waiting) >= rows:
            yield pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)
