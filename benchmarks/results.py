"""The numbers of README, docs and article: `clv run` with its defaults on three shops, and what benchmarks stored.

``make results`` runs Olist and CDNOW (they must lie in ``../shared/data``, or where ``CLV_DATA`` says) and a synthetic
shop, whose truth is known, stores what came out in docs/results/*.json and writes the pages anew; ``--render`` only
writes the pages from what is stored there, by this or by another benchmark (``--output docs/results``). A test compares
pages and stored results, so no number is typed by hand.

A page names a number in a comment and shows it behind: ``<!-- newcomer.demo -->105<!-- / -->``. A comment alone on its
line, ``<!-- serving -->``, stands for a whole table. The article, which is to be pasted elsewhere, has a template:
``{olist.model.mae}``.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from benchmarks.pipeline import measured
from benchmarks.shops import OLIST, REPOSITORY, cdnow, clv
from clv.machine import usable_cores
from clv.warehouse import prices

DOCS = REPOSITORY / "docs"
STORED = DOCS / "results"
HORIZON_DAYS = 90

NAMES = {
    "model": "**model**",
    "btyd": "BG/NBD and Gamma-Gamma alone",
    "historical_rate": "historical rate",
    "total_spend": "total spend",
    "persistence": "persistence",
    "newest_first": "newest first",
    "mean": "mean",
    "zero": "zero",
}
SHOPS = {"olist": "Olist", "cdnow": "CDNOW"}
MADE_UP = "synthetic"
EXPLAINED = {
    "quality": """\
*Ours* is what `clv run` would have chosen on that day, at every month end with two horizons of history before it and a
whole window after it. The *reference blend* is the mean of BG/NBD with Gamma-Gamma and a plain XGBoost hurdle, with
no code of ours; the *best rung* is the best baseline, chosen in hindsight. All of them are normalized Ginis. H is the
horizon in days; a *bare log* has dates and amounts only. How many verdicts are luck is told by the reference blend
itself: it is fitted three more times, with its customers dealt into other folds, and compared with what it said first.
"""
}
"""What a reader has to know of a benchmark's own page."""

SHOWN = re.compile(r"<!-- ([a-z][a-z0-9_.]*) -->((?:(?!<!-- [a-z]).)*?)<!-- / -->", flags=re.DOTALL)
TEMPLATED = re.compile(r"\{([a-z][a-z0-9_.]*)\}")


def main() -> None:
    """Run, store, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=[*SHOPS, MADE_UP], help="run one of the three")
    parser.add_argument("--render", action="store_true", help="only write the pages from the stored results")
    arguments = parser.parse_args()
    if not arguments.render:
        with tempfile.TemporaryDirectory(prefix="clv-results-") as folder:
            for name, paths in _sources(Path(folder)).items():
                if arguments.only not in (None, name):
                    continue
                (STORED / f"{name}.json").write_text(json.dumps(_run(Path(folder), name, *paths), indent=1) + "\n")
                print(f"{name}: stored in {STORED / name}.json", flush=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(REPOSITORY)}")


def _sources(folder: Path) -> dict[str, tuple[Path, str]]:
    """The files of each shop, and the options that they need."""
    made_up = folder / "made-up"
    clv(folder / MADE_UP, "synth", made_up)
    return {
        "olist": (OLIST, "--source olist"),
        "cdnow": (cdnow(folder), "--source transactions --amount-column dollar_value"),
        MADE_UP: (made_up / "shop", "--source olist"),
    }


def _run(folder: Path, name: str, path: Path, options: str) -> dict[str, Any]:
    home = folder / name
    with measured(name) as cost:
        output = clv(home, "--json", "--quiet", "run", path, *options.split(), "--horizon-days", HORIZON_DAYS)
    answer = json.loads(output.splitlines()[-1])
    return {
        "command": f"clv run {path.name} {options} --horizon-days {HORIZON_DAYS}",
        "customers": answer["customers"],
        "repeat_percent": _repeat_percent(home),
        "refused": answer["refused"],
        "seconds": round(cost.seconds),
        "peak_gb": round(cost.peak / 1e9, 1),
        "cores": usable_cores(),
        "evaluation": answer["evaluation"],
        "top_tenth": _top_tenth(home, len(answer["evaluation"]["tests"])),
    }


def _repeat_percent(home: Path) -> float:
    """Share of the customers who bought on two days or more."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        [(share,)] = warehouse.execute(
            "select avg((purchase_count > 1)::int) from marts.customer_snapshots "
            "where cutoff_date = (select max(cutoff_date) from marts.customer_snapshots)"
        ).fetchall()
    return round(100 * float(share), 1)


def _top_tenth(home: Path, tests: int) -> dict[str, float]:
    """What the best tenth spent, and what a random tenth would have: the mean over the test cutoffs."""
    (table,) = home.rglob("evaluation/deciles.csv")
    deciles = pd.read_csv(table)
    actual = float((deciles["customers"] * deciles["actual_mean"]).iloc[0]) / tests
    everybody = float((deciles["customers"] * deciles["actual_mean"]).sum()) / tests
    return {
        "customers": float(deciles["customers"].iloc[0]) / tests,
        "actual": actual,
        "random": everybody / 10,
        "gain": actual - everybody / 10,
    }


