"""Predictions, from features or from raw purchases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from serving.answers import PredictionAnswer, PurchasesAnswer
from serving.bodies import JSON
from serving.model import ServedModel, unknown_warnings
from serving.problems import documented
from serving.reading import (
    AsOf,
    PurchasesBody,
    customers_body,
    purchases_body,
    read_customers,
    read_purchases,
    respond,
    snapshot,
)
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
    response_model=PurchasesAnswer,
    responses=_PROBLEMS,
    openapi_extra=purchases_body(),
)
async def predict_from_purchases(
    request: Request,
    model: CurrentModel,
    service: CurrentService,
    as_of: AsOf = None,
    features: Annotated[bool, Query(description="Answer with the features as well.")] = False,
) -> Response:
    """Predict from raw purchases: the service computes the features as the warehouse does, as of a day."""
    purchases = await read_purchases(request, service, as_of)
    answer = await service.in_thread(lambda: _from_purchases(service, model, purchases, features))
    return Response(answer, media_type=JSON)


def _from_features(service: Service, model: ServedModel, body: bytes) -> bytes:
    customers = model.reader.read(body, service.settings.max_rows)
    matrix = model.predictor.encoder.encode_records(customers.records)
    columns = model.columns(matrix)
    service.note("predict", model, customers.ids, matrix, columns)
    warnings = unknown_warnings(model.unknown_categories(customers.records))
    return respond(model.answer(customers.ids, columns, warnings))


def _from_purchases(service: Service, model: ServedModel, purchases: PurchasesBody, with_features: bool) -> bytes:
    found, warnings = snapshot(service, model, purchases)
    encoder = model.predictor.encoder
    matrix = encoder.encode(found.frame)
    columns = model.columns(matrix)
    service.note("purchases", model, found.ids, matrix, columns, str(found.staged.as_of))
    answer = model.answer(found.ids, columns, warnings)
    if with_features:
        records = found.frame[list(encoder.features)].to_dict(orient="records")
        for prediction, record in zip(answer["predictions"], records, strict=True):
            prediction["features"] = record
    return respond(answer)
