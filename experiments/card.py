"""The model card: what a version is, how good it is and for whom, what it can't do, how to use it. One page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clv.bootstrap import TOO_FEW
from clv.evaluation import MODEL
from clv.metrics import METRICS
from clv.models.recipe import Recipe
from clv.money import money
from clv.slices import FEWEST_RETURNERS
from experiments.report import in_table, metric_table, verdict, with_interval
from experiments.total import doubt
from experiments.tracking import MODEL as NAME

MOST_FEATURES = 10
SLICE_METRICS = ("normalized_gini", "top_decile_capture", "total_ratio")
TITLES = {
    "state": "State",
    "first_category": "First category",
    "acquisition_month": "Month of the first purchase",
    "purchases_so_far": "Purchases so far",
}
"""Slicings in words."""


def card(about: Mapping[str, Any], *, value_interval: tuple[float, float]) -> str:
    """Write the card in Markdown from the facts that the model carries.

    Parameters
    ----------
    about
        ``Predictor.about`` of a trained model.
    value_interval
        Its factors around ``value_if_return``.
    """
    evaluation = about["evaluation"]
    sections = [
        _heading(about),
        _use(about),
        _data(about),
        _target(about),
        _quality(about, evaluation, value_interval),
        _total(about),
        _slices(evaluation["slices"]),
        _limits(about, evaluation),
        _origin(about),
    ]
    return "\n".join(line for section in sections for line in (*section, "")).rstrip() + "\n"


def _heading(about: Mapping[str, Any]) -> list[str]:
    recipe = Recipe(**about["recipe"]).with_share(about["covariate_weight"])
    gini = about["evaluation"]["models"].get(MODEL, {}).get("normalized_gini")
    tested = f"Out of time its normalized Gini is {with_interval(gini)}." if gini else "It could not be tested."
    if any(words["normalized_gini"] == TOO_FEW for words in about["evaluation"]["verdicts"].values()):
        tested = f"{tested[:-1]}, but too few customers came back in the test to tell how good it is."
    return [
        f"# Model card: customer lifetime value, {about['horizon_days']} days ahead",
        "",
        f"For each customer with a purchase by {about['as_of_date']}: the probability to buy again in the next "
        f"{about['horizon_days']} days, what is spent then, and the product of the two, in {about['currency']}. "
        f"Predicted by {recipe.describe()}, fitted on a shop of {about['customers']:,} customers. {tested}",
    ]


def _use(about: Mapping[str, Any]) -> list[str]:
    return [
        "## How to use it",
        "",
        "```sh",
        "clv score   # every customer of the warehouse, to a file and a table",
        "clv serve   # POST /predict takes features, POST /predict/purchases raw orders",
        "```",
        "",
        "```python",
        "import mlflow  # needs neither clv nor a pickle; MLFLOW_TRACKING_URI says where the registry is",
        "",
        f'mlflow.pyfunc.load_model("models:/{NAME}/Production").predict(features)',
        "```",
        "",
        f"It takes the {len(about['contract'])} features of its signature; the SQL that computes them from orders is "
        "inside, as `features.sql`. Those that move its predictions most, in money:",
        "",
        "| feature | what it is | mean contribution |",
        "|---|---|---|",
        *(
            f"| {one['feature']} | {in_table(_description(about, one['feature']))} "
            f"| {money(one['mean_abs_contribution'])} {about['currency']} |"
            for one in about["importance"][:MOST_FEATURES]
        ),
    ]


def _description(about: Mapping[str, Any], name: str) -> str:
    return str(next(feature["description"] for feature in about["contract"] if feature["name"] == name))


def _data(about: Mapping[str, Any]) -> list[str]:
    cutoffs = about["cutoffs"]
    return [
        "## Data",
        "",
        "| | |",
        "|---|---|",
        f"| source | {about['source']}, one shop (`{about['shop_id'][:12]}`), amounts in {about['currency']} |",
        f"| history | {about['first_purchase_date']} to {about['as_of_date']}, {about['customers']:,} customers |",
        f"| fitted on | {about['training_rows']:,} snapshots of customers at {len(cutoffs)} cutoffs, "
        f"{cutoffs[0]} to {cutoffs[-1]}, {about['training_returners']:,} of which came back |",
        *(
            [
                f"| calibration slope of Gamma-Gamma's spend | {about['spend_slope']:.2f} (1: the differences it sees "
                "between customers came true, 0: none of them did) |"
            ]
            if about["spend_slope"] is not None
            else []
        ),
        f"| fingerprint of the data | `{about['data_fingerprint'][:16]}` |",
    ]


def _target(about: Mapping[str, Any]) -> list[str]:
    return [
        "## Target",
        "",
        f"Net spend in the {about['horizon_days']} days after a cutoff, returns taken off, at least 0; to come back is "
        "to buy for more than 0 on at least one day of them. Features know nothing later than the cutoff.",
    ]


def _quality(about: Mapping[str, Any], evaluation: Mapping[str, Any], interval: tuple[float, float]) -> list[str]:
    lines = ["## How good it is", ""]
    if not evaluation["models"]:
        return [*lines, evaluation["note"] or "No out-of-time test was possible."]
    best = evaluation["best_baseline"]
    metrics = evaluation["models"][MODEL]
    word = evaluation["verdicts"][best]["normalized_gini"]
    beside = (
        f"Too few customers came back to tell whether it is better than {best}, the best baseline."
        if word == TOO_FEW
        else f"By normalized Gini it is **{verdict(word, best)}**, the best baseline."
    )
    lines += [
        f"The same recipe, refitted at {', '.join(evaluation['tests'])} and tested on what came after: the mean over "
        f"these cutoffs, with a {evaluation['level']:.0%} interval{' where one is known' if word == TOO_FEW else ''}. "
        f"{beside}",
        "",
        *metric_table(evaluation["models"]),
        "",
        "| the model's other metrics | |",
        "|---|---|",
        *(
            f"| {METRICS[name].label} | {with_interval(metrics[name], METRICS[name].decimals(metrics[name][0]))} |"
            for name in ("pr_auc", "spearman", "spearman_ceiling", "mae", "rmse")
        ),
    ]
    if evaluation["ceiling"] is not None:
        lines.append(f"| Gini of who knew every customer's habits, a ceiling | {evaluation['ceiling']:.3f} |")
    if evaluation["oracle"]:
        lines.append(
            f"| share of the Gini that is achievable on this synthetic shop "
            f"| {with_interval(evaluation['oracle']['share'], 2)} |"
        )
    lines += [
        f"| {about['interval_level']:.0%} of those who returned spent | {interval[0]:.2f} to {interval[1]:.2f} times "
        "`value_if_return` |",
        *(
            [f"| so the other cutoffs said of each; it was true of | {evaluation['value_coverage']:.0%} |"]
            if evaluation["value_coverage"] is not None
            else []
        ),
        "",
        "Cutoff by cutoff:",
        "",
        "| cutoff | customers | came back | Gini | top 10 % | total predicted / actual |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one['cutoff']} | {one['customers']:,} | {one['returners']:,} | {_plain(one['normalized_gini'])} "
            f"| {_plain(one['top_decile_capture'])} | {_plain(one['total_ratio'])} |"
            for one in evaluation["by_cutoff"]
        ),
    ]
    return lines


def _total(about: Mapping[str, Any]) -> list[str]:
    level = about.get("level")
    if not level:
        return []
    return [
        "## The total",
        "",
        f"All customers together are expected to spend {money(level['total'], 0)} {about['currency']}, with "
        f"{about['interval_level']:.0%} certainty {money(level['total_low'], 0)} to {money(level['total_high'], 0)}. "
        f"{level['note']} {doubt(level)}".strip(),
    ]


def _slices(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    if not slices:
        return []
    lines = [
        "## For whom",
        "",
        f"Nothing is claimed of a slice of which fewer than {FEWEST_RETURNERS} customers came back.",
    ]
    for slicing in dict.fromkeys(one["slice"] for one in slices):
        lines += [
            "",
            f"| {TITLES.get(slicing, slicing)} | customers | came back | "
            f"{' | '.join(METRICS[name].label for name in SLICE_METRICS)} |",
            "|---" * (3 + len(SLICE_METRICS)) + "|",
        ]
        mine = [one for one in slices if one["slice"] == slicing]
        for one in mine:
            if one["enough"]:
                cells = " | ".join(with_interval(one["metrics"][name], 2) for name in SLICE_METRICS)
                lines.append(f"| {in_table(one['value'])} | {one['customers']:,} | {one['returners']:,} | {cells} |")
        small = [f"{one['value']} ({one['returners']:,} of {one['customers']:,})" for one in mine if not one["enough"]]
        if small:
            lines += ["", f"*Too few came back to judge: {', '.join(small)}.*"]
    return lines


def _limits(about: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Limits",
        "",
        "- It says who will spend, not whom a campaign would change.",
        f"- It knows one shop, up to {about['as_of_date']}. Another shop, horizon or set of features is refused.",
        "- A category it never saw counts as missing, and the answer says so.",
        "- The artifact is code: whoever may write to the registry decides what runs.",
    ]
    if evaluation["note"]:
        lines.append(f"- {evaluation['note']}")
    return lines


def _origin(about: Mapping[str, Any]) -> list[str]:
    recipe = ", ".join(f"{name}={value}" for name, value in about["recipe"].items())
    return [
        "## Where it comes from",
        "",
        f"Code `{about['commit']}`, trained {about['trained_at']}, seed {about['seed']}. Recipe: {recipe}.",
    ]


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
