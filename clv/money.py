"""Amounts for people."""

from __future__ import annotations

from decimal import Decimal

_FIGURES = 3
_LEAST = 1e-8
"""What is smaller counts as nothing; the smallest amount a shop can have is 0.0001."""

_LEAST_SHARE = 0.005


def decimals(amount: float, usual: int = 2) -> int:
    """Decimals to write an amount with: as usual where they show two figures that matter, else as three of them need.

    Parameters
    ----------
    amount
        In the shop's currency.
    usual
        Fewest decimals.

    Examples
    --------
    >>> decimals(4.2), decimals(0.526), decimals(0.00421), decimals(-0.00421, 0), decimals(0.0), decimals(float("nan"))
    (2, 2, 5, 5, 2, 2)
    >>> decimals(42.0, 0), decimals(4.2, 0), decimals(0.42, 1)
    (0, 1, 2)
    """
    if not _LEAST <= abs(amount) < 10.0 ** (1 - usual):
        return usual
    exponent = Decimal(f"{amount:.{_FIGURES - 1}e}").normalize().as_tuple().exponent
    return max(usual, -int(exponent))


def money(amount: float, usual: int = 2) -> str:
    """Write an amount.

    Parameters
    ----------
    amount
        In the shop's currency, which is not written.
    usual
        Fewest decimals.

    Examples
    --------
    >>> money(1234.5), money(1234.5, 0), money(0.526), money(0.004213), money(2.347, 0)
    ('1,234.50', '1,234', '0.53', '0.00421', '2.35')
    """
    return f"{amount:,.{decimals(amount, usual)}f}"


def matters(amount: float, total: float) -> bool:
    """Whether a part is worth a word: more than half a cent; of a total below 1, more than half a hundredth of it.

    Examples
    --------
    >>> matters(0.004, 120.0), matters(-0.006, 120.0), matters(0.0001, 0.0042)
    (False, True, True)
    """
    return abs(amount) > _LEAST_SHARE * min(1.0, total)
