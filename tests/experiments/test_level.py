"""The level on a whole shop: what is forecast is what is predicted, and the runs, the model and the service say so."""

import json

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from clv.ledger import read_ledger
from clv.level import fit_level
from clv.predictor import Parts, Predictor
from clv.settings import Settings
from clv.snapshots import read_snapshots
from experiments.console import Console
from experiments.score import load_predictor
from experiments.workspace import Workspace
from serving.portfolio import portfolio

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def workspace(chain) -> Workspace:
    return Workspace(Settings(home=chain.home, threads=2), Console(quiet=True))


@pytest.fixture(scope="module")
def predictor(chain, workspace: Workspace) -> Predictor:
    return load_predictor(workspace, "1")


def test_the_ledger_knows_the_totals_of_every_labelled_cutoff(workspace: Workspace) -> None:
    shop = workspace.shop()
    ledger = read_ledger(workspace.warehouse, {shop.horizon_days: shop.cutoffs})
    assert ledger.until(shop.as_of_date).customers == shop.customers
    labelled = read_snapshots(workspace.warehouse, workspace.contract, shop.cutoffs).frame
    for cutoff, snapshots in labelled.groupby("cutoff_date"):
        assert ledger.spent(cutoff, shop.horizon_days) == pytest.approx(snapshots["future_value"].sum())
        assert ledger.until(cutoff).customers == len(snapshots)


def test_predictions_add_up_to_the_forecast(chain, workspace: Workspace, predictor: Predictor) -> None:
    shop = workspace.shop()
    level = fit_level(
        read_ledger(workspace.warehouse, {shop.horizon_days: shop.cutoffs}), shop.as_of_date, shop.horizon_days
    )
    facts = predictor.about["level"]
    assert facts == json.loads(json.dumps(level.to_json(0.8, predictor.level)))
    predicted = pd.read_csv(chain.predictions)
    assert predicted["expected_value"].sum() == pytest.approx(level.forecast.total)
    truth = pd.read_parquet(chain.truth / "customers.parquet")  # what is to be expected, by who knows the shop
    assert facts["total"] == pytest.approx(truth["expected_value"].sum(), rel=0.3)


def test_the_service_says_the_same_of_the_whole_shop(chain, predictor: Predictor) -> None:
    """Customer by customer or as a whole: two ways to the same interval."""
    predicted = pd.read_csv(chain.predictions)
    parts = Parts(predicted["p_return"].to_numpy(), predicted["value_if_return"].to_numpy())
    found = portfolio(parts, predictor.about, predictor.value_interval)
    facts = predictor.about["level"]
    assert found["expected_value"] == pytest.approx(facts["total"])
    assert found["level_error"] == facts["sd"]
    for served, stored in (("expected_value_low", "total_low"), ("expected_value_high", "total_high")):
        assert found[served] == pytest.approx(facts[stored], rel=0.1)


def test_the_run_shows_the_total_with_its_interval_and_the_record(chain, predictor: Predictor) -> None:
    store = Settings(home=chain.home).tracking_uri
    client = MlflowClient(store, store)
    run = client.get_run(client.get_model_version("clv", "1").run_id)
    metrics, facts = run.data.metrics, predictor.about["level"]
    assert metrics["total_interval_low"] < metrics["total_expected"] < metrics["total_interval_high"]
    assert metrics["level_coverage"] == pytest.approx(facts["windows_covered"] / facts["windows"], abs=1e-4)
    spent = client.get_metric_history(run.info.run_id, "level/spent")
    assert [point.step for point in spent] == list(range(facts["windows"]))
    np.testing.assert_allclose([point.value for point in spent], [w["spent"] for w in facts["record"]], atol=1e-3)
    assert run.data.tags["clv.level"] == facts["note"]


def test_four_of_five_returners_spend_within_their_interval_large_or_small(chain) -> None:
    """Judged by what the shop's customers did after its last day, which no model has seen."""
    truth = pd.read_parquet(chain.truth / "customers.parquet")
    both = pd.read_csv(chain.predictions).merge(truth[truth["returned"]], on="customer_id")
    spent = both["future_value"]
    is_inside = (both["value_if_return_low"] <= spent) & (spent <= both["value_if_return_high"])
    is_large = both["value_if_return"] > both["value_if_return"].median()
    assert len(both) > 200
    assert 0.7 < is_inside.mean() < 0.9
    assert 0.65 < is_inside[is_large].mean() < 0.95
    assert 0.65 < is_inside[~is_large].mean() < 0.95
