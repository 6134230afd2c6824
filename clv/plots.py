"""Figures of a model: each function returns a matplotlib ``Figure`` and leaves showing or saving it to the caller.

Figures are built as objects, without pyplot's global state, so they are safe in threads and servers. Colours are those
of Okabe and Ito, told apart with any colour vision; what matters is also told by line style, marker or position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from clv import metrics
from clv.bootstrap import Interval
from clv.metrics import METRICS, Floats
from clv.predictor import Parts

if TYPE_CHECKING:
    from clv.backtest import Backtest

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, GREY, LIGHT = "#56B4E9", "#E69F00", "#6E6E6E", "#BBBBBB"

_LINES = (
    (BLUE, "-"),
    (ORANGE, "--"),
    (GREEN, "-."),
    (PINK, ":"),
    (AMBER, (0, (5, 1))),
    (SKY, (0, (3, 1, 1, 1))),
    (GREY, (0, (1, 1))),
)
_CHANCE = {"normalized_gini": 0.0, "top_decile_capture": metrics.TOP_SHARE, "roc_auc": 0.5, "total_ratio": 1.0}


def gain_curve(future_value: ArrayLike, scores: Mapping[str, ArrayLike]) -> Figure:
    """Share of value found when customers are taken by predicted value, between random and perfect order.

    Parameters
    ----------
    future_value : array of shape (n,)
        What the customers spent.
    scores : mapping of name to array of shape (n,)
        Expected values of the model (first, drawn thick) and of baselines.
    """
    figure, axes = _figure(7.5, 5.5)
    customers, perfect = metrics.gain_curve(future_value, future_value, points=1001)
    axes.plot(customers, perfect, color="black", linewidth=1, label="perfect order")
    for position, (name, score) in enumerate(scores.items()):
        color, style = _LINES[position % len(_LINES)]
        gini = round(metrics.normalized_gini(future_value, score), 3) + 0.0  # + 0.0: no negative zero
        label = f"{name} (Gini {gini:.3f})"
        width = 2.5 if position == 0 else 1.5
        axes.plot(
            *metrics.gain_curve(future_value, score),
            color=color,
            linestyle=style,
            linewidth=width,
            label=label,
            zorder=3 if position == 0 else 2,
        )
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=1, label="random order")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), title="Value found by predicted rank")
    axes.set(xlabel="share of customers, highest predicted first", ylabel="share of all future value")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    # Over several cutoffs the logged metric is their mean, each ranked on its own: another number than the curve's.
    axes.legend(loc="lower right", frameon=False, title="Gini of the curve: all customers pooled,\nno mean of cutoffs")
    return figure


def calibration_by_decile(deciles: pd.DataFrame, currency: str = "") -> Figure:
    """Predicted and actual mean value by decile of predicted value.

    Parameters
    ----------
    deciles : DataFrame
        From :func:`clv.metrics.decile_table`.
    currency : str
        Unit of the values.
    """
    figure, axes = _figure(7.5, 4.5)
    position = deciles["decile"].to_numpy()
    axes.bar(position - 0.2, deciles["predicted_mean"], width=0.4, color=SKY, label="predicted")
    axes.bar(position + 0.2, deciles["actual_mean"], width=0.4, color=ORANGE, hatch="//", alpha=0.9, label="actual")
    axes.set_xticks(position)
    axes.set(title="Mean value by decile", xlabel="decile of customers, 1 = highest predicted")
    axes.set_ylabel(f"mean value per customer{_unit(currency)}")
    axes.legend(frameon=False)
    return figure


def value_distribution(parts: Parts, future_value: ArrayLike | None = None, currency: str = "") -> Figure:
    """Share of customers at or above each value: expected, if they return, and actual.

    Both axes are logarithmic, so that the many zeros (the actual curve starts where they end) and the few large
    customers are both readable.

    Parameters
    ----------
    parts : Parts
        The predictions.
    future_value : array of shape (n,), optional
        What the customers spent, if it is known yet.
    currency : str
        Unit of the values.
    """
    figure, axes = _figure(7.5, 5)
    title = "Distribution of predicted value"
    curves = [
        (parts.expected_value, "expected value", BLUE, "-"),
        (parts.value_if_return, "value if they return", GREEN, "-."),
    ]
    if future_value is not None:
        value = np.asarray(future_value, dtype=np.float64)
        title = f"Distribution of value: {np.mean(value <= 0):.1%} spent nothing"
        curves.append((value, "actual value", ORANGE, "--"))
        curves.append((value[value > 0], "actual value of those who spent", AMBER, ":"))
    for values, label, color, style in curves:
        axes.step(*_survival(values), where="pre", color=color, linestyle=style, linewidth=1.8, label=label)
    axes.set(xscale="log", yscale="log", title=title)
    axes.set(xlabel=f"value{_unit(currency)}", ylabel="share of customers at or above")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda amount, _: f"{amount:,g}"))
    axes.legend(frameon=False, loc="lower left")
    return figure


def metric_ladder(
    results: Mapping[str, Mapping[str, Interval]],
    names: Sequence[str] = ("normalized_gini", "top_decile_capture", "roc_auc", "total_ratio", "spearman", "rmse"),
) -> Figure:
    """Metrics with their intervals, one panel per metric and one row per model.

    Parameters
    ----------
    results : mapping of model to mapping of metric to Interval
        From :func:`clv.bootstrap.intervals`; the first model is on top and stands out.
    names : sequence of str
        Metrics to show, names of ``METRICS``.
    """
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.6 * columns + 1.2, rows * (1.1 + 0.3 * len(results))), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _ladder_panel(axes, name, {model: found[name] for model, found in results.items()})
        if name == "spearman":
            ceilings = [found["spearman_ceiling"].estimate for found in results.values()]
            axes.scatter(ceilings, range(len(results)), marker="|", s=120, color=ORANGE)
            axes.set_xlabel("higher is better, | is the ceiling", fontsize="small", color=GREY)
    for axes in panels[len(names) :]:
        axes.remove()
    panels[0].set_yticks(range(len(results)), list(results))
    panels[0].set_ylim(len(results) - 0.5, -0.5)
    return figure


def feature_importance_bars(importance: Mapping[str, float], unit: str = "importance", top: int = 20) -> Figure:
    """Features by importance, the largest first; the rest is summed in a last bar.

    Parameters
    ----------
    importance : mapping of feature to float
        At least 0, e.g. the mean absolute contribution.
    unit : str
        Axis label.
    top : int
        Number of features shown by name.
    """
    ordered = sorted(importance.items(), key=lambda item: -item[1])
    shown, rest = ordered[:top], ordered[top:]
    names = [name for name, _ in shown] + ([f"{len(rest)} others together"] if rest else [])
    values = [value for _, value in shown] + ([sum(value for _, value in rest)] if rest else [])
    figure, axes = _figure(7.5, 1.2 + 0.28 * len(names))
    axes.barh(range(len(names)), values, color=[BLUE] * len(shown) + [LIGHT] * bool(rest))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set(title="Feature importance", xlabel=unit)
    return figure


def shap_beeswarm(contributions: Floats, features: pd.DataFrame, unit: str = "contribution", top: int = 15) -> Figure:
    """Every customer's contribution of each feature: one dot each, coloured from low to high feature value.

    Parameters
    ----------
    contributions : array of shape (n, features)
        SHAP values, in the order of the frame's columns, without the bias.
    features : DataFrame
        The values they explain. Categories and missing values are grey: they have no low and high.
    unit : str
        Axis label.
    top : int
        Number of features shown, by mean absolute contribution.
    """
    shown = _largest(contributions, top)
    figure, axes = _figure(8, 1.4 + 0.42 * len(shown))
    _swarm(axes, contributions, features, shown)
    axes.set(title="What moves the prediction", xlabel=unit)
    _value_bar(figure, axes)
    return figure


def shap_parts(contributions: Mapping[str, Floats], features: pd.DataFrame, top: int = 10) -> Figure:
    """Importance and beeswarm of each part of the prediction, a row each: what moves one may leave the other alone.

    Parameters
    ----------
    contributions : mapping of part, with its unit, to array of shape (n, features)
        From :func:`clv.explain.by_part`.
    features : DataFrame
        The values they explain.
    top : int
        Number of features shown, by mean absolute contribution to that part.
    """
    shown = {part: _largest(effect, top) for part, effect in contributions.items()}
    heights = [0.8 + 0.36 * len(columns) for columns in shown.values()]
    figure = Figure(figsize=(11, sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(shown), 2, sharey="row", squeeze=False, width_ratios=[1, 2], height_ratios=heights)
    for (bars, swarm), (part, effect) in zip(panels, contributions.items(), strict=True):
        for axes in (bars, swarm):
            axes.spines[["top", "right"]].set_visible(False)
        columns = shown[part]
        bars.barh(range(len(columns)), np.abs(effect).mean(axis=0)[columns], color=BLUE)
        bars.set(title="Feature importance", xlabel=f"mean size of the contribution to\n{part}")
        _swarm(swarm, effect, features, columns)
        swarm.set(title="What moves it", xlabel=f"contribution to {part}")
    _value_bar(figure, panels[:, 1].tolist())
    return figure


def shap_dependence(
    contributions: Mapping[str, Floats], features: pd.DataFrame, unit: str = "contribution", top: int = 5
) -> Figure:
    """Contribution over the feature's value, one dot a customer: a row of panels per part, a column per feature.

    Parameters
    ----------
    contributions : mapping of part to array of shape (n, features)
        SHAP values, in the order of the frame's columns; the parts add up to the prediction.
    features : DataFrame
        The values they explain.
    unit : str
        Axis label.
    top : int
        Number of features shown, by mean absolute contribution of all parts together.
    """
    size = sum(np.abs(effect).mean(axis=0) for effect in contributions.values())
    shown = np.argsort(-np.asarray(size), kind="stable")[:top]
    figure = Figure(figsize=(2.9 * len(shown) + 0.6, 2.6 * len(contributions) + 0.4), layout="constrained")
    panels = figure.subplots(len(contributions), len(shown), sharey="row", sharex="col", squeeze=False)
    for row, (part, effect) in enumerate(contributions.items()):
        panels[row, 0].set_ylabel(f"{part}\n({unit})", fontsize="small")
        for axes, column in zip(panels[row], shown, strict=True):
            axes.spines[["top", "right"]].set_visible(False)
            axes.axhline(0, color=LIGHT, linewidth=1, zorder=1)
            _dependence_panel(axes, features.iloc[:, column], effect[:, column])
    for axes, column in zip(panels[-1], shown, strict=True):
        axes.set_xlabel(str(features.columns[column]), fontsize="small")
    return figure


def backtest(by_horizon: Mapping[int, "Backtest"], horizon_days: int, smallest_loss: float) -> Figure:
    """Rank over time of a recipe that is refitted at each cutoff, and what models lose to it as they grow old.

    Parameters
    ----------
    by_horizon : mapping of days to Backtest
        One line each.
    horizon_days : int
        The horizon that stands out, with its intervals.
    smallest_loss : float
        Loss of Gini from which on it is time to train again, drawn as a line.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    by_cutoff, by_age = figure.subplots(1, 2)
    ordered = sorted(by_horizon.items(), key=lambda item: item[0] != horizon_days)
    for position, (days, found) in enumerate(ordered):
        color, style = _LINES[position % len(_LINES)]
        main: dict[str, Any] = {
            "color": color,
            "linestyle": style,
            "zorder": 3 if position == 0 else 2,
            "label": f"{days} days ahead",
        }
        cells = [cell for cell in found.cells if cell.age_days == 0]
        _whiskers(
            by_cutoff,
            [np.datetime64(cell.cutoff) for cell in cells],
            [cell.metrics["normalized_gini"] for cell in cells],
            with_intervals=position == 0,
            **main,
        )
        differences = [age.difference["normalized_gini"] for age in found.ages]
        _whiskers(by_age, [age.days for age in found.ages], differences, with_intervals=position == 0, **main)
        worse = [age for age in found.ages if age.verdict == "worse"]
        lost = [age.difference["normalized_gini"].estimate for age in worse]
        by_age.scatter([age.days for age in worse], lost, marker="v", s=70, color=color, edgecolor="black", zorder=4)
    for axes in (by_cutoff, by_age):
        axes.spines[["top", "right"]].set_visible(False)
        axes.axhline(0, color=LIGHT, linewidth=1, zorder=1)
    by_cutoff.set(title="Refitted at each cutoff", ylabel="normalized Gini")
    by_cutoff.xaxis.set_major_formatter(ConciseDateFormatter(AutoDateLocator()))  # type: ignore[no-untyped-call]
    by_cutoff.legend(frameon=False)
    by_age.axhline(-smallest_loss, color=GREY, linewidth=1, linestyle="--", zorder=1)
    by_age.set(title="Old models less refitted ones, same cutoffs", xlabel="age of the model, days")
    by_age.set_ylabel("difference of normalized Gini\n(dashed: from here on it matters; triangle: it does)")
    return figure


