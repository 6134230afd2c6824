"""The home of the app's demo shop: built once, whoever asks, and never half."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from clv.errors import UnavailableError
from experiments import demo_shop


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Homes the chain was run on; it only leaves a file there."""
    ran: list[Path] = []

    def run(home: Path, say: demo_shop.Say, customers: int, trials: int) -> None:
        ran.append(home)
        assert not home.exists()
        home.mkdir()
        say({"share": 0.5, "text": "Training"})
        (home / "model").touch()

    monkeypatch.setattr(demo_shop, "_run", run)
    return ran


def quiet(message: dict[str, Any]) -> None:
    """Nobody listens."""


def test_it_is_built_once(chain, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    assert demo_shop.home_of(tmp_path) is None
    home = demo_shop.build(tmp_path, said.append)
    assert said == [{"share": 0.5, "text": "Training"}]
    assert demo_shop.home_of(tmp_path) == home
    assert demo_shop.build(tmp_path, quiet) == home
    assert chain == [home]


def test_who_comes_second_waits_for_the_first(chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both_wait, homes, said = threading.Event(), [], []
    run = demo_shop._run

    def slow(*arguments: Any) -> None:
        assert both_wait.wait(20)
        run(*arguments)

    def say(message: dict[str, Any]) -> None:
        said.append(message["text"])
        if "Somebody else" in message["text"]:
            both_wait.set()

    monkeypatch.setattr(demo_shop, "_run", slow)
    visitors = [threading.Thread(target=lambda: homes.append(demo_shop.build(tmp_path, say))) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(30)
    assert len(homes) == 2
    assert chain == [homes[0]]
    assert homes[0] == homes[1]


def test_what_a_killed_process_left_behind_is_built_anew(chain, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "half").touch()
    home = demo_shop.build(tmp_path, quiet)
    assert [file.name for file in home.iterdir()] == ["model"]


@pytest.mark.parametrize("mark", ['{"clv": "0.0.0-other"}', "not JSON"])
def test_a_shop_of_another_version_is_built_anew(chain, tmp_path: Path, mark: str) -> None:
    home = demo_shop.build(tmp_path, quiet)
    (tmp_path / "built.json").write_text(mark)
    assert demo_shop.home_of(tmp_path) is None
    assert demo_shop.build(tmp_path, quiet) == home
    assert len(chain) == 2


def test_a_failure_leaves_nothing_that_looks_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise UnavailableError("No space left.")

    monkeypatch.setattr(demo_shop, "_run", fail)
    with pytest.raises(UnavailableError, match="No space left"):
        demo_shop.build(tmp_path, quiet)
    assert demo_shop.home_of(tmp_path) is None


def test_what_training_takes_is_not_in_memory_beside_dbt() -> None:
    script = "import sys, experiments.demo, experiments.run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert {"clv.load", "clv.transform"} <= modules
    assert not modules & {"mlflow", "optuna", "xgboost", "sklearn", "matplotlib"}
