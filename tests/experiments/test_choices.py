"""Recipes and cutoffs that a person names: what is taken, and what is refused in which words."""

import json
from datetime import date
from pathlib import Path

import pytest

from clv.errors import InputError
from clv.models.recipe import Recipe, default_recipe
from experiments.choices import Cutoffs, chosen_recipe, read_recipe, with_parameters

THERE = [date(2018, month, 28) for month in (4, 2, 3)]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("2", (date(2018, 3, 28), date(2018, 4, 28))),
        ("9", (date(2018, 2, 28), date(2018, 3, 28), date(2018, 4, 28))),
        ("2018-04-28, 2018-02-28,2018-04-28", (date(2018, 2, 28), date(2018, 4, 28))),
    ],
)
def test_cutoffs_are_the_latest_or_those_named(text: str, chosen: tuple[date, ...]) -> None:
    assert Cutoffs.parse(text).among(THERE, 30) == chosen


def test_of_a_number_of_cutoffs_none_repeats_its_neighbour() -> None:
    there = [date(2018, 3, 31), date(2018, 4, 30), date(2018, 5, 31), date(2018, 6, 1)]
    assert Cutoffs(latest=2).among(there, 90) == (date(2018, 4, 30), date(2018, 6, 1))
    assert Cutoffs(days=(date(2018, 5, 31), date(2018, 6, 1))).among(there, 90) == (date(2018, 5, 31), date(2018, 6, 1))


def test_a_day_that_is_no_cutoff_names_those_that_are() -> None:
    with pytest.raises(InputError, match=r"2018-01-01 is no cutoff .* 2018-02-28, 2018-03-28, 2018-04-28"):
        Cutoffs.parse("2018-01-01").among(THERE, 30)


@pytest.mark.parametrize("text", ["0", "soon", "2018-02-30", "2018-01-31;2018-02-28"])
def test_what_is_neither_a_number_nor_days(text: str) -> None:
    with pytest.raises(ValueError):
        Cutoffs.parse(text)


def test_a_recipe_is_json_or_a_file_with_it(tmp_path: Path) -> None:
    values = {"family": "hurdle", "trees": 77}
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    assert read_recipe(json.dumps(values)) == read_recipe(str(tmp_path / "recipe.json")) == Recipe(**values)
    assert read_recipe(Recipe(bags=2).model_dump_json()) == Recipe(bags=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nowhere.json", "Recipe file nowhere.json can't be read"),
        ("{trees: 9}", "is no JSON"),
        ('{"leaves": 9}', "leaves=9.*known ones: family"),
        ('{"trees": "many"}', "trees='many'"),
    ],
)
def test_what_is_no_recipe_is_told(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_recipe(text)


def test_parameters_are_on_top_of_the_recipe() -> None:
    assert with_parameters(Recipe(bags=2), ["trees=9"]) == Recipe(bags=2, trees=9)


def test_a_share_can_be_left_to_the_fit() -> None:
    assert with_parameters(Recipe(), ["covariate_weight=null"]).covariate_weight is None


@pytest.mark.parametrize("parameter", ["reg_lambda=inf", "min_child_weight=Infinity", "reg_lambda=nan"])
def test_a_parameter_is_finite(parameter: str) -> None:
    with pytest.raises(InputError, match=r"^Parameter \w+='\w+': Input should be a finite number; known ones: "):
        with_parameters(Recipe(), [parameter])


@pytest.mark.parametrize("recipe", [None, "{}", '{"bags": 2}'])
def test_what_is_left_out_is_as_where_nothing_was_tuned(monkeypatch: pytest.MonkeyPatch, recipe: str | None) -> None:
    untuned = default_recipe(is_short=True, returners=50)
    monkeypatch.setattr("experiments.protocol.untuned_recipe", lambda _: untuned)
    chosen = chosen_recipe(None, recipe=recipe, parameters=["trees=9"])  # type: ignore[arg-type]
    assert chosen == untuned.model_copy(update={"bags": 2 if recipe and "bags" in recipe else 5, "trees": 9})


@pytest.mark.parametrize(
    "named",
    [
        {"version": "1", "recipe": "{}"},
        {"version": "1", "parameters": ["trees=9"]},
        {"from_run": "0", "recipe": "{}"},
    ],
)
def test_a_version_and_a_recipe_are_one_too_many(named) -> None:
    with pytest.raises(InputError, match="either --version or a recipe"):
        chosen_recipe(None, **named)  # type: ignore[arg-type]
