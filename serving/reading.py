"""What the routes that take customers share: the body as OpenAPI shows it, its reading, the answer's writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic_core import to_json

from clv.unknown import named, unknown_warnings
from serving.bodies import CSV, JSON, PARQUET, content_type, read_body
from serving.features import Snapshot
from serving.model import ServedModel
from serving.problems import invalid_field
from serving.purchases import Staged, parse_day, read_table, stage_json, stage_table
from serving.service import Service
from serving.workspace import Workspace

AsOf = Annotated[str | None, Query(description="The as-of day; for CSV and Parquet, JSON has it in the body.")]


@dataclass(frozen=True)
class PurchasesBody:
    """A body of purchases, not yet parsed.

    Attributes
    ----------
    content, media_type
        The body.
    as_of
        The as-of day of a body that does not hold it.
    """

    content: bytes
    media_type: str
    as_of: str | None


def customers_body(schema: str) -> dict[str, Any]:
    """OpenAPI's description of a body of customers."""
    return {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
    }


def purchases_body() -> dict[str, Any]:
    """OpenAPI's description of a body of purchases."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/PurchasesRequest"}},
                CSV: {"schema": {"type": "string"}},
                PARQUET: {"schema": {"type": "string", "format": "binary"}},
            },
        }
    }


async def read_customers(request: Request, service: Service) -> bytes:
    """Read a body of customers, not yet parsed."""
    content_type(request, (JSON,))
    return await read_body(request, service.settings.max_body_bytes, service.settings.body_seconds)


async def read_purchases(request: Request, service: Service, as_of: str | None) -> PurchasesBody:
    """Read a body of purchases, not yet parsed."""
    media_type = content_type(request, (JSON, CSV, PARQUET))
    if media_type == JSON and as_of is not None:
        raise invalid_field("as_of", "With JSON the as-of day belongs into the body, not into the address.")
    body = await read_body(request, service.settings.max_purchases_body_bytes, service.settings.body_seconds)
    return PurchasesBody(body, media_type, as_of)


def snapshot(service: Service, model: ServedModel, purchases: PurchasesBody) -> tuple[Snapshot, list[str]]:
    """Compute the features of the customers in a body; also says what the caller should know.

    Raises
    ------
    Problem
        422 naming rows and columns, if the purchases can't be used.
    """
    max_rows, size = service.settings.max_purchase_rows, len(purchases.content)
    features_sql, names = model.predictor.features_sql, model.predictor.encoder.features
    if purchases.media_type == JSON:
        found = service.features.snapshot(
            lambda workspace: stage_json(workspace, purchases.content, max_rows), features_sql, names, size
        )
    else:
        day = parse_day(purchases.as_of)

        def stage(workspace: Workspace) -> Staged:
            # Read in here, the table is gone again before features are computed.
            table = read_table(purchases.content, purchases.media_type, max_rows)
            return stage_table(workspace, table, day, max_rows)

        found = service.features.snapshot(stage, features_sql, names, size)
    warnings = [*found.staged.warnings, *unknown_warnings(model.coder.unknown(found.customers))]
    if found.left_out:
        count = len(found.left_out)
        warnings.append(
            f"{count:,} customer{'' if count == 1 else 's'} without a purchase (a day with a net amount above 0) by "
            f"{found.staged.as_of} got no prediction: {named(found.left_out)}."
        )
    return found, warnings


def respond(answer: Mapping[str, Any]) -> bytes:
    """The answer as JSON; a number that is none becomes null."""
    return to_json(answer, inf_nan_mode="null")
