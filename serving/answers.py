"""The bodies of answers, for OpenAPI; the answers themselves are written straight from arrays."""

from __future__ import annotations

from datetime import date, datetime
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
    percentile: float | None = Field(description="Whole percent of the scored shop's customers at or below, 0 to 100.")


class PurchasesPrediction(Prediction):
    """The same, made from purchases."""

    features: dict[str, float | str | None] | None = Field(
        default=None, description="What the prediction was made from; there if asked for with features=true."
    )


class PredictionAnswer(Answer):
    """Predictions in the order asked for."""

    model: ModelHeader
    interval_level: float = Field(description="Share of returning customers whose spend the intervals held.")
    predictions: list[Prediction]
    warnings: list[str] = Field(description="What was done with values that are unusual, in plain words.")


class PurchasesAnswer(PredictionAnswer):
    """Predictions in the order of each customer's first purchase in the body."""

    predictions: list[PurchasesPrediction]  # type: ignore[assignment]


class PartsAnswer(Answer):
    """An amount in each part of the answer."""

    p_return: float = Field(description="In probability.")
    value_if_return: float = Field(description="In the currency.")
    expected_value: float = Field(description="In the currency.")


class Contribution(PartsAnswer):
    """What one feature adds to each part."""

    feature: str
    value: float | str | None


class Explanation(Answer):
    """Why one customer is expected to spend this much: base, contributions and other add up to the prediction."""

    customer_id: str
    prediction: PartsAnswer
    base: PartsAnswer = Field(description="What the model starts from, without any feature.")
    contributions: list[Contribution] = Field(description="The strongest on the expected value first.")
    other: PartsAnswer = Field(description="What no single feature accounts for, such as the cap on values.")
    sentence: str


class ExplainAnswer(Answer):
    """Explanations in the order asked for."""

    model: ModelHeader
    explanations: list[Explanation]
    warnings: list[str]


class CurvePoint(Answer):
    """Totals of the best customers."""

    customers: int = Field(description="So many, those with the highest expected value.")
    expected_value: float
    expected_value_low: float
    expected_value_high: float
    expected_returners: float


class Portfolio(CurvePoint):
    """Totals of a set of customers."""

    customers: int
    expected_returners_low: float
    expected_returners_high: float
    return_share: float = Field(description="Expected returners among the customers.")
    top_decile_share: float | None = Field(
        description="Share of the total that the tenth with the highest expected value brings; null if it is 0."
    )
    shop_share: float | None = Field(
        description="The total over that of the last scored shop; null if none was scored."
    )
    level_error: float | None = Field(
        description="Relative uncertainty of the level all customers share, in the intervals; null if not known."
    )
    note: str = Field(description="What the intervals hold and what they do not.")
    curve: list[CurvePoint] = Field(
        description="Totals of the best k customers for up to 60 k, the last of them all: what the first k bring."
    )


class PortfolioAnswer(Answer):
    """Totals, with intervals of `interval_level`."""

    model: ModelHeader
    interval_level: float
    portfolio: Portfolio
    warnings: list[str]


class Scored(Answer):
    """Which scoring is shown."""

    as_of_date: str
    horizon_days: int
    scored_by: str
    customers: int
    expected_value: float


class ScoredCustomer(Answer):
    """A prediction of the last scoring; the interval is null if a baseline stood in."""

    customer_id: str
    p_return: float | None
    value_if_return: float | None
    value_if_return_low: float | None
    value_if_return_high: float | None
    expected_value: float | None
    percentile: float | None


class CustomersAnswer(Answer):
    """A page of the scored shop."""

    scored: Scored
    customers: list[ScoredCustomer]
    next_cursor: str | None = Field(description="Ask with it for the next page; null at the end.")


class Purchase(Answer):
    """A day with a purchase."""

    purchase_date: date
    amount: float
    return_amount: float | None
    order_count: int | None
    item_count: int | None
    category: str | None
    payment_type: str | None


class CustomerAnswer(Answer):
    """One customer of the scored shop."""

    scored: Scored
    prediction: ScoredCustomer
    features: dict[str, float | str | None] | None = Field(
        description="What the prediction was made from; null once the warehouse holds another as-of day, and while no "
        "model is in service, whose contract names them."
    )
    purchases: list[Purchase] = Field(description="The newest first.")


class PromotionEvent(Answer):
    """One change of what is in Production."""

    number: int
    kind: str = Field(description="promote, force, rollback, repair, or outside for a change not made by clv.")
    at: str
    by: str
    reason: str
    version: str | None
    former: str | None
    gate: list[dict[str, Any]] = Field(description="The gate's checks, where it ran.")


class ReportAnswer(Answer):
    """What a reviewer needs of the version in service."""

    model: ModelHeader
    gate: list[dict[str, Any]] = Field(description="The gate's checks at the version's last promotion, if any.")
    metrics: dict[str, float] = Field(description="All metrics of the version's run.")
    ladder: dict[str, Any] = Field(description="The version beside the baselines, out of time.")
    history: list[PromotionEvent] = Field(description="The newest first.")
    card: str | None = Field(description="The model card, Markdown; null if the version has none.")
    gate_report: str | None = Field(description="The gate's last report on the version, Markdown; null if it has none.")
    backtest: dict[str, Any] | None = Field(
        description="The version's recipe over past cutoffs and horizons, from `clv backtest`; null if not run. Its "
        "figure is then at /model/figures/backtest.png."
    )
    warnings: list[str] = Field(description="Where registry, record and service do not agree, in plain words.")
    trouble: str | None = Field(description="Why the registry could not be asked; the rest is then what is known.")


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
    warnings: list[str] = Field(description="Where stage and alias do not agree.")
    registry: RegistryFacts
