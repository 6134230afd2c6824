"""Draw customers and their orders, one chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clv.synth.clock import DAY, Floats, Integers, Seconds, seconds
from clv.synth.experience import Experience, draw
from clv.synth.shop import Shop

CHUNK = 20_000
"""Customers drawn at once. A full chunk depends on the shop and its number only, not on how many others there are."""

_SAME_CATEGORY = 0.7
_SAME_PAYMENT_TYPE = 0.8
_SMALLEST_CENTS = 500
_SPLIT_SHARE = 0.02


@dataclass(frozen=True)
class Baskets:
    """The baskets of a chunk's customers, by customer and time, up to the end of the horizon after the shop's end.

    Attributes
    ----------
    customers
        How many customers the chunk has.
    customer
        Number of the basket's customer within the chunk.
    moment, cents
        When, and what was paid.
    category, payment, state
        Numbers into the shop's lists; the state is the customer's, the same in all their baskets.
    experience
        What followed each basket.
    """

    customers: int
    customer: Integers
    moment: Seconds
    cents: Integers
    category: Integers
    payment: Integers
    state: Integers
    experience: Experience

    def rows(self, chosen: NDArray[np.bool_]) -> Baskets:
        """The chosen baskets."""
        e = self.experience
        return Baskets(
            customers=self.customers,
            customer=self.customer[chosen],
            moment=self.moment[chosen],
            cents=self.cents[chosen],
            category=self.category[chosen],
            payment=self.payment[chosen],
            state=self.state[chosen],
            experience=Experience(
                e.lead_days[chosen], e.delivery_days[chosen], e.review[chosen], e.review_days[chosen]
            ),
        )


def chunk_sizes(customers: int) -> Iterator[int]:
    """Sizes of the chunks that make up `customers`."""
    for start in range(0, customers, CHUNK):
        yield min(CHUNK, customers - start)


def simulate(shop: Shop, customers: int, horizon_days: int, rng: np.random.Generator) -> Baskets:
    """Draw customers with a first order by the shop's end, and all they buy until `horizon_days` later."""
    n = customers
    segments = shop.segments
    _, state_shares, region_of = shop.states
    region_by_state = np.array(list(region_of.values()))

    category = rng.choice(len(shop.categories), size=n, p=shop.category_shares)
    payment = rng.choice(len(shop.payment_types), size=n, p=shop.payment_shares)
    state = rng.choice(state_shares.size, size=n, p=state_shares)
    region = region_by_state[state]
    segment = segments.index(category, payment, region)
    clock = shop.clock(shop.end + timedelta(days=horizon_days))
    first = _first_orders(shop, n, rng)
    experience = draw(shop, region, rng)

    log_rate = segments.log_rate[segment] + shop.gift_log_rate(first)
    rate = rng.gamma(shop.r, size=n) * np.exp(log_rate) / shop.alpha
    p_lost = shop.lost_after_first.table[experience.late.astype(np.int64), experience.review]
    is_lost = rng.random(n) < p_lost
    p_drop = np.maximum(rng.beta(shop.a, shop.b, size=n), 1e-9)
    allowed = np.where(is_lost, 0, rng.geometric(p_drop))
    nu = rng.gamma(shop.q, size=n) / segments.gamma[segment]

    stop = clock.elapsed(seconds(shop.end) + (1 + horizon_days) * DAY)
    customer, elapsed = _repeats(clock.elapsed(first), stop, rate, allowed, rng)
    moment = clock.moments(elapsed)
    keeps_category = rng.random(customer.size) < _SAME_CATEGORY
    keeps_payment = rng.random(customer.size) < _SAME_PAYMENT_TYPE
    other_category = rng.choice(len(shop.categories), size=customer.size, p=shop.category_shares)
    other_payment = rng.choice(len(shop.payment_types), size=customer.size, p=shop.payment_shares)
    later = draw(shop, region[customer], rng)

    everyone = np.concatenate([np.arange(n), customer])
    moments = np.concatenate([first, moment])
    order = np.lexsort((moments, everyone))
    amounts = rng.gamma(shop.p, size=everyone.size) / nu[everyone]
    return Baskets(
        customers=n,
        customer=everyone[order],
        moment=moments[order],
        cents=np.maximum(np.rint(100 * amounts), _SMALLEST_CENTS).astype(np.int64)[order],
        category=np.concatenate([category, np.where(keeps_category, category[customer], other_category)])[order],
        payment=np.concatenate([payment, np.where(keeps_payment, payment[customer], other_payment)])[order],
        state=state[everyone[order]],
        experience=Experience(
            np.concatenate([experience.lead_days, later.lead_days])[order],
            np.concatenate([experience.delivery_days, later.delivery_days])[order],
            np.concatenate([experience.review, later.review])[order],
            np.concatenate([experience.review_days, later.review_days])[order],
        ),
    )


