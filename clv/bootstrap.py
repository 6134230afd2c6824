"""Intervals and verdicts by resampling customers.

Customers are drawn with replacement, by id: the rows of one customer at several cutoffs come and go together. A
replicate is a weight per customer (how often it was drawn), so nothing is copied or sorted again, and all models see
the same draws: their differences are paired. Several cutoffs are combined as the mean of the metric over the cutoffs
where it is defined.

Examples
--------
>>> rng = np.random.default_rng(1)
>>> value = np.where(rng.random(400) < 0.2, 50.0, 0.0)
>>> outcome = Outcome(np.arange(400), value > 0, value)
>>> knows = Parts(np.where(value > 0, 0.4, 0.1), np.full(400, 50.0))
>>> guesses = Parts(rng.random(400), np.full(400, 50.0))
>>> draws = resample({"knows": [knows], "guesses": [guesses]}, [outcome], rng=rng)
>>> intervals(draws, "knows")["roc_auc"].low
1.0
>>> paired(draws, "knows", "guesses")["normalized_gini"].verdict
'better'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clv.metrics import METRICS, Floats, Scorecard, Weights
from clv.predictor import Parts

Verdict = Literal["better", "not distinguishable", "worse", "too few to tell"]
"""The last where so few customers came back that resampling them says nothing of what chance can do."""

FEWEST_RETURNERS = 20
"""Fewer returners than this say too little about the spread of their spend, and about who comes back."""

TOO_FEW: Verdict = "too few to tell"

REPLICATES = 200
LEVEL = 0.95
_ROUNDING = 1e-9  # equal metrics may differ in the last digits of their sums


@dataclass(frozen=True)
class Outcome:
    """What happened after one cutoff: arrays of shape (n,), in the order of the predictions.

    Attributes
    ----------
    customer_id : array
        Who.
    is_return : array of bool
        Whether the customer purchased in the window.
    future_value : array of float
        Net spend in the window, at least 0.
    """

    customer_id: NDArray[Any]
    is_return: NDArray[np.bool_]
    future_value: Floats


@dataclass(frozen=True)
class Draws:
    """Every model's metrics, on the customers as they are and on each replicate.

    Attributes
    ----------
    estimates : mapping of model to array of shape (cutoffs, metrics)
        On the customers as they are; metrics in the order of ``METRICS``.
    replicates : mapping of model to array of shape (cutoffs, replicates, metrics)
        On resampled customers; replicate i is the same draw for every model.
    """

    estimates: Mapping[str, Floats]
    replicates: Mapping[str, Floats]


@dataclass(frozen=True)
class Interval:
    """A metric and its bootstrap percentile interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """How much better a candidate is than a reference; positive favours the candidate, whatever the metric."""

    verdict: Verdict


def resample(
    models: Mapping[str, Sequence[Parts | None]],
    outcomes: Sequence[Outcome],
    *,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
) -> Draws:
    """Compute all metrics of all models on resampled customers.

    The same seed gives the same draws whatever the order of rows.

    Parameters
    ----------
    models : mapping of name to sequence of Parts or None
        Predictions for each cutoff, in the order of `outcomes`; None where a model has none: its metrics are ``nan``
        there, so that it is judged, and compared, on its other cutoffs.
    outcomes : sequence of Outcome
        What happened, one per cutoff.
    rng : numpy Generator
        Source of the draws.
    replicates : int
        Number of draws.
    """
    codes, people = _number_customers(outcomes)
    cards = {
        name: [
            None if p is None else Scorecard(p, o.is_return, o.future_value)
            for p, o in zip(parts, outcomes, strict=True)
        ]
        for name, parts in models.items()
    }
    shape = (len(outcomes), replicates, len(METRICS))
    drawn = {name: np.empty(shape) for name in models}
    for replicate in range(replicates):
        counts = _draw(people, rng)
        for cutoff, code in enumerate(codes):
            weights = counts[code]
            for name, by_cutoff in cards.items():
                drawn[name][cutoff, replicate] = _metrics(by_cutoff[cutoff], weights)
    estimates = {
        name: np.array([_metrics(card, np.ones(len(code))) for card, code in zip(by_cutoff, codes, strict=True)])
        for name, by_cutoff in cards.items()
    }
    return Draws(estimates, drawn)


