"""When to give up a trial: as soon as it ranks customers worse than the best trial of its family, beyond noise.

Optuna's pruners know a number a fold. Trials are tested on the same customers, though, so that their difference is much
better known than either's result, and how well it is known can be told from a single fold: on a large shop a poor
recipe is seen after the first one, on a shop with few returners nothing is given up by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np

from clv.metrics import Floats, normalized_gini

NOISE = 1.5
"""Standard errors by which a trial must be worse: by the normal distribution, one that is as good is given up by chance
in 7 of 100 looks. Chosen between 1.5 and 2 on the data of `benchmarks.tuning`; what it costs in quality on a real shop
was not measured."""


class Rivals:
    """The best finished trial of each family, with what it predicted; shared by trials under way in parallel."""

    def __init__(self) -> None:
        self._best: dict[str, tuple[float, list[Floats]]] = {}
        self._lock = Lock()

    def outdo(self, family: str, actual: Sequence[Floats], scores: Sequence[Floats]) -> bool:
        """Whether the family's best trial ranks better than this one, beyond noise, over the folds this one has seen.

        Parameters
        ----------
        family
            Only trials of one family are rivals: what comes of another is mixed with something else in the end.
        actual
            What the customers of the first folds spent.
        scores
            What the trial predicted of them.
        """
        with self._lock:
            found = self._best.get(family)
        if found is None:
            return False
        pairs = [difference(value, *two) for value, *two in zip(actual, scores, found[1], strict=False)]
        mean = np.mean([estimate for estimate, _ in pairs])
        error = np.sqrt(np.sum([error**2 for _, error in pairs])) / len(pairs)
        return bool(mean < -NOISE * error)

    def finished(self, family: str, gini: float, scores: Sequence[Floats]) -> None:
        """Remember a trial that went through all folds, if it is its family's best."""
        with self._lock:
            if family not in self._best or gini > self._best[family][0]:
                self._best[family] = (gini, list(scores))


def difference(actual: Floats, score: Floats, other: Floats) -> tuple[float, float]:
    """Normalized Gini of a score less that of another for the same customers, and its standard error.

    The error is that of a U-statistic: each customer's share in both Ginis, by their own spend and by how their rank
    adds to everybody else's. A bootstrap gives the same and takes a hundred times as long.
    """
    estimate = normalized_gini(actual, score) - normalized_gini(actual, other)
    perfect = float(_shares(actual, actual).mean()) / 2
    if perfect <= 0:
        return 0.0, np.inf
    shares = (_shares(actual, score) - _shares(actual, other)) / perfect
    shares -= estimate * _shares(actual, actual) / perfect
    return estimate, float(shares.std() / np.sqrt(len(actual)))


def _shares(actual: Floats, score: Floats) -> Floats:
    """What each customer adds to the area between gain curve and diagonal; counted from both sides of every pair."""
    _, place, size = np.unique(score, return_inverse=True, return_counts=True)
    spent = np.bincount(place, weights=actual, minlength=len(size))
    people_below, spent_below = np.cumsum(size) - size, np.cumsum(spent) - spent
    people_above, spent_above = len(score) - people_below - size, spent.sum() - spent_below - spent
    own = actual * (people_below - people_above)[place]
    through_others = (spent_below - spent_above)[place]
    shares: Floats = (own - through_others) / len(actual)
    return shares
