"""Full disks, kill -9, two writers, a gate that refuses: what was good stays good, and the next call works."""

import errno
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from tests.processes import files_up_to

pytestmark = pytest.mark.timeout(600)

LOG = ["--source", "transactions"]

KINDS = ("run", "tune", "train")
"""Kinds of runs that a lab has, one of each."""


def runs_of(home: Path, kind: str) -> list[dict[str, str]]:
    """Status and tags of the runs of a kind, oldest first; read from the store's file, as nothing else may run."""
    with closing(sqlite3.connect(f"file:{home / 'mlflow.db'}?mode=ro", uri=True)) as store:
        found = store.execute(
            "select run_uuid, status from runs join tags using (run_uuid) where key = 'clv.kind' and value = ? "
            "order by start_time",
            [kind],
        ).fetchall()
        return [
            dict(store.execute("select key, value from tags where run_uuid = ?", [run_id])) | {"status": status}
            for run_id, status in found
        ]


# Disk full.


def limited(size: int) -> dict[str, object]:
    """Options of a process that may write no file beyond `size` bytes, not even bytecode of the code under test."""
    return {
        "first": files_up_to(size),
        "variables": {"PYTHONDONTWRITEBYTECODE": "1"},
    }


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["run", "{log}", *LOG], 100_000),
        (["load", "{log}", *LOG], 500_000),
        (["transform", "--horizon-days", "30"], 1_000_000),
        (["train"], 100_000),
        (["score", "--predictions", "{home}/out.csv"], 20_000),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_full_disk_is_told_and_leaves_the_last_good_state(
    arguments, size, copy_of_lab, clv_process, finished
) -> None:
    lab = copy_of_lab
    before, runs = lab.state, {kind: runs_of(lab.home, kind) for kind in KINDS}
    verb = [argument.format(log=lab.log, home=lab.home) for argument in arguments]
    answer = finished(clv_process(lab.home, "--quiet", *verb, **limited(size)))
    answer.refused(4, str(lab.home))
    assert lab.state == before
    assert not (lab.home / "out.csv").exists()
    assert not list(lab.home.glob(".*.next*"))
    assert all(runs.values())
    assert {kind: runs_of(lab.home, kind) for kind in KINDS} == runs, "a disk that full takes no further run"


def test_with_space_again_the_same_calls_work(copy_of_lab, clv, clv_process, finished, tmp_path: Path) -> None:
    lab = copy_of_lab
    for verb in (["score"], ["load", lab.log, *LOG]):
        assert finished(clv_process(lab.home, "--quiet", *verb, **limited(20_000))).code == 4
        assert clv(lab.home, *verb).code == 0


