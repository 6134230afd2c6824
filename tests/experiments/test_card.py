"""The card says what the facts say, and claims nothing where there is nothing to claim."""

from typing import Any

import pytest

from clv.models.recipe import Recipe
from experiments.card import card
from experiments.page import html_page

TRIPLE = [0.4, 0.3, 0.5]
METRICS = (
    "normalized_gini",
    "top_decile_capture",
    "roc_auc",
    "pr_auc",
    "total_ratio",
    "spearman",
    "spearman_ceiling",
    "mae",
    "rmse",
)


def about(**evaluation: Any) -> dict[str, Any]:
    """Facts of a model, as training writes them."""
    return {
        "horizon_days": 90,
        "as_of_date": "2018-08-31",
        "first_purchase_date": "2016-10-01",
        "currency": "BRL",
        "shop_id": "0123456789abcdef",
        "source": "olist",
        "customers": 3000,
        "training_rows": 19_474,
        "training_returners": 1451,
        "contract": [{"name": "state", "description": "Where | it went."}],
        "importance": [{"feature": "state", "mean_abs_contribution": 2.5}],
        "data_fingerprint": "f" * 64,
        "covariate_weight": 0.3,
        "spend_slope": 0.314,
        "commit": "abc",
        "trained_at": "2026-01-01T00:00:00+00:00",
        "seed": 42,
        "recipe": Recipe().model_dump(),
        "cutoffs": ["2017-01-31", "2018-05-31"],
        "interval_level": 0.8,
        "level": {
            "total": 29_066.4,
            "total_low": 20_000.0,
            "total_high": 41_000.0,
            "windows": 12,
            "windows_covered": 10,
            "note": "One season was seen.",
        },
        "evaluation": {
            "note": "",
            "tests": ["2018-04-30", "2018-05-31"],
            "level": 0.95,
            "models": {"model": dict.fromkeys(METRICS, TRIPLE), "btyd": {name: [0.2, 0.1, 0.3] for name in METRICS}},
            "best_baseline": "btyd",
            "verdicts": {"btyd": dict.fromkeys(METRICS, "better")},
            "by_cutoff": [
                {"cutoff": "2018-04-30", "customers": 2000, "returners": 90, **dict.fromkeys(METRICS, 0.4)},
                {"cutoff": "2018-05-31", "customers": 2100, "returners": 99, **dict.fromkeys(METRICS, None)},
            ],
            "slices": [
                {
                    "slice": "state",
                    "value": "SP",
                    "customers": 900,
                    "returners": 80,
                    "enough": True,
                    "metrics": dict.fromkeys(METRICS, TRIPLE),
                },
                {
                    "slice": "state",
                    "value": "AC",
                    "customers": 20,
                    "returners": 3,
                    "enough": False,
                    "metrics": {},
                },
            ],
            "ceiling": 0.93,
            "value_coverage": 0.774,
            "oracle": None,
            **evaluation,
        },
    }


def test_the_card_has_what_a_reviewer_looks_for() -> None:
    page = card(about(), value_interval=(0.25, 1.75))
    for heading in (
        "How to use it",
        "Data",
        "Target",
        "How good it is",
        "The total",
        "For whom",
        "Limits",
        "Where it comes from",
    ):
        assert f"\n## {heading}\n" in page
    assert "2016-10-01 to 2018-08-31, 3,000 customers" in page
    assert "| calibration slope of Gamma-Gamma's spend | 0.31 (" in page
    assert "19,474 snapshots of customers at 2 cutoffs" in page
    assert "0.400 (0.300 to 0.500)" in page
    assert "**better than btyd**" in page
    assert "0.25 to 1.75 times" in page
    assert "| so the other cutoffs said of each; it was true of | 77% |" in page
    assert "29,066 BRL, with 80% certainty 20,000 to 41,000. One season was seen." in page
    assert "| 2018-05-31 | 2,100 | 99 | - | - | - |" in page
    assert "achievable" not in page
    assert "Where \\| it went." in page


