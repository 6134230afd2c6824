"""Buy till you die, the fitting side: BG/NBD and Gamma-Gamma by maximum likelihood under weak priors.

The priors are normal on the logarithms of the parameters, scale-free in time and money, and weigh as much as a few
customers: the published fits move by a few thousandths. They matter where the likelihood is flat (hardly a repeat
buyer, hardly a customer, nobody ever leaves), where the maximum would lie at infinity.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from clv.errors import InputError
from clv.predictor import Array, BuyTillYouDie, Parts, PurchaseProcess, Spend

PRIOR_SD = 3.0
"""Standard deviation of the log-parameters: a factor of 20 either way is nothing unusual."""

PURCHASE_PRIOR = np.log([0.5, 0.5, 1.0, 2.5])
"""Centre of log (r, alpha / mean T, a, b): in the middle of published fits."""

SPEND_PRIOR = np.log([4.0, 3.0, 1.0])
"""Centre of log (p, q - 1, mean of the model / mean of the data)."""


def fit_purchases(x: ArrayLike, t_x: ArrayLike, T: ArrayLike, *, prior_sd: float = PRIOR_SD) -> PurchaseProcess:
    """Fit BG/NBD.

    Parameters
    ----------
    x, t_x, T
        Repeat purchases, age at the last one (0 if none) and age at the end of the history; any one time unit.
    prior_sd
        Width of the prior; infinite for plain maximum likelihood.

    Raises
    ------
    InputError
        If nobody has been observed for any time (all `T` are 0).
    """
    # many customers share a history; sorted rows make the fit the same to the last bit for any order of customers
    rows = pd.DataFrame({"x": x, "t_x": t_x, "T": T}, dtype=np.float64).groupby(["x", "t_x", "T"]).size().reset_index()
    x, t_x, T, weight = rows.to_numpy(dtype=np.float64).T
    scale = float(np.average(T, weights=weight))
    if scale == 0:
        raise InputError(
            f"All {weight.sum():,.0f} customers bought for the first time on the cutoff day; how often they buy can't "
            "be seen in no time, so load more history or choose a later --as-of."
        )
    t_x, T = t_x / scale, T / scale
    # gamma functions need each distinct x only once
    counts, position = np.unique(x, return_inverse=True)
    count_weight = np.bincount(position, weight).astype(np.float64)
    repeat = np.flatnonzero(x > 0)
    repeat_x, repeat_t, repeat_T, repeat_weight = x[repeat], t_x[repeat], T[repeat], weight[repeat]
    total = weight.sum()

    def log_likelihood(theta: Array) -> tuple[float, Array]:
        r, alpha, a, b = np.exp(theta)
        log_end, log_last = np.log(alpha + T), np.log(alpha + repeat_t)
        # P(gone) / P(alive), zero for those without a repeat purchase
        log_odds = theta[2] - np.log(b + repeat_x - 1) + (r + repeat_x) * (log_end[repeat] - log_last)
        gone = repeat_weight * expit(log_odds)
        value = (
            count_weight @ (gammaln(r + counts) + gammaln(b + counts) - gammaln(a + b + counts))
            + total * (r * theta[1] - gammaln(r) - gammaln(b) + gammaln(a + b))
            - weight @ ((r + x) * log_end)
            + repeat_weight @ np.logaddexp(0, log_odds)
        )
        d_r = (
            count_weight @ digamma(r + counts)
            + total * (theta[1] - digamma(r))
            - weight @ log_end
            + gone @ (log_end[repeat] - log_last)
        )
        d_alpha = (
            total * r / alpha
            - weight @ ((r + x) / (alpha + T))
            + gone @ ((r + repeat_x) * (1 / (alpha + repeat_T) - 1 / (alpha + repeat_t)))
        )
        d_both = total * digamma(a + b) - count_weight @ digamma(a + b + counts)
        d_a = d_both + gone.sum() / a
        d_b = d_both + count_weight @ digamma(b + counts) - total * digamma(b) - gone @ (1 / (b + repeat_x - 1))
        return float(value), np.array([d_r * r, d_alpha * alpha, d_a * a, d_b * b])

    r, alpha, a, b = np.exp(_maximise(log_likelihood, PURCHASE_PRIOR, prior_sd, total))
    return PurchaseProcess(float(r), float(alpha * scale), float(a), float(b))


def fit_spend(n: ArrayLike, mean_amount: ArrayLike, *, prior_sd: float = PRIOR_SD) -> Spend:
    """Fit Gamma-Gamma.

    Parameters
    ----------
    n, mean_amount
        Number of purchases and their mean amount; pairs with either not above 0 are left out. With the first purchase
        included everybody counts, which ranks better than the textbook's repeat purchases only.
    prior_sd
        Width of the prior; infinite for plain maximum likelihood.

    Raises
    ------
    InputError
        If no customer has a positive mean amount.
    """
    n, mean_amount = np.asarray(n, dtype=np.float64), np.asarray(mean_amount, dtype=np.float64)
    known = (n > 0) & (mean_amount > 0)
    if not known.any():
        raise InputError(
            f"None of {len(n):,} customers has a purchase above 0; a model of spend needs positive amounts, so check "
            "the amount column."
        )
    order = np.lexsort((mean_amount[known], n[known]))  # the same fit for any order of customers
    n, mean_amount = n[known][order], mean_amount[known][order]
    amount = n * mean_amount
    scale = float(amount.sum() / n.sum())
    amount = amount / scale
    log_amount = np.log(amount)
    counts, position = np.unique(n, return_inverse=True)
    weight = np.bincount(position).astype(np.float64)
    total = len(n)

    def log_likelihood(theta: Array) -> tuple[float, Array]:
        p, q = np.exp(theta[0]), 1 + np.exp(theta[1])
        v = np.exp(theta[2]) * (q - 1) / p
        log_v, log_both = np.log(v), np.log(v + amount)
        value = (
            weight @ (gammaln(p * counts + q) - gammaln(p * counts))
            + p * (n @ (log_amount - log_both))
            + total * (q * log_v - gammaln(q))
            - q * log_both.sum()
        )
        d_p = (weight * counts) @ (digamma(p * counts + q) - digamma(p * counts)) + n @ (log_amount - log_both)
        d_q = weight @ digamma(p * counts + q) + total * (log_v - digamma(q)) - log_both.sum()
        d_log_v = q * total - v * ((p * n + q) @ (1 / (v + amount)))
        return float(value), np.array([p * d_p - d_log_v, (q - 1) * d_q + d_log_v, d_log_v])

    p, q_1, mean = np.exp(_maximise(log_likelihood, SPEND_PRIOR, prior_sd, total))
    return Spend(float(p), float(1 + q_1), float(mean * scale * q_1 / p))


class BTYDModel:
    """BG/NBD and Gamma-Gamma on the snapshots of one cutoff; needs no label.

    Attributes
    ----------
    model_
        The fitted models; set by :meth:`fit`.
    """

    model_: BuyTillYouDie

    def fit(self, X: pd.DataFrame, *, horizon_days: int) -> BTYDModel:
        """Fit on the customers of one cutoff.

        Parameters
        ----------
        X
            Features of **one** cutoff, one row per customer: the latest that may be looked at, labelled or not.
        horizon_days
            Length of the window to predict.

        Raises
        ------
        InputError
            If there is no customer or no positive amount.
        """
        if X.empty:
            raise InputError(
                "There is no customer to fit on; expected snapshots of at least one, so load more history."
            )
        x, t_x, T, mean_amount = histories(X)
        # Nobody is expected to spend more in a window than twice what the best customer has spent so far, or would
        # have spent at the same pace in a history as long as the window. Refunds count only up to a mean purchase.
        best = float(np.maximum(X["amount_total"].to_numpy(dtype=np.float64), mean_amount).max()) * max(
            1.0, horizon_days / max(float(T.max()), 1.0)
        )
        self.model_ = BuyTillYouDie(
            purchases=fit_purchases(x, t_x, T),
            spend=fit_spend(x + 1, mean_amount),
            horizon_days=horizon_days,
            value_cap=2 * best,
        )
        return self

    def predict_parts(self, X: pd.DataFrame) -> Parts:
        """Two-part answer for n customers."""
        return Parts(*self.model_.parts(*histories(X)))


def histories(X: pd.DataFrame) -> tuple[Array, Array, Array, Array]:
    """x, t_x, T and mean amount from the features of snapshots."""
    count, recency, tenure, amount = (
        X[name].to_numpy(dtype=np.float64) for name in ("purchase_count", "recency_days", "tenure_days", "amount_mean")
    )
    return count - 1, tenure - recency, tenure, amount


def _maximise(
    log_likelihood: Callable[[Array], tuple[float, Array]], centre: Array, prior_sd: float, total: float
) -> Array:
    """Log-parameters of the highest posterior; `log_likelihood` returns value and gradient."""

    def loss(theta: Array) -> tuple[float, Array]:
        value, gradient = log_likelihood(theta)
        z = (theta - centre) / prior_sd
        return (0.5 * float(np.sum(z**2)) - value) / total, (z / prior_sd - gradient) / total

    # inner products of short vectors: on a busy machine BLAS threads make them ten times slower
    with threadpool_limits(1, user_api="blas"):
        found = minimize(
            loss,
            centre,
            jac=True,
            method="L-BFGS-B",
            bounds=[(middle - 12, middle + 12) for middle in centre],
            options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 1000},
        )
    return np.asarray(found.x, dtype=np.float64)
