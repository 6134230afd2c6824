"""Customers whose truth is known: BG/NBD with rates and chances to leave that depend on two features."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from clv.models.hurdle import customer_folds
from clv.predictor import Encoder

HORIZON = 90
ENCODER = Encoder(
    ("purchase_count", "recency_days", "tenure_days", "first_discount", "first_category", "constant", "score"),
    {"first_category": ("food", "toys", "watches")},
)


def simulated(
    n: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64], NDArray[np.intp]]:
    """Customers of a BG/NBD whose rates depend on a discount and on a category; some scores are missing.

    Returns
    -------
    matrix, is_return, chance, fold
        What is seen, who returned, the true chance given what is seen, and the customers' folds.
    """
    rng = np.random.default_rng(seed)
    discount, category = rng.random(n), rng.integers(0, 3, n)
    alpha = 60.0 * np.exp(1.5 * discount - 0.8 * (category == 2))
    a, b, r = np.where(category == 0, 0.2, 1.0), 2.0, 1.2
    rate, leave = rng.gamma(r, 1 / alpha), rng.beta(a, b)
    T = rng.integers(30, 700, n).astype(float)
    x, t_x, returned = np.zeros(n), np.zeros(n), np.zeros(n, bool)
    now, is_active = np.zeros(n), rng.random(n) >= leave  # one may leave after the first purchase, too
    while is_active.any():
        now = now + rng.exponential(1 / rate)
        is_active &= now <= T + HORIZON
        past = is_active & (now <= T)
        x, t_x, returned = x + past, np.where(past, now, t_x), returned | (is_active & ~past)
        is_active &= rng.random(n) >= leave
    gone = np.log(a) - np.log(b + x) + (r + x) * np.log((alpha + T) / (alpha + t_x))
    chance = expit(-gone) * -np.expm1(-(r + x) * np.log1p(HORIZON / (alpha + T)))
    score = np.where(rng.random(n) < 0.3, np.nan, rng.integers(1, 6, n))
    matrix = np.column_stack([x + 1, T - t_x, T, discount, category, np.full(n, 7.0), score]).astype(np.float32)
    return matrix, returned, chance, customer_folds(np.arange(n).astype(object), returned)
