"""Predictions, from features or from raw purchases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.answers import PredictionAnswer
from serving.bodies import CSV, JSON, PARQUET, content_type, read_body
from serving.model import ServedModel, named, unknown_warnings
from serving.problems import documented, invalid_field
from serving.purchases import parse_day, read_table, stage_json, stage_table
from serving.reading import customers_body, read_customers, respond
from serving.service import CurrentModel, CurrentService, Service, check_key, get_model, get_service

router = APIRouter(prefix="/predict", tags=["predict"])

_PROBLEMS = documented(400, 401, 408, 413, 415, 422, 500, 503)


@router.post(
    "",
    response_model=PredictionAnswer,
    responses=_PROBLEMS,
    openapi_extra=customers_body("PredictRequest"),
)
async def predict(request: Request) -> Response:
    """Predict from features: exactly the model's contract, nullable features present all the same."""
    # By hand what the other routes leave to FastAPI: resolving dependencies would cost as much as checking the body.
    service = await get_service(request)
    await check_key(request, service)
    model = await get_model(service)
    body = await read_customers(request, service)
    answer = await service.work(lambda: _from_features(service, model, body), len(body))
    return Response(answer, media_type=JSON)


@router.post(
    "/purchases",
    dependencies=[Depends(check_key)],
    response_model=PredictionAnswer,
    responses=_PROBLEMS,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/PurchasesRequest"}},
                CSV: {"schema": {"type": "string"}},
                PARQUET: {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
async def predict_from_purchases(
    request: Request,
    model: CurrentModel,
    service: CurrentService,
    as_of: Annotated[
        str | None, Query(description="The as-of day; for CSV and Parquet, JSON has it in the body.")
    ] = None,
) -> Response:
    """Predict from raw purchases: the service computes the features as the warehouse does, as of a day."""
    media_type = content_type(request, (JSON, CSV, PARQUET))
    if media_type == JSON and as_of is not None:
        raise invalid_field("as_of", "With JSON the as-of day belongs into the body, not into the address.")
    body = await read_body(request, service.settings.max_purchases_body_bytes, service.settings.body_seconds)
    answer = await service.in_thread(lambda: _from_purchases(service, model, body, media_type, as_of))
    return Response(answer, media_type=JSON)


def _from_features(service: Service, model: ServedModel, body: bytes) -> bytes:
    customers = model.reader.read(body, service.settings.max_rows)
    matrix = model.predictor.encoder.encode_records(customers.records)
    columns = model.columns(matrix)
    service.note("predict", model, customers.ids, matrix, columns)
    warnings = unknown_warnings(model.unknown_categories(customers.records))
    return respond(model.answer(customers.ids, columns, warnings))


def _from_purchases(service: Service, model: ServedModel, body: bytes, media_type: str, as_of: str | None) -> bytes:
    max_rows, features_sql = service.settings.max_purchase_rows, model.predictor.features_sql
    if media_type == JSON:
        snapshot = service.features.snapshot(
            lambda workspace: stage_json(workspace, body, max_rows), features_sql, len(body)
        )
    else:
        day = parse_day(as_of)
        table = read_table(body, media_type, max_rows)
        snapshot = service.features.snapshot(
            lambda workspace: stage_table(workspace, table, day, max_rows), features_sql, len(body)
        )
    encoder = model.predictor.encoder
    warnings = [*snapshot.staged.warnings, *unknown_warnings(encoder.unknown(snapshot.frame))]
    if snapshot.left_out:
        count = len(snapshot.left_out)
        warnings.append(
            f"{count:,} customer{'' if count == 1 else 's'} without a purchase (a day with a net amount above 0) by "
            f"{snapshot.staged.as_of} got no prediction: {named(snapshot.left_out)}."
        )
    matrix = encoder.encode(snapshot.frame)
    columns = model.columns(matrix)
    service.note("purchases", model, snapshot.ids, matrix, columns, str(snapshot.staged.as_of))
    return respond(model.answer(snapshot.ids, columns, warnings))
