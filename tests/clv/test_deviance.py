"""The spend explained: best for who knows the mean, blind to the level, with an interval that holds."""

import numpy as np
import pytest

from clv.bootstrap import Outcome
from clv.deviance import explained
from clv.predictor import Parts

N = 3000


def shop(seed: int, n: int = N) -> tuple[np.ndarray, Outcome]:
    """Expected spend of each customer, and what one window brought."""
    rng = np.random.default_rng(seed)
    p, mean = rng.beta(0.5, 6, n), rng.gamma(3, 20, n)
    value = np.where(rng.random(n) < p, rng.gamma(2, mean / 2), 0.0)
    return np.column_stack([p, mean]), Outcome(np.arange(n), value > 0, value)


def parts(truth: np.ndarray, factor: float | np.ndarray = 1.0) -> Parts:
    return Parts(truth[:, 0], truth[:, 1] * factor)


@pytest.mark.parametrize("seed", range(4))
def test_who_knows_the_mean_explains_most(seed: int) -> None:
    truth, outcome = shop(seed)
    wrong = np.exp(np.random.default_rng(seed + 50).normal(0, 1, N))
    assert explained([parts(truth)], [parts(truth, wrong)], [outcome]).verdict == "better"
    assert explained([parts(truth, wrong)], [parts(truth)], [outcome]).verdict == "worse"
    flat = Parts(np.full(N, 0.1), np.full(N, 60.0))
    assert explained([parts(truth)], [flat], [outcome]).verdict == "better"


def test_the_level_is_not_judged_and_a_model_equals_itself() -> None:
    truth, outcome = shop(1)
    same = explained([parts(truth, 7.0)], [parts(truth)], [outcome])
    assert same.estimate == pytest.approx(0.0, abs=1e-12)
    assert same.verdict == "not distinguishable"


def test_a_customer_seen_twice_counts_once_in_the_error() -> None:
    truth, outcome = shop(2)
    wrong = parts(truth, np.exp(np.random.default_rng(9).normal(0, 1, N)))
    once = explained([parts(truth)], [wrong], [outcome])
    twice = explained([parts(truth)] * 2, [wrong] * 2, [outcome] * 2)
    np.testing.assert_allclose((twice.estimate, twice.low, twice.high), (once.estimate, once.low, once.high))


def test_its_interval_holds_the_difference_of_a_large_shop() -> None:
    def difference(seed: int, n: int) -> tuple[float, float, float]:
        truth, outcome = shop(seed, n)
        found = explained([parts(truth)], [Parts(truth[:, 0], np.full(n, 60.0))], [outcome])
        return found.estimate, found.low, found.high

    large = difference(99, 400_000)[0]
    held = [low <= large <= high for _, low, high in (difference(seed, 2000) for seed in range(100))]
    assert 85 <= sum(held) <= 99


def test_nothing_spent_or_predicted_is_no_error() -> None:
    truth, outcome = shop(3)
    nothing = Outcome(outcome.customer_id, np.zeros(N, bool), np.zeros(N))
    assert explained([parts(truth)], [parts(truth)], [nothing]).verdict == "not distinguishable"
    zero = Parts(np.zeros(N), np.zeros(N))
    found = explained([parts(truth)], [zero], [outcome])
    assert np.isfinite(found.estimate)
    assert found.verdict == "better"
