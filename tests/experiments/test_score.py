"""Where `clv score` leaves its predictions."""

import errno
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from clv.errors import UnavailableError
from clv.ledger import read_ledger
from clv.level import fit_level
from clv.settings import Settings
from clv.snapshots import read_snapshots
from experiments.console import Console
from experiments.score import Scorer, baseline_scorer, default_path, load_predictor, scorer, write
from experiments.workspace import Workspace

LONE = "One customer makes up"


@pytest.fixture
def workspace(copy_of_lab) -> Workspace:
    return Workspace(Settings(home=copy_of_lab.home), Console(quiet=True))


def test_only_the_table(copy_of_lab, clv, tmp_path: Path) -> None:
    home = copy_of_lab.home
    kept = (home / "predictions" / "predictions.csv").read_bytes()
    (home / "predictions" / "predictions.csv").unlink()
    copy_of_lab.sql("delete from marts.customer_predictions")

    done = clv(home, "--json", "score", "--table")
    assert (done.code, done.json["path"]) == (0, None), done.err
    assert not (home / "predictions" / "predictions.csv").exists()
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        table = connection.sql("from marts.customer_predictions order by expected_value desc, customer_id").df()
    assert len(table) == done.json["customers"]

    named = tmp_path / "named.csv"
    assert clv(home, "score", "--table", "--predictions", named).code == 0
    assert named.read_bytes() == kept
    pd.testing.assert_frame_equal(
        pd.read_csv(named, dtype={"customer_id": str}), table[pd.read_csv(named, nrows=0).columns.tolist()]
    )


def test_the_total_is_told_with_its_interval_on_screen_and_in_json(copy_of_lab, workspace, clv) -> None:
    facts, shop = load_predictor(workspace, "1").about["level"], workspace.shop()
    told = clv(copy_of_lab.home, "--json", "score", "--table").json
    assert told["expected_value"] == pytest.approx(facts["total"])
    assert told["expected_value_low"] == pytest.approx(facts["total_low"])
    assert told["expected_value_high"] == pytest.approx(facts["total_high"])
    assert (told["interval_level"], told["currency"], told["horizon_days"]) == (0.8, shop.currency, 30)
    said = clv(copy_of_lab.home, "score", "--table").out
    assert f"customers in the 30 days after {shop.as_of_date}: {facts['total']:,.0f} {shop.currency} (80% int" in said
    assert f"interval: {facts['total_low']:,.0f} to {facts['total_high']:,.0f})." in said


def test_marts_keep_their_horizon_and_a_model_for_another_is_told_how_to_return(copy_of_lab, clv) -> None:
    done = clv(copy_of_lab.home, "--json", "transform")
    assert (done.code, done.json["horizon_days"], done.json["built"]) == (0, 30, []), done.err
    copy_of_lab.sql("update marts.cutoffs set horizon_days = 31")
    clv(copy_of_lab.home, "score").refused(2, "horizon 30", "horizon 31", "`clv transform --horizon-days 30`")


def test_a_model_of_another_shop_is_told_to_train(copy_of_lab, clv) -> None:
    copy_of_lab.sql("update raw.shop set shop_id = 'another'")
    answer = clv(copy_of_lab.home, "score")
    answer.refused(2, "holds shop another; train a model for it with `clv train`.")
    assert "--horizon-days" not in answer.err


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("refused", ("the gate refused version 1", "gate/version-1.html", "clv promote 1 --force --reason WHY")),
        ("passed", ("version 1 is registered but not there", "`clv promote 1`")),
    ],
)
def test_where_nothing_is_in_production_the_version_that_waits_is_named(
    copy_of_lab, clv, gate: str, words: tuple[str, ...]
) -> None:
    store = Settings(home=copy_of_lab.home).tracking_uri
    client = MlflowClient(store, store)
    client.set_model_version_tag("clv", "1", "clv.gate", gate)
    with pytest.warns(FutureWarning):
        client.transition_model_version_stage("clv", "1", "Archived")
    clv(copy_of_lab.home, "score").refused(2, "No model is in stage Production", *words)
    client.set_model_version_tag("clv", "1", "clv.shop_id", "another")
    clv(copy_of_lab.home, "score").refused(2, "No model is in stage Production; train and promote one first")


def test_a_category_the_model_never_saw_counts_as_missing_and_is_told(copy_of_lab, clv) -> None:
    """A plain log has no categories at all: any is new to its model."""
    home = copy_of_lab.home
    before = clv(home, "--json", "score", "--table")
    assert (before.json["warnings"], before.err) == ([], "")
    copy_of_lab.sql(
        "update marts.customer_snapshots set first_state = 'XX', last_category = 'c' || hash(customer_id) % 25"
    )
    after = clv(home, "--json", "score", "--table")
    state, category = sorted(after.json["warnings"], reverse=True, key=lambda text: "first_state" in text)
    assert state == "first_state: 'XX' is not known to the model and counts as missing."
    assert category.startswith("last_category: 'c0', 'c1', ")
    assert category.endswith(" and 5 more are not known to the model and count as missing.")
    assert state in after.err
    assert after.json["expected_value"] == before.json["expected_value"]


