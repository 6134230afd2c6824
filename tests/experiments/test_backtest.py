"""``clv backtest``: a grid of cutoffs and horizons in one parent run, kept with the version that has the recipe."""

import json
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from mlflow import MlflowClient

from clv.contract import read_contract
from clv.labels import closed, label, read_activity
from clv.metrics import normalized_gini
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.settings import Settings
from clv.snapshots import read_shop, read_snapshots
from clv.warehouse import open_warehouse

pytestmark = pytest.mark.timeout(300)

HORIZON_DAYS = 30  # of the lab
PLAIN = ["-p", "family=btyd", "--cutoffs", 3]


@pytest.fixture(scope="module")
def home(lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of our own, to write runs into."""
    return lab.copy(tmp_path_factory.mktemp("backtest") / "home").home


@pytest.fixture(scope="module")
def client(home: Path) -> MlflowClient:
    store = Settings(home=home).tracking_uri
    return MlflowClient(store, store)


@pytest.fixture(scope="module")
def facts(home: Path, clv) -> dict:
    """Four cutoffs, two horizons; the recipe is Production's."""
    shop = read_shop(open_warehouse(Settings(home=home)))
    cutoffs = closed(shop.cutoffs, 60, shop.as_of_date)[-7::2]
    done = clv(home, "--json", "backtest", "--cutoffs", ",".join(map(str, cutoffs)), "--horizons", "30,60")
    assert done.code == 0, done.err
    return done.json


@pytest.fixture(scope="module")
def plain(home: Path, facts: dict, clv) -> dict:
    """Another recipe, three cutoffs."""
    done = clv(home, "--json", "backtest", *PLAIN)
    assert done.code == 0, done.err
    return done.json


def test_the_labels_of_the_marts_horizon_are_the_marts(lab) -> None:
    """Computed from the purchases, they are those of dbt to the last bit."""
    warehouse = open_warehouse(Settings(home=lab.home, threads=2))
    cutoffs = read_shop(warehouse).cutoffs
    snapshots = read_snapshots(warehouse, read_contract(), cutoffs).frame
    computed = label(
        snapshots.drop(columns=["is_return", "future_value"]), read_activity(warehouse, cutoffs, HORIZON_DAYS)
    )
    assert len(snapshots) > 1000
    assert (computed["is_return"] == snapshots["is_return"]).all()
    assert (computed["future_value"] == snapshots["future_value"]).all()


def test_the_grid_holds_every_cutoff_horizon_and_age(facts: dict) -> None:
    for horizon_days in (30, 60):
        cells = [cell for cell in facts["grid"] if cell["horizon_days"] == horizon_days]
        cutoffs = sorted({cell["cutoff"] for cell in cells})
        assert len(cutoffs) == 4
        assert len(cells) == 4 + 3 + 2 + 1
        for cell in cells:
            made = date.fromisoformat(cell["cutoff"]) - timedelta(days=cell["age_days"])
            assert made.isoformat() in cutoffs
            assert date.fromisoformat(cell["cutoff"]) + timedelta(days=horizon_days) <= date.fromisoformat(
                facts["as_of_date"]
            )
            assert cell["normalized_gini_low"] <= cell["normalized_gini"] <= cell["normalized_gini_high"]
            assert 0 < cell["returners"] < cell["customers"]
    assert facts["horizon_days"] == HORIZON_DAYS
    assert Recipe(**facts["recipe"])
    assert facts["note"]


def test_a_longer_window_holds_more_returners(facts: dict) -> None:
    returners = {
        (cell["horizon_days"], cell["cutoff"]): cell["returners"] for cell in facts["grid"] if cell["age_days"] == 0
    }
    assert len(returners) == 8
    assert all(count > returners[30, cutoff] for (days, cutoff), count in returners.items() if days == 60)


def test_a_refitted_cell_is_what_the_recipe_says_there(facts: dict, home: Path) -> None:
    """By hand: fit on what had closed, predict, rank."""
    settings = Settings(home=home, threads=2)
    warehouse, contract = open_warehouse(settings), read_contract()
    cell = next(cell for cell in facts["grid"] if cell["horizon_days"] == 60 and cell["age_days"] == 0)
    cutoff = date.fromisoformat(cell["cutoff"])
    shop = read_shop(warehouse)
    before, kept = [day for day in shop.cutoffs if day + timedelta(days=60) <= cutoff], []
    for day in reversed(before):
        if not kept or day <= kept[-1] - timedelta(days=18):
            kept.append(day)
    frame = read_snapshots(warehouse, contract, [*kept, cutoff]).frame
    frame = label(frame, read_activity(warehouse, [*kept, cutoff], 60))
    train, test = frame[frame["cutoff_date"] != cutoff], frame[frame["cutoff_date"] == cutoff]
    model = Model(contract, Recipe(**facts["recipe"]), seed=settings.seed, threads=2).fit(
        train,
        train["future_value"].to_numpy(),
        is_return=train["is_return"].to_numpy(),
        today=test,
        horizon_days=60,
    )
    gini = normalized_gini(test["future_value"], model.predict_parts(test).expected_value)
    assert cell["normalized_gini"] == pytest.approx(gini, abs=1e-6)


def test_it_is_one_parent_run_with_a_child_for_each_cell(facts: dict, client: MlflowClient) -> None:
    parent = client.get_run(facts["run_id"])
    assert parent.data.tags["clv.kind"] == "backtest"
    assert parent.info.status == "FINISHED"
    assert {"normalized_gini", "normalized_gini_low", "normalized_gini_high"} <= set(parent.data.metrics)
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{facts['run_id']}'", max_results=100
    )
    refitted = {
        (cell["cutoff"], str(cell["horizon_days"])): cell["normalized_gini"]
        for cell in facts["grid"]
        if cell["age_days"] == 0
    }
    logged = {
        (run.data.params["cutoff"], run.data.params["horizon_days"]): run.data.metrics["normalized_gini"]
        for run in children
    }
    assert logged == pytest.approx(refitted, abs=1e-4)
    datasets = {one.tags[0].value: one.dataset for one in parent.inputs.dataset_inputs}
    assert set(datasets) == {"training", "test"}
    assert parent.data.tags["clv.data_fingerprint"].startswith(datasets["test"].digest)
    profile = json.loads(datasets["test"].profile)
    main = {cell["cutoff"] for cell in facts["grid"] if cell["horizon_days"] == facts["horizon_days"]}
    assert (profile["horizon_days"], set(profile["cutoffs"])) == (facts["horizon_days"], main)
    files = {item.path for item in client.list_artifacts(facts["run_id"], "backtest")}
    assert files == {"backtest/backtest.json", "backtest/backtest.png"}


