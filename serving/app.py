"""The service as an app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from clv import __version__
from serving import openapi, problems
from serving.features import FeatureStore
from serving.holder import Holder
from serving.registry import Registry
from serving.routes import health, model, predict
from serving.service import Service, check_key
from serving.settings import ServingSettings


def create_app(settings: ServingSettings) -> FastAPI:
    """The prediction service; the model is loaded in the background once the app starts."""
    features = FeatureStore(settings.threads)
    holder = Holder(Registry(settings.tracking_uri, settings.model_uri), features, settings.poll_seconds)
    service = Service(settings, holder, features)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        holder.start()
        yield
        holder.stop()
        features.close()

    app = FastAPI(
        title="Customer lifetime value",
        version=__version__,
        description="What each customer will spend in the next days, by the model in Production.",
        lifespan=lifespan,
    )
    app.state.service = service
    problems.install(app)
    openapi.install(app, service)
    app.include_router(health.router)
    app.include_router(model.router, dependencies=[Depends(check_key)])
    app.include_router(predict.router, dependencies=[Depends(check_key)])
    return app
