"""Controls for a customer's features: what would the model say if they were others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from clv.money import decimals
from streamlit_app.feature_words import label

_SHOWN = 5
_REACH = {"days": 365.0, "purchases": 10.0, "orders": 10.0, "items": 10.0, "currency": 100.0, "share": 1.0}
"""How far a slider goes at least, by unit, where the contract sets no end; amounts below 1 have :func:`_at_least`."""

_WHOLE = ("days", "purchases", "orders", "items", "instalments", "categories", "weekday", "month", "score")
_NOT_KNOWN = "not known"


def controls(
    customer_id: str,
    features: Mapping[str, Any],
    contract: Sequence[Mapping[str, Any]],
    strongest: Sequence[str],
) -> dict[str, Any]:
    """Draw the controls; the features as they are set.

    Parameters
    ----------
    customer_id
        Whose they are; another customer has controls of its own.
    features
        As they are known.
    contract
        The features as the API describes them.
    strongest
        Names, those that move the prediction most first.
    """
    facts = {feature["name"]: feature for feature in contract}
    can_change = [name for name in strongest if _can_change(facts[name], features[name])]
    changed = dict(features)
    for name in can_change[:_SHOWN]:
        changed[name] = _control(f"{name}-{customer_id}", facts[name], features[name])
    more = st.multiselect(
        "Change more",
        can_change[_SHOWN:],
        format_func=label,
        key=f"more-{customer_id}",
        placeholder="choose features",
    )
    for name in more:
        changed[name] = _control(f"{name}-{customer_id}", facts[name], features[name])
    return changed


def reset(customer_id: str, names: Sequence[str]) -> None:
    """Put the controls back to what is known."""
    for name in names:
        st.session_state.pop(f"{name}-{customer_id}", None)


def _can_change(fact: Mapping[str, Any], value: Any) -> bool:
    """A number that is not known can't be set by a slider; a category without known values has nothing to choose."""
    return bool(fact["values"]) if fact["kind"] == "category" else value is not None


def _control(key: str, fact: Mapping[str, Any], value: Any) -> Any:
    if fact["kind"] == "category":
        options = [*([_NOT_KNOWN] if fact["nullable"] else []), *fact["values"]]
        if value is not None and value not in options:
            options.append(value)
        index = options.index(_NOT_KNOWN if value is None else value)
        picked = st.selectbox(label(fact["name"]), options, index=index, key=key, help=fact["description"])
        return None if picked == _NOT_KNOWN else picked
    low, high, step = reach(fact, float(value))
    digits = max(decimals(value), decimals(step))
    return st.slider(
        label(fact["name"]),
        low,
        high,
        float(value),
        step=step,
        format="%,.0f" if step >= 1 and value == round(value) else f"%,.{digits}f",
        key=key,
        help=fact["description"],
    )


def reach(fact: Mapping[str, Any], value: float) -> tuple[float, float, float]:
    """From where to where a slider goes, and its step.

    >>> reach({"unit": "days", "minimum": 0, "maximum": None}, 20.0)
    (0.0, 365.0, 1.0)
    >>> reach({"unit": "share", "minimum": 0, "maximum": 1}, 0.2)
    (0.0, 1.0, 0.01)
    >>> reach({"unit": "currency", "minimum": 0, "maximum": None}, 0.0042)
    (0.0, 0.1, 0.001)
    """
    least = _at_least(fact["unit"], value)
    wide = max(least or 5.0, 3 * abs(value))
    rounded = 10.0 ** math.floor(math.log10(wide))
    low = fact["minimum"] if fact["minimum"] is not None else (0.0 if value >= 0 else -wide)
    high = fact["maximum"] if fact["maximum"] is not None else max(least or 0.0, wide)
    if fact["maximum"] is None and high != least:
        high = math.ceil(high / rounded) * rounded
    step = 1.0 if fact["unit"] in _WHOLE else 10.0 ** math.floor(math.log10((high - low) / 100))
    return float(low), float(high), step


def _at_least(unit: str, value: float) -> float | None:
    """How far a slider goes at least; a small amount is a shop's whose amounts are all small."""
    if unit == "currency" and 0 < abs(value) < 1:
        return 10.0 ** math.ceil(math.log10(3 * abs(value)))
    return _REACH.get(unit)
