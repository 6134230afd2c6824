import warnings

import numpy as np
import pytest

from clv.bootstrap import Outcome, intervals, paired, resample
from clv.metrics import METRICS, normalized_gini
from clv.predictor import Parts
from tests.clv.scores import evaluate


def shop(rng, size, *, noise=1.0, ids=None):
    """Customers whose value is known up to noise: the chance to return, and what happened."""
    skill = rng.normal(size=size)
    chance = 1 / (1 + np.exp(2 - skill))
    back = rng.random(size) < chance
    value = np.where(back, rng.lognormal(3, 0.5, size), 0.0)
    seen = 1 / (1 + np.exp(2 - skill - noise * rng.normal(size=size)))
    names = np.array([f"customer-{i:06d}" for i in range(size)], dtype=object)
    return Parts(seen, np.full(size, 20.0)), Outcome(names if ids is None else ids, back, value)


def blurred(parts, rng, amount):
    return Parts(np.clip(parts.p_return * rng.lognormal(0, amount, len(parts.p_return)), 0, 1), parts.value_if_return)


@pytest.fixture
def rng():
    return np.random.default_rng(20180831)


def test_a_replicate_is_the_metrics_of_the_customers_drawn(rng):
    parts, outcome = shop(rng, 300)
    draws = resample({"model": [parts]}, [outcome], rng=np.random.default_rng(3), replicates=4)
    again = np.random.default_rng(3)
    for replicate in draws.replicates["model"][0]:
        drawn = again.integers(300, size=300)
        copied = Parts(parts.p_return[drawn], parts.value_if_return[drawn])
        expected = evaluate(copied, outcome.is_return[drawn], outcome.future_value[drawn])
        assert replicate == pytest.approx(list(expected.values()), nan_ok=True)
    plain = evaluate(parts, outcome.is_return, outcome.future_value)
    assert {name: found.estimate for name, found in intervals(draws, "model").items()} == pytest.approx(plain)


def test_the_seed_decides_and_the_order_of_rows_does_not(rng):
    parts, outcome = shop(rng, 200)
    order = rng.permutation(200)
    shuffled = Parts(parts.p_return[order], parts.value_if_return[order])
    moved = Outcome(outcome.customer_id[order], outcome.is_return[order], outcome.future_value[order])
    one, same, other = (
        resample({"model": [p]}, [o], rng=np.random.default_rng(seed), replicates=5).replicates["model"]
        for p, o, seed in ((parts, outcome, 1), (shuffled, moved, 1), (parts, outcome, 2))
    )
    assert same == pytest.approx(one)
    assert not np.allclose(one, other)


def test_rows_of_one_customer_move_together(rng):
    parts, outcome = shop(rng, 400)
    others = Outcome(np.arange(400), outcome.is_return, outcome.future_value)
    elsewhere = Outcome(np.arange(400, 800), outcome.is_return, outcome.future_value)

    def width(outcomes):
        draws = resample({"model": [parts] * len(outcomes)}, outcomes, rng=np.random.default_rng(4), replicates=400)
        found = intervals(draws, "model")["normalized_gini"]
        return found.high - found.low

    assert width([outcome, outcome]) == pytest.approx(width([outcome]))
    assert width([others, elsewhere]) == pytest.approx(width([outcome]) / np.sqrt(2), rel=0.2)


def test_cutoffs_are_averaged_and_may_have_different_customers(rng):
    first, second = shop(rng, 150), shop(rng, 260)
    draws = resample({"model": [first[0], second[0]]}, [first[1], second[1]], rng=rng, replicates=20)
    each = [normalized_gini(outcome.future_value, parts.expected_value) for parts, outcome in (first, second)]
    found = intervals(draws, "model")["normalized_gini"]
    assert found.estimate == pytest.approx(np.mean(each))
    assert found.low < found.estimate < found.high


def test_a_cutoff_without_buyers_is_left_out_of_the_mean(rng):
    parts, outcome = shop(rng, 150)
    nobody = Outcome(outcome.customer_id, np.zeros(150, dtype=bool), np.zeros(150))
    both = resample({"model": [parts, parts]}, [outcome, nobody], rng=np.random.default_rng(5), replicates=20)
    alone = resample({"model": [parts]}, [outcome], rng=np.random.default_rng(5), replicates=20)
    assert intervals(both, "model")["normalized_gini"] == intervals(alone, "model")["normalized_gini"]


