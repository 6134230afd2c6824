"""``clv monitor``: a shop that goes on after it was scored, once as predicted and once not."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from clv.bootstrap import Interval, Outcome
from clv.forget import forget
from clv.home import Home
from clv.load import load
from clv.metrics import normalized_gini
from clv.predictor import Parts
from clv.settings import Settings
from clv.snapshots import read_shop
from clv.warehouse import PREDICTION_LOG, open_warehouse
from clv.warehouse.bigquery import setup_bigquery
from clv.warehouse.duckdb import in_memory
from experiments.monitor import _latest
from experiments.monitor_page import to_markdown
from experiments.monitor_report import Check, Closed, FeatureDrift, MonitorReport, checks_of
from experiments.page import html_page
from experiments.prediction_history import Scoring, export, path_of, scorings, served
from serving.prediction_log import SCHEMA

pytestmark = pytest.mark.timeout(300)

HORIZON_DAYS = 30  # of the lab
DAYS_LATER = 35


def as_of_day(home: Path) -> date:
    return read_shop(open_warehouse(Settings(home=home))).as_of_date


def predictions_of(home: Path) -> pd.DataFrame:
    return duckdb.read_csv(str(home / "predictions" / "predictions.csv"), dtype={"customer_id": "varchar"}).df()


def what_came(predictions: pd.DataFrame, last_day: date) -> pd.DataFrame:
    """Purchases of customers drawn by their chance to return, together worth what was predicted; and a newcomer."""
    rng = np.random.default_rng(7)
    chance = predictions["p_return"] / predictions["p_return"].sum()
    back = predictions.loc[rng.choice(predictions.index, size=60, replace=False, p=chance)]
    amounts = back["value_if_return"].to_numpy() * rng.gamma(4, 1 / 4, len(back))
    amounts *= predictions["expected_value"].sum() / amounts.sum()
    days = [last_day + timedelta(days=int(day)) for day in rng.integers(1, HORIZON_DAYS + 1, len(back))]
    newcomer = last_day + timedelta(days=DAYS_LATER)
    return pd.DataFrame(
        {
            "customer_id": [*back["customer_id"], "newcomer"],
            "purchased_at": [*days, newcomer],
            "amount": [*np.maximum(amounts, 0.01).round(2), 10.0],
        }
    )


@pytest.fixture(scope="module")
def later(lab, clv, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """The lab five weeks on, loaded and transformed, and what its customers bought meanwhile."""
    home = lab.copy(tmp_path_factory.mktemp("later") / "home").home
    bought = what_came(predictions_of(home), as_of_day(home))
    log = home.parent / "later.csv"
    bought.assign(order_id=[f"later-{i}" for i in range(len(bought))]).to_csv(log, index=False)
    end = as_of_day(home) + timedelta(days=DAYS_LATER)
    for arguments in (
        ["load", log, "--source", "transactions", "--append"],
        ["transform", "--horizon-days", HORIZON_DAYS, "--as-of", end],
    ):
        done = clv(home, *arguments)
        assert done.code == 0, done.err
    return home, bought


@pytest.fixture(scope="module")
def facts(later: tuple[Path, pd.DataFrame], clv) -> dict:
    done = clv(later[0], "--json", "monitor")
    assert done.code == 0, done.err
    return done.json


def test_before_anything_has_closed_it_says_so(copy_of_lab, clv) -> None:
    home = copy_of_lab.home
    done = clv(home, "monitor")
    assert done.code == 0, done.err
    closes = as_of_day(home) + timedelta(days=HORIZON_DAYS)
    assert "no stored prediction has closed yet" in done.out
    assert str(closes) in done.out
    assert "version 1" in done.out
    assert "0 days old" in done.out


def test_a_model_newer_than_the_data_has_no_age(copy_of_lab, clv) -> None:
    home = copy_of_lab.home
    made = as_of_day(home)
    back = made - timedelta(days=20)
    done = clv(home, "transform", "--horizon-days", HORIZON_DAYS, "--as-of", back)
    assert done.code == 0, done.err
    done = clv(home, "--json", "monitor")
    assert done.code == 0, done.err
    details = {check["name"]: (check["passed"], check["detail"]) for check in done.json["checks"]}
    assert details["age"] == (None, f"version 1 of {made} is newer than the data, which end on {back}")
    assert details["inputs"] == (None, f"the data end on {back}, before the as-of day of version 1: nothing to compare")
    assert done.json["age_days"] is None
    assert done.json["drift"] == []
    store = Settings(home=home).tracking_uri
    client = MlflowClient(store, store)
    assert "model_age_days" not in client.get_run(done.json["run_id"]).data.metrics
    page = Path(client.download_artifacts(done.json["run_id"], "monitor/monitor.md")).read_text()
    assert "is newer than the data" in page
    assert f"The data end on {back}, before the as-of day of version 1: nothing to compare." in page


def test_predictions_meet_what_happened(facts: dict, later: tuple[Path, pd.DataFrame]) -> None:
    """Joined by hand: the predictions file of the day, and the purchases of the 30 days after it."""
    home, bought = later
    made = as_of_day(home) - timedelta(days=DAYS_LATER)
    in_window = bought[bought["purchased_at"] <= made + timedelta(days=HORIZON_DAYS)]
    both = predictions_of(home).merge(in_window.groupby("customer_id")["amount"].sum(), on="customer_id", how="left")
    actual = both["amount"].fillna(0.0)
    (closed,) = facts["closed"]
    assert (closed["by"], closed["as_of_date"], closed["horizon_days"]) == ("version 1", str(made), HORIZON_DAYS)
    assert closed["customers"] == len(both)
    assert closed["returners"] == (actual > 0).sum()
    assert closed["actual_total"] == pytest.approx(actual.sum())
    assert closed["predicted_total"] == pytest.approx(both["expected_value"].sum())
    estimate, low, high = closed["metrics"]["normalized_gini"]
    assert estimate == pytest.approx(normalized_gini(actual, both["expected_value"]))
    assert low < estimate < high
    assert closed["metrics"]["total_ratio"][0] == pytest.approx(both["expected_value"].sum() / actual.sum())


def test_what_came_as_predicted_is_in_bounds(facts: dict) -> None:
    checks = {check["name"]: check["passed"] for check in facts["checks"]}
    assert checks["rank"] is True
    assert checks["level"] is True
    assert facts["verdict"] == "In bounds."
    assert facts["age_days"] == DAYS_LATER
    low, high = facts["closed"][0]["metrics"]["total_ratio"][1:]
    assert low < 1 < high  # the truth was drawn from the predictions


def test_drift_is_shown_for_every_feature(facts: dict) -> None:
    """Five weeks on, customers last seen then are five weeks further away, and their first purchases are the same."""
    index = {found["feature"]: found["index"] for found in facts["drift"]}
    assert index["recency_days"] > index["amount_first"]
    assert index["tenure_days"] > index["amount_first"]
    assert sum(found["importance"] for found in facts["drift"]) == pytest.approx(1)
    assert [found["index"] for found in facts["drift"]] == sorted(index.values(), reverse=True)


def test_it_is_one_run_with_a_page(facts: dict, later: tuple[Path, pd.DataFrame]) -> None:
    store = Settings(home=later[0]).tracking_uri
    client = MlflowClient(store, store)
    run = client.get_run(facts["run_id"])
    assert run.data.tags["clv.kind"] == "monitor"
    assert run.data.tags["clv.verdict"] == "in bounds"
    gini = facts["closed"][0]["metrics"]["normalized_gini"][0]
    assert run.data.metrics["normalized_gini"] == pytest.approx(gini, abs=1e-4)
    (seen,) = run.inputs.dataset_inputs
    assert seen.dataset.name == "customer_snapshots/test/monitor"
    assert run.data.tags["clv.data_fingerprint"].startswith(seen.dataset.digest)
    days = {closed["as_of_date"] for closed in facts["closed"]} | {facts["as_of_date"]}
    assert set(json.loads(seen.dataset.profile)["cutoffs"]) == days
    files = {item.path for item in client.list_artifacts(run.info.run_id, "monitor")}
    assert {
        f"monitor/{name}" for name in ("monitor.md", "monitor.html", "monitor.json", "promises.png", "drift.png")
    } <= (files)
    page = Path(client.download_artifacts(run.info.run_id, "monitor/monitor.html")).read_text()
    assert page.count("<img") == 4
    assert 'src="http' not in page
    assert "<td>rank</td>" in page


def the_opposite_order_five_times_as_high(predictions: pd.DataFrame) -> pd.DataFrame:
    """The best customer is given five times the worst one's prediction, and so on."""
    columns = ["p_return", "value_if_return", "expected_value"]
    order = np.argsort(predictions["expected_value"].to_numpy())
    swapped = predictions[columns].to_numpy(copy=True)
    swapped[order] = swapped[order[::-1]] * [1, 5, 5]
    return predictions.assign(**dict(zip(columns, swapped.T, strict=True)))


