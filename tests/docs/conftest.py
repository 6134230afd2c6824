"""A desk: the place where a reader of README and docs sits and types."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.experiments.conftest import Lab, copy_home, environment, lab

__all__ = ["Desk", "desk", "lab"]


@dataclass(frozen=True)
class Desk:
    """A folder as a reader has it: `.venv`, the files that a page names, and `.clv` where something was done before."""

    folder: Path
    lab: Lab
    settings: dict[str, str] = field(default_factory=dict)

    def type(self, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Give a line to the shell."""
        return subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def do(self, text: str, *codes: int, **variables: str) -> None:
        """Type a line that has to succeed, or to end with one of these exit codes."""
        done = self.type(text, **variables)
        assert done.returncode in (codes or (0,)), f"$ {text}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, f"$ {text}\n{done.stderr}"

    def has_a_model(self) -> None:
        """As after `clv run`: version 1 is in Production."""
        copy_home(self.lab.home, self.folder / ".clv")

    def start(self, text: str) -> None:
        """Type a line that starts a server; it answers, and ends when told to."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = subprocess.Popen(
            ["bash", "-c", f"exec {text} --port {port}"],
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 120
            while not _answers(f"http://127.0.0.1:{port}/"):
                assert server.poll() is None, f"{text} ended by itself"
                assert time.monotonic() < deadline, f"{text} does not answer"
                time.sleep(0.2)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=60)

    @property
    def environment(self) -> dict[str, str]:
        """No setting of `clv` but the desk's; both ways the pages write it lead to the one under test."""
        rest = {name: value for name, value in environment(self.folder).items() if name != "CLV_HOME"}
        return rest | self.settings | {"PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}"}

    def write(self, name: str, keep: Callable[[str], bool] = lambda _: True) -> None:
        """The lab's purchases of some days as a file."""
        with self.lab.log.open() as log, (self.folder / name).open("w") as file:
            file.writelines(line for number, line in enumerate(log) if not number or keep(line.split(",")[2]))


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).read()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Desk:
    """An empty one, with `clv` installed."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return Desk(tmp_path, lab)
