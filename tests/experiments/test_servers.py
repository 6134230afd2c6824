"""The servers that take the place of `clv`."""

import os
from typing import NoReturn

import pytest

from serving.server import listen


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What took the place of the process: its arguments and environment."""
    found: list[tuple[list[str], dict[str, str]]] = []

    def become(_: str, command: list[str], environment: dict[str, str]) -> NoReturn:
        found.append((command, environment))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", become)
    return found


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with listen("127.0.0.1", 0) as probe:
        free: int = probe.getsockname()[1]
        return free


def test_the_ui_is_told_its_store_where_ps_does_not_show_it(lab, clv, started, port: int) -> None:
    assert clv(lab.home, "ui", "--port", port).code == 0
    ((command, environment),) = started
    store = f"sqlite:///{lab.home / 'mlflow.db'}"
    assert not any(store in word for word in command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == store


@pytest.mark.parametrize("host", [None, "0.0.0.0"])
def test_the_app_is_shown_to_this_machine_alone_unless_told(lab, clv, started, port: int, host: str | None) -> None:
    assert clv(lab.home, "app", "--port", port, *(["--host", host] if host else [])).code == 0
    ((command, _),) = started
    assert command[command.index("--server.address") + 1] == (host or "127.0.0.1")
