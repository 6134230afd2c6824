"""The Storage Read API over gRPC: Arrow, one stream."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pyarrow as pa
import sqlglot
from google.cloud.bigquery_storage_v1 import types

from facade.store import Store

ROWS_PER_MESSAGE = 8192


def serve(store: Store, port: int) -> tuple[grpc.Server, int]:
    """Start the server; the answer tells its port."""
    sessions: dict[str, pa.Table] = {}

    def create(request: types.CreateReadSessionRequest, context: Any) -> types.ReadSession:
        wanted = request.read_session
        _, project, _, dataset, _, table = wanted.table.split("/")
        options = wanted.read_options
        where = (
            f" where {sqlglot.transpile(options.row_restriction, 'bigquery', 'duckdb')[0]}"
            if options.row_restriction
            else ""
        )
        with store.lock:
            select = store.select((project, dataset, table), list(options.selected_fields), where)
            rows = store.duckdb.sql(select).to_arrow_table()
        name = f"projects/{project}/locations/us/sessions/{uuid.uuid4().hex}"
        sessions[f"{name}/streams/0"] = rows
        return types.ReadSession(
            name=name,
            table=wanted.table,
            data_format=types.DataFormat.ARROW,
            arrow_schema=_schema(rows),
            streams=[types.ReadStream(name=f"{name}/streams/0")] if len(rows) else [],
        )

    def read(request: types.ReadRowsRequest, context: Any) -> Iterator[types.ReadRowsResponse]:
        rows = sessions[request.read_stream]
        for batch in rows.slice(request.offset).to_batches(max_chunksize=ROWS_PER_MESSAGE):
            message = types.ArrowRecordBatch(
                serialized_record_batch=batch.serialize().to_pybytes(), row_count=len(batch)
            )
            yield types.ReadRowsResponse(arrow_schema=_schema(rows), arrow_record_batch=message, row_count=len(batch))

    handlers = {
        "CreateReadSession": grpc.unary_unary_rpc_method_handler(
            create, types.CreateReadSessionRequest.deserialize, types.ReadSession.serialize
        ),
        "ReadRows": grpc.unary_stream_rpc_method_handler(
            read, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
        ),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    service = "google.cloud.bigquery.storage.v1.BigQueryRead"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def _schema(rows: pa.Table) -> types.ArrowSchema:
    return types.ArrowSchema(serialized_schema=rows.schema.serialize().to_pybytes())
