"""Prediction, self-contained: this very file travels inside every model artifact.

It imports numpy, pandas, scipy and xgboost only, never ``clv``, reads no pickle, and is loaded by path under a name of
its own, so that two versions of it live side by side in one process. A model folder holds

``model.json``
    what the model is: features with their vocabulary, buy-till-you-die parameters, horizon, as-of day, shop, intervals;
``*.ubj``
    XGBoost boosters in their native format;
``features.sql``
    one DuckDB SELECT from purchases to features, the very SQL of the marts;
``predictor.py``
    this file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from math import factorial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import xgboost as xgb
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, expit, gammainc, log_expit, logit

Array = NDArray[np.float64]
_Kind = TypeVar("_Kind", bound=np.generic)

_NODES = np.arange(160) / 159
_TAIL = 32.0  # the integrand is cut off where it has fallen by exp(-32)


@dataclass(frozen=True)
class Parts:
    """The two-part answer for n customers.

    Attributes
    ----------
    p_return
        P(at least one purchase in the window), shape (n,).
    value_if_return
        Expected net spend in the window, given a purchase in it, in the shop's currency, shape (n,).
    """

    p_return: Array
    value_if_return: Array

    @property
    def expected_value(self) -> Array:
        """Expected net spend in the window: the product of the two parts."""
        return self.p_return * self.value_if_return


def mix(first: Parts, second: Parts, weight: float) -> Parts:
    """Mean of two answers of a kind, `weight` of the second: p_return and expected_value; value_if_return follows."""
    p_return = (1.0 - weight) * first.p_return + weight * second.p_return
    expected = (1.0 - weight) * first.expected_value + weight * second.expected_value
    return Parts(p_return, _divided(expected, p_return))


def blend(first: Parts, second: Parts, weight: float) -> Parts:
    """Mix two answers part by part, `weight` of the second: the chance to return, and the spend of those who do."""
    return Parts(
        (1.0 - weight) * first.p_return + weight * second.p_return,
        (1.0 - weight) * first.value_if_return + weight * second.value_if_return,
    )


def with_chance(parts: Parts, p_return: Array, weight: float) -> Parts:
    """Mix another P(return) in, `weight` of it; value_if_return stays."""
    return Parts((1.0 - weight) * parts.p_return + weight * p_return, parts.value_if_return)


def at_level(parts: Parts, level: float) -> Parts:
    """The answer if everybody bought `level` times as often: 1 - (1 - p)^level return, `level` times as much is spent.

    So it is for purchases that come at random, at a rate of each customer's own. The order of customers stays.
    """
    if level == 1.0:
        return parts
    p_return = _p_at_level(parts.p_return, level)
    return Parts(p_return, _divided(level * parts.expected_value, p_return))


def _p_at_level(p: Array, level: float) -> Array:
    return _floats(-np.expm1(level * np.log1p(-np.clip(p, 0.0, 1.0 - 1e-15))))


def total_interval(mean: Array, variance: Array, level_sd: float, share: float) -> tuple[Array, Array]:
    """Ends of the interval that holds totals with probability `share`.

    A total is the product of two: the sum over customers whose chances are independent, read as a gamma distribution,
    which is never negative and close to normal for many customers; and the level that they share, lognormal with a
    median of 1 and a standard deviation `level_sd` of its logarithm. The ends are found by halving.

    Parameters
    ----------
    mean, variance
        Of the totals of sets of customers, at the median level.
    """
    known = mean > 0
    mean_ = np.where(known, mean, 1.0)
    nodes = np.linspace(-4, 4, 61)
    levels, weights = np.exp(level_sd * nodes), np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum()
    # a little chance at the least, lest the steps between the nodes show
    shape = 1.0 / np.maximum(np.where(known, variance, 1.0) / mean_**2, 1e-9 + (0.1 * level_sd) ** 2)
    ends = []
    for chance in ((1 - share) / 2, (1 + share) / 2):
        # in units of the mean, on a log scale that holds everything but a total of practically nothing
        low, high = np.full(len(shape), -60.0), np.full(len(shape), 60.0)
        for _ in range(32):
            middle = (low + high) / 2
            below = gammainc(shape[:, None], shape[:, None] * np.exp(middle)[:, None] / levels) @ weights
            low, high = np.where(below < chance, middle, low), np.where(below < chance, high, middle)
        ends.append(np.where(known, mean_ * np.exp(high), np.maximum(mean, 0.0)))
    return ends[0], ends[1]


def percentile(expected_value: Array, percentiles: Array) -> Array:
    """Whole percent of a shop's customers at or below, given the shop's 0th, 1st, ..., 100th; NaN without them."""
    if not len(percentiles):
        return np.full(len(expected_value), np.nan)
    position = np.searchsorted(percentiles, expected_value, side="right") - 1
    return np.clip(position, 0, 100).astype(np.float64)


@dataclass(frozen=True)
class Encoder:
    """From named columns to the matrix the boosters take: numbers as they are, categories as codes.

    Attributes
    ----------
    features
        Column names in order.
    vocabulary
        For each categorical column its known values; the position is the code. Anything else counts as missing.
    """

    features: tuple[str, ...]
    vocabulary: Mapping[str, tuple[str, ...]]

    @property
    def feature_types(self) -> list[str]:
        """XGBoost's types: ``c`` for a category, ``q`` for a number."""
        return ["c" if name in self.vocabulary else "q" for name in self.features]

    def encode(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Encode a frame with the features as columns; shape (n, features), missing as NaN."""
        matrix = np.empty((len(frame), len(self.features)), dtype=np.float32)
        for position, name in enumerate(self.features):
            column = frame[name]
            if name in self.vocabulary:
                values = column.astype("category").cat
                known = pd.Index(self.vocabulary[name], dtype=object).get_indexer(values.categories.astype(object))
                codes = np.append(known, -1)[values.codes]  # a missing value has code -1 and finds the last entry
                matrix[:, position] = np.where(codes < 0, np.nan, codes)
            else:
                matrix[:, position] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return matrix

    def unknown(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Values outside the vocabulary, by column; they are predicted as missing."""
        found = {
            name: sorted(set(frame[name].dropna().astype(str)) - set(known)) for name, known in self.vocabulary.items()
        }
        return {name: values for name, values in found.items() if values}


@dataclass(frozen=True)
class Contributions:
    """What each feature adds, in plain units; rows add up to the prediction.

    Attributes
    ----------
    p_return, value_if_return, expected_value
        Shape (n, features): in probability, currency and currency.
    p_return_base, value_base, expected_base
        What they are added to.
    """

    p_return: Array
    value_if_return: Array
    expected_value: Array
    p_return_base: float
    value_base: float
    expected_base: float


FORMS = ("hurdle", "tweedie", "offset")
"""How two boosters are read. ``hurdle``: P(return), and the spend of those who return. ``tweedie``: P(return), and the
expected spend of everybody. ``offset``: a hurdle whose margins start from what buy till you die says."""


@dataclass(frozen=True)
class Hurdle:
    """Two boosters: P(return), and a spend (see ``FORMS``)."""

    p_return: xgb.Booster
    value: xgb.Booster
    form: str = "hurdle"

    def predict_parts(self, matrix: NDArray[np.float32], start: Parts | None = None) -> Parts:
        """Two-part answer for an encoded matrix; `start` is what buy till you die says, for ``offset``."""
        p_margin, margin = (
            _floats(booster.inplace_predict(matrix, predict_type="margin"))[:, None]
            for booster in (self.p_return, self.value)
        )
        p, expected = _answers(self.form, p_margin, margin, start)
        return Parts(p[:, 0], _divided(expected[:, 0], p[:, 0]))

    def contributions(self, data: xgb.DMatrix, start: tuple[Array, Array] | None = None) -> Contributions:
        """TreeSHAP of both boosters, brought from log units to plain ones.

        A margin's contributions are scaled by the secant slope (f(b + sum) - f(b)) / sum of its link f, so that they
        add up to the prediction; the two parts are joined by the two-player product rule. `start` is what buy till you
        die contributes to both margins, for ``offset``.
        """
        p_margin, margin = (_floats(b.predict(data, pred_contribs=True)) for b in (self.p_return, self.value))
        if start is not None:
            p_margin, margin = p_margin + start[0], margin + start[1]
        p, p_base = _plain(p_margin, expit)
        if self.form == "tweedie":
            expected, expected_base = _plain(margin, np.exp)
            log_p, log_p_base = _plain(p_margin, log_expit)
            base = np.log(expected_base) - log_p_base
            log_value = np.column_stack([margin[:, :-1] - log_p, np.full(len(margin), base)])
            value, value_base = _plain(log_value, np.exp)
            return Contributions(p, value, expected, p_base, value_base, expected_base)
        return _joined(p, p_base, *_plain(margin, np.exp))


@dataclass(frozen=True)
class Forest:
    """The boosters of all hurdles in one, with the margin of each: for few rows a call costs more than its trees.

    Attributes
    ----------
    booster
        Trees of all P(return) boosters, then of all value boosters; each former booster is a class of its own.
    bags
        How many hurdles there were.
    """

    booster: xgb.Booster
    bags: int

    @classmethod
    def of(cls, hurdles: Sequence[Hurdle]) -> Forest:
        """Join boosters; their margins stay the same to the last bit."""
        boosters = [*(hurdle.p_return for hurdle in hurdles), *(hurdle.value for hurdle in hurdles)]
        documents = [json.loads(booster.save_raw("json")) for booster in boosters]
        trees: list[dict[str, Any]] = []
        classes: list[int] = []
        for number, document in enumerate(documents):
            own = document["learner"]["gradient_booster"]["model"]["trees"]
            trees += [{**tree, "id": len(trees) + position} for position, tree in enumerate(own)]
            classes += [number] * len(own)
        margins = [_base_margin(document["learner"]) for document in documents]
        joined = documents[0]
        joined["learner"]["objective"] = {
            "name": "multi:softprob",
            "softmax_multiclass_param": {"num_class": str(len(boosters))},
        }
        joined["learner"]["learner_model_param"] |= {
            "num_class": str(len(boosters)),
            "base_score": json.dumps(margins),
        }
        model = joined["learner"]["gradient_booster"]["model"]
        model["gbtree_model_param"]["num_trees"] = str(len(trees))
        model |= {"trees": trees, "tree_info": classes, "iteration_indptr": [0, len(trees)]}
        booster = xgb.Booster(model_file=bytearray(json.dumps(joined).encode()))
        threads = json.loads(boosters[0].save_config())["learner"]["generic_param"]["nthread"]
        booster.set_param({"nthread": threads})
        return cls(booster, len(hurdles))

    def margins(self, matrix: NDArray[np.float32]) -> tuple[Array, Array]:
        """Margins of P(return) and of the spend of each hurdle for an encoded matrix, both of shape (n, bags)."""
        margins = self.booster.inplace_predict(matrix, predict_type="margin").astype(np.float64)
        return margins[:, : self.bags], margins[:, self.bags :]


def _base_margin(learner: Mapping[str, Any]) -> float:
    """What a booster starts from, in margins and in single precision, as XGBoost computes it."""
    base, one = np.float32(json.loads(learner["learner_model_param"]["base_score"])[0]), np.float32(1)
    return float(-np.log(one / base - one) if learner["objective"]["name"] == "binary:logistic" else np.log(base))


# Buy till you die: BG/NBD for who buys and how often, Gamma-Gamma for how much. Notation of the literature: x purchases
# after the first, the last of them at age t_x, observed up to age T; time in any one unit. Given the history and being
# alive at T, the purchase rate is Gamma(r + x, alpha + T) and the chance to leave after a purchase Beta(a, b + x),
# independently. Everything follows from that. See Fader, Hardie and Lee, "Counting your customers the easy way" (2005),
# and Fader and Hardie, "The Gamma-Gamma model of monetary value" (2013).


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


@dataclass(frozen=True)
class Calibration:
    """How much of the differences in the spend that Gamma-Gamma foretells comes true.

    Attributes
    ----------
    slope
        Between 0, nothing, and 1, all of it: so many times as large is a difference of logarithms.
    unit
        A spend that is foretold, and
    value
        the one to expect then.
    """

    slope: float
    unit: float
    value: float

    def __call__(self, foretold: Array) -> Array:
        """The spend to expect where another one is foretold."""
        return _floats(self.value * (foretold / self.unit) ** self.slope)


@dataclass(frozen=True)
class History:
    """BG/NBD and Gamma-Gamma on the columns of the encoded matrix.

    Attributes
    ----------
    model
        The fitted pair.
    columns
        Positions of purchase_count, recency_days, tenure_days and amount_mean.
    reference
        Their means over the shop: the customer that contributions are counted from.
    calibration
        Of value_if_return, by the labels; None where too few returned.
    """

    model: BuyTillYouDie
    columns: tuple[int, int, int, int]
    reference: tuple[float, float, float, float]
    calibration: Calibration | None = None

    FEATURES: ClassVar = ("purchase_count", "recency_days", "tenure_days", "amount_mean")

    def predict_parts(self, matrix: NDArray[np.float32]) -> Parts:
        """Two-part answer for an encoded matrix."""
        return self._parts(matrix[:, self.columns].astype(np.float64))

    def _parts(self, inputs: Array) -> Parts:
        count, recency, tenure, amount = inputs.T
        p_return, value = self.model.parts(count - 1.0, tenure - recency, tenure, amount)
        return Parts(p_return, value if self.calibration is None else self.calibration(value))

    def contributions(self, matrix: NDArray[np.float32]) -> Contributions:
        """Exact Shapley values over the four inputs, from the reference customer."""
        gained, base = self._shapley(
            matrix, lambda parts: (parts.p_return, parts.value_if_return, parts.expected_value)
        )
        return Contributions(*gained, *base)

    def margins(self, matrix: NDArray[np.float32]) -> tuple[Array, Array]:
        """The same for the margins that ``offset`` starts from, each of shape (n, features + 1), the base last."""
        gained, base = self._shapley(matrix, start_margins)
        first, second = (np.column_stack([g, np.full(len(g), b)]) for g, b in zip(gained, base, strict=True))
        return first, second

    def _shapley(
        self, matrix: NDArray[np.float32], measure: Callable[[Parts], tuple[Array, ...]]
    ) -> tuple[Array, list[float]]:
        """What each feature adds to each measure, shape (measures, n, features), and the reference customer's."""
        inputs = matrix[:, self.columns].astype(np.float64)
        each, base = _shapley(inputs, self.reference, lambda known: np.stack(measure(self._parts(known))))
        gained = np.zeros((*each.shape[:2], matrix.shape[1]))
        gained[:, :, self.columns] = each
        return gained, base


@dataclass(frozen=True)
class Effect:
    """What a feature adds to the three predictors of a :class:`CovariateProcess`.

    Attributes
    ----------
    column
        Position of the feature in the encoded matrix.
    knots
        Ascending values of a number, codes of a category.
    values
        The three effects at the knots: straight between them, and level beyond them.
    missing
        The three effects where the feature is missing.
    """

    column: int
    knots: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    missing: tuple[float, ...]


@dataclass(frozen=True)
class CovariateProcess:
    """BG/NBD whose rates of purchase and chances to have left depend on the features; fitted to who returned.

    The rate is Gamma(r + x, alpha + T) given that the customer is still there, as in BG/NBD. The log of alpha, and the
    log-odds of having left after the last purchase (which silence since then adds to), are sums over the features.

    Attributes
    ----------
    r
        Shape of the Gamma distribution of purchase rates.
    base
        Log of alpha, and log-odds of having left after a first and after a later purchase, at all effects' means.
    unit_days
        Days in a unit of time.
    horizon_days
        Length of the window.
    columns
        Positions of ``FEATURES``.
    reference
        Their means over the customers learnt from: contributions are counted from there.
    effects
        One of each other feature; their means are 0.
    """

    r: float
    base: tuple[float, float, float]
    unit_days: float
    horizon_days: int
    columns: tuple[int, int, int]
    reference: tuple[float, float, float]
    effects: tuple[Effect, ...]

    FEATURES: ClassVar = ("purchase_count", "recency_days", "tenure_days")

    def p_return(self, matrix: NDArray[np.float32]) -> Array:
        """P(at least one purchase in the window) for an encoded matrix, shape (n,)."""
        parts = [self._chance(self._inputs(part, self.added(part))) for part in _chunks(matrix, size=512)]
        return np.concatenate([*parts, np.empty(0)])

    def _inputs(self, matrix: NDArray[np.float32], added: Array) -> Array:
        """``FEATURES`` and the three predictors, shape (n, 6)."""
        return np.hstack([matrix[:, self.columns], added.sum(axis=1)])

    def added(self, matrix: NDArray[np.float32]) -> Array:
        """What each effect adds to the three predictors, shape (n, effects, 3)."""
        own = matrix[:, [effect.column for effect in self.effects]]
        position = np.empty(own.shape)  # knots and the way between them
        for number, knots in enumerate(self._knots):
            position[:, number] = np.interp(own[:, number], *knots)
        starts, values = self._values
        # Asked of the values: with a single knot NumPy gives what is missing its place too.
        at_missing = np.array([len(knots) + 1.0 for knots, _ in self._knots])
        position = np.where(np.isnan(own), at_missing, position)
        before = position.astype(np.intp)
        low, high = values[starts + before], values[starts + before + 1]
        return _floats(low + (high - low) * (position - before)[..., None])

    @cached_property
    def _knots(self) -> list[tuple[Array, Array]]:
        """The knots of each effect, and their numbers."""
        return [(_floats(effect.knots), np.arange(float(len(effect.knots)))) for effect in self.effects]

    @cached_property
    def _values(self) -> tuple[NDArray[np.intp], Array]:
        """Where each effect starts in the second: its values at the knots, the last once more, that of missing."""
        rows = [np.array([*np.transpose(e.values), [v[-1] for v in e.values], e.missing]) for e in self.effects]
        starts = np.cumsum([0, *(len(row) for row in rows)])[:-1]
        return starts.astype(np.intp), np.concatenate([*rows, np.zeros((1, 3))])

    def _chance(self, inputs: Array) -> Array:
        count, recency, tenure, rate, once, repeat = inputs.T
        x, T = np.maximum(count - 1.0, 0.0), np.maximum(tenure, 0.0) / self.unit_days
        t_x = np.clip(T - recency / self.unit_days, 0.0, T)
        alpha = np.exp(np.clip(self.base[0] + rate, -10.0, 10.0))
        left = np.where(x < 1, self.base[1] + once, self.base[2] + repeat)
        shape = self.r + x
        gone = left + shape * np.log((alpha + T) / (alpha + t_x))
        ahead = np.log1p(self.horizon_days / self.unit_days / (alpha + T))
        return _floats(expit(-gone) * -np.expm1(-shape * ahead))

    def contributions(self, matrix: NDArray[np.float32]) -> tuple[Array, float]:
        """What each feature adds to P(return), shape (n, features), and the reference customer's.

        Exact Shapley values over the three inputs and the three predictors; a predictor's is shared out among the
        features by what they add to it.
        """
        each = self.added(matrix)
        inputs = self._inputs(matrix, each)
        linear = inputs[:, 3:]
        reference = (*self.reference, 0.0, 0.0, 0.0)
        [gained], [base] = _shapley(inputs, reference, lambda known: self._chance(known)[None])
        contributions = np.zeros(matrix.shape)
        contributions[:, self.columns] = gained[:, :3]
        slope = np.divide(gained[:, 3:], linear, out=np.zeros_like(linear), where=np.abs(linear) > 1e-12)
        for number, effect in enumerate(self.effects):
            contributions[:, effect.column] += (each[:, number] * slope).sum(axis=1)
        return contributions, base


def _shapley(inputs: Array, reference: Sequence[float], measure: Callable[[Array], Array]) -> tuple[Array, list[float]]:
    """Exact Shapley values of each input, shape (measures, n, inputs), and the measures of the reference customer.

    `measure` takes inputs, shape (n, inputs), and returns measures, shape (measures, n).
    """
    players = len(reference)
    values = []
    for mask in range(2**players):
        known = np.array([mask >> player & 1 for player in range(players)], dtype=bool)
        values.append(measure(np.where(known, inputs, reference)))
    gained = np.zeros((*values[0].shape, players))
    for player in range(players):
        for mask in range(2**players):
            if not mask >> player & 1:
                size = mask.bit_count()
                weight = factorial(size) * factorial(players - size - 1) / factorial(players)
                gained[:, :, player] += weight * (values[mask | 1 << player] - values[mask])
    return gained, values[0][:, 0].tolist() if len(inputs) else [0.0] * len(gained)


@dataclass(frozen=True)
class Predictor:
    """A model ready to predict.

    Attributes
    ----------
    encoder
        Columns and vocabularies.
    hurdles
        XGBoost hurdles, averaged; empty for buy till you die alone.
    history
        Buy till you die; None for XGBoost alone.
    history_weight
        Share of `history` in either part, where there are hurdles beside it.
    about
        Facts of the model, as in ``model.json``: horizon_days, as_of_date, currency, shop_id, contract, ...
    value_interval
        Factors (low, high) around value_if_return which held the spend of those who returned, out of time.
    value_cap
        Largest value_if_return that is answered before `level`, a guard against runaway predictions.
    covariates
        BG/NBD with covariates; None if it has no say.
    covariate_weight
        Share of `covariates` in the P(return) of the hurdles; their value_if_return stays.
    level
        Factor on everybody's purchase rate which brings the shop's total to its forecast (see ``about["level"]``).
    percentiles
        Expected values of the scored shop at its 0th, 1st, ..., 100th percentile; empty if unknown.
    """

    encoder: Encoder
    hurdles: tuple[Hurdle, ...]
    about: Mapping[str, Any]
    value_interval: tuple[float, float]
    value_cap: float
    percentiles: tuple[float, ...] = ()
    features_sql: str = field(default="", repr=False)
    history: History | None = None
    history_weight: float = 0.0
    covariates: CovariateProcess | None = None
    covariate_weight: float = 0.0
    level: float = 1.0

    def predict_matrix(self, matrix: NDArray[np.float32], margins: tuple[Array, Array] | None = None) -> Parts:
        """Two-part answer for an encoded matrix, shape (n, features); `margins` are the forest's, if known already."""
        history = self.history.predict_parts(matrix) if self.history is not None else None
        found = history
        if self.hurdles:
            p, each = _answers(self.hurdles[0].form, *(margins or self.forest.margins(matrix)), history)
            found = Parts(p.mean(axis=1), _divided(each.mean(axis=1), p.mean(axis=1)))
            if self.covariates is not None:
                found = with_chance(found, self.covariates.p_return(matrix), self.covariate_weight)
            if history is not None:
                found = blend(found, history, self.history_weight)
        if found is None:
            raise ValueError("A predictor needs a hurdle or a history.")
        return at_level(Parts(found.p_return, np.minimum(found.value_if_return, self.value_cap)), self.level)

    @cached_property
    def forest(self) -> Forest:
        """All hurdles in one."""
        return Forest.of(self.hurdles)

    @property
    def _history_share(self) -> float:
        return self.history_weight if self.history is not None else 0.0

    @cached_property
    def _members(self) -> tuple[tuple[float, Hurdle | History], ...]:
        """Everything that is mixed, with its weight; the weights add up to 1."""
        own = self._history_share
        hurdles = [((1.0 - own) / len(self.hurdles), hurdle) for hurdle in self.hurdles]
        return (*hurdles, *([(own, self.history)] if self.history is not None else []))

    def predict_parts(self, frame: pd.DataFrame) -> Parts:
        """Two-part answer for a frame with the features as columns."""
        return self.predict_matrix(self.encoder.encode(frame))

    def contributions(self, matrix: NDArray[np.float32]) -> Contributions:
        """What each feature adds for an encoded matrix; about 1 ms a row, so ask for hundreds, not for a shop."""
        data = xgb.DMatrix(
            matrix,
            feature_names=list(self.encoder.features),
            feature_types=self.encoder.feature_types,
            enable_categorical=True,
        )
        offset = bool(self.hurdles) and self.hurdles[0].form == "offset" and self.history is not None
        start = self.history.margins(matrix) if offset and self.history is not None else None
        chances = self.covariates.contributions(matrix) if self.covariates is not None else None
        each = [
            (
                weight,
                self._with_chances(member.contributions(data, start), chances)
                if isinstance(member, Hurdle)
                else member.contributions(matrix),
            )
            for weight, member in self._members
            if weight > 0
        ]
        mixed = {
            part.name: sum(weight * getattr(one, part.name) for weight, one in each) for part in fields(Contributions)
        }
        if 0 < self._history_share < 1:  # a blend mixes either part, their product follows
            both = _joined(*(mixed[name] for name in ("p_return", "p_return_base", "value_if_return", "value_base")))
            mixed |= {"expected_value": both.expected_value, "expected_base": both.expected_base}
        # The level scales expected spend, and P(return) by the secant slope, as everywhere.
        mixed["expected_value"], mixed["expected_base"] = (
            self.level * mixed["expected_value"],
            self.level * mixed["expected_base"],
        )
        plain = np.column_stack([mixed["p_return"], np.full(len(matrix), mixed["p_return_base"])])
        mixed["p_return"], mixed["p_return_base"] = _plain(plain, lambda p: _p_at_level(p, self.level))
        # The value of several bags follows from the mean of the other two, and runaway ones are capped: what is missing
        # is shared out.
        parts = self.predict_matrix(matrix)
        mixed["value_if_return"] = _completed(mixed["value_if_return"], parts.value_if_return - mixed["value_base"])
        mixed["expected_value"] = _completed(mixed["expected_value"], parts.expected_value - mixed["expected_base"])
        return Contributions(**mixed)

    def _with_chances(self, trees: Contributions, chances: tuple[Array, float] | None) -> Contributions:
        """A hurdle's contributions with those of `covariates` to P(return) mixed in."""
        if chances is None:
            return trees
        own = self.covariate_weight
        p = (1.0 - own) * trees.p_return + own * chances[0]
        p_base = (1.0 - own) * trees.p_return_base + own * chances[1]
        return _joined(p, p_base, trees.value_if_return, trees.value_base)

    def columns(self, parts: Parts) -> dict[str, Array]:
        """All the answer's columns: the parts, the interval of value_if_return, the percentile."""
        low, high = self.value_interval
        expected = parts.expected_value
        return {
            "p_return": parts.p_return,
            "value_if_return": parts.value_if_return,
            "expected_value": expected,
            "value_if_return_low": parts.value_if_return * low,
            "value_if_return_high": parts.value_if_return * high,
            "percentile": self.percentile(expected),
        }

    def table(self, parts: Parts) -> pd.DataFrame:
        """The same as a frame."""
        return pd.DataFrame(self.columns(parts))

    def percentile(self, expected_value: Array) -> Array:
        """Share of the scored shop's customers at or below, 0 to 100; NaN if the shop has not been scored."""
        return percentile(expected_value, self._percentiles)

    @cached_property
    def _percentiles(self) -> Array:
        return np.asarray(self.percentiles)

    def save(self, folder: Path) -> None:
        """Write the model folder, this file included."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, hurdle in enumerate(self.hurdles):
            # Written by us: where the disk is full, XGBoost's own writer tells no OSError.
            (folder / f"p_return-{number}.ubj").write_bytes(hurdle.p_return.save_raw("ubj"))
            (folder / f"value-{number}.ubj").write_bytes(hurdle.value.save_raw("ubj"))
        description = {
            "features": list(self.encoder.features),
            "vocabulary": {name: list(values) for name, values in self.encoder.vocabulary.items()},
            "hurdles": len(self.hurdles),
            "form": self.hurdles[0].form if self.hurdles else "hurdle",
            "history": asdict(self.history) if self.history is not None else None,
            "history_weight": self.history_weight,
            "covariates": asdict(self.covariates) if self.covariates is not None else None,
            "covariate_weight": self.covariate_weight,
            "level": self.level,
            "about": dict(self.about),
            "value_interval": list(self.value_interval),
            "value_cap": self.value_cap,
            "percentiles": list(self.percentiles),
        }
        (folder / "model.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
        (folder / "features.sql").write_text(self.features_sql, encoding="utf-8")
        (folder / "predictor.py").write_bytes(Path(__file__).read_bytes())

    @classmethod
    def load(cls, folder: Path) -> Predictor:
        """Read a model folder; each booster predicts with one thread, as a service wants it."""
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return cls(
            encoder=Encoder(
                tuple(description["features"]),
                {name: tuple(values) for name, values in description["vocabulary"].items()},
            ),
            hurdles=tuple(
                Hurdle(
                    _booster(folder / f"p_return-{number}.ubj"),
                    _booster(folder / f"value-{number}.ubj"),
                    description["form"],
                )
                for number in range(description["hurdles"])
            ),
            about=description["about"],
            value_interval=(description["value_interval"][0], description["value_interval"][1]),
            value_cap=description["value_cap"],
            percentiles=tuple(description["percentiles"]),
            features_sql=(folder / "features.sql").read_text(encoding="utf-8"),
            history=_history(description["history"]),
            history_weight=description["history_weight"],
            covariates=_covariates(description["covariates"]),
            covariate_weight=description["covariate_weight"],
            level=description["level"],
        )


def _answers(form: str, p_margin: Array, margin: Array, start: Parts | None) -> tuple[Array, Array]:
    """p_return and expected_value of each bag from the margins of its boosters, all of shape (n, bags)."""
    if form == "offset":
        if start is None:
            raise ValueError("An offset model needs what buy till you die says.")
        p_start, value_start = start_margins(start)
        p_margin, margin = p_margin + p_start[:, None], margin + value_start[:, None]
    p, spend = expit(p_margin), np.exp(margin)
    return p, spend if form == "tweedie" else p * spend


def _joined(p: Array, p_base: float, value: Array, value_base: float) -> Contributions:
    """The contributions to both parts, and to their product by the two-player product rule."""
    p_sum = p_base + p.sum(axis=1, keepdims=True)
    value_sum = value_base + value.sum(axis=1, keepdims=True)
    expected = p * (value_sum + value_base) / 2 + value * (p_sum + p_base) / 2
    return Contributions(p, value, expected, p_base, value_base, p_base * value_base)


def start_margins(parts: Parts) -> tuple[Array, Array]:
    """The margins that ``offset`` starts from: log odds of returning and log of the spend of those who do."""
    p = np.clip(parts.p_return, 1e-6, 1 - 1e-6)
    return logit(p), np.log(np.maximum(parts.value_if_return, 1e-9))  # a logarithm of 0 would be infinite


def _divided(expected: Array, p_return: Array) -> Array:
    value: Array = np.divide(expected, p_return, out=np.zeros_like(expected), where=p_return > 0)
    return value


def _plain(contributions: Array, link: Callable[[Array], Array]) -> tuple[Array, float]:
    """Margin contributions (the last column is the base) in the units of the prediction, and their base."""
    base = contributions[:, -1:]
    total = contributions[:, :-1].sum(axis=1, keepdims=True)
    gained = link(base + total) - link(base)
    slope = np.divide(gained, total, out=np.zeros_like(total), where=np.abs(total) > 1e-12)
    return contributions[:, :-1] * slope, float(link(base[:1])[0, 0]) if len(base) else 0.0


def _completed(contributions: Array, total: Array) -> Array:
    """Contributions that add up to `total`, shape (n,): what is missing goes to each by its size."""
    size = np.abs(contributions) + 1e-12
    share = size / size.sum(axis=1, keepdims=True)
    completed: Array = contributions + (total - contributions.sum(axis=1))[:, None] * share
    return completed


def _history(description: Mapping[str, Any] | None) -> History | None:
    if description is None:
        return None
    model, calibration = description["model"], description["calibration"]
    return History(
        BuyTillYouDie(
            PurchaseProcess(**model["purchases"]), Spend(**model["spend"]), model["horizon_days"], model["value_cap"]
        ),
        tuple(description["columns"]),
        tuple(description["reference"]),
        Calibration(**calibration) if calibration is not None else None,
    )


def _covariates(description: Mapping[str, Any] | None) -> CovariateProcess | None:
    if description is None:
        return None
    effects = tuple(Effect(**effect) for effect in description["effects"])
    return CovariateProcess(**{**description, "effects": effects})


def _floats(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def _chunks(values: NDArray[_Kind], size: int = 4096) -> list[NDArray[_Kind]]:
    """Pieces small enough for what is made of them to stay in the cache."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def _booster(path: Path) -> xgb.Booster:
    booster = xgb.Booster()
    booster.load_model(path)
    booster.set_param({"nthread": 1})
    return booster
