"""What does not fit into memory goes among the temporary files or nowhere; memory that was used is given back."""

import gc
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

from clv.warehouse.duckdb import in_memory
from serving import features
from serving.shop_source import attach

TOO_MUCH = "select range as n, hash(range) as mixed, repeat('x', 20) as text from range(1_500_000) order by mixed"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; the current folder is another one."""
    folder, current = tmp_path / "temporary", tmp_path / "current"
    for each in (folder, current):
        each.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(current)
    return folder


@pytest.mark.parametrize("which", ["shop", "in memory"])
def test_it_goes_among_the_temporary_files_and_is_removed(temporary: Path, which: str) -> None:
    if which == "shop":
        duckdb.connect("shop.duckdb").close()
        connection = attach(Path("shop.duckdb"), threads=1)
    else:
        connection = in_memory()
    connection.execute("set threads = 1; set memory_limit = '40MB'")
    assert connection.execute(TOO_MUCH).fetchone()
    assert [path.name[:10] for path in temporary.iterdir()] == ["clv-spill-"]
    assert {path.name for path in Path().iterdir()} <= {"shop.duckdb"}
    del connection
    gc.collect()
    assert not list(temporary.iterdir())


def test_purchases_of_a_request_stay_in_memory(temporary: Path) -> None:
    with features._open(1, "40MB") as connection, pytest.raises(duckdb.OutOfMemoryException):
        connection.execute(TOO_MUCH).fetchone()
    assert not list(temporary.iterdir())
    assert not list(Path().iterdir())


LARGE_REQUEST = """
import resource
from datetime import date
from functools import partial

import psutil
import pyarrow as pa

from serving.features import FeatureStore
from serving.purchases import stage_table

ROWS = 100_000
table = pa.table({"customer_id": [f"c{row}" for row in range(ROWS)], "purchased_at": ["2024-01-01"] * ROWS,
                  "amount": ["10.00"] * ROWS})
sql = "select customer_id, list(repeat('x', 400)) as texts, count(*) as purchases from purchases group by customer_id"
store = FeatureStore(threads=2)
store.check(sql)
before = psutil.Process().memory_info().rss
stage = partial(stage_table, table=table, as_of=date(2024, 1, 31), max_rows=ROWS)
assert len(store.snapshot(stage, sql, ["purchases"], body_size=10**6).customers) == ROWS
after = psutil.Process().memory_info().rss
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before, after - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux does DuckDB bring an allocator that keeps memory")
def test_memory_of_a_large_request_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE_REQUEST], capture_output=True, text=True, check=True)
    at_the_peak, kept = map(int, done.stdout.split())
    assert kept < at_the_peak / 2
