"""Counts and latencies in Prometheus' text format."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from serving.mirror import Mirror
from serving.shop_source import Source

if TYPE_CHECKING:
    from serving.service import Service

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram, in seconds."""


class Metrics:
    """What one process has done since it started; counted from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()

    def add_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._requests[method, route, status] += 1
            buckets = self._buckets.get(route)
            if buckets is None:
                buckets = self._buckets[route] = [0] * (len(BUCKETS) + 1)
            buckets[bisect_left(BUCKETS, seconds)] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]

    def add_rows(self, kind: str, rows: int) -> None:
        """Count customers that got an answer of a kind."""
        with self._lock:
            self._rows[kind] += rows

    def text(self, service: Service) -> str:
        """All of it, with what the service says of its model, its registry and its log."""
        with self._lock:
            requests, rows, seconds = self._requests.copy(), self._rows.copy(), self._seconds.copy()
            buckets = {route: list(counts) for route, counts in self._buckets.items()}
        state, log = service.holder.state, service.log
        lines = [
            *_family("clv_requests_total", "counter", "Requests answered, by route and status."),
            *(
                _sample("clv_requests_total", count, method=method, route=route, status=str(status))
                for (method, route, status), count in sorted(requests.items())
            ),
            *_family("clv_request_seconds", "histogram", "Seconds from a request's head to its answer's end."),
            *(line for route, counts in sorted(buckets.items()) for line in _histogram(route, counts, seconds[route])),
            *_family("clv_rows_total", "counter", "Customers answered."),
            *(_sample("clv_rows_total", count, kind=kind) for kind, count in sorted(rows.items())),
            *_family("clv_ready", "gauge", "1 if a model is in service."),
            _sample("clv_ready", int(state.model is not None)),
        ]
        if state.model is not None:
            version = state.model.version
            lines += [
                *_family("clv_model_info", "gauge", "The version in service."),
                _sample("clv_model_info", 1, name=version.name, version=version.version or "", stage=version.stage),
                *_family("clv_model_loaded_timestamp_seconds", "gauge", "When it was loaded."),
                _sample("clv_model_loaded_timestamp_seconds", state.model.loaded_at.timestamp()),
            ]
        lines += [
            *_family("clv_refused_versions_total", "counter", "Versions that failed their checks and are not served."),
            _sample("clv_refused_versions_total", service.holder.refusals),
            *_family("clv_registry_up", "gauge", "1 if the registry could be followed at the last attempt."),
            _sample("clv_registry_up", int(state.checked_at is not None and state.trouble is None)),
            *_family("clv_prediction_log_rows_total", "counter", "Predictions written to the log."),
            _sample("clv_prediction_log_rows_total", log.written if log else 0),
            *_family("clv_prediction_log_dropped_rows_total", "counter", "Predictions the log had no room for."),
            _sample("clv_prediction_log_dropped_rows_total", log.dropped if log else 0),
            *_family("clv_prediction_log_failures_total", "counter", "Attempts to write the log that failed."),
            _sample("clv_prediction_log_failures_total", log.failures if log else 0),
            *_shop(service.shop.source),
        ]
        return "\n".join(lines) + "\n"


def _shop(source: Source) -> Iterator[str]:
    """The copy of a shop in BigQuery, if there is to be one."""
    if not isinstance(source, Mirror):
        return
    state = source.state
    yield from _family("clv_shop_up", "gauge", "1 if the shop in BigQuery could be followed at the last attempt.")
    yield _sample("clv_shop_up", int(state.is_known and state.trouble is None))
    yield from _family("clv_shop_copies_total", "counter", "Scorings copied from BigQuery.")
    yield _sample("clv_shop_copies_total", state.copies)
    yield from _family("clv_shop_failures_total", "counter", "Attempts to follow the scored shop that failed.")
    yield _sample("clv_shop_failures_total", state.failures)
    if state.at is not None:
        yield from _family("clv_shop_copied_timestamp_seconds", "gauge", "When the copy that is shown was made.")
        yield _sample("clv_shop_copied_timestamp_seconds", state.at.timestamp())


def _family(name: str, kind: str, description: str) -> tuple[str, str]:
    return f"# HELP {name} {description}", f"# TYPE {name} {kind}"


def _sample(metric: str, value: float, **labels: str) -> str:
    return f"{metric}{_labels(labels)} {value}"


def _labels(labels: Mapping[str, str]) -> str:
    shown = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{shown}}}" if shown else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _histogram(route: str, counts: list[int], seconds: float) -> Iterator[str]:
    total = 0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
        total += count
        yield _sample("clv_request_seconds_bucket", total, route=route, le=bound)
    yield _sample("clv_request_seconds_sum", seconds, route=route)
    yield _sample("clv_request_seconds_count", total, route=route)
