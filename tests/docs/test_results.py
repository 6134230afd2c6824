"""The numbers of README, docs and article are the stored ones, and their words say what these say."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record, results
from benchmarks.bigquery_bytes import by_month
from benchmarks.quality import is_worse_among
from clv.bootstrap import Difference
from clv.contract import read_contract
from clv.transform import DryRunReport, Scan
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
        assert re.fullmatch(
            r"clv run \S+ --source (olist|transactions --amount-column \w+) --horizon-days 90", result["command"]
        ), name
        assert len(result["evaluation"]["tests"]) == 3


def test_no_number_of_the_article_is_missing() -> None:
    assert "{" not in (results.DOCS / "article.md").read_text()


def test_what_a_benchmark_saves_is_what_a_page_shows(tmp_path: Path) -> None:
    record.save(tmp_path, "walking", table=[["", "s"], ["a mile", 900]], cores=1, shoes=2)
    stored = {"walking": json.loads((tmp_path / "walking.json").read_text())}

    assert results.shown(stored, "walking.shoes") == "2"
    assert results.shown(stored, "walking").splitlines()[:3] == ["|  | s |", "|---|---|", "| a mile | 900 |"]
    assert results.shown(stored, "walking").endswith(f"1 core, {stored['walking']['date']}.")


@pytest.mark.parametrize(("comparisons", "is_worse"), [(1, True), (2, True), (3, False), (32, False)])
def test_the_more_is_compared_the_more_a_single_difference_must_be(comparisons: int, is_worse: bool) -> None:
    """2.3 standard deviations below 0: one tail of it is 0.0107."""
    sds = 2.3 / 1.959964
    found = Difference(-sds, -sds - 1, -sds + 1, "worse")
    assert is_worse_among(found, comparisons) is is_worse
    assert not is_worse_among(Difference(sds, sds - 1, sds + 1, "better"), comparisons)


def test_the_prices_of_the_docs_are_those_of_a_dry_run() -> None:
    tib = DryRunReport((Scan("customer_snapshots", "model", 2**40, 2**40),))

    assert results.shown({}, "prices.queries_per_tib") == f"{tib.price:.2f}"


def test_the_costs_of_a_month_are_calculated_with_the_prices() -> None:
    stored = results.stored()["bigquery_bytes"]

    assert stored["by_month"] == by_month(stored["scanned_in_a_month"], stored["stored"]), "run the benchmark again"


def test_free_bytes_cost_nothing_and_all_others_their_price() -> None:
    an_order = 3 * 2**40 // 10**6  # 3 TiB and 30 GiB for a million orders
    small, medium, _ = by_month(an_order, 30 * 2**30 // 10**6)[1:]

    assert small[2].startswith("$0.00 ($1.87 ")
    assert medium[1:] == ["3.00 TiB", "$12.50 ($18.75 without the free TiB)", "30.0 GiB", "$0.40"]


TYPED = {
    "README.md": {"99 %", "10 %", "95 %", "0.89", "4.0"},  # tested below; names of metrics; figure of others; a licence
    "architecture.md": {"1 GB"},  # a bound
    "bigquery.md": {"10 GB", "10 MiB", "15 s", "5 minutes", "0.5 KB", "0.1 KB", "90 bytes"},  # settings; sizes of rows
    "comparing-runs.md": {"95 %", "0.1", "0.3", "0.4"},  # how to read any shop's figures
    "deploy.md": {"1 GiB", "32 MiB", "1 GB"},  # limits of others
    "index.md": {"0.01", "10 GB", "6 GB"},  # settings
    "evaluation.md": {"99 %", "10 %", "1.4", "2.5"},  # words tested below; dated
    "monitoring.md": {"40 bytes", "95 %", "0.5", "2 %", "0.25", "0.01"},  # bounds; size of a row
    "point-in-time.md": {"0.89", "0.0056"},  # figures of others
    "promoting.md": {"50 ms", "0.5", "97.5 %", "0.2", "0.6", "1.05", "0.89"},  # bounds; dated; a figure of others
    "serving.md": {
        *("0.5 KB", "0.1 KB", "0.7 GB", "22 s", "0.37 GB", "0.45 GB"),  # dated
        *("4.0", "5.7", "5.6", "6.7", "4.4"),  # dated
        *("16 MiB", "64 MiB"),  # settings
    },
    "your-data.md": {"1 %"},  # a bound
}
"""What a page says in figures that are no result of a run, and so not stored; or were one, and the page says when."""

FIGURE = re.compile(
    r"(?<![\w./])(?:\d[\d.,]*\s(?:ms|s|seconds|minutes|bytes|[KMGT]i?B|percent|%)(?!\w)|\d+\.\d+(?![\w./]))|\$\d[\d.]*"
)
"""A number with a unit, or with decimals: what runs result in."""

PYTHONS = {"3.11", "3.12", "3.13"}


def typed(path: Path) -> set[str]:
    """Figures in the running text that no stored result fills in."""
    text = results.SHOWN.sub("", path.read_text())
    text = re.sub(r"^ *```.*?^ *```|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return set(FIGURE.findall(re.sub(r"\]\([^)]*\)", "", text))) - PYTHONS


WRITTEN_BY_PROGRAMS = {
    "results.md",
    "article.md",
    "article.template.md",
    "eda.md",
    "model-card.md",
    "data-dictionary.md",
}


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in [results.REPOSITORY / "README.md", *sorted(results.DOCS.glob("*.md"))]
        if path.name not in WRITTEN_BY_PROGRAMS
    ],
    ids=lambda path: path.name,
)
def test_a_figure_is_rendered_or_listed_with_a_reason(path: Path) -> None:
    assert typed(path) == TYPED.get(path.name, set()), "render it from docs/results, or list it with its reason"


def returned(name: str) -> list[float]:
    return [one["returners"] / one["customers"] for one in REAL[name]["by_cutoff"]]


def least_absolute_error(name: str) -> str:
    return min(REAL[name]["models"], key=lambda model: REAL[name]["models"][model]["mae"][0])


def way(gini: float) -> float:
    """How far on the way from BG/NBD to Olist's ceiling."""
    baseline, ceiling = REAL["olist"]["models"]["btyd"]["normalized_gini"][0], REAL["olist"]["ceiling"]
    return float((gini - baseline) / (ceiling - baseline))


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
    "is better than BG/NBD alone by a Gini of": results.ranked()["over"]["BG/NBD alone"]["verdict"] == "better",
    "there the mixture is ahead by": results.ranked()["over"]["BG/NBD alone"]["verdict"] == "better",
    "closes more than four fifths of the way": way(0.89) > 0.8,
    "your mean absolute error will be *lower*": least_absolute_error("olist") == "zero",
    "On Olist 99 of 100 customers buy nothing in the next 90 days": max(returned("olist")) < 0.01,
}
"""Words that stand for a number -> whether it bears them out."""


@pytest.mark.parametrize("words", IN_WORDS)
def test_words_are_borne_out_by_the_results(words: str) -> None:
    pages = " ".join(path.read_text() for path in [results.REPOSITORY / "README.md", *results.DOCS.glob("*.md")])

    assert words in " ".join(pages.split()), "the text has changed: change the list, too"
    assert IN_WORDS[words]
