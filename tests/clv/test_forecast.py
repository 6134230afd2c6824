from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from clv.forecast import Forecast, forecast
from clv.ledger import Ledger, number

START = date(2014, 1, 1)
Make = Callable[..., Ledger]


def day(number_of_days: int) -> date:
    return START + timedelta(days=number_of_days)


@pytest.fixture(scope="module")
def seasonal(make_ledger: Make) -> Ledger:
    """Three years, 3.3 times as busy in January as in July."""
    return make_ledger(1, days=3 * 365 + 90, customers=6000, season=0.6)


@pytest.mark.parametrize(("month", "truth"), [(11, 1.5), (3, 0.8), (5, 0.6)])
def test_a_season_that_was_seen_is_known_and_the_last_one_is_not_carried_on(
    seasonal: Ledger, month: int, truth: float
) -> None:
    cutoff = date(2016, month, 15)
    found = forecast(seasonal, cutoff, 90)
    assert found.season_seen == 1
    assert found.season == pytest.approx(truth, rel=0.15)
    assert found.total == pytest.approx(seasonal.spent(cutoff, 90), rel=0.2)  # about two standard deviations


@pytest.mark.parametrize("month", [4, 5, 6])
def test_a_shop_that_lives_from_a_part_of_the_year_does_not_carry_it_on(make_ledger: Make, month: int) -> None:
    """Fifty times as busy in January as in July."""
    ledger, cutoff = make_ledger(1, days=3 * 365 + 90, customers=6000, season=2.0), date(2016, month, 15)
    assert forecast(ledger, cutoff, 90).total == pytest.approx(ledger.spent(cutoff, 90), rel=0.25)


def test_a_shop_without_season_gets_none(make_ledger: Make) -> None:
    found = forecast(make_ledger(2, days=3 * 365, customers=6000), day(900), 90)
    assert found.season == pytest.approx(1, abs=0.07)


def test_nothing_after_the_cutoff_is_looked_at(seasonal: Ledger) -> None:
    later = seasonal.day > number(day(500))
    spoilt = replace(
        seasonal, amount=np.where(later, 1e6, seasonal.amount), square=np.where(later, 1e12, seasonal.square)
    )
    assert forecast(seasonal, day(500), 90) == forecast(spoilt, day(500), 90)


def test_money_in_other_units_is_the_same_forecast(seasonal: Ledger) -> None:
    cents = replace(seasonal, amount=seasonal.amount * 100, square=seasonal.square * 1e4)
    one, other = forecast(seasonal, day(700), 90), forecast(cents, day(700), 90)
    assert other.total == pytest.approx(100 * one.total, rel=1e-6)
    assert other.level_sd == pytest.approx(one.level_sd, rel=1e-6)


def test_a_short_history_says_so_by_its_width(make_ledger: Make) -> None:
    """A thousand days of a shop, and the last hundred of them as if it had opened then."""
    ledger = make_ledger(3, days=1100, customers=9000, season=0.3)
    young = ledger.rows(ledger.first > number(day(900)))
    long, short = forecast(ledger, day(1000), 90), forecast(young, day(1000), 90)
    assert (long.season_seen, short.season_seen) == (1, 0)
    assert short.level_sd > 1.4 * long.level_sd


def test_a_christmas_that_was_never_seen_is_the_least_certain(make_ledger: Make) -> None:
    """The same shop two months apart: more history, and yet less sure."""
    ledger = make_ledger(4, days=400, customers=12000)
    summer, autumn = (forecast(ledger, date(2014, month, 30), 45) for month in (7, 10))
    assert autumn.level_sd > 1.3 * summer.level_sd


