"""What `clv monitor` and `clv backtest` say of Olist and CDNOW, as docs/monitoring.md quotes it.

    .venv/bin/python -m benchmarks.monitoring --output docs/results      (some ten minutes on two cores)

A model of Olist as of 2018-02-28 is looked at half a year later; then the default recipe is tested back on both shops.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import OUTPUT_HELP, save
from benchmarks.shops import OLIST, cdnow, clv

MADE_ON = "2018-02-28"
BACKTESTS = (("Olist", 90), ("Olist", 180), ("CDNOW", 90))
DEFAULTS = ("--recipe", "{}")
IN_BOUNDS_OR_NOT = (0, 3)
FEATURES = ("tenure_days", "last_delivery_days")
"""One that always drifts in a shop that grows, and one that did not use to."""


def main() -> None:
    """Train, look back, test back, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clv-monitoring-") as temporary:
        folder = Path(temporary)
        homes = {"Olist": folder / "olist", "CDNOW": folder / "cdnow"}
        seen = monitored(homes["Olist"])
        clv(homes["CDNOW"], "load", cdnow(folder), "--source", "transactions", "--amount-column", "dollar_value")
        clv(homes["CDNOW"], "transform", "--horizon-days", 90)
        backtests = [(shop, days, backtest(homes[shop], days)) for shop, days in BACKTESTS]
    rows = [
        [shop, f"{days} days", str(len(refitted(found))), gini(found), found["note"]] for shop, days, found in backtests
    ]
    figures = looking_back(seen)
    for line in (*rows, figures):
        print(line)
    head = ["", "horizon", "cutoffs", "Gini, refitted at each", "what the backtest says"]
    save(arguments.output, "monitoring", table=[head, *rows], **figures)


def monitored(home: Path) -> dict[str, Any]:
    """What `clv monitor` says of a model of :data:`MADE_ON` on the last day of Olist."""
    clv(home, "run", OLIST, "--source", "olist", "--as-of", MADE_ON, "--horizon-days", 90)
    clv(home, "transform", "--horizon-days", 90)
    return answer(clv(home, "--json", "monitor", codes=IN_BOUNDS_OR_NOT))


def backtest(home: Path, horizon_days: int) -> dict[str, Any]:
    """What `clv backtest` says of the default recipe."""
    return answer(clv(home, "--json", "backtest", *DEFAULTS, "--horizons", horizon_days))


def answer(output: str) -> dict[str, Any]:
    """The JSON that a verb prints last."""
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def refitted(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Cells of models that were made on the evening of the cutoff itself."""
    return [cell for cell in found["grid"] if cell["age_days"] == 0]


def gini(found: dict[str, Any]) -> str:
    """From the worst cutoff to the best."""
    estimates = sorted(cell["normalized_gini"] for cell in refitted(found))
    return f"{estimates[0]:.3f} to {estimates[-1]:.3f}"


def looking_back(seen: dict[str, Any]) -> dict[str, str]:
    """What was said of the predictions of :data:`MADE_ON`, and the drift of :data:`FEATURES` beside what was usual."""
    details = {check["name"]: check["detail"] for check in seen["checks"]}
    drift = {one["feature"]: one for one in seen["drift"]}
    return {"rank": details["rank"], "level": details["level"]} | {
        f"{feature}_{what}": f"{drift[feature][what]:.2f}" for feature in FEATURES for what in ("index", "usual")
    }


if __name__ == "__main__":
    main()
