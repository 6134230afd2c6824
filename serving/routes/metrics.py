"""Counts and latencies for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serving.metrics import MEDIA_TYPE
from serving.problems import documented
from serving.service import CurrentService

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text."}, **documented(401)},
)
async def metrics(service: CurrentService) -> Response:
    """Requests by route and status, latencies, rows, the model in service, versions refused."""
    return Response(service.metrics.text(service), headers={"Content-Type": MEDIA_TYPE})
