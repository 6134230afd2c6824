"""Model: which one is in service, who let it in, and whether to believe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import pandas as pd
import streamlit as st

from streamlit_app import model_charts as charts
from streamlit_app import model_words as words
from streamlit_app import page, palette
from streamlit_app.client import ApiError, Client
from streamlit_app.preferences import style

_CAPTIONS = {
    "gain_curve.png": "Gain curve: what the customers ranked first really spent. The higher, the better the order.",
    "calibration.png": "Calibration by decile: what was predicted for each tenth of customers, and what came.",
    "value_distribution.png": "Distribution of expected values beside what was spent.",
    "beeswarm.png": "One dot a customer: how far each feature moved the expected value; yellow is a high value.",
    "dependence.png": "The strongest features one by one: what their values do to the chance to return (above) and to "
    "the spend of those who return (below), in money; one dot a customer.",
}
_DRAWN_HERE = {"metric_ladder.png", "importance.png", "backtest.png"}

_SIGNS = {"better": "✓ ", "worse": "✗ ", "not distinguishable": "≈ "}

_TIME_METRICS = (words.RANKING, words.LEVEL)
_IDEAL = {words.LEVEL: 1.0}
_TABLE_PIXELS = 640


def show(api: Client, facts: dict[str, Any]) -> None:
    """The page."""
    report, gone = _report(api)
    _show_warnings(facts, report, gone)
    _show_header(facts, report)
    parts: dict[str, Callable[[], None]] = {
        "Tested": lambda: _show_test(api, facts),
        "Over time": lambda: _show_time(facts, report),
        "For whom": lambda: _show_slices(facts),
        "What moves it": lambda: _show_importance(api, facts),
        "Promotion": lambda: _show_promotion(report),
        "Model card": lambda: _show_card(facts, report),
    }
    chosen = st.segmented_control(
        "About",
        list(parts),
        default="Tested",
        required=True,
        key="about",
        bind="query-params",
        label_visibility="collapsed",
        width="stretch",
    )
    parts[chosen or "Tested"]()


def _report(api: Client) -> tuple[dict[str, Any], str | None]:
    """The report on the version; empty, and why, where the service can't give it: the rest is worth showing."""
    try:
        return api.report(), None
    except ApiError as error:
        return {}, str(error)


def _show_warnings(facts: Mapping[str, Any], report: Mapping[str, Any], gone: str | None) -> None:
    version = facts["model"]["version"]
    for warning in report.get("warnings") or facts["warnings"]:
        st.warning(warning, icon=":material/gpp_maybe:")
    if facts["refused"] is not None:
        st.warning(f"{facts['refused']['reason']} Version {version} stays in service.", icon=":material/gpp_maybe:")
    trouble = facts["registry"]["trouble"] or report.get("trouble")
    if trouble is not None:
        st.warning(
            f"The registry can't be followed: {trouble} Version {version} stays in service.",
            icon=":material/cloud_off:",
        )
    if gone is not None:
        st.warning(f"How the version came into service can't be shown: {gone}", icon=":material/cloud_off:")


