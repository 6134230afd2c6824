"""Predictions, from features or from raw purchases."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute

from clv.unknown import unknown_warnings
from serving.answers import PredictionAnswer, PurchasesAnswer
from serving.bodies import JSON
from serving.model import ServedModel
from serving.problems import documented
from serving.reading import (
    AsOf,
    PurchasesBody,
    customers_body,
    purchases_body,
    read_customers,
    read_purchases,
    snapshot,
)
from serving.service import CurrentModel, CurrentService, Service, check_key, get_model, get_service


class DirectRoute(APIRoute):
    """A route that FastAPI describes and matches, but whose function is called with the bare request.

    Resolving dependencies would cost as much as checking the body.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        return self.endpoint


direct = APIRouter(prefix="/predict", tags=["predict"], route_class=DirectRoute)
router = APIRouter(prefix="/predict", tags=["predict"])

_PROBLEMS = documented(400, 401, 408, 413, 415, 422, 500, 503)


@direct.post(
    "",
    response_model=PredictionAnswer,
    responses=_PROBLEMS,
    openapi_extra=customers_body("PredictRequest"),
)
async def predict(request: Request) -> Response:
    """Predict from features: exactly the model's contract, nullable features present all the same."""
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
    matrix = model.coder.matrix(customers)
    columns = model.columns(matrix, service.helpers)
    service.note("predict", model, customers.ids, matrix, columns)
    return model.answer(customers.ids, columns, unknown_warnings(model.coder.unknown(customers)))


def _from_purchases(service: Service, model: ServedModel, purchases: PurchasesBody, with_features: bool) -> bytes:
    found, warnings = snapshot(service, model, purchases)
    customers = found.customers
    matrix = model.coder.matrix(customers)
    columns = model.columns(matrix, service.helpers)
    service.note("purchases", model, customers.ids, matrix, columns, str(found.staged.as_of))
    return model.answer(customers.ids, columns, warnings, customers.records() if with_features else ())