def test_what_came_otherwise_and_an_old_model_are_out_of_bounds(later: tuple[Path, pd.DataFrame], clv) -> None:
    """As if something else had been predicted, and a backtest had said to train again by now."""
    home, _ = later
    store = Settings(home=home).tracking_uri
    client = MlflowClient(store, store)
    run_id = client.get_model_version("clv", "1").run_id
    client.log_dict(run_id, {"retrain_after_days": DAYS_LATER}, "backtest/backtest.json")
    (scoring,) = scorings(Home(home), shop_id(home))
    original = scoring.path.read_bytes()
    try:
        the_opposite_order_five_times_as_high(pd.read_parquet(scoring.path)).to_parquet(scoring.path, index=False)
        done = clv(home, "monitor")
    finally:
        scoring.path.write_bytes(original)
        client.log_dict(run_id, {"retrain_after_days": None}, "backtest/backtest.json")
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert done.err.startswith("Error: Out of bounds: rank: version 1 of ")
    assert "; level: version 1 of " in done.err
    assert f"is {DAYS_LATER} days old, its backtest suggests to retrain before {DAYS_LATER}" in done.err
    assert done.out.count("FAILED") == 3


def shop_id(home: Path) -> str:
    return read_shop(open_warehouse(Settings(home=home))).shop_id


