"""Whether the service lives, and whether it can answer."""

from __future__ import annotations

from fastapi import APIRouter

from serving.answers import Health, Ready
from serving.problems import documented
from serving.service import CurrentModel

router = APIRouter(tags=["health"])


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> Health:
    """Alive: answers as soon as the process runs, with or without a model."""
    return Health()


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=documented(503))
async def ready(model: CurrentModel) -> Ready:
    """Ready: a model is loaded."""
    return Ready(version=model.version.version)
