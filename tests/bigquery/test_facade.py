"""The façade keeps what the other tests rely on: values survive the wire, transactions are whole, limits are real."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

ROW = """
    select
        'a\\n"b"' as text, 9007199254740993 as number, 0.1 as ratio, numeric '1.5' as money, true as flag,
        date '2018-02-03' as day, datetime '2018-02-03 04:05:06.000007' as local,
        timestamp '2018-02-03 04:05:06.000007+00' as instant, cast(null as string) as nothing, [1, 2] as list
"""
EXPECTED = {
    "text": 'a\n"b"',
    "number": 9007199254740993,
    "ratio": 0.1,
    "money": Decimal("1.5"),
    "flag": True,
    "day": dt.date(2018, 2, 3),
    "local": dt.datetime(2018, 2, 3, 4, 5, 6, 7),
    "instant": dt.datetime(2018, 2, 3, 4, 5, 6, 7, tzinfo=dt.UTC),
    "nothing": None,
    "list": [1, 2],
}


@pytest.fixture(scope="module")
def client(bigquery_facade: Any) -> Iterator[bigquery.Client]:
    options = {"api_endpoint": bigquery_facade.rest}
    with bigquery.Client("facade-tests", AnonymousCredentials(), client_options=options) as client:
        client.create_dataset("d")
        yield client


@pytest.fixture
def run(client: bigquery.Client) -> Any:
    def rows(sql: str, **more: Any) -> list[bigquery.Row]:
        configuration = bigquery.QueryJobConfig(default_dataset="facade-tests.d", **more)
        return list(client.query(sql, job_config=configuration).result())

    return rows


def test_values_survive_the_wire(run) -> None:
    [row] = run(ROW)
    assert dict(row.items()) == EXPECTED


def test_a_failing_transaction_is_rolled_back(run) -> None:
    run("create or replace table t as select 1 as n")
    with pytest.raises(BadRequest, match="Could not convert"):
        run("begin transaction; truncate table t; insert into t select cast('x' as int64); commit transaction")
    assert [row.n for row in run("select n from t")] == [1]
    run("begin transaction; truncate table t; insert into t select 2; commit transaction")
    assert [row.n for row in run("select n from t")] == [2]


def test_insert_overwrite_replaces_only_the_partitions_that_come(run, client) -> None:
    run(
        "create or replace table days partition by day cluster by id options (labels = [('a', 'b')]) "
        "as select date '2018-01-01' as day, 1 as id union all select date '2018-01-02', 2"
    )
    table = client.get_table("d.days")
    assert (table.time_partitioning.field, table.clustering_fields, table.labels) == ("day", ["id"], {"a": "b"})
    run(
        "declare partitions array<date>; "
        "create or replace table fresh as select date '2018-01-02' as day, 3 as id; "
        "set (partitions) = (select as struct array_agg(distinct day ignore nulls) from fresh); "
        "merge into days as target using (select * from fresh) as source on false "
        "when not matched by source and target.day in unnest(partitions) then delete "
        "when not matched then insert (day, id) values (day, id)"
    )
    assert sorted(tuple(row) for row in run("select day, id from days")) == [
        (dt.date(2018, 1, 1), 1),
        (dt.date(2018, 1, 2), 3),
    ]


def test_bytes_are_those_of_the_named_columns_and_limits_hold(run, client) -> None:
    run("create or replace table sized as select 'four' as text, 1 as number union all select null, 2")
    dry = client.query("select text from d.sized", job_config=bigquery.QueryJobConfig(dry_run=True))
    assert dry.total_bytes_processed == len("four") + 2
    with pytest.raises(Exception, match=r"limit for bytes billed: 100\. 10485760 or higher required"):
        run("select * from sized", maximum_bytes_billed=100)


def test_views_and_selects_of_no_rows_are_free(run, client) -> None:
    run("create or replace table sized as select 'four' as text")
    for sql in (
        "create or replace view seen as select * from d.sized",
        "select * from (select * from d.sized) limit 0",
    ):
        job = client.query(sql, job_config=bigquery.QueryJobConfig(default_dataset="facade-tests.d"))
        job.result()
        assert (job.total_bytes_processed, job.total_bytes_billed) == (0, 0)
    job = client.query("select text from d.seen")
    job.result()
    assert (job.total_bytes_processed, job.total_bytes_billed) == (len("four") + 2, 10 * 2**20)


def test_jobs_that_ran_are_listed(client) -> None:
    ran = client.query("select 1")
    ran.result()
    dry = client.query("select 1", job_config=bigquery.QueryJobConfig(dry_run=True))
    listed = {job.job_id for job in client.list_jobs()}
    assert ran.job_id in listed
    assert dry.job_id not in listed


def test_what_is_not_there_is_not_found(run, client) -> None:
    for ask in (lambda: run("select * from nowhere"), lambda: client.get_table("d.nowhere")):
        with pytest.raises(NotFound):
            ask()


def test_a_job_runs_once_and_is_waited_for(client, full_scale: bool) -> None:
    """A client that waits longer than its patience asks again, with the same id; at full scale for 15 seconds."""
    top = 60_000 if full_scale else 60
    arrays = ", ".join(f"unnest(generate_array(1, {top})) as {name}" for name in "ab")
    job = client.query(f"select sum(a * b) as n from {arrays}", job_id="once", job_retry=None)
    with pytest.raises(Conflict, match="Already Exists: Job"):
        client.query("select 1", job_id="once", job_retry=None)
    assert [row.n for row in job.result()] == [(top * (top + 1) // 2) ** 2]
