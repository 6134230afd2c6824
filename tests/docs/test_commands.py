"""Every command of README and docs: known to the command line, run as shown, or said to need an account."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from experiments.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("docs/decisions/*.md")])
SERVERS = {"ui": 5000, "serve": 8000, "app": 8501}
ELSEWHERE = {
    "gcloud": "needs a Google Cloud account",
    "bq": "needs a Google Cloud account",
    "docker": "needs a Docker engine",
    "git": "needs the repository's address",
    "uvx": "fetches a tool",
    "curl": "needs a running service; tests/serving runs the examples of docs/serving.md",
    "crontab": "changes the machine",
    "awk": "tests/clv/test_sources_transactions.py runs the line that converts CDNOW",
}
"""Commands that no test can run on any machine, and why."""


class Command(NamedTuple):
    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """Without environment, as typed."""
        words = shlex.split(self.text, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        return words

    @property
    def program(self) -> str:
        return Path(self.words[0]).name if self.words else ""

    @property
    def needs_account(self) -> bool:
        return "bigquery://" in self.text or "PROJECT" in self.text


def _commands() -> Iterator[Command]:
    for page in PAGES:
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                command = Command(str(page.relative_to(REPOSITORY)), line.strip())
                if command.words:
                    yield command


COMMANDS = list(_commands())


def _name(command: Command) -> str:
    return f"{command.page}: {command.text}"


@pytest.mark.parametrize("command", COMMANDS, ids=_name)
def test_a_command_of_the_documentation_is_known(command: Command) -> None:
    if command.program in ELSEWHERE:
        return
    if command.program == "make":
        targets = re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
        assert [word for word in command.words[1:] if "=" not in word and word not in targets] == []
    elif command.program == "clv":
        _parse(command.words[1:])
    elif command.program == "mlflow":
        assert command.words[1] == "run"
        entries = (REPOSITORY / "MLproject").read_text()
        assert "-e" not in command.words or f"\n  {command.words[command.words.index('-e') + 1]}:\n" in entries
    elif command.program == "python":
        assert (REPOSITORY / _script(command.words)).exists()
    else:
        pytest.fail(
            f"{command.page} shows {command.text!r}: neither run by a test nor listed in ELSEWHERE with a reason"
        )


def _script(words: list[str]) -> str:
    return words[2].replace(".", "/") + ".py" if words[1] == "-m" else words[1]


def _parse(words: list[str]) -> None:
    """Let the command line read the words, without running anything; usage errors surface."""
    group: Any = typer.main.get_command(app)
    with group.make_context("clv", list(words)) as context:
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, verb, arguments = group.resolve_command(context, rest)
        assert verb is not None
        with verb.make_context(name, arguments, parent=context):
            pass


def test_readme_shows_the_two_commands_that_do_all_the_set_up() -> None:
    shown = [command.text.split("#")[0].strip() for command in COMMANDS if command.page == "README.md"]

    assert shown[:2] == ["make demo", "make test"]


@pytest.fixture(scope="module")
def desk(full_scale: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as README's reader has it after `make demo`: the files it names, and the demo's home (smaller)."""
    if not full_scale:
        pytest.skip("README's commands are run at full scale, by `make check`")
    folder = tmp_path_factory.mktemp("desk")
    _clv(folder, "--home", "synthetic", "synth", "made-up", "--customers", "3000", "--shape", "transactions")
    (folder / "made-up" / "transactions.csv").rename(folder / "transactions.csv")
    _clv(folder, "demo", "--customers", "3000")
    return folder


def _clv(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *words],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"clv {shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "CLV_HOME": str(folder / ".clv")}


README = [command for command in COMMANDS if command.page == "README.md" and not command.needs_account]


@pytest.mark.parametrize("command", [c for c in README if c.program == "clv"], ids=_name)
def test_a_command_of_readme_works_as_shown(command: Command, desk: Path) -> None:
    words = command.words[1:]
    if "brazilian-ecommerce.zip" in words:
        pytest.skip("the same command runs in tests/experiments/test_real_data.py")
    if words[0] in SERVERS:
        _starts(desk, words[0])
        return
    done = _clv(desk, *words)

    if "--predictions" in words:
        assert (desk / words[words.index("--predictions") + 1]).stat().st_size > 1000
    assert "Traceback" not in done.stderr


def _starts(folder: Path, verb: str) -> None:
    """The server answers on its port, and ends when told to."""
    url = f"http://127.0.0.1:{SERVERS[verb]}/"
    server = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", verb],
        cwd=folder,
        env=_environment(folder),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            assert server.poll() is None, f"clv {verb} ended by itself"
            try:
                urllib.request.urlopen(url, timeout=5).read()
            except urllib.error.HTTPError:
                break  # it answers
            except OSError:
                time.sleep(0.2)
            else:
                break
        else:
            pytest.fail(f"clv {verb} does not answer at {url}")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)
