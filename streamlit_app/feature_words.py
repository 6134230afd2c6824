"""What the features of a customer are called where people read who have never seen a feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clv.money import decimals, matters
from streamlit_app.money import Style

_NAMED = 3
"""Features named in a sentence."""

_DAYS = (30, 90, 180, 365)

LABELS: Mapping[str, str] = {
    "recency_days": "days since last purchase",
    "tenure_days": "days since first purchase",
    "purchase_count": "purchases",
    "gap_mean_days": "usual gap in days",
    "gap_sd_days": "spread of gaps in days",
    "gap_ratio": "days since last / usual gap",
    "amount_total": "spent so far",
    "amount_mean": "spent per purchase",
    "amount_max": "largest purchase",
    "amount_first": "amount of first purchase",
    "amount_last": "amount of last purchase",
    "amount_trend": "last amount above earlier",
    **{f"purchase_count_{days}d": f"purchases in {days} days" for days in _DAYS},
    **{f"amount_{days}d": f"spent in {days} days" for days in _DAYS},
    "return_count": "days with a return",
    "return_amount": "amount returned",
    "order_count": "orders",
    "item_count_mean": "items per purchase",
    "product_count_mean": "products per purchase",
    "category_count_max": "most categories at once",
    "seller_count_mean": "sellers per purchase",
    "first_category": "first bought",
    "last_category": "last bought",
    "first_payment_type": "first paid by",
    "first_instalment_count": "first paid in instalments",
    "first_freight_share": "first freight share",
    "first_state": "first delivered to",
    "first_weekday": "weekday of first purchase",
    "first_month": "month of first purchase",
    "first_delivery_days": "first delivery, days",
    "last_delivery_days": "last delivery, days",
    "last_delay_days": "last delivery, days late",
    "late_share": "share of late deliveries",
    "last_review_score": "last review, 1 to 5",
    "mean_review_score": "mean review, 1 to 5",
    "answered_review_share": "share of reviews given",
}


def label(feature: str) -> str:
    """What a feature is called; its name in words if it has no other.

    >>> label("purchase_count_90d"), label("shoe_size")
    ('purchases in 90 days', 'shoe size')
    """
    return LABELS.get(feature, feature.replace("_", " "))


def shown(value: float | str | None, style: Style) -> str:
    """A feature's value.

    >>> shown(None, Style()), shown(3.0, Style()), shown(0.1234, Style()), shown("SP", Style())
    ('not known', '3', '0.12', 'SP')
    """
    if value is None or isinstance(value, str):
        return value or "not known"
    return style.number(value, 0 if value == round(value) or abs(value) >= 1000 else decimals(value))


def moved(amount: float, currency: str, style: Style) -> str:
    """What a feature adds, with its sign.

    >>> moved(5.0, "EUR", Style()), moved(-5.0, "EUR", Style())
    ('+€ 5.00', '−€ 5.00')
    """
    return "+" * (amount >= 0) + style.money(amount, currency)


def sentence(explanation: Mapping[str, Any], currency: str, style: Style) -> str:
    """From where to where the model comes, and what leads it there.

    >>> one = {"feature": "order_count", "value": 3.0, "expected_value": -5.0}
    >>> parts = {"base": {"expected_value": 8.0}, "prediction": {"expected_value": 3.0}, "contributions": [one]}
    >>> sentence(parts, "EUR", Style()).partition(". ")[2]
    'What moves it most: orders: 3 (−€ 5.00).'
    """
    base, total = explanation["base"]["expected_value"], explanation["prediction"]["expected_value"]
    strongest = [
        f"{label(one['feature'])}: {shown(one['value'], style)} ({moved(one['expected_value'], currency, style)})"
        for one in explanation["contributions"][:_NAMED]
        if matters(one["expected_value"], total)
    ]
    return (
        f"The model starts from {style.money(base, currency)}, before it looks at the customer, and ends at "
        f"{style.money(total, currency)}. "
        + (f"What moves it most: {'; '.join(strongest)}." if strongest else "Nothing it sees moves it.")
    )
