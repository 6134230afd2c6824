"""What a person sees who types dbt: nothing while all is well; else which test failed, or how old the data are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

Type = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def warehouse(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(built, tmp_path_factory.mktemp("typed")))


@pytest.fixture(scope="module")
def dbt(warehouse: Path, repository: Path) -> Type:
    """Types a command as the docs show it; the answer is the exit code and what is printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}

    def run(*command: str) -> tuple[int, str]:
        folders = ["--target-path", str(warehouse.parent / "target"), "--log-path", str(warehouse.parent / "logs")]
        done = subprocess.run(
            [str(Path(sys.executable).parent / "dbt"), *command, "--profiles-dir", ".", "--no-use-colors", *folders],
            cwd=repository / "dbt",
            env=environment | {"CLV_DUCKDB_PATH": str(warehouse)},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_nothing_is_printed_where_all_is_well(dbt: Type, warehouse: Path) -> None:
    assert dbt("build") == (0, "")
    assert "Completed successfully" in (warehouse.parent / "logs" / "dbt.log").read_text()


def test_old_data_are_warned_of(dbt: Type, warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("create table raw.loads as select now()::timestamp - interval 10 day as loaded_at")
    code, printed = dbt("source", "freshness")
    assert code == 0
    assert "WARN freshness of clv.loads" in printed
    assert printed.count("\n") == 1


def test_a_failed_test_is_named_and_nothing_else(dbt: Type, warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("insert into raw.olist_order_payments from raw.olist_order_payments limit 1")
    code, printed = dbt("build", "--select", "stg_olist__order_payments")
    assert code == 1
    assert "FAIL 1 unique_key_stg_olist__order_payments_order_id__payment_number" in printed
    assert "(models/staging/olist/stg_olist__order_payments.yml)" in printed
    assert "Got 1 result, configured to fail if != 0" in printed
    assert "OK" not in printed
    assert "PASS" not in printed
