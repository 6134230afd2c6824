"""The API over HTTP; the only source of everything the app shows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

import httpx
import pandas as pd

Trouble = Literal["unreachable", "busy", "no_model", "missing", "input", "other"]

PARQUET = "application/vnd.apache.parquet"

_UNAVAILABLE = 503


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
        facts: dict[str, Any] = self.ask("GET", "/model").json()
        return facts

    def report(self) -> dict[str, Any]:
        """How the version came into service: gate, history, card, backtest."""
        report: dict[str, Any] = self.ask("GET", "/model/report").json()
        return report

    def figure(self, name: str) -> bytes:
        """One of its figures, as PNG."""
        return self.ask("GET", f"/model/figures/{name}").content

    def scored(self) -> dict[str, Any] | None:
        """Which scoring is the last; None if no shop was scored yet."""
        try:
            page = self.ask("GET", "/customers", params={"limit": 1}).json()
        except ApiError as error:
            if error.trouble == "missing":
                return None
            raise
        scored: dict[str, Any] = page["scored"]
        return scored

    def scored_customers(self) -> pd.DataFrame:
        """Predictions of all customers of the scored shop."""
        return pd.read_parquet(io.BytesIO(self.ask("GET", "/customers.parquet").content))

    def scored_portfolio(self) -> dict[str, Any]:
        """Totals of the scored shop."""
        answer: dict[str, Any] = self.ask("GET", "/portfolio").json()
        return answer

    def scored_customer(self, customer_id: str) -> dict[str, Any]:
        """Prediction, purchases and features of a customer of the scored shop."""
        id_in_path = quote(customer_id, safe="").replace(".", "%2E")  # plain dots would be steps up the path
        answer: dict[str, Any] = self.ask("GET", f"/customers/{id_in_path}").json()
        return answer

    def predict(self, customer_id: str, features: Mapping[str, Any]) -> dict[str, Any]:
        """Prediction for a customer with these features."""
        prediction: dict[str, Any] = self.ask("POST", "/predict", json=_one(customer_id, features)).json()[
            "predictions"
        ][0]
        return prediction

    def explain(self, customer_id: str, features: Mapping[str, Any]) -> dict[str, Any]:
        """Why the prediction for a customer with these features is what it is, in money."""
        explanation: dict[str, Any] = self.ask("POST", "/explain", json=_one(customer_id, features)).json()[
            "explanations"
        ][0]
        return explanation

    def ask(
        self,
        method: str,
        path: str,
        *,
        rows: Sequence[int] | None = None,
        columns: Mapping[str, str] | None = None,
        **request: Any,
    ) -> httpx.Response:
        """One request; `rows` and `columns` say where in the file the rows and columns sent come from.

        Raises
        ------
        ApiError
            If there is no answer, or it is that something is wrong.
        """
        try:
            response = self._http.request(method, path, **request)
        except httpx.TimeoutException:
            raise ApiError("unreachable", f"The prediction service at {self.url} takes too long to answer.") from None
        except httpx.HTTPError as error:
            raise ApiError("unreachable", f"The prediction service at {self.url} can't be reached ({error}).") from None
        # It holds the response, which holds it: large answers would stay until Python looks for such rings.
        response.stream = httpx.ByteStream(b"")
        if response.is_success:
            return response
        raise _error(response, rows, columns or {})


def _one(customer_id: str, features: Mapping[str, Any]) -> dict[str, Any]:
    return {"customers": [{"customer_id": customer_id, "features": dict(features)}]}


def _error(response: httpx.Response, rows: Sequence[int] | None, columns: Mapping[str, str]) -> ApiError:
    """What a problem document says, in terms of the file."""
    try:
        message, sent = _problem(response.json())
    except (ValueError, LookupError, TypeError):
        return ApiError("other", f"{response.url} answered {response.status_code}, which this app does not understand.")
    errors = [
        replace(one, row=_row_of_file(one.row, rows), field=columns.get(one.field, one.field) if one.field else None)
        for one in sent
    ]
    if errors and errors[0].row is not None:
        first, more = errors[0], " There is more, listed below." if len(errors) > 1 else ""
        message = f"Row {first.row:,}{f', column {first.field}' if first.field else ''}: {first.message}{more}"
    kinds: dict[int, Trouble] = {404: "missing", 422: "input", 413: "input"}
    if response.status_code == _UNAVAILABLE:
        return ApiError("no_model" if message.startswith("No model") else "busy", message)
    return ApiError(kinds.get(response.status_code, "other"), message, errors)


def _problem(document: Any) -> tuple[str, list[RowError]]:
    """The detail and the errors of a problem document; of one as FastAPI itself writes it, too."""
    detail = document["detail"]
    if isinstance(detail, list):
        errors = [_located(one["loc"], str(one["msg"])) for one in detail]
        return f"{errors[0].field}: {errors[0].message}" if errors[0].field else errors[0].message, errors
    return str(detail), [
        RowError(
            row=None if one["row"] is None else int(one["row"]),
            field=None if one["field"] is None else str(one["field"]),
            message=str(one["message"]),
        )
        for one in document["errors"]
    ]


def _located(location: Sequence[str | int], message: str) -> RowError:
    """An error as pydantic places it: ``["body", "customers", 0, "features", "recency_days"]``."""
    row = next((part + 1 for part in location if isinstance(part, int)), None)
    inner = [part for part in location[1:] if not isinstance(part, int)]
    return RowError(row, inner[-1] if inner and inner[-1] == location[-1] else None, message)


def _row_of_file(row: int | None, rows: Sequence[int] | None) -> int | None:
    """The row of the file that was sent as this one; None where none was."""
    if row is None or rows is None:
        return row
    return rows[row - 1] + 1 if 0 < row <= len(rows) else None
