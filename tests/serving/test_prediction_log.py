"""The log of predictions: complete when there is room, counted where there is none, never in the way."""

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from clv.errors import InputError, UnavailableError
from clv.home import Home
from clv.settings import Settings
from clv.warehouse.bigquery import BigQueryWarehouse, setup_bigquery
from serving.bigquery import open_bigquery
from serving.log_places import Folder
from serving.prediction_log import Entry, PredictionLog


def entry(rows: int) -> Entry:
    values = np.arange(rows, dtype=float)
    return Entry(
        model="clv",
        version="7",
        horizon_days=90,
        as_of_date=None,
        ids=[f"c{row}" for row in range(rows)],
        p_return=values / 10,
        value_if_return=values,
        expected_value=values**2 / 10,
        matrix=np.arange(rows * 2, dtype=np.float32).reshape(rows, 2),
    )


def test_what_was_answered_is_what_is_logged(helpers, registry, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    settings = registry.serving.model_copy(update={"prediction_log": folder})
    frame = helpers.random_customers(3, seed=2)
    purchases = {
        "as_of": "2018-06-30",
        "purchases": [{"customer_id": "x", "purchased_at": "2018-05-01", "amount": 5}],
    }
    with helpers.serving(settings) as client:
        answers = client.post("/predict", json=helpers.as_customers(frame)).json()["predictions"]
        answers += client.post("/predict/purchases", json=purchases).json()["predictions"]
    (file,) = folder.glob("*.parquet")
    log = pd.read_parquet(file)
    for column in ("customer_id", "p_return", "value_if_return", "expected_value"):
        assert log[column].tolist() == [answer[column] for answer in answers]
    assert log["version"].unique().tolist() == ["1"]
    assert log["as_of_date"].tolist() == [None] * 3 + [date(2018, 6, 30)]
    assert log["horizon_days"].unique().tolist() == [90]
    assert log["features_hash"].nunique() == 4


def test_the_hash_is_that_of_the_features(tmp_path: Path) -> None:
    log = PredictionLog(Folder(tmp_path), capacity=10)
    log.start()
    log.add(entry(2))
    log.stop()
    (file,) = tmp_path.glob("*.parquet")
    hashes = pd.read_parquet(file)["features_hash"].tolist()
    assert hashes == [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in entry(2).matrix]


class Gate:
    """A place that takes nothing until it is opened."""

    seconds = 0.01
    rows = 1_000

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.written: list[pa.Table] = []
        self.tried = 0

    def write(self, rows: pa.Table) -> None:
        self.tried += 1
        assert self.opened.wait(20)
        self.written.append(rows)

    @property
    def ids(self) -> list[str]:
        return [name for rows in self.written for name in rows["customer_id"].to_pylist()]


class Closed(Gate):
    """A place that refuses until it is opened."""

    def write(self, rows: pa.Table) -> None:
        self.tried += 1
        if not self.opened.is_set():
            raise OSError("no room")
        self.written.append(rows)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_full_log_drops_and_counts() -> None:
    place = Gate()
    log = PredictionLog(place, capacity=100)
    log.start()
    for _ in range(15):
        log.add(entry(10))  # returns at once though nothing can be written
    assert log.dropped == 50
    place.opened.set()
    log.stop()
    assert (log.written, log.dropped, len(place.ids)) == (100, 50, 100)


def test_what_can_not_be_written_waits_for_the_next_time() -> None:
    place = Closed()
    log = PredictionLog(place, capacity=100)
    log.start()
    log.add(entry(10))
    until(lambda: place.tried >= 2)
    log.add(entry(20))
    place.opened.set()
    log.stop()
    assert (log.written, log.dropped, log.failures) == (30, 0, place.tried - len(place.written))
    assert place.ids == [*entry(10).ids, *entry(20).ids]


def test_what_fails_to_the_end_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    place = Closed()
    log = PredictionLog(place, capacity=100, seconds=60)
    log.start()
    for _ in range(15):
        log.add(entry(10))
    log.stop()
    assert (log.written, log.dropped) == (0, 150)
    assert place.tried == log.failures == 2  # when there were enough, and at the end: no sooner, however many come
    assert "100 predictions can't be logged now: no room" in caplog.text


def test_enough_are_written_before_time_is_up() -> None:
    place = Gate()
    place.opened.set()
    log = PredictionLog(place, capacity=100, seconds=60)
    log.start()
    for _ in range(5):
        log.add(entry(10))
    until(lambda: log.written == 50)
    log.stop()


def test_a_place_that_hangs_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    place = Gate()
    log = PredictionLog(place, capacity=100)
    log.start()
    log.add(entry(10))
    log.stop(seconds=0.1)
    assert "10 predictions were not logged in 0.1 s and are lost" in caplog.text
    place.opened.set()


def test_a_request_that_can_not_be_logged_is_alone_with_that(caplog: pytest.LogCaptureFixture) -> None:
    place = Gate()
    place.opened.set()
    log = PredictionLog(place, capacity=100)
    log.start()
    log.add(replace(entry(3), as_of_date="not a day"))
    log.add(entry(2))
    log.stop()
    assert (log.written, log.dropped) == (2, 3)
    assert "A request's predictions can't be logged" in caplog.text


def test_a_disk_that_refuses_is_counted_and_survived(tmp_path: Path) -> None:
    log = PredictionLog(Folder(tmp_path / "log"), capacity=100)
    (tmp_path / "log").rmdir()
    (tmp_path / "log").write_text("in the way")
    log.start()
    log.add(entry(10))
    log.stop()
    assert (log.written, log.dropped) == (0, 10)


def test_services_that_share_a_folder_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """In containers all of them have the same process id."""
    places = [Folder(tmp_path), Folder(tmp_path)]
    written = [f"{number}{place}" for number in range(20) for place in "ab"]
    for number, name in enumerate(written):
        places[number % 2].write(pa.table({"customer_id": [name]}))
    files = sorted(tmp_path.iterdir())
    assert sorted(name for file in files for name in pd.read_parquet(file)["customer_id"]) == sorted(written)
    assert files == sorted(files, key=lambda file: file.name.split("-")[1])  # by time


def test_a_folder_that_can_not_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="CLV_PREDICTION_LOG"):
        Folder(tmp_path / "file")