def test_scoring_again_keeps_the_past_and_a_forgotten_customer_leaves_it(
    later: tuple[Path, pd.DataFrame], clv, copied, tmp_path: Path
) -> None:
    home = copied(later[0], tmp_path / "home")
    assert clv(home, "score").code == 0
    known = scorings(Home(home), shop_id(home))
    assert len({scoring.path for scoring in known}) == 2
    assert [scoring.as_of_date for scoring in known] == [as_of_day(home) - timedelta(days=DAYS_LATER), as_of_day(home)]
    who = known[0].read()["customer_id"].iloc[0]
    assert all(who in set(scoring.read()["customer_id"]) for scoring in known)
    assert clv(home, "forget", who).code == 0
    left = scorings(Home(home), shop_id(home))
    assert len(left) == 2
    assert not any(who in set(scoring.read()["customer_id"]) for scoring in left)


def test_what_a_service_answered_is_joined_too(later: tuple[Path, pd.DataFrame], clv, copied, tmp_path: Path) -> None:
    home = copied(later[0], tmp_path / "home")
    made = as_of_day(home) - timedelta(days=DAYS_LATER)
    asked = predictions_of(home).sort_values("customer_id").iloc[::2]
    folder = Home(home).served  # where the service writes that is told to log to an embedded warehouse
    clv(home, "monitor", "--prediction-log", "warehouse").refused(2, "has no prediction log", "CLV_PREDICTION_LOG")
    log(folder / "1.parquet", asked, made)
    log(folder / "2.parquet", asked.head(3), None)  # of no day
    log(folder / "3.parquet", asked.head(3), as_of_day(home))  # not closed yet
    log(folder / "4.parquet", asked.head(3), made, version="77")  # of a shop that was replaced
    done = clv(home, "--json", "monitor", "--prediction-log", "warehouse")
    assert done.code == 0, done.err
    shop, service = done.json["closed"]
    assert service["by"] == "service, version 1"
    assert service["customers"] == len(asked) < shop["customers"]
    assert service["predicted_total"] == pytest.approx(asked["expected_value"].sum())


