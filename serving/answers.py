"""The bodies of answers, for OpenAPI; the answers themselves are written straight from arrays."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(protected_namespaces=())


class ModelHeader(Answer):
    """Which model answered."""

    name: str
    version: str | None = Field(description="Version in the registry; null for a model addressed by its run.")
    stage: str
    as_of_date: str = Field(description="Last day the model has learnt from.")
    horizon_days: int = Field(description="The window: so many days after the as-of day of the customer.")
    currency: str


class Prediction(Answer):
    """What one customer is expected to spend in the horizon."""

    customer_id: str
    p_return: float = Field(description="Probability of at least one purchase in the horizon.")
    value_if_return: float = Field(description="Expected net spend in the horizon if there is a purchase.")
    value_if_return_low: float = Field(description="Lower end of the interval of what a returning customer spends.")
    value_if_return_high: float = Field(description="Upper end.")
    expected_value: float = Field(description="p_return times value_if_return.")
    percentile: float | None = Field(description="Share of the scored shop's customers below, 0 to 100.")


class PredictionAnswer(Answer):
    """Predictions in the order asked for."""

    model: ModelHeader
    interval_level: float = Field(description="Share of returning customers whose spend the intervals held.")
    predictions: list[Prediction]
    warnings: list[str] = Field(description="What was done with values that are unusual, in plain words.")


class Health(Answer):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class Ready(Answer):
    """A model is in service."""

    status: Literal["ready"] = "ready"
    version: str | None


class FeatureFacts(Answer):
    """One feature the model takes."""

    name: str
    kind: Literal["number", "category"]
    unit: str
    nullable: bool
    minimum: float | None
    maximum: float | None
    description: str
    values: list[str] | None = Field(description="Values of a category the model has learnt; null for a number.")


class RefusedVersion(Answer):
    """A version the registry names but which failed its checks."""

    version: str | None
    reason: str
    at: datetime


class RegistryFacts(Answer):
    """How the registry was last seen."""

    model_uri: str
    checked_at: datetime | None
    trouble: str | None = Field(description="Why it could not be followed at the last attempt, if so.")
    poll_seconds: float


class ModelAnswer(Answer):
    """The model in service."""

    model: ModelHeader
    aliases: list[str]
    run_id: str | None
    registered_at: datetime | None
    promoted_at: datetime | None = Field(description="Last change of the version in the registry while in Production.")
    loaded_at: datetime
    contract: list[FeatureFacts]
    about: dict[str, Any] = Field(
        description="Facts from the model's artifact: how and on what it was trained, its evaluation beside the "
        "baselines, the importance of its features."
    )
    figures: list[str] = Field(description="Names for GET /model/figures/{name}.")
    refused: RefusedVersion | None
    registry: RegistryFacts
