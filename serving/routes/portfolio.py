"""Totals of a set of customers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from clv.predictor import Parts
from clv.unknown import unknown_warnings
from serving.answers import PortfolioAnswer
from serving.bodies import JSON
from serving.model import ServedModel
from serving.portfolio import portfolio
from serving.problems import documented, invalid_field
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
from serving.service import CurrentModel, CurrentService, Service

router = APIRouter(prefix="/portfolio", tags=["portfolio"])

_PROBLEMS = documented(400, 401, 408, 413, 415, 422, 500, 503)


@router.get("", response_model=PortfolioAnswer, responses=documented(401, 404, 500, 503))
async def add_up_shop(model: CurrentModel, service: CurrentService) -> Response:
    """Add up all customers that were scored last; the intervals are those of the model in service."""
    return Response(await service.in_thread(lambda: respond(_of_shop(service, model))), media_type=JSON)


@router.post("", response_model=PortfolioAnswer, responses=_PROBLEMS, openapi_extra=customers_body("PredictRequest"))
async def add_up(request: Request, model: CurrentModel, service: CurrentService) -> Response:
    """Add up customers: expected value and returners with intervals, how much the best tenth and the best k bring."""
    body = await read_customers(request, service)
    return Response(await service.in_thread(lambda: respond(_of_features(service, model, body))), media_type=JSON)


@router.post("/purchases", response_model=PortfolioAnswer, responses=_PROBLEMS, openapi_extra=purchases_body())
async def add_up_purchases(
    request: Request, model: CurrentModel, service: CurrentService, as_of: AsOf = None
) -> Response:
    """Add up customers by their raw purchases, as of a day."""
    purchases = await read_purchases(request, service, as_of)
    answer = await service.in_thread(lambda: respond(_of_purchases(service, model, purchases)))
    return Response(answer, media_type=JSON)


def _of_shop(service: Service, model: ServedModel) -> dict[str, Any]:
    scored, parts = service.shop.parts()
    warnings = []
    if scored["scored_by"] != f"version {model.version.version}":
        warnings.append(
            f"The shop was scored by {scored['scored_by']}, not by the version in service; `clv score` brings it up to "
            "date."
        )
    return _answer(model, parts, scored["expected_value"], warnings)


def _of_features(service: Service, model: ServedModel, body: bytes) -> dict[str, Any]:
    customers = model.reader.read(body, service.settings.max_rows)
    parts = model.parts(model.coder.matrix(customers), service.helpers)
    service.metrics.add_rows("portfolio", len(customers))
    warnings = unknown_warnings(model.coder.unknown(customers))
    return _answer(model, parts, service.shop.total(), warnings)


def _of_purchases(service: Service, model: ServedModel, purchases: PurchasesBody) -> dict[str, Any]:
    found, warnings = snapshot(service, model, purchases)
    if not len(found.customers):
        raise invalid_field(
            "purchases",
            f"No customer has a purchase (a day with a net amount above 0) by {found.staged.as_of}; there is nothing "
            "to add up.",
        )
    parts = model.parts(model.coder.matrix(found.customers), service.helpers)
    service.metrics.add_rows("portfolio", len(found.customers))
    return _answer(model, parts, service.shop.total(), warnings)


def _answer(model: ServedModel, parts: Parts, shop_total: float | None, warnings: list[str]) -> dict[str, Any]:
    totals = portfolio(parts, model.about, model.predictor.value_interval)
    return {
        "model": model.header,
        "interval_level": model.about["interval_level"],
        "portfolio": {**totals, "shop_share": totals["expected_value"] / shop_total if shop_total else None},
        "warnings": warnings,
    }
