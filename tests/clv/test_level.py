import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from clv.forecast import Forecast, forecast
from clv.ledger import Ledger, number
from clv.level import DOUBT, LARGEST_SURPRISE, PRIOR_WINDOWS, Level, Window, corrected, fit_level, track_record

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
    first = level.record[-1]  # nothing had closed before it that it could be corrected by
    assert first.forecast == forecast(ledger, first.forecast.cutoff, 90)


def test_each_window_of_the_record_is_corrected_by_those_closed_before_it(ledger: Ledger, level: Level) -> None:
    tried = track_record(ledger, CUTOFF, 90)
    for window, plain in zip(level.record, tried, strict=True):
        before = [one for one in tried if one.forecast.cutoff + timedelta(days=90) <= plain.forecast.cutoff]
        assert window.forecast == corrected(plain.forecast, before)


def test_nothing_after_the_cutoff_is_looked_at(ledger: Ledger, level: Level) -> None:
    later = ledger.day > number(CUTOFF)
    spoilt = replace(ledger, amount=np.where(later, 1e6, ledger.amount), square=np.where(later, 1e12, ledger.square))
    assert fit_level(spoilt, CUTOFF, 90) == level


def test_a_young_shop_has_no_record(ledger: Ledger) -> None:
    assert track_record(ledger, START + timedelta(days=100), 90) == ()
    young = fit_level(ledger, START + timedelta(days=100), 90)
    assert young.forecast == forecast(ledger, START + timedelta(days=100), 90)
    assert "no window of this length has closed" in young.note(0.8, 1.0)


def windows(*surprises: float) -> list[Window]:
    """Closed windows of 30 days, forecast by so many standard deviations too high."""
    past = Forecast(START, 30, 100, 1000.0, 0.2, 0.0, 1.0, 1.0)
    return [Window(past, 1000 * np.exp(-0.2 * surprise)) for surprise in surprises]


NOW = Forecast(CUTOFF, 30, 100, 1000.0, 0.3, 0.04, 1.0, 1.0)


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_the_spread_of_the_record_widens_or_narrows_the_interval(spread: float) -> None:
    found = corrected(NOW, windows(*[spread, -spread] * 6))
    assert found.total == pytest.approx(NOW.total)
    before, after = (each.level_sd**2 + np.log1p(each.chance) for each in (NOW, found))
    scale_squared = (PRIOR_WINDOWS + 12 * spread**2) / (PRIOR_WINDOWS + 12)
    if spread:
        assert after == pytest.approx(scale_squared * before)
    else:
        assert found.level_sd == NOW.level_sd / 2  # never surer than that


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_bias_beyond_chance_is_taken_off(sign: int) -> None:
    found = corrected(NOW, windows(*[sign * 2.0] * 12))
    bias = (2 - DOUBT / np.sqrt(12)) * 12 / (12 + PRIOR_WINDOWS)
    sd = np.sqrt(NOW.level_sd**2 + np.log1p(NOW.chance))
    assert np.log(found.total / NOW.total) == pytest.approx(-sign * bias * sd)
    # the variance of single purchases is proportional to their sum
    assert found.chance * found.total == pytest.approx(NOW.chance * NOW.total)


def test_windows_that_overlap_count_as_fewer() -> None:
    whole, third = (corrected(replace(NOW, horizon_days=days), windows(*[2.0] * 12)).total for days in (30, 90))
    assert whole < third < NOW.total


def test_a_bias_that_may_be_chance_shifts_nothing() -> None:
    assert corrected(NOW, windows(*[0.1, -0.05] * 6)).total == NOW.total


def test_one_window_out_of_all_proportion_counts_as_no_more_than_a_large_surprise() -> None:
    usual = [0.5, -0.5, 1.0, -1.0]
    found, bound = (corrected(NOW, windows(*usual, largest)) for largest in (40.0, LARGEST_SURPRISE))
    assert (found.total, found.level_sd) == pytest.approx((bound.total, bound.level_sd))


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


def test_a_correction_by_the_record_is_told(level: Level) -> None:
    assert level.to_json(0.8, 1.0)["shift"] == level.shift
    assert "overestimated, it is multiplied by 0.80" in replace(level, shift=0.8).note(0.8, 1.0)
    assert "underestimated, it is multiplied by 1.25" in replace(level, shift=1.25).note(0.8, 1.0)
    assert "estimated" not in replace(level, shift=1.0).note(0.8, 1.0)


def test_the_shift_is_the_corrected_total_over_the_plain_one(ledger: Ledger, level: Level) -> None:
    plain = forecast(ledger, CUTOFF, 90)
    assert level.forecast == corrected(plain, track_record(ledger, CUTOFF, 90))
    assert level.shift == level.forecast.total / plain.total
