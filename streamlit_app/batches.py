"""Many customers at once: files of any size, in requests the API takes, joined to one answer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from streamlit_app.client import PARQUET, ApiError, Client

Progress = Callable[[float], object]

MAX_CUSTOMERS = 5_000
MAX_PURCHASES = 200_000

_CURVE_POINTS = 60
_SUMS = ("customers", "expected_value", "expected_value_low", "expected_value_high", "expected_returners")
_RANGES = ("expected_returners_low", "expected_returners_high")


@dataclass(frozen=True)
class Answer:
    """What the API says of some customers.

    Attributes
    ----------
    model
        The model that answered: version, horizon, currency, ...
    interval_level
        What the intervals hold.
    table
        One row per customer, in the order of the file.
    totals
        Of all of them, with intervals and the curve of the best k.
    warnings
        What the API says about the file.
    """

    model: dict[str, Any]
    interval_level: float
    table: pd.DataFrame
    totals: dict[str, Any]
    warnings: list[str]


def from_features(
    client: Client,
    customers: pd.DataFrame,
    contract: Sequence[dict[str, Any]],
    progress: Progress = lambda done: None,
) -> Answer:
    """Ask about customers by their features.

    Parameters
    ----------
    customers
        ``customer_id`` and the features, all as text; empty means missing.
    contract
        The features as the API describes them.
    progress
        Told the share that is done.
    """
    starts = range(0, len(customers), MAX_CUSTOMERS)
    requests = (
        {
            "rows": range(start, start + MAX_CUSTOMERS),
            "content": _body(customers.iloc[start : start + MAX_CUSTOMERS], contract),
            "headers": {"Content-Type": "application/json"},
        }
        for start in starts
    )
    return _answer(client, "", requests, len(starts), progress)


def from_purchases(
    client: Client,
    purchases: pd.DataFrame,
    as_of: str,
    progress: Progress = lambda done: None,
    columns: Mapping[str, str] | None = None,
) -> Answer:
    """Ask about customers by their raw purchases.

    Parameters
    ----------
    purchases
        All as text; the index holds the rows' positions in the file, for errors to name.
    as_of
        The as-of day.
    progress
        Told the share that is done.
    columns
        The file's names of the columns, for errors to name.
    """
    parts = _by_customer(purchases)
    requests = (
        {
            "rows": part.index.tolist(),
            "columns": columns,
            "params": {"as_of": as_of},
            "content": _parquet(part),
            "headers": {"Content-Type": PARQUET},
        }
        for part in parts
    )
    return _answer(client, "/purchases", requests, len(parts), progress)


def typed(customers: pd.DataFrame, contract: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Features by customer, numbers as numbers where they are some."""
    columns = {
        feature["name"]: pd.to_numeric(customers[feature["name"]], errors="coerce").astype(float)  # JSON has no int64
        if feature["kind"] == "number"
        else customers[feature["name"]]
        for feature in contract
    }
    return pd.DataFrame(columns).set_index(customers["customer_id"]).groupby(level=0).head(1)


def features_of(client: Client, purchases: pd.DataFrame, as_of: str) -> dict[str, Any]:
    """Features of the one customer whose purchases these are."""
    answer = client.ask(
        "POST",
        "/predict/purchases",
        params={"as_of": as_of, "features": "true"},
        content=_parquet(purchases),
        headers={"Content-Type": PARQUET},
    ).json()
    features: dict[str, Any] = answer["predictions"][0]["features"]
    return features


