"""Which API the app talks to: the one in ``CLV_API_URL``, else one of its own in this very process.

The own service starts in the background, since importing what it needs takes seconds: a page can be used meanwhile.
Where there is no registry to serve, it serves a made-up demo shop, which is built first.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from clv.errors import ClvError, InputError
from clv.settings import Settings
from streamlit_app import demo
from streamlit_app.client import ApiError, Client

if TYPE_CHECKING:
    from serving.registry import Registry

_PATIENCE_SECONDS = 60
_LOOK_SECONDS = 0.2

_SAID = "shop_is_said_to_be_made_up"
"""Where a session keeps what `label` last said."""


class OwnService:
    """The service of this repository in this process.

    Parameters
    ----------
    environment
        Its settings.

    Attributes
    ----------
    is_demo
        Whether it serves the made-up demo shop.
    text, share
        What is being done; the share that is done, where that is known.
    url
        Its address, once it answers.
    error
        Why it can't.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._settings = Settings.from_environment(environment)
        self.is_demo = not _may_have_registry(self._settings)
        self.text = "Starting the prediction service"
        self.share: float | None = None
        self.url: str | None = None
        self.error: str | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to start it, once; returns at once."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="clv-start", daemon=True)
                self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether it has started, or can't."""
        return self._done.wait(seconds)

    def _run(self) -> None:
        try:
            self.url = self._serve()
        except ClvError as error:
            self.error = str(error)
        except Exception as error:
            # A page is waiting; whatever it is, people must be told.
            self.error = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._done.set()

    def _serve(self) -> str:
        if self.is_demo:
            self._build_demo()
        from serving.app import create_app
        from serving.registry import Registry
        from serving.server import listen, restrict_process, server
        from serving.settings import ServingSettings

        restrict_process()
        settings = ServingSettings.from_environment(self._environment)
        if not self.is_demo and _is_empty(Registry(settings.tracking_uri, settings.model_uri)):
            self.is_demo = True
            self._build_demo()
            settings = ServingSettings.from_environment(self._environment)
        app = create_app(settings)
        bound = listen("127.0.0.1", 0)
        port = bound.getsockname()[1]
        running = server(app, log_level="warning")
        thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, name="clv-api", daemon=True)
        thread.start()
        atexit.register(_stop, running, thread)
        app.state.service.holder.wait_for_first(_PATIENCE_SECONDS)
        return f"http://127.0.0.1:{port}"

    def _build_demo(self) -> None:
        """Build the demo shop and turn to it."""

        def report(text: str, share: float) -> None:
            self.text, self.share = f"Building a made-up demo shop, once: {text[0].lower()}{text[1:]}", share

        report("getting ready", 0.0)
        home = demo.build(demo.folder(self._settings), report)
        for name in ("CLV_WAREHOUSE", "MLFLOW_TRACKING_URI"):
            self._environment.pop(name, None)
        self._environment["CLV_HOME"] = str(home)
        self.text, self.share = "Starting the prediction service", None


def _may_have_registry(settings: Settings) -> bool:
    """Whether a registry may be there; a file that is missing is none, a server always may have one."""
    kind, _, path = settings.tracking_uri.partition(":///")
    return kind != "sqlite" or Path(path).exists()


def _is_empty(registry: Registry) -> bool:
    """Whether it is a file without any model; one that can't be asked is left to the service, which says why."""
    if not registry.tracking_uri.startswith("sqlite:"):
        return False
    try:
        return registry.is_empty()
    except ClvError:
        return False


def _stop(running: Any, thread: threading.Thread) -> None:
    """Let the service end in good order when the app ends."""
    running.should_exit = True
    thread.join(timeout=5)


@st.cache_resource(show_spinner=False)
def _own() -> OwnService:
    return OwnService(os.environ)


def label() -> str | None:
    """What must be said of the data shown, None if nothing; known before the service has started."""
    if _given_url():
        return None
    try:
        st.session_state[_SAID] = _own().is_demo
    except InputError:
        return None  # a wrong setting is told where the API is needed
    return demo.LABEL if st.session_state[_SAID] else None


def client() -> Client:
    """Client of the API; waits for the own one, showing how far it is.

    Raises
    ------
    InputError
        If a setting is wrong.
    ApiError
        If the own service can't start.
    """
    return _client(_given_url() or _own_url(), os.environ.get("CLV_API_KEY") or None)


def _given_url() -> str:
    return os.environ.get("CLV_API_URL", "").strip().rstrip("/")


def _own_url() -> str:
    own = _own()
    own.start()
    if not own.wait(0):
        place = st.empty()
        # Each change on the page lets Streamlit stop here for a rerun: people may go on meanwhile.
        while not own.wait(_LOOK_SECONDS):
            if own.share is None:
                place.markdown(f":material/hourglass_top: {own.text} …")
            else:
                place.progress(own.share, f"{own.text} …")
        place.empty()
    if own.error is not None:
        if _own() is own:  # somebody else may be trying again already
            _own.clear()
        raise ApiError("other", own.error)
    if own.is_demo != st.session_state.get(_SAID, own.is_demo):
        st.rerun()  # so that it is labelled
    assert own.url is not None
    return own.url


@st.cache_resource(max_entries=4)
def _client(url: str, api_key: str | None) -> Client:
    return Client(url, api_key)
