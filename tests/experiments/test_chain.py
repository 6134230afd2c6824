"""The whole chain on a small synthetic shop: raw files, marts, runs, registry, predictions, service, app."""

import base64
import json
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import duckdb
import httpx
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from clv.metrics import METRICS, normalized_gini
from clv.settings import Settings
from experiments import views
from experiments.console import Console
from experiments.demo import served
from experiments.workspace import Workspace

pytestmark = pytest.mark.timeout(600)

COLUMNS = ["customer_id", "p_return", "value_if_return", "expected_value"]


@pytest.fixture(scope="module")
def workspace(chain) -> Workspace:
    return Workspace(Settings(home=chain.home, threads=2), Console(quiet=True))


@pytest.fixture(scope="module")
def client(chain) -> MlflowClient:
    store = Settings(home=chain.home).tracking_uri
    return MlflowClient(store, store)


@pytest.fixture(scope="module")
def predictions(chain) -> pd.DataFrame:
    return duckdb.read_csv(str(chain.predictions), dtype={"customer_id": "varchar"}).df()  # exact, unlike pandas


def runs_of(client: MlflowClient, kind: str) -> list:
    experiment = client.get_experiment_by_name("clv")
    return client.search_runs([experiment.experiment_id], f"tags.`clv.kind` = '{kind}'")


def test_every_customer_is_predicted_in_two_parts(chain, predictions: pd.DataFrame) -> None:
    truth = pd.read_parquet(chain.truth / "customers.parquet")
    assert list(predictions.columns[:4]) == COLUMNS
    assert set(predictions["customer_id"]) == set(truth["customer_id"])
    assert not predictions["customer_id"].duplicated().any()
    assert predictions["p_return"].between(0, 1).all()
    assert (predictions["value_if_return"] >= 0).all()
    np.testing.assert_allclose(
        predictions["expected_value"], predictions["p_return"] * predictions["value_if_return"], atol=1e-9
    )
    ordered = predictions.sort_values(["expected_value", "customer_id"], ascending=[False, True])
    pd.testing.assert_frame_equal(predictions, ordered)


def test_predictions_rank_what_really_happened(chain, predictions: pd.DataFrame) -> None:
    """The future after the last day of the files was never seen; the oracle knows the shop's true parameters."""
    both = pd.read_parquet(chain.truth / "customers.parquet").merge(predictions, on="customer_id")
    model = normalized_gini(both["future_value"], both["expected_value_y"])
    oracle = normalized_gini(both["future_value"], both["expected_value_x"])
    newest = normalized_gini(both["future_value"], np.arange(len(both)))
    assert model > 0.6 * oracle > newest
    assert 0.5 < both["expected_value_y"].sum() / both["future_value"].sum() < 2


def test_the_shop_says_how_many_returned_after_each_cutoff(workspace: Workspace) -> None:
    shop = workspace.shop()
    found = workspace.snapshots(shop.cutoffs).frame.groupby("cutoff_date")["is_return"].agg(["size", "sum"])
    assert list(shop.cutoffs) == list(found.index)
    assert list(shop.snapshots.values()) == list(found["size"])
    assert list(shop.returners.values()) == list(found["sum"])


def test_the_model_is_in_production_by_stage_and_alias(chain, client: MlflowClient) -> None:
    version = client.get_model_version_by_alias("clv", "production")
    assert str(version.version) == chain.result["version"]
    assert version.current_stage == "Production"
    assert version.tags["clv.horizon_days"] == "90"


