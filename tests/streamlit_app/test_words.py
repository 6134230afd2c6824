"""The parts that write numbers and names."""

import pytest

from clv.contract import read_contract
from streamlit_app import customer_charts, feature_words, money, what_if
from streamlit_app.client import ApiError
from streamlit_app.palette import LIGHT
from streamlit_app.preferences import _usual_marks


@pytest.mark.parametrize(
    ("locale", "marks"),
    [
        ("en-US", "point"),
        ("de-DE", "comma"),
        ("de-CH", "apostrophe"),
        ("pt_BR", "comma"),
        ("fr", "space"),
        (None, "point"),
    ],
)
def test_the_language_of_the_browser_decides_how_numbers_are_written(locale: str | None, marks: str) -> None:
    assert _usual_marks(locale) == marks


@pytest.mark.parametrize("value", [0.0, 1.0, 23.0, 0.31, 4210.5, -35.0, 0.0042, -1e-9])
@pytest.mark.parametrize("unit", ["days", "currency", "ratio", "share"])
@pytest.mark.parametrize("minimum", [None, -100])
def test_a_slider_reaches_beyond_what_is_known(value: float, unit: str, minimum: float | None) -> None:
    low, high, step = what_if.reach({"unit": unit, "minimum": minimum, "maximum": None}, value)
    assert low <= value < high
    assert 0 < step < high - low


def test_a_waterfall_starts_at_the_base_and_ends_at_the_prediction() -> None:
    contributions = [{"feature": f"f{row}", "value": row, "expected_value": 5.0 - row} for row in range(10)]
    total = 1.0 + sum(one["expected_value"] for one in contributions) - 0.25
    explanation = {
        "base": {"expected_value": 1.0},
        "contributions": contributions,
        "other": {"expected_value": -0.25},
        "prediction": {"expected_value": total},
    }
    steps = customer_charts.steps(explanation, {"f1": "The second."}, "EUR", money.Style())
    assert steps["start"].iloc[1] == steps["end"].iloc[0] == 1.0
    assert steps["end"].iloc[-2] == pytest.approx(total) == steps["end"].iloc[-1]
    assert (steps["start"].iloc[1:-1].to_numpy() == steps["end"].iloc[:-2].to_numpy()).all()
    assert steps["kind"].tolist()[1:7] == ["adds"] * 6
    assert steps["text"].iloc[1] == "+€ 5.00"
    assert steps["meaning"].iloc[2] == "The second."


def test_a_waterfall_of_tiny_amounts_shows_them() -> None:
    explanation = {
        "base": {"expected_value": 0.0012},
        "contributions": [{"feature": "f", "value": 0.0061, "expected_value": 0.0021}],
        "other": {"expected_value": 0.0009},
        "prediction": {"expected_value": 0.0042},
    }
    steps = customer_charts.steps(explanation, {}, "EUR", money.Style())
    assert steps["text"].tolist() == ["€ 0.0012", "+€ 0.0021", "+€ 0.0009", "€ 0.0042"]
    assert steps["step"].tolist()[1:3] == ["f: 0.0061", "all else"]
    chart = customer_charts.waterfall_chart(steps, "EUR", LIGHT, money.Style()).to_dict()
    layer = chart["layer"][0]["encoding"]
    assert [one["format"] for one in layer["tooltip"] if "format" in one] == ["+,.4f", ",.4f"]
    assert layer["x"]["scale"]["domain"][1] < 0.006


def test_every_feature_has_a_name_for_people_and_a_short_one() -> None:
    names = [feature.name for feature in read_contract().features]
    assert set(names) == set(feature_words.LABELS)
    assert len(set(feature_words.LABELS.values())) == len(names)
    assert max(map(len, feature_words.LABELS.values())) <= 28  # a phone shows a value and a bar beside it


def test_an_error_says_its_message() -> None:
    assert str(ApiError("busy", "Come again.")) == "Come again."
