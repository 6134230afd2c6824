"""Saved views of the run list: the columns that matter, chosen once, so that nobody has to click them together.

MLflow's UI keeps a view as an experiment tag, compressed; they are listed under "Views" and have an address.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence

_PREFIX = "mlflow.sharedViewState."
MODELS, TRIALS = "clv-models", "clv-trials"


_WIDTHS = {
    "attributes.`Models`": 140,
    "metrics.`normalized_gini`": 125,
    "metrics.`normalized_gini_low`": 150,
    "metrics.`normalized_gini_high`": 155,
    "metrics.`top_decile_capture`": 150,
    "metrics.`gini_fold_1`": 105,
    "metrics.`gini_fold_2`": 105,
    "metrics.`gini_fold_3`": 105,
    "params.`learning_rate`": 110,
    "params.`min_child_weight`": 140,
    "tags.`clv.verdict`": 190,
    "tags.`clv.level`": 400,
}
"""Pixels of columns whose heading or text is longer than the usual 100 show."""


def tags() -> dict[str, str]:
    """The views as experiment tags."""
    return {
        _PREFIX + MODELS: _view(
            "Models",
            "metrics.gini_over_best_baseline > -2",  # tested out of time; monitor and backtest have none
            # The best first; sorted by time MLflow would fold each version away under the `clv run` that made it.
            order_by="metrics.`normalized_gini`",
            columns=[
                "attributes.`Models`",
                "tags.`clv.verdict`",
                *(f"metrics.`{name}`" for name in ("normalized_gini", "normalized_gini_low", "normalized_gini_high")),
                *(f"metrics.`{name}`" for name in ("top_decile_capture", "total_ratio")),
                "tags.`clv.gate`",
                "params.`family`",
                "tags.`clv.level`",
            ],
        ),
        _PREFIX + TRIALS: _view(
            "Trials",
            "tags.`clv.kind` = 'trial'",
            order_by="metrics.`cv_gini`",
            columns=[
                "metrics.`cv_gini`",
                *(f"metrics.`gini_fold_{number}`" for number in (1, 2, 3)),
                *(
                    f"params.`{name}`"
                    for name in ("family", "max_depth", "learning_rate", "min_child_weight", "subsample")
                ),
                "tags.`clv.state`",
            ],
        ),
    }


def address(experiment_id: str, view: str) -> str:
    """Where a view is, from the UI's root."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={view}"


def _view(name: str, search: str, *, order_by: str, columns: Sequence[str]) -> str:
    state = {
        "searchFilter": search,
        "orderByKey": order_by,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": list(columns),  # without it MLflow sorts them by name: high before low
        "columnWidths": {column: _WIDTHS[column] for column in columns if column in _WIDTHS},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode("ascii")
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})
