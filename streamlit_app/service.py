"""Which API the app talks to: the one in ``CLV_API_URL``, else one of its own in this very process."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

import streamlit as st

from streamlit_app.client import Client

_PATIENCE_SECONDS = 60


@st.cache_resource(show_spinner="Starting the prediction service …")
def own_api() -> str:
    """Start the service of this repository on a free port, once per process; returns its address."""
    from serving.app import create_app
    from serving.server import listen, restrict_process, server
    from serving.settings import ServingSettings

    restrict_process()
    app = create_app(ServingSettings.from_environment(os.environ))
    bound = listen("127.0.0.1", 0)
    port = bound.getsockname()[1]
    running = server(app, log_level="warning")
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, name="clv-api", daemon=True)
    thread.start()
    atexit.register(_stop, running, thread)
    app.state.service.holder.wait_for_first(_PATIENCE_SECONDS)
    return f"http://127.0.0.1:{port}"


def _stop(running: Any, thread: threading.Thread) -> None:
    """Let the service end in good order when the app ends."""
    running.should_exit = True
    thread.join(timeout=5)


def client() -> Client:
    """Client of the API."""
    url = os.environ.get("CLV_API_URL", "").strip().rstrip("/") or own_api()
    return _client(url, os.environ.get("CLV_API_KEY") or None)


@st.cache_resource(max_entries=4)
def _client(url: str, api_key: str | None) -> Client:
    return Client(url, api_key)
