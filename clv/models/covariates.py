"""BG/NBD with covariates, the fitting side: rates of purchase and chances to have left that depend on the features.

Whether somebody came back is a coin's single throw; the chance behind it is what a learner is after. BG/NBD gives that
chance a form: a customer buys at a rate of their own, and the longer the silence compared with that rate, the likelier
they have left. Trees have to find that form out, cell by cell, and need many customers to do so. Here it is given, and
the features say how it differs from customer to customer: the rate (log alpha) and the log-odds of having left after
the last purchase, for one-time and repeat buyers, are sums of one effect per feature. Everything is fitted to the
labels. Covariates in BG/NBD: Fader and Hardie, "Incorporating time-invariant covariates into the Pareto/NBD and BG/NBD
models" (2007); what is not theirs is the fit to who returned, and free log-odds in place of a Beta distribution.

Most features say nothing and a few say much, so that the coefficients of a feature are penalised together, by their
length: the group lasso of Yuan and Lin, "Model selection and estimation in regression with grouped variables" (2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from clv.predictor import Array, CovariateProcess, Effect, Encoder

PENALTIES = tuple(50 * 2 ** (-step / 2) for step in range(12))
"""Penalties of the effects to choose from, strongest first: held-out customers say how much features matter."""

SMALL = 0.03
"""Below it, the length of a feature's coefficients counts by its square: the penalty has no corner at zero."""

SHARED_SD = 2.0
"""Standard deviation of what all customers share: weak, it matters where hardly anybody returned."""

ROUNDS = 40
"""Most iterations of the fit; it has long been good enough then."""

MOST_ROWS = 30_000
"""Rows it is fitted to, returners first; there are a few hundred coefficients."""

MOST_CELLS = 60_000_000
"""Numbers in the design, which is held in memory: with thousands of categories it is fitted to fewer rows."""

PIECES = 3
"""A number's effect is a continuous line of so many pieces between its quantiles."""

FEW_VALUES = 12
"""With at most so many different values, a number has a piece between each and the next."""