def test_predictions_at_the_level_of_another_day_are_told_when_history_speaks_against_them(workspace, capsys) -> None:
    """A model that was made before Christmas predicts another one, for all it knows."""
    shop = workspace.shop()
    today = scorer(load_predictor(workspace, "1"))
    old = shop.as_of_date.replace(year=shop.as_of_date.year - 1)

    def thrice(frame: pd.DataFrame) -> pd.DataFrame:
        return today.answer(frame).assign(expected_value=lambda answers: 3 * answers["expected_value"])

    assert today.level_date == shop.as_of_date
    assert write(workspace, shop, Scorer(today.answer, old), "version 1", default_path(workspace)).warnings == ()
    [warning] = write(workspace, shop, Scorer(thrice, old), "version 1", default_path(workspace)).warnings
    assert f"Season and drift are the model's, of {old}" in warning
    assert "train a new model" in " ".join(capsys.readouterr().err.split())


def test_predictions_of_a_past_that_the_model_has_seen_are_told_and_not_kept(workspace: Workspace) -> None:
    """Kept, they would be judged one day as if they had been forecasts."""
    shop = workspace.shop()
    model = scorer(load_predictor(workspace, "1"))
    later = Scorer(model.answer, shop.as_of_date + timedelta(days=1))
    history = workspace.home.predictions / "history"
    before = {path.name for path in history.iterdir()}
    [warning] = write(workspace, shop, later, "version 7", default_path(workspace)).warnings
    assert warning.startswith(f"The model's as-of day {later.level_date} is later than the shop's, {shop.as_of_date}")
    assert {path.name for path in history.iterdir()} == before
    assert write(workspace, shop, model, "version 7", default_path(workspace)).warnings == ()
    assert {path.name for path in history.iterdir()} > before


@pytest.mark.parametrize("name", ["historical_rate", "total_spend", "btyd", "zero"])
def test_a_baseline_that_stands_in_has_the_total_that_history_says(workspace: Workspace, name: str) -> None:
    shop = workspace.shop()
    frame = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date]).frame
    answers = baseline_scorer(workspace, shop, name).answer(frame)
    expected = fit_level(
        read_ledger(workspace.warehouse, {shop.horizon_days: shop.cutoffs}), shop.as_of_date, shop.horizon_days
    ).forecast.total
    assert answers["expected_value"].sum() == pytest.approx(0.0 if name == "zero" else expected)
    assert answers["p_return"].between(0, 1).all()
    np.testing.assert_allclose(answers["p_return"] * answers["value_if_return"], answers["expected_value"])


@pytest.mark.parametrize(("name", "is_ranking"), [("historical_rate", True), ("btyd", True), ("mean", False)])
def test_a_baseline_that_stands_in_has_percentiles_if_it_ranks_at_all(
    workspace: Workspace, name: str, is_ranking: bool
) -> None:
    """The share of customers at or below, counted here one by one."""
    shop = workspace.shop()
    frame = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date]).frame
    answers = baseline_scorer(workspace, shop, name).answer(frame)
    assert answers["value_if_return_low"].isna().all()
    if not is_ranking:
        assert answers["percentile"].isna().all()
        return
    value = answers["expected_value"].to_numpy()
    share = 100 * np.searchsorted(np.sort(value), value, side="right") / len(value)
    assert (answers["percentile"] - share).abs().max() < 1.1
    assert answers["percentile"].max() == 100


def test_the_total_of_a_baseline_has_the_interval_of_the_forecast_and_nothing_has_none(workspace: Workspace) -> None:
    shop = workspace.shop()
    level = fit_level(
        read_ledger(workspace.warehouse, {shop.horizon_days: shop.cutoffs}), shop.as_of_date, shop.horizon_days
    ).forecast
    told = write(workspace, shop, baseline_scorer(workspace, shop, "btyd"), "baseline btyd", default_path(workspace))
    assert (told.expected_value_low, told.expected_value_high) == pytest.approx(level.interval(0.8))
    nothing = write(workspace, shop, baseline_scorer(workspace, shop, "zero"), "baseline zero", default_path(workspace))
    assert (nothing.expected_value, nothing.expected_value_low) == (0, None)
    assert "no interval is known" in nothing.summary


def test_a_total_that_hangs_on_one_customer_is_told(workspace: Workspace) -> None:
    shop = workspace.shop()
    usual = baseline_scorer(workspace, shop, "total_spend")
    assert not any(LONE in warning for warning in write(workspace, shop, usual, "usual", None).warnings)

    def but_one(features: pd.DataFrame) -> pd.DataFrame:
        return usual.answer(features).assign(expected_value=np.where(np.arange(len(features)) == 0, 1e6, 1.0))

    found = write(workspace, shop, replace(usual, answer=but_one), "one", None).warnings
    assert any(LONE in warning for warning in found)


def test_a_model_that_can_not_be_copied_says_why(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, for instance: MLflow lists what it couldn't copy, under a heading that says nothing."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mlflow.store.artifact.local_artifact_repo.shutil.copy2", full)
    with pytest.raises(UnavailableError, match=r"can't be loaded .*No space left on device.*must have space"):
        load_predictor(workspace, "1")
