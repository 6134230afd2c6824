"""A recipe: the family of a model and its hyper-parameters. A recipe is tested, an artifact is served."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Family = Literal["blend", "hurdle", "btyd"]
"""``hurdle``: XGBoost; ``btyd``: BG/NBD and Gamma-Gamma; ``blend``: both, mixed."""


class Recipe(BaseModel):
    """Family and hyper-parameters; the defaults are used where nothing was tuned.

    No learner alone is good everywhere, their mix is; hence the default. The spend of
    the few who return is learnt from far fewer rows than who returns, hence the smaller second model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family = "blend"
    history_weight: float = Field(default=0.5, gt=0, lt=1, description="share of BG/NBD and Gamma-Gamma in the blend")
    bags: int = Field(default=3, ge=1, le=20, description="boosters with seeds of their own, averaged")
    trees: int = Field(default=120, ge=1, le=5000, description="boosting rounds of P(return)")
    max_depth: int = Field(default=4, ge=1, le=12)
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    min_child_weight: float = Field(default=8.0, ge=0)
    subsample: float = Field(default=0.8, gt=0, le=1)
    colsample: float = Field(default=0.6, gt=0, le=1, description="share of columns a tree sees")
    reg_lambda: float = Field(default=5.0, ge=0)
    value_trees: int = Field(default=80, ge=1, le=5000, description="boosting rounds of the spend of those who return")
    value_max_depth: int = Field(default=3, ge=1, le=12)
    value_min_child_weight: float = Field(default=20.0, ge=0)

    def describe(self) -> str:
        """The family in words."""
        if self.family == "blend":
            return f"blend of XGBoost with {self.history_weight:.0%} BG/NBD and Gamma-Gamma"
        return "XGBoost alone" if self.family == "hurdle" else "BG/NBD and Gamma-Gamma alone"