def _show_header(facts: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    model, about = facts["model"], facts["about"]
    numbers = style()
    event = _promotion(report, model["version"])
    since = event["at"] if event else facts["promoted_at"]
    places = page.four()
    in_stage = f"Version in {model['stage']}" if model["version"] else "Model"
    page.figure(next(places), in_stage, model["version"] or "by its run")
    page.figure(next(places), "Looks ahead", f"{model['horizon_days']} days")
    page.figure(next(places), "Has learnt up to", model["as_of_date"])
    known = "customers" in about
    page.figure(next(places), "Customers learnt from", numbers.number(about["customers"]) if known else "–")
    if event:
        st.markdown(
            f":material/how_to_reg: **Since {_moment(since)}**, {_done(event['kind'])} by **{event['by']}**: "
            f"{event['reason'] or 'no reason given'}"
        )
    elif since:
        st.markdown(f":material/how_to_reg: **Since {_moment(since)}**; nobody recorded who put it there.")
    sentences = words.judgement(about.get("evaluation") or {}, numbers)
    if sentences:
        st.markdown(f":material/balance: {' '.join(sentences)}")
    details = [
        f"registered {_moment(facts['registered_at'])}" if facts["registered_at"] else None,
        f"trained from commit {about['commit']}" if about.get("commit") else None,
        f"data {about['data_fingerprint'][:12]}" if about.get("data_fingerprint") else None,
        f"MLflow run {facts['run_id']}" if facts["run_id"] else None,
    ]
    st.caption(" · ".join(part for part in details if part))


def _promotion(report: Mapping[str, Any], version: str | None) -> dict[str, Any] | None:
    """The event that put the version where it is."""
    found: dict[str, Any] | None = next(
        (event for event in report.get("history") or [] if event["version"] == version and event["kind"] != "repair"),
        None,
    )
    return found


def _done(kind: str) -> str:
    said = {"promote": "promoted", "force": "forced past the gate", "rollback": "rolled back to", "outside": "changed"}
    return said.get(kind, kind)


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def _show_test(api: Client, facts: Mapping[str, Any]) -> None:
    """Beside the baselines, out of time."""
    evaluation = facts["about"].get("evaluation") or {}
    models: dict[str, Any] = evaluation.get("models") or {}
    if evaluation.get("note"):
        st.info(evaluation["note"], icon=":material/info:")
    elif not models:
        st.info(
            "This model was not tested out of time, so nothing says how good it is. `clv train` tests what it trains "
            "where the history is long enough.",
            icon=":material/info:",
        )
    if models:
        _show_ladder(evaluation, models)
    _show_figures(api, facts, ["gain_curve.png", "calibration.png", *_others(facts)])


def _others(facts: Mapping[str, Any]) -> list[str]:
    """Figures that have no place of their own."""
    first = ["value_distribution.png"]
    return first + [name for name in facts["figures"] if name not in {*_DRAWN_HERE, *_CAPTIONS}]


def _show_ladder(evaluation: Mapping[str, Any], models: Mapping[str, words.Intervals]) -> None:
    numbers, colours = style(), palette.colours()
    level = evaluation.get("level", 0.95)
    st.caption(
        f"Fitted anew to what was known on {', '.join(evaluation.get('tests', []))}, and tested on the days after, "
        f"which it had not seen. Bars are {numbers.share(level)} intervals. {words.BESIDE}"
    )
    shown = words.ordered(metric for values in models.values() for metric in values)
    drawn = [metric for metric in (words.RANKING, "top_decile_capture", words.LEVEL) if metric in shown] or shown[:2]
    for column, metric in zip(page.beside(len(drawn), 320), drawn, strict=True):
        with column:
            st.markdown(f"**{words.label(metric)}**")
            frame = charts.metric_frame(models, metric)
            st.altair_chart(charts.metric_chart(frame, colours, numbers, _IDEAL.get(metric)), width="stretch")
            if metric in words.METRICS:
                st.caption(words.METRICS[metric].meaning)
    st.markdown("**All metrics**")
    rows = {
        words.label(metric): {
            words.baseline(name): words.interval(values.get(metric), numbers, words.digits(metric, values.get(metric)))
            for name, values in models.items()
        }
        for metric in shown
    }
    st.dataframe(pd.DataFrame(rows), width="stretch")
    verdicts = evaluation.get("verdicts") or {}
    if verdicts:
        st.markdown("**Is this model better?** A paired test beside each baseline:")
        table = {
            words.baseline(name): {
                words.label(metric): _SIGNS.get(each[metric], "") + each[metric] for metric in words.ordered(each)
            }
            for name, each in verdicts.items()
        }
        st.dataframe(pd.DataFrame(table).T, width="stretch")
    if evaluation.get("oracle"):
        share = evaluation["oracle"]["share"]
        st.markdown(
            f"This shop is made up, so its truth is known: the model reaches {numbers.share(share[0])} of the ranking "
            "of an oracle that knows the shop's true parameters and the same history."
        )
    elif evaluation.get("ceiling"):
        st.caption(
            f"Chance sets a limit: who returns by luck can't be known. A ranking above {evaluation['ceiling']:.2f} "
            "would mean that the answer had leaked."
        )


def _show_time(facts: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """Whether it is as good at one time as at another, and how it ages."""
    backtest = report.get("backtest") or {}
    rows = [cell for cell in backtest.get("grid") or [] if not cell.get("age_days") and _is_main(cell, backtest)]
    if rows:
        st.markdown("**Backtest**: the version's recipe, fitted anew at each day shown and tested on the days after.")
    else:
        rows = (facts["about"].get("evaluation") or {}).get("by_cutoff") or []
        if rows:
            st.markdown("**By test cutoff**: fitted anew at each day shown and tested on the days after.")
            st.caption("A longer backtest appears here after `clv backtest` has tested this version's recipe.")
    if not rows:
        st.info(
            "Nothing is known over time: the model was tested at no or at one cutoff only. `clv backtest` tests its "
            "recipe over the whole history.",
            icon=":material/info:",
        )
        return
    colours, numbers = palette.colours(), style()
    metrics = [metric for metric in _TIME_METRICS if any(row.get(metric) is not None for row in rows)]
    for column, metric in zip(page.beside(len(metrics)), metrics, strict=True):
        with column:
            st.markdown(f"**{words.label(metric)}**")
            chart = charts.over_time_chart(
                _over_time(rows, metric), words.label(metric), colours, numbers, _IDEAL.get(metric)
            )
            st.altair_chart(chart, width="stretch")
            st.caption(words.METRICS[metric].meaning)
    if backtest:
        days = backtest.get("retrain_after_days")
        icon = ":material/event_repeat:" if days else ":material/check_circle:"
        st.markdown(f"{icon} {backtest.get('note') or ''}")
        ages = _ages(backtest)
        if len(ages) > 1:
            st.altair_chart(charts.age_chart(ages, colours, numbers), width="stretch")
            st.caption(
                "How much worse a model ranks customers, the longer ago it was fitted: ranking by value, less that of "
                "one fitted anew, tested on the same days. Below the dashed line the old one is worse."
            )
    with st.expander("The numbers"):
        table = pd.DataFrame(rows)
        names = [name for name in ("cutoff", "customers", "returners", *words.METRICS) if name in table.columns]
        renamed = {"cutoff": "Cutoff", "customers": "Customers", "returners": "Returned"}
        st.dataframe(
            table[names].rename(columns=lambda name: renamed.get(name, words.label(name))),
            hide_index=True,
            width="stretch",
        )


def _ages(backtest: Mapping[str, Any]) -> pd.DataFrame:
    """What models of an age lose, for the horizon that is served."""
    rows = [
        {
            "age_days": age["age_days"],
            "cutoffs": age["cutoffs"],
            "difference": age["difference"][words.RANKING],
            "low": age["difference"][f"{words.RANKING}_low"],
            "high": age["difference"][f"{words.RANKING}_high"],
        }
        for age in backtest.get("by_age") or []
        if _is_main(age, backtest)
    ]
    return pd.DataFrame(rows).dropna() if rows else pd.DataFrame()


def _is_main(cell: Mapping[str, Any], backtest: Mapping[str, Any]) -> bool:
    """Whether a cell is of the horizon that is served."""
    main = backtest.get("horizon_days")
    return main is None or cell.get("horizon_days", main) == main


def _over_time(rows: Sequence[Mapping[str, Any]], metric: str) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "cutoff": pd.to_datetime([row["cutoff"] for row in rows]),
            "value": pd.Series([row.get(metric) for row in rows], dtype=float),
            "low": pd.Series([row.get(f"{metric}_low") for row in rows], dtype=float),
            "high": pd.Series([row.get(f"{metric}_high") for row in rows], dtype=float),
        }
    )
    frame = frame.dropna(subset=["value"]).sort_values("cutoff")
    return frame if frame["low"].notna().any() else frame[["cutoff", "value"]]


