"""What contacting the best k customers costs, and what those customers are expected to bring meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_POINTS = 200


@dataclass(frozen=True)
class Campaign:
    """Expected profit of the best k customers, for every k.

    Attributes
    ----------
    profits
        One row per number of ``customers`` from 0 on: expected ``revenue`` and ``profit`` with their ends of the
        interval (``_low``, ``_high``), and ``cost``.
    margin
        Share of revenue that is profit before the contact.
    """

    profits: pd.DataFrame
    margin: float

    @property
    def best(self) -> int:
        """The number of customers with the highest expected profit; 0 where no contact pays."""
        return int(self.profits["profit"].to_numpy().argmax())

    @property
    def break_even(self) -> int | None:
        """The largest number that still does not lose money; None where that is everybody."""
        gains = np.flatnonzero(self.profits["profit"].to_numpy() >= 0)
        return None if gains[-1] == len(self.profits) - 1 else int(gains[-1])

    def at(self, customers: int) -> Mapping[str, float]:
        """The row of so many customers."""
        return dict(self.profits.iloc[customers])

    def needed_share(self, customers: int) -> float:
        """Share of their expected revenue that the contact itself must bring about to pay for itself."""
        row = self.profits.iloc[customers]
        gain = self.margin * row["revenue"]
        return float(row["cost"] / gain) if gain > 0 else np.inf

    def curve(self, up_to: int) -> pd.DataFrame:
        """Some rows, for a chart, up to so many customers; closer together where the best are."""
        at = np.unique(np.round(up_to * np.linspace(0, 1, min(_POINTS, up_to) + 1) ** 1.5).astype(int))
        return self.profits.iloc[at]


def plan(
    values: Sequence[float] | pd.Series, curve: Sequence[Mapping[str, Any]], *, cost: float, margin: float
) -> Campaign:
    """Work out a campaign.

    Parameters
    ----------
    values
        Expected value of each customer, the best first.
    curve
        The API's totals of the best k for some k; between them the relative width of the interval is interpolated.
    cost
        Of one contact.
    margin
        Share of revenue that is profit before the contact.
    """
    added = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=float))])
    customers = np.arange(len(added))
    at = np.array([point["customers"] for point in curve])
    profits = pd.DataFrame({"customers": customers, "cost": cost * customers})
    for end in ("", "_low", "_high"):
        total = np.array([point[f"expected_value{end}"] for point in curve])
        relative = np.divide(total, added[at], out=np.ones_like(total), where=added[at] > 0)
        revenue = added * np.interp(customers, at, relative)
        profits[f"revenue{end}"] = revenue
        profits[f"profit{end}"] = margin * revenue - profits["cost"]
    return Campaign(profits, margin)
