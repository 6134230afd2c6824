"""All metrics of one prediction, by name: what a bootstrap's replicate or a backtest's cell must agree with."""

import numpy as np
from numpy.typing import ArrayLike

from clv.metrics import METRICS, Scorecard, Weights
from clv.predictor import Parts


def evaluate(
    parts: Parts, is_return: ArrayLike, future_value: ArrayLike, weights: Weights | None = None
) -> dict[str, float]:
    """Every metric of ``METRICS``; each customer weighs 1 by default."""
    weight = np.ones(len(parts.p_return)) if weights is None else weights
    values = Scorecard(parts, is_return, future_value).metrics(weight)
    return dict(zip(METRICS, values.tolist(), strict=True))
