"""Query, load and copy jobs; all are done when they are answered."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from facade.googlesql import Outcome, Script
from facade.store import (
    RESULTS,
    TABLE_PROPERTIES,
    Key,
    Refusal,
    Store,
    duckdb_type,
    key_of,
    not_found,
    quoted,
    reference,
)

_FITS: dict[str, Callable[[pa.DataType], bool]] = {
    "STRING": lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_dictionary(t),
    "INTEGER": pa.types.is_integer,
    "FLOAT": pa.types.is_floating,
    "BOOLEAN": pa.types.is_boolean,
    "NUMERIC": pa.types.is_decimal,
    "DATE": pa.types.is_date,
    "DATETIME": lambda t: pa.types.is_timestamp(t) and t.tz is None,
    "TIMESTAMP": lambda t: pa.types.is_timestamp(t) and t.tz is not None,
}
_FITS |= {"INT64": _FITS["INTEGER"], "FLOAT64": _FITS["FLOAT"], "BOOL": _FITS["BOOLEAN"]}
"""Which types of a Parquet file a column of an explicit schema takes; BigQuery doesn't convert any others."""


PATIENCE = 10.0
"""Seconds after which a request is answered though its job still runs; a client that had to wait would ask again."""


def started(
    store: Store, project: str, job_id: str, location: str, configuration: dict[str, Any], run: Callable[[], Any]
) -> dict[str, Any]:
    """Start a job; the answer is the job, done or still running. An id is taken once, so no job runs twice."""
    if job_id in store.running:
        raise Refusal(409, "duplicate", f"Already Exists: Job {project}:{location}.{job_id}")
    store.running[job_id] = store.pool.submit(run)
    return waited(store, project, job_id, PATIENCE) or {
        "kind": "bigquery#job",
        "id": f"{project}:{location}.{job_id}",
        "jobReference": {"projectId": project, "jobId": job_id, "location": location},
        "configuration": configuration,
        "status": {"state": "RUNNING"},
        "statistics": {"creationTime": str(int(time.time() * 1000))},
    }


def waited(store: Store, project: str, job_id: str, seconds: float) -> dict[str, Any] | None:
    """The job when it is done, None if it isn't after these seconds; raises what it could not even begin for."""
    if job_id in store.jobs:
        return store.jobs[job_id]
    if job_id not in store.running:
        raise not_found("Job", f"{project}:{job_id}")
    try:
        return store.running[job_id].result(seconds)
    except TimeoutError:
        return None


def query(store: Store, project: str, configuration: dict[str, Any], job_id: str, location: str) -> dict[str, Any]:
    """Run a query job."""
    details = configuration["query"]
    dry = bool(configuration.get("dryRun"))
    given = details.get("destinationTable")
    with store.lock:
        store.open_project(project)
        result = key_of(given, project) if given else (project, RESULTS, "r" + job_id.replace("-", "_"))
        script = Script(store, project, details, result)
        error = None
        try:
            outcome = script.run(dry)
        except Refusal as refusal:
            if dry:
                raise
            outcome, error = script.outcome, refusal.error
    destination = outcome.target or outcome.result
    if destination:
        details = {**details, "destinationTable": reference(destination)}
    configuration = {**configuration, "query": details, "jobType": "QUERY"}
    job = _job(store, project, configuration, job_id, {"query": _statistics(outcome, dry)}, error, location)
    job["statistics"]["totalBytesProcessed"] = str(outcome.processed)
    job["_outcome"] = outcome
    return job


def _statistics(outcome: Outcome, dry: bool) -> dict[str, Any]:
    statistics: dict[str, Any] = {
        "statementType": outcome.statement_type,
        "totalBytesProcessed": str(outcome.processed),
        "totalBytesBilled": str(outcome.billed),
        "cacheHit": False,
        "referencedTables": [reference(key) for key in sorted(outcome.tables)],
    }
    if outcome.affected is not None:
        statistics["numDmlAffectedRows"] = str(outcome.affected)
    if outcome.target and outcome.affected is None:
        statistics |= {"ddlTargetTable": reference(outcome.target), "ddlOperationPerformed": "CREATE"}
    if dry:
        statistics["schema"] = {"fields": outcome.schema}
    return statistics


