"""What a verb is asked to test: which recipe, at which cutoffs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from clv.errors import InputError
from clv.models.recipe import Recipe
from clv.splits import apart

if TYPE_CHECKING:
    from experiments.workspace import Workspace


@dataclass(frozen=True)
class Cutoffs:
    """A choice of cutoffs: the latest `latest` that lie apart, or those of `days`.

    Examples
    --------
    >>> Cutoffs.parse("3")
    Cutoffs(latest=3, days=())
    >>> Cutoffs.parse("2018-02-28, 2018-01-31").days
    (datetime.date(2018, 1, 31), datetime.date(2018, 2, 28))
    """

    latest: int | None = None
    days: tuple[date, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Cutoffs:
        """Read a number or days separated by commas; raises ValueError on anything else."""
        if text.strip().isdigit():
            if int(text) == 0:
                raise ValueError("0 cutoffs")
            return cls(latest=int(text))
        return cls(days=tuple(sorted({date.fromisoformat(day.strip()) for day in text.split(",")})))

    def among(self, there: Sequence[date], horizon_days: int) -> tuple[date, ...]:
        """Choose from the cutoffs that are there, earliest first.

        Days that were named are taken as they are; of a number of them none repeats what its neighbour says.

        Raises
        ------
        InputError
            If a day is none of them.
        """
        if self.latest is not None:
            return apart(there, horizon_days)[-self.latest :]
        ordered = sorted(there)
        missing = [day for day in self.days if day not in ordered]
        if missing:
            raise InputError(
                f"{missing[0]} is no cutoff that can be tested; choose from {', '.join(map(str, ordered)) or 'none'}."
            )
        return self.days


def chosen_recipe(
    workspace: Workspace,
    *,
    version: str | None = None,
    from_run: str | None = None,
    recipe: str | None = None,
    parameters: Sequence[str] = (),
) -> Recipe:
    """The recipe of a version, of a tuning run, or written out; Production's, else the newest version's, by default.

    Parameters
    ----------
    recipe
        JSON, or the name of a file with it; what it leaves out is as in this shop's untuned recipe.
    parameters
        ``NAME=VALUE`` each, on top of a tuning run's recipe, of `recipe`, or of the shop's untuned one.

    Raises
    ------
    InputError
        If more than one is named, there is no such version, run or file, or a parameter is unknown or out of range.
    """
    named = [
        option
        for option, value in (("--version", version), ("--from-run", from_run), ("--recipe", recipe))
        if value is not None
    ]
    if len(named) > 1 or (version is not None and parameters):
        raise InputError("Name either --version or a recipe (--from-run, --recipe, --parameter), not both.")
    if from_run is None and recipe is None and not parameters:
        return recipe_of_version(workspace, version)
    if from_run is not None:
        from experiments.train import recipe_of_run

        return with_parameters(recipe_of_run(workspace, from_run), parameters)
    from experiments.protocol import untuned_recipe

    written = {} if recipe is None else read_recipe(recipe).model_dump(exclude_unset=True)
    return with_parameters(untuned_recipe(workspace).model_copy(update=written), parameters)


def read_recipe(text: str) -> Recipe:
    """Read a recipe from JSON or from a file with it.

    Raises
    ------
    InputError
        If it is neither, or holds an unknown parameter or a value out of range.
    """
    where = "--recipe"
    if not text.lstrip().startswith("{"):
        where = f"Recipe file {text}"
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{where} can't be read ({error}); expected a file of JSON, or JSON itself.") from None
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is no JSON ({error}); expected something like {_EXAMPLE}.") from None
    if not isinstance(values, dict):
        raise InputError(f"{where} holds no JSON object; expected something like {_EXAMPLE}.")
    return _validated(values)


def with_parameters(base: Recipe, parameters: Sequence[str]) -> Recipe:
    """The recipe with some of its parameters replaced, ``NAME=VALUE`` each.

    Raises
    ------
    InputError
        If a parameter is unknown or out of range.
    """
    return _validated({**base.model_dump(), **dict(parameter.partition("=")[::2] for parameter in parameters)})


def recipe_of_version(workspace: Workspace, version: str | None) -> Recipe:
    """Recipe of a version: the one named, else Production's, else the newest."""
    registry = workspace.registry
    chosen = registry.version(version) if version else registry.production() or registry.latest()
    return chosen.recipe


_EXAMPLE = '{"family": "blend", "trees": 200}'


def _validated(values: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(Recipe.model_fields)
        raise InputError(
            f"Parameter {first['loc'][0]}={first['input']!r}: {first['msg']}; known ones: {known}."
        ) from None