def stored() -> dict[str, dict[str, Any]]:
    """Stored results by name; not those that have a page of their own."""
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(STORED.glob("*.json"))
        if not path.with_suffix(".md").exists()
    }


def pages() -> dict[Path, str]:
    """Every page that shows results, as it has to read."""
    results = stored()
    found = {
        DOCS / "results.md": "\n".join([*_page(results), *_evidence()]),
        DOCS / "article.md": TEMPLATED.sub(
            lambda match: shown(results, match[1]), (DOCS / "article.template.md").read_text(encoding="utf-8")
        ),
    }
    for path in [REPOSITORY / "README.md", *sorted(DOCS.glob("**/*.md"))]:
        text = path.read_text(encoding="utf-8")
        if path not in found and path.parent != STORED and SHOWN.search(text):
            found[path] = SHOWN.sub(lambda match: _filled(results, match), text)
    return found


def ranked(shop: str = "Olist, own columns", horizon_days: int = HORIZON_DAYS) -> dict[str, Any]:
    """What `benchmarks.quality` found for a shop in the mean over all cutoffs that can be tested."""
    found: dict[str, Any] = next(
        row
        for row in _ranks()
        if (row["shop"], row["horizon_days"]) == (shop, horizon_days) and row["cutoff"].startswith("mean of ")
    )
    return found


def _ranks() -> list[dict[str, Any]]:
    """What `benchmarks.quality` stored: a row for each shop and cutoff."""
    rows: list[dict[str, Any]] = json.loads((STORED / "quality.json").read_text(encoding="utf-8"))
    return rows


def _filled(results: Mapping[str, Any], match: re.Match[str]) -> str:
    """A comment, and behind it what it stands for: a table between lines, or a number within one."""
    text = shown(results, match[1])
    is_block = match.string[: match.start()].endswith("\n")
    return f"<!-- {match[1]} -->\n{text}\n<!-- / -->" if is_block else f"<!-- {match[1]} -->{text}<!-- / -->"


def _evidence() -> Iterator[str]:
    """What `benchmarks.quality`, `benchmarks.level` and `benchmarks.tuning` wrote as pages: docs/results/*.md."""
    pages = {path.stem: path.read_text(encoding="utf-8").strip() for path in sorted(STORED.glob("*.md"))}
    for name, page in pages.items():
        if not any(page in other for other in pages.values() if other != page):  # quality.md ends with level.md
            title, _, text = page.partition("\n")
            yield f"#{title}\n\n{EXPLAINED[name]}" if name in EXPLAINED else f"#{title}"
            yield re.sub(r"^#", "##", text, flags=re.MULTILINE)
            yield f"\n(`.venv/bin/python -m benchmarks.{name.split('-')[0]} --output FOLDER`)\n"


def shown(results: Mapping[str, Any], name: str) -> str:
    """What a name stands for.

    ``results`` is the table of README, ``serving`` the table that a benchmark stored and ``serving.cores`` one of its
    figures; ``olist.model.normalized_gini``, ``olist.model.normalized_gini.interval``, ``olist.verdict.btyd``,
    ``olist.top_tenth.gain``, ``olist.customers``, ``olist.ceiling``, ``synthetic.oracle`` and ``totals.lowest`` are
    numbers of the runs; ``ranking.over_btyd`` is what the model gains on Olist in the mean of ``ranking.cutoffs``,
    ``ranking.rare`` its shares of the oracle's Gini on synthetic shops where hardly anybody returns;
    ``prices.queries_per_tib`` is one of BigQuery's prices that ``clv`` calculates with.
    """
    if name == "results":
        return summary(results)
    first, *path = name.split(".")
    if first == "prices":
        price = getattr(prices, path[0].upper())
        return f"{price:.2f}" if isinstance(price, float) else str(price)
    if first == "totals":
        ratios = [one["total_ratio"] for shop in SHOPS for one in results[shop]["evaluation"]["by_cutoff"]]
        return f"{min(ratios) if path == ['lowest'] else max(ratios):.2f}"
    if first == "ranking":
        if path == ["cutoffs"]:
            return str(ranked()["cutoff"].removeprefix("mean of "))
        if path == ["rare"]:
            shares = [
                100 * one["oracle_share"]["estimate"] for one in _ranks() if one["shop"].startswith("synthetic 3%")
            ]
            return f"{min(shares):.0f} to {max(shares):.0f} percent"
        over = ranked()["over"]["BG/NBD alone"]
        return f"{over['estimate']:.3f} ({over['low']:.3f} to {over['high']:.3f})"
    result = results[first]
    if not path:
        cores = f"{result['cores']} core{'' if result['cores'] == 1 else 's'}"
        return f"{table(result['table'])}\n\nMeasured on {cores}, {result['date']}."
    if path[0] == "returned_percent":
        cutoffs = result["evaluation"]["by_cutoff"]
        return f"{100 * sum(one['returners'] for one in cutoffs) / sum(one['customers'] for one in cutoffs):.1f}"
    if path[0] == "oracle":
        estimate, low, high = result["evaluation"]["oracle"]["share"]
        return f"{100 * estimate:.0f} percent ({100 * low:.0f} to {100 * high:.0f})"
    if path[0] == "ceiling":
        return f"{result['evaluation']['ceiling']:.2f}"
    if path[0] == "verdict":
        return str(result["evaluation"]["verdicts"][path[1]]["normalized_gini"])
    if path[0] == "top_tenth":
        return f"{result['top_tenth'][path[1]]:,.0f}"
    if len(path) == 1:
        value = result[path[0]]
        if isinstance(value, list):
            return table(value)
        return f"{value:,}" if isinstance(value, int) else str(value)
    model, metric, *what = path
    estimate, low, high = result["evaluation"]["models"][model][metric]
    if what == ["interval"]:
        return f"{low:.2f} to {high:.2f}"
    if what == ["percent"]:
        return f"{estimate:.0%}".replace("%", " percent")
    return f"{estimate:.3f}" if abs(estimate) < 1 else f"{estimate:.2f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown, the head first."""
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def summary(results: Mapping[str, Any]) -> str:
    """The table of README: all models on both shops."""
    rows = [["", *(cell for title in SHOPS.values() for cell in (f"{title}: Gini", "top 10 % hold", "total"))]]
    for name, title in NAMES.items():
        cells = [cell for shop in SHOPS for cell in _cells(results[shop]["evaluation"]["models"][name])]
        rows.append([title, *cells])
    return "\n".join([table(rows), "", *(_in_words(title, results[shop]) for shop, title in SHOPS.items())])


