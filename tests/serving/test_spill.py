"""What does not fit into memory goes among the temporary files or nowhere, never into the current folder."""

import gc
import tempfile
from pathlib import Path

import duckdb
import pytest

from experiments import prediction_history
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


@pytest.mark.parametrize("which", ["shop", "prediction history"])
def test_it_goes_among_the_temporary_files_and_is_removed(temporary: Path, which: str) -> None:
    if which == "shop":
        duckdb.connect("shop.duckdb").close()
        connection = attach(Path("shop.duckdb"), threads=1)
    else:
        connection = prediction_history._connect()
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
