"""Explanations."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from clv.unknown import unknown_warnings
from serving.answers import ExplainAnswer
from serving.bodies import JSON
from serving.explain import explain
from serving.problems import documented
from serving.reading import customers_body, read_customers, respond
from serving.service import CurrentModel, CurrentService

router = APIRouter(tags=["predict"])


@router.post(
    "/explain",
    response_model=ExplainAnswer,
    responses=documented(400, 401, 408, 413, 415, 422, 500, 503),
    openapi_extra=customers_body("ExplainRequest"),
)
async def explain_customers(request: Request, model: CurrentModel, service: CurrentService) -> Response:
    """Explain predictions: what each feature adds to both parts and, in money, to the expected value."""
    body = await read_customers(request, service)

    def answer() -> bytes:
        customers = model.reader.read(body, service.settings.max_explain_rows)
        explanations = explain(model, customers)
        service.metrics.add_rows("explain", len(explanations))
        warnings = unknown_warnings(model.coder.unknown(customers))
        return respond({"model": model.header, "explanations": explanations, "warnings": warnings})

    return Response(await service.in_thread(answer), media_type=JSON)
