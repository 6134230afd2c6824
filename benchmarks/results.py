"""The results of README, article and docs/results.md: `clv run` with its defaults on the real data, nothing else.

``make results`` runs Olist and CDNOW (they must lie in ``../shared/data``, or where ``CLV_DATA`` says), stores what
came out in docs/results/*.json and writes the pages anew; ``--render`` only writes the pages from what is stored. A
test compares pages and stored results, so no number is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.pipeline import measured

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
STORED = DOCS / "results"
DATA = Path(os.environ.get("CLV_DATA", REPOSITORY.parent / "shared" / "data"))
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
BEGIN, END = "<!-- results -->", "<!-- /results -->"


def main() -> None:
    """Run, store, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--render", action="store_true", help="only write the pages from the stored results")
    arguments = parser.parse_args()
    if not arguments.render:
        with tempfile.TemporaryDirectory(prefix="clv-results-") as folder:
            for name, paths in _sources(Path(folder)).items():
                (STORED / f"{name}.json").write_text(json.dumps(_run(Path(folder), name, *paths), indent=1) + "\n")
                print(f"{name}: stored in {STORED / name}.json", flush=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(REPOSITORY)}")


def _sources(folder: Path) -> dict[str, tuple[Path, str]]:
    cdnow = folder / "cdnow.csv"
    lines = (DATA / "cdnow" / "CDNOW_master.txt").read_text().split("\n")[1:]
    rows = ["customer_id,date,count,amount", *(",".join(line.split()) for line in lines if line.strip())]
    cdnow.write_text("\n".join(rows) + "\n")
    return {"olist": (DATA / "olist" / "brazilian-ecommerce.zip", "olist"), "cdnow": (cdnow, "transactions")}


def _run(folder: Path, name: str, path: Path, source: str) -> dict[str, Any]:
    home = folder / name
    words = ["--home", home, "--json", "--quiet", "run", path, "--source", source, "--horizon-days", HORIZON_DAYS]
    with measured(name) as cost:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.cli", *map(str, words)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(done.stderr)
    answer = json.loads(done.stdout.splitlines()[-1])
    return {
        "command": f"clv run {path.name} --source {source} --horizon-days {HORIZON_DAYS}",
        "customers": answer["customers"],
        "refused": answer["refused"],
        "seconds": round(cost.seconds),
        "peak_gb": round(cost.peak / 1e9, 1),
        "cores": len(os.sched_getaffinity(0)),
        "evaluation": answer["evaluation"],
        "top_tenth": _top_tenth(home, len(answer["evaluation"]["tests"])),
    }


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
    """Stored results by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(STORED.glob("*.json"))}


def pages() -> dict[Path, str]:
    """Every page that shows results, as it has to read."""
    results = stored()
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    head, rest = readme.split(BEGIN)
    tail = rest.split(END)[1]
    article = (DOCS / "article.template.md").read_text(encoding="utf-8")
    return {
        REPOSITORY / "README.md": f"{head}{BEGIN}\n{summary(results)}\n{END}{tail}",
        DOCS / "results.md": "\n".join(_page(results)),
        DOCS / "article.md": re.sub(r"\{([a-z_.]+)\}", lambda match: number(results, match[1]), article),
    }


def number(results: Mapping[str, Any], name: str) -> str:
    """One stored number as text.

    ``olist.model.normalized_gini``, ``olist.model.normalized_gini.interval``, ``olist.verdict.btyd`` or
    ``olist.customers``, for instance.
    """
    shop, *path = name.split(".")
    result = results[shop]
    if path[0] == "verdict":
        return str(result["evaluation"]["verdicts"][path[1]]["normalized_gini"])
    if path[0] == "top_tenth":
        return f"{result['top_tenth'][path[1]]:,.0f}"
    if len(path) == 1:
        value = result[path[0]]
        return f"{value:,}" if isinstance(value, int) else str(value)
    model, metric, *what = path
    estimate, low, high = result["evaluation"]["models"][model][metric]
    if what == ["interval"]:
        return f"{low:.2f} to {high:.2f}"
    return f"{estimate:.3f}" if abs(estimate) < 1 else f"{estimate:.2f}"


def summary(results: Mapping[str, Any]) -> str:
    """The table of README: all models on both shops."""
    shops = [shop for shop in ("olist", "cdnow") if shop in results]
    titles = {"olist": "Olist", "cdnow": "CDNOW"}
    head = "| | " + " | ".join(f"{titles[shop]}: Gini | top 10 % hold | total" for shop in shops) + " |"
    rows = [head, "|---" * (1 + 3 * len(shops)) + "|"]
    for name, title in NAMES.items():
        cells = [cell for shop in shops for cell in _cells(results[shop]["evaluation"]["models"][name])]
        rows.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", *(_in_words(titles[shop], results[shop]) for shop in shops)])


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
    for name, result in results.items():
        evaluation = result["evaluation"]
        yield f"## {name}\n"
        yield f"`{result['command']}`: {result['customers']:,} customers; tests at {', '.join(evaluation['tests'])}."
        yield f"{result['seconds']} s and {result['peak_gb']} GB at the peak on {result['cores']} cores.\n"
        yield "| | Gini | top 10 % hold | ROC AUC | total | MAE | the model is |\n|---|---|---|---|---|---|---|"
        for model, title in NAMES.items():
            metrics = evaluation["models"][model]
            verdict = "" if model == "model" else evaluation["verdicts"][model]["normalized_gini"]
            gini, capture, total = _cells(metrics)
            auc, mae = metrics["roc_auc"][0], metrics["mae"][0]
            yield f"| {title} | {gini} | {capture} | {auc:.3f} | {total} | {mae:,.2f} | {verdict} |"
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
