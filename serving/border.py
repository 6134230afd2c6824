"""Around every request: its id, its line in the log, its place in the metrics, its last resort.

Outside of it is CORS alone, if it is on, so that pages elsewhere can read our own errors too; what a browser asks
beforehand (``OPTIONS``) is answered there, and neither logged nor counted.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
import traceback
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics
from serving.problems import Problem, respond

HEADER = "X-Request-ID"

_HEADER = HEADER.lower().encode()
_USABLE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Routes that machines ask every few seconds; they are counted, not logged."""

_logger = logging.getLogger(__name__)


class Border:
    """ASGI middleware; it never looks into a body, and of an address it tells the route only.

    Parameters
    ----------
    app
        What it wraps.
    metrics
        Where requests are counted.
    draining
        Set when every answer is to be the last on its connection.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, draining: threading.Event) -> None:
        self._app = app
        self._metrics = metrics
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                last = ((b"connection", b"close"),) if self._draining.is_set() else ()
                message["headers"] = [*message.get("headers", ()), (_HEADER, request_id), *last]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            _log_error(error, request_id, scope)
            if status:
                raise ConnectionError("the answer broke off") from None  # half an answer must not look like a whole one
            problem = Problem(500, "The service made an error, which is in its log; the request was not answered.")
            await respond(problem)(scope, receive, send_with_id)
        finally:
            self._finish(scope, request_id, status, time.perf_counter() - started)

    def _finish(self, scope: Scope, request_id: bytes, status: int, seconds: float) -> None:
        route = _route(scope)
        self._metrics.add_request(scope["method"], route, status, seconds)
        if route not in _QUIET and _logger.isEnabledFor(logging.INFO):
            facts = {
                "request_id": request_id.decode(),
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
            }
            _logger.info("request", extra={"facts": facts})


def _request_id(scope: Scope) -> bytes:
    """The caller's id if it is a decent one, else a new one."""
    for name, value in scope["headers"]:
        if name == _HEADER and _USABLE.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(16).encode()


def _route(scope: Scope) -> str:
    """The route's pattern: a path may hold a customer's id, and there are endless paths that lead nowhere."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "unmatched"


def _log_error(error: Exception, request_id: bytes, scope: Scope) -> None:
    """Where it happened and of what kind; never the message, which may quote a customer."""
    facts = {
        "request_id": request_id.decode(),
        "method": scope["method"],
        "route": _route(scope),
        "error": type(error).__name__,
        "stack": [line.strip() for line in traceback.format_tb(error.__traceback__)],
    }
    _logger.error("a request failed", extra={"facts": facts})
