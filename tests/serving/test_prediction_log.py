"""The log of predictions: complete when there is room, counted where there is none, never in the way."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clv.errors import InputError
from serving import prediction_log
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
    assert log["as_of_date"].fillna("not told").tolist() == ["not told"] * 3 + ["2018-06-30"]
    assert log["horizon_days"].unique().tolist() == [90]
    assert log["features_hash"].nunique() == 4


def test_the_hash_is_that_of_the_features(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, capacity=10)
    log.start()
    log.add(entry(2))
    log.stop()
    (file,) = tmp_path.glob("*.parquet")
    hashes = pd.read_parquet(file)["features_hash"].tolist()
    assert hashes == [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in entry(2).matrix]


def test_a_full_log_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    table = prediction_log._table

    def stuck(*arguments):
        gate.wait(20)
        return table(*arguments)

    monkeypatch.setattr(prediction_log, "_table", stuck)
    monkeypatch.setattr(prediction_log, "_SECONDS_PER_FILE", 0.0)
    log = PredictionLog(tmp_path, capacity=100)
    log.start()
    for _ in range(15):
        log.add(entry(10))  # returns at once though nothing can be written
    assert log.dropped == 50
    gate.set()
    log.stop()
    assert (log.written, log.dropped) == (100, 50)
    assert sum(len(pd.read_parquet(file)) for file in tmp_path.glob("*.parquet")) == 100


def test_a_disk_that_refuses_is_counted_and_survived(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "log", capacity=100)
    (tmp_path / "log").rmdir()
    (tmp_path / "log").write_text("in the way")
    log.start()
    log.add(entry(10))
    log.stop()
    assert (log.written, log.dropped) == (0, 10)


def test_a_folder_that_can_not_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="CLV_PREDICTION_LOG"):
        PredictionLog(tmp_path / "file", capacity=1)
