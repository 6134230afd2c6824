"""The numbers of README, docs and article are the stored ones, and their words say what these say."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record, results
from clv.contract import read_contract
from experiments import cli

REAL = {name: result["evaluation"] for name, result in results.stored().items() if name in results.SHOPS}


@pytest.mark.parametrize("path", results.pages(), ids=lambda path: path.name)
def test_a_page_shows_the_stored_results(path: Path) -> None:
    assert path.read_text() == results.pages()[path], "run `.venv/bin/python -m benchmarks.results --render`"


def test_every_stored_result_is_shown() -> None:
    shown = {name.split(".")[0] for path in results.pages() for name, _ in results.SHOWN.findall(path.read_text())}

    assert set(results.stored()) <= shown | {*results.SHOPS, results.MADE_UP}  # docs/results.md shows these


@pytest.mark.parametrize("path", results.pages(), ids=lambda path: path.name)
def test_a_number_in_a_sentence_does_not_begin_its_line(path: Path) -> None:
    """Markdown ends the paragraph where a comment begins a line."""
    assert re.findall(r"^<!-- [a-z0-9_.]+ -->.+$", path.read_text(), flags=re.MULTILINE) == []


@pytest.mark.parametrize("path", results.pages(), ids=lambda path: path.name)
def test_every_number_that_is_named_has_an_end(path: Path) -> None:
    text = path.read_text()

    assert len(results.SHOWN.findall(text)) == len(re.findall(r"<!-- [a-z]", text)) == text.count("<!-- / -->")


def test_the_results_are_of_the_defaults_and_out_of_time() -> None:
    for name in results.SHOPS:
        result = results.stored()[name]
        assert re.fullmatch(r"clv run \S+ --source (olist|transactions) --horizon-days 90", result["command"]), name
        assert len(result["evaluation"]["tests"]) == 3


def test_no_number_of_the_article_is_missing() -> None:
    assert "{" not in (results.DOCS / "article.md").read_text()


def test_what_a_benchmark_saves_is_what_a_page_shows(tmp_path: Path) -> None:
    record.save(tmp_path, "walking", table=[["", "s"], ["a mile", 900]], cores=1, shoes=2)
    stored = {"walking": json.loads((tmp_path / "walking.json").read_text())}

    assert results.shown(stored, "walking.shoes") == "2"
    assert results.shown(stored, "walking").splitlines()[:3] == ["|  | s |", "|---|---|", "| a mile | 900 |"]
    assert results.shown(stored, "walking").endswith(f"1 cores, {stored['walking']['date']}.")


def returned(name: str) -> list[float]:
    return [one["returners"] / one["customers"] for one in REAL[name]["by_cutoff"]]


def least_absolute_error(name: str) -> str:
    return min(REAL[name]["models"], key=lambda model: REAL[name]["models"][model]["mae"][0])


def demo_customers() -> Any:
    return inspect.signature(cli.demo).parameters["customers"].default


IN_WORDS = {
    "99 % of the customers of the": max(returned("olist")) < 0.01,
    "made-up shop of 20,000 customers": demo_customers() == 20_000,
    "beside seven baselines": len(results.NAMES) == 8,
    "the mean over three test cutoffs": all(len(one["tests"]) == 3 for one in REAL.values()),
    "Ninety-nine customers out of a hundred will not be back": max(returned("olist")) < 0.01,
    "more than ninety-nine customers of a hundred": max(returned("olist")) < 0.01,
    "about a hundred thousand orders": 90_000 < results.stored()["olist"]["customers"] < 110_000,
    "all forty-odd features": 40 < len(read_contract().names) < 50,
    "three months of a few hundred returning customers": all(
        200 < one["returners"] < 500 for one in REAL["olist"]["by_cutoff"]
    ),
    "categories, deliveries and reviews add nothing": REAL["olist"]["verdicts"]["btyd"]["normalized_gini"]
    == "not distinguishable",
    "your mean absolute error will be *lower*": least_absolute_error("olist") == "zero",
    "On Olist 99 of 100 customers buy nothing in the next 90 days": max(returned("olist")) < 0.01,
}
"""Words that stand for a number -> whether it bears them out."""


@pytest.mark.parametrize("words", IN_WORDS)
def test_words_are_borne_out_by_the_results(words: str) -> None:
    pages = " ".join(path.read_text() for path in [results.REPOSITORY / "README.md", *results.DOCS.glob("*.md")])

    assert words in " ".join(pages.split()), "the text has changed: change the list, too"
    assert IN_WORDS[words]