def _in_words(title: str, result: Mapping[str, Any]) -> str:
    """What the paired bootstrap says of the model beside each baseline, and what the run took."""
    verdicts = {name: one["normalized_gini"] for name, one in result["evaluation"]["verdicts"].items()}
    said = "; ".join(
        f"**{verdict}** {'than' if verdict != 'not distinguishable' else 'from'} {', '.join(names)}"
        for verdict in ("better", "not distinguishable", "worse")
        if (names := [NAMES[name] for name in NAMES if verdicts.get(name) == verdict])
    )
    return (
        f"- On {title}, by Gini, the model is {said}. From file to {result['customers']:,} predictions it took "
        f"{result['seconds']} s on {result['cores']} cores and {result['peak_gb']} GB at the peak."
    )


def _cells(metrics: Mapping[str, list[float | None]]) -> Iterator[str]:
    estimate, low, high = metrics["normalized_gini"]
    assert estimate is not None
    yield "0" if abs(estimate) < 5e-4 else f"{estimate:.3f}" + ("" if low is None else f" ({low:.2f} to {high:.2f})")
    yield f"{metrics['top_decile_capture'][0]:.3f}"
    yield f"{metrics['total_ratio'][0]:.2f}"


def _page(results: Mapping[str, Any]) -> Iterator[str]:
    yield "# Results\n"
    yield "Written by `make results`: `clv run` with its defaults, tested out of time. Intervals are at 95 %.\n"
    for name, title in [*sorted(SHOPS.items()), (MADE_UP, "A synthetic shop")]:
        if (result := results.get(name)) is None:
            continue
        evaluation = result["evaluation"]
        yield f"## {title}\n"
        yield f"`{result['command']}`: {result['customers']:,} customers; tests at {', '.join(evaluation['tests'])}."
        yield f"{result['seconds']} s and {result['peak_gb']} GB at the peak on {result['cores']} cores."
        held = f"{evaluation['value_coverage']:.1%}"
        yield f"Of those who came back {held} spent within an 80% interval that the other cutoffs had set.\n"
        yield "| | Gini | top 10 % hold | ROC AUC | total | MAE | the model is |\n|---|---|---|---|---|---|---|"
        for model, row in NAMES.items():
            metrics = evaluation["models"][model]
            verdict = "" if model == "model" else evaluation["verdicts"][model]["normalized_gini"]
            gini, capture, total = _cells(metrics)
            auc, mae = metrics["roc_auc"][0], metrics["mae"][0]
            yield f"| {row} | {gini} | {capture} | {auc:.3f} | {total} | {mae:,.2f} | {verdict} |"
        if evaluation["oracle"]:
            best = evaluation["oracle"]["normalized_gini"][0]
            yield f"\nThe oracle knows the shop's parameters and sees what a shop sees. Its Gini is {best:.3f};"
            yield f"the model has {shown(results, f'{name}.oracle')} of it."
        yield "\n### Cutoff by cutoff\n"
        yield "| cutoff | customers | returners | Gini | top 10 % hold | total |\n|---|---|---|---|---|---|"
        for one in evaluation["by_cutoff"]:
            yield (
                f"| {one['cutoff']} | {one['customers']:,} | {one['returners']:,} | {one['normalized_gini']:.3f} | "
                f"{one['top_decile_capture']:.3f} | {one['total_ratio']:.2f} |"
            )
        yield ""


if __name__ == "__main__":
    main()
