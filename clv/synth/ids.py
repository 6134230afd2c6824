"""Random streams and identifiers."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pyarrow as pa

from clv.synth.shop import Shop


class Stream(IntEnum):
    """What random numbers are drawn for; each has a stream of its own, so that no part disturbs another.

    Customers, their baskets and ids are therefore the same in both shapes of a shop.
    """

    BASKETS = 0
    CUSTOMER_IDS = 1
    DETAILS = 2
    CATALOGUE = 3


def generator(shop: Shop, stream: Stream, chunk: int = 0) -> np.random.Generator:
    """The generator of one stream and chunk of a shop."""
    return np.random.default_rng([shop.seed, stream, chunk])


def hex_ids(n: int, rng: np.random.Generator) -> pa.StringArray:
    """Draw `n` identifiers of 32 hexadecimal digits."""
    offsets = np.arange(n + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(rng.bytes(16 * n).hex().encode()))