def test_it_lies_beside_the_version_that_has_the_recipe(facts: dict, plain: dict, client: MlflowClient) -> None:
    assert facts["version"] == "1"
    run_id = client.get_model_version("clv", "1").run_id
    assert "backtest/backtest.png" in {item.path for item in client.list_artifacts(run_id, "backtest")}
    copy = json.loads(Path(client.download_artifacts(run_id, "backtest/backtest.json")).read_text())
    assert copy["grid"] == facts["grid"]
    assert plain["version"] is None
    assert plain["recipe"] != copy["recipe"]  # made later, it has left the copy alone


def test_cutoffs_that_are_asked_for_by_number_lie_apart(lab, plain: dict) -> None:
    """The last closed window begins on a weekday of its own, a few days after the last Sunday."""
    cutoffs = read_shop(open_warehouse(Settings(home=lab.home))).cutoffs
    assert (cutoffs[-1] - cutoffs[-2]).days < 7
    tested = sorted({date.fromisoformat(cell["cutoff"]) for cell in plain["grid"]})
    assert len(tested) == 3
    assert tested[-1] == cutoffs[-1]
    assert all((after - before).days >= 9 for before, after in pairwise(tested))


def test_it_goes_on_where_it_was_stopped(home: Path, plain: dict, clv) -> None:
    fit, fitted = Model.fit, []

    def stopping(self: Model, *arguments, **options) -> Model:
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(options["today"]["cutoff_date"].iloc[0])
        return fit(self, *arguments, **options)

    with mock.patch.object(Model, "fit", stopping):
        stopped = clv(home, "--json", "backtest", *PLAIN)
    assert stopped.code == 130
    assert "Interrupted" in stopped.err
    assert len(list((home / "backtest").glob("*/*"))) == 2

    def counting(self: Model, *arguments, **options) -> Model:
        fitted.append(options["today"]["cutoff_date"].iloc[0])
        return fit(self, *arguments, **options)

    with mock.patch.object(Model, "fit", counting):
        resumed = clv(home, "--json", "backtest", *PLAIN)
        assert resumed.code == 0, resumed.err
        assert len(fitted) == len(set(fitted)) == 3
        assert not list((home / "backtest").glob("*"))
    assert resumed.json["grid"] == plain["grid"]


def test_what_can_not_be_tested_is_refused(lab, clv, tmp_path: Path) -> None:
    clv(lab.home, "backtest", "--horizons", "30,0").refused(2, "--horizons", "number of days")
    clv(lab.home, "backtest", "--horizons", "100000").refused(2, "Horizon 100000", "history has")
    clv(lab.home, "backtest", "--cutoffs", "2001-01-01").refused(2, "2001-01-01", "no cutoff")
    clv(lab.home, "backtest", "--recipe", "{}", "--version", "1").refused(2, "not both")
    clv(tmp_path / "empty", "backtest", "--recipe", "{}").refused(2, "clv load")


def test_the_table_reads_well(home: Path, clv) -> None:
    done = clv(home, "backtest", "-p", "family=btyd", "--cutoffs", 2, "--horizons", "30,100000")
    assert done.code == 0, done.err
    assert "Refitted at each cutoff, 30 days ahead: mean Gini 0." in done.out
    assert "Gini of old models beside that of refitted ones" in done.out
    assert "Horizon 100000: no cutoff" in done.out
    assert "nan" not in done.out
    assert "…" not in done.out  # nothing was cut off
