"""The best possible prediction: expected future value given the observable history, under the true parameters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clv.errors import InputError
from clv.synth.clock import DAY, Floats, Integers, Seconds, seconds
from clv.synth.experience import expected_loss
from clv.synth.shop import Shop

_NODES = 16
_BLOCK_CELLS = 1_000_000
COVARIATES = (
    "category", "payment_type", "state", "promised_date", "delivered_date", "review_created_date", "review_score",
)  # fmt: skip
"""Columns of an Olist-shaped shop's orders; a transaction log has none of them."""


def oracle(shop: Shop, orders: pd.DataFrame, as_of_date: date, horizon_days: int) -> pd.DataFrame:
    """Predict every customer with an order by `as_of_date`, knowing the shop's parameters but no customer's latents.

    Orders, deliveries and reviews after the as-of day are not used. In a transaction log, where category, payment
    type, state, delivery and review can't be seen, they are integrated out.

    Parameters
    ----------
    shop
        The shop that wrote the orders.
    orders
        One row per order with revenue, as :func:`clv.synth.read_orders` gives it: ``customer_id``, ``purchased_at``,
        ``amount``, and for an Olist-shaped shop :data:`COVARIATES`. Several orders of a customer at the same second
        are one basket.
    as_of_date
        Last day of the history.
    horizon_days
        Length of the window after it.

    Returns
    -------
    pandas.DataFrame
        ``customer_id, as_of_date, horizon_days, p_return, expected_value``, in order of first appearance.

    Raises
    ------
    InputError
        If the horizon is not positive, the as-of day is outside the shop's days, or the orders are of another shop.
    """
    if horizon_days < 1:
        raise InputError(f"Horizon of {horizon_days} days; expected 1 or more.")
    if not shop.start <= as_of_date <= shop.end:
        raise InputError(f"As-of day {as_of_date} is outside the synthetic shop's days, {shop.start} to {shop.end}.")
    history = _history(shop, orders, as_of_date, horizon_days)
    known = {"category", "payment_type", "state"} <= set(orders.columns)
    prior = _known_segments(shop, history, as_of_date) if known else _all_segments(shop)
    p_return, expected_value = np.empty(history.x.size), np.empty(history.x.size)
    step = max(1, _BLOCK_CELLS // (prior.share.shape[1] * _NODES))
    for start in range(0, history.x.size, step):
        block = slice(start, start + step)
        p_return[block], expected_value[block] = _predict(shop, history.rows(block), prior.rows(block))
    return pd.DataFrame(
        {
            "customer_id": history.customer_id,
            "as_of_date": as_of_date,
            "horizon_days": horizon_days,
            "p_return": p_return,
            "expected_value": expected_value,
        }
    )


@dataclass(frozen=True)
class _History:
    """Sufficient statistics per customer; times are operational."""

    customer_id: NDArray[np.object_]
    x: Floats  # orders after the first
    last: Floats  # time of the last order after the first one
    age: Floats  # time of the cutoff after the first order
    window: Floats  # length of the window
    spent: Floats
    gift: Floats  # what the first order's day adds to the log rate
    first: pd.DataFrame  # first order's row

    def rows(self, block: slice) -> _History:
        return _History(
            customer_id=self.customer_id[block],
            x=self.x[block],
            last=self.last[block],
            age=self.age[block],
            window=self.window[block],
            spent=self.spent[block],
            gift=self.gift[block],
            first=self.first.iloc[block],
        )


@dataclass(frozen=True)
class _Segments:
    """The segments a customer may belong to, shape (customers or 1, segments)."""

    share: Floats
    log_rate: Floats
    gamma: Floats
    lost: Floats  # P(lost after the first order)

    def rows(self, block: slice) -> _Segments:
        if len(self.share) == 1:
            return self
        return _Segments(self.share[block], self.log_rate[block], self.gamma[block], self.lost[block])


def _history(shop: Shop, orders: pd.DataFrame, as_of_date: date, horizon_days: int) -> _History:
    cutoff = seconds(as_of_date) + DAY
    known = orders.loc[orders["purchased_at"] < np.datetime64(cutoff, "s")]
    moments: Seconds = known["purchased_at"].to_numpy("datetime64[s]").astype(np.int64)
    codes, ids = pd.factorize(known["customer_id"])
    n = len(ids)
    order = np.lexsort((moments, codes))
    codes_sorted, moments_sorted = codes[order], moments[order]
    starts = np.searchsorted(codes_sorted, np.arange(n))
    ends = np.searchsorted(codes_sorted, np.arange(n), side="right") - 1
    is_basket = np.ones(codes.size, dtype=bool)
    is_basket[1:] = (np.diff(codes_sorted) != 0) | (np.diff(moments_sorted) != 0)
    baskets = np.bincount(codes_sorted[is_basket], minlength=n)
    first, last = moments_sorted[starts], moments_sorted[ends]
    clock = shop.clock(as_of_date + timedelta(days=horizon_days))
    origin, now = clock.elapsed(first), clock.elapsed(cutoff)
    window = float(clock.elapsed(cutoff + horizon_days * DAY) - now)
    return _History(
        customer_id=np.asarray(ids, dtype=object),
        x=(baskets - 1).astype(np.float64),
        last=clock.elapsed(last) - origin,
        age=now - origin,
        window=np.full(n, window),
        spent=np.bincount(codes, known["amount"].to_numpy(np.float64), n).astype(np.float64),
        gift=shop.gift_log_rate(first),
        first=known.iloc[order[starts]],
    )


def _known_segments(shop: Shop, history: _History, as_of_date: date) -> _Segments:
    first = history.first
    region = _codes(first["state"], shop.states[2])
    segment = shop.segments.index(
        _codes(first["category"], {c.name: i for i, c in enumerate(shop.categories)}),
        _codes(first["payment_type"], {t.name: i for i, t in enumerate(shop.payment_types)}),
        region,
    )
    day = first["purchased_at"].to_numpy("datetime64[D]")
    lost = expected_loss(
        shop,
        region,
        lead_days=_days(day, first["promised_date"]).astype(np.int64),
        age_days=(np.datetime64(as_of_date, "D") - day).astype(np.int64),
        delivery_days=_days(day, first["delivered_date"]),
        review_days=_days(day, first["review_created_date"]),
        review=first["review_score"].to_numpy(np.float64),
    )
    parts = (np.ones(len(first)), shop.segments.log_rate[segment], shop.segments.gamma[segment], lost)
    return _Segments(*(part[:, None] for part in parts))


def _all_segments(shop: Shop) -> _Segments:
    segments = shop.segments
    lost = shop.lost_after_first.by_region[segments.region]
    return _Segments(*(part[None, :] for part in (segments.share, segments.log_rate, segments.gamma, lost)))


def _predict(shop: Shop, history: _History, prior: _Segments) -> tuple[Floats, Floats]:
    r, a, b, p, q = shop.r, shop.a, shop.b, shop.p, shop.q
    x, last, age, window, spent = (
        array[:, None] for array in (history.x, history.last, history.age, history.window, history.spent)
    )
    log_rate = prior.log_rate + history.gift[:, None]
    alpha = shop.alpha * np.exp(-log_rate)

    # Likelihood of the orders' times if alive, and if lost at the last order, less factors common to all segments.
    log_alive = r * np.log(alpha) - (r + x) * np.log(alpha + age)
    log_lost = r * np.log(alpha) - (r + x) * np.log(alpha + last)
    lost_at_last = np.where(x == 0, prior.lost, (1 - prior.lost) * a / (a + b + x - 1))
    alive_at_last = np.where(x == 0, 1 - prior.lost, (1 - prior.lost) * (b + x - 1) / (a + b + x - 1))
    scale = np.maximum(log_alive, log_lost).max(axis=1, keepdims=True)
    alive = alive_at_last * np.exp(log_alive - scale)
    likelihood = alive + lost_at_last * np.exp(log_lost - scale)

    # Likelihood of the amounts; it tells segments apart where they can't be seen.
    log_amounts = q * np.log(prior.gamma) - (p * (x + 1) + q) * np.log(prior.gamma + spent)
    amounts = np.exp(log_amounts - log_amounts.max(axis=1, keepdims=True))
    weight = prior.share * amounts
    total = (weight * likelihood).sum(axis=1)
    p_alive = weight * alive / total[:, None]  # jointly with the segment

    ratio = window / (alpha + age)
    returns = -np.expm1(-(r + x) * np.log1p(ratio))
    mean_amount = p * (prior.gamma + spent) / (p * (x + 1) + q - 1)
    count = _expected_count(shop, history.x, ratio)
    return (p_alive * returns).sum(axis=1), (p_alive * count * mean_amount).sum(axis=1)


def _expected_count(shop: Shop, x: Floats, ratio: Floats) -> Floats:
    """Expected number of orders in the window of a living customer, over the posteriors of rate and dropout."""
    distinct, position = np.unique(x, return_inverse=True)
    nodes, weights = beta_quadrature(np.full(distinct.size, shop.a), shop.b + distinct, _NODES)
    node = nodes[position][:, None, :]
    orders = -np.expm1(-(shop.r + x)[:, None, None] * np.log1p(ratio[:, :, None] * node)) / node
    return np.asarray((orders * weights[position][:, None, :]).sum(axis=2))


def beta_quadrature(a: Floats, b: Floats, nodes: int) -> tuple[Floats, Floats]:
    """Nodes and weights, one row per distribution, of the Gauss quadrature for expectations under ``Beta(a, b)``.

    Golub and Welsch on the Jacobi polynomials' recurrence, which unlike :func:`scipy.special.roots_jacobi` needs no
    Gamma function and so no care for large `b`.

    Examples
    --------
    >>> node, weight = beta_quadrature(np.array([2.0]), np.array([3.0]), 4)
    >>> round(float((weight * node).sum()), 12)
    0.4
    """
    left, right = (a - 1)[:, None], (b - 1)[:, None]
    k = np.arange(1, nodes)
    both = left + right
    diagonal = np.empty((a.size, nodes))
    diagonal[:, :1] = (left - right) / (both + 2)
    diagonal[:, 1:] = (left**2 - right**2) / ((2 * k + both) * (2 * k + both + 2))
    # k + both is cancelled against 2k + both - 1 at k = 1, where both may be near 0 when both + 1 is.
    tail = np.where(k == 1, 1.0, (k + both) / np.where(k == 1, 1.0, 2 * k + both - 1))
    square = 4 * k * (k + left) * (k + right) * tail / ((2 * k + both) ** 2 * (2 * k + both + 1))
    matrix = np.zeros((a.size, nodes, nodes))
    i = np.arange(nodes)
    matrix[:, i, i] = diagonal
    matrix[:, i[1:], i[:-1]] = np.sqrt(square)
    values, vectors = np.linalg.eigh(matrix)
    return (1 + values) / 2, vectors[:, 0, :] ** 2


def _codes(values: pd.Series, codes: dict[str, int]) -> Integers:
    found = values.map(codes)
    if found.isna().any():
        stranger = values[found.isna()].iloc[0]
        raise InputError(f"Column {values.name} of the orders holds {stranger!r}; this shop has {', '.join(codes)}.")
    return np.asarray(found.to_numpy(np.int64))


def _days(day: NDArray[np.datetime64], moments: pd.Series) -> Floats:
    later = moments.to_numpy("datetime64[D]")
    return np.where(np.isnat(later), np.nan, (later - day).astype(np.float64))
