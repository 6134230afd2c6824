"""Fixtures of all rooms, and the two scales.

A test marked `full_scale(reason)` is too dear for every day and skipped. `--scale full` runs these, the tests that do
more when the fixture `full_scale` says so, and nothing else.
"""

import atexit
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = REPOSITORY.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--scale",
        choices=["small", "full"],
        default="small",
        help="full: only the tests that are marked `full_scale` or ask for it",
    )


LONGEST = (
    "experiments/test_chain.py",
    "experiments/test_survival.py",
    "dbt/test_bigquery.py",
    "experiments/test_bad_input.py",
    "clv/test_transform.py",
    "dbt/test_googlesql.py",
    "dbt/test_features.py",
    "dbt/test_incremental.py",
    "dbt/test_docs.py",
    "dbt/test_olist.py",
    "dbt/test_output.py",
    "clv/test_dry_run.py",
    "experiments/test_resume.py",
    "experiments/test_untested.py",
    "experiments/test_monitor.py",
    "experiments/test_score.py",
    "experiments/test_mlproject.py",
    "experiments/test_backtest.py",
    "serving/test_survival.py",
)
"""Files that take longest, or share something dear; workers begin with them, lest one of them works last and alone."""


def pytest_configure(config: pytest.Config) -> None:
    """Let workers take the files as they come; else xdist would begin with those that hold the most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is for the full scale alone; at full scale, leave out what would do the same as at small scale.

    Among workers the longest files come first.
    """
    marked = {item: mark for item in items if (mark := item.get_closest_marker("full_scale"))}
    if config.getoption("--scale") == "full":
        scaled = [item for item in items if item in marked or "full_scale" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in scaled])
        items[:] = scaled
    else:
        for item, mark in marked.items():
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))
    if hasattr(config, "workerinput"):
        rank = {REPOSITORY / "tests" / name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish() -> None:
    """Take all that was imported out of the garbage collector's sight.

    Streamlit collects after each run of a page and the service after each load of a model, and each time half a million
    objects that stay anyway would be looked at.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else DuckDB complains of leaks when the process ends


@pytest.fixture(scope="session")
def full_scale(request: pytest.FixtureRequest) -> bool:
    """For a test that does more at full scale."""
    return request.config.getoption("--scale") == "full"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


def _real(path: Path, why: str) -> Path:
    """A file that is not in the repository; tests of it are skipped where it is missing."""
    if not path.exists():
        pytest.skip(f"{why}; with it at {path} this runs")
    return path


@pytest.fixture(scope="session")
def olist_zip() -> Path:
    """The real download."""
    return _real(DATA / "olist" / "brazilian-ecommerce.zip", "Olist's licence forbids to ship its data")


@pytest.fixture(scope="session")
def cdnow_log() -> Path:
    """The CDNOW log as it is published, separated by spaces."""
    return _real(DATA / "cdnow" / "CDNOW_master.txt", "the CDNOW log is not ours to ship")


@pytest.fixture(scope="session")
def cdnow_csv(cdnow_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CDNOW log as a CSV."""
    path = tmp_path_factory.mktemp("cdnow") / "cdnow.csv"
    lines = [",".join(line.split()) for line in cdnow_log.read_text().splitlines() if line.strip()]
    path.write_text("customer_id,date,cds,amount\n" + "\n".join(lines[1:]) + "\n")
    return path


@dataclass(frozen=True)
class BigQueryFacade:
    """Where the stand-in for BigQuery listens."""

    rest: str
    storage: str

    @property
    def environment(self) -> dict[str, str]:
        """What makes clients and `clv` talk to it."""
        return {"BIGQUERY_EMULATOR_HOST": self.rest, "BIGQUERY_STORAGE_EMULATOR_HOST": self.storage}


@pytest.fixture(scope="session")
def bigquery_facade() -> Iterator[BigQueryFacade]:
    """A process that speaks BigQuery (see tests/bigquery/facade); use a project of your own to be alone in it."""
    folder = str(REPOSITORY / "tests" / "bigquery")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))}
    with subprocess.Popen(
        [sys.executable, "-m", "facade"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        addresses = process.stdout.readline()
        assert addresses, "the façade did not start"
        with pytest.MonkeyPatch.context() as patch:
            # The client looks five times a second whether a read has ended; the façade has ended it long before.
            patch.setattr("google.cloud.bigquery._pandas_helpers._PROGRESS_INTERVAL", 0.01)
            yield BigQueryFacade(**json.loads(addresses))
        process.terminate()
