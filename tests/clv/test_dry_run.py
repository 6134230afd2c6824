"""What ``clv transform --dry-run`` says before a build is about what the build's jobs have scanned."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import duckdb
import pytest

from clv.load import load
from clv.settings import Settings
from clv.transform import DryRunReport, dry_run, transform
from clv.warehouse import open_warehouse
from clv.warehouse.bigquery import setup_bigquery

LAST = date(2020, 12, 30)
HORIZON = 60
Logged = dict[str, tuple[int, int]]
"""Bytes that were scanned and billed, by job."""


@pytest.fixture(scope="module")
def settings(bigquery_facade: Any, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A shop with a log of three years; beside it lies that of one more day."""
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        threads=2,
        warehouse="bigquery://dry-runs/shop",
        bigquery_emulator_host=bigquery_facade.rest,
        bigquery_storage_emulator_host=bigquery_facade.storage,
    )
    with duckdb.connect() as connection:
        connection.execute(f"""
            create table orders as select
                md5((number % 700)::varchar) as customer_id, md5((-number)::varchar) as order_id,
                timestamp '2018-01-01' + to_seconds(hash(number) % (86400 * 1095 - 86400)) as timestamp,
                (hash(number, 1) % 10000 + 1) / 100 as amount
            from range(2100) as r (number);
            insert into orders values (md5('0'), 'last', timestamp '{LAST + timedelta(days=1)} 12:00:00', 5);
        """)
        for name, condition in {"history": "<=", "day": ">"}.items():
            connection.execute(
                f"copy (from orders where timestamp::date {condition} '{LAST}') to '{settings.home / name}.csv'"
            )
    setup_bigquery(settings)
    load(settings, settings.home / "history.csv", source="transactions")
    return settings


def build(settings: Settings, as_of: date) -> tuple[DryRunReport, Logged]:
    """What is said before it, and what the jobs of it then were."""
    client = open_warehouse(settings).clients.rest

    def jobs() -> Logged:
        queries = [job for job in client.list_jobs() if job.job_type == "query"]
        return {job.job_id: (job.total_bytes_processed, job.total_bytes_billed) for job in queries}

    before = jobs()
    said = dry_run(settings, as_of_date=as_of, horizon_days=HORIZON)
    asked = jobs()
    assert len(asked) - len(before) <= 1, "of what is built nothing is run"
    transform(settings, as_of_date=as_of, horizon_days=HORIZON)
    return said, {job: sizes for job, sizes in jobs().items() if job not in asked}


def check(said: DryRunReport, logged: Logged) -> None:
    scanned, billed = (sum(sizes) for sizes in zip(*logged.values(), strict=True))
    assert 0.75 < said.scanned_bytes / scanned < 1.5
    assert 0.75 < said.billed_bytes / billed < 1.5


def test_builds_scan_about_what_a_dry_run_says(settings: Settings, full_scale: bool) -> None:
    """The first one, one of another day and, at full scale, one in which nothing has changed."""
    check(*build(settings, LAST))
    if full_scale:
        check(*build(settings, LAST))
    load(settings, settings.home / "day.csv", source="transactions", append=True)
    check(*build(settings, LAST + timedelta(days=1)))
