"""BigQuery's REST v2, as far as the clients ask."""

from __future__ import annotations

import email
import email.policy
import json
import uuid
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from facade import jobs
from facade.store import (
    DATASET_PROPERTIES,
    TABLE_PROPERTIES,
    Key,
    Refusal,
    Store,
    cell,
    duckdb_type,
    quoted,
    reference,
)

BASE = "/bigquery/v2/projects/{project}"
DATASET = BASE + "/datasets/{dataset}"
TABLE = DATASET + "/tables/{table}"
PAGE = 100_000


async def _body(request: Request) -> dict[str, Any]:
    content = await request.body()
    return json.loads(content) if content else {}


Body = Annotated[dict[str, Any], Depends(_body)]


class Lost(Response):
    """An answer whose connection breaks off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin, and leave."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]})


def create_app(store: Store) -> FastAPI:
    """The service over `store`."""
    app = FastAPI()
    lost: set[tuple[str, str, bytes]] = set()
    app.exception_handler(Refusal)(lambda request, refusal: JSONResponse(refusal.body(), refusal.code))

    @app.middleware("http")
    async def misbehave(request: Request, call_next: Any) -> Any:
        project = request.url.path.partition("/projects/")[2].partition("/")[0]
        refusals = {
            "forbidden-project": Refusal(
                403, "accessDenied", "Access Denied: Project forbidden-project: no permission"
            ),
            "exhausted-project": Refusal(403, "quotaExceeded", "Quota exceeded: Your project exceeded quota"),
        }
        if refusal := refusals.get(project):
            return JSONResponse(refusal.body(), refusal.code)
        asked = (request.method, str(request.url), await request.body())
        answer = await call_next(request)
        if project.startswith("forgetful-") and request.method != "GET" and asked not in lost:
            lost.add(asked)
            return Lost() if len(lost) % 2 else JSONResponse(Refusal(503, "backendError", "Try again").body(), 503)
        return answer

    _add_datasets(app, store)
    _add_tables(app, store)
    _add_jobs(app, store)
    _add_uploads(app, store)
    return app


def _add_datasets(app: FastAPI, store: Store) -> None:
    def show(project: str, dataset: str) -> dict[str, Any]:
        store.check_dataset(project, dataset)
        return {
            "kind": "bigquery#dataset",
            "id": f"{project}:{dataset}",
            "datasetReference": {"projectId": project, "datasetId": dataset},
            "location": "US",
            "etag": "x",
            "access": [],
            **store.datasets[project, dataset],
        }

    @app.get(BASE + "/datasets")
    def list_datasets(project: str) -> dict[str, Any]:
        return {"kind": "bigquery#datasetList", "datasets": [show(*key) for key in store.datasets if key[0] == project]}

    @app.post(BASE + "/datasets")
    def create_dataset(project: str, body: Body) -> dict[str, Any]:
        dataset = body["datasetReference"]["datasetId"]
        if (project, dataset) in store.datasets:
            raise Refusal(409, "duplicate", f"Already Exists: Dataset {project}:{dataset}")
        with store.lock:
            store.create_dataset(project, dataset, body)
        return show(project, dataset)

    @app.get(DATASET)
    def get_dataset(project: str, dataset: str) -> dict[str, Any]:
        return show(project, dataset)

    @app.patch(DATASET)
    @app.put(DATASET)
    def update_dataset(project: str, dataset: str, body: Body) -> dict[str, Any]:
        store.check_dataset(project, dataset)
        store.datasets[project, dataset] |= {k: v for k, v in body.items() if k in DATASET_PROPERTIES}
        return show(project, dataset)

    @app.delete(DATASET)
    def delete_dataset(project: str, dataset: str) -> Response:
        store.check_dataset(project, dataset)
        with store.lock:
            store.drop_dataset(project, dataset)
        return Response(status_code=204)


def _add_tables(app: FastAPI, store: Store) -> None:
    def show(key: Key, full: bool = True) -> dict[str, Any]:
        kind = store.kind(key)
        properties = store.properties.get(key, {})
        body = {
            "kind": "bigquery#table",
            "id": f"{key[0]}:{key[1]}.{key[2]}",
            "tableReference": reference(key),
            "type": kind,
            "location": "US",
            "etag": "x",
            "creationTime": "0",
            "lastModifiedTime": str(store.modified.get(key, 0)),
            **{name: properties[name] for name in TABLE_PROPERTIES if name in properties},
        }
        if kind == "VIEW":
            body["view"] = {"query": properties["view"], "useLegacySql": False}
        if full:
            body["schema"] = {"fields": store.schema(key)}
        if full and kind == "TABLE":
            body |= {"numRows": str(store.count(key)), "numBytes": str(sum(store.bytes(key).values()))}
        return body

    @app.get(DATASET + "/tables")
    def list_tables(project: str, dataset: str) -> dict[str, Any]:
        with store.lock:
            store.check_dataset(project, dataset)
            tables = [show((project, dataset, name), full=False) for name in store.tables(project, dataset)]
        return {"kind": "bigquery#tableList", "tables": tables, "totalItems": len(tables)}

    @app.get(DATASET + "/routines")
    def list_routines(project: str, dataset: str) -> dict[str, Any]:
        store.check_dataset(project, dataset)  # dbt lists them to learn what is there
        return {"kind": "bigquery#routineList", "routines": []}

    @app.post(DATASET + "/tables")
    def create_table(project: str, dataset: str, body: Body) -> dict[str, Any]:
        key = (project, dataset, body["tableReference"]["tableId"])
        with store.lock:
            store.check_dataset(project, dataset)
            if key[2] in store.tables(project, dataset):
                raise Refusal(409, "duplicate", f"Already Exists: Table {project}:{dataset}.{key[2]}")
            columns = ", ".join(f"{quoted(f['name'])} {duckdb_type(f)}" for f in body["schema"]["fields"])
            store.duckdb.execute(f"create table {quoted(*key)} ({columns})")
            store.properties[key] = {name: body[name] for name in (*TABLE_PROPERTIES, "schema") if name in body}
            store.changed(key)
            return show(key)

    @app.get(TABLE)
    def get_table(project: str, dataset: str, table: str) -> dict[str, Any]:
        with store.lock:
            store.check_dataset(project, dataset)
            return show((project, dataset, table.split("$")[0]))

    @app.patch(TABLE)
    @app.put(TABLE)
    def update_table(project: str, dataset: str, table: str, body: Body) -> dict[str, Any]:
        key = (project, dataset, table)
        with store.lock:
            store.kind(key)
            changed = {k: v for k, v in body.items() if k in (*TABLE_PROPERTIES, "schema")}
            store.properties[key] = store.properties.get(key, {}) | changed
            return show(key)

    @app.delete(TABLE)
    def delete_table(project: str, dataset: str, table: str) -> Response:
        with store.lock:
            store.drop((project, dataset, table))
        return Response(status_code=204)

    @app.get(TABLE + "/data")
    def read_table(project: str, dataset: str, table: str, request: Request) -> dict[str, Any]:
        wanted = request.query_params.get("selectedFields")
        with store.lock:
            key = (project, dataset, table)
            store.kind(key)
            return {
                "kind": "bigquery#tableDataList",
                **_page(store, key, request, wanted.split(",") if wanted else None),
            }


def _add_jobs(app: FastAPI, store: Store) -> None:
    @app.post(BASE + "/jobs")
    def insert_job(project: str, body: Body) -> dict[str, Any]:
        configuration = body["configuration"]
        given = body.get("jobReference", {})
        job_id = given.get("jobId") or str(uuid.uuid4())
        location = given.get("location") or "US"
        if "query" in configuration:
            run = partial(jobs.query, store, project, configuration, job_id, location)
        elif "copy" in configuration:
            run = partial(jobs.copy, store, project, configuration, job_id)
        else:
            raise Refusal(501, "notImplemented", "The façade runs query, load and copy jobs")
        return jobs.shown(jobs.started(store, project, job_id, location, configuration, run))

    @app.get(BASE + "/jobs")
    def list_jobs(project: str) -> dict[str, Any]:
        of_project = [job for job in list(store.jobs.values()) if job["jobReference"]["projectId"] == project]
        ran = [jobs.shown(job) for job in of_project if not job["configuration"].get("dryRun")]
        return {"kind": "bigquery#jobList", "jobs": ran}

    @app.get(BASE + "/jobs/{job_id}")
    def get_job(project: str, job_id: str) -> dict[str, Any]:
        return _shown(store, project, job_id)

    @app.post(BASE + "/jobs/{job_id}/cancel")
    def cancel_job(project: str, job_id: str) -> dict[str, Any]:
        return {"job": _shown(store, project, job_id)}

    @app.get(BASE + "/queries/{job_id}")
    def get_results(project: str, job_id: str, request: Request) -> dict[str, Any]:
        asked = float(request.query_params.get("timeoutMs", 1000 * jobs.PATIENCE)) / 1000
        job = jobs.waited(store, project, job_id, min(asked, jobs.PATIENCE))
        if job is None:
            reference = {"projectId": project, "jobId": job_id}
            return {"kind": "bigquery#getQueryResultsResponse", "jobReference": reference, "jobComplete": False}
        return _results(store, job, request)

    @app.post(BASE + "/queries")
    def query(project: str, body: Body, request: Request) -> dict[str, Any]:
        names = ("query", "queryParameters", "parameterMode", "defaultDataset", "maximumBytesBilled")
        details = {name: body[name] for name in names if name in body}
        configuration = {"query": details, "labels": body.get("labels", {}), "dryRun": body.get("dryRun", False)}
        job = jobs.query(store, project, configuration, str(uuid.uuid4()), body.get("location") or "US")
        return {**_results(store, job, request, body), "kind": "bigquery#queryResponse"}


def _shown(store: Store, project: str, job_id: str) -> dict[str, Any]:
    job = jobs.waited(store, project, job_id, 0)
    if job is not None:
        return jobs.shown(job)
    return {"jobReference": {"projectId": project, "jobId": job_id}, "status": {"state": "RUNNING"}}


def _results(store: Store, job: dict[str, Any], request: Request, body: dict[str, Any] | None = None) -> dict[str, Any]:
    outcome, key = jobs.result_of(job)
    answer = {
        "kind": "bigquery#getQueryResultsResponse",
        "jobReference": job["jobReference"],
        "jobComplete": True,
        "cacheHit": False,
        "totalBytesProcessed": str(outcome.processed),
    }
    if outcome.affected is not None:
        answer["numDmlAffectedRows"] = str(outcome.affected)
    if key is not None:  # a DDL job's answer must not have totalRows
        with store.lock:
            answer |= {"schema": {"fields": outcome.schema}, **_page(store, key, request, None, body)}
    return answer


def _page(
    store: Store, key: Key, request: Request, wanted: list[str] | None, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Some rows of a table, and where the next ones are."""
    asked = {**request.query_params, **(body or {})}
    start = int(asked.get("pageToken") or asked.get("startIndex") or 0)
    size = int(asked["maxResults"]) if asked.get("maxResults") is not None else PAGE
    formats = (body or {}).get("formatOptions", {})
    precise = (
        str(formats.get("useInt64Timestamp") or asked.get("formatOptions.useInt64Timestamp", "")).lower() == "true"
    )
    columns = [column for column in store.schema(key) if not wanted or column["name"] in wanted]
    total = store.count(key)
    rows = store.duckdb.execute(f"{store.select(key, wanted)} limit {size} offset {start}").fetchall()
    page: dict[str, Any] = {
        "totalRows": str(total),
        "rows": [{"f": [cell(value, c, precise) for value, c in zip(row, columns, strict=True)]} for row in rows],
    }
    if start + size < total:
        page["pageToken"] = str(start + size)
    return page


