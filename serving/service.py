"""What the routes share: settings, the model in service, and the threads for large requests."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import numpy as np
from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import Depends, Request
from numpy.typing import NDArray

from serving.features import FeatureStore
from serving.helpers import Helpers
from serving.holder import Holder
from serving.metrics import Metrics
from serving.model import ServedModel
from serving.prediction_log import Entry, PredictionLog
from serving.problems import Problem
from serving.report import Reporter
from serving.settings import ServingSettings
from serving.shop import ScoredShop

Result = TypeVar("Result")

_INLINE_BYTES = 16 * 1024
"""Bodies up to this size are answered on the spot, in well under a millisecond; a thread would cost more."""


@dataclass(frozen=True)
class Service:
    """One per app.

    Attributes
    ----------
    settings, holder, features, shop, reporter, metrics
        Its parts.
    log
        The log of predictions, if it is on.
    large
        Lets so many large requests be worked on at once; the others wait, health and small requests do not.
    asking
        Lets one request at a time ask the registry, which may hang: no prediction is to wait for it.
    helpers
        Threads that share out the trees of large requests.
    draining
        Set when the service is about to end: each connection then gets one more answer.
    """

    settings: ServingSettings
    holder: Holder
    features: FeatureStore
    shop: ScoredShop
    reporter: Reporter
    metrics: Metrics
    log: PredictionLog | None
    large: CapacityLimiter = field(init=False)
    asking: CapacityLimiter = field(init=False)
    helpers: Helpers = field(init=False)
    draining: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        object.__setattr__(self, "large", CapacityLimiter(self.settings.threads))
        object.__setattr__(self, "asking", CapacityLimiter(1))
        object.__setattr__(self, "helpers", Helpers(self.settings.threads))

    def start(self) -> None:
        """Begin to follow the registry and the shop, and to log."""
        self.holder.start()
        self.shop.source.start()
        if self.log is not None:
            self.log.start()

    def stop(self) -> None:
        """End all of it; what waits to be logged is written first."""
        self.holder.stop()
        if self.log is not None:
            self.log.stop()
        self.helpers.close()
        self.shop.source.close()
        self.features.close()

    def note(
        self,
        kind: str,
        model: ServedModel,
        ids: Sequence[str],
        matrix: NDArray[np.float32],
        columns: Mapping[str, NDArray[np.float64]],
        as_of_date: str | None = None,
    ) -> None:
        """Count predictions and, if the log is on, log them."""
        self.metrics.add_rows(kind, len(ids))
        if self.log is not None and len(ids):
            self.log.add(
                Entry(
                    model=model.version.name,
                    version=model.version.version,
                    horizon_days=model.about["horizon_days"],
                    as_of_date=as_of_date,
                    ids=ids,
                    p_return=columns["p_return"],
                    value_if_return=columns["value_if_return"],
                    expected_value=columns["expected_value"],
                    matrix=matrix,
                )
            )

    async def work(self, answer: Callable[[], Result], body_size: int) -> Result:
        """Run `answer`: here if the body is small, else in one of the threads for large requests."""
        if body_size <= _INLINE_BYTES:
            return answer()
        return await self.in_thread(answer)

    async def in_thread(self, answer: Callable[[], Result]) -> Result:
        """Run `answer` in one of the threads for large requests.

        Raises
        ------
        Problem
            503 if none of them gets free in time.
        """
        return await self._in_turn(answer, self.large, "is busy with other large requests")

    async def ask_registry(self, answer: Callable[[], Result]) -> Result:
        """Run `answer`, which asks the registry, in a thread beside those for large requests.

        Raises
        ------
        Problem
            503 if the registry has not answered another request in time.
        """
        return await self._in_turn(answer, self.asking, "is still waiting for the registry")

    async def _in_turn(self, answer: Callable[[], Result], limiter: CapacityLimiter, trouble: str) -> Result:
        try:
            # The wait has a limit, the work has not: a thread can't be stopped, and letting it go on unseen would let
            # any number of them pile up.
            with fail_after(self.settings.queue_seconds):
                await limiter.acquire()
        except TimeoutError:
            raise Problem(503, f"The service {trouble}; try again in a moment.", headers={"Retry-After": "5"}) from None
        try:
            return await to_thread.run_sync(answer, limiter=CapacityLimiter(1))
        finally:
            limiter.release()


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
