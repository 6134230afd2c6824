"""Explanations in money: what each feature adds to a prediction, and one plain sentence about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clv.money import matters, money
from serving.customers import Customers
from serving.model import ServedModel

_NAMED = 3
"""Features named in the sentence."""

_BASES = {"p_return": "p_return_base", "value_if_return": "value_base", "expected_value": "expected_base"}
"""The parts of an answer, and what :class:`clv.predictor.Contributions` calls the base of each."""


def explain(model: ServedModel, customers: Customers) -> list[dict[str, Any]]:
    """One explanation per customer: base, contributions (the strongest first) and the prediction they add up to.

    What no single feature accounts for (the cap on values, the mixing of several models) is told as ``other``.
    """
    matrix = model.coder.matrix(customers)
    parts = model.predictor.predict_matrix(matrix)
    contributions = model.predictor.contributions(matrix)
    names = model.predictor.encoder.features
    explanations = []
    for row, (customer_id, record) in enumerate(zip(customers.ids, customers.records(), strict=True)):
        prediction = {part: float(getattr(parts, part)[row]) for part in _BASES}
        base = {part: float(getattr(contributions, name)) for part, name in _BASES.items()}
        added = {part: getattr(contributions, part)[row].astype(float) for part in _BASES}
        order = np.argsort(-np.abs(added["expected_value"]), kind="stable")
        strongest = [
            {
                "feature": names[position],
                "value": record[names[position]],
                **{part: float(added[part][position]) for part in _BASES},
            }
            for position in order
        ]
        explanations.append(
            {
                "customer_id": customer_id,
                "prediction": prediction,
                "base": base,
                "contributions": strongest,
                "other": {part: prediction[part] - base[part] - float(added[part].sum()) for part in _BASES},
                "sentence": _sentence(model.header, prediction, base, strongest),
            }
        )
    return explanations


def _sentence(
    header: Mapping[str, Any],
    prediction: Mapping[str, float],
    base: Mapping[str, float],
    contributions: list[dict[str, Any]],
) -> str:
    currency = header["currency"]
    named = [
        f"{one['feature']} ({_shown(one['value'])}) {'adds' if one['expected_value'] > 0 else 'takes'} "
        f"{money(abs(one['expected_value']))} {currency}"
        for one in contributions[:_NAMED]
        if matters(one["expected_value"], prediction["expected_value"])
    ]
    start = (
        f"Expected to spend {money(prediction['expected_value'])} {currency} in the next {header['horizon_days']} "
        f"days, from a base of {money(base['expected_value'])}"
    )
    return f"{start}: {', '.join(named)}." if named else f"{start}: no feature moves it."


def _shown(value: Any) -> str:
    if value is None:
        return "not known"
    return f"{value:,.4g}" if isinstance(value, float) else f"'{value}'"