def test_the_interval_holds_its_share_over_small_shops(make_ledger: Make) -> None:
    """30 shops of every kind; fewer than 17 or more than 29 hits would come by chance once in hundreds of times."""
    draw = np.random.default_rng(5)
    hits = 0
    for seed in range(30):
        days, horizon = int(draw.integers(250, 900)), int(draw.choice([30, 60, 90]))
        kind = {"season": draw.choice([0.0, 0.3]), "tail": draw.uniform(0.3, 1.2), "rate": draw.uniform(0.5, 6)}
        ledger = make_ledger(seed, days=days, customers=int(draw.integers(300, 2000)), **kind)
        cutoff = day(days - horizon - 1)
        low, high = forecast(ledger, cutoff, horizon).interval(0.8)
        hits += low <= ledger.spent(cutoff, horizon) <= high
    assert 17 <= hits <= 29


@pytest.mark.parametrize(
    ("days", "amounts"),
    [
        ([0, 0, 0], [10, 20, 30]),
        ([0], [10]),
        ([0, 40, 80, 120, 160], [10] * 5),
        ([0, 40, 80, 120, 160], [10, -4, -4, -4, -4]),
        ([0, 40, 80, 120, 160], [10, 10, -15, -4, -4]),
    ],
    ids=["nobody came back", "one purchase", "one customer", "nothing but returns", "more back than bought"],
)
def test_next_to_no_history_is_a_wide_forecast_and_no_crash(days: list[int], amounts: list[float]) -> None:
    same = len(days) == 5
    ledger = Ledger.of([0] * 5 if same else range(len(days)), number(START) + np.array(days), amounts)
    found = forecast(ledger, day(180), 90)
    low, high = found.interval(0.8)
    assert 0 <= low < found.total < high < 1e4
    assert np.sqrt(found.level_sd**2 + found.chance) > 0.3


def test_one_customer_with_half_the_revenue_widens_the_interval(make_ledger: Make) -> None:
    ledger = make_ledger(6, days=500)
    plain = forecast(ledger, day(400), 60)
    giant = Ledger.of(np.zeros(20), number(START) + 20 * np.arange(20), np.full(20, ledger.amount.sum() / 20))
    columns = ("first", "day", "is_first", "purchases", "amount", "square")
    both = Ledger(*(np.concatenate([getattr(ledger, name), getattr(giant, name)]) for name in columns))
    found = forecast(both, day(400), 60)
    assert found.total > plain.total
    assert found.chance > 5 * plain.chance


def test_the_account_that_brings_nearly_all_does_not_grow_with_the_number_of_customers() -> None:
    """It orders every four days from the first day on; two small customers a week are won, who buy once a month."""
    rng = np.random.default_rng(5)
    account = np.arange(0, 720, 4)
    won = 3 * np.arange(1, 200)
    small = [np.arange(first, 720, 30) for first in won]
    customer = np.concatenate([np.zeros(len(account)), *(np.full(len(days), n + 1) for n, days in enumerate(small))])
    day = number(START) + np.concatenate([account, *small])
    amount = np.where(customer == 0, 50_000.0, 100.0) * rng.uniform(0.5, 1.5, len(day))
    ledger, cutoff = Ledger.of(customer, day, amount), START + timedelta(days=629)
    assert forecast(ledger, cutoff, 90).total == pytest.approx(ledger.spent(cutoff, 90), rel=0.2)


def test_on_the_day_of_its_first_purchase_a_shop_has_a_forecast_too() -> None:
    found = forecast(Ledger.of([1, 2], [number(START)] * 2, [5.0, 6.0]), START, 30)
    low, high = found.interval(0.8)
    assert 0 <= low < found.total < high


def test_nobody_has_bought_yet(make_ledger: Make) -> None:
    with pytest.raises(ValueError, match="Nobody has bought by 2013-01-01"):
        forecast(make_ledger(7, days=100), date(2013, 1, 1), 30)


def test_surprise_is_in_standard_deviations() -> None:
    plain = Forecast(START, 90, 100, 1000.0, 0.2, 0.0, 1.0, 1.0)
    assert plain.surprise(1000 * np.exp(-0.4)) == pytest.approx(2)
    assert np.isfinite(replace(plain, chance=0.1).surprise(0.0))


