import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clv.explain import RETURNING, SPENDING, by_part, in_money
from clv.predictor import Contributions, Parts


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 8))
def test_both_parts_add_up_to_the_contribution(seed: int, n: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    p, value, expected = rng.normal(size=(3, n, features))
    contributions = Contributions(p, value, expected, 0.1, 20.0, 2.0)
    found = in_money(contributions, Parts(rng.random(n), rng.gamma(2, 20, n)))
    np.testing.assert_allclose(found[RETURNING] + found[SPENDING], expected, atol=1e-9)


def test_one_hurdle_is_split_by_the_product_rule() -> None:
    """What moves only one part works only through that part."""
    p, value = np.array([[0.2, 0.0]]), np.array([[0.0, 30.0]])
    parts = Parts(np.array([0.3]), np.array([50.0]))
    expected = p * (50.0 + 20.0) / 2 + value * (0.3 + 0.1) / 2
    found = in_money(Contributions(p, value, expected, 0.1, 20.0, 2.0), parts)
    np.testing.assert_allclose(found[RETURNING], [[7.0, 0.0]])
    np.testing.assert_allclose(found[SPENDING], [[0.0, 6.0]])
    assert np.isclose(expected.sum() + 2.0, 0.3 * 50.0)


def test_each_part_is_told_in_its_own_unit() -> None:
    p, value = np.array([[0.02, -0.01]]), np.array([[3.0, 0.0]])
    chance, spend = by_part(Contributions(p, value, p, 0.1, 20.0, 2.0), "BRL").items()
    assert (chance[0], spend[0]) == ("p_return, percentage points", "value_if_return, BRL")
    np.testing.assert_allclose(chance[1], [[2.0, -1.0]])
    np.testing.assert_array_equal(spend[1], value)
