"""The service as an app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from clv import __version__
from serving import openapi, problems
from serving.border import HEADER, Border
from serving.features import FeatureStore
from serving.holder import Holder
from serving.log_places import place_of
from serving.metrics import Metrics
from serving.prediction_log import PredictionLog
from serving.registry import Registry
from serving.report import Reporter
from serving.routes import customers, explain, health, metrics, model, portfolio, predict
from serving.service import Service, check_key
from serving.settings import ServingSettings
from serving.shop import ScoredShop, source_of


def create_app(settings: ServingSettings) -> FastAPI:
    """The prediction service; the model is loaded in the background once the app starts.

    Raises
    ------
    InputError
        If the folder of the prediction log can't be made.
    """
    features = FeatureStore(settings.threads, memory_limit=settings.common.memory_limit)
    registry = Registry(settings.tracking_uri, settings.model_uri)
    place = place_of(settings)
    service = Service(
        settings=settings,
        holder=Holder(registry, features, settings.poll_seconds),
        features=features,
        shop=ScoredShop(source_of(settings)),
        reporter=Reporter(registry, settings.poll_seconds),
        metrics=Metrics(),
        log=PredictionLog(place, settings.prediction_log_rows, settings.prediction_log_seconds) if place else None,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPIOffline(
        redoc_url=None,
        title="Customer lifetime value",
        version=__version__,
        description="What each customer will spend in the next days, by the model in Production.",
        lifespan=lifespan,
    )
    app.state.service = service
    problems.install(app)
    openapi.install(app, service)
    app.add_middleware(Border, metrics=service.metrics, draining=service.draining)
    if settings.cors_origins:  # added later, it is outside: a page must be able to read whatever comes out here
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "X-API-Key", HEADER],
            expose_headers=[HEADER],
        )
    app.include_router(predict.direct)  # first to be matched; it checks the key itself
    app.include_router(predict.router)
    app.include_router(health.router)
    for routes in (metrics, model, explain, portfolio, customers):
        app.include_router(routes.router, dependencies=[Depends(check_key)])
    return app
