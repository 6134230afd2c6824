"""OpenAPI that knows the model in service: its features are in the schema, its examples run as shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.model import ServedModel
from serving.problems import ProblemDocument
from serving.purchases import COLUMNS, EXPECTED, Kind
from serving.schemas import allowed_value
from serving.service import Service

_REFERENCE = "#/components/schemas/{model}"

_NO_MODEL = {"type": "object", "description": "Depends on the model; none is in service yet."}

_JSON_TYPES: dict[Kind, list[str]] = {
    "text": ["string"],
    "time": ["string"],
    "date": ["string"],
    "money": ["number", "string"],
    "count": ["integer", "string"],
}


def install(app: FastAPI, service: Service) -> None:
    """Describe `app` by the model that is in service when it is asked."""

    def openapi() -> dict[str, Any]:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _leave_out_what_is_never_sent(document)
        if service.settings.api_key is not None:
            _ask_for_key(document)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        _add(schemas, "ProblemDocument", ProblemDocument.model_json_schema(ref_template=_REFERENCE))
        schemas["PurchasesRequest"] = _purchases_schema()
        model = service.holder.state.model
        if model is None:
            schemas["PredictRequest"] = _NO_MODEL
            schemas["ExplainRequest"] = _NO_MODEL
        else:
            for name, most in (
                ("PredictRequest", service.settings.max_rows),
                ("ExplainRequest", service.settings.max_explain_rows),
            ):
                request = model.reader.request.model_json_schema(ref_template=_REFERENCE)
                request["properties"]["customers"]["maxItems"] = most
                _add(schemas, name, {**request, "title": name, "example": _example(model)})
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (operation for methods in document["paths"].values() for operation in methods.values())


def _leave_out_what_is_never_sent(document: dict[str, Any]) -> None:
    """FastAPI's own errors: it describes one wherever a path has a parameter, and here all are problem documents."""
    for operation in _operations(document):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _ask_for_key(document: dict[str, Any]) -> None:
    """Let /docs ask for the key, for all routes but those that are open."""
    document["components"]["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    document["security"] = [{"key": []}]
    for operation in _operations(document):
        if "401" not in operation["responses"]:
            operation["security"] = []


def _add(schemas: dict[str, Any], name: str, schema: dict[str, Any]) -> None:
    """Add a schema and the ones it refers to."""
    schemas |= schema.pop("$defs", {})
    schemas[name] = schema


def _example(model: ServedModel) -> dict[str, Any]:
    """A customer the contract allows: everything unknown that may be."""
    features = {
        feature["name"]: None if feature["nullable"] else allowed_value(feature, feature["values"])
        for feature in model.contract
    }
    return {"customers": [{"customer_id": "00001", "features": features}]}


def _purchases_schema() -> dict[str, Any]:
    properties = {
        column.name: {
            "type": _JSON_TYPES[column.kind] + ([] if column.is_required else ["null"]),
            "description": f"{column.description} Expected: {EXPECTED[column.kind]}.",
        }
        for column in COLUMNS
    }
    purchase = {
        "type": "object",
        "additionalProperties": False,
        "required": [column.name for column in COLUMNS if column.is_required],
        "properties": properties,
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["as_of", "purchases"],
        "properties": {
            "as_of": {"type": "string", "format": "date", "description": "Features are as of the end of this day."},
            "purchases": {"type": "array", "minItems": 1, "items": purchase},
        },
        "example": {
            "as_of": "2018-06-30",
            "purchases": [
                {"customer_id": "00001", "purchased_at": "2018-03-01 14:05:00", "amount": 120.5, "order_id": "a-1"},
                {"customer_id": "00001", "purchased_at": "2018-05-20 09:30:00", "amount": 80.0, "order_id": "a-2"},
            ],
        },
    }
