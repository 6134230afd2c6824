"""Totals of a set of customers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serving.answers import PortfolioAnswer
from serving.bodies import JSON
from serving.model import unknown_warnings
from serving.portfolio import portfolio
from serving.problems import documented
from serving.reading import customers_body, read_customers, respond
from serving.service import CurrentModel, CurrentService

router = APIRouter(tags=["predict"])


@router.post(
    "/portfolio",
    response_model=PortfolioAnswer,
    responses=documented(400, 401, 408, 413, 415, 422, 500, 503),
    openapi_extra=customers_body("PredictRequest"),
)
async def add_up(request: Request, model: CurrentModel, service: CurrentService) -> Response:
    """Add up customers: expected value and returners with intervals, and how much the best tenth brings."""
    body = await read_customers(request, service)

    def answer() -> bytes:
        customers = model.reader.read(body, service.settings.max_rows)
        predictor = model.predictor
        parts = predictor.predict_matrix(predictor.encoder.encode_records(customers.records))
        totals = portfolio(parts, model.about, predictor.value_interval)
        shop = service.shop.total()
        service.metrics.add_rows("portfolio", len(customers.ids))
        return respond(
            {
                "model": model.header,
                "interval_level": model.about["interval_level"],
                "portfolio": {**totals, "shop_share": totals["expected_value"] / shop if shop else None},
                "warnings": unknown_warnings(model.unknown_categories(customers.records)),
            }
        )

    return Response(await service.in_thread(answer), media_type=JSON)
