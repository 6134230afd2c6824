"""Amounts for people: as usual where that shows two figures that matter, else three of them."""

import doctest

import pytest

from clv import money


def test_examples_in_the_documentation_run() -> None:
    found = doctest.testmod(money)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (12_345.678, "12,345.68"),
        (1.0, "1.00"),
        (0.99999, "1.00"),
        (0.4219, "0.42"),
        (0.1, "0.10"),
        (0.0429, "0.0429"),
        (-0.0042, "-0.0042"),
        (0.000_042_19, "0.0000422"),
        (0.0, "0.00"),
        (1e-12, "0.00"),
    ],
)
def test_small_amounts_keep_their_figures(amount: float, written: str) -> None:
    assert money.money(amount) == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (12.34, "12"),
        (10.0, "10"),
        (9.999, "10"),
        (9.95, "9.95"),
        (2.347, "2.35"),
        (-1.5, "-1.5"),
        (2.0, "2"),
        (0.0, "0"),
    ],
)
def test_whole_amounts_keep_theirs_too(amount: float, written: str) -> None:
    assert money.money(amount, 0) == written
