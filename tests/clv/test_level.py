import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from clv.forecast import Forecast, forecast
from clv.ledger import Ledger, number
from clv.level import PRIOR_WINDOWS, Level, Window, fit_level, track_record

START = date(2014, 1, 1)
CUTOFF = START + timedelta(days=600)


@pytest.fixture(scope="module")
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    return make_ledger(11, days=800)


@pytest.fixture(scope="module")
def level(ledger: Ledger) -> Level:
    return fit_level(ledger, CUTOFF, 90)


def test_the_record_is_of_closed_windows_only(ledger: Ledger, level: Level) -> None:
    assert len(level.record) == 12
    for window in level.record:
        assert window.forecast.cutoff + timedelta(days=90) <= CUTOFF
        assert window.spent == ledger.spent(window.forecast.cutoff, 90)
        assert window.forecast == forecast(ledger, window.forecast.cutoff, 90)


def test_nothing_after_the_cutoff_is_looked_at(ledger: Ledger, level: Level) -> None:
    later = ledger.day > number(CUTOFF)
    spoilt = replace(ledger, amount=np.where(later, 1e6, ledger.amount), square=np.where(later, 1e12, ledger.square))
    assert fit_level(spoilt, CUTOFF, 90) == level


def test_a_young_shop_has_no_record(ledger: Ledger) -> None:
    assert track_record(ledger, START + timedelta(days=100), 90) == ()
    young = fit_level(ledger, START + timedelta(days=100), 90)
    assert young.forecast == forecast(ledger, START + timedelta(days=100), 90)
    assert "no window of this length has closed" in young.note(0.8, 1.0)


@pytest.mark.parametrize(("surprise", "wider"), [(0.0, False), (1.0, None), (3.0, True)])
def test_the_record_widens_or_narrows_the_interval(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, surprise: float, wider: bool | None
) -> None:
    now = forecast(ledger, CUTOFF, 90)
    past = Forecast(START, 90, 100, 1000.0, 0.2, 0.0, 1.0, 1.0)
    record = (Window(past, 1000 * np.exp(-0.2 * surprise)),) * 12
    monkeypatch.setattr("clv.level.track_record", lambda *_: record)
    found = fit_level(ledger, CUTOFF, 90).forecast
    scale = np.sqrt((PRIOR_WINDOWS + 4 * surprise**2) / (PRIOR_WINDOWS + 4))  # 12 windows a third of which is new
    before, after = (each.level_sd**2 + np.log1p(each.chance) for each in (now, found))
    assert found.total == now.total
    if wider is False:
        assert now.level_sd / 2 <= found.level_sd < now.level_sd
    else:
        assert after == pytest.approx(scale**2 * before)


def test_what_is_said_of_it_is_plain_json(level: Level) -> None:
    facts = level.to_json(0.8, 0.93)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["factor"] == 0.93
    assert facts["total_low"] < facts["total"] < facts["total_high"]
    assert facts["windows_covered"] == sum(w["low"] <= w["spent"] <= w["high"] for w in facts["record"])
    assert [window["cutoff"] for window in facts["record"]] == sorted(window["cutoff"] for window in facts["record"])
    assert "multiplied by 0.93" in facts["note"]
    assert "has seen this time of the year before" in facts["note"]
    assert f"{facts['windows_covered']} of 12 closed windows" in facts["note"]
