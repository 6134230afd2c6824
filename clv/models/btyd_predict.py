"""Buy till you die, the prediction side: BG/NBD for who buys and how often, Gamma-Gamma for how much.

Self-contained (numpy and scipy only), so that it can travel inside a model artifact. Notation of the literature:
``x`` purchases after the first, the last of them at age ``t_x``, observed up to age ``T``; time in any one unit.

Given the history and being alive at ``T``, the purchase rate is Gamma(r + x, alpha + T) and the chance to leave after
a purchase Beta(a, b + x), independently. Everything below follows from that. See Fader, Hardie and Lee, "Counting
your customers the easy way" (2005), and Fader and Hardie, "The Gamma-Gamma model of monetary value" (2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, expit

Array = NDArray[np.float64]

_NODES = np.arange(160) / 159
_TAIL = 32.0  # the integrand is cut off where it has fallen by exp(-32)


@dataclass(frozen=True)
class PurchaseProcess:
    """A fitted BG/NBD model: a customer buys at a rate of their own and may leave for good after each purchase.

    Attributes
    ----------
    r, alpha
        Shape and rate of the Gamma distribution of purchase rates.
    a, b
        Parameters of the Beta distribution of the chance to leave after a purchase.
    """

    r: float
    alpha: float
    a: float
    b: float

    def p_alive(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
        """P(not yet gone at age `T`); 1 without a repeat purchase, as the model has it."""
        x, t_x, T = _floats(x), _floats(t_x), _floats(T)
        log_odds_gone = (
            np.log(self.a)
            - np.log(self.b + np.maximum(x, 1.0) - 1.0)
            + (self.r + x) * (np.log(self.alpha + T) - np.log(self.alpha + t_x))
        )
        return np.where(x > 0, expit(-log_odds_gone), 1.0)

    def p_purchase_if_alive(self, x: ArrayLike, T: ArrayLike, horizon: float) -> Array:
        """P(at least one purchase in (T, T + horizon] | alive at `T`)."""
        x, T = _floats(x), _floats(T)
        return -np.expm1(-(self.r + x) * np.log1p(horizon / (self.alpha + T)))

    def purchases_if_alive(self, x: ArrayLike, T: ArrayLike, horizon: float) -> Array:
        """E(number of purchases in (T, T + horizon] | alive at `T`), finite for all parameters.

        The textbook's closed form has poles at a = 1 and a + b + x = 1 and cancels badly around them. This is the same
        quantity, the mean of ``g(p) = (1 - (1 + p z) ** -s) / p`` over the Beta(a, b + x) posterior of p, with
        s = r + x and z = horizon / (alpha + T). A straight line through g(0) and g(1), whose mean is known, is taken
        off; what remains vanishes at both ends and is integrated over logit(p) by the trapezoidal rule, which
        converges exponentially there.
        """
        x, T = np.broadcast_arrays(_floats(x), _floats(T))
        # customers share few (x, T): each pair is integrated once
        pairs, position = np.unique(x.ravel() + 1j * T.ravel(), return_inverse=True)
        means = [self._mean_purchases(part.real, part.imag, horizon) for part in _chunks(pairs)]
        return np.concatenate([*means, np.empty(0)])[position].reshape(x.shape)

    def _mean_purchases(self, x: Array, T: Array, horizon: float) -> Array:
        a, b = self.a, self.b + x
        s, z = self.r + x, horizon / (self.alpha + T)
        at_0, at_1 = s * z, -np.expm1(-s * np.log1p(z))
        # From the mode of the weight outwards: a normal core, then exponential tails. On the left the faster decay
        # sets in only where g bends, around p = 1 / (s z).
        centre = np.log((a + 1) / (b + 1))
        core = 8.0 * np.sqrt(1 / (a + 1) + 1 / (b + 1))
        bend = np.maximum(centre + np.log1p(at_0), 0.0)
        left = core + np.minimum(_TAIL / a, (_TAIL + bend) / (a + 1))
        right = core + _TAIL / (b + 1)
        step = (left + right) / (len(_NODES) - 1)
        y = (centre - left)[:, None] + (left + right)[:, None] * _NODES
        log_p, log_not_p = -np.logaddexp(0.0, -y), -np.logaddexp(0.0, y)
        weight = np.exp(a * log_p + b[:, None] * log_not_p - betaln(a, b)[:, None])
        p, not_p = np.exp(log_p), np.exp(log_not_p)
        g = -np.expm1(-s[:, None] * np.log1p(p * z[:, None])) / p
        rest = g - not_p * at_0[:, None] - p * at_1[:, None]
        mean = (b * at_0 + a * at_1) / (a + b) + step * np.einsum("ij,ij->i", weight, rest)
        return _floats(np.clip(mean, at_1, at_0))

    def expected_purchases(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, horizon: float) -> Array:
        """E(number of purchases in (T, T + horizon])."""
        return self.p_alive(x, t_x, T) * self.purchases_if_alive(x, T, horizon)

    def p_return(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, horizon: float) -> Array:
        """P(at least one purchase in (T, T + horizon])."""
        return self.p_alive(x, t_x, T) * self.p_purchase_if_alive(x, T, horizon)


@dataclass(frozen=True)
class Spend:
    """A fitted Gamma-Gamma model: amounts are Gamma(p, nu), and nu is Gamma(q, v) over the customers; q > 1.

    Attributes
    ----------
    p
        Shape of a customer's own amounts.
    q, v
        Shape and rate of the distribution of nu over the customers.
    """

    p: float
    q: float
    v: float

    @property
    def mean(self) -> float:
        """Mean amount of a customer nothing is known of."""
        return self.p * self.v / (self.q - 1.0)

    def expected_amount(self, n: ArrayLike, mean_amount: ArrayLike) -> Array:
        """E(amount of a purchase | mean of `n` amounts so far): between that mean and the shop's."""
        own = self.p * _floats(n)
        share = own / (own + self.q - 1.0)
        return share * _floats(mean_amount) + (1.0 - share) * self.mean


@dataclass(frozen=True)
class BuyTillYouDie:
    """Both models, for one horizon; time in days, at most one purchase a day.

    Attributes
    ----------
    purchases, spend
        The fitted models.
    horizon_days
        Length of the window.
    value_cap
        Largest value_if_return that is answered, a guard against runaway predictions.
    """

    purchases: PurchaseProcess
    spend: Spend
    horizon_days: int
    value_cap: float

    def parts(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, mean_amount: ArrayLike) -> tuple[Array, Array]:
        """p_return and value_if_return of n customers, each of shape (n,).

        Parameters
        ----------
        x, t_x, T
            Repeat purchases, ages in days at the last purchase and at the cutoff.
        mean_amount
            Mean amount of all ``x + 1`` purchases.
        """
        x, T = np.maximum(_floats(x), 0.0), np.maximum(_floats(T), 0.0)
        t_x = np.clip(_floats(t_x), 0.0, T)
        if_alive = self.purchases.p_purchase_if_alive(x, T, self.horizon_days)
        # being alive cancels: who returns is alive
        count = self.purchases.purchases_if_alive(x, T, self.horizon_days) / if_alive
        value = np.clip(count, 1.0, self.horizon_days) * self.spend.expected_amount(x + 1.0, mean_amount)
        return self.purchases.p_alive(x, t_x, T) * if_alive, np.clip(value, 0.0, self.value_cap)


def _floats(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def _chunks(values: NDArray[np.complex128], size: int = 4096) -> list[NDArray[np.complex128]]:
    """Pieces small enough for their integrands to stay in the cache."""
    return [values[start : start + size] for start in range(0, len(values), size)]
