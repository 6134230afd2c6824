import sys
import warnings
from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from clv import plots
from clv.bootstrap import Interval, Outcome, intervals, resample
from clv.metrics import METRICS, decile_table
from clv.predictor import Parts

SIZE = 2000


@pytest.fixture(scope="module")
def happened():
    rng = np.random.default_rng(11)
    chance = rng.beta(1, 60, SIZE)
    back = rng.random(SIZE) < chance
    value = np.where(back, rng.lognormal(4, 1, SIZE), 0.0)
    return Parts(chance, rng.lognormal(4, 0.2, SIZE)), back, value


def draw(figure):
    """Render without a display; any warning (missing glyph, bad limits, no layout) fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(BytesIO(), format="png")
    return figure


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def assert_labelled(axes):
    assert axes.get_title()
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_gain_curve_shows_models_between_floor_and_ceiling(happened):
    parts, _, value = happened
    scores = {"model": parts.expected_value, "zero": np.zeros(SIZE)}
    axes = draw(plots.gain_curve(value, scores)).axes[0]
    assert_labelled(axes)
    assert [label.split(" (")[0] for label in labels(axes)] == ["perfect order", "model", "zero", "random order"]
    assert "(Gini 0.000)" in labels(axes)[2]
    perfect, model, zero, _ = axes.get_lines()
    assert (perfect.get_ydata()[::5] >= model.get_ydata() - 1e-9).all()
    assert zero.get_ydata() == pytest.approx(zero.get_xdata())


def test_gain_curve_says_what_its_gini_is_and_knows_no_negative_zero(monkeypatch):
    """The logged metric is a mean over cutoffs; the legend must not pass for it."""
    monkeypatch.setattr("clv.plots.metrics.normalized_gini", lambda *_: -1e-9)
    axes = draw(plots.gain_curve([4.0, 0.0, 1.0], {"zero": np.zeros(3)})).axes[0]
    assert labels(axes)[1] == "zero (Gini 0.000)"
    assert "pooled" in axes.get_legend().get_title().get_text()


def test_calibration_by_decile_draws_the_table(happened):
    table = decile_table(*happened)
    axes = draw(plots.calibration_by_decile(table, "BRL")).axes[0]
    assert_labelled(axes)
    assert "BRL" in axes.get_ylabel()
    predicted, actual = axes.containers
    assert [bar.get_height() for bar in predicted] == pytest.approx(table["predicted_mean"].tolist())
    assert [bar.get_height() for bar in actual] == pytest.approx(table["actual_mean"].tolist())


def test_value_distribution_says_how_many_spent_nothing(happened):
    parts, back, value = happened
    axes = draw(plots.value_distribution(parts, value, "BRL")).axes[0]
    assert_labelled(axes)
    assert f"{1 - back.mean():.1%} spent nothing" in axes.get_title()
    expected, _, actual, _ = axes.get_lines()
    assert max(expected.get_ydata()) == 1
    assert max(actual.get_ydata()) == pytest.approx(back.mean())
    assert min(actual.get_ydata()) == pytest.approx(1 / SIZE)


@pytest.mark.parametrize("value", [None, np.zeros(SIZE)], ids=["before the window", "nobody spent"])
def test_value_distribution_without_actual_value(happened, value):
    axes = draw(plots.value_distribution(happened[0], value)).axes[0]
    assert labels(axes)[:2] == ["expected value", "value if they return"]


def test_metric_ladder_has_a_panel_per_metric_and_a_row_per_model(happened):
    parts, back, value = happened
    models = {"model": [parts], "zero": [Parts(np.zeros(SIZE), np.zeros(SIZE))]}
    draws = resample(models, [Outcome(np.arange(SIZE), back, value)], rng=np.random.default_rng(1), replicates=20)
    results = {name: intervals(draws, name) for name in models}
    figure = draw(plots.metric_ladder(results))
    assert [axes.get_title() for axes in figure.axes][:3] == [
        METRICS[name].label for name in ("normalized_gini", "top_decile_capture", "roc_auc")
    ]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["model", "zero"]
    assert figure.axes[0].get_ylim() == (1.5, -0.5)  # the first model is on top
    assert len(draw(plots.metric_ladder(results, ["pr_auc", "mae", "rmse", "spearman_ceiling"])).axes) == 4


def test_metric_ladder_leaves_the_row_of_an_undefined_metric_empty():
    nothing = dict.fromkeys(METRICS, Interval(np.nan, np.nan, np.nan))
    half = dict.fromkeys(METRICS, Interval(0.5, 0.4, 0.6))
    figure = draw(plots.metric_ladder({"model": nothing, "other": half}))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["model", "other"]
    for axes in figure.axes:
        dots = [line.get_xydata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
        assert [dot.tolist() for dot in dots if np.isfinite(dot).all()] == [[0.5, 1.0]]


def test_feature_importance_sums_what_it_does_not_show():
    importance = {f"feature_{i}": float(i) for i in range(10)}
    axes = draw(plots.feature_importance_bars(importance, "BRL", top=3)).axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["feature_9", "feature_8", "feature_7", "7 others together"]
    assert [bar.get_width() for bar in axes.containers[0]] == [9, 8, 7, 21]


def test_beeswarm_has_a_dot_per_customer_on_rows_by_size():
    rng = np.random.default_rng(2)
    features = pd.DataFrame(
        {
            "small": rng.normal(size=300),
            "large": rng.normal(size=300),
            "state": rng.choice(["SP", "RJ"], 300),
            "constant": 1.0,
        }
    )
    features.loc[:49, "large"] = np.nan
    contributions = rng.normal(size=(300, 4)) * [0.1, 3.0, 1.0, 0.0]
    axes = draw(plots.shap_beeswarm(contributions, features, "BRL", top=3)).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["large", "state", "small"]
    dots = [len(points.get_offsets()) for points in axes.collections]
    assert dots == [50, 250, 300, 0, 0, 300]  # grey and coloured, row by row
    for row in range(3):
        height = np.concatenate([points.get_offsets()[:, 1] for points in axes.collections[2 * row : 2 * row + 2]])
        assert np.abs(height - row).max() < 0.5


def test_beeswarm_of_one_customer():
    axes = draw(plots.shap_beeswarm(np.array([[2.5]]), pd.DataFrame({"a": [1.0]}))).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a"]
    missing, known = axes.collections
    assert len(missing.get_offsets()) == 0
    assert known.get_offsets().tolist() == [[2.5, 0.0]]
    assert known.get_array().tolist() == [0.5]  # neither low nor high


def test_parts_have_bars_and_dots_each_by_its_own_order():
    rng = np.random.default_rng(2)
    features = pd.DataFrame({name: rng.normal(size=80) for name in ("a", "b", "c")})
    chance, spend = rng.normal(size=(80, 3)) * [3, 2, 1], rng.normal(size=(80, 3)) * [0.1, 1, 9]
    figure = draw(plots.shap_parts({"p_return, points": chance, "value_if_return, BRL": spend}, features, top=2))
    panels = figure.axes[:4]
    for axes, effect, order in zip(panels[::2], (chance, spend), (["a", "b"], ["c", "b"]), strict=True):
        assert [text.get_text() for text in axes.get_yticklabels()] == order
        assert [bar.get_width() for bar in axes.containers[0]] == pytest.approx(
            [np.abs(effect[:, features.columns.get_loc(name)]).mean() for name in order]
        )
        assert axes.get_ylim() == (1.6, -0.6)
    for axes, part in zip(panels[1::2], ("p_return, points", "value_if_return, BRL"), strict=True):
        assert sum(len(points.get_offsets()) for points in axes.collections) == 160
        assert part in axes.get_xlabel()


def test_figures_leave_pyplot_alone(happened):
    parts, _, value = happened
    plots.gain_curve(value, {"model": parts.expected_value})
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_dependence_has_a_row_per_part_and_a_column_per_feature() -> None:
    rng = np.random.default_rng(2)
    features = pd.DataFrame(
        {
            "small": rng.normal(size=50),
            "holes": np.where(rng.random(50) < 0.3, np.nan, rng.normal(size=50)),
            "state": pd.Categorical(np.where(rng.random(50) < 0.2, None, rng.choice(list("abcdefghij"), 50))),
        }
    )
    effects = {"chance": rng.normal(size=(50, 3)) * [0.1, 5, 2], "spend": rng.normal(size=(50, 3)) * [0.1, 1, 2]}
    figure = draw(plots.shap_dependence(effects, features, unit="BRL", top=2))
    panels = figure.get_axes()
    assert len(panels) == 4
    assert [axes.get_xlabel() for axes in panels[2:]] == ["holes", "state"]
    assert "chance" in panels[0].get_ylabel()
    assert "BRL" in panels[2].get_ylabel()
    dots = sum(len(collection.get_offsets()) for collection in panels[0].collections)
    assert dots == 50


def test_promises_have_a_row_each_the_promised_range_and_the_level() -> None:
    kept, wide = Interval(0.2, 0.1, 0.3), Interval(1.5, 1.1, 2.2)
    promises = [
        plots.Promise("2024-03-31, version 2", kept, Interval(0.25, 0.2, 0.3), wide),
        plots.Promise("2024-01-31, baseline btyd", kept, None, wide),
    ]
    figure = draw(plots.kept_promises(promises, (0.5, 2.0)))
    rank, level = figure.axes
    assert [text.get_text() for text in rank.get_yticklabels()] == [promise.name for promise in promises]
    (promised,) = rank.patches  # only the first one had a test
    assert (promised.get_x(), promised.get_x() + promised.get_width()) == pytest.approx((0.2, 0.3))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["kept", "promised"]
    assert level.get_xscale() == "log"
    assert rank.get_ylim()[0] > rank.get_ylim()[1]  # the first is on top
    draw(plots.kept_promises(promises[1:], (0.5, 2.0)))
    assert legend(plots.kept_promises(promises[::-1], (0.5, 2.0))) == ["kept", "promised"]  # not of the first row alone


def test_drift_bars_show_the_largest_first_beside_what_is_usual() -> None:
    index = {"small": 0.02, "large": 0.9, "middle": 0.2, "still": 0.001}
    bounds = (0.1, 0.25)
    axes = draw(plots.drift_bars(index, {"large": 0.4}, bounds, top=2)).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["large", "middle"]
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == pytest.approx([0.9, 0.2])
    assert [line.get_xdata()[0] for line in axes.lines] == [0.1, 0.25]
    assert legend(plots.drift_bars(index, {"large": 0.4}, bounds)) == ["usual", "since the model was made"]
    assert legend(plots.drift_bars(index, {}, bounds)) == ["since the model was made"]


def test_a_feature_that_stands_still_is_drawn_only_if_it_usually_moves() -> None:
    def drawn(index: dict[str, float], usual: dict[str, float]) -> list[str]:
        axes = draw(plots.drift_bars(index, usual, (0.1, 0.25))).axes[0]
        return [text.get_text() for text in axes.get_yticklabels()]

    assert drawn({"moves": 0.5, "still": 0.001, "stopped": 0.0}, {"stopped": 3.0}) == ["moves", "stopped"]
    assert drawn({"a": 0.0, "b": 0.001}, {}) == ["b"]  # nothing moves: the largest is shown all the same


def legend(figure):
    [found] = draw(figure).legends
    return [text.get_text() for text in found.get_texts()]
