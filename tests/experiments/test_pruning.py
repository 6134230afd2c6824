"""Giving up trials: the standard error is a bootstrap's, what is worse is seen soon, what is as good is kept."""

import numpy as np
import pytest

from clv.metrics import normalized_gini
from experiments.pruning import NOISE, Rivals, difference


def customers(n: int, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What they spent, and what made them."""
    rng = np.random.default_rng(seed)
    habit = rng.normal(size=n)
    returned = rng.random(n) < rate * np.exp(habit - 0.5)
    return np.where(returned, rng.gamma(2, 40, n) * np.exp(0.4 * habit), 0.0), habit


@pytest.mark.parametrize(("n", "rate"), [(2_000, 0.3), (8_000, 0.02)])
def test_the_error_is_that_of_a_bootstrap(n: int, rate: float) -> None:
    """With ties in both scores."""
    actual, habit = customers(n, rate, seed=1)
    rng = np.random.default_rng(2)
    score, other = (np.round(habit + rng.normal(size=n) * noise, 1) for noise in (0.3, 0.6))
    estimate, error = difference(actual, score, other)
    assert estimate == pytest.approx(normalized_gini(actual, score) - normalized_gini(actual, other))
    draws = []
    for _ in range(300):
        weight = rng.multinomial(n, np.full(n, 1 / n)).astype(float)
        draws.append(normalized_gini(actual, score, weight) - normalized_gini(actual, other, weight))
    assert error == pytest.approx(np.std(draws), rel=0.15)


def test_scores_of_one_order_do_not_differ_for_certain() -> None:
    actual, habit = customers(500, 0.3, seed=3)
    assert difference(actual, habit, np.exp(habit)) == pytest.approx((0.0, 0.0))
    assert difference(np.zeros(500), habit, habit)[1] == np.inf  # nobody returned: nothing is known


def test_a_worse_trial_is_given_up_after_one_fold_and_an_equal_one_is_kept() -> None:
    actual, habit = customers(4_000, 0.2, seed=4)
    rng = np.random.default_rng(5)
    rivals = Rivals()
    assert not rivals.outdo("hurdle", [actual], [-habit])  # nothing to compare with
    rivals.finished("hurdle", 0.5, [habit, habit])
    assert rivals.outdo("hurdle", [actual], [habit + rng.normal(size=len(habit))])
    assert not rivals.outdo("tweedie", [actual], [-habit])  # another family
    kept = [rivals.outdo("hurdle", [actual], [habit + rng.normal(size=len(habit)) * 0.02]) for _ in range(40)]
    assert sum(kept) <= 8
    assert NOISE > 1


def test_the_best_of_a_family_is_the_rival() -> None:
    actual, habit = customers(4_000, 0.2, seed=6)
    rivals = Rivals()
    rivals.finished("hurdle", 0.1, [-habit])
    assert not rivals.outdo("hurdle", [actual], [0 * habit])
    rivals.finished("hurdle", 0.5, [habit])
    rivals.finished("hurdle", 0.2, [-habit])
    assert rivals.outdo("hurdle", [actual], [0 * habit])


def test_few_returners_are_no_reason_to_give_up() -> None:
    """The same two recipes: certain on many returners, not on a handful."""
    rng = np.random.default_rng(7)
    for n, rate, given_up in ((20_000, 0.2, True), (1_000, 0.01, False)):
        actual, habit = customers(n, rate, seed=8)
        rivals = Rivals()
        rivals.finished("hurdle", 0.5, [habit])
        assert rivals.outdo("hurdle", [actual], [habit + rng.normal(size=n) * 0.5]) is given_up