# ---- in the warehouse


@pytest.fixture
def common(bigquery_facade: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    project = request.node.name.replace("_", "-")[:60]
    settings = Settings.from_environment(
        bigquery_facade.environment, home=tmp_path / "home", warehouse=f"bigquery://{project}/shop"
    )
    setup_bigquery(settings)
    return settings


def test_bigquery_takes_it_as_a_table_that_grows(helpers, registry, common: Settings) -> None:
    settings = registry.serving.model_copy(
        update={"warehouse": common.warehouse, "common": common, "prediction_log": "warehouse"}
    )
    answers = []
    for seed in (1, 2):
        with helpers.serving(settings) as client:
            frame = helpers.random_customers(3, seed=seed)
            answers += client.post("/predict", json=helpers.as_customers(frame)).json()["predictions"]
    warehouse = open_bigquery(settings)
    rows = warehouse.query("select * from serving.prediction_log order by predicted_at, customer_id").to_pylist()
    names = ("customer_id", "p_return", "value_if_return", "expected_value")
    assert [[row[name] for name in names] for row in rows] == [[answer[name] for name in names] for answer in answers]
    table = warehouse.clients.rest.get_table(warehouse.table_id("serving", "prediction_log"))
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("DAY", "predicted_at")
    assert table.clustering_fields == ["customer_id"]
    assert {field.name: field.field_type for field in table.schema} == {
        "predicted_at": "TIMESTAMP",
        "model": "STRING",
        "version": "STRING",
        "as_of_date": "DATE",
        "horizon_days": "INTEGER",
        "customer_id": "STRING",
        "p_return": "FLOAT",
        "value_if_return": "FLOAT",
        "expected_value": "FLOAT",
        "features_hash": "STRING",
    }


def test_a_warehouse_that_is_away_keeps_nobody_waiting_and_loses_nothing(
    helpers, registry, common: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = registry.serving.model_copy(
        update={
            "warehouse": common.warehouse,
            "common": common,
            "prediction_log": "warehouse",
            "prediction_log_seconds": 0.05,
        }
    )

    def away(*arguments: object, **named: object) -> None:
        raise UnavailableError("BigQuery is away.")

    def failures(client: httpx.Client) -> int:
        found = re.search(r"^clv_prediction_log_failures_total (\d+)$", client.get("/metrics").text, re.MULTILINE)
        return int(found[1])

    with helpers.serving(settings) as client, monkeypatch.context() as patch:
        patch.setattr(BigQueryWarehouse, "append", away)
        for _ in range(3):
            assert client.post("/predict", json=helpers.as_customers(helpers.random_customers(2))).status_code == 200
        until(lambda: failures(client) >= 1)
    assert open_bigquery(settings).query("select * from serving.prediction_log").num_rows == 6


def test_the_log_of_an_embedded_warehouse_lies_in_its_home(helpers, registry, tmp_path: Path) -> None:
    common = Settings(home=tmp_path)
    settings = registry.serving.model_copy(
        update={"warehouse": common.warehouse, "common": common, "prediction_log": "warehouse"}
    )
    with helpers.serving(settings) as client:
        client.post("/predict", json=helpers.as_customers(helpers.random_customers(3)))
    (file,) = Home(tmp_path).served.glob("*.parquet")
    assert len(pd.read_parquet(file)) == 3
