"""Numbers, money and shares for people, written as they are used to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from clv.money import decimals

_SYMBOLS = {"BRL": "R$", "EUR": "€", "GBP": "£", "USD": "$", "JPY": "¥", "INR": "₹"}
_MILLION = 1e6
_CENTS_BELOW = 1_000
_LEAST_PERCENT = 0.001
NONE = "–"
"""Stands for a number that is not there."""

Unit = Literal["before", "after", "code"]


def symbol(currency: str) -> str:
    """Symbol of a currency, its code if there is none.

    >>> symbol("BRL"), symbol("SEK")
    ('R$', 'SEK')
    """
    return _SYMBOLS.get(currency, currency)


def decimals_of(amounts: ArrayLike, usual: int = 2) -> int:
    """Decimals for a column of amounts: as usual, more where their mean size would show less than two figures.

    >>> decimals_of([120.5, 0.004]), decimals_of([0.0042, 0.0]), decimals_of([4.2], 0)
    (2, 4, 1)
    """
    return decimals(float(np.abs(np.asarray(amounts, dtype=float)).mean()), usual)


@dataclass(frozen=True)
class Style:
    """How numbers are written.

    Attributes
    ----------
    thousands, decimal
        The two marks.
    unit
        Where the currency stands: its symbol before or after the amount, or its code before it.
    """

    thousands: str = ","
    decimal: str = "."
    unit: Unit = "before"

    def number(self, value: float, digits: int = 0) -> str:
        """A number.

        >>> Style().number(1234.5, 1), Style(".", ",").number(1234.5, 1), Style().number(float("nan"))
        ('1,234.5', '1.234,5', '–')
        """
        if math.isnan(value):
            return NONE
        return f"{value:,.{digits}f}".translate({ord(","): self.thousands, ord("."): self.decimal, ord("-"): "−"})

    def money(self, amount: float, currency: str) -> str:
        """An amount: cents where they matter, more decimals for small ones, millions shortened.

        >>> Style().money(3.456, "BRL"), Style(".", ",", "after").money(1234.5, "EUR"), Style().money(-1_234_567, "USD")
        ('R$ 3.46', '1.234 €', '−$ 1.23 million')
        >>> Style().money(0.5, "BRL"), Style().money(-0.004213, "BRL")
        ('R$ 0.50', '−R$ 0.00421')
        """
        if math.isnan(amount):
            return NONE
        size = abs(amount)
        if size >= _MILLION:
            text = f"{self.number(size / _MILLION, 2)} million"
        else:
            text = self.number(size, decimals(size, 2 if size < _CENTS_BELOW else 0))
        sign = "−" if amount < 0 and any(digit in text for digit in "123456789") else ""
        if self.unit == "after":
            return f"{sign}{text} {symbol(currency)}"
        return f"{sign}{currency if self.unit == 'code' else symbol(currency)} {text}"

    def share(self, fraction: float) -> str:
        """A share with two figures that matter.

        >>> Style().share(0.412), Style().share(0.0123), Style(".", ",").share(0.00045)
        ('41 %', '1.2 %', '0,045 %')
        """
        percent = 100 * fraction
        if math.isnan(percent):
            return NONE
        if 0 < percent < _LEAST_PERCENT:
            return f"under {self.number(_LEAST_PERCENT, 3)} %"
        digits = 0 if percent >= 10 or percent == 0 else 1 if percent >= 1 else 2 if percent >= 0.1 else 3
        return f"{self.number(percent, digits)} %"
