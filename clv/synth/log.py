"""Write baskets as a plain transaction log."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from clv.synth.ids import hex_ids
from clv.synth.simulate import Baskets, split_baskets

TRANSACTIONS = "transactions.csv"
_RETURNED_SHARE = 0.01


def transactions(baskets: Baskets, customer_ids: pa.StringArray, rng: np.random.Generator) -> tuple[pa.Table, int]:
    """Rows of the log and the number of orders in them.

    A few baskets are two orders of the same second, and a few orders have a line that was taken back at once; what
    was paid is the same all along.
    """
    basket, cents = split_baskets(baskets, rng)
    order_ids = hex_ids(basket.size, rng)
    taken_back = np.where(
        rng.random(basket.size) < _RETURNED_SHARE, np.rint(cents * rng.uniform(0.1, 0.5, basket.size)), 0
    )
    lines = 1 + (taken_back > 0)
    order = np.repeat(np.arange(basket.size), lines)
    is_return = np.diff(order, prepend=-1) == 0
    amount = np.where(is_return, -taken_back[order], (cents + taken_back)[order])
    rows = basket[order]
    table = pa.table(
        {
            "customer_id": customer_ids.take(pa.array(baskets.customer[rows])),
            "order_id": order_ids.take(pa.array(order)),
            "purchased_at": baskets.moment[rows].astype("datetime64[s]"),
            "amount": amount / 100,
        }
    )
    return table, int(basket.size)