def test_where_nothing_was_calibrated_the_card_does_not_speak_of_it() -> None:
    assert "calibration slope" not in card({**about(), "spend_slope": None}, value_interval=(0.25, 1.75))


def test_a_total_whose_forecasts_were_often_off_is_doubted() -> None:
    facts = about()
    assert "further off" not in card(facts, value_interval=(0.25, 1.75))
    facts["level"]["windows_covered"] = 2
    assert "One season was seen. Of 12 closed windows, " in card(facts, value_interval=(0.25, 1.75))


def test_nothing_is_claimed_where_too_few_came_back() -> None:
    verdicts = {"btyd": dict.fromkeys(METRICS, "too few to tell")}
    models = {name: {metric: [0.4, None, None] for metric in METRICS} for name in ("model", "btyd")}
    page = card(about(verdicts=verdicts, models=models), value_interval=(0.25, 1.75))
    assert "normalized Gini is 0.400, but too few customers came back in the test to tell how good it is." in page
    assert "Too few customers came back to tell whether it is better than btyd, the best baseline." in page
    assert "| model | 0.400 | 0.400 |" in page


def test_amounts_of_a_shop_with_tiny_ones_are_shown() -> None:
    facts = about()
    facts["importance"][0]["mean_abs_contribution"] = 0.00123
    facts["level"] |= {"total": 0.4213, "total_low": 0.21, "total_high": 1.6}
    facts["evaluation"]["models"]["model"] |= {"mae": [0.00042, 0.0004, 0.00044]}
    page = card(facts, value_interval=(0.25, 1.75))
    assert "| 0.00123 BRL |" in page
    assert "expected to spend 0.421 BRL, with 80% certainty 0.21 to 1.6. " in page
    assert "| MAE | 0.00042 (0.00040 to 0.00044) |" in page


def test_slices_too_small_are_listed_and_nothing_is_claimed_of_them() -> None:
    page = card(about(), value_interval=(0.25, 1.75))
    assert "| SP | 900 | 80 | 0.400 (0.300 to 0.500)" in page or "| SP | 900 | 80 | 0.40 (0.30 to 0.50)" in page
    assert "*Too few came back to judge: AC (3 of 20).*" in page
    assert "| AC |" not in page


def test_a_synthetic_shop_shows_what_is_achievable() -> None:
    oracle = {"normalized_gini": [0.5, 0.4, 0.6], "share": [0.8, 0.7, 0.9]}
    assert "| 0.80 (0.70 to 0.90) |" in card(about(oracle=oracle), value_interval=(0.25, 1.75))


def test_without_a_test_it_says_so() -> None:
    nothing = {"models": {}, "verdicts": {}, "by_cutoff": [], "slices": [], "tests": [], "ceiling": None}
    page = card(about(**nothing, note="too little history to judge."), value_interval=(0.5, 2.0))
    assert "It could not be tested." in page
    assert "## For whom" not in page
    assert page.count("too little history to judge.") == 2


@pytest.mark.parametrize("name", ["chain", "lab"])
def test_every_version_has_its_card(name: str, request: pytest.FixtureRequest) -> None:
    home = request.getfixturevalue(name).home
    (run_card,) = home.glob("artifacts/*/artifacts/model_card.md")
    inside = [path for path in home.rglob("model_card.md") if path != run_card]
    assert inside
    assert all(path.read_text() == run_card.read_text() for path in inside)
    assert run_card.read_text().startswith("# Model card: customer lifetime value")
    assert "<table>" in run_card.with_suffix(".html").read_text()


def test_the_page_keeps_code_and_shows_no_foreign_html() -> None:
    page = html_page("# <b>x</b>\n\n```sh\nclv score  # <i>\n```\n", "Card")
    assert "<pre><code" in page
    assert "<b>x</b>" not in page
    assert "# &lt;i&gt;" in page
