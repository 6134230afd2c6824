"""Money and shares for people."""

from __future__ import annotations

_SYMBOLS = {"BRL": "R$", "EUR": "€", "GBP": "£", "USD": "$", "JPY": "¥", "INR": "₹"}


def symbol(currency: str) -> str:
    """Symbol of a currency, its code if there is none.

    >>> symbol("BRL"), symbol("SEK")
    ('R$', 'SEK')
    """
    return _SYMBOLS.get(currency, currency)


def money(amount: float, currency: str) -> str:
    """An amount: cents where they matter, thousands shortened where they don't.

    >>> money(3.456, "BRL"), money(1234.5, "EUR"), money(1_234_567, "USD")
    ('R$ 3.46', '€ 1,234', '$ 1.23 million')
    """
    if abs(amount) >= 1e6:
        return f"{symbol(currency)} {amount / 1e6:,.2f} million"
    return f"{symbol(currency)} {amount:,.2f}" if abs(amount) < 1000 else f"{symbol(currency)} {amount:,.0f}"


def share(fraction: float) -> str:
    """A share with two figures that matter.

    >>> share(0.412), share(0.0123), share(0.00045)
    ('41 %', '1.2 %', '0.045 %')
    """
    percent = 100 * fraction
    digits = 0 if percent >= 10 else 1 if percent >= 1 else 2 if percent >= 0.1 else 3
    return f"{percent:,.{digits}f} %"