def order_frame(shop: Shop, baskets: Baskets, *, covariates: bool) -> pd.DataFrame:
    """What :func:`clv.synth.oracle` reads, with customers numbered instead of named."""
    frame = pd.DataFrame(
        {
            "customer_id": baskets.customer,
            "purchased_at": baskets.moment.astype("datetime64[s]"),
            "amount": baskets.cents / 100,
        }
    )
    if not covariates:
        return frame
    e = baskets.experience
    day = baskets.moment.astype("datetime64[s]").astype("datetime64[D]")
    delivered = day + e.delivery_days
    states = np.array(shop.states[0], dtype=object)
    return frame.assign(
        category=np.array([c.name for c in shop.categories], dtype=object)[baskets.category],
        payment_type=np.array([t.name for t in shop.payment_types], dtype=object)[baskets.payment],
        state=states[baskets.state],
        promised_date=(day + e.lead_days).astype("datetime64[s]"),
        delivered_date=delivered.astype("datetime64[s]"),
        review_created_date=np.where(
            e.review > 0, (delivered + e.review_days).astype("datetime64[s]"), np.datetime64("NaT")
        ),
        review_score=np.where(e.review > 0, e.review, np.nan),
    )


def _first_orders(shop: Shop, n: int, rng: np.random.Generator) -> Seconds:
    """Moments of first orders: a day by growth and season, a time within it by the clock's hours."""
    day = rng.choice(shop.first_order_shares.size, size=n, p=shop.first_order_shares)
    clock = shop.clock(shop.end)
    midnight = seconds(shop.start) + DAY * day
    begin, stop = clock.elapsed(midnight), clock.elapsed(midnight + DAY)
    return np.minimum(clock.moments(begin + rng.random(n) * (stop - begin)), midnight + DAY - 1)


def _repeats(
    first: Floats, stop: Floats, rate: Floats, allowed: Integers, rng: np.random.Generator
) -> tuple[Integers, Floats]:
    """Customer and operational time of every order after the first, at most `allowed` of each customer."""
    counts = np.where(allowed > 0, rng.poisson(rate * (stop - first)), 0)
    customer = np.repeat(np.arange(first.size), counts)
    times = first[customer] + rng.random(customer.size) * (stop - first)[customer]
    times = times[np.lexsort((times, customer))]
    rank = np.arange(customer.size) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < allowed[customer]
    return customer[kept], times[kept]


def split_baskets(baskets: Baskets, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Write a few baskets as two orders of the same second: the basket each order belongs to, and its cents."""
    is_split = rng.random(baskets.cents.size) < _SPLIT_SHARE
    second = np.where(is_split, np.rint(baskets.cents * rng.uniform(0.2, 0.5, baskets.cents.size)), 0).astype(np.int64)
    basket = np.repeat(np.arange(baskets.cents.size), 1 + is_split)
    is_second = np.diff(basket, prepend=-1) == 0
    return basket, np.where(is_second, second[basket], (baskets.cents - second)[basket])
