"""The page Model: what it shows of a version, and what it says where something is missing."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from clv.baselines import ladder
from clv.metrics import METRICS
from streamlit_app import model_charts
from streamlit_app import model_words as words
from streamlit_app.client import ApiError, Client
from streamlit_app.money import Style
from streamlit_app.palette import LIGHT

PARTS = ["Tested", "Over time", "For whom", "What moves it", "Promotion", "Model card"]

EVENT = {
    "number": 2,
    "kind": "force",
    "at": "2026-05-04T10:20:00+00:00",
    "by": "ana",
    "reason": "the old one is of another horizon",
    "version": "1",
    "former": None,
    "gate": [],
}

REPORT: dict[str, Any] = {
    "gate": [
        {"name": "level", "passed": True, "detail": "total predicted / actual 1.05"},
        {"name": "same shop", "passed": False, "detail": "other"},
    ],
    "metrics": {},
    "ladder": {},
    "history": [EVENT],
    "card": "# Model card\n\n```sh\n# a comment\n```\n\n## Intended use\n\nTo rank customers.",
    "gate_report": "# Gate\n\nall of it",
    "backtest": {
        "as_of_date": "2018-06-30",
        "horizon_days": 90,
        "recipe": {},
        "grid": [
            {"cutoff": f"2018-0{month}-28", "horizon_days": days, "age_days": age, "customers": 100, "returners": 9}
            | {"normalized_gini": 0.4 + month / 100, "normalized_gini_low": 0.3, "normalized_gini_high": 0.6}
            | {"total_ratio": 1.1, "total_ratio_low": None, "total_ratio_high": None}
            for month in (1, 2, 3)
            for days in (90, 180)
            for age in (0, 30)
        ],
        "by_age": [
            {"horizon_days": days, "age_days": age, "cutoffs": 3}
            | {"difference": {"normalized_gini": -0.01, "normalized_gini_low": -0.02, "normalized_gini_high": 0.0}}
            for days in (90, 180)
            for age in (30, 60)
        ],
        "retrain_after_days": 120,
        "note": "Retrain before a model is 120 days old.",
    },
    "warnings": [],
    "trouble": None,
}


@pytest.fixture
def open_model(app_path, api, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Open a part of the page, with another report or other facts than those of the tiny registry."""

    def open_part(
        part: str = "Tested", report: dict[str, Any] | Exception | None = None, facts: dict[str, Any] | None = None
    ) -> AppTest:
        def answer(_: Client) -> dict[str, Any]:
            if isinstance(report, Exception):
                raise report
            assert report is not None
            return report

        monkeypatch.setenv("CLV_API_URL", str(api.base_url))
        if report is not None:
            monkeypatch.setattr(Client, "report", answer)
        if facts is not None:
            monkeypatch.setattr(Client, "model", lambda _: facts)
        app = AppTest.from_file(str(app_path), default_timeout=60)
        app.query_params["about"] = part
        app.switch_page("views/model.py").run()
        assert not app.exception
        assert not app.error
        return app

    return open_part


@pytest.fixture
def facts(api) -> dict[str, Any]:
    """What the tiny registry's service says of its model; may be changed."""
    found: dict[str, Any] = api.get("/model").json()
    return found


def texts(app: AppTest) -> str:
    return "\n".join(one.value for kind in (app.markdown, app.caption, app.info, app.warning) for one in kind)