def _show_slices(facts: Mapping[str, Any]) -> None:
    """Whether it is as good for one part of the customers as for another."""
    evaluation = facts["about"].get("evaluation") or {}
    slices: list[dict[str, Any]] = evaluation.get("slices") or []
    if not slices:
        st.info(
            "This version was not tested for parts of the customers; versions trained by a newer `clv train` are.",
            icon=":material/info:",
        )
        return
    names = list(dict.fromkeys(one["slice"] for one in slices))
    first, second = page.beside(2, 220)
    chosen = first.selectbox("Customers by", names, format_func=_plain, key="slice", bind="query-params")
    metrics = words.ordered(metric for one in slices for metric in one["metrics"])
    metric = second.selectbox("Judged by", metrics, format_func=words.label, key="metric", bind="query-params")
    mine = [one for one in slices if one["slice"] == chosen]
    rows = [
        {
            "value": str(one["value"]),
            "customers": one["customers"],
            "returners": one["returners"],
            **dict(zip(("estimate", "low", "high"), one["metrics"][metric], strict=True)),
        }
        for one in mine
        if one["enough"] and one["metrics"].get(metric) and one["metrics"][metric][0] is not None
    ]
    overall = ((evaluation.get("models") or {}).get(words.MODEL, {}).get(metric) or [None])[0]
    if rows:
        chart = charts.slices_chart(pd.DataFrame(rows), overall, palette.colours(), style())
        st.altair_chart(chart, width="stretch")
        st.caption(f"{words.METRICS[metric].meaning if metric in words.METRICS else ''} The dashed line is everybody.")
    few = [one for one in mine if not one["enough"]]
    if few:
        listed = ", ".join(f"{one['value']} ({style().number(one['returners'])} returned)" for one in few)
        st.caption(f"Too few who returned to judge: {listed}.")


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _show_importance(api: Client, facts: Mapping[str, Any]) -> None:
    """What it looks at."""
    importance = facts["about"].get("importance") or []
    left, right = page.beside(2)
    with left:
        st.markdown("**How far each feature moves the expected value**")
        if importance:
            currency = facts["model"]["currency"]
            st.altair_chart(charts.importance_chart(importance, currency, palette.colours(), style()), width="stretch")
            st.caption("Mean size of its contribution over a sample of customers (TreeSHAP, turned into money).")
        else:
            st.info("This model carries no feature importances.", icon=":material/info:")
    with right:
        st.markdown("**Up or down**")
        if "beeswarm.png" in facts["figures"]:
            _show_figure(api, facts, "beeswarm.png")
        else:
            st.info("This model carries no beeswarm of its features.", icon=":material/info:")
    if "dependence.png" in facts["figures"]:
        _show_figure(api, facts, "dependence.png")
    _show_contract(facts["contract"])


