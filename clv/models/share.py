"""How large a share of P(return) BG/NBD with covariates deserves: held-out customers say it.

Each customer is judged by bags of trees and by a fit of the covariates that did not see them. Whose chances make what
the customers did more likely is told by a proper score, the log of the chance given to what happened (Gneiting and
Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007). It needs no later cutoff: the customers
are others, so that every label counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from clv.bootstrap import LEVEL
from clv.models.covariates import FittedCovariates
from clv.models.hurdle import CUSTOMER_FOLDS
from clv.models.recipe import COVARIATE_WEIGHT, MORE_COVARIATES
from clv.predictor import Array, Hurdle

SMALLEST_CHANCE = 1e-9


def covariate_share(
    covariates: FittedCovariates,
    hurdles: Sequence[Hurdle],
    matrix: NDArray[np.float32],
    is_return: NDArray[np.bool_],
    customer_id: NDArray[Any],
    fold: NDArray[np.intp],
) -> float:
    """``MORE_COVARIATES`` if held-out customers say beyond noise that it is better than ``COVARIATE_WEIGHT``.

    Parameters
    ----------
    hurdles
        Bag k held out the customers of fold k; with fewer bags than folds nobody can judge, and the share is the
        smaller one.
    matrix, is_return, customer_id, fold
        The n labelled snapshots that both were fitted to, and the fold of their customers.
    """
    if len(hurdles) < CUSTOMER_FOLDS:
        return COVARIATE_WEIGHT
    rows = covariates.chosen
    own = fold[rows]
    trees = np.empty(len(rows))
    for number, hurdle in enumerate(hurdles[:CUSTOMER_FOLDS]):
        trees[own == number] = hurdle.predict_parts(matrix[rows[own == number]]).p_return
    gain = covariates.weight * gained(trees, covariates.held_out(own), is_return[rows])
    return MORE_COVARIATES if is_beyond_noise(gain, customer_id[rows]) else COVARIATE_WEIGHT


def gained(trees: Array, covariates: Array, is_return: NDArray[np.bool_]) -> Array:
    """How much more likely the larger share makes what each of n customers did than the smaller one, as a logarithm."""

    def score(weight: float) -> Array:
        p = np.clip((1 - weight) * trees + weight * covariates, SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
        return np.asarray(np.log(np.where(is_return, p, 1 - p)))

    return score(MORE_COVARIATES) - score(COVARIATE_WEIGHT)


def is_beyond_noise(gain: Array, customer_id: NDArray[Any]) -> bool:
    """Whether the interval of the sum of gains, shape (n,), lies above 0; what one customer gains counts as one."""
    customer, _ = pd.factorize(customer_id)
    of_customer = np.bincount(customer, gain)
    return bool(gain.sum() > norm.ppf((1 + LEVEL) / 2) * np.sqrt(np.sum(of_customer**2)))
