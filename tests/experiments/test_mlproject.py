"""MLproject: every entry point is a verb with its real options; `mlflow run` and clv write one and the same run."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from mlflow import MlflowClient
from mlflow.projects._project_spec import load_project

from experiments import cli

VERBS = {"init", "load", "transform", "tune", "train", "evaluate", "backtest", "promote", "score", "monitor", "synth"}

# What has no default; the others keep theirs.
NEEDED = {"main": {"path": "shop.csv"}, "load": {"path": "shop.csv"}, "synth": {"folder": "shop"}}


@pytest.fixture(scope="module")
def project(repository: Path):
    return load_project(str(repository))


def arguments_of(project, entry_point: str, **parameters: str) -> list[str]:
    """What the shell would give `clv` for an entry point."""
    given = {**NEEDED.get(entry_point, {}), **parameters}
    command = project.get_entry_point(entry_point).compute_command(given, None)
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag, module) == ("python", "-m", "experiments.cli")
    return arguments


def test_every_marked_verb_is_an_entry_point(repository: Path) -> None:
    written = yaml.safe_load((repository / "MLproject").read_text())
    assert set(written["entry_points"]) >= VERBS | {"main"}
    for name, entry_point in written["entry_points"].items():
        command, parameters = entry_point["command"], entry_point.get("parameters", {})
        assert command.split()[3] == ("run" if name == "main" else name)
        assert all(f"{{{parameter}}}" in command for parameter in parameters)
        assert all(parameter["type"] in ("string", "path", "float", "uri") for parameter in parameters.values())


@pytest.mark.parametrize("name", [*sorted(VERBS), "main"])
def test_entry_points_give_verbs_the_options_they_have(name: str, project) -> None:
    verb, *arguments = arguments_of(project, name)
    command = typer.main.get_command(cli.app).commands[verb]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {argument.partition("=")[0] for argument in arguments if argument.startswith("--")} <= known


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("main", {"horizon_days": "0"}, "--horizon-days"),
        ("main", {"as_of": "tomorrow"}, "--as-of"),
        ("main", {"source": "shopify"}, "--source"),
        ("main", {"trials": "some"}, "--trials"),
        ("main", {"predictions": "out.xls"}, "out.xls"),
        ("load", {"source": "shopify"}, "--source"),
        ("load", {"source": "transactions", "decimal": ";"}, "--decimal"),
        ("transform", {"horizon_days": "-1"}, "--horizon-days"),
        ("tune", {"jobs": "0"}, "--jobs"),
        ("score", {"predictions": "out"}, ".csv or .parquet"),
        ("backtest", {"horizons": "30,soon"}, "--horizons"),
        ("backtest", {"cutoffs": "last year"}, "--cutoffs"),
        ("synth", {"customers": "none"}, "--customers"),
        ("synth", {"shape": "tree"}, "--shape"),
    ],
)
def test_a_wrong_parameter_is_told(name: str, parameters: dict[str, str], words: str, project, clv, tmp_path) -> None:
    clv(tmp_path / "home", *arguments_of(project, name, **parameters)).refused(2, words)


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty") / "home"


@pytest.mark.parametrize("name", ["transform", "train", "evaluate", "backtest", "promote", "score", "monitor"])
def test_an_empty_parameter_counts_as_not_given(name: str, project, clv, empty_home: Path) -> None:
    """They get as far as missing what comes before them."""
    clv(empty_home, *arguments_of(project, name)).refused(
        2, "clv train" if name in ("evaluate", "backtest", "promote") else "clv load"
    )


def test_a_log_with_columns_of_its_own_is_loaded(project, clv, tmp_path: Path) -> None:
    log = tmp_path / "umsatz.csv"
    log.write_text("kunde;am;summe\nA;31.12.2023;1.234,50\nB;01.01.2024;2,50\n")
    columns = {"customer_column": "kunde", "time_column": "am", "amount_column": "summe", "time_format": "%d.%m.%Y"}
    how = {"source": "transactions", "decimal": ",", "delimiter": ";", "currency": "EUR"}
    answer = clv(tmp_path / "home", "--json", *arguments_of(project, "load", path=str(log), **how, **columns))
    assert answer.code == 0, answer.err
    assert float(answer.json["total_amount"]) == 1237


def test_the_marts_keep_their_horizon(project) -> None:
    assert "--horizon-days=" in arguments_of(project, "transform")


@pytest.mark.timeout(300)
def test_mlflow_run_and_clv_write_the_same_run(copy_of_lab, repository: Path) -> None:
    lab = copy_of_lab
    store = f"sqlite:///{lab.home / 'mlflow.db'}"
    client = MlflowClient(store, store)
    experiment = client.get_experiment_by_name("clv").experiment_id
    before = {run.info.run_id for run in client.search_runs([experiment])}
    programs = Path(sys.executable).parent
    done = subprocess.run(
        [programs / "mlflow", "run", ".", "-e", "train", "--env-manager", "local", "--experiment-name", "clv"],
        cwd=repository,
        env={
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "CLV_HOME": str(lab.home),
            "CLV_THREADS": "2",
            "MLFLOW_TRACKING_URI": store,
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    (run,) = [run for run in client.search_runs([experiment]) if run.info.run_id not in before]
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.project.entryPoint"] == "train"
    assert run.data.tags["clv.kind"] == "train"
    assert "normalized_gini" in run.data.metrics
    assert client.get_model_version("clv", "2").run_id == run.info.run_id
