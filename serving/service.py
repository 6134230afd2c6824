"""What the routes share: settings, the model in service, and the threads for large requests."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from serving.features import FeatureStore
from serving.holder import Holder
from serving.model import ServedModel
from serving.problems import Problem
from serving.settings import ServingSettings

_INLINE_BYTES = 16 * 1024
"""Bodies up to this size are answered on the spot, in well under a millisecond; a thread would cost more."""


@dataclass(frozen=True)
class Service:
    """One per app.

    Attributes
    ----------
    settings, holder, features
        Its parts.
    large
        Lets so many large requests be worked on at once; the others wait, health and small requests do not.
    """

    settings: ServingSettings
    holder: Holder
    features: FeatureStore
    large: CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "large", CapacityLimiter(self.settings.threads))

    async def work(self, answer: Callable[[], bytes], body_size: int) -> bytes:
        """Run `answer`: here if the body is small, else in one of the threads for large requests."""
        if body_size <= _INLINE_BYTES:
            return answer()
        return await self.in_thread(answer)

    async def in_thread(self, answer: Callable[[], bytes]) -> bytes:
        """Run `answer` in one of the threads for large requests."""
        return await to_thread.run_sync(answer, limiter=self.large)


# Dependencies are coroutines: FastAPI would send plain functions through a thread on every request.


async def get_service(request: Request) -> Service:
    """The app's service."""
    service: Service = request.app.state.service
    return service


async def get_model(service: Annotated[Service, Depends(get_service)]) -> ServedModel:
    """The model in service, one and the same for the whole request.

    Raises
    ------
    Problem
        503 until there is one.
    """
    state = service.holder.state
    if state.model is not None:
        return state.model
    if state.refused is not None:
        reason = state.refused.reason
    else:
        reason = state.trouble or "It is being loaded; try again in a moment."
    raise Problem(
        503,
        f"No model is in service yet. {reason}",
        headers={"Retry-After": str(max(1, round(service.settings.poll_seconds)))},
    )


async def check_key(request: Request, service: Annotated[Service, Depends(get_service)]) -> None:
    """Let callers in who know the key, if one is set.

    Raises
    ------
    Problem
        401 for the others.
    """
    key = service.settings.api_key
    if key is None:
        return
    sent = request.headers.get("x-api-key", "").encode("latin-1")
    if not secrets.compare_digest(sent, key.get_secret_value().encode()):
        raise Problem(
            401,
            "The API key is missing or wrong; send it in the header X-API-Key.",
            headers={"WWW-Authenticate": "ApiKey"},
        )


CurrentService = Annotated[Service, Depends(get_service)]
CurrentModel = Annotated[ServedModel, Depends(get_model)]
