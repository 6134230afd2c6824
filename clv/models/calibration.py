"""How much of the differences in spend that Gamma-Gamma foretells comes true: labels say it.

Gamma-Gamma takes it that a customer's amounts are drawn from one distribution for good, so that who bought dearly will
buy dearly again. Where a second purchase is often of another kind, little of that comes true; those who returned show
how much. The logarithm of the spend foretold is given a slope and an intercept, which is how a prediction is
recalibrated (Cox, "Two further applications of a model for binary regression", 1958; Steyerberg, *Clinical Prediction
Models*, 2009, chapter 15: a slope below 1 tells of predictions that are too extreme).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from clv.models.hurdle import SMALLEST_SPEND
from clv.predictor import Array, Calibration

FEWEST = 20
"""Returners to learn from. With fewer, Gamma-Gamma is taken at its word."""

SLOPE_SD = 0.5
"""Standard deviation of the slope around 1 before any label is seen: it weighs as much as a dozen returners."""


def fit_calibration(foretold: Array, spent: Array) -> Calibration | None:
    """Fit to those who returned, by gamma regression with a logarithmic link.

    The slope stays between 0 and 1: differences are damped, never widened.

    Parameters
    ----------
    foretold
        value_if_return of n customers who returned.
    spent
        What they spent in the window, shape (n,).

    Returns
    -------
    Calibration or None
        None with fewer than ``FEWEST``, or where nothing was spent or foretold.
    """
    if len(spent) < FEWEST or spent.sum() <= 0 or foretold.sum() <= 0:
        return None
    unit, mean = float(foretold.mean()), float(spent.mean())
    # of nothing there is no logarithm
    z = np.log(np.maximum(foretold / unit, SMALLEST_SPEND))
    y = np.maximum(spent / mean, SMALLEST_SPEND)
    away, n = z - z.mean(), len(z)

    def loss(slope: float) -> float:
        # minus the log-likelihood, the intercept at its best, and a normal prior
        return float(n * np.log(np.mean(y * np.exp(-slope * away))) + 0.5 * ((slope - 1) / SLOPE_SD) ** 2)

    slope = float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)
    return Calibration(slope, unit, mean * float(np.mean(y * np.exp(-slope * z))))