def _answer(client: Client, kind: str, requests: Iterable[dict[str, Any]], count: int, progress: Progress) -> Answer:
    """Predictions and totals for each request, which must come from one and the same model."""
    progress(0.0)
    bodies: list[dict[str, Any]] = []
    totals: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    for done, request in enumerate(requests):
        body = client.ask("POST", f"/predict{kind}", **request).json()
        table = pd.DataFrame(body.pop("predictions"))
        progress((2 * done + 1) / (2 * count))
        if not table.empty:
            total = client.ask("POST", f"/portfolio{kind}", **request).json()
            if bodies and not body["model"] == total["model"] == bodies[0]["model"]:
                raise ApiError("other", "Another model came into service meanwhile, so the answers don't fit together.")
            tables.append(table)
            totals.append(total["portfolio"])
        bodies.append(body)
        progress((done + 1) / count)
    return Answer(
        model=bodies[0]["model"],
        interval_level=bodies[0]["interval_level"],
        table=pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(),
        totals=_joined(tables, totals),
        warnings=list(dict.fromkeys(warning for body in bodies for warning in body["warnings"])),
    )


def _joined(tables: list[pd.DataFrame], totals: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals of several answers. Ends of intervals add up as if all errors went together: rather too wide."""
    if len(totals) <= 1:
        return totals[0] if totals else {}
    joined = {name: sum(one[name] for one in totals) for name in (*_SUMS, *_RANGES)}
    values = pd.concat([table["expected_value"] for table in tables], keys=range(len(tables))).astype(float)
    part = values.sort_values(ascending=False, kind="stable").index.get_level_values(0).to_numpy()
    best = np.unique(np.geomspace(1, len(part), _CURVE_POINTS).round().astype(int))
    curve = {name: np.zeros(len(best)) for name in _SUMS}
    for number, one in enumerate(totals):
        counts = (part == number).cumsum()[best - 1]
        for name in _SUMS:
            known = [0.0, *(point[name] for point in one["curve"])]
            curve[name] += np.interp(counts, [0, *(point["customers"] for point in one["curve"])], known)
    points = [dict(zip(curve, map(float, point), strict=True)) for point in zip(*curve.values(), strict=True)]
    for point, count in zip(points, best, strict=True):
        point["customers"] = int(count)  # a campaign finds its rows by it
    note = f"{totals[0]['note']} The file went to the service in {len(totals)} parts, whose intervals were added up."
    return {**joined, "return_share": joined["expected_returners"] / joined["customers"], "note": note, "curve": points}


def _by_customer(purchases: pd.DataFrame) -> list[pd.DataFrame]:
    """Parts small enough for one request, no customer in two of them; the index keeps the rows of the file."""
    if len(purchases) <= MAX_PURCHASES:
        return [purchases]
    codes = pd.factorize(purchases["customer_id"], use_na_sentinel=False)[0]
    ordered = purchases.iloc[codes.argsort(kind="stable")]
    sizes = pd.Series(codes).value_counts(sort=False).sort_index().cumsum()
    parts, start = [], 0
    while start < len(ordered):
        ends = sizes[(sizes > start) & (sizes <= start + MAX_PURCHASES)]
        if ends.empty:
            raise ApiError("input", f"One customer has more than {MAX_PURCHASES:,} purchases; split the file by date.")
        end = int(ends.iloc[-1])
        parts.append(ordered.iloc[start:end])
        start = end
    return parts


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="snappy")
    return buffer.getvalue()


def _body(frame: pd.DataFrame, contract: Sequence[dict[str, Any]]) -> bytes:
    """Customers as JSON; text that is no number is left for the API to refuse, with its row."""
    columns = {feature["name"]: _values(frame[feature["name"]], feature["kind"]) for feature in contract}
    rows = zip(*columns.values(), strict=True)
    customers = [
        {"customer_id": customer, "features": dict(zip(columns, row, strict=True))}
        for customer, row in zip(_values(frame["customer_id"], "text"), rows, strict=True)
    ]
    return json.dumps({"customers": customers}).encode()


def _values(texts: pd.Series, kind: str) -> list[Any]:
    """A column's values, None where there is none."""
    values: list[Any] = texts.astype(object).where(texts.notna(), None).tolist()
    if kind != "number":
        return values
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=float)
    known = zip(numbers.tolist(), np.isfinite(numbers).tolist(), values, strict=True)
    return [number if is_number else text for number, is_number, text in known]
