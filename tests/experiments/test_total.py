"""The total in words: with its interval, plainly without one, and a warning where its record is bad."""

from datetime import date
from pathlib import Path

import pytest
from mlflow import MlflowClient

from clv.forecast import Forecast
from clv.level import INTERVAL_LEVEL, Level
from clv.settings import Settings
from experiments.total import amount, doubt, interval

FORECAST = Forecast(date(2018, 5, 31), 90, 500, 12_000.0, level_sd=0.2, chance=0.01, season=1.0, season_seen=1.0)
LEVEL = Level(FORECAST, ()).to_json(INTERVAL_LEVEL, 1.0)


def test_on_its_own_day_the_interval_is_that_of_the_forecast() -> None:
    assert interval(LEVEL, 12_000.0) == pytest.approx((LEVEL["total_low"], LEVEL["total_high"]))


def test_chance_evens_out_over_more_customers_and_the_level_that_they_share_does_not() -> None:
    def width(total: float) -> float:
        low, high = interval(LEVEL, total)
        return (high - low) / total

    assert width(120.0) > width(12_000.0) > width(1_200_000.0)
    assert width(1_200_000.0) > 0.9 * width(12_000.0)


def test_without_an_interval_it_is_said() -> None:
    assert interval(None, 12_000.0) is None
    assert interval(LEVEL, 0.0) is None
    assert amount(0.0, None, "BRL", 0.8) == "0 BRL (no interval is known)"
    assert amount(12_340.2, (9_100.0, 16_200.4), "BRL", 0.8) == "12,340 BRL (80% interval: 9,100 to 16,200)"


@pytest.mark.parametrize(
    ("windows", "covered", "said"),
    [(12, 6, ""), (12, 5, "only 5"), (4, 2, ""), (4, 1, "only 1"), (4, 0, "none"), (3, 0, ""), (0, 0, "")],
)
def test_a_bad_record_is_a_warning_and_bad_luck_is_none(windows: int, covered: int, said: str) -> None:
    warning = doubt({"windows": windows, "windows_covered": covered})
    assert bool(warning) == bool(said)
    assert said in warning
    assert not warning or warning.startswith(f"Of {windows} closed windows")


@pytest.mark.usefixtures("unrendered")
def test_training_warns_of_it_and_the_run_and_the_card_tell_it(copy_of_lab, clv, monkeypatch) -> None:
    monkeypatch.setattr("experiments.total.LEAST_COVERED", 1.1)  # no record is good enough
    done = clv(copy_of_lab.home, "--json", "train", "-p", "family=btyd")
    assert done.code == 0, done.err
    assert done.err.count("closed windows, forecast the same way") == 1
    store = Settings(home=copy_of_lab.home).tracking_uri
    client = MlflowClient(store, store)
    run_id = done.json["run_id"]
    assert "may be further off than its interval says" in client.get_run(run_id).data.tags["clv.level"]
    assert "may be further off" in Path(client.download_artifacts(run_id, "model_card.md")).read_text()
