"""What is known of the model in service."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serving.answers import FeatureFacts, ModelAnswer, ModelHeader, RefusedVersion, RegistryFacts, ReportAnswer
from serving.bodies import JSON
from serving.files import WholeFile
from serving.problems import Problem, documented
from serving.reading import respond
from serving.report import STAGE, alias_warnings
from serving.service import CurrentModel, CurrentService

PNG = "image/png"

BACKTEST_FIGURE = "backtest.png"

router = APIRouter(prefix="/model", tags=["model"])


@router.get("", responses=documented(401, 503))
async def describe(model: CurrentModel, service: CurrentService) -> ModelAnswer:
    """Version, contract with ranges, evaluation, feature importance, figures, and what the registry last said."""
    state = service.holder.state
    version = model.version
    return ModelAnswer(
        model=ModelHeader(**model.header),
        aliases=list(version.aliases),
        run_id=version.run_id,
        registered_at=version.registered_at,
        promoted_at=version.changed_at if version.stage == STAGE else None,
        loaded_at=model.loaded_at,
        contract=[FeatureFacts(**feature) for feature in model.contract],
        about={fact: value for fact, value in model.about.items() if fact not in ("contract", "inputs")},
        figures=list(model.figures),
        refused=None
        if state.refused is None
        else RefusedVersion(version=state.refused.version, reason=state.refused.reason, at=state.refused.at),
        warnings=alias_warnings(version),
        registry=RegistryFacts(
            model_uri=service.settings.model_uri,
            checked_at=state.checked_at,
            trouble=state.trouble,
            poll_seconds=service.settings.poll_seconds,
        ),
    )


@router.get("/report", response_model=ReportAnswer, responses=documented(401, 500, 503))
async def report(model: CurrentModel, service: CurrentService) -> Response:
    """How the version came into service: the gate's checks, its metrics beside the baselines, every promotion."""
    answer = await service.ask_registry(lambda: respond(service.reporter.report(model)))
    return Response(answer, media_type=JSON)


@router.get(
    "/figures/{name}",
    response_class=WholeFile,
    responses={200: {"content": {PNG: {}}, "description": "The figure."}, **documented(401, 404, 500, 503)},
)
async def figure(name: str, model: CurrentModel, service: CurrentService) -> Response:
    """One of the figures that were made when the model was tested; ``backtest.png`` once `clv backtest` has run."""
    file = model.figures.get(name)
    if file is None:
        if name == BACKTEST_FIGURE:
            made = await service.ask_registry(lambda: service.reporter.backtest_figure(model))
            if made is not None:
                return Response(made, media_type=PNG)
        there = ", ".join(model.figures) or "none"
        raise Problem(404, f"This model has no figure {name!r}; its figures: {there}.")
    return WholeFile(file, media_type=PNG)