def load(store: Store, project: str, configuration: dict[str, Any], job_id: str, data: bytes) -> dict[str, Any]:
    """Run a load job of an uploaded file."""
    details = configuration["load"]
    key = key_of(details["destinationTable"], project)
    error = None
    count = 0
    with store.lock, tempfile.TemporaryDirectory() as folder:
        store.check_dataset(*key[:2])
        path = Path(folder) / "data"
        path.write_bytes(data)
        try:
            select = _select(path, details)
            replaces = details.get("writeDisposition", "WRITE_APPEND") == "WRITE_TRUNCATE"
            if replaces or key[2] not in store.tables(*key[:2]):
                store.replace(
                    key, select, {name: details[name] for name in (*TABLE_PROPERTIES, "schema") if name in details}
                )
                count = store.count(key)
            else:
                count = store.duckdb.execute(f"insert into {quoted(*key)} by name {select}").fetchall()[0][0]
                store.changed(key)
        except Refusal as refusal:
            error = refusal.error
        except duckdb.Error as failed:
            error = Refusal(400, "invalid", f"Error while reading data, error message: {failed}").error
    statistics = {"load": {"outputRows": str(count), "inputFileBytes": str(len(data)), "inputFiles": "1"}}
    return _job(store, project, {**configuration, "jobType": "LOAD"}, job_id, statistics, error, "US")


def _select(path: Path, details: dict[str, Any]) -> str:
    fields = details.get("schema", {}).get("fields")
    if details.get("sourceFormat", "CSV") == "PARQUET":
        relation = f"read_parquet('{path}')"
        if fields is None:
            return f"select * from {relation}"
        _check_types(path, fields)
        values = {f["name"]: quoted(f["name"]) for f in fields}
    elif fields is None or details.get("sourceFormat", "CSV") != "CSV":
        raise Refusal(400, "invalid", "The façade loads Parquet, and CSV with a schema")
    else:
        columns = ", ".join(f"'{f['name']}': 'VARCHAR'" for f in fields)
        skip = int(details.get("skipLeadingRows") or 0)
        delimiter = details.get("fieldDelimiter") or ","
        relation = (
            f"read_csv('{path}', auto_detect=false, header=false, skip={skip}, columns={{{columns}}}, "
            f"delim='{delimiter}', quote='\"', escape='\"', allow_quoted_nulls=false)"
        )
        values = {
            f["name"]: quoted(f["name"]) if f["type"] == "STRING" else f"nullif({quoted(f['name'])}, '')"
            for f in fields
        }
        if not details.get("allowQuotedNewlines"):
            values = {
                name: f"case when contains({quoted(name)}, chr(10)) then error('a quoted line break') else {value} end"
                for name, value in values.items()
            }
    casts = ", ".join(f"{values[f['name']]}::{duckdb_type(f)} as {quoted(f['name'])}" for f in fields)
    return f"select {casts} from {relation}"


def _check_types(path: Path, fields: list[dict[str, Any]]) -> None:
    found = pq.read_schema(path)
    if unknown := set(found.names) - {f["name"] for f in fields}:
        raise Refusal(400, "invalid", f"Provided schema does not match: no field {sorted(unknown)[0]}")
    for f in fields:
        if f["name"] not in found.names:
            raise Refusal(400, "invalid", f"Provided schema does not match: the file has no column {f['name']}")
        kind = found.field(f["name"]).type
        if not _FITS[{"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}.get(f["type"], f["type"])](kind):
            raise Refusal(
                400, "invalid", f"Parquet column '{f['name']}' has type {kind} which does not match {f['type']}"
            )


def copy(store: Store, project: str, configuration: dict[str, Any], job_id: str) -> dict[str, Any]:
    """Run a copy job of one whole table."""
    details = configuration["copy"]
    source = key_of(details.get("sourceTable") or details["sourceTables"][0], project)
    target = key_of(details["destinationTable"], project)
    with store.lock:
        store.kind(source)
        store.check_dataset(*target[:2])
        store.replace(target, f"select * from {quoted(*source)}", dict(store.properties.get(source, {})))
    return _job(store, project, {**configuration, "jobType": "COPY"}, job_id, {"copy": {}}, None, "US")


def _job(
    store: Store,
    project: str,
    configuration: dict[str, Any],
    job_id: str,
    statistics: dict[str, Any],
    error: dict[str, Any] | None,
    location: str,
) -> dict[str, Any]:
    now = str(int(time.time() * 1000))
    failed = {"errorResult": error, "errors": [error]} if error else {}
    job = {
        "kind": "bigquery#job",
        "id": f"{project}:{location}.{job_id}",
        "jobReference": {"projectId": project, "jobId": job_id, "location": location},
        "configuration": configuration,
        "status": {"state": "DONE", **failed},
        "statistics": {"creationTime": now, "startTime": now, "endTime": now, **statistics},
        "user_email": "tester@facade",
    }
    store.jobs[job_id] = job
    return job


def shown(job: dict[str, Any]) -> dict[str, Any]:
    """The job as REST shows it."""
    return {name: value for name, value in job.items() if not name.startswith("_")}


def result_of(job: dict[str, Any]) -> tuple[Outcome, Key | None]:
    """What a query job did; raises what it failed with."""
    if error := job["status"].get("errorResult"):
        code = {"notFound": 404, "accessDenied": 403, "quotaExceeded": 403}.get(error["reason"], 400)
        raise Refusal(code, error["reason"], error["message"])
    outcome: Outcome = job["_outcome"]
    return outcome, outcome.result
