"""What the routes that take customers share: the body as OpenAPI shows it, its reading, the answer's writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic_core import to_json

from serving.bodies import JSON, content_type, read_body
from serving.service import Service


def customers_body(schema: str) -> dict[str, Any]:
    """OpenAPI's description of a body of customers."""
    return {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
    }


async def read_customers(request: Request, service: Service) -> bytes:
    """Read a body of customers, not yet parsed."""
    content_type(request, (JSON,))
    return await read_body(request, service.settings.max_body_bytes, service.settings.body_seconds)


def respond(answer: Mapping[str, Any]) -> bytes:
    """The answer as JSON; a number that is none becomes null."""
    return to_json(answer, inf_nan_mode="null")