def purchases(seed: int) -> pd.DataFrame:
    """Those of 1,500 customers over 900 days: ``customer``, ``day``, ``amount``, and whether it is their ``first``."""
    draw = np.random.default_rng(seed)
    won = draw.integers(0, 900, 1500)
    stay = np.minimum(draw.exponential(400, 1500), 899 - won)
    buyer = np.repeat(np.arange(1500), draw.poisson(draw.gamma(0.8, 3 / 365 / 0.8, 1500) * stay))
    again = won[buyer] + 1 + (draw.random(len(buyer)) * stay[buyer]).astype(np.int64)
    rows = pd.DataFrame({"customer": np.append(np.arange(1500), buyer), "day": np.append(won, again)})
    rows = rows.drop_duplicates().sort_values(["customer", "day"], ignore_index=True)
    return rows.assign(amount=80 * np.exp(0.6 * draw.standard_normal(len(rows))), first=~rows.duplicated("customer"))


def merged(*parts: pd.DataFrame) -> pd.DataFrame:
    """One row per customer and day."""
    return pd.concat(parts).groupby(["customer", "day"])["amount"].sum().reset_index()


def returns(rows: pd.DataFrame, days: NDArray[np.int64] | int, share: NDArray[np.float64] | float) -> pd.DataFrame:
    """A `share` of what was bought comes back `days` later."""
    return rows.assign(day=rows["day"] + days, amount=-rows["amount"] * share)


def ledger_of(rows: pd.DataFrame) -> Ledger:
    return Ledger.of(rows["customer"], number(START) + rows["day"], rows["amount"])


def error(rows: pd.DataFrame, cutoff: int) -> float:
    """Logarithm of the forecast over what the labels of 90 days add up to."""
    known = rows.loc[(rows["amount"] > 0) & (rows["day"] <= cutoff), "customer"]
    window = rows[rows["customer"].isin(known) & rows["day"].between(cutoff + 1, cutoff + 90)]
    label = window.groupby("customer")["amount"].sum().clip(lower=0).sum()
    return float(np.log(forecast(ledger_of(rows), day(cutoff), 90).total / label))


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_returns_do_not_bias_the_total(seed: int) -> None:
    """40 % come back, in full or in part, 5 to 14 days later; clipped cell by cell, it rose by 0.15 to 0.17."""
    rows, draw = purchases(seed), np.random.default_rng([seed, 1])
    back = rows[draw.random(len(rows)) < 0.4]
    net = merged(rows, returns(back, draw.integers(5, 15, len(back)), draw.choice([0.6, 1.0], len(back))))
    assert abs(np.mean([error(net, cutoff) - error(rows, cutoff) for cutoff in range(400, 811, 60)])) < 0.06


def test_a_first_purchase_that_comes_back_says_nothing_of_later_ones() -> None:
    rows = purchases(1)
    soon = rows.groupby("customer")["day"].shift(-1) <= rows["day"] + 7
    back = rows[rows["first"] & ~soon]
    before, after = (forecast(ledger_of(each), day(850), 90) for each in (rows, merged(rows, returns(back, 7, 1.0))))
    assert after.total == pytest.approx(before.total, rel=1e-3)


@pytest.mark.parametrize("seed", [3, 6])
def test_what_is_bought_and_comes_back_hardly_shows(seed: int) -> None:
    """Every third repeat purchase is followed by one that comes back; clipped cell by cell, that made 8 %."""
    rows = purchases(seed)
    extra = rows[~rows["first"]].iloc[::3].assign(day=lambda frame: frame["day"] + 2)
    both = merged(rows, extra, returns(extra, 4, 1.0))
    before, after = (forecast(ledger_of(each), day(850), 90) for each in (rows, both))
    assert after.total == pytest.approx(before.total, rel=0.035)