def intervals(draws: Draws, model: str, level: float = LEVEL, *, cutoff: int | None = None) -> dict[str, Interval]:
    """Every metric of a model, averaged over the cutoffs (or at one of them), with its interval.

    Replicates on which a metric is undefined (nobody returned) are left out; with none left the interval is ``nan``.

    Parameters
    ----------
    draws : Draws
        From :func:`resample`.
    model : str
        One of its models.
    level : float
        Confidence level of the interval.
    cutoff : int, optional
        Position of the only cutoff to look at.
    """
    chosen = slice(None) if cutoff is None else slice(cutoff, cutoff + 1)
    estimates, replicates = _mean(draws.estimates[model][chosen]), _mean(draws.replicates[model][chosen])
    return {
        name: Interval(float(estimates[column]), *_bounds(replicates[:, column], level))
        for column, name in enumerate(METRICS)
    }


def paired(draws: Draws, candidate: str, reference: str, level: float = LEVEL) -> dict[str, Difference]:
    """Compare two models on the same draws, metric by metric; metrics that are information only are left out.

    A candidate is better (worse) if the whole interval of the difference is above (below) 0. A total's distance
    from 1 is taken per cutoff, before averaging, so that too much here doesn't make up for too little there.

    Parameters
    ----------
    draws : Draws
        From :func:`resample`.
    candidate, reference : str
        Two of its models.
    level : float
        Confidence level of the interval.
    """
    found = {}
    for column, (name, metric) in enumerate(METRICS.items()):
        if metric.direction == "none":
            continue
        estimate, replicates = (
            _mean(metric.goodness(values[candidate][..., column]) - metric.goodness(values[reference][..., column]))
            for values in (draws.estimates, draws.replicates)
        )
        low, high = _bounds(replicates, level)
        found[name] = Difference(float(estimate), low, high, _verdict(low, high))
    return found


def _metrics(card: Scorecard | None, weights: Weights) -> Floats:
    return np.full(len(METRICS), np.nan) if card is None else card.metrics(weights)


def share(draws: Draws, candidate: str, reference: str, metric: str, level: float = LEVEL) -> Interval:
    """A candidate's metric as a share of a reference's, on the same draws; ``nan`` where that is not above 0.

    Parameters
    ----------
    draws : Draws
        From :func:`resample`.
    candidate, reference : str
        Two of its models.
    metric : str
        One of ``METRICS``.
    level : float
        Confidence level of the interval.
    """
    column = list(METRICS).index(metric)
    estimate, replicates = (
        np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
        for top, bottom in (
            (_mean(values[candidate][..., column]), _mean(values[reference][..., column]))
            for values in (draws.estimates, draws.replicates)
        )
    )
    return Interval(float(estimate), *_bounds(replicates, level))


def _number_customers(outcomes: Sequence[Outcome]) -> tuple[list[NDArray[np.intp]], int]:
    """Give every customer a number, the same at each cutoff and by id, not by position."""
    everybody = np.concatenate([outcome.customer_id for outcome in outcomes])
    codes, customers = pd.factorize(everybody, sort=True)
    ends = np.cumsum([len(outcome.customer_id) for outcome in outcomes])
    return np.split(codes, ends[:-1]), len(customers)


def _draw(people: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """How often each customer comes up when as many are drawn as there are; a dozen times is already rare."""
    return np.bincount(rng.integers(people, size=people), minlength=people).astype(np.int16)


def _mean(values: Floats) -> Floats:
    """Average over the first axis, the cutoffs, as far as defined."""
    defined = ~np.isnan(values)
    count = np.asarray(defined.sum(axis=0), dtype=np.float64)
    total = np.asarray(np.where(defined, values, 0.0).sum(axis=0))
    mean: Floats = np.full_like(total, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _bounds(values: Floats, level: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _verdict(low: float, high: float) -> Verdict:
    if low > _ROUNDING:
        return "better"
    return "worse" if high < -_ROUNDING else "not distinguishable"
