"""The file of a search survives what a killed process leaves behind, and says what it can't go on with."""

import subprocess
import sys
from pathlib import Path

import pytest

from clv.errors import InputError, UnavailableError
from experiments.study import give_up_killed, open_study

SPACE = 7


def search(path: Path, trials: int, *, space: int = SPACE, resume: bool = True) -> list[float]:
    """Make some trials; values of all finished ones."""
    with open_study(path, space=space, seed=1, resume=resume) as study:
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials)
        return [trial.value for trial in study.trials if trial.state.is_finished()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "studies" / "key.journal"
    assert len(search(path, 3)) == 3
    return path


def test_a_study_goes_on_or_begins_anew(path: Path) -> None:
    first = search(path, 0)
    assert search(path, 2)[:3] == first
    assert search(path, 1, resume=False) == first[:1]


@pytest.mark.parametrize("rest", ['{"op_code":5,"wor', '{"op_code":5,"wor\n', "\x00\x00\x00"])
def test_a_line_written_by_halves_is_left_out(path: Path, rest: str) -> None:
    before = search(path, 0)
    with path.open("a") as file:
        file.write(rest)
    assert search(path, 2)[:3] == before
    assert len(search(path, 0)) == 5


def test_a_damaged_study_is_told(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "garbage", *lines[3:]]) + "\n")
    with pytest.raises(InputError, match=rf"Study {path} is damaged.*leaving out --resume"):
        search(path, 1)
    assert len(search(path, 1, resume=False)) == 1


def test_a_study_of_another_space_is_told(path: Path) -> None:
    with pytest.raises(InputError, match=r"another search space.*leaving out --resume"):
        search(path, 1, space=SPACE + 1)
    assert len(search(path, 1, space=SPACE + 1, resume=False)) == 1


HOLDER = """
import sys
from pathlib import Path
from experiments.study import give_up_killed, open_study
with open_study(Path(sys.argv[1]), space=7, seed=1, resume=True) as study:
    study.ask()
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_one_process_at_a_time_and_a_killed_one_leaves_no_lock(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UnavailableError, match="Another process is tuning"):
            search(path, 1)
        holder.kill()
        holder.wait(20)
        assert len(search(path, 1)) == 4


def test_a_study_of_another_seed_is_told(path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"another seed \(1, this is 2\).*leaving out --resume"),
        open_study(path, space=SPACE, seed=2, resume=True),
    ):
        pass


def test_a_resumed_study_draws_nothing_twice(path: Path) -> None:
    assert len(set(search(path, 3))) == 6


def test_trials_that_were_under_way_when_killed_are_failed(path: Path) -> None:
    with open_study(path, space=SPACE, seed=1, resume=True) as study:
        study.ask()
    with open_study(path, space=SPACE, seed=1, resume=True) as study:
        give_up_killed(study)
        assert [trial.state.name for trial in study.trials] == [*["COMPLETE"] * 3, "FAIL"]