def charts(app: AppTest) -> int:
    return len(app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart"))


def test_the_version_and_its_test(open_model) -> None:
    app = open_model()
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Version in Production"] == "1"
    assert metrics["Looks ahead"] == "90 days"
    assert metrics["Has learnt up to"] == "2018-06-30"
    ladder, verdicts = app.dataframe[0].value, app.dataframe[1].value
    assert ladder.loc["this model", "Ranking by value"] == "0.610 (0.550 to 0.660)"
    assert ladder.loc["everybody is average", "Ranking by value"] == "0.000"
    assert verdicts.loc["newest", "Ranking by value"] == "✓ better"
    assert "**better** than all 2 baselines" in texts(app)
    assert charts(app) == 2
    assert len(app.image) == 1


def test_who_put_it_there_since_when_and_why(open_model) -> None:
    said = texts(open_model(report=REPORT))
    assert "Since 2026-05-04 10:20 UTC" in said
    assert "forced past the gate by **ana**: the old one is of another horizon" in said


def test_the_promotion_and_the_gate(open_model) -> None:
    app = open_model("Promotion", REPORT)
    history, gate = app.table[0].value, app.table[1].value
    assert history.iloc[0][["What", "By", "Why"]].tolist() == ["forced past the gate", "ana", EVENT["reason"]]
    assert "passed" in gate.loc["level"].iloc[0]
    assert "failed" in gate.loc["same shop"].iloc[0]
    assert "### Gate" in texts(app)


def test_the_backtest_shows_the_refitted_models_of_the_horizon_that_is_served(open_model) -> None:
    app = open_model("Over time", REPORT)
    assert charts(app) == 3
    assert app.dataframe[0].value["Cutoff"].tolist() == ["2018-01-28", "2018-02-28", "2018-03-28"]
    assert "Retrain before a model is 120 days old." in texts(app)


def test_without_a_backtest_the_test_cutoffs_are_shown(open_model, facts) -> None:
    facts["about"]["evaluation"]["by_cutoff"] = [
        {"cutoff": "2018-03-31", "normalized_gini": 0.5, "total_ratio": 1.2},
        {"cutoff": "2018-04-30", "normalized_gini": None, "total_ratio": 0.9},
    ]
    app = open_model("Over time", REPORT | {"backtest": None}, facts)
    assert charts(app) == 2
    assert "By test cutoff" in texts(app)
    assert "clv backtest" in texts(app)


def test_slices_that_are_too_small_are_named_not_drawn(open_model, facts) -> None:
    facts["about"]["evaluation"]["slices"] = [
        {"slice": "state", "value": "SP", "customers": 900, "returners": 80, "enough": True}
        | {"metrics": {"normalized_gini": [0.5, 0.4, 0.6], "total_ratio": [1.0, 0.9, 1.1]}},
        {"slice": "state", "value": "AC", "customers": 9, "returners": 1, "enough": False}
        | {"metrics": {"normalized_gini": [None, None, None], "total_ratio": [None, None, None]}},
        {"slice": "purchase_count", "value": "1", "customers": 500, "returners": 40, "enough": True}
        | {"metrics": {"normalized_gini": [0.5, 0.4, 0.6], "total_ratio": [1.0, 0.9, 1.1]}},
    ]
    app = open_model("For whom", REPORT, facts)
    assert charts(app) == 1
    assert "Too few who returned to judge: AC (1 returned)." in texts(app)
    assert app.selectbox(key="slice").options == ["state", "purchase count"]


def test_what_moves_it(open_model) -> None:
    app = open_model("What moves it")
    assert charts(app) == 1
    assert "carries no beeswarm" in texts(app)
    assert len(app.dataframe[0].value) == 6


def test_the_card_and_what_the_model_can_not_do(open_model) -> None:
    app = open_model("Model card", REPORT)
    assert "### Model card" in texts(app)
    assert "\n# a comment\n" in texts(app)
    assert "A forecast is not the effect of a campaign" in texts(app)
    assert len(app.get("download_button")) == 1


@pytest.mark.parametrize("part", PARTS)
def test_a_model_that_says_nothing_of_itself_is_shown_all_the_same(open_model, facts, part: str) -> None:
    facts |= {"about": {}, "figures": [], "promoted_at": None, "registered_at": None, "run_id": None}
    bare = dict.fromkeys(REPORT) | {"gate": [], "history": [], "warnings": []}
    app = open_model(part, bare, facts)
    assert len(app.info) >= 1
    assert charts(app) == 0


@pytest.mark.parametrize("part", ["Tested", "Promotion"])
def test_a_report_that_can_not_be_had_takes_nothing_else_away(open_model, part: str) -> None:
    app = open_model(part, ApiError("other", "The registry hangs."))
    assert "can't be shown: The registry hangs." in app.warning[0].value
    assert len(app.metric) == 4


def test_trouble_with_the_registry_is_told_once(open_model, facts) -> None:
    facts["registry"]["trouble"] = "No route."
    facts["refused"] = {"version": "2", "reason": "Version 2 is refused: it is broken.", "at": "2026-05-04T10:20:00Z"}
    app = open_model("Tested", REPORT | {"trouble": "No route.", "warnings": ["Stage and alias disagree."]}, facts)
    told = [warning.value for warning in app.warning]
    assert len(told) == 3
    assert sum("No route." in one for one in told) == 1


def test_figures_are_shown_where_they_belong(open_model, facts, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def figure(_: Client, name: str) -> bytes:
        asked.append(name)
        picture = io.BytesIO()
        plt.imsave(picture, np.zeros((2, 2)))
        return picture.getvalue()

    monkeypatch.setattr(Client, "figure", figure)
    facts["figures"] = [
        "backtest.png",
        "beeswarm.png",
        "calibration.png",
        "gain_curve.png",
        "importance.png",
        "new.png",
    ]
    open_model("Tested", REPORT, facts)
    assert asked == ["gain_curve.png", "calibration.png", "new.png"]
    asked.clear()
    open_model("What moves it", REPORT, facts)
    assert asked == ["beeswarm.png"]


def verdicts(**by_baseline: str) -> dict[str, Any]:
    return {
        "models": {"model": {"total_ratio": [1.3, 1.1, 1.5]}},
        "verdicts": {name: {"normalized_gini": verdict} for name, verdict in by_baseline.items()},
    }


def test_a_draw_and_a_defeat_are_told_as_such() -> None:
    same = " ".join(words.judgement(verdicts(zero="better", btyd="not distinguishable"), Style()))
    assert "**better** than “nobody returns”" in same
    assert "**not distinguishable** from “BG/NBD + Gamma-Gamma”" in same
    assert "**30 % too high**, more than chance explains" in same
    worse = words.judgement(verdicts(zero="better", btyd="worse"), Style())
    assert worse[0].startswith("It ranks customers **worse** than “BG/NBD + Gamma-Gamma”")
    assert words.judgement({"models": {}}, Style()) == []


def test_every_baseline_and_metric_has_a_name_for_people() -> None:
    assert {"model", "btyd", *ladder()} == set(words.BASELINES)
    assert set(METRICS) == set(words.METRICS)


def test_cutoffs_are_written_by_their_own_month() -> None:
    """A tick at the start of the next month would put 31 March into April."""
    cutoffs = pd.to_datetime(["2018-02-28", "2018-03-31"])
    frame = pd.DataFrame({"cutoff": cutoffs, "value": [0.2, 0.3]})
    chart = model_charts.over_time_chart(frame, "Ranking", LIGHT, Style(), None).to_dict()
    ticks = chart["layer"][0]["encoding"]["x"]["axis"]["values"]
    assert ticks == [{"year": 2018, "month": 2, "date": 28}, {"year": 2018, "month": 3, "date": 31}]


def test_a_baseline_that_is_off_many_times_leaves_room_for_the_others() -> None:
    models = {"model": {"total_ratio": [1.1, 1.0, 1.2]}, "zero": {"total_ratio": [0.0, 0.0, 0.0]}}
    near = model_charts.metric_chart(model_charts.metric_frame(models, "total_ratio"), LIGHT, Style(), ideal=1.0)
    assert "log" not in near.to_json()
    models["historical_rate"] = {"total_ratio": [73.0, 63.0, 84.0]}
    wide = model_charts.metric_chart(model_charts.metric_frame(models, "total_ratio"), LIGHT, Style(), ideal=1.0)
    assert '"type": "log"' in wide.to_json()
    assert 1 in wide.to_dict()["layer"][1]["encoding"]["x"]["axis"]["values"]
    assert "nobody returns" not in wide.to_json()
