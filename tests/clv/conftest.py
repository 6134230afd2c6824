"""Shops made up in memory, as purchases of customers on days."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pytest

from clv.ledger import Ledger, number

START = date(2014, 1, 1)


def simulated_ledger(
    seed: int, *, days: int, customers: int = 1500, season: float = 0.0, tail: float = 0.5, rate: float = 4.0
) -> Ledger:
    """Customers won evenly who buy `rate` times a year, a bit less with age, until they leave.

    Purchases come ``exp(season * cos)`` times as often over the year, most of all on 1 January; amounts vary between
    customers with `tail`, the standard deviation of their logarithm.
    """
    draw = np.random.default_rng(seed)
    busy = np.exp(season * np.cos(2 * np.pi * np.arange(days) / 365.25))
    clock = np.concatenate([[0.0], np.cumsum(busy)])
    won = draw.integers(0, days, customers)
    left = np.minimum(won + 1 + draw.exponential(500, customers), days)
    begin, end = np.interp(won + 1, np.arange(days + 1), clock), np.interp(left, np.arange(days + 1), clock)
    count = draw.poisson(draw.gamma(1.5, rate / 365 / 1.5, customers) * np.maximum(end - begin, 0))
    buyer = np.repeat(np.arange(customers), count)
    moment = begin[buyer] + draw.random(len(buyer)) * (end - begin)[buyer]
    day = np.concatenate([won, np.interp(moment, clock, np.arange(days + 1)).astype(np.int64)])
    customer = np.concatenate([np.arange(customers), buyer])
    amount = 50 * np.exp(tail * draw.standard_normal(customers))[customer] * draw.gamma(4, 0.25, len(customer))
    return Ledger.of(customer, number(START) + np.minimum(day, days - 1), amount)


@pytest.fixture(scope="session")
def make_ledger() -> Callable[..., Ledger]:
    return simulated_ledger
