"""GET /model/report: all that a reviewer needs, gathered from the version's folder, its run and the record."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from clv.errors import UnavailableError
from clv.home import Home
from experiments.registry import Registry
from experiments.tracking import Tracker
from serving.registry import Record, Version
from serving.report import Reporter

BACKTEST = {
    "as_of_date": "2018-06-30",
    "recipe": {"family": "hurdle"},
    "grid": [{"cutoff": "2018-03-31", "horizon_days": 90, "age_days": 0, "normalized_gini": 0.6}],
    "retrain_after_days": 60,
    "note": "",
}
CHECK = {"name": "level", "passed": True, "detail": "1.02"}


@pytest.fixture
def reviewed(helpers, predictor, tmp_path: Path):
    """A version with a card that went through the gate and a backtest; and one with nothing."""
    registry = helpers.make_registry(tmp_path)
    versions = [registry.register(predictor, spoil={"model_card.md": "# Card\n"}), registry.register(predictor)]
    tracker = Tracker(registry.settings).open()
    client = tracker.client
    run_id = client.get_model_version("clv", versions[0]).run_id
    client.log_metric(run_id, "normalized_gini", 0.61)
    client.log_text(run_id, "# Gate report\n", f"gate/version-{versions[0]}.md")
    client.log_text(run_id, "<html>", f"gate/version-{versions[0]}.html")
    client.log_text(run_id, json.dumps(BACKTEST), "backtest/backtest.json")
    png = tmp_path / "backtest.png"
    png.write_bytes(b"\x89PNG backtest")
    client.log_artifact(run_id, str(png), "backtest")
    record = Registry(tracker, Home(registry.settings.home).open())
    record.set_production(versions[0], kind="promote", by="ana", reason="better", gate=[CHECK])
    return registry, versions


def test_the_report_gathers_what_there_is(helpers, reviewed) -> None:
    registry, (first, second) = reviewed
    settings = registry.serving.model_copy(update={"poll_seconds": 0.1})
    with helpers.serving(settings) as client:
        report = client.get("/model/report").json()
        assert report["card"] == "# Card\n"
        assert report["gate_report"] == "# Gate report\n"
        assert report["gate"] == [CHECK]
        assert report["backtest"] == BACKTEST
        assert report["metrics"]["normalized_gini"] == 0.61
        assert [(event["kind"], event["by"], event["version"]) for event in report["history"]] == [
            ("promote", "ana", first)
        ]
        assert report["ladder"] == helpers.EVALUATION
        assert report["warnings"] == []
        figure = client.get("/model/figures/backtest.png")
        assert (figure.headers["content-type"], figure.content) == ("image/png", b"\x89PNG backtest")

        registry.promote(second)  # behind clv's back
        eventually(lambda: client.get("/ready").json()["version"] == second)
        report = client.get("/model/report").json()
        # the second one was logged to the same folder, card and all, but its run knows neither gate nor backtest
        assert (report["gate_report"], report["backtest"], report["gate"]) == (None, None, [])
        assert any("came into Production outside clv" in warning for warning in report["warnings"])
        assert client.get("/model/figures/backtest.png").status_code == 404

        store = registry.settings.home / "mlflow.db"
        shutil.move(store, store.with_suffix(".away"))
        eventually(lambda: client.get("/model/report").json()["trouble"] is not None)
        assert client.get("/model/figures/gain_curve.png").status_code == 200


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Counted:
    """A registry that counts who asks, and is away if it is told to be."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False

    def record(self, version: Version) -> Record:
        self.asked += 1
        if self.is_away:
            raise UnavailableError("Nobody there.")
        return Record(metrics={"normalized_gini": 0.5}, backtest_figure=b"PNG")


def test_the_registry_is_asked_once_in_a_while_even_if_it_is_away(tmp_path: Path) -> None:
    def served(version: str) -> SimpleNamespace:
        return SimpleNamespace(version=Version("clv", version, version), header={}, about={}, folder=tmp_path)

    registry = Counted()
    registry.is_away = True
    reporter = Reporter(registry, seconds=15)
    assert [reporter.report(served("1"))["trouble"] for _ in range(3)] == ["Nobody there."] * 3
    assert reporter.backtest_figure(served("1")) is None
    assert registry.asked == 1
    reporter.report(served("2"))
    assert registry.asked == 2

    registry = Counted()
    reporter = Reporter(registry, seconds=0)
    assert reporter.report(served("1"))["trouble"] is None
    registry.is_away = True
    away = reporter.report(served("1"))
    assert (away["trouble"], away["metrics"]) == ("Nobody there.", {"normalized_gini": 0.5})
    assert reporter.backtest_figure(served("1")) == b"PNG"
    assert reporter.report(served("2"))["metrics"] == {}
    assert registry.asked == 4
    registry.is_away = False
    assert reporter.report(served("2"))["trouble"] is None


def test_a_registry_that_hangs_keeps_no_prediction_waiting(helpers, registry, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hang(self: object, version: Version) -> Record:
        assert answers.wait(60)
        return Record()

    monkeypatch.setattr("serving.registry.Registry.record", hang)
    settings = registry.serving.model_copy(update={"threads": 2, "queue_seconds": 1})
    purchase = {"customer_id": "1", "purchased_at": "2018-06-01", "amount": 10}
    with helpers.serving(settings) as client, ThreadPoolExecutor(5) as pool:
        try:
            paths = [*["/model/report"] * 3, *["/model/figures/backtest.png"] * 2]
            asked = [pool.submit(client.get, path) for path in paths]
            eventually(lambda: sum(one.done() for one in asked) == 4)  # told to come again, as one is still waiting
            body = {"as_of": "2018-06-30", "purchases": [purchase]}
            assert client.post("/predict/purchases", json=body).status_code == 200
        finally:
            answers.set()
        told = [one.result() for one in asked]
    late = [answer for answer in told if answer.status_code == 503]
    assert len(late) == 4
    assert all("registry" in answer.json()["detail"] and answer.headers["retry-after"] for answer in late)
