"""Run the service."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import time

import uvicorn
from fastapi import FastAPI

from clv.errors import InputError
from serving.app import create_app
from serving.logs import log_json
from serving.service import Service
from serving.settings import ServingSettings

_DRAIN_SECONDS = 1.0


def restrict_process() -> None:
    """Set what MLflow reads from the environment: no pickle, no telemetry, and no long retries of a dead registry."""
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


def collect_seldom() -> None:
    """Look for cycles only after so many new objects: a large request makes tens of thousands, and none is in one."""
    gc.set_threshold(50_000, 20, 20)


def listen(host: str, port: int) -> socket.socket:
    """A socket listening on an address; port 0 means any free one.

    Raises
    ------
    InputError
        If it can't be had.
    """
    bound: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()  # from here on callers wait for the app to start instead of being turned away
    except (OSError, OverflowError) as error:
        if bound is not None:
            bound.close()
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise InputError(
            f"Can't listen on {host}:{port} ({error}); choose another --{'port' if is_taken else 'host or --port'}."
        ) from None
    return bound


class DrainingServer(uvicorn.Server):
    """A server that loses no request when it is told to end.

    Uvicorn hangs up on idle connections at once, also on those over which the next request is just coming in. Here
    nobody new is let in, connections are told by their next answer that it was the last, and only those that stay
    silent are hung up on.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then shut down as uvicorn does."""
        for listening in self.servers:
            listening.close()
        for bound in sockets or []:
            bound.close()
        app: FastAPI = self.config.app  # type: ignore[assignment]
        app.state.service.draining.set()
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self.server_state.connections and not self.force_exit and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def server(app: FastAPI, log_level: str | None = None) -> uvicorn.Server:
    """A uvicorn server of the app, not started."""
    service: Service = app.state.service
    return DrainingServer(
        uvicorn.Config(
            app,
            log_config=None,
            log_level=log_level,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=service.settings.shutdown_seconds,
        )
    )


def serve(settings: ServingSettings, bound: socket.socket) -> None:
    """Serve on a socket of :func:`listen` until interrupted; requests in flight are then answered."""
    restrict_process()
    collect_seldom()
    log_json()
    with bound:
        server(create_app(settings)).run(sockets=[bound])
