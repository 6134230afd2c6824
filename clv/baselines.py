"""The baseline ladder: what anybody can predict without a model, from nothing to last quarter's spend.

Each rung is fitted and asked like a model. Those that only rank spread the spend of the training windows over the
customers, so that their totals can be compared as well. What they read of a frame may hold no null.
"""

from abc import ABC, abstractmethod
from typing import Protocol, Self

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit

from clv.predictor import Array, Parts

WINDOWS = (30, 90, 180, 365)
"""Days of the spend windows among the features."""


class Estimator(Protocol):
    """What predicts the two parts, once it is fitted."""

    def predict_parts(self, X: pd.DataFrame) -> Parts:
        """Predict for n customers."""
        ...


class Rung(Estimator, Protocol):
    """A baseline, which is fitted on labelled snapshots."""

    def fit(self, X: pd.DataFrame, future_value: Array, *, horizon_days: int) -> Self:
        """Learn from features and the spend that followed, both of n customers."""
        ...


class Zero:
    """Nobody returns."""

    def fit(self, X: pd.DataFrame, future_value: Array, *, horizon_days: int) -> Self:
        """Learn nothing."""
        return self

    def predict_parts(self, X: pd.DataFrame) -> Parts:
        """Predict 0 for everybody."""
        return Parts(np.zeros(len(X)), np.zeros(len(X)))


class Mean:
    """Everybody is the average: the share who returned, times what they spent.

    Attributes
    ----------
    base_rate_, mean_value_ : float
        Share of customers who spent, and their mean spend (0 if nobody did).
    """

    def fit(self, X: pd.DataFrame, future_value: Array, *, horizon_days: int) -> Self:
        """Learn the two averages."""
        spent = future_value[future_value > 0]
        self.base_rate_ = len(spent) / max(len(future_value), 1)
        self.mean_value_ = float(spent.mean()) if len(spent) else 0.0
        return self

    def predict_parts(self, X: pd.DataFrame) -> Parts:
        """Predict the averages for everybody."""
        return Parts(np.full(len(X), self.base_rate_), np.full(len(X), self.mean_value_))


class NewestFirst(Mean):
    """Who came last comes back: ranks by tenure, then recency, the smallest first.

    P(return) falls with the rank along a logistic curve whose mean on the training rows is the share who returned;
    everybody who returns spends the average.

    Attributes
    ----------
    scale_, offset_ : float
        ``p_return = expit(offset_ - age / scale_)``.
    """

    def fit(self, X: pd.DataFrame, future_value: Array, *, horizon_days: int) -> Self:
        """Learn the averages and the curve's level."""
        super().fit(X, future_value, horizon_days=horizon_days)
        age = self._age(X)
        self.scale_ = float(age.mean()) + 1.0 if len(age) else 1.0
        if 0 < self.base_rate_ < 1:
            steps = age / self.scale_
            reach = float(steps.max()) + 50.0  # at -50 nobody returns, at +50 beyond the oldest everybody does
            self.offset_ = float(brentq(lambda offset: expit(offset - steps).mean() - self.base_rate_, -50.0, reach))
        else:
            self.offset_ = np.inf if self.base_rate_ else -np.inf
        return self

    def predict_parts(self, X: pd.DataFrame) -> Parts:
        """Predict by the place on the curve."""
        return Parts(expit(self.offset_ - self._age(X) / self.scale_), np.full(len(X), self.mean_value_))

    def _age(self, X: pd.DataFrame) -> Array:
        """Tenure and recency as one number: recency is at most tenure, so it only breaks ties."""
        tenure, recency = _column(X, "tenure_days"), _column(X, "recency_days")
        return tenure + recency / (tenure + 1.0)


class HistoricalRate:
    """Everybody goes on as before: purchases per day so far, each worth the customer's mean.

    P(return) is that of a Poisson process. The rate counts the first purchase and its day, so new customers look
    very active: the well-known fault of this formula.
    """

    def fit(self, X: pd.DataFrame, future_value: Array, *, horizon_days: int) -> Self:
        """Note the horizon; nothing is learned."""
        self.horizon_days_ = horizon_days
        return self

    def predict_parts(self, X: pd.DataFrame) -> Parts:
        """Extrapolate each customer's own history."""
        rate = _column(X, "purchase_count") / (_column(X, "tenure_days") + 1.0)
        return Parts(-np.expm1(-rate * self.horizon_days_), np.maximum(_column(X, "amount_mean"), 0.0))


class _ScaledSpend(Mean, ABC):
    """Future spend in proportion to a past one, at the level of the training windows."""

    @abstractmethod
    def _spend(self, X: pd.DataFrame) -> Array:
        """The past spend, shape (n,)."""

    def fit(self, X: pd.DataFrame, future_value: Array, *, horizon_days: int) -> Self:
        """Learn the averages and the proportion."""
        super().fit(X, future_value, horizon_days=horizon_days)
        past = self._spend(X).sum()
        self.factor_ = float(future_value.sum() / past) if past > 0 else 0.0
        return self

    def predict_parts(self, X: pd.DataFrame) -> Parts:
        """Split the scaled spend: up to the mean value of a return it raises P(return), beyond that the value."""
        expected = self._spend(X) * self.factor_
        if not self.mean_value_ > 0:
            return Parts(np.zeros(len(X)), np.zeros(len(X)))
        return Parts(np.minimum(expected / self.mean_value_, 1.0), np.maximum(expected, self.mean_value_))


class TotalSpend(_ScaledSpend):
    """Who has spent most will: ranks by total spend so far, scaled to the training total.

    Attributes
    ----------
    factor_ : float
        Spend in the training windows over all spend before them.
    """

    def _spend(self, X: pd.DataFrame) -> Array:
        return np.maximum(_column(X, "amount_total"), 0.0)


class Persistence(_ScaledSpend):
    """The next window repeats the last: spend of the feature window nearest to the horizon, scaled.

    Attributes
    ----------
    window_days_ : int
        That window; the shorter of two equally near.
    factor_ : float
        Spend in the training windows over spend in those windows.
    """

    def fit(self, X: pd.DataFrame, future_value: Array, *, horizon_days: int) -> Self:
        """Choose the window; learn the averages and the proportion."""
        self.window_days_ = min(WINDOWS, key=lambda days: abs(days - horizon_days))
        return super().fit(X, future_value, horizon_days=horizon_days)

    def _spend(self, X: pd.DataFrame) -> Array:
        return np.maximum(_column(X, f"amount_{self.window_days_}d"), 0.0)


def ladder() -> dict[str, Rung]:
    """All rungs, unfitted, from the plainest up.

    Examples
    --------
    >>> list(ladder())
    ['zero', 'mean', 'newest_first', 'historical_rate', 'total_spend', 'persistence']
    """
    return {
        "zero": Zero(),
        "mean": Mean(),
        "newest_first": NewestFirst(),
        "historical_rate": HistoricalRate(),
        "total_spend": TotalSpend(),
        "persistence": Persistence(),
    }


def _column(X: pd.DataFrame, name: str) -> Array:
    return X[name].to_numpy(dtype=np.float64)
