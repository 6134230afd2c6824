"""Run the service."""

from __future__ import annotations

import logging
import os
import socket

import uvicorn
from fastapi import FastAPI

from clv.errors import InputError
from serving.app import create_app
from serving.settings import ServingSettings


def restrict_process() -> None:
    """Set what MLflow reads from the environment: no pickle, no telemetry, and no long retries of a dead registry."""
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 means any free one.

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
    except (OSError, OverflowError) as error:
        if bound is not None:
            bound.close()
        raise InputError(f"Can't listen on {host}:{port} ({error}); choose another --host or --port.") from None
    return bound


def server(app: FastAPI, log_level: str | None = None) -> uvicorn.Server:
    """A uvicorn server of the app, not started."""
    return uvicorn.Server(
        uvicorn.Config(app, log_config=None, log_level=log_level, access_log=False, server_header=False)
    )


def serve(settings: ServingSettings, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until interrupted.

    Raises
    ------
    InputError
        If the address is taken.
    """
    restrict_process()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with listen(host, port) as bound:
        server(create_app(settings)).run(sockets=[bound])
