"""What follows an order: its delivery and its review, drawn, and inferred while they are not yet known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from clv.synth.clock import Floats, Integers
from clv.synth.shop import Shop

LEAD_DAYS = (12, 30)
"""Shortest and longest promised delivery, in days after the order's day."""
_FASTEST_DAYS = 2
_DAILY_CHANCE = 0.4
_LATE_CHANCE = 0.2
_REVIEW_CHANCE = 0.4


@dataclass(frozen=True)
class Experience:
    """Delivery and review of orders.

    Attributes
    ----------
    lead_days
        Days from the order's day to the promised day.
    delivery_days
        Days from the order's day to the delivery's.
    review
        Score 1 to 5; 0 if the customer never writes one.
    review_days
        Days from the delivery's day to the review's.
    """

    lead_days: Integers
    delivery_days: Integers
    review: Integers
    review_days: Integers

    @property
    def late(self) -> NDArray[np.bool_]:
        """Whether the delivery came after the promised day."""
        return self.delivery_days > self.lead_days


def draw(shop: Shop, region: Integers, rng: np.random.Generator) -> Experience:
    """Draw delivery and review of one order per entry of `region`."""
    n = region.size
    lead = rng.integers(LEAD_DAYS[0], LEAD_DAYS[1], size=n, endpoint=True)
    late = rng.random(n) < np.array([g.p_late for g in shop.regions])[region]
    on_time_days = _FASTEST_DAYS + rng.binomial(lead - _FASTEST_DAYS, _DAILY_CHANCE)
    late_days = lead + rng.geometric(_LATE_CHANCE, size=n)
    ladder = np.cumsum(shop.lost_after_first.review, axis=1)[late.astype(np.int64)]
    review = np.minimum((rng.random(n)[:, None] >= ladder).sum(axis=1), ladder.shape[1] - 1)
    return Experience(lead, np.where(late, late_days, on_time_days), review, rng.geometric(_REVIEW_CHANCE, size=n))


def expected_loss(
    shop: Shop,
    region: Integers,
    lead_days: Integers,
    age_days: Integers,
    delivery_days: Floats,
    review_days: Floats,
    review: Floats,
) -> Floats:
    """P(lost after the first order), given what is known of its delivery and review `age_days` after its day.

    Parameters
    ----------
    delivery_days, review_days
        Days from the order's day to its delivery and its review; NaN or more than `age_days` means not known yet.
    review
        Its score, used only where `review_days` says it is known.
    """
    lost = shop.lost_after_first
    delivered = delivery_days <= age_days
    reviewed = review_days <= age_days
    p_late = np.array([g.p_late for g in shop.regions])[region]

    # No delivery so far speaks for lateness: on a day past the promised one it proves it.
    still_on_time = bdtrc(age_days - _FASTEST_DAYS, lead_days - _FASTEST_DAYS, _DAILY_CHANCE)
    still_on_time = np.where(age_days < _FASTEST_DAYS, 1.0, np.where(age_days >= lead_days, 0.0, still_on_time))
    still_late = (1 - _LATE_CHANCE) ** np.maximum(age_days - lead_days, 0)
    is_late = delivery_days > lead_days
    on_time_weight = np.where(delivered, ~is_late, (1 - p_late) * still_on_time)
    late_weight = np.where(delivered, is_late, p_late * still_late)

    # No review since the delivery speaks for none at all.
    silence = (1 - _REVIEW_CHANCE) ** np.where(delivered, age_days - np.nan_to_num(delivery_days), 0.0)
    scores = np.arange(lost.table.shape[1])
    seen = np.where(
        reviewed[:, None], scores == np.nan_to_num(review)[:, None], np.where(scores == 0, 1.0, silence[:, None])
    )
    weights = np.stack([on_time_weight, late_weight], axis=1)[:, :, None] * lost.review * seen[:, None, :]
    return np.asarray((weights * lost.table).sum(axis=(1, 2)) / weights.sum(axis=(1, 2)))
