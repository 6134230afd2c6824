"""The numbers of README, results page and article are the stored ones."""

import re
from pathlib import Path

import pytest

from benchmarks import results


@pytest.mark.parametrize("path", results.pages(), ids=lambda path: path.name)
def test_a_page_shows_the_stored_results(path: Path) -> None:
    assert path.read_text() == results.pages()[path], "run `.venv/bin/python -m benchmarks.results --render`"


def test_the_results_are_of_the_defaults_and_out_of_time() -> None:
    for name, result in results.stored().items():
        assert re.fullmatch(r"clv run \S+ --source (olist|transactions) --horizon-days 90", result["command"]), name
        assert len(result["evaluation"]["tests"]) == 3


def test_no_number_of_the_article_is_missing() -> None:
    assert "{" not in (results.DOCS / "article.md").read_text()
