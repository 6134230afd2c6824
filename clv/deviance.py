"""How well predictions explain what each customer spent: a second judge where the Gini of a small shop is blurred.

The normalized Gini of a few hundred returners hangs on the largest of them. The deviance of a Tweedie distribution
(power 1.5: gamma-distributed amounts, a random number of times) is least, in the mean, for who predicts everybody's
expected spend, and it also sees whether the best are far enough from the rest. Sources: Jørgensen, *The Theory of
Dispersion Models* (1997), chapter 4; Gneiting, "Making and evaluating point forecasts" (2011), for scores that the mean
is best at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from clv.bootstrap import LEVEL, Difference, Outcome
from clv.predictor import Array, Parts

POWER = 1.5
SMALLEST_SHARE = 1e-9
"""A prediction counts as at least this share of the mean one."""


def explained(candidate: Sequence[Parts], reference: Sequence[Parts], outcomes: Sequence[Outcome]) -> Difference:
    """How much less a candidate's deviance is than a reference's, a customer, in units of the spend of a window.

    Predictions are brought to the total that was spent: who spends is judged here, not how much all do together. A
    customer who is in several windows counts as one in the standard error.

    Parameters
    ----------
    candidate, reference
        What each predicts of every window's customers.
    outcomes
        What happened; windows in which nobody spent are left out.
    """
    gains = [
        (o.customer_id, _utility(one, o.future_value) - _utility(other, o.future_value))
        for one, other, o in zip(candidate, reference, outcomes, strict=True)
        if o.future_value.sum() > 0
    ]
    if not gains:
        return Difference(float("nan"), float("nan"), float("nan"), "not distinguishable")
    gain = np.concatenate([gain for _, gain in gains])
    customer, _ = pd.factorize(np.concatenate([np.asarray(ids, dtype=object) for ids, _ in gains]))
    mean = float(gain.mean())
    error = float(np.sqrt(np.sum(np.bincount(customer, gain - mean) ** 2))) / len(gain)
    wide = float(norm.ppf((1 + LEVEL) / 2)) * error
    low, high = mean - wide, mean + wide
    return Difference(mean, low, high, "better" if low > 0 else "worse" if high < 0 else "not distinguishable")


def _utility(parts: Parts, spent: Array) -> Array:
    """Half the deviance of each customer, with the other sign and less what is the same for all predictions."""
    actual = spent / spent.mean()
    score = parts.expected_value
    level = score.mean() or 1.0
    expected = np.maximum(score / level, SMALLEST_SHARE)
    return np.asarray(actual * expected ** (1 - POWER) / (1 - POWER) - expected ** (2 - POWER) / (2 - POWER))
