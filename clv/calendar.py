"""The default as-of day: the last day whose data look complete."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
from numpy.typing import ArrayLike

SPARSE_SHARE = 0.1
"""A trailing day is sparse when its 7-day purchase count is below this share of its reference."""

REFERENCE_WEEKS = 8
"""The reference is the median purchase count of this many weeks before."""

MINIMUM_WEEKS = 4
"""With fewer weeks before than this there is no pace to compare with, and nothing is cut off."""


def default_as_of_day(first_day: date, purchase_counts: ArrayLike) -> date:
    """Last day with a purchase, less a sparse tail.

    A day belongs to the tail if the purchases of the seven days that end with it are fewer than a tenth of the median
    of the eight weeks before those seven days, and so do all later days. Weeks in which the shop sold nothing at all
    (it was closed, or a stray event lies far after the rest) say nothing about its pace and are stepped over.

    Parameters
    ----------
    first_day
        The day of the first count.
    purchase_counts
        Purchases (customer-days with a positive net amount) of each day from `first_day` on, without gaps.

    Returns
    -------
    date
        A day with a purchase.

    Raises
    ------
    ValueError
        If there is no purchase, or a count is negative.

    Examples
    --------
    >>> counts = [20] * 90 + [1, 0, 1]
    >>> default_as_of_day(date(2024, 1, 1), counts)  # the count falls slowly: the last 7 days still hold 4 good ones
    datetime.date(2024, 4, 2)
    >>> default_as_of_day(date(2024, 1, 1), [20] * 90 + [0] * 10 + [1])
    datetime.date(2024, 3, 30)
    """
    counts = np.asarray(purchase_counts, dtype=np.int64)
    if counts.ndim != 1 or not counts.any() or (counts < 0).any():
        raise ValueError("Expected a list of daily counts, none negative and at least one positive.")
    before = np.concatenate([[0], np.cumsum(counts)])  # before[i]: purchases on days earlier than day i
    days = np.flatnonzero(counts)
    last = next((day for day in days[::-1] if not _is_sparse(before, int(day))), days[-1])
    return first_day + timedelta(days=int(last))


def _is_sparse(before: np.ndarray, day: int) -> bool:
    """Whether the week that ends with `day` is far below the weeks before it; only complete weeks count."""
    ends = np.arange(day + 1, 6, -7)  # each exclusive; a week is [end - 7, end)
    weeks = before[ends] - before[ends - 7]
    reference = weeks[1:][weeks[1:] > 0][:REFERENCE_WEEKS]
    return len(reference) >= MINIMUM_WEEKS and bool(weeks[0] < SPARSE_SHARE * np.median(reference))
