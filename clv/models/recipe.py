"""A recipe: the family of a model and its hyper-parameters. A recipe is tested, an artifact is served."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Family = Literal["blend", "hurdle", "tweedie", "offset", "btyd"]
"""What predicts.

``hurdle``: XGBoost, P(return) times the spend of those who return; BG/NBD with covariates may have a say in P(return);
``tweedie``: XGBoost, P(return) and the spend of everybody; ``btyd``: BG/NBD and Gamma-Gamma; ``offset``: a hurdle that
starts from what BG/NBD and Gamma-Gamma say and learns the rest; ``blend``: a hurdle mixed with BG/NBD and Gamma-Gamma.
"""


SHORT_HISTORY_WEIGHT = 0.75
"""Share of BG/NBD and Gamma-Gamma in the blend where the history is short and holds hardly a label."""

FEW_RETURNERS = 500
"""With as many labels of who returned, that share is half way back to the even one."""

COVARIATE_WEIGHT = 0.3
"""Share of BG/NBD with covariates in the P(return) of the hurdle."""

MORE_COVARIATES = 0.75
"""That share where held-out customers say that it is better (:mod:`clv.models.share`)."""


class Recipe(BaseModel):
    """Family and hyper-parameters; the defaults are used where nothing was tuned.

    No learner alone is good everywhere, their mix is; hence the default. How many rounds of boosting help depends on
    how many customers returned, a dozen or a hundred thousand; hence held-out customers say when to stop. The spend of
    those who return is learnt from far fewer rows than who returns, hence the shallower second model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: Family = "blend"
    history_weight: float = Field(default=0.5, gt=0, lt=1, description="share of BG/NBD and Gamma-Gamma in the blend")
    covariate_weight: float | None = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of BG/NBD with covariates in the P(return) of a hurdle; null: the fit chooses it",
    )
    bags: int = Field(default=5, ge=1, le=20, description="boosters with seeds and held-out customers of their own")
    patience: int = Field(default=20, ge=0, description="rounds without a gain on held-out customers; 0: all rounds")
    trees: int = Field(default=600, ge=1, le=5000, description="most boosting rounds of P(return)")
    max_depth: int = Field(default=4, ge=1, le=12)
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    min_child_weight: float = Field(default=8.0, ge=0)
    subsample: float = Field(default=0.8, gt=0, le=1)
    colsample: float = Field(default=0.6, gt=0, le=1, description="share of columns a tree sees")
    reg_lambda: float = Field(default=5.0, ge=0)
    value_trees: int = Field(default=600, ge=1, le=5000, description="most boosting rounds of the returners' spend")
    value_max_depth: int = Field(default=3, ge=1, le=12)
    value_min_child_weight: float = Field(default=20.0, ge=0)
    value_objective: Literal["gamma", "lognormal"] = Field(default="gamma", description="of the spend in a hurdle")
    tweedie_power: float = Field(default=1.5, gt=1, lt=2, description="variance power of the family tweedie")
    monotone: bool = Field(default=False, description="more purchases never lower, a longer silence never raises")

    @field_validator("covariate_weight", mode="before")
    @classmethod
    def _read_null(cls, value: object) -> object:
        """Where a parameter is given as text (``-p covariate_weight=null``), JSON's null is a word."""
        return None if value == "null" else value

    @property
    def form(self) -> str:
        """How its boosters are trained and read."""
        return self.family if self.family in ("tweedie", "offset") else "hurdle"

    def describe(self) -> str:
        """The family in words; shares are of P(return)."""
        if self.family not in ("blend", "hurdle"):
            return {
                "tweedie": "XGBoost Tweedie alone",
                "offset": "XGBoost on top of BG/NBD and Gamma-Gamma",
                "btyd": "BG/NBD and Gamma-Gamma alone",
            }[self.family]
        history = self.history_weight if self.family == "blend" else 0.0
        own = self.covariate_weight
        shares = {"XGBoost and BG/NBD with covariates": 1 - history}
        if own is not None:
            shares = {"XGBoost": (1 - history) * (1 - own), "BG/NBD with covariates": (1 - history) * own}
        shares["BG/NBD and Gamma-Gamma"] = history
        named = [f"{share:.0%} {member}" for member, share in shares.items() if share > 0]
        if len(named) == 1:
            return "XGBoost alone" if own is not None else "a blend of XGBoost and BG/NBD with covariates"
        return "a blend of " + ", ".join(named)

    def with_share(self, covariate_weight: float) -> Recipe:
        """The recipe with the share that a fit chose."""
        return self.model_copy(update={"covariate_weight": covariate_weight})


def default_recipe(*, is_short: bool, returners: int) -> Recipe:
    """What is used where nothing was tuned.

    Parameters
    ----------
    is_short
        BG/NBD needs no label, so a short history gives it more weight: the more, the fewer labels there are.
    returners
        Who returned among the labelled snapshots.
    """
    more = (SHORT_HISTORY_WEIGHT - 0.5) * FEW_RETURNERS / (FEW_RETURNERS + returners) if is_short else 0.0
    return Recipe(history_weight=round(0.5 + more, 3), covariate_weight=None)
