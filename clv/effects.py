"""Additive effects on a logarithm, each with a Gaussian prior, fitted to counts.

An effect is a curve: values at knots, linear in between, and a Gaussian process as prior of the values. What the data
can't tell about it stays as uncertain as the prior is wide. Sources: Wood, *Generalized Additive Models* (2017),
sections 4.2 and 5.8, for penalised regression and its Bayesian reading; Rasmussen and Williams, *Gaussian Processes*
(2006), section 3.4 for Laplace's approximation and 4.2 for the covariances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clv.predictor import Array

_LARGEST_LOG = 60.0
_JITTER = 1e-4


@dataclass(frozen=True)
class Effect:
    """One block of coefficients.

    Attributes
    ----------
    design
        What each coefficient adds to the logarithm of each cell, shape (cells, coefficients).
    mean, covariance
        Prior of the coefficients.
    """

    design: sparse.csr_array
    mean: Array
    covariance: Array

    @cached_property
    def precision(self) -> Array:
        """Inverse of the covariance."""
        return np.asarray(np.linalg.inv(self.covariance), dtype=np.float64)

    @cached_property
    def half_log(self) -> float:
        """Half the log determinant of the precision."""
        return float(0.5 * np.linalg.slogdet(self.precision)[1])


def curve(x: Array, points: Array, covariance: Array, *, periodic: bool = False) -> Effect:
    """Effect of `x`: a curve through values at knots, `points`; where periodic, the last one is the first one again.

    Parameters
    ----------
    x
        Of each cell, shape (cells,); beyond the knots the curve is level.
    points
        Ascending, shape (knots,).
    covariance
        Prior of the values at the knots, of each once.
    """
    left = np.clip(np.searchsorted(points, x, side="right") - 1, 0, len(points) - 2)
    share = np.clip((x - points[left]) / (points[left + 1] - points[left]), 0.0, 1.0)
    width = len(points) - 1 if periodic else len(points)
    rows = np.tile(np.arange(len(x)), 2)
    columns = np.concatenate([left, (left + 1) % width])
    design = sparse.coo_array((np.concatenate([1 - share, share]), (rows, columns)), (len(x), width))
    return Effect(sparse.csr_array(design), np.zeros(width), covariance + _JITTER * np.diag(np.diag(covariance)))


def knots(first: float, last: float, step: float) -> Array:
    """Knots up to `last`, from `first` or before, never fewer than two."""
    back: Array = np.arange(max(2, int(np.ceil((last - first) / step)) + 1), dtype=np.float64)[::-1]
    return last - step * back


def smooth(points: Array, length: float) -> Array:
    """Covariance of a smooth curve that forgets over `length`, with variance 1."""
    return np.asarray(np.exp(-0.5 * ((points[:, None] - points) / length) ** 2), dtype=np.float64)


def drift(points: Array, length: float) -> Array:
    """Covariance of a rough curve that comes back to 0 over `length`, with variance 1."""
    return np.asarray(np.exp(-np.abs(points[:, None] - points) / length), dtype=np.float64)


@dataclass(frozen=True)
class Posterior:
    """What is known of the coefficients.

    Attributes
    ----------
    mode
        Most probable coefficients.
    precision
        Inverse of their covariance.
    log_evidence
        Logarithm of the probability of the counts under the prior, up to a constant: how well it explains them.
    """

    mode: Array
    precision: Array
    log_evidence: float


class Regression:
    """Quasi-Poisson regression on additive effects.

    Parameters
    ----------
    effects
        By name.
    seen
        Which cells have been counted.
    counts, exposure
        Of the cells that have been counted, and of all cells.
    """

    def __init__(self, effects: Mapping[str, Effect], seen: NDArray[np.bool_], counts: Array, exposure: Array) -> None:
        self.effects, self.counts, self.offset = effects, counts, np.log(exposure)
        self.design = sparse.hstack([effect.design for effect in effects.values()], format="csr")
        self.mean = np.concatenate([effect.mean for effect in effects.values()])
        ends = np.cumsum([len(effect.mean) for effect in effects.values()])
        self.place = {name: slice(end - len(effects[name].mean), end) for name, end in zip(effects, ends, strict=True)}
        self._past, self._past_offset = self.design[seen], self.offset[seen]
        self._turned = self._past.T.tocsr()
        self._products = _products(self._past)

    def expected(self, coefficients: Array) -> Array:
        """Expected count of every cell, seen or not."""
        return np.asarray(np.exp(self.design @ coefficients + self.offset), dtype=np.float64)

    def fit(self, sds: Mapping[str, float], dispersion: float, start: Array) -> Posterior:
        """Find the posterior mode by Newton's method, and Laplace's approximation around it.

        Parameters
        ----------
        sds
            Factors on the standard deviation of some effects.
        dispersion
            Variance of a count over its mean.
        start
            Coefficients to start from.
        """
        prior, half_log = self._prior(sds)
        counts, offset = self.counts / dispersion, self._past_offset - np.log(dispersion)

        def log_posterior(theta: Array) -> float:
            log_mean = self._past @ theta + offset
            away = theta - self.mean
            mass = np.exp(np.minimum(log_mean, _LARGEST_LOG)).sum()
            return float(counts @ log_mean - mass - 0.5 * away @ prior @ away)

        def curvature(theta: Array) -> tuple[Array, Array]:
            expected = np.exp(np.minimum(self._past @ theta + offset, _LARGEST_LOG))
            hessian = (self._products @ expected).reshape(prior.shape) + prior
            return hessian, self._turned @ (counts - expected) - prior @ (theta - self.mean)

        theta, value = start, log_posterior(start)
        for _ in range(50):
            hessian, gradient = curvature(theta)
            step, size = np.linalg.solve(hessian, gradient), 1.0
            while (better := log_posterior(theta + size * step)) < value and size > 1e-6:
                size /= 2
            theta, gained, value = theta + size * step, better - value, better
            if gained < 1e-4:
                break
        hessian, _ = curvature(theta)
        return Posterior(theta, hessian, value + half_log - 0.5 * float(np.linalg.slogdet(hessian)[1]))

    def _prior(self, sds: Mapping[str, float]) -> tuple[Array, float]:
        """Precision of all coefficients, and half its log determinant."""
        precision, half_log = np.zeros((len(self.mean), len(self.mean))), 0.0
        for name, effect in self.effects.items():
            sd = sds.get(name, 1.0)
            precision[self.place[name], self.place[name]] = effect.precision / sd**2
            half_log += effect.half_log - len(effect.mean) * np.log(sd)
        return precision, half_log


def _products(design: sparse.csr_array) -> sparse.csr_array:
    """Products of each cell's entries, two by two: times weights of the cells it is ``X' W X``, row after row.

    Every cell has the same number of entries, those of its curves' two knots and of what is not a curve.
    """
    cells, width = design.shape
    entries = design.nnz // max(cells, 1)
    columns, values = design.indices.reshape(cells, entries), design.data.reshape(cells, entries)
    place = columns[:, :, None].astype(np.int64) * width + columns[:, None, :]
    product = values[:, :, None] * values[:, None, :]
    cell = np.broadcast_to(np.arange(cells)[:, None, None], place.shape)
    return sparse.csr_array(
        sparse.coo_array((product.ravel(), (place.ravel(), cell.ravel())), shape=(width * width, cells))
    )
