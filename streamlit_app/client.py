"""The API over HTTP; the only source of everything the app shows."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import pandas as pd

Trouble = Literal["unreachable", "no_model", "input", "other"]

Progress = Callable[[float], object]

MAX_CUSTOMERS = 10_000
MAX_PURCHASES = 200_000

_PARQUET = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class RowError:
    """What is wrong with one value; `row` counts from 1."""

    row: int | None
    field: str | None
    message: str


@dataclass
class ApiError(Exception):
    """The API can't or won't answer, in plain words.

    Attributes
    ----------
    trouble
        What kind of thing to do about it.
    message
        What happened.
    errors
        Single values that are wrong.
    """

    trouble: Trouble
    message: str
    errors: list[RowError] = field(default_factory=list)

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Predictions:
    """What the API answered for some customers.

    Attributes
    ----------
    model
        The header of the answer: version, horizon, currency, ...
    interval_level
        Share of returning customers whose spend the intervals held.
    table
        One row per customer, in the order of the file.
    warnings
        What the API said about the file.
    """

    model: dict[str, Any]
    interval_level: float
    table: pd.DataFrame
    warnings: list[str]


class Client:
    """Client of one API.

    Parameters
    ----------
    url
        Where it is.
    api_key
        Sent along, if given.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url, timeout=httpx.Timeout(120, connect=5), headers={"X-API-Key": api_key} if api_key else None
        )

    def model(self) -> dict[str, Any]:
        """Facts of the model in service."""
        facts: dict[str, Any] = self._ask("GET", "/model").json()
        return facts

    def figure(self, name: str) -> bytes:
        """One of its figures, as PNG."""
        return self._ask("GET", f"/model/figures/{name}").content

    def predict(
        self, customers: pd.DataFrame, contract: Sequence[dict[str, Any]], progress: Progress = lambda done: None
    ) -> Predictions:
        """Predict from features.

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
        answers = (
            self._ask(
                "POST",
                "/predict",
                rows=range(start, start + MAX_CUSTOMERS),
                json={"customers": _as_customers(customers.iloc[start : start + MAX_CUSTOMERS], contract)},
            )
            for start in starts
        )
        return _joined(answers, len(starts), progress)

    def predict_purchases(
        self,
        purchases: pd.DataFrame,
        as_of: str,
        progress: Progress = lambda done: None,
        columns: Mapping[str, str] | None = None,
    ) -> Predictions:
        """Predict from raw purchases.

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
        answers = (
            self._ask(
                "POST",
                "/predict/purchases",
                rows=part.index.tolist(),
                columns=columns,
                params={"as_of": as_of},
                content=_parquet(part),
                headers={"Content-Type": _PARQUET},
            )
            for part in parts
        )
        return _joined(answers, len(parts), progress)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        rows: Sequence[int] | None = None,
        columns: Mapping[str, str] | None = None,
        **request: Any,
    ) -> httpx.Response:
        """One request; `rows` and `columns` say where in the file the rows and columns sent come from."""
        try:
            response = self._http.request(method, path, **request)
        except httpx.TimeoutException:
            raise ApiError("unreachable", f"The prediction service at {self.url} takes too long to answer.") from None
        except httpx.HTTPError as error:
            raise ApiError("unreachable", f"The prediction service at {self.url} can't be reached ({error}).") from None
        if response.is_success:
            return response
        raise _error(response, rows, columns or {})


def _error(response: httpx.Response, rows: Sequence[int] | None, columns: Mapping[str, str]) -> ApiError:
    """What a problem document says, in terms of the file."""
    try:
        problem = response.json()
        message = str(problem["detail"])
        errors = [
            RowError(
                row=one["row"] if one["row"] is None or rows is None else rows[one["row"] - 1] + 1,
                field=columns.get(one["field"], one["field"]),
                message=one["message"],
            )
            for one in problem["errors"]
        ]
    except (ValueError, KeyError, TypeError):
        return ApiError("other", f"{response.url} answered {response.status_code}, which this app does not understand.")
    if errors and errors[0].row is not None:
        first, more = errors[0], " There is more, listed below." if len(errors) > 1 else ""
        message = f"Row {first.row:,}{f', column {first.field}' if first.field else ''}: {first.message}{more}"
    kinds: dict[int, Trouble] = {503: "no_model", 422: "input", 413: "input"}
    return ApiError(kinds.get(response.status_code, "other"), message, errors)


def _joined(answers: Iterator[httpx.Response], count: int, progress: Progress) -> Predictions:
    """One table of several answers, which must come from one and the same model."""
    bodies: list[dict[str, Any]] = []
    for response in answers:
        bodies.append(response.json())
        progress(len(bodies) / count)
    first = bodies[0]
    if any(body["model"] != first["model"] for body in bodies):
        raise ApiError("other", "Another model version was promoted while the file was being answered.")
    table = pd.concat([pd.DataFrame(body["predictions"]) for body in bodies], ignore_index=True)
    warnings = dict.fromkeys(warning for body in bodies for warning in body["warnings"])
    return Predictions(first["model"], first["interval_level"], table, list(warnings))


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


def _as_customers(frame: pd.DataFrame, contract: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The body's customers; text that is no number is left for the API to refuse, with its row."""
    columns = {
        feature["name"]: [
            None if pd.isna(text) else _number(text) if feature["kind"] == "number" else text
            for text in frame[feature["name"]]
        ]
        for feature in contract
    }
    rows = zip(*columns.values(), strict=True)
    return [
        {"customer_id": None if pd.isna(customer) else customer, "features": dict(zip(columns, row, strict=True))}
        for customer, row in zip(frame["customer_id"], rows, strict=True)
    ]


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if abs(number) != float("inf") and number == number else text