@pytest.mark.usefixtures("unrendered")
def test_a_disk_that_is_full_while_the_model_is_logged_registers_nothing(copy_of_lab, clv, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/elsewhere/model.ubj")

    lab = copy_of_lab
    before = lab.state
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.pyfunc.log_model", full)
        clv(lab.home, "train").refused(4, "/elsewhere/model.ubj", "No space left on device")
    assert lab.state == before
    assert runs_of(lab.home, "train")[-1]["status"] == "FAILED"


# Killed.


def kill_when(process: subprocess.Popen[str], sign: Callable[[], object]) -> None:
    """Kill -9 as soon as there is a sign of progress; the process must not have ended by then."""
    deadline = time.monotonic() + 90
    while not sign():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    assert process.wait(20) == -9
    process.communicate()


@pytest.mark.parametrize(
    "arguments", [["load", "{log}", *LOG], ["transform", "--horizon-days", "30"], ["score"]], ids=lambda value: value[0]
)
def test_what_is_killed_while_it_writes_the_warehouse_can_be_given_again(
    arguments, copy_of_lab, clv, clv_process
) -> None:
    lab = copy_of_lab
    before = lab.state
    verb = [argument.format(log=lab.log) for argument in arguments]
    kill_when(clv_process(lab.home, *verb), (lab.home / ".warehouse.duckdb.next").exists)
    assert lab.state == before
    again = clv(lab.home, *verb)
    assert again.code == 0, again.err
    assert lab.state[1:] == before[1:]
    assert not list(lab.home.glob(".*.next*"))


@pytest.mark.usefixtures("unrendered")
def test_a_killed_training_registers_nothing_and_the_next_one_does(copy_of_lab, clv, clv_process) -> None:
    lab = copy_of_lab
    before = lab.state
    kill_when(clv_process(lab.home, "train"), lambda: len(runs_of(lab.home, "train")) == 2)
    assert lab.state == before
    assert runs_of(lab.home, "train")[-1]["status"] == "RUNNING"
    again = clv(lab.home, "--json", "train")
    assert (again.code, again.json["version"]) == (0, "2"), again.err
    assert lab.state[1] == [(1, "Production"), (2, "None")]


def test_a_killed_search_goes_on_with_its_finished_trials(copy_of_lab, clv, clv_process) -> None:
    lab = copy_of_lab
    kill_when(clv_process(lab.home, "tune", "--trials", 500), lambda: len(runs_of(lab.home, "trial")) >= 4)
    kept = len(runs_of(lab.home, "trial")) - 1  # one is of the shop's first run
    resumed = clv(lab.home, "--json", "tune", "--trials", kept + 2, "--resume")
    assert resumed.code == 0, resumed.err
    assert resumed.json["trials"] == kept + 2
    assert kept <= len(runs_of(lab.home, "trial")) - 1 <= kept + 2
    anew = clv(lab.home, "--json", "tune", "--trials", 1)
    assert (anew.code, anew.json["trials"]) == (0, 1), anew.err


def test_an_interrupt_after_the_work_changes_nothing() -> None:
    last_moment = (
        "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT); "
        "from experiments.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", last_moment, "version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Two writers.

HOLDER = """
import sys
from pathlib import Path
from clv.home import Home
with Home(Path(sys.argv[1])).writing("train"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_the_second_writer_waits_then_says_who_holds_the_lock(copy_of_lab, clv, clv_process, finished) -> None:
    lab = copy_of_lab
    before = lab.state
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lab.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        answer = clv(lab.home, "load", lab.log, *LOG, CLV_LOCK_WAIT_SECONDS="0.5")
        answer.refused(4, "is being written by `clv train`", f"process {holder.pid}")
        assert lab.state == before
        waiting = clv_process(lab.home, "--quiet", "load", lab.log, *LOG)
        time.sleep(3)
        assert waiting.poll() is None
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert finished(waiting).code == 0


@pytest.mark.full_scale(
    "two gates beside each other: `make check` runs it; tests/experiments/test_registry.py has one process"
)
def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(copy_of_lab, clv, clv_process, finished) -> None:
    """Two people, two processes: both gates have seen version 1 in Production, only one may replace it."""
    lab = copy_of_lab
    lab.register_again()
    lab.register_again()
    started = {who: clv_process(lab.home, "--quiet", "promote", n, "--by", who) for who, n in (("ana", 2), ("bo", 3))}
    answers = {who: finished(process) for who, process in started.items()}
    assert sorted(answer.code for answer in answers.values()) == [0, 4], answers
    [winner] = [who for who, answer in answers.items() if answer.code == 0]
    [loser] = answers.keys() - {winner}
    version = {"ana": "2", "bo": "3"}[winner]
    assert answers[winner].err == ""
    assert answers[loser].err == (
        f"Error: Production changed from version 1 to {version} meanwhile; look at `clv history` and promote again.\n"
    )
    events = clv(lab.home, "--json", "history").json
    assert [(event["by"], event["version"], event["former"]) for event in events[1:]] == [(winner, version, "1")]
    assert [number for number, stage in lab.state[1] if stage == "Production"] == [int(version)]
    assert lab.state[2] == [("production", int(version))]


# The gate refuses inside `clv run`.


@pytest.fixture
def refusing(copy_of_lab, monkeypatch):
    """A home whose gate finds every level wrong; loading and transforming, which change nothing here, are left out."""
    for step in ("load", "transform"):
        monkeypatch.setattr(f"experiments.run.{step}", lambda *_, **__: None)
    monkeypatch.setattr("experiments.gate.LEVEL_BOUNDS", (50.0, 60.0))
    return copy_of_lab


@pytest.mark.usefixtures("unrendered")
def test_refused_by_the_gate_the_model_in_production_predicts(refusing, clv, tmp_path: Path) -> None:
    lab, out = refusing, tmp_path / "out.csv"
    done = clv(lab.home, "--json", "run", lab.log, *LOG, "--horizon-days", 30, "--trials", 1, "--predictions", out)
    assert done.code == 0, done.err
    assert done.json["scored_by"] == "version 1"
    assert "refused version 2" in done.err
    assert "Predictions are by version 1." in done.err
    assert done.json["expected_value_low"] < done.json["expected_value"] < done.json["expected_value_high"]
    assert clv(lab.home, "score", "--predictions", tmp_path / "plain.csv").code == 0
    assert out.read_bytes() == (tmp_path / "plain.csv").read_bytes()
    run = runs_of(lab.home, "run")[-1]
    assert (run["status"], run["clv.scored_by"], run["clv.version"]) == ("FINISHED", "version 1", "2")
    assert "level" in run["clv.refused"]
    assert lab.state[1] == [(1, "Production"), (2, "None")]


@pytest.mark.full_scale("a second refused run: `make check` runs it")
def test_refused_with_nothing_that_fits_the_best_baseline_predicts(refusing, clv, tmp_path: Path) -> None:
    lab, out = refusing, tmp_path / "out.parquet"
    with closing(sqlite3.connect(lab.home / "mlflow.db")) as store, store:
        store.execute("update model_version_tags set value = '60' where key = 'clv.horizon_days'")
    done = clv(lab.home, "--json", "run", lab.log, *LOG, "--horizon-days", 30, "--trials", 1, "--predictions", out)
    assert done.code == 0, done.err
    by = done.json["scored_by"]
    assert by.startswith("baseline ")
    assert f"Predictions are by {by}, which knows no interval of a single customer." in done.err
    assert done.json["expected_value_low"] < done.json["expected_value"] < done.json["expected_value_high"]
    assert runs_of(lab.home, "run")[-1]["clv.scored_by"] == by
    found = pd.read_parquet(out)
    assert len(found) == done.json["customers"] > 0
    assert found["p_return"].between(0, 1).all()
    assert found["percentile"].is_monotonic_decreasing
    assert found["value_if_return_low"].isna().all()
    assert (found["expected_value"] - found["p_return"] * found["value_if_return"]).abs().max() < 1e-9
