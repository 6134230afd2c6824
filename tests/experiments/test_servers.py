"""The servers that take the place of `clv`."""

import os
from typing import NoReturn

import pytest

from serving.server import listen


def test_the_ui_is_told_its_store_where_ps_does_not_show_it(lab, clv, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def become(_: str, command: list[str], environment: dict[str, str]) -> NoReturn:
        started.append((command, environment))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", become)
    with listen("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    assert clv(lab.home, "ui", "--port", port).code == 0
    ((command, environment),) = started
    store = f"sqlite:///{lab.home / 'mlflow.db'}"
    assert not any(store in word for word in command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == store
