"""What a service goes through in its life, each time without a wrong or a lost answer."""

import dataclasses
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from clv.contract import Contract
from serving.server import listen


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Load:
    """Clients that keep asking, each on a connection of its own."""

    def __init__(self, url: str, body: dict, clients: int = 4) -> None:
        self.answers: list[tuple[str | None, tuple[float, ...]]] = []
        self.failures: list[str] = []
        self._body, self._url = body, url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/predict", json=self._body)
                except httpx.ConnectError:
                    return  # the service has ended and takes nobody in; nothing was lost
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    return
                if answer.status_code != 200:
                    self.failures.append(answer.text)
                    continue
                values = tuple(one["expected_value"] for one in answer.json()["predictions"])
                self.answers.append((answer.json()["model"]["version"], values))

    def more(self, count: int) -> None:
        """Wait for so many more answers."""
        before = len(self.answers)
        eventually(lambda: len(self.answers) >= before + count or bool(self.failures), 120)


@contextmanager
def process(settings, home: Path) -> Iterator[tuple[subprocess.Popen, httpx.Client]]:
    """The service as `clv serve` runs it, in a process of its own."""
    with listen("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "CLV_HOME": str(home),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "CLV_POLL_SECONDS": "0.2",
    }
    with (home / "serve.log").open("w") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "experiments.cli", "serve", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
        )
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            try:

                def ready() -> bool:
                    try:
                        return client.get("/ready").status_code == 200
                    except httpx.TransportError:
                        return False

                eventually(ready)
                yield started, client
            finally:
                if started.poll() is None:
                    started.kill()
                started.wait()


def test_no_request_is_lost_or_mixed_while_models_come_and_go(helpers, tmp_path: Path, predictor, full_scale) -> None:
    registry = helpers.make_registry(tmp_path)
    other = dataclasses.replace(helpers.fit(seed=1), percentiles=predictor.percentiles)
    first, second = registry.register(predictor), registry.register(other)
    corrupt = registry.register(predictor, spoil={"p_return-0.ubj": "not a booster"})
    recency, *others = helpers.CONTRACT.features
    looser = Contract((dataclasses.replace(recency, nullable=True), *others))
    stranger = registry.register(
        dataclasses.replace(predictor, about={**predictor.about, "contract": looser.to_json()})
    )
    registry.promote(first)
    frame = helpers.random_customers(5, seed=6)
    count = 1500 if full_scale else 60

    with helpers.serving(registry.serving) as client, Load(str(client.base_url), helpers.as_customers(frame)) as load:
        for version in (second, first, second):  # promotion, rollback, promotion
            registry.promote(version)
            eventually(lambda wanted=version: client.get("/ready").json()["version"] == wanted)
            load.more(count)
        for bad in (corrupt, stranger):
            registry.promote(bad)
            eventually(lambda wanted=bad: (client.get("/model").json()["refused"] or {}).get("version") == wanted)
            load.more(count)
            assert client.get("/ready").json()["version"] == second
        reason = client.get("/model").json()["refused"]["reason"]
        assert "clv_refused_versions_total 2" in client.get("/metrics").text
    assert load.failures == []
    assert "its contract differs from the one in service in recency_days" in reason
    expected = {
        version: tuple(model.predict_parts(frame).expected_value)
        for version, model in ((first, predictor), (second, other))
    }
    assert {version for version, _ in load.answers} == {first, second}
    for version, values in set(load.answers):
        assert values == pytest.approx(expected[version], rel=1e-9)


def test_the_signal_to_end_lets_requests_in_flight_finish(helpers, registry, tmp_path: Path, full_scale) -> None:
    body = helpers.as_customers(helpers.random_customers(2000, seed=6))  # large enough to be in flight
    with process(registry.serving, tmp_path) as (service, client), Load(str(client.base_url), body) as load:
        load.more(400 if full_scale else 20)
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=40)
        assert service.returncode in (0, -signal.SIGTERM)
    assert load.failures == []
    assert "Traceback" not in (tmp_path / "serve.log").read_text()


def test_health_answers_while_large_requests_are_worked_on(api: httpx.Client, helpers) -> None:
    body = helpers.as_customers(helpers.random_customers(5000, seed=6))
    with Load(str(api.base_url), body, clients=2) as load, httpx.Client(base_url=api.base_url) as other:
        load.more(2)
        waits = []
        for _ in range(30):
            started = time.monotonic()
            assert other.get("/health").status_code == 200
            waits.append(time.monotonic() - started)
        slowest = sorted(waits)[len(waits) // 2]
        started = time.monotonic()
        load.more(1)
    assert load.failures == []
    assert slowest < 1.0


@pytest.mark.full_scale("100,000 requests: `make check` runs it")
@pytest.mark.timeout(1500)
def test_memory_stays_flat(helpers, registry, tmp_path: Path) -> None:
    import psutil

    body = helpers.as_customers(helpers.random_customers(1))
    purchases = {"as_of": "2018-06-30", "purchases": [{"customer_id": "x", "purchased_at": "2018-05-01", "amount": 5}]}
    with process(registry.serving, tmp_path) as (service, client):
        memory = psutil.Process(service.pid).memory_info

        def ask(count: int) -> None:
            with Load(str(client.base_url), body) as load:
                for _ in range(count // 1000):
                    load.more(1000)
            assert load.failures == []
            for _ in range(count // 100):
                assert client.post("/predict/purchases", json=purchases).status_code == 200

        sizes = []
        for _ in range(10):
            ask(10_000)
            sizes.append(memory().rss)  # it goes up and down by some MiB with what is asked at that moment
    # on a busy machine the threads' pools of memory take half of the requests to fill
    assert statistics.median(sizes[-3:]) - statistics.median(sizes[4:7]) < 20 * 2**20, sizes
