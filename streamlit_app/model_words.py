"""What the numbers about a model mean, in the words of those who have to decide by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clv.money import decimals
from streamlit_app.money import NONE, Style

MODEL = "model"
RANKING, LEVEL = "normalized_gini", "total_ratio"

Intervals = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Metric:
    """What a metric is called and how to read it."""

    label: str
    meaning: str


METRICS: Mapping[str, Metric] = {
    RANKING: Metric("Ranking by value", "Normalized Gini: 1 is the perfect order of customers, 0 a random one."),
    "top_decile_capture": Metric("Held by the best tenth", "Share of what was spent that the tenth ranked first held."),
    "roc_auc": Metric("Telling who returns", "ROC AUC: chance that who returns outranks who does not; 0.5 is luck."),
    "pr_auc": Metric("Precision on returning", "PR AUC: a random order has the share of customers who return."),
    LEVEL: Metric("Total predicted / actual", "1 is exact; 1.2 promised a fifth too much."),
    "spearman": Metric("Rank correlation", "Spearman; ties of customers who spend nothing keep it below its ceiling."),
    "spearman_ceiling": Metric("… its ceiling", "What the perfect order would reach."),
    "mae": Metric("Mean absolute error", "Predicting 0 for everybody often wins it, so nothing is decided by it."),
    "rmse": Metric("Root mean squared error", "Carried by the few largest customers."),
}

AMOUNTS = ("mae", "rmse")
"""Metrics in the shop's currency."""

BASELINES: Mapping[str, str] = {
    MODEL: "this model",
    "zero": "nobody returns",
    "mean": "everybody is average",
    "newest_first": "newest first",
    "historical_rate": "goes on as before",
    "total_spend": "most spent so far",
    "persistence": "repeats the last months",
    "btyd": "BG/NBD + Gamma-Gamma",
}

BESIDE = "The others, its baselines, are simple rules and “BG/NBD + Gamma-Gamma”, the classic model of repeated buying."
"""What the model is compared with."""

LIMITS = (
    "**A forecast is not the effect of a campaign.** It says who is likely to spend, not whom a voucher would change; "
    "only a test with a control group tells that.",
    "**One customer is a gamble, many are not.** Most customers spend nothing, a few spend a lot: read single values "
    "as odds, and trust orders and sums more than amounts.",
    "**It knows the past of this shop only.** A new range, new prices, a competitor or a shock that is not in the "
    "history is not in the forecast.",
    "**It knows buyers only.** Nobody without a purchase is predicted, and values it has never seen count as missing.",
    "**Why is not because.** What moves a prediction is what the model looks at; changing it in reality need not "
    "change the customer.",
)


def label(metric: str) -> str:
    """What a metric is called; its name if it has no other."""
    return METRICS[metric].label if metric in METRICS else metric


def baseline(name: str) -> str:
    """What a baseline is called."""
    return BASELINES.get(name, name)


def ordered(metrics: Iterable[str]) -> list[str]:
    """Metrics in the order to read them, unknown ones last."""
    there = dict.fromkeys(metrics)
    return [name for name in METRICS if name in there] + [name for name in there if name not in METRICS]


def interval(values: Sequence[float | None] | None, style: Style, digits: int = 3) -> str:
    """An estimate with its interval, as far as it is defined.

    >>> interval([0.61, 0.55, 0.66], Style()), interval([0.0, None, None], Style()), interval(None, Style())
    ('0.610 (0.550 to 0.660)', '0.000', '–')
    """
    if not values or values[0] is None:
        return NONE
    estimate, low, high = (
        None if value is None else style.number(round(value, digits) + 0.0, digits) for value in values
    )
    return str(estimate) if low is None or high is None else f"{estimate} ({low} to {high})"


def digits(metric: str, values: Sequence[float | None] | None) -> int:
    """Decimals to write a metric with: three, more for small amounts.

    >>> digits("mae", [0.00021, None, None]), digits("mae", [3.1, 2.9, 3.4]), digits("roc_auc", [0.00021, None, None])
    (5, 3, 3)
    """
    return decimals(values[0] or 0.0, 3) if values and metric in AMOUNTS else 3


def judgement(evaluation: Mapping[str, Any], style: Style) -> list[str]:
    """Whether to believe the model, in sentences; none where it was not tested."""
    models: Mapping[str, Intervals] = evaluation.get("models") or {}
    if MODEL not in models:
        return []
    return [*_ranks(evaluation.get("verdicts") or {}), *_level(models[MODEL].get(LEVEL), style)]


def _ranks(verdicts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """How it ranks beside each baseline."""
    by_verdict: dict[str, list[str]] = {}
    for name, verdict in verdicts.items():
        by_verdict.setdefault(verdict.get(RANKING, ""), []).append(baseline(name))
    better, worse = by_verdict.get("better", []), by_verdict.get("worse", [])
    same = by_verdict.get("not distinguishable", [])
    sentences = []
    if worse:
        sentences.append(f"It ranks customers **worse** than {_listed(worse)}: do not use its order.")
    if better:
        everything = len(better) == len(verdicts)
        sentences.append(
            f"On days it had not seen, it ranked customers **better** than "
            f"{f'all {len(better)} baselines' if everything else _listed(better)}."
        )
    if same:
        sentences.append(f"It is **not distinguishable** from {_listed(same)}: the test can't tell which ranks better.")
    return sentences


def _level(ratio: Sequence[float | None] | None, style: Style) -> list[str]:
    """How far its totals were off."""
    if not ratio or ratio[0] is None:
        return []
    off = ratio[0] - 1
    says = f"Its totals were **{style.share(abs(off))} too {'high' if off > 0 else 'low'}**"
    if len(ratio) == 3 and ratio[1] is not None and ratio[2] is not None:
        exact = ratio[1] <= 1 <= ratio[2]
        low, high = style.number(ratio[1], 2), style.number(ratio[2], 2)
        says += (
            f", {'which chance explains' if exact else 'more than chance explains'} (predicted / actual "
            f"{style.number(ratio[0], 2)}, interval {low} to {high})"
        )
    return [f"{says}."]


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('“a”', '“a”, “b” and “c”')
    """
    quoted = [f"“{name}”" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
