"""How good a model is for some customers only: by state, category or month of the first purchase, one-time or not.

A slice with few returning customers says nothing: it is listed with its size, and no metric is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clv.bootstrap import Interval, Outcome, intervals, resample
from clv.predictor import Parts

Labels = Mapping[str, NDArray[np.object_]]
"""By slicing, the slice of each customer of one cutoff."""

FEWEST_RETURNERS = 50
"""With fewer returning customers the interval of a Gini is some 0.4 wide, and a metric says next to nothing."""

MOST_VALUES = 12
"""Slices of a slicing; the smallest beyond that are one."""

REST, MISSING = "(others)", "(none)"

METRICS = ("normalized_gini", "top_decile_capture", "roc_auc", "total_ratio")
"""Metrics reported of a slice."""


@dataclass(frozen=True)
class Slice:
    """Some of the customers.

    Attributes
    ----------
    slicing, value
        By what they were told apart, such as state, and which of its values they have.
    customers, returners
        How many of them were tested, and how many of these came back, each counted once over all cutoffs.
    metrics
        With intervals; empty if the slice is too small.
    """

    slicing: str
    value: str
    customers: int
    returners: int
    metrics: Mapping[str, Interval]

    @property
    def is_enough(self) -> bool:
        """Whether enough of them came back for a metric to mean something."""
        return self.returners >= FEWEST_RETURNERS


def labels(frame: pd.DataFrame, cutoff: date) -> Labels:
    """The slices of each customer of a cutoff; what the shop does not know at all makes no slicing."""
    found: dict[str, NDArray[np.object_]] = {}
    for name, column in (("state", "first_state"), ("first_category", "first_category")):
        if column in frame and frame[column].notna().any():
            found[name] = frame[column].astype(object).where(frame[column].notna(), MISSING).to_numpy(dtype=object)
    if "tenure_days" in frame:
        days, position = np.unique(frame["tenure_days"].to_numpy(dtype=np.int64), return_inverse=True)
        months = np.array([f"{cutoff - timedelta(days=int(day)):%Y-%m}" for day in days], dtype=object)
        found["acquisition_month"] = months[position]
    if "purchase_count" in frame:
        is_repeat = frame["purchase_count"].to_numpy(dtype=np.float64) > 1
        found["purchases_so_far"] = np.where(is_repeat, "two or more", "one").astype(object)
    return found


def slices(
    parts: Sequence[Parts], outcomes: Sequence[Outcome], groups: Sequence[Labels], *, seed: int
) -> tuple[Slice, ...]:
    """Test a model's predictions slice by slice.

    Parameters
    ----------
    parts, outcomes, groups
        Predictions, what happened, and the slices of the customers, by cutoff.
    seed
        Of the bootstrap.

    Returns
    -------
    tuple of Slice
        Slicing by slicing: months in order, else the largest slice first and the rest last.
    """
    found: list[Slice] = []
    for slicing in dict.fromkeys(name for group in groups for name in group):
        by_cutoff = _pooled([group[slicing] for group in groups])
        sizes = pd.Series(np.concatenate(by_cutoff)).value_counts()
        in_time = slicing.endswith("month")
        for value in sorted(sizes.index, key=lambda one: (one == REST, 0 if in_time else -int(sizes[one]), one)):
            chosen = [group == value for group in by_cutoff]
            found.append(_slice(slicing, str(value), parts, outcomes, chosen, seed))
    return tuple(found)


def _pooled(by_cutoff: Sequence[NDArray[np.object_]]) -> list[NDArray[np.object_]]:
    """The same with all but the largest slices made one; a single one beyond the limit keeps its name."""
    sizes = pd.Series(np.concatenate(by_cutoff)).value_counts(sort=False)
    ordered = sorted(sizes.index, key=lambda value: (-sizes[value], value))
    if len(ordered) <= MOST_VALUES:
        return list(by_cutoff)
    small = set(ordered[MOST_VALUES - 1 :])
    return [np.array([REST if value in small else value for value in group], dtype=object) for group in by_cutoff]


def _slice(
    slicing: str,
    value: str,
    parts: Sequence[Parts],
    outcomes: Sequence[Outcome],
    chosen: Sequence[NDArray[np.bool_]],
    seed: int,
) -> Slice:
    some = [
        (
            Parts(part.p_return[mask], part.value_if_return[mask]),
            Outcome(outcome.customer_id[mask], outcome.is_return[mask], outcome.future_value[mask]),
        )
        for part, outcome, mask in zip(parts, outcomes, chosen, strict=True)
        if mask.any()
    ]
    customers = np.concatenate([outcome.customer_id for _, outcome in some])
    returners = np.concatenate([outcome.customer_id[outcome.is_return] for _, outcome in some])
    empty = Slice(slicing, value, len(pd.unique(customers)), len(pd.unique(returners)), {})
    if not empty.is_enough:
        return empty
    draws = resample(
        {"model": [part for part, _ in some]}, [outcome for _, outcome in some], rng=np.random.default_rng(seed)
    )
    metrics = intervals(draws, "model")
    return Slice(slicing, value, empty.customers, empty.returners, {name: metrics[name] for name in METRICS})
