"""Model: which one is in service, and whether to believe it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from clv.errors import InputError
from clv.metrics import METRICS
from streamlit_app import charts
from streamlit_app.client import ApiError, Client
from streamlit_app.notices import show_error
from streamlit_app.service import client

_CAPTIONS = {
    "gain_curve.png": "Gain curve: the value held by the best customers, as predicted",
    "calibration.png": "Calibration: what was predicted, and what came",
    "metric_ladder.png": "The metric beside the baselines",
    "importance.png": "Importance of features",
    "beeswarm.png": "How each feature moves the prediction",
    "value_distribution.png": "Distribution of expected values",
}


def show() -> None:
    """The page."""
    st.title("Can you believe the model?")
    try:
        api = client()
        facts = api.model()
    except ApiError as error:
        show_error(error)
        return
    except InputError as error:
        show_error(ApiError("other", str(error)))
        return
    _show_header(facts)
    _show_evaluation(facts["about"].get("evaluation") or {})
    _show_importance(facts)
    _show_plots(api, facts)
    _show_contract(facts["contract"])


def _show_header(facts: dict[str, Any]) -> None:
    model, about = facts["model"], facts["about"]
    if facts["refused"] is not None:
        st.warning(
            f"{facts['refused']['reason']} Version {model['version']} stays in service.", icon=":material/gpp_maybe:"
        )
    if facts["registry"]["trouble"] is not None:
        st.warning(
            f"The registry can't be followed: {facts['registry']['trouble']} Version {model['version']} stays in "
            "service.",
            icon=":material/cloud_off:",
        )
    version, horizon, learnt, customers = st.columns(4)
    version.metric(f"Version in {model['stage']}", model["version"] or "by run", border=True)
    horizon.metric("Looks ahead", f"{model['horizon_days']} days", border=True)
    learnt.metric("Has learnt up to", model["as_of_date"], border=True)
    customers.metric("Customers learnt from", f"{about['customers']:,}" if "customers" in about else "–", border=True)
    parts = [
        f"Promoted {_moment(facts['promoted_at'])}" if facts["promoted_at"] else None,
        f"registered {_moment(facts['registered_at'])}" if facts["registered_at"] else None,
        f"trained from commit `{about['commit']}`" if about.get("commit") else None,
        f"data `{about['data_fingerprint'][:12]}`" if about.get("data_fingerprint") else None,
        f"MLflow run `{facts['run_id']}`" if facts["run_id"] else None,
    ]
    st.caption(" · ".join(part for part in parts if part))


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def _show_evaluation(evaluation: dict[str, Any]) -> None:
    st.header("Beside the baselines", anchor=False)
    models: dict[str, Any] = evaluation.get("models") or {}
    if not models:
        st.info(
            evaluation.get("note") or "This model was not tested out of time, so there is nothing to compare.",
            icon=":material/info:",
        )
        return
    tests = ", ".join(evaluation.get("tests", []))
    st.caption(
        f"Recipe, out of time: refitted and tested on days it had not seen ({tests}). Intervals hold "
        f"{evaluation['level']:.0%}."
    )
    if evaluation.get("note"):
        st.info(evaluation["note"], icon=":material/info:")
    there = dict.fromkeys(metric for values in models.values() for metric in values)
    shown = [metric for metric in METRICS if metric in there] + [metric for metric in there if metric not in METRICS]
    first = shown[:2]
    for column, metric in zip(st.columns(2, gap="large"), first, strict=False):
        with column:
            st.markdown(f"**{_label(metric)}**")
            st.altair_chart(charts.metric_chart(charts.metric_frame(models, metric)), width="stretch")
    table = pd.DataFrame(
        {_label(metric): {name: _interval(values.get(metric)) for name, values in models.items()} for metric in shown}
    )
    st.dataframe(table, width="stretch")
    verdicts = evaluation.get("verdicts") or {}
    if verdicts:
        st.markdown("**Is the model better?** A paired test for each baseline:")
        rows = {
            baseline: {_label(metric): verdict for metric, verdict in each.items()}
            for baseline, each in verdicts.items()
        }
        st.dataframe(pd.DataFrame(rows).T, width="stretch")


def _label(metric: str) -> str:
    return METRICS[metric].label if metric in METRICS else metric


def _interval(values: list[float | None] | None) -> str:
    if not values or values[0] is None:
        return "–"
    value, low, high = values
    return f"{value:,.3f}" if low is None or high is None else f"{value:,.3f}  ({low:,.3f} to {high:,.3f})"


def _show_importance(facts: dict[str, Any]) -> None:
    st.header("What it looks at", anchor=False)
    importance = facts["about"].get("importance") or []
    if not importance:
        st.info("This model carries no feature importances.", icon=":material/info:")
        return
    st.altair_chart(charts.importance_chart(importance, facts["model"]["currency"]), width="stretch")


@st.cache_data(max_entries=50, show_spinner=False)
def _figure(_api: Client, url: str, version: str | None, loaded_at: str, name: str) -> bytes:
    return _api.figure(name)


def _show_plots(api: Client, facts: dict[str, Any]) -> None:
    names = facts["figures"]
    if not names:
        return
    st.header("Figures of the test", anchor=False)
    known = [name for name in _CAPTIONS if name in names]
    columns = st.columns(2, gap="large")
    for number, name in enumerate(known + [name for name in names if name not in known]):
        with columns[number % 2]:
            try:
                picture = _figure(api, api.url, facts["model"]["version"], facts["loaded_at"], name)
            except ApiError as error:
                show_error(error)
                return
            st.image(picture, caption=_CAPTIONS.get(name, name), width="stretch")


def _show_contract(contract: list[dict[str, Any]]) -> None:
    with st.expander(f"The {len(contract)} features it takes"):
        rows = [
            {
                "Feature": feature["name"],
                "Unit": feature["unit"],
                "May be missing": feature["nullable"],
                "From": feature["minimum"],
                "To": feature["maximum"],
                "Meaning": feature["description"],
            }
            for feature in contract
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")


if __name__ == "__main__":
    show()
