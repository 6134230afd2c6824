"""A synthetic shop whose truth is known: customers with hidden habits, written as raw files with the oracle beside.

The oracle is the best anyone can do who sees what a shop sees. Nothing but evaluation reads it.
"""

from clv.synth.oracle import oracle
from clv.synth.read import read_orders
from clv.synth.shop import DEFAULT_END, DEFAULT_REPEAT_RATE, DEFAULT_START, REPEAT_RATES, Shop
from clv.synth.write import SHAPES, Shape, SynthSummary, write_shop

__all__ = [
    "DEFAULT_END",
    "DEFAULT_REPEAT_RATE",
    "DEFAULT_START",
    "REPEAT_RATES",
    "SHAPES",
    "Shape",
    "Shop",
    "SynthSummary",
    "oracle",
    "read_orders",
    "write_shop",
]