def log(path: Path, predictions: pd.DataFrame, as_of_date: date | None, version: str = "1") -> None:
    """A file as the service writes it."""
    rows = len(predictions)
    columns = {
        "predicted_at": [pd.Timestamp("2024-01-01", tz="UTC")] * rows,
        "model": ["clv"] * rows,
        "version": [version] * rows,
        "as_of_date": [as_of_date] * rows,
        "horizon_days": [HORIZON_DAYS] * rows,
        "features_hash": ["-"] * rows,
        **{name: predictions[name].to_numpy() for name in predictions},
    }
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA), path)


def test_of_several_answers_for_a_customer_the_last_one_counts(tmp_path: Path, bigquery_facade: Any) -> None:
    def read(*logs: Path | str) -> pd.DataFrame:
        return served(Home(tmp_path), bigquery, list(map(str, logs)))

    settings = Settings.from_environment(
        bigquery_facade.environment, home=tmp_path, warehouse="bigquery://monitor-tests/shop"
    )
    setup_bigquery(settings)
    bigquery = open_warehouse(settings)
    first = pd.DataFrame(
        {"customer_id": ["a", "b"], "p_return": [0.1, 0.2], "value_if_return": 10.0, "expected_value": 1.0}
    )
    log(tmp_path / "log" / "1.parquet", first, date(2024, 1, 1))
    assert read(tmp_path / "log")["customer_id"].tolist() == ["a", "b"]
    assert read(tmp_path / "log")["closes_on"].tolist() == [date(2024, 1, 31)] * 2
    assert read(tmp_path).equals(read(tmp_path / "log"))
    assert read().empty
    table = pq.read_table(tmp_path / "log" / "1.parquet")
    later_at = pa.array([pd.Timestamp("2024-01-02", tz="UTC")] * 2, SCHEMA.field("predicted_at").type)
    better = table.set_column(0, "predicted_at", later_at).set_column(6, "p_return", pa.array([0.9, 0.8]))
    pq.write_table(better, tmp_path / "log" / "0.parquet")
    assert read(tmp_path / "log")["p_return"].tolist() == [0.9, 0.8]

    for rows in (better, table):
        bigquery.append(*PREDICTION_LOG, rows, partition_by="predicted_at", cluster_by="customer_id")
    assert read("warehouse").equals(read(tmp_path / "log"))
    best = better.set_column(6, "p_return", pa.array([0.7, 0.6])).set_column(
        0, "predicted_at", pa.array([pd.Timestamp("2024-01-03", tz="UTC")] * 2, later_at.type)
    )
    pq.write_table(best, tmp_path / "log" / "2.parquet")
    assert read("warehouse", tmp_path / "log")["p_return"].tolist() == [0.7, 0.6]


def test_another_shops_predictions_are_not_ours(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for shop, by in (("ours", "version 1"), ("theirs", "baseline btyd")):
        path = path_of(home, date(2024, 1, 31), 30, by)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"customer_id": ["a"], "p_return": [0.5], "value_if_return": [1.0], "expected_value": [0.5]}
        facts = {"as_of_date": [date(2024, 1, 31)], "horizon_days": [30], "scored_by": [by], "shop_id": [shop]}
        pq.write_table(pa.table(rows | facts), path)
    (path.parent / ".2024-01-31-H30-version-2.parquet.next").write_text("left by a killed process")
    (found,) = scorings(home, "ours")
    assert (found.scored_by, found.closes_on) == ("version 1", date(2024, 3, 1))
    assert scorings(home, "nobody's") == []


