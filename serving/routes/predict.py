"""Predictions, from features or from raw purchases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from serving.answers import PredictionAnswer
from serving.bodies import CSV, JSON, PARQUET, content_type, read_body
from serving.features import FeatureStore
from serving.model import ServedModel, named, unknown_warnings
from serving.problems import documented, invalid_field
from serving.purchases import parse_day, read_table, stage_json, stage_table
from serving.service import CurrentModel, CurrentService

router = APIRouter(prefix="/predict", tags=["predict"])

_PROBLEMS = documented(400, 401, 413, 415, 422, 500, 503)


@router.post(
    "",
    response_model=PredictionAnswer,
    responses=_PROBLEMS,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/PredictRequest"}}},
        }
    },
)
async def predict(request: Request, model: CurrentModel, service: CurrentService) -> Response:
    """Predict from features: exactly the model's contract, nullable features present all the same."""
    content_type(request, (JSON,))
    body = await read_body(request, service.settings.max_body_bytes)
    answer = await service.work(lambda: _from_features(model, body, service.settings.max_rows), len(body))
    return Response(answer, media_type=JSON)


@router.post(
    "/purchases",
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
    body = await read_body(request, service.settings.max_purchases_body_bytes)
    max_rows = service.settings.max_purchase_rows
    answer = await service.in_thread(
        lambda: _from_purchases(model, service.features, body, media_type, as_of, max_rows)
    )
    return Response(answer, media_type=JSON)


def _from_features(model: ServedModel, body: bytes, max_rows: int) -> bytes:
    customers = model.reader.read(body, max_rows)
    matrix = model.predictor.encoder.encode_records(customers.records)
    return model.answer(customers.ids, matrix, unknown_warnings(model.unknown_categories(customers.records)))


def _from_purchases(
    model: ServedModel, features: FeatureStore, body: bytes, media_type: str, as_of: str | None, max_rows: int
) -> bytes:
    if media_type == JSON:
        snapshot = features.snapshot(lambda cursor: stage_json(cursor, body, max_rows), model.predictor.features_sql)
    else:
        day = parse_day(as_of)
        table = read_table(body, media_type, max_rows)
        snapshot = features.snapshot(
            lambda cursor: stage_table(cursor, table, day, max_rows), model.predictor.features_sql
        )
    encoder = model.predictor.encoder
    warnings = [*snapshot.staged.warnings, *unknown_warnings(encoder.unknown(snapshot.frame))]
    if snapshot.left_out:
        count = len(snapshot.left_out)
        warnings.append(
            f"{count:,} customer{'' if count == 1 else 's'} without a purchase (a day with a net amount above 0) by "
            f"{snapshot.staged.as_of} got no prediction: {named(snapshot.left_out)}."
        )
    return model.answer(snapshot.ids, encoder.encode(snapshot.frame), warnings)
