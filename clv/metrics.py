"""How good a two-part prediction is, when most customers spend nothing.

Every ranking metric is **tie-safe**: customers with the same score share their tie block's average, which is the
expected value over all random orders of the block. Every metric takes optional **weights**, and a customer of weight 3
counts exactly as three customers of weight 1, so the bootstrap needs no second implementation.

A metric that the data can't define is ``nan``, never a number and never a warning: without value (or with the same
value for everybody) there is nothing to rank; without both returning and other customers there is no AUC. A *score*
that is the same for everybody is defined: Gini and Spearman 0, capture 0.1, AUC 0.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from clv.money import decimals
from clv.predictor import Parts

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Weights = NDArray[np.float64] | NDArray[np.int16]
Direction = Literal["higher", "lower", "one", "none"]

TOP_SHARE = 0.1
_NOTHING_TO_RANK = 1e-12  # rounding noise of an area or variance that is 0


@dataclass(frozen=True)
class Metric:
    """What a metric is called and which way is better.

    Attributes
    ----------
    label : str
        Name for people.
    direction : {"higher", "lower", "one", "none"}
        Better when higher, when lower, when closer to 1; ``"none"`` is information only.
    description : str
        One sentence for reports.
    is_amount : bool
        Whether it is in the shop's currency.
    """

    label: str
    direction: Direction
    description: str
    is_amount: bool = False

    def decimals(self, value: float | None) -> int:
        """Decimals to write it with: three, more for small amounts.

        Examples
        --------
        >>> METRICS["mae"].decimals(0.00021), METRICS["mae"].decimals(3.1), METRICS["roc_auc"].decimals(0.00021)
        (5, 3, 3)
        """
        return decimals(value or 0.0, 3) if self.is_amount else 3

    def goodness(self, values: ArrayLike) -> Floats:
        """Turn values into "more is better".

        A ratio is judged by how far it is from 1 in either direction: half and twice are equally bad (-0.5), nothing
        and infinitely much are the worst (-1).
        """
        numbers = np.asarray(values, dtype=np.float64)
        if self.direction == "one":
            inverse = np.divide(1.0, numbers, out=np.full_like(numbers, np.inf), where=numbers != 0)
            return np.minimum(numbers, inverse) - 1.0
        return -numbers if self.direction == "lower" else numbers


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "normalized_gini": Metric(
            "Normalized Gini", "higher", "Ranking by value: 1 is the perfect order, 0 a random one."
        ),
        "top_decile_capture": Metric(
            "Value in top 10 %", "higher", "Share of all future value held by the tenth ranked highest."
        ),
        "roc_auc": Metric("ROC AUC of returning", "higher", "Chance that a returning customer outranks another one."),
        "pr_auc": Metric("PR AUC of returning", "higher", "Average precision; a random order has the return rate."),
        "total_ratio": Metric("Total predicted / actual", "one", "Level of the whole portfolio."),
        "spearman": Metric("Spearman", "higher", "Rank correlation with future value; read it beside its ceiling."),
        "spearman_ceiling": Metric(
            "Spearman ceiling", "none", "What a perfect order would reach, given the ties of score and value."
        ),
        "mae": Metric(
            "MAE", "lower", "Mean absolute error; never the gate, predicting 0 for everybody often wins it.", True
        ),
        "rmse": Metric("RMSE", "lower", "Root mean squared error; carried by the few largest customers.", True),
    }
)


class Ranking:
    """A score's customers from highest to lowest, in tie blocks; sorted once, weighted many times.

    Parameters
    ----------
    score : array of shape (n,)
        Finite scores; equal scores form one block.

    Attributes
    ----------
    order : array of shape (n,)
        Customers, highest score first.
    block : array of shape (n,)
        Each customer's block, 0 for the highest.
    """

    def __init__(self, score: ArrayLike) -> None:
        values = np.asarray(score, dtype=np.float64)
        self.order: Indices = np.argsort(-values, kind="stable")
        falling = values[self.order]
        is_last = np.append(falling[1:] != falling[:-1], True)[: len(values)]
        self._last: Indices | slice = slice(None) if is_last.all() else np.flatnonzero(is_last)
        self._blocks = int(np.count_nonzero(is_last))
        self.block: Indices = np.empty(len(values), dtype=np.intp)
        self.block[self.order] = np.cumsum(is_last) - is_last

    def edges(self, weights: Weights) -> Floats:
        """Sum the weights up to each block's end: an array of shape (blocks + 1,) that starts with 0.

        ``weights`` may be any quantity per customer (value, buyers): the result is its cumulative curve. Small whole
        numbers, a bootstrap's, stay in the processor's cache and add up several times as fast as floats.
        """
        if self._blocks == 1:
            return np.array([0.0, weights.sum()])
        in_order = weights.take(self.order)
        exact = in_order if in_order.dtype == np.float64 else in_order.astype(np.int64)
        sums = np.zeros(self._blocks + 1)
        sums[1:] = np.cumsum(exact)[self._last]
        return sums


class Scorecard:
    """One model's predictions beside what happened, prepared to be weighted many times.

    Parameters
    ----------
    parts : Parts
        The predictions.
    is_return : array of bool, shape (n,)
        Whether the customer purchased in the window.
    future_value : array of shape (n,)
        Net spend in the window, at least 0.
    """

    def __init__(self, parts: Parts, is_return: ArrayLike, future_value: ArrayLike) -> None:
        expected = parts.expected_value
        value = np.asarray(future_value, dtype=np.float64)
        error = expected - value
        self._value = _ValueOrder(value, expected)
        self._return = _ReturnOrder(is_return, parts.p_return)
        self._terms = (expected, value, np.abs(error), error**2)

    def metrics(self, weights: Weights) -> Floats:
        """Compute all metrics, in the order of ``METRICS``, with a weight for each of the n customers."""
        as_floats = weights.astype(np.float64)
        expected, value, absolute, squared = (_dot(term, as_floats) for term in self._terms)
        by_value = self._value.ranking.edges(weights)
        by_return = self._return.ranking.edges(weights)
        people = by_value[-1]
        return np.array(
            [
                *self._value.gini_and_capture(weights, by_value),
                *self._return.areas(weights, by_return),
                _ratio(expected, value),
                *self._value.spearman_and_ceiling(weights, by_value),
                _ratio(absolute, people),
                np.sqrt(_ratio(squared, people)),
            ]
        )


def normalized_gini(actual: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Measure how well the score orders value: area of the gain curve, relative to the perfect order's.

    Examples
    --------
    >>> normalized_gini([10.0, 0.0, 0.0], [3.0, 2.0, 1.0]), normalized_gini([10.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    (1.0, 0.0)
    """
    return _gini_and_capture(actual, score, weights)[0]


