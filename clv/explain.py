"""What moves a prediction, told apart by its two parts: in money, or each in its own unit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clv.predictor import Array, Contributions, Parts

RETURNING, SPENDING = "through the chance to return", "through the spend if they do"


def in_money(contributions: Contributions, parts: Parts) -> Mapping[str, Array]:
    """Split each feature's contribution to ``expected_value`` into what it does through either part.

    The product rule gives each part its share, dP (V + V0) / 2 and dV (P + P0) / 2. What a mix of several models adds
    to that goes to both by their size, so that the two add up to the contribution.

    Parameters
    ----------
    contributions
        Of n customers.
    parts
        Their predictions.

    Returns
    -------
    mapping of part to array of shape (n, features)
    """
    returning = contributions.p_return * (parts.value_if_return[:, None] + contributions.value_base) / 2
    spending = contributions.value_if_return * (parts.p_return[:, None] + contributions.p_return_base) / 2
    rest = contributions.expected_value - returning - spending
    size = np.abs(returning) + np.abs(spending)
    share = np.divide(np.abs(returning), size, out=np.full_like(size, 0.5), where=size > 0)
    return {RETURNING: returning + rest * share, SPENDING: spending + rest * (1 - share)}


def by_part(contributions: Contributions, currency: str) -> Mapping[str, Array]:
    """Each feature's contribution to either part by itself, in the unit that people read it in.

    Parameters
    ----------
    contributions
        Of n customers.
    currency
        Of the shop.

    Returns
    -------
    mapping of part, with its unit, to array of shape (n, features)
        The chance to return in percentage points, the value in money.
    """
    return {
        "p_return, percentage points": 100 * contributions.p_return,
        f"value_if_return, {currency}": contributions.value_if_return,
    }