def _show_contract(contract: Sequence[Mapping[str, Any]]) -> None:
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


def _show_promotion(report: Mapping[str, Any]) -> None:
    """Who did what when, and what the gate said."""
    history = report.get("history") or []
    st.markdown("**Every change of what is in Production**")
    if history:
        rows = [
            {
                "When": _moment(event["at"]),
                "What": _done(event["kind"]).removesuffix(" to"),
                "Version": event["version"] or "–",
                "Instead of": event["former"] or "–",
                "By": event["by"],
                "Why": event["reason"],
            }
            for event in history
        ]
        st.table(pd.DataFrame(rows).set_index("When"))
    else:
        st.info("No change is recorded; `clv promote` records who, when and why.", icon=":material/info:")
    gate = report.get("gate") or []
    if gate:
        st.markdown("**What the gate checked at its last promotion**")
        rows = [
            {
                "Check": check["name"],
                "": ":green[✓\N{NO-BREAK SPACE}passed]" if check["passed"] else ":red[✗\N{NO-BREAK SPACE}failed]",
                "Found": check["detail"],
            }
            for check in gate
        ]
        st.table(pd.DataFrame(rows).set_index("Check"))
    if report.get("gate_report"):
        with st.expander("The gate's report on this version"):
            _show_document(report["gate_report"])
    elif not gate:
        st.info("The gate has left no report on this version.", icon=":material/info:")


def _show_card(facts: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """The model card, and what the model can't do."""
    with st.container(border=True):
        st.markdown("**What it can't do**")
        st.markdown("\n".join(f"- {limit}" for limit in words.LIMITS))
    if report.get("card"):
        _show_document(report["card"])
        st.download_button(
            "Download the card",
            report["card"],
            file_name=f"model-card-{facts['model']['version'] or 'run'}.md",
            mime="text/markdown",
            icon=":material/download:",
        )
    else:
        st.info(
            "This version has no model card; versions trained by a newer `clv train` have one.", icon=":material/info:"
        )


def _show_document(markdown: str) -> None:
    """Its text, and its tables, which are scrolled in a narrow window."""
    for is_table, lines in groupby(_smaller(markdown).splitlines(), lambda line: line.startswith("|")):
        place = st.grid(1, wrap=False, min_column_width=_TABLE_PIXELS) if is_table else st
        place.markdown("\n".join(lines))


def _smaller(markdown: str) -> str:
    """The text with its headings two levels down: they stand below those of the page."""
    lines, in_code = [], False
    for line in markdown.splitlines():
        in_code ^= line.startswith("```")
        lines.append(f"##{line}" if line.startswith("#") and not in_code else line)
    return "\n".join(lines)


def _show_figures(api: Client, facts: Mapping[str, Any], names: Sequence[str]) -> None:
    """Those of the figures that are there, two beside each other."""
    there = [name for name in names if name in facts["figures"]]
    if there:
        for place, name in zip(page.beside(len(there), most=2), there, strict=True):
            with place:
                _show_figure(api, facts, name)


def _show_figure(api: Client, facts: Mapping[str, Any], name: str) -> None:
    try:
        picture = _figure(api, api.url, facts["model"]["version"], facts["loaded_at"], name)
    except ApiError as error:
        st.caption(f"{name} can't be shown: {error}")
        return
    st.image(picture, caption=_CAPTIONS.get(name, name), width="stretch")


@st.cache_data(max_entries=50, show_spinner=False)
def _figure(_api: Client, url: str, version: str | None, loaded_at: str, name: str) -> bytes:
    return _api.figure(name)


if __name__ == "__main__":
    st.title("Can you believe the model?")
    page.guarded(show)
