"""The script of docs/monitoring.md for a scheduler: which verbs it calls, when it stops, with what it ends."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from clv.settings import Settings
from clv.snapshots import read_shop
from clv.warehouse import open_warehouse

HORIZON_DAYS = 30  # of the lab

STAND_IN = """#!/usr/bin/env bash
# A clv that only notes its verb, and fails if it is told to.
for verb in "$@"; do [[ $verb == --* ]] || break; done
echo "$verb" >> "$CALLS"
variable="EXIT_$verb"
exit "${!variable:-0}"
"""


def weekly(repository: Path, folder: Path, clv: str, home: Path) -> Path:
    """The page's script, with this clv and home in place of the page's."""
    page = (repository / "docs" / "monitoring.md").read_text()
    [script] = re.findall(r"```bash\n(#!.*?# weekly\.sh .*?)```", page, flags=re.DOTALL)
    for theirs, ours in (("/srv/clv/.venv/bin/clv", clv), ("/srv/clv-home", str(home)), ("--horizon-days 90", "")):
        assert theirs in script
        script = script.replace(theirs, ours)
    path = folder / "weekly.sh"
    path.write_text(script.replace("clv transform ", f"clv transform --horizon-days {HORIZON_DAYS} "))
    return path


@pytest.mark.parametrize(
    ("failing", "called", "code"),
    [
        ({}, "load transform monitor score", 0),
        ({"monitor": 3}, "load transform monitor train score", 3),
        ({"monitor": 4}, "load transform monitor", 4),
        ({"load": 2}, "load", 2),
        ({"transform": 4}, "load transform", 4),
        ({"monitor": 3, "train": 2}, "load transform monitor train", 2),
        ({"score": 4}, "load transform monitor score", 4),
    ],
    ids=str,
)
def test_a_week_goes_on_only_where_it_should(failing, called, code, repository: Path, tmp_path: Path) -> None:
    stand_in = tmp_path / "clv"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    script = weekly(repository, tmp_path, str(stand_in), tmp_path / "home")
    told = {"CALLS": str(tmp_path / "calls")} | {f"EXIT_{verb}": str(exit_code) for verb, exit_code in failing.items()}
    done = subprocess.run(["bash", script, "week.csv"], env=os.environ | told, check=False)
    assert done.returncode == code
    assert (tmp_path / "calls").read_text().split() == called.split()


@pytest.mark.parametrize(("failing", "fails"), [({}, False), ({"monitor": 3}, True)], ids=str)
def test_the_workflow_scores_and_keeps_a_bad_week_and_fails(failing, fails, repository: Path, tmp_path: Path) -> None:
    """The page's GitHub workflow: its shell steps one after the other, with nothing real behind them."""
    page = (repository / "docs" / "monitoring.md").read_text()
    [workflow] = re.findall(r"```yaml\n(name: weekly.*?)```", page, flags=re.DOTALL)
    job = yaml.safe_load(workflow)["jobs"]["weekly"]
    for name in (".venv/bin/clv", "bin/gcloud", "bin/make"):
        stand_in = tmp_path / name
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "CLV_HOME": str(tmp_path / "home"),
        "HISTORY": "gs://bucket/history",
        **{f"EXIT_{verb}": str(code) for verb, code in failing.items()},
    }
    outcomes: dict[str, str] = {}
    for step in job["steps"]:
        condition = re.fullmatch(r"steps\.(\w+)\.outcome == '(\w+)'", step.get("if", ""))
        if "run" not in step or (condition and outcomes[condition[1]] != condition[2]):
            continue
        done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, check=False)
        outcomes[step.get("id", "last")] = "failure" if done.returncode else "success"
        if done.returncode and not step.get("continue-on-error"):
            break
    assert (outcomes["last"] == "failure") is fails
    called = (tmp_path / "calls").read_text().split()
    assert " ".join(called) == "setup storage storage load transform monitor score storage"


def what_came(home: Path) -> pd.DataFrame:
    """Purchases of the week after the shop's last day."""
    last_day = read_shop(open_warehouse(Settings(home=home))).as_of_date + timedelta(weeks=1)
    customers = pd.read_csv(home / "predictions" / "predictions.csv", dtype={"customer_id": str})["customer_id"].head(
        70
    )
    days = [last_day - timedelta(days=number % 7) for number in range(len(customers))]
    orders = [f"{last_day} {number}" for number in range(len(customers))]
    return pd.DataFrame({"customer_id": customers, "purchased_at": days, "amount": 25.0, "order_id": orders})


@pytest.mark.full_scale("two weeks of five processes: `make check` runs it")
@pytest.mark.timeout(600)
def test_a_quiet_week_and_one_out_of_bounds(copy_of_lab, repository: Path, tmp_path: Path) -> None:
    """For real: in the second week the model has reached the age at which its backtest says to train again."""
    home = copy_of_lab.home
    script = weekly(repository, tmp_path, f"{sys.executable} -m experiments.cli", home)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CLV_", "MLFLOW_"))}

    def week(number: int) -> Any:
        file = tmp_path / f"week-{number}.csv"
        what_came(home).to_csv(file, index=False)
        return subprocess.run(
            ["bash", script, file], env=environment, cwd=repository, capture_output=True, text=True, check=False
        )

    quiet = week(1)
    assert (quiet.returncode, quiet.stderr) == (0, ""), quiet.stderr
    shop = read_shop(open_warehouse(Settings(home=home)))
    table = open_warehouse(Settings(home=home)).query("select distinct scored_by from marts.customer_predictions")
    assert table.to_pylist() == [{"scored_by": "version 1"}]

    store = Settings(home=home).tracking_uri
    run_id = MlflowClient(store, store).get_model_version("clv", "1").run_id
    MlflowClient(store, store).log_dict(run_id, {"retrain_after_days": 10}, "backtest/backtest.json")
    bad = week(2)
    assert bad.returncode == 3
    assert bad.stderr.count("\n") == 1
    assert "is 14 days old, its backtest suggests to retrain before 10" in bad.stderr
    assert copy_of_lab.state[1] == [(1, "Production"), (2, "None")]  # trained, and up for promotion
    assert read_shop(open_warehouse(Settings(home=home))).as_of_date == shop.as_of_date + timedelta(weeks=1)
