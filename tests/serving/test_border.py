"""Request ids, logs, metrics, CORS, slow bodies and our own errors."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from serving.logs import JsonFormatter

SECRET = "customer-4711-of-the-shop"


@contextmanager
def logged() -> Iterator[list[dict]]:
    """What the service's loggers write meanwhile, read back from JSON."""
    lines: list[dict] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    handler = Collect()
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("serving")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_a_decent_request_id_is_kept_and_others_are_replaced(api: httpx.Client) -> None:
    assert api.get("/health", headers={"X-Request-ID": "abc-1.2"}).headers["x-request-id"] == "abc-1.2"
    for indecent in ("", "x" * 129, 'a"b', "a b"):
        made = api.get("/nothing", headers={"X-Request-ID": indecent}).headers["x-request-id"]
        assert len(made) == 32
        assert int(made, 16) >= 0


def test_the_log_knows_the_request_but_no_customer(api: httpx.Client, helpers) -> None:
    body = helpers.as_customers(helpers.random_customers(1))
    body["customers"][0]["customer_id"] = SECRET
    with logged() as lines:
        api.post("/predict", json=body, headers={"X-Request-ID": "mine"})
        api.get(f"/customers/{SECRET}")
        api.get("/customers", params={"q": SECRET})
        api.post("/predict", json={"customers": [{"customer_id": SECRET}]})
        api.get("/health")
    requests = [(line["route"], line["status"]) for line in lines if line["message"] == "request"]
    assert requests == [
        ("/predict", 200),
        ("/customers/{customer_id:text}", 404),
        ("/customers", 404),
        ("/predict", 422),
    ]
    assert lines[0]["request_id"] == "mine"
    assert lines[0]["milliseconds"] > 0
    assert SECRET not in json.dumps(lines)


def test_our_own_error_is_a_problem_and_logs_no_customer(api: httpx.Client, helpers, monkeypatch) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr("serving.routes.predict._from_features", fail)
    with logged() as lines:
        response = api.post("/predict", json=helpers.as_customers(helpers.random_customers(1)))
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    error = next(line for line in lines if line["level"] == "ERROR")
    assert error["error"] == "KeyError"
    assert error["request_id"] == response.headers["x-request-id"]
    assert any("raise KeyError" in entry for entry in error["stack"])
    assert SECRET not in json.dumps(lines)


def sample(text: str, name: str) -> float:
    found = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def test_metrics_count_what_happens(api: httpx.Client, helpers) -> None:
    ok = 'clv_requests_total{method="POST",route="/predict",status="200"}'
    rows = 'clv_rows_total{kind="predict"}'
    before = api.get("/metrics").text
    api.post("/predict", json=helpers.as_customers(helpers.random_customers(7)))
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    after = response.text
    assert sample(after, ok) == sample(before, ok) + 1
    assert sample(after, rows) == sample(before, rows) + 7
    assert sample(after, 'clv_model_info{name="clv",version="1",stage="Production"}') == 1
    assert sample(after, "clv_refused_versions_total") == 0
    count = sample(after, 'clv_request_seconds_count{route="/predict"}')
    assert sample(after, 'clv_request_seconds_bucket{route="/predict",le="+Inf"}') == count
    for line in after.splitlines():
        assert line.startswith("# ") or float(line.rpartition(" ")[2]) >= 0


def test_pages_elsewhere_may_ask_only_if_they_are_named(helpers, registry, api: httpx.Client) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in api.options("/predict", headers=headers).headers
    settings = registry.serving.model_copy(update={"cors_origins": ("https://shop.example",)})
    with helpers.serving(settings) as client:
        assert client.options("/predict", headers=headers).headers["access-control-allow-origin"] == headers["Origin"]
        assert client.options("/predict", headers={**headers, "Origin": "https://evil.example"}).status_code == 400


def test_a_body_that_does_not_arrive_is_given_up(helpers, registry) -> None:
    settings = registry.serving.model_copy(update={"body_seconds": 0.3})
    with helpers.serving(settings) as client:
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as slow:
            started = time.monotonic()
            slow.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
            slow.settimeout(20)
            answer = slow.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started >= 0.3
        assert client.get("/health").status_code == 200


def test_what_is_no_request_is_told_so_in_plain_text(api: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", api.base_url.port)) as caller:
        caller.settimeout(20)
        caller.sendall(b"hello\r\n\r\n")
        answer = caller.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"content-type: text/plain" in answer


def test_a_connection_that_is_closed_early_is_counted(api: httpx.Client) -> None:
    closed = 'clv_requests_total{method="POST",route="/predict",status="400"}'
    before = sample(api.get("/metrics").text, closed)
    with socket.create_connection(("127.0.0.1", api.base_url.port)) as caller:
        caller.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
    deadline = time.monotonic() + 20
    while sample(api.get("/metrics").text, closed) == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("sent", [{}, {"content-type": "text/plain"}])
def test_every_answer_has_an_id(api: httpx.Client, sent: dict) -> None:
    assert api.post("/explain", content=b"{}", headers=sent).headers["x-request-id"]


def test_pages_elsewhere_can_read_our_own_errors(helpers, registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr("serving.routes.predict._from_features", fail)
    settings = registry.serving.model_copy(update={"cors_origins": ("https://shop.example",)})
    with helpers.serving(settings) as client:
        body = helpers.as_customers(helpers.random_customers(1))
        response = client.post("/predict", json=body, headers={"Origin": "https://shop.example"})
    assert response.status_code == 500
    assert response.headers["access-control-allow-origin"] == "https://shop.example"
