"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails, to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

MEDIA_TYPE = "application/problem+json"

MAX_ERRORS = 100
"""Most errors listed in one answer; the detail says how many there are."""


class FieldError(BaseModel):
    """What is wrong with one field."""

    row: int | None = Field(description="Customer or purchase, counted from 1; null if it is not about one row.")
    field: str | None = Field(description="Field or column; null if it is not about one field.")
    message: str = Field(description="What was expected and what was found.")


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(default="about:blank", description="The status says it all.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What went wrong and what to do.")
    errors: list[FieldError] = Field(default=[], description=f"Up to {MAX_ERRORS} single errors, where there are any.")


class Problem(Exception):
    """An expected error; ends the request with a problem document.

    Parameters
    ----------
    status
        HTTP status.
    detail
        One clear sentence.
    errors
        Single errors by row and field.
    headers
        Headers of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


def invalid(errors: Sequence[FieldError], total: int | None = None) -> Problem:
    """The 422 problem of a body that can be read but not used."""
    count = len(errors) if total is None else total
    first = errors[0]
    parts = (f"row {first.row}" if first.row else "", f"field {first.field}" if first.field else "")
    where = ", ".join(part for part in parts if part)
    more = f" ({count:,} errors in all)" if count > 1 else ""
    detail = f"{where[:1].upper()}{where[1:]}: {first.message}{more}" if where else f"{first.message}{more}"
    return Problem(422, detail, errors[:MAX_ERRORS])


def invalid_field(field: str | None, message: str) -> Problem:
    """The 422 problem of one field that is not about a row."""
    return invalid([FieldError(row=None, field=field, message=message)])


def field_error(error: ErrorDetails, *, offset: int = 0, skip: Sequence[str] = ()) -> FieldError:
    """One of pydantic's errors; `skip` are container names that say nothing to the caller."""
    location = [part for part in error["loc"] if part not in skip]
    row = next((part for part in location if isinstance(part, int)), None)
    names = [part for part in location if isinstance(part, str)]
    message = error["msg"]
    if error["type"] == "missing":
        message = "Field is missing; every field of the contract must be present, null where it is not known."
    elif error["type"] == "extra_forbidden":
        message = "Field is unknown; see GET /model for the fields."
    elif error["type"] == "model_type":
        message = 'Expected an object {"customer_id": ..., "features": {...}}.'
    elif not isinstance(error["input"], dict | list):
        message = f"{message}; found {_shown(error['input'])}."
    return FieldError(
        row=None if row is None else row + 1 + offset,
        field=".".join(names) or None,
        message=message,
    )


def _shown(value: Any) -> str:
    text = to_json(value, inf_nan_mode="constants").decode()
    return text if len(text) <= 60 else text[:57] + "..."


def respond(problem: Problem) -> Response:
    """The HTTP answer of a problem."""
    document = ProblemDocument(
        title=HTTPStatus(problem.status).phrase, status=problem.status, detail=problem.detail, errors=problem.errors
    )
    return Response(
        document.model_dump_json(), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


def install(app: FastAPI) -> None:
    """Answer every expected error of `app` with a problem document; ``Border`` answers the others."""

    @app.exception_handler(Problem)
    async def expected(request: Request, error: Problem) -> Response:
        return respond(error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        details = {
            404: f"There is nothing at {request.url.path}; see /docs for what there is.",
            405: f"{request.url.path} does not take {request.method}; see /docs for what it takes.",
        }
        return respond(
            Problem(error.status_code, details.get(error.status_code, str(error.detail)), headers=error.headers)
        )

    @app.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> Response:
        return respond(invalid([field_error(one, skip=("query", "path", "header")) for one in error.errors()]))

    @app.exception_handler(ClientDisconnect)
    async def disconnected(request: Request, error: ClientDisconnect) -> Response:
        return respond(Problem(400, "The connection was closed before the body had arrived."))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the problems a route may answer with."""
    reference = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": reference}}}
        for status in statuses
    }