def test_the_model_loads_without_clv_and_without_pickle(chain, predictions: pd.DataFrame, tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['clv'] = None\nsys.modules['experiments'] = None\nimport mlflow\n"
        f"mlflow.set_tracking_uri({Settings(home=chain.home).tracking_uri!r})\n"
        "model = mlflow.pyfunc.load_model('models:/clv/Production')\n"
        "print(model.predict(model.input_example).to_json(orient='records'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = pd.DataFrame(json.loads(done.stdout.splitlines()[-1]))
    assert len(answers) == 3
    assert all(np.isclose(predictions["expected_value"], value, rtol=1e-6).any() for value in answers["expected_value"])


def test_runs_can_be_compared_and_reproduced(chain, client: MlflowClient) -> None:
    (train,) = runs_of(client, "train")
    assert train.info.status == "FINISHED"
    for metric in ("normalized_gini", "normalized_gini_low", "normalized_gini_high", "total_ratio", "mae", "zero/mae"):
        assert metric in train.data.metrics
    assert train.data.metrics["normalized_gini_low"] < train.data.metrics["normalized_gini_high"]
    for tag in ("clv.data_fingerprint", "clv.commit", "clv.verdict", "mlflow.note.content"):
        assert train.data.tags[tag]
    figures = {item.path for item in client.list_artifacts(train.info.run_id, "figures")}
    of_test, of_model = (
        ("gain_curve", "calibration", "metric_ladder"),
        ("importance", "beeswarm", "parts", "dependence"),
    )
    assert {f"figures/{name}.png" for name in (*of_test, "value_distribution", *of_model)} <= figures
    datasets = {one.tags[0].value: one.dataset for one in train.inputs.dataset_inputs}
    assert set(datasets) == {"training", "test"}
    assert train.data.tags["clv.data_fingerprint"].startswith(datasets["test"].digest)
    schema = {column["name"] for column in json.loads(datasets["training"].schema)["mlflow_colspec"]}
    assert {"customer_id", "recency_days", "future_value"} <= schema
    assert train.info.run_name == f"version {chain.result['version']}: {train.data.tags['clv.family']} H=90"
    history = client.get_metric_history(train.info.run_id, "by_cutoff/normalized_gini")
    assert [point.step for point in history] == list(range(len(chain.result["evaluation"]["tests"])))
    (tune,) = runs_of(client, "tune")
    trials = runs_of(client, "trial")
    assert len(trials) == 3
    assert {trial.data.tags["mlflow.parentRunId"] for trial in trials} == {tune.info.run_id}
    assert all(trial.data.params["max_depth"] and "gini_fold_1" in trial.data.metrics for trial in trials)
    (parent,) = runs_of(client, "run")
    assert train.data.tags["mlflow.parentRunId"] == tune.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_the_run_list_has_views_with_the_columns_that_matter(client: MlflowClient) -> None:
    tags = client.get_experiment_by_name("clv").tags
    for key, name, column in ((views.MODELS, "Models", "normalized_gini"), (views.TRIALS, "Trials", "cv_gini")):
        view = json.loads(tags[f"mlflow.sharedViewState.{key}"])
        packed = view["state"].removeprefix("deflate;")
        state = json.loads(zlib.decompress(base64.b64decode(packed)))
        assert view["name"] == name
        assert f"metrics.`{column}`" in state["selectedColumns"]
        found = client.search_runs([client.get_experiment_by_name("clv").experiment_id], state["searchFilter"])
        assert found
        assert all(column in run.data.metrics or "pruned" in run.info.run_name for run in found)


def test_the_evaluation_tells_cutoffs_slices_and_what_is_achievable(chain) -> None:
    facts = chain.result["evaluation"]
    model = facts["models"]["model"]
    assert [one["cutoff"] for one in facts["by_cutoff"]] == facts["tests"]
    mean = np.mean([one["normalized_gini"] for one in facts["by_cutoff"]])
    assert model["normalized_gini"][0] == pytest.approx(mean)
    assert all(metric in model for metric in METRICS)
    slices = {one["slice"] for one in facts["slices"]}
    assert slices == {"state", "first_category", "acquisition_month", "purchases_so_far"}
    assert any(one["enough"] and one["metrics"] for one in facts["slices"])
    assert all(bool(one["metrics"]) is one["enough"] for one in facts["slices"])
    assert model["normalized_gini"][0] < facts["ceiling"] < 1
    share, low, high = facts["oracle"]["share"]
    assert 0.5 < low < share < high < 1.2
    assert facts["oracle"]["normalized_gini"][0] < facts["ceiling"]


def test_the_service_and_the_app_answer_what_was_scored(chain, workspace, predictions, monkeypatch) -> None:
    from streamlit.testing.v1 import AppTest

    from experiments.demo import question

    body = question(workspace)
    with served(workspace) as url:
        answer = httpx.post(f"{url}/predict", json=body, timeout=30).json()
        model = httpx.get(f"{url}/model", timeout=30).json()
        monkeypatch.setenv("CLV_API_URL", url)
        app = AppTest.from_file(str(Path("streamlit_app/app.py").absolute()), default_timeout=60).run()
        assert not app.exception
    best = predictions.iloc[0]
    (prediction,) = answer["predictions"]
    assert prediction["customer_id"] == best["customer_id"]
    for column in COLUMNS[1:]:
        assert prediction[column] == pytest.approx(best[column], rel=1e-6)
    assert answer["model"]["version"] == chain.result["version"]
    assert answer["model"]["horizon_days"] == 90
    assert model


def test_history_says_who_promoted(chain, clv) -> None:
    (event,) = clv(chain.home, "--json", "history").json
    assert (event["version"], event["by"], event["kind"]) == (chain.result["version"], "ana", "promote")
    assert all(check["passed"] for check in event["gate"])


def test_export_writes_a_pickle_and_a_folder(chain, clv, predictions: pd.DataFrame, tmp_path: Path) -> None:
    assert clv(chain.home, "export", "--to", tmp_path / "model.pkl").code == 0
    assert clv(chain.home, "export", "--format", "ubj", "--to", tmp_path / "model.zip").code == 0
    with (tmp_path / "model.pkl").open("rb") as file:
        model = pickle.load(file)
    assert model.about["horizon_days"] == 90
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", tmp_path / "model.zip"], capture_output=True, text=True
    )
    assert all(name in listing.stdout for name in ("model.json", "p_return-0.ubj", "predictor.py", "features.sql"))


def test_scoring_again_gives_the_same_bytes_and_parquet_the_same_numbers(chain, clv, predictions, tmp_path) -> None:
    assert clv(chain.home, "score", "--predictions", tmp_path / "again.csv").code == 0
    assert (tmp_path / "again.csv").read_bytes() == chain.predictions.read_bytes()
    assert clv(chain.home, "score", "--predictions", tmp_path / "again.parquet").code == 0
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "again.parquet"), predictions, check_exact=True, check_dtype=False
    )


@pytest.mark.usefixtures("unrendered")
def test_the_gate_alone_promotes_nothing(lab, copied, clv, tmp_path: Path) -> None:
    copy = lab.copy(tmp_path / "lab")
    assert clv(copy.home, "train", "-p", "family=btyd").code == 0
    before, page = copy.state[2:], tmp_path / "gate.md"

    done = clv(copy.home, "--json", "promote", "2", "--check", "--report", page)

    assert done.code in (0, 3), done.err
    assert page.read_text().startswith("# Gate report: version 2")
    assert ("**Passed**" in page.read_text()) is (done.code == 0)
    assert copy.state[2:] == before