@dataclass(frozen=True)
class _Covariate:
    """A feature in the design: a column for missing, if it ever is, then one for each category or piece.

    Attributes
    ----------
    column
        Its position in the encoded matrix.
    knots
        Codes of a category, ends of a number's pieces.
    """

    column: int
    knots: NDArray[np.float32]
    is_category: bool
    is_ever_missing: bool

    @property
    def width(self) -> int:
        """Its columns."""
        return len(self.knots) - (not self.is_category) + self.is_ever_missing

    def design(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Columns between 0 and 1, shape (n, width)."""
        values = matrix[:, [self.column]]
        missing = np.isnan(values)
        if self.is_category:
            columns = (values == self.knots).astype(np.float32)
        else:
            low, high = self.knots[:-1], self.knots[1:]
            columns = np.clip((np.where(missing, low[:1], values) - low) / (high - low), 0, 1)
        return np.hstack([missing.astype(np.float32), columns]) if self.is_ever_missing else columns

    def effect(self, coefficients: Array, mean: Array) -> Effect:
        """The effect of coefficients, shape (3, coefficients), from its mean; what was never missing has none then."""
        missing, rest = np.split(coefficients, [int(self.is_ever_missing)], axis=1)
        if not self.is_category:
            rest = np.hstack([np.zeros((3, 1)), np.cumsum(rest, axis=1)])
        return Effect(
            self.column,
            tuple(self.knots.tolist()),
            tuple(tuple(values) for values in (rest - mean[:, None]).tolist()),
            tuple((missing[:, 0] - mean if self.is_ever_missing else np.zeros(3)).tolist()),
        )


@dataclass(frozen=True)
class _Rows:
    """Customers to learn from: covariates, history in units of a mean one, label, and how many each stands for.

    Attributes
    ----------
    design
        In Fortran's order: it is multiplied with one vector after another.
    widths
        Columns of the design that belong to each feature.
    horizon
        Length of the label window, in the same units as the history.
    """

    design: NDArray[np.float32]
    widths: Sequence[int]
    horizon: float
    x: Array
    t_x: Array
    T: Array
    is_return: NDArray[np.bool_]
    weight: Array

    @property
    def by_history(self) -> tuple[slice, slice]:
        """One-time buyers, who come first, and repeat buyers."""
        one_time = int((self.x == 0).sum())
        return slice(one_time), slice(one_time, None)

    def without(self, held_out: NDArray[np.bool_]) -> _Rows:
        """The same, but nothing is learnt from some of them."""
        return replace(self, weight=np.where(held_out, 0.0, self.weight))


@dataclass(frozen=True)
class FittedCovariates:
    """A fitted process, and the rows it was fitted to.

    Attributes
    ----------
    process
        What predicts.
    chosen
        Positions of the m labelled snapshots that it was fitted to.
    """

    process: CovariateProcess
    chosen: NDArray[np.intp]
    _rows: _Rows
    _coefficients: Array
    _penalty: float

    @property
    def weight(self) -> Array:
        """How many snapshots each of them stands for, shape (m,)."""
        return self._rows.weight

    def held_out(self, fold: NDArray[np.intp]) -> Array:
        """P(return) of each row by a fit that did not see the customers of its fold; `fold` has shape (m,)."""
        p = np.empty(len(fold))
        with _one_blas_thread():
            for own in (fold == number for number in np.unique(fold)):
                # it starts where the fit to all ended: after so many rounds next to nothing is left of that
                found = _fit(self._coefficients, self._rows.without(own), self._penalty)
                p[own] = _chances(found, self._rows)[0][own]
        return p


def fit_covariates(
    encoder: Encoder,
    matrix: NDArray[np.float32],
    is_return: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    *,
    horizon_days: int,
    seed: int,
) -> FittedCovariates | None:
    """Fit; None if fewer returned than are needed to learn from some and to judge by others.

    Parameters
    ----------
    matrix, is_return
        Encoded labelled snapshots, and who of them returned, shape (n,).
    held_out
        Rows of the customers that say how much features matter, shape (n,).
    horizon_days
        Length of the label window.
    seed
        Seed of the choice of rows, where there are very many.
    """
    if not is_return[held_out].any() or not is_return[~held_out].any():
        return None
    widest = (FEW_VALUES + 1) * len(encoder.features) + sum(map(len, encoder.vocabulary.values()))
    chosen, weight = _some_rows(is_return, min(MOST_ROWS, MOST_CELLS // widest), seed)
    columns = [encoder.features.index(name) for name in CovariateProcess.FEATURES]
    by_history = np.argsort(matrix[chosen, columns[0]] > 1, kind="stable")
    chosen, weight = chosen[by_history], weight[by_history]
    matrix, is_return, held_out = matrix[chosen], is_return[chosen], held_out[chosen]
    count, recency, tenure = matrix[:, columns].T.astype(np.float64)
    reference = [float(np.average(column, weights=weight)) for column in (count, recency, tenure)]
    unit = max(reference[2], 1.0)
    covariates = _covariates(encoder, matrix)
    ends = np.cumsum([one.width for one in covariates], dtype=int)
    slices = [slice(end - one.width, end) for one, end in zip(covariates, ends, strict=True)]
    design = np.empty((len(matrix), sum(one.width for one in covariates)), np.float32, order="F")  # large: not copied
    for one, where in zip(covariates, slices, strict=True):
        design[:, where] = one.design(matrix)
    widths, horizon = [one.width for one in covariates], horizon_days / unit
    rows = _Rows(design, widths, horizon, count - 1, (tenure - recency) / unit, tenure / unit, is_return, weight)
    with _one_blas_thread():
        coefficients, penalty = _fit_best(rows, held_out)
    means = (weight.astype(np.float32) @ design / weight.sum()).astype(np.float64)
    base, effects = coefficients[1:4], []
    for one, where in zip(covariates, slices, strict=True):
        own = coefficients[4:].reshape(3, -1)[:, where]
        mean = own @ means[where]
        base = base + mean
        effects.append(one.effect(own, mean))
    process = CovariateProcess(
        r=float(np.exp(coefficients[0])),
        base=(float(base[0]), float(base[1]), float(base[2])),
        unit_days=unit,
        horizon_days=horizon_days,
        columns=(columns[0], columns[1], columns[2]),
        reference=(reference[0], reference[1], reference[2]),
        effects=tuple(effects),
    )
    return FittedCovariates(process, chosen, rows, coefficients, penalty)


def _some_rows(is_return: NDArray[np.bool_], limit: int, seed: int) -> tuple[NDArray[np.intp], Array]:
    """At most `limit`, half of them returners where there are as many, and what each row stands for."""
    rng = np.random.default_rng(seed)
    returners, others = np.flatnonzero(is_return), np.flatnonzero(~is_return)
    most = max(limit // 2, limit - len(others))
    some = [_some(returners, most, rng)]
    some.append(_some(others, limit - len(some[0]), rng))
    rows = np.concatenate(some)
    stands_for = [len(every) / max(len(own), 1) for every, own in zip((returners, others), some, strict=True)]
    order = np.argsort(rows)
    return rows[order], np.repeat(stands_for, [len(own) for own in some])[order]


def _some(rows: NDArray[np.intp], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return rows if len(rows) <= most else rng.choice(rows, size=most, replace=False)


def _covariates(encoder: Encoder, matrix: NDArray[np.float32]) -> list[_Covariate]:
    """Every feature that differs between customers, but for those the process has a form for."""
    found = []
    for column, name in enumerate(encoder.features):
        values = matrix[:, column]
        known = np.unique(values[~np.isnan(values)])
        if name in CovariateProcess.FEATURES or len(known) == 0:
            continue
        if name in encoder.vocabulary:
            knots = np.arange(len(encoder.vocabulary[name]), dtype=np.float32)
        elif len(known) <= FEW_VALUES:
            knots = known
        else:
            shares = np.linspace(0, 1, PIECES + 1)
            knots = np.unique(np.nanquantile(values, shares).astype(np.float32))
        found.append(_Covariate(column, knots, name in encoder.vocabulary, bool(np.isnan(values).any())))
    return [one for one in found if one.is_ever_missing or len(one.knots) > 1]


def _one_blas_thread() -> threadpool_limits:
    """For inner products of short vectors: on a busy machine BLAS threads make them ten times slower."""
    return threadpool_limits(1, user_api="blas")


def _fit_best(rows: _Rows, held_out: NDArray[np.bool_]) -> tuple[Array, float]:
    """Fit with the penalty that held-out customers are best told with; each fit starts where the one before ended."""
    learnt, judged = rows.without(held_out), rows.without(~held_out).weight
    coefficients = best = np.concatenate([[0.0, 1.0], np.zeros(2 + 3 * rows.design.shape[1])])
    best_penalty, lowest = PENALTIES[0], np.inf
    for penalty in PENALTIES:
        coefficients = _fit(coefficients, learnt, penalty)
        p, _ = _chances(coefficients, rows)
        loss = -float(judged @ np.log(np.where(rows.is_return, p, 1 - p)))
        if loss >= lowest:
            break
        best, best_penalty, lowest = coefficients, penalty, loss
    return _fit(best, rows, best_penalty), best_penalty


def _chances(coefficients: Array, rows: _Rows) -> tuple[Array, tuple[Array, ...]]:
    """P(return), and what its gradient is made of.

    The rate is Gamma(r + x, alpha + T) given that the customer is still there, as in BG/NBD.
    """
    # One product after another: BLAS takes longer for a product with three vectors at once.
    of_alpha, of_one_time, of_repeat = coefficients[4:].astype(np.float32).reshape(3, -1)
    r = np.exp(np.clip(coefficients[0], -10, 10))
    alpha = np.exp(np.clip(coefficients[1] + rows.design @ of_alpha, -10, 10))
    one_time, repeat = (rows.design[own] for own in rows.by_history)
    left = np.concatenate([coefficients[2] + one_time @ of_one_time, coefficients[3] + repeat @ of_repeat])
    shape = r + rows.x
    silence = np.log((alpha + rows.T) / (alpha + rows.t_x))
    gone = left + shape * silence  # log-odds
    ahead = np.log1p(rows.horizon / (alpha + rows.T))
    p = np.clip(expit(-gone) * -np.expm1(-shape * ahead), 1e-9, 1 - 1e-9)
    return p, (r, alpha, shape, silence, gone, ahead)


def _fit(start: Array, rows: _Rows, penalty: float) -> Array:
    """Log r; log alpha; log-odds of having left, one-time and repeat buyers; coefficients of the three."""
    t_x, T, horizon = rows.t_x, rows.T, rows.horizon
    is_return, weight = rows.is_return, rows.weight
    total = weight.sum()
    lengths = np.tile(np.array(rows.widths, dtype=int), 3)
    starts, of_group = np.cumsum(lengths) - lengths, np.repeat(np.arange(len(lengths)), lengths)

    def loss(coefficients: Array) -> tuple[float, Array]:
        p, (r, alpha, shape, silence, gone, ahead) = _chances(coefficients, rows)
        value = -weight @ np.log(np.where(is_return, p, 1 - p))
        d_log_p = -weight * (is_return - p) / (1 - p)
        d_gone = -expit(gone) * d_log_p
        none = np.exp(-shape * ahead)  # P(no purchase | still there)
        d_ahead = d_log_p * none / np.maximum(1 - none, 1e-12)  # of shape * ahead
        d_alpha = shape * (
            d_gone * (alpha / (alpha + T) - alpha / (alpha + t_x))
            - d_ahead * alpha * horizon / ((alpha + T) * (alpha + T + horizon))
        )
        d_linear = [(rows.design, d_alpha), *((rows.design[own], d_gone[own]) for own in rows.by_history)]
        gradient = np.concatenate(
            [
                [r * float(d_gone @ silence + d_ahead @ ahead)],
                [each.sum() for _, each in d_linear],
                *(each.astype(np.float32) @ design for design, each in d_linear),
            ]
        )
        shared, effects = coefficients[:4], coefficients[4:]
        norm = np.sqrt(np.add.reduceat(effects**2, starts) + SMALL**2)
        value += 0.5 * float(shared @ shared) / SHARED_SD**2 + penalty * float(np.sqrt(lengths) @ norm)
        gradient += np.concatenate([shared / SHARED_SD**2, (penalty * np.sqrt(lengths) / norm)[of_group] * effects])
        return value / total, gradient / total

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS})
    return np.asarray(found.x, dtype=np.float64)
