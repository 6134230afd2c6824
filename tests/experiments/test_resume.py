"""A search that goes on has one run with all its trials; one that can't go on says why and leaves nothing behind."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from experiments import tune
from experiments.study import open_study

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def client(copy_of_lab) -> MlflowClient:
    return MlflowClient(f"sqlite:///{copy_of_lab.home / 'mlflow.db'}")


@pytest.fixture
def runs(client: MlflowClient) -> Callable[[str], list[Run]]:
    """Runs of a kind, oldest first."""

    def find(kind: str) -> list[Run]:
        experiment = client.get_experiment_by_name("clv")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], f"tags.`clv.kind` = '{kind}'", order_by=["start_time"])
        return list(found)

    return find


def trials_below(runs: Callable[[str], list[Run]], parent: str) -> list[Run]:
    return [run for run in runs("trial") if run.data.tags["mlflow.parentRunId"] == parent]


def numbers(trials: list[Run]) -> list[int]:
    return sorted(int(run.data.tags["clv.trial"]) for run in trials)


def kill_while_searching(process: Popen[str], runs: Callable[[str], list[Run]]) -> None:
    """End it with no chance to clean up, after some trials."""
    deadline = time.monotonic() + 90
    while len(runs("trial")) < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("space", "seed", "words"),
    [
        (99, 42, f"of another search space ({tune.SPACE_VERSION}, this is 99)"),
        (tune.SPACE_VERSION, 7, "of another seed (42, this is 7)"),
    ],
)
def test_a_search_of_another_space_or_seed_is_not_resumed(
    space: int, seed: int, words: str, copy_of_lab, clv, runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "SPACE_VERSION", space)
    before = {kind: len(runs(kind)) for kind in ("tune", "trial")}
    again = ["tune", "--trials", 2]
    answer = clv(copy_of_lab.home, *again, "--resume", CLV_SEED=str(seed))
    answer.refused(2, words, "begin anew by leaving out --resume")
    assert {kind: len(runs(kind)) for kind in before} == before
    anew = clv(copy_of_lab.home, "--json", *again, CLV_SEED=str(seed))
    assert (anew.code, anew.json["trials"]) == (0, 2), anew.err


def test_with_nothing_to_resume_the_search_begins_anew_and_says_so(copy_of_lab, clv) -> None:
    for study in (copy_of_lab.home / "studies").glob("*.journal"):
        study.unlink()
    done = clv(copy_of_lab.home, "--json", "tune", "--trials", 1, "--resume")
    assert (done.code, done.json["trials"]) == (0, 1), done.err
    assert "no trial of these data to resume" in done.err


def test_a_complete_search_is_used_as_it_is(copy_of_lab, clv, runs) -> None:
    [first] = runs("tune")
    done = clv(copy_of_lab.home, "--json", "tune", "--trials", 1, "--resume")
    assert done.code == 0, done.err
    assert done.json["run_id"] == first.info.run_id
    assert "complete with 1 trials" in done.json["note"]
    assert done.json["gini"] == pytest.approx(first.data.metrics["cv_gini"], abs=1e-4)
    assert len(runs("tune")) == 1
    trained = clv(copy_of_lab.home, "evaluate", "--from-run", done.json["run_id"])
    assert trained.code == 0, trained.err


def test_more_trials_of_a_search_that_ended_have_a_run_that_holds_all(copy_of_lab, clv, runs) -> None:
    [first] = runs("tune")
    done = clv(copy_of_lab.home, "--json", "tune", "--trials", 3, "--resume")
    assert done.code == 0, done.err
    _, second = runs("tune")
    assert (second.info.run_id, second.data.params["trials"]) == (done.json["run_id"], "3")
    assert numbers(trials_below(runs, second.info.run_id)) == [0, 1, 2]
    assert numbers(trials_below(runs, first.info.run_id)) == [0]


def test_a_killed_search_goes_on_in_its_own_run(copy_of_lab, clv, clv_process, client, runs) -> None:
    home: Path = copy_of_lab.home
    kill_while_searching(clv_process(home, "tune", "--trials", 500), runs)
    _, killed = runs("tune")
    assert killed.info.status == "RUNNING"
    written = trials_below(runs, killed.info.run_id)
    client.update_run(written[0].info.run_id, "RUNNING")  # as if killed while it was written
    [number] = numbers(written[1:2])
    client.delete_run(written[1].info.run_id)  # as if killed before it was written
    target = len(written) + 3

    resumed = clv(home, "--json", "tune", "--trials", target, "--resume")
    assert resumed.code == 0, resumed.err
    assert resumed.json["run_id"] == killed.info.run_id
    _, parent = runs("tune")
    assert (parent.info.status, parent.data.params["trials"]) == ("FINISHED", str(target))
    assert parent.info.start_time == killed.info.start_time
    trials = trials_below(runs, killed.info.run_id)
    assert len(set(numbers(trials))) == len(trials) == target
    assert number in numbers(trials)
    assert {run.info.status for run in trials} == {"FINISHED"}
    assert Counter(run.data.tags["clv.state"] for run in trials).keys() <= {"complete", "pruned"}
    assert {run.inputs.dataset_inputs[0].dataset.name for run in [parent]} == {"customer_snapshots/training"}


def test_a_killed_chain_goes_on_with_its_search(copy_of_lab, clv, clv_process, client, runs) -> None:
    home: Path = copy_of_lab.home
    command = ["run", copy_of_lab.log, "--source", "transactions", "--horizon-days", 30]
    kill_while_searching(clv_process(home, *command, "--trials", 500), runs)
    chain, search = runs("run")[-1], runs("tune")[-1]
    assert {one.info.status for one in (chain, search)} == {"RUNNING"}
    target = len(trials_below(runs, search.info.run_id)) + 1

    done = clv(home, "--json", *command, "--trials", target, "--resume")
    assert done.code == 0, done.err
    former, latest = (client.get_run(run.info.run_id) for run in (chain, runs("run")[-1]))
    assert (former.info.status, latest.info.status) == ("KILLED", "FINISHED")
    resumed = client.get_run(search.info.run_id)
    assert resumed.info.status == "FINISHED"
    assert resumed.data.tags["mlflow.parentRunId"] == latest.info.run_id
    assert len(set(numbers(trials_below(runs, search.info.run_id)))) == target
    assert runs("tune")[-1].info.run_id == search.info.run_id


def test_a_default_that_was_under_way_when_killed_is_tried_again(copy_of_lab, clv) -> None:
    [path] = (copy_of_lab.home / "studies").glob("*.journal")
    with open_study(path, space=tune.SPACE_VERSION, seed=42, resume=False) as study:
        study.enqueue_trial(tune._default_parameters("hurdle"))
        study.ask()
    done = clv(copy_of_lab.home, "--json", "tune", "--trials", 2, "--resume")
    assert (done.code, done.json["trials"]) == (0, 2), done.err
    assert done.json["default_gini"] is not None


def test_a_search_whose_run_was_deleted_goes_on_in_a_new_one(copy_of_lab, clv, client, runs) -> None:
    [first] = runs("tune")
    client.delete_run(first.info.run_id)
    done = clv(copy_of_lab.home, "--json", "tune", "--trials", 2, "--resume")
    assert done.code == 0, done.err
    assert f"Run {first.info.run_id} of this search was deleted" in done.err
    [second] = runs("tune")
    assert second.info.run_id == done.json["run_id"]
    assert numbers(trials_below(runs, second.info.run_id)) == [0, 1]


def test_a_search_tells_its_data_and_how_long_each_trial_took(copy_of_lab, clv, runs) -> None:
    done = clv(copy_of_lab.home, "--json", "tune", "--trials", 2)
    assert done.code == 0, done.err
    parent = runs("tune")[-1]
    [training] = [one.dataset for one in parent.inputs.dataset_inputs]
    assert parent.data.tags["clv.data_fingerprint"].startswith(training.digest)
    [of_train] = [one.dataset for one in runs("train")[-1].inputs.dataset_inputs if one.dataset.name == training.name]
    assert (of_train.schema, of_train.profile) == (training.schema, training.profile)
    trials = sorted(trials_below(runs, parent.info.run_id), key=lambda run: int(run.data.tags["clv.trial"]))
    assert parent.info.start_time <= trials[0].info.start_time
    assert trials[0].info.end_time <= trials[1].info.start_time
    written = [max(metric.timestamp for metric in run.data._metric_objs) for run in trials]
    assert all(run.info.start_time < run.info.end_time <= at for run, at in zip(trials, written, strict=True))


def test_a_trial_that_was_given_up_is_no_failure(copy_of_lab, clv, runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.tune.Rivals.outdo", lambda *_: True)
    done = clv(copy_of_lab.home, "--json", "tune", "--trials", 1)
    assert done.code == 0, done.err
    [trial] = trials_below(runs, done.json["run_id"])
    assert (trial.info.status, trial.data.tags["clv.state"]) == ("FINISHED", "pruned")
    assert trial.info.run_name.endswith("(pruned)")