def test_the_scoring_written_last_is_judged_whoever_is_forgotten(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", threads=2)
    made, log = date(2024, 1, 31), tmp_path / "log.csv"
    log.write_text("customer,date,amount\na,2024-01-01,1\nb,2024-01-02,2\n")
    load(settings, log, source="transactions")
    home = Home(settings.home)

    def judged() -> list[str]:
        return [scoring.scored_by for scoring in _latest(scorings(home, "shop", settings))]

    with in_memory(settings) as connection:
        for by in ("version 9", "version 10", "baseline btyd"):  # names come in another order
            connection.execute(
                f"create or replace table answers as select unnest(['a', 'b']) as customer_id, 0.5 as p_return, 1.0 as "
                f"value_if_return, 0.5 as expected_value, date '{made}' as as_of_date, 30 as horizon_days, "
                f"'{by}' as scored_by"
            )
            path = path_of(home, made, 30, by)
            path.parent.mkdir(exist_ok=True)
            export(connection, "answers", "shop", path)
            assert judged() == [by]
    assert len(forget(settings, "a").files) == 3
    assert judged() == ["baseline btyd"]
    assert [scoring.read(settings)["customer_id"].tolist() for scoring in scorings(home, "shop")] == [["b"]] * 3
    copied = tmp_path / "copied"
    for path in sorted(home.predictions.rglob("*.parquet"), reverse=True):
        target = copied / path.relative_to(home.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    home = Home(copied)
    assert judged() == ["baseline btyd"]


def test_stored_predictions_are_read_within_the_limits_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[int, str]] = []

    def noted(settings: Settings | None) -> duckdb.DuckDBPyConnection:
        connection = in_memory(settings)
        limits.extend(connection.sql("select current_setting('threads'), current_setting('memory_limit')").fetchall())
        return connection

    monkeypatch.setattr("experiments.prediction_history.in_memory", noted)
    settings = Settings(home=tmp_path, threads=3, memory_limit="512MiB")
    path = path_of(Home(tmp_path), date(2024, 1, 31), 30, "version 1")
    path.parent.mkdir(parents=True)
    rows = {"customer_id": ["a"], "p_return": [0.5], "value_if_return": [1.0], "expected_value": [0.5]}
    facts = {"as_of_date": [date(2024, 1, 31)], "horizon_days": [30], "scored_by": ["version 1"], "shop_id": ["s"]}
    pq.write_table(pa.table(rows | facts), path)
    (scoring,) = scorings(Home(tmp_path), "s", settings)
    scoring.read(settings)
    served(Home(tmp_path), open_warehouse(settings), [], settings)
    assert limits == [(3, "512.0 MiB")] * 3


def test_nothing_to_monitor_is_said(lab, clv, tmp_path: Path) -> None:
    clv(tmp_path / "empty", "monitor").refused(2, "clv load")
    clv(lab.home, "monitor", "--prediction-log", tmp_path / "nowhere").refused(2, "nowhere", "CLV_PREDICTION_LOG")


# ---- the bounds


def closed(gini: tuple[float, float, float], ratio: tuple[float, float, float], promised: Interval | None) -> Closed:
    ten = np.full(10, 0.5)
    return Closed(
        "version 1",
        date(2024, 1, 31),
        30,
        Parts(ten, ten),
        Outcome(np.arange(10), ten > 0, ten),
        promised,
        None,
        {"normalized_gini": Interval(*gini), "total_ratio": Interval(*ratio)},
    )


def report(**changes) -> MonitorReport:
    plain = MonitorReport(
        as_of_date=date(2024, 3, 31),
        currency="EUR",
        version="1",
        model_as_of_date=date(2024, 1, 31),
        is_backtested=True,
        retrain_after_days=90,
        closed=(closed((0.5, 0.4, 0.6), (1.1, 0.9, 1.3), Interval(0.5, 0.45, 0.55)),),
        served=(),
        waiting=(),
        drift=(FeatureDrift("recency_days", 0.2, 0.1, 0.5),),
    )
    return replace(plain, **changes)


def outcome(name: str, **changes) -> bool | None:
    found: dict[str, Check] = {check.name: check for check in checks_of(report(**changes))}
    return found[name].passed


@pytest.mark.parametrize(
    ("gini", "promised", "passed"),
    [
        ((0.5, 0.4, 0.6), (0.5, 0.45, 0.55), True),
        ((0.3, 0.1, 0.46), (0.5, 0.45, 0.55), True),  # lower, but their intervals meet
        ((0.3, 0.2, 0.44), (0.5, 0.45, 0.55), False),
        ((0.9, 0.8, 0.95), (0.5, 0.45, 0.55), True),  # better than promised
        ((0.1, 0.0, 0.2), None, None),
    ],
)
def test_rank_is_judged_against_the_promise(gini, promised, passed) -> None:
    promise = Interval(*promised) if promised else None
    assert outcome("rank", closed=(closed(gini, (1, 0.9, 1.1), promise),)) is passed


@pytest.mark.parametrize(
    ("ratio", "passed"),
    [((1.0, 0.9, 1.1), True), ((2.3, 1.9, 2.7), True), ((2.3, 2.1, 2.7), False), ((0.3, 0.2, 0.45), False)],
)
def test_the_level_is_out_only_beyond_its_interval(ratio, passed) -> None:
    assert outcome("level", closed=(closed((0.5, 0.4, 0.6), ratio, None),)) is passed


@pytest.mark.parametrize(
    ("drifts", "passed"),
    [
        ([FeatureDrift("a", 0.2, 0.0, 0.5)], True),  # not large
        ([FeatureDrift("a", 0.6, 0.4, 0.5)], True),  # large, as usual
        ([FeatureDrift("a", 0.6, 0.2, 0.5)], False),
        ([FeatureDrift("a", 0.6, 0.2, 0.01), FeatureDrift("b", 0.1, 0.1, 0.9)], True),  # of no importance
        ([FeatureDrift("a", 9.0, None, 0.5)], None),  # nothing to compare with
        ([], None),
    ],
)
def test_drift_is_judged_by_size_custom_and_importance(drifts, passed) -> None:
    assert outcome("inputs", drift=tuple(drifts)) is passed


def test_age_is_judged_where_there_is_a_backtest() -> None:
    assert outcome("age") is True
    assert outcome("age", retrain_after_days=60) is False
    assert outcome("age", retrain_after_days=None) is True
    assert outcome("age", retrain_after_days=None, is_backtested=False) is None


def test_a_model_newer_than_the_data_is_not_judged() -> None:
    newer = report(model_as_of_date=date(2024, 4, 1), retrain_after_days=1)
    assert newer.age_days is None
    assert outcome("age", model_as_of_date=date(2024, 4, 1)) is None
    assert report(model_as_of_date=date(2024, 3, 31)).age_days == 0


def test_without_a_model_only_the_past_is_judged() -> None:
    alone = report(version=None, model_as_of_date=None, drift=())
    checks = list(checks_of(alone))
    assert [check.name for check in checks] == ["rank", "level", "model"]
    assert checks[-1].passed is None
    assert "No model of this shop is in Production." in to_markdown(alone)


def test_tiny_totals_are_shown() -> None:
    latest = replace(report().closed[0], promised_total=Interval(5.0, 0.0042, 7.0))
    (level,) = [check for check in checks_of(report(closed=(latest,))) if check.name == "level"]
    assert "the interval of its total, 0.0042 to 7, held the 5" in level.detail


def test_only_the_latest_closed_scoring_is_judged() -> None:
    good, bad = report().closed[0], closed((0.1, 0.0, 0.2), (9.0, 8.0, 10.0), Interval(0.5, 0.45, 0.55))
    assert outcome("rank", closed=(good, bad)) is True
    assert outcome("rank", closed=(bad, good)) is False


def test_waiting_predictions_name_the_first_to_close() -> None:
    waiting = tuple(Scoring(Path("x"), "shop", "version 1", date(2024, 3, day), 30) for day in (20, 10))
    found = report(closed=(), waiting=waiting)
    found = replace(found, checks=tuple(checks_of(found)))
    assert "of 2024-03-10) does on 2024-04-09" in found.verdict
    assert found.failures == ()


def test_a_page_shows_names_as_text() -> None:
    page = html_page("# <script>alert(1)</script>\n\n| a | b |\n|---|--:|\n| x<y & z | `<b>` |\n", "a <title>")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<title>a &lt;title&gt;</title>" in page
    assert '<td style="text-align: right;"><code>&lt;b&gt;</code></td>' in page
    links = "[x](javascript:alert(1)) ![y](http://a.b/c.png) <http://a.b> [z]\n\n[z]: javascript:alert(2)\n"
    page = html_page(links, "names")
    assert "<a" not in page
    assert "<img" not in page
