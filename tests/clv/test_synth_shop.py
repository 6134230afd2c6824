"""Parameters, clock and quadrature of the synthetic shop."""

from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from clv.errors import InputError
from clv.synth import Shop
from clv.synth.clock import DAY, Clock, is_gift_season, season, seconds
from clv.synth.oracle import beta_quadrature
from clv.synth.shop import expected_repeat_rate
from clv.synth.simulate import order_frame, simulate


def realised_repeat_rate(shop, customers):
    orders = order_frame(shop, simulate(shop, customers, 1, np.random.default_rng(3)), covariates=False)
    orders = orders[orders["purchased_at"] < np.datetime64(shop.end) + np.timedelta64(1, "D")]
    return (orders["purchased_at"].dt.normalize().groupby(orders["customer_id"]).nunique() > 1).mean()


@pytest.mark.parametrize("repeat_rate", [0.03, 0.2, 0.5, 0.6])
def test_repeat_rate_is_designed_and_realised(repeat_rate):
    shop = Shop.design(repeat_rate)
    assert expected_repeat_rate(shop) == pytest.approx(repeat_rate, abs=1e-9)
    assert realised_repeat_rate(shop, 20_000) == pytest.approx(repeat_rate, rel=0.1)


def test_repeat_rate_holds_for_other_dates():
    shop = Shop.design(0.3, start=date(2020, 1, 1), end=date(2020, 12, 31))
    assert realised_repeat_rate(shop, 20_000) == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("repeat_rate", [-0.1, 0.0, 0.61, 1.5, float("nan")])
def test_impossible_repeat_rate_is_refused(repeat_rate):
    with pytest.raises(InputError, match=r"Repeat rate .* out of range; expected a share from 0\.02 to 0\.6"):
        Shop.design(repeat_rate)


def test_bad_seed_and_dates_are_refused():
    with pytest.raises(InputError, match="Seed -1 is negative"):
        Shop.design(seed=-1)
    with pytest.raises(InputError, match=r"from 2020-01-01 to 2020-01-31 is too short.*60 days"):
        Shop.design(start=date(2020, 1, 1), end=date(2020, 1, 31))


def test_shop_survives_its_file(tmp_path):
    shop = Shop.design(0.37, seed=9)
    shop.save(tmp_path / "shop.json")
    assert Shop.load(tmp_path / "shop.json") == shop


def test_clock_is_the_integral_of_the_season():
    clock = Clock(date(2017, 1, 1), date(2017, 12, 31))
    days = np.datetime64("2017-01-01") + np.arange(365)
    midnights = seconds(date(2017, 1, 1)) + DAY * np.arange(366)
    np.testing.assert_allclose(np.diff(clock.elapsed(midnights)), season(days))
    moments = np.sort(np.random.default_rng(0).integers(midnights[0], midnights[-1], 1_000))
    assert np.abs(clock.moments(clock.elapsed(moments)) - moments).max() <= 1
    assert 0.9 < season(days).mean() < 1.2


def test_gift_season_has_its_days():
    days = np.array(["2017-11-19", "2017-11-20", "2017-12-23", "2017-12-24"], dtype="datetime64[s]").astype(np.int64)
    assert is_gift_season(days).tolist() == [False, True, True, False]


@pytest.mark.parametrize("x", [0, 1, 5, 40, 300])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 5.0])
def test_quadrature_agrees_with_numerical_integration(x, ratio):
    shop = Shop.design()

    def orders(p):
        return -np.expm1(-(shop.r + x) * np.log1p(ratio * p)) / p

    node, weight = beta_quadrature(np.array([shop.a]), np.array([shop.b + x]), 16)
    density = stats.beta(shop.a, shop.b + x).pdf
    peak = shop.a / (shop.a + shop.b + x)
    cuts = [0, peak / 4, peak, min(4 * peak, 0.9), 1]
    wanted = sum(integrate.quad(lambda p: orders(p) * density(p), a, b)[0] for a, b in pairwise(cuts))
    assert (weight * orders(node)).sum() == pytest.approx(wanted, rel=1e-4)
    assert weight.sum() == pytest.approx(1)