def test_intervals_cover_the_truth(rng):
    everybody, happened = shop(rng, 200_000)
    truth = evaluate(everybody, happened.is_return, happened.future_value)
    hits = dict.fromkeys(["normalized_gini", "top_decile_capture", "roc_auc", "total_ratio", "mae"], 0)
    samples = 80
    for _ in range(samples):
        draws = resample({"model": [(sample := shop(rng, 500))[0]]}, [sample[1]], rng=rng, replicates=100)
        found = intervals(draws, "model", level=0.8)
        for name in hits:
            hits[name] += found[name].low <= truth[name] <= found[name].high
    # 80 % of 80, give or take three standard deviations
    assert all(53 <= count <= 75 for count in hits.values()), hits


def test_a_higher_level_is_wider(rng):
    parts, outcome = shop(rng, 300)
    draws = resample({"model": [parts]}, [outcome], rng=rng)
    narrow, wide = (intervals(draws, "model", level)["roc_auc"] for level in (0.8, 0.95))
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


def test_verdicts(rng):
    parts, outcome = shop(rng, 3000, noise=0.3)
    twin, guess = blurred(parts, rng, 0.02), Parts(rng.permutation(parts.p_return), parts.value_if_return)
    draws = resample({"model": [parts], "twin": [twin], "guess": [guess]}, [outcome], rng=rng)
    for name in ("normalized_gini", "top_decile_capture", "roc_auc", "pr_auc", "spearman"):
        assert paired(draws, "model", "guess")[name].verdict == "better"
        assert paired(draws, "guess", "model")[name].verdict == "worse"
    for reference in ("model", "twin"):
        assert paired(draws, "model", reference)["normalized_gini"].verdict == "not distinguishable"


def test_pairing_tells_apart_what_intervals_overlap(rng):
    parts, outcome = shop(rng, 3000, noise=0.3)
    draws = resample({"model": [parts], "worse": [blurred(parts, rng, 0.5)]}, [outcome], rng=rng)
    good, bad = (intervals(draws, name)["normalized_gini"] for name in ("model", "worse"))
    assert bad.high > good.low
    assert paired(draws, "model", "worse")["normalized_gini"].verdict == "better"


def test_a_positive_difference_favours_the_candidate_whatever_the_metric(rng):
    parts, outcome = shop(rng, 3000, noise=0.0)
    level = outcome.future_value.sum() / parts.expected_value.sum()
    right = Parts(parts.p_return, parts.value_if_return * level)
    high, low = (Parts(parts.p_return, right.value_if_return * factor) for factor in (3.0, 1 / 3))
    draws = resample({"right": [right], "high": [high], "low": [low]}, [outcome], rng=rng)
    found = paired(draws, "right", "high")
    for name in ("total_ratio", "mae", "rmse"):
        assert found[name].verdict == "better"
        assert 0 < found[name].low < found[name].high
    assert paired(draws, "right", "low")["total_ratio"].verdict == "better"
    assert found["normalized_gini"].estimate == 0
    assert set(METRICS) - set(found) == {"spearman_ceiling"}


def test_too_much_here_does_not_make_up_for_too_little_there(rng):
    parts, outcome = shop(rng, 2000, noise=0.0)
    level = outcome.future_value.sum() / parts.expected_value.sum()
    half, double, close = (Parts(parts.p_return, parts.value_if_return * level * by) for by in (0.5, 1.5, 1.1))
    draws = resample({"wild": [half, double], "close": [close, close]}, [outcome, outcome], rng=rng)
    assert intervals(draws, "wild")["total_ratio"].estimate == pytest.approx(1.0)
    assert paired(draws, "close", "wild")["total_ratio"].verdict == "better"


@pytest.mark.parametrize("buyers", [0, 1])
def test_few_buyers_give_no_warning_and_no_claim(rng, buyers):
    value = np.zeros(6)
    value[:buyers] = 10.0
    outcome = Outcome(np.arange(6), value > 0, value)
    models = {"a": [Parts(np.linspace(1, 0, 6), np.ones(6))], "b": [Parts(np.linspace(0, 1, 6), np.ones(6))]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = resample(models, [outcome], rng=rng, replicates=50)
        found, difference = intervals(draws, "a")["normalized_gini"], paired(draws, "a", "a")["normalized_gini"]
    assert difference.verdict == "not distinguishable"
    assert np.isnan(found.low) == (buyers == 0)