def top_decile_capture(actual: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of all value held by the tenth of customers ranked highest; a customer on the border counts in part."""
    return _gini_and_capture(actual, score, weights)[1]


def total_ratio(actual: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Sum of the predictions over the sum of what happened; ``nan`` if nothing happened."""
    weight = _weights(weights, _size(actual))
    return _ratio(float(weight @ np.asarray(predicted)), float(weight @ np.asarray(actual)))


def spearman(actual: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Rank correlation with mid-ranks for ties; 0 for a constant score, ``nan`` for constant actuals."""
    return _spearman_and_ceiling(actual, score, weights)[0]


def spearman_ceiling(actual: ArrayLike, score: ArrayLike | None = None, weights: ArrayLike | None = None) -> float:
    """Spearman of a perfect order.

    Parameters
    ----------
    actual : array of shape (n,)
        What happened, at least 0.
    score : array of shape (n,), optional
        A score whose ties the perfect order keeps: its sorted values against the sorted actuals. Without it, an order
        without ties: ``sqrt((n**3 - sum(t**3)) / (n**3 - n))`` over the sizes t of the actuals' tie blocks, which is
        about ``sqrt(1 - (1 - p)**3)`` if a share p is not 0.
    weights : array of shape (n,), optional
        Weight of each customer.
    """
    by_score = np.arange(_size(actual)) if score is None else score
    return _spearman_and_ceiling(actual, by_score, weights)[1]


def mean_absolute_error(actual: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean absolute error."""
    weight = _weights(weights, _size(actual))
    return _ratio(float(weight @ np.abs(np.asarray(predicted) - np.asarray(actual))), float(weight.sum()))


def root_mean_squared_error(actual: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root of the mean squared error."""
    weight = _weights(weights, _size(actual))
    return float(np.sqrt(_ratio(float(weight @ (np.asarray(predicted) - np.asarray(actual)) ** 2), weight.sum())))


def gain_curve(actual: ArrayLike, score: ArrayLike, points: int = 201) -> tuple[Floats, Floats]:
    """Cumulative share of value over the share of customers, highest score first, on an even grid.

    Returns
    -------
    share_of_customers, share_of_value : arrays of shape (points,)
        The value is ``nan`` throughout if there is none.
    """
    value = np.asarray(actual, dtype=np.float64)
    grid = np.linspace(0.0, 1.0, points)
    if not value.any():
        return grid, np.full(points, np.nan)
    ranking = Ranking(score)
    customers, gained = ranking.edges(np.ones_like(value)), ranking.edges(value)
    return grid, np.interp(grid, customers / customers[-1], gained / gained[-1])


def decile_table(parts: Parts, is_return: ArrayLike, future_value: ArrayLike, groups: int = 10) -> pd.DataFrame:
    """Compare predictions with what happened, in equal groups by expected value.

    Groups are exactly equal: a tie block (or a single customer) across a border is divided among the groups in
    proportion, so that counts may be fractions and no order among equals is invented. The first group's
    ``share_of_value`` is :func:`top_decile_capture`.

    Returns
    -------
    DataFrame
        One row per group, highest first: ``decile``, ``customers``, ``predicted_mean``, ``actual_mean``,
        ``share_of_value``, ``buyers``, ``buyers_predicted``.
    """
    value = np.asarray(future_value, dtype=np.float64)
    sums = _group_sums(
        parts.expected_value,
        groups,
        customers=np.ones_like(value),
        predicted=parts.expected_value,
        actual=value,
        buyers=np.asarray(is_return, dtype=np.float64),
        buyers_predicted=parts.p_return,
    )
    return pd.DataFrame(
        {
            "decile": np.arange(1, groups + 1),
            "customers": sums["customers"],
            "predicted_mean": _divide(sums["predicted"], sums["customers"]),
            "actual_mean": _divide(sums["actual"], sums["customers"]),
            "share_of_value": _divide(sums["actual"], np.full(groups, value.sum())),
            "buyers": sums["buyers"],
            "buyers_predicted": sums["buyers_predicted"],
        }
    )


class _ValueOrder:
    """Metrics of a ranking by value. Only customers with value are looked at: zeros matter by their number alone."""

    def __init__(self, actual: ArrayLike, score: ArrayLike) -> None:
        values = np.asarray(actual, dtype=np.float64)
        self.ranking = Ranking(score)
        self._buyers: Indices = np.flatnonzero(values > 0)
        self._amounts: Floats = values[self._buyers]
        self._block: Indices = self.ranking.block[self._buyers]
        self._perfect = Ranking(self._amounts)

    def gini_and_capture(self, weights: Weights, edges: Floats) -> tuple[float, float]:
        """Return normalized Gini and the value share of the top tenth; `edges` are the ranking's for these weights."""
        value = weights[self._buyers] * self._amounts
        total, people = value.sum(), edges[-1]
        if not total > 0:
            return np.nan, np.nan
        start, end = edges[self._block], edges[self._block + 1]
        best = self._perfect.edges(weights[self._buyers])
        middle = (best[self._perfect.block] + best[self._perfect.block + 1]) / 2
        # area between the gain curve and the diagonal; the curve is straight within a block
        possible = 0.5 - _dot(value, middle) / (total * people)
        reached = 0.5 - _dot(value, start + end) / (2 * total * people)
        inside = np.clip(_divide(TOP_SHARE * people - start, end - start), 0.0, 1.0)
        gini = reached / possible if possible > _NOTHING_TO_RANK else np.nan
        return float(gini), float(np.nansum(value * inside) / total)

    def spearman_and_ceiling(self, weights: Weights, edges: Floats) -> tuple[float, float]:
        """Return Spearman's rank correlation and what this score's ties allow at best.

        Mid-ranks are shares of all customers around 0. Everybody without value has the same one (``rest``), and the
        score's mid-ranks sum to 0, so the covariance is a sum over customers with value.
        """
        people = edges[-1]
        if not people > 0:
            return np.nan, np.nan
        buyers = weights[self._buyers] / people
        best = self._perfect.edges(buyers)
        rest = best[-1] / 2
        lead = (best[:-1] + best[1:]) / 2 - 0.5 - rest  # of each block of equal value, over the rest
        variance = (1 - _sum_of_cubes(np.diff(best)) - (1 - best[-1]) ** 3) / 12
        variance_of_score = (1 - _sum_of_cubes(np.diff(edges)) / people**3) / 12
        if variance < _NOTHING_TO_RANK:
            return np.nan, np.nan
        if variance_of_score < _NOTHING_TO_RANK:
            return 0.0, 0.0
        rank = (edges[self._block] + edges[self._block + 1]) / (2 * people) - 0.5
        covariance = _dot(buyers * rank, lead[self._perfect.block])
        possible = _dot(np.diff(_integral_of_rank(edges, best * people)), lead)
        scale = float(np.sqrt(variance * variance_of_score))
        return covariance / scale, possible / scale


class _ReturnOrder:
    """Metrics of a ranking by the chance to return; looks only at the customers who did."""

    def __init__(self, is_return: ArrayLike, score: ArrayLike) -> None:
        self.ranking = Ranking(score)
        back = np.flatnonzero(np.asarray(is_return, dtype=bool))
        block = self.ranking.block[back]
        by_block = np.argsort(block, kind="stable")
        self._back: Indices = back[by_block]
        self._block: Indices = block[by_block]
        self._last: Indices = np.searchsorted(self._block, self._block, side="right") - 1

    def areas(self, weights: Weights, edges: Floats) -> tuple[float, float]:
        """Return the area under the ROC curve (ties count half) and the average precision.

        The precision is taken at each tie block's end and averaged over the returning customers.
        """
        hits = weights[self._back].astype(np.float64)
        positive, people = hits.sum(), edges[-1]
        negative = people - positive
        if not positive > 0:
            return np.nan, np.nan
        start, end = edges[self._block], edges[self._block + 1]
        ahead = _dot(hits, start + end) / 2 - positive**2 / 2  # pairs with the other customer in front, ties half
        precision = _divide(np.cumsum(hits)[self._last], end)
        roc = 1 - ahead / (positive * negative) if negative > 0 else np.nan
        return float(roc), float(np.nansum(hits * precision) / positive)


def _gini_and_capture(actual: ArrayLike, score: ArrayLike, weights: ArrayLike | None) -> tuple[float, float]:
    order, weight = _ValueOrder(actual, score), _weights(weights, _size(actual))
    return order.gini_and_capture(weight, order.ranking.edges(weight))


def _spearman_and_ceiling(actual: ArrayLike, score: ArrayLike, weights: ArrayLike | None) -> tuple[float, float]:
    order, weight = _ValueOrder(actual, score), _weights(weights, _size(actual))
    return order.spearman_and_ceiling(weight, order.ranking.edges(weight))


def _group_sums(score: ArrayLike, groups: int, **quantities: Floats) -> dict[str, Floats]:
    """Sum quantities over equal groups by score, highest first; what lies across a border is divided."""
    ranking = Ranking(score)
    edges = ranking.edges(np.ones(_size(score)))
    cuts = np.linspace(0.0, edges[-1], groups + 1)
    return {name: np.diff(np.interp(cuts, edges, ranking.edges(values))) for name, values in quantities.items()}


def _integral_of_rank(edges: Floats, positions: Floats) -> Floats:
    """Integrate the sorted score's mid-rank (as a share, around 0) from the top to each position.

    It is ``(x**2 - x) / 2`` at an edge x and straight in between.
    """
    people = edges[-1]
    after = np.clip(np.searchsorted(edges, positions, side="left"), 1, len(edges) - 1)
    start, end, x = edges[after - 1] / people, edges[after] / people, positions / people
    slope = (start + end - 1) / 2
    integral: Floats = (start**2 - start) / 2 + slope * (x - start)
    return integral


def _dot(left: Floats, right: Floats) -> float:
    """Sum the products without BLAS, whose threads go on spinning between calls and slow everything else down."""
    return float(np.einsum("i,i", left, right))


def _sum_of_cubes(values: Floats) -> float:
    return _dot(values * values, values)  # "** 3" is ten times slower


def _weights(weights: ArrayLike | None, size: int) -> Floats:
    return np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)


def _size(values: ArrayLike) -> int:
    return len(np.asarray(values))


def _ratio(numerator: Any, denominator: Any) -> float:
    return float(numerator / denominator) if denominator else np.nan


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, ``nan`` where the denominator is 0."""
    quotient: Floats = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