@dataclass(frozen=True)
class Promise:
    """Predictions whose window has closed.

    Attributes
    ----------
    name : str
        Whose, and of when.
    kept : Interval
        Their normalized Gini.
    promised : Interval or None
        What a test had led to expect.
    total_ratio : Interval
        Total predicted / actual.
    """

    name: str
    kept: Interval
    promised: Interval | None
    total_ratio: Interval


def kept_promises(promises: Sequence[Promise], level_bounds: tuple[float, float]) -> Figure:
    """Gini beside the promised one, and level, of predictions whose window has closed, one row each.

    Parameters
    ----------
    promises : sequence of Promise
        Shown from top to bottom.
    level_bounds : tuple of float
        Between them the level is in bounds.
    """
    figure = Figure(figsize=(9.5, 1.8 + 0.42 * len(promises)), layout="constrained")
    rank, level = figure.subplots(1, 2, sharey=True)
    first = next((row for row, promise in enumerate(promises) if promise.promised is not None), None)
    for row, promise in enumerate(promises):
        if promise.promised is not None:
            low, high = promise.promised.low, promise.promised.high
            rank.barh(
                row, high - low, left=low, height=0.6, color=SKY, alpha=0.5, label="promised" if row == first else None
            )
        for axes, found in ((rank, promise.kept), (level, promise.total_ratio)):
            axes.plot([found.low, found.high], [row, row], color=BLUE, linewidth=2)
            axes.plot(found.estimate, row, "o", color=BLUE, label="kept" if row == 0 and axes is rank else None)
    rank.axvline(0, color=LIGHT, linewidth=1, zorder=1)
    rank.set(title="Normalized Gini")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    rank.set_yticks(range(len(promises)), [promise.name for promise in promises])
    rank.set_ylim(len(promises) - 0.5, -0.5)
    level.axvspan(*level_bounds, color=LIGHT, alpha=0.3, zorder=0)
    level.axvline(1, color=GREY, linewidth=1, zorder=1)
    level.set_xscale("log")
    level.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2, 5, 10]))
    level.xaxis.set_minor_locator(NullLocator())
    level.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    level.set(title="Total predicted / actual (grey: in bounds)")
    for axes in (rank, level):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def drift_bars(
    index: Mapping[str, float], usual: Mapping[str, float], bounds: tuple[float, float], top: int = 20
) -> Figure:
    """Population stability index by feature, the largest first, beside what is usual; what stands still is left out.

    Parameters
    ----------
    index : mapping of feature to float
        From :func:`clv.drift.stability`.
    usual : mapping of feature to float
        The same over an earlier stretch of time, where it is known.
    bounds : tuple of float
        Moderate and large drift, drawn as lines; below a tenth of the former a feature stands still.
    top : int
        Number of features shown.
    """
    still = bounds[0] / 10
    ordered = sorted(index.items(), key=lambda item: (-item[1], item[0]))
    moved = [(name, value) for name, value in ordered if max(value, usual.get(name, 0.0)) >= still]
    shown = moved[:top] or ordered[:1]
    figure, axes = _figure(8, 1.8 + 0.28 * len(shown))
    rows = range(len(shown))
    axes.barh(
        rows,
        [max(value - still, 0.0) for _, value in shown],
        left=still,
        height=0.6,
        color=BLUE,
        alpha=0.8,
        label="since the model was made",
    )
    known = [row for row, (name, _) in enumerate(shown) if name in usual]
    if known:
        values = [max(usual[shown[row][0]], still) for row in known]
        axes.scatter(values, known, marker="|", s=160, linewidths=2.5, color=ORANGE, label="usual", zorder=3)
    for bound, style in zip(bounds, (":", "--"), strict=True):
        axes.axvline(bound, color=GREY, linewidth=1, linestyle=style)
    axes.set_yticks(rows, [name for name, _ in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xscale("log")  # a shop that ages drifts by whole numbers in tenure, and by hundredths in all else
    axes.set_xlim(still, 1.3 * max(bounds[1], *(max(value, usual.get(name, 0.0)) for name, value in shown)))
    axes.xaxis.set_major_locator(FixedLocator([0.001, 0.01, 0.1, 0.25, 1, 10]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda drift, _: f"{drift:g}"))
    axes.set(title="Input drift", xlabel="population stability index (lines: moderate, large)")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _whiskers(axes: Axes, x: Sequence[Any], found: Sequence[Interval], *, with_intervals: bool, **style: Any) -> None:
    """A line of estimates, with their intervals."""
    middle = np.array([interval.estimate for interval in found])
    axes.plot(x, middle, marker="o", markersize=4.5, linewidth=1.6, **style)
    if with_intervals:
        axes.vlines(
            x,
            [interval.low for interval in found],
            [interval.high for interval in found],
            color=style["color"],
            alpha=0.5,
        )


def _largest(contributions: Floats, top: int) -> list[int]:
    """The columns that contribute most, the largest first."""
    order: list[int] = np.argsort(-np.abs(contributions).mean(axis=0), kind="stable")[:top].tolist()
    return order


def _swarm(axes: Axes, contributions: Floats, features: pd.DataFrame, shown: Sequence[int]) -> None:
    """A row of dots for each of the columns `shown`, the first on top."""
    axes.axvline(0, color=LIGHT, linewidth=1, zorder=1)
    # dots may be many thousands: pixels, also in a vector file
    dots: dict[str, Any] = {"s": 9, "linewidths": 0, "rasterized": True}
    for row, column in enumerate(shown):
        effect = contributions[:, column]
        height = row + _spread(effect)
        level = _level(features.iloc[:, column])
        known = ~np.isnan(level)
        axes.scatter(effect[~known], height[~known], color=LIGHT, zorder=2, **dots)
        axes.scatter(
            effect[known], height[known], c=level[known], cmap="viridis", vmin=0, vmax=1, alpha=0.8, zorder=3, **dots
        )
    axes.set_yticks(range(len(shown)), [str(features.columns[column]) for column in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)


def _value_bar(figure: Figure, axes: Axes | list[Axes]) -> None:
    """What the colours of a beeswarm mean."""
    bar = figure.colorbar(ScalarMappable(cmap="viridis"), ax=axes, ticks=[0, 1], aspect=40, pad=0.01)
    bar.ax.set_yticklabels(["low", "high"])
    bar.set_label("feature value (grey: category or missing)", labelpad=-12)
    bar.outline.set_visible(False)


def _dependence_panel(axes: Axes, values: pd.Series, effect: Floats, most: int = 6) -> None:
    """Effect over a number, or by category (the most frequent ones); missing values stand apart in grey."""
    dots: dict[str, Any] = {"s": 8, "linewidths": 0, "alpha": 0.6, "rasterized": True}
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        known = np.isfinite(numbers)
        axes.scatter(numbers[known], effect[known], color=BLUE, **dots)
        if known.any() and not known.all():
            width = float(np.ptp(numbers[known])) or 1.0
            apart = np.full(np.count_nonzero(~known), numbers[known].min() - 0.08 * width)
            axes.scatter(apart, effect[~known], color=GREY, **dots)
        return
    names = values.astype(object).where(values.notna(), "(none)").astype(str)
    common = list(names.value_counts().index[:most])
    for position, name in enumerate(common):
        chosen = (names == name).to_numpy()
        axes.scatter(position + _spread(effect[chosen]) * 0.8, effect[chosen], color=BLUE, **dots)
    axes.set_xticks(range(len(common)), [name[:12] for name in common], rotation=40, ha="right", fontsize="x-small")


def _unit(currency: str) -> str:
    return f" ({currency})" if currency else ""


def _ladder_panel(axes: Axes, name: str, by_model: Mapping[str, Interval]) -> None:
    metric = METRICS[name]
    axes.spines[["top", "right"]].set_visible(False)
    if name in _CHANCE:
        axes.axvline(_CHANCE[name], color=LIGHT, linewidth=1, zorder=1)
    for row, found in enumerate(by_model.values()):
        color = BLUE if row == 0 else GREY
        axes.plot([found.low, found.high], [row, row], color=color, linewidth=2 if row == 0 else 1.2, zorder=2)
        axes.plot(found.estimate, row, "o", color=color, markersize=6 if row == 0 else 4.5, zorder=3)
    if metric.direction == "one":
        axes.set_xscale("symlog", linthresh=1, linscale=1)  # shows 0, and ratios of 10 beside those of 1
        axes.xaxis.set_major_locator(FixedLocator([0, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    hint = {"higher": "higher is better", "lower": "lower is better", "one": "1 is exact", "none": ""}
    axes.set_title(metric.label, fontsize="medium")
    axes.set_xlabel(hint[metric.direction], fontsize="small", color=GREY)
    axes.grid(axis="y", color="#EEEEEE")


def _survival(values: Floats) -> tuple[Floats, Floats]:
    """Share of values at or above each positive value."""
    ordered = np.sort(values)
    share = 1 - np.arange(len(ordered)) / max(len(ordered), 1)
    positive = ordered > 0
    return ordered[positive], share[positive]


def _level(values: pd.Series) -> Floats:
    """Place of each value between the column's lowest (0) and highest (1) by rank; ``nan`` for categories."""
    level = np.full(len(values), np.nan)
    if not pd.api.types.is_numeric_dtype(values):
        return level
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(numbers)
    if known.any():
        ranks = rankdata(numbers[known])
        spread = ranks.max() - ranks.min()
        level[known] = (ranks - ranks.min()) / spread if spread > 0 else 0.5
    return level


def _spread(values: Floats, bins: int = 100, width: float = 0.38) -> Floats:
    """Move dots of one row apart: those of a bin are stacked up and down alternately, the fullest bin fills the row."""
    if len(values) == 0:
        return np.zeros(0)
    edges = np.linspace(values.min(), values.max(), bins + 1)[1:-1]
    bin_of = np.digitize(values, edges)
    order = np.argsort(bin_of, kind="stable")
    counts = np.bincount(bin_of, minlength=bins)
    place = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = np.empty(len(values))
    offsets[order] = np.where(place % 2 == 0, 1, -1) * ((place + 1) // 2)
    return offsets * (width * 2 / max(int(counts.max()), 1))