def _add_uploads(app: FastAPI, store: Store) -> None:
    def load(project: str, body: dict[str, Any], data: bytes) -> dict[str, Any]:
        job_id = body["jobReference"]["jobId"]
        if job_id in store.jobs:
            raise Refusal(409, "duplicate", f"Already Exists: Job {project}:{job_id}")
        return jobs.shown(jobs.load(store, project, body["configuration"], job_id, data))

    @app.post("/upload" + BASE + "/jobs")
    async def start_upload(project: str, request: Request) -> Any:
        raw = await request.body()
        if request.query_params["uploadType"] == "resumable":
            upload_id = str(uuid.uuid4())
            store.uploads[upload_id] = (json.loads(raw), bytearray())
            address = request.url.include_query_params(upload_id=upload_id)
            return Response(status_code=200, headers={"Location": str(address)})
        header = b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
        parts = email.message_from_bytes(header + raw, policy=email.policy.HTTP).iter_parts()
        description, data = (part.get_payload(decode=True) for part in parts)
        return load(project, json.loads(description), data)

    @app.put("/upload" + BASE + "/jobs")
    async def go_on_uploading(project: str, request: Request, upload_id: str) -> Any:
        body, received = store.uploads[upload_id]
        done = store.jobs.get(body["jobReference"]["jobId"])
        if done:  # asked for again: the first answer was lost
            return jobs.shown(done)
        span, _, total = request.headers["content-range"].removeprefix("bytes ").partition("/")
        received[int(span.partition("-")[0]) :] = await request.body()
        if total == "*" or len(received) < int(total):
            return Response(status_code=308, headers={"Range": f"bytes=0-{len(received) - 1}"})
        store.uploads[upload_id] = (body, bytearray())
        return load(project, body, bytes(received))
