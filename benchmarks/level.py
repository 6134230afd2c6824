"""How far the forecast total is off, and how often its interval holds what was spent.

    python -m benchmarks.level --output FOLDER          (about five minutes on one core)
    python -m benchmarks.level --output FOLDER --quick  (a smoke test: few shops)

At every month end that leaves two horizons of history before it and a whole window after it, the total that a model's
predictions are brought to (`clv.level`) is compared with what the customers seen by then spent. It depends on the
shop's history alone, not on the learner, so no learner is fitted. Beside it: the total of BG/NBD + Gamma-Gamma on all
orders, and the same multiplied by what it was off in the last window that had closed, the usual remedy.

The simulated shops are small ones of `clv synth`, and shops of other laws than ours: seasons, trends, a wholesaler with
old customers, a heavy tail and a strong Christmas, and shops to which something happens: a steep decline, closed doors,
a step up or down. All have seeds of their own, lengths and cutoffs drawn at random.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.quality import month_ends, olist_log
from benchmarks.shops import CDNOW, OLIST, cdnow
from clv.ledger import EPOCH, Ledger, Windows, number
from clv.level import fit_level
from clv.models.btyd import BTYDModel
from clv.predictor import Array
from clv.synth.shop import Shop
from clv.synth.simulate import simulate

SHARE = 0.8
BAR = 0.12
KINDS = ("synthetic", "retail", "wholesale", "upset")
"""Of simulated shops."""
COVERAGE = (0.7, 0.9)


@dataclass(frozen=True)
class Log:
    """Purchases, one row per customer and day: ``customer``, ``day`` (since 1970), ``amount``."""

    name: str
    rows: pd.DataFrame

    def ledger(self, windows: Windows) -> Ledger:
        """The shop as a whole, with the labels of some windows."""
        return Ledger.of(self.rows["customer"], self.rows["day"], self.rows["amount"], windows)


@dataclass(frozen=True)
class Result:
    """One window: logarithms of forecast over spent, the forecast's interval over spent, and how long it took."""

    shop: str
    cutoff: str
    horizon_days: int
    ours: float
    low: float
    high: float
    btyd: float
    carried: float
    seconds: float

    @property
    def is_covered(self) -> bool:
        """Whether the interval held what was spent."""
        return self.low <= 0 <= self.high


def merged(name: str, customer: object, day: object, amount: object) -> Log:
    """One row per customer and day."""
    rows = pd.DataFrame({"customer": customer, "day": day, "amount": amount})
    return Log(name, rows.groupby(["customer", "day"])["amount"].sum().reset_index())


def read_log(name: str, path: Path) -> Log:
    """A transaction log; CDNOW calls its amounts `dollar_value`."""
    table = pd.read_csv(path, dtype={"customer_id": str}).rename(columns={"dollar_value": "amount"})
    day = pd.to_datetime(table["date"].astype(str)).to_numpy("datetime64[D]").astype(np.int64)
    return merged(name, table["customer_id"], day, table["amount"])


def btyd_total(log: Log, cutoff: int, horizon_days: int) -> float:
    """What BG/NBD + Gamma-Gamma on all orders expects in total."""
    known = log.rows[(log.rows["day"] <= cutoff) & (log.rows["amount"] > 0)]
    by = known.groupby("customer")
    features = pd.DataFrame(
        {
            "purchase_count": by.size(),
            "recency_days": cutoff - by["day"].max(),
            "tenure_days": cutoff - by["day"].min(),
            "amount_mean": by["amount"].mean(),
            "amount_total": by["amount"].sum(),
        }
    )
    return float(BTYDModel().fit(features, horizon_days=horizon_days).predict_parts(features).expected_value.sum())


def labelled(cutoff: date, horizon_days: int) -> Windows:
    """Windows each month back from one, as many as two years have."""
    return {horizon_days: [cutoff - timedelta(days=30 * back) for back in range(24)]}


def window(log: Log, ledger: Ledger, cutoff: date, horizon_days: int) -> Result | None:
    """Forecast one window; None if nobody came back in it, which no ratio can judge."""
    spent = ledger.labels.get((cutoff, horizon_days), ledger.spent(cutoff, horizon_days))
    if spent <= 0:
        return None
    started = time.perf_counter()
    found = fit_level(ledger, cutoff, horizon_days).forecast
    seconds = time.perf_counter() - started
    low, high = found.interval(SHARE)
    now, before = number(cutoff), number(cutoff) - horizon_days
    btyd = btyd_total(log, now, horizon_days)
    carried = btyd
    last = ledger.spent(EPOCH + timedelta(days=before), horizon_days)
    if last > 0 and (log.rows["day"] < before).any():
        carried = btyd * last / btyd_total(log, before, horizon_days)
    ours, low, high, plain, carried = (
        float(np.log(max(each, 1e-9) / spent)) for each in (found.total, low, high, btyd, carried)
    )
    return Result(log.name, cutoff.isoformat(), horizon_days, ours, low, high, plain, carried, seconds)


def monthly(log: Log, horizon_days: int, most: int | None) -> Iterator[Result]:
    """Every feasible month end of a log, or the latest `most`."""
    ledger = log.ledger({})
    first, last = (EPOCH + timedelta(days=int(day)) for day in (ledger.first.min(), ledger.day.max()))
    for cutoff in month_ends(first, last, horizon_days)[-(most or 0) :]:
        if (result := window(log, log.ledger(labelled(cutoff, horizon_days)), cutoff, horizon_days)) is not None:
            yield result


def small_synthetic(seed: int) -> tuple[Log, date, int]:
    """A small shop of `clv synth`: 300 to 5,000 customers, 200 to 1,000 days, repeat rate 3 to 55 %."""
    draw = np.random.default_rng([2027, seed])
    days, start = int(draw.integers(200, 1000)), date(2015, 1, 1) + timedelta(days=int(draw.integers(0, 730)))
    horizon = min(int(draw.choice([30, 60, 90, 180])), days // 2 - 1)
    end = start + timedelta(days=days)
    shop = Shop.design(float(np.exp(draw.uniform(np.log(0.03), np.log(0.55)))), seed=seed, start=start, end=end)
    baskets = simulate(shop, int(np.exp(draw.uniform(np.log(300), np.log(5000)))), horizon, draw)
    return merged(f"synthetic {seed}", baskets.customer, baskets.moment // 86_400, baskets.cents / 100), end, horizon


def other_laws(seed: int, kind: str) -> tuple[Log, date, int]:
    """A shop whose purchases follow season, trend and drift, and whose customers leave at times of their own.

    A wholesaler has customers from before its records begin, a heavy tail and a strong Christmas; to an upset shop
    something happens (see `upheaval`).
    """
    is_wholesale = kind == "wholesale"
    draw = np.random.default_rng([2028, seed, KINDS.index(kind) - KINDS.index("retail")])
    days, horizon = int(draw.integers(300, 1000)), int(draw.choice([30, 60, 90]))
    start = date(2009, 1, 1) + timedelta(days=int(draw.integers(0, 365)))
    customers = int(np.exp(draw.uniform(np.log(500), np.log(6000))))
    length = days + horizon + 1
    day_of_year = (number(start) + np.arange(length) - number(date(2009, 1, 1))) % 365.25
    christmas = draw.uniform(0.5, 1.3) if is_wholesale else draw.choice([0.0, draw.uniform(0.2, 1.0)])
    peak = np.exp(-0.5 * ((day_of_year - draw.uniform(310, 345)) / draw.uniform(12, 28)) ** 2)
    wave = abs(draw.normal(0, 0.15)) * np.cos(2 * np.pi * (day_of_year - draw.uniform(0, 365)) / 365.25)
    trend = draw.normal(0, 0.15) * np.arange(length) / 365 + np.cumsum(draw.normal(0, 0.003, length))
    busy = np.exp(wave + trend) * (1 + christmas * peak)
    if kind == "upset":
        busy *= upheaval(draw, days, length)
    clock = np.concatenate([[0.0], np.cumsum(busy)])

    growth = draw.choice([-1.5, 0.0, 1.5])
    share = busy[:days] * np.exp(growth * np.arange(days) / days)
    won = draw.choice(days, customers, p=share / share.sum()).astype(np.float64)
    is_old = draw.random(customers) < (0.35 if is_wholesale else 0.0)
    won = np.where(is_old, -draw.uniform(0, 500, customers), won)
    yearly = np.exp(draw.uniform(*np.log((3, 10) if is_wholesale else (0.4, 6))))
    shape = draw.uniform(0.4, 2.0)
    rate = draw.gamma(shape, yearly / 365 / shape, customers)
    stays = draw.exponential(draw.uniform(250, 1000), customers)
    left = won + np.where(draw.random(customers) < draw.uniform(0, 0.5), 0.0, stays)
    tail = draw.uniform(0.8, 1.2) if is_wholesale else draw.uniform(0.2, 0.8)
    size = 60 * np.exp(tail * draw.standard_normal(customers)) * (1 + 365 * rate) ** (0.3 * is_wholesale)

    begin, end = (
        np.interp(np.clip(at, 0, length), np.arange(length + 1), clock) for at in (won, np.maximum(left, won))
    )
    buyer = np.repeat(np.arange(customers), draw.poisson(rate * (end - begin)))
    moment = np.interp(begin[buyer] + draw.random(len(buyer)) * (end - begin)[buyer], clock, np.arange(length + 1))
    fresh = np.flatnonzero(~is_old)
    customer = np.concatenate([fresh, buyer])
    day = number(start) + np.concatenate([won[fresh], np.minimum(moment, length - 1)]).astype(np.int64)
    amount = size[customer] * np.exp(0.6 * draw.standard_normal(len(customer)))
    return merged(f"{kind} {seed}", customer, day, amount), start + timedelta(days=days), horizon


def upheaval(draw: np.random.Generator, days: int, length: int) -> Array:
    """How many times as busy each day is as it was to be, where something happens before the cutoff on day `days`."""
    day = np.arange(length)
    match draw.integers(3):
        case 0:  # decline, from some time on and for good
            log = -draw.uniform(0.5, 1.5) * np.maximum(day - draw.uniform(0, 0.6) * days, 0) / 365
        case 1:  # closed doors, for three to ten weeks
            begin = days - draw.uniform(90, min(days - 60, 400))
            log = np.log(0.05) * ((day >= begin) & (day < begin + draw.uniform(21, 70)))
        case _:  # a step to 0.4 to 2.5 times, for good
            step = draw.choice([-1, 1]) * draw.uniform(0.3, 0.9)
            log = step * (day >= days - draw.uniform(20, 250))
    return np.asarray(np.exp(log), dtype=np.float64)


def simulated(kind: str, count: int) -> Iterator[Result]:
    """The window after the cutoff of each of `count` simulated shops."""
    for seed in range(count):
        log, cutoff, horizon = small_synthetic(seed) if kind == "synthetic" else other_laws(seed, kind)
        if (result := window(log, log.ledger(labelled(cutoff, horizon)), cutoff, horizon)) is not None:
            yield result


def line(name: str, results: Sequence[Result]) -> str:
    """One row of the table."""
    ours, btyd, carried = (
        float(np.mean([abs(getattr(one, which)) for one in results])) for which in ("ours", "btyd", "carried")
    )
    covered = float(np.mean([one.is_covered for one in results]))
    width = float(np.median([(one.high - one.low) / 2 for one in results]))
    bias, seconds = float(np.mean([one.ours for one in results])), float(np.mean([one.seconds for one in results]))
    return (
        f"| {name} | {len(results)} | {ours:.3f} | {bias:+.3f} | {covered:.0%} | ±{np.expm1(width):.0%} "
        f"| {btyd:.3f} | {carried:.3f} | {seconds:.2f} s |"
    )


NOTE = """
Of each closed window: what was forecast for all customers together over what they spent. *Half width* is that of
the forecast's 80 % interval; the last columns are BG/NBD with Gamma-Gamma alone, the same corrected by how far off it
was one window before, and what a forecast takes.
"""

HEADER = (
    "| shop | windows | mean abs log ratio | mean log ratio | inside the 80 % interval | half width | BG/NBD + GG "
    "| the same, as off as last time | time |\n|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Run the parts whose data are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, required=True, help="folder for level.json and level.md")
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument("--shops", type=int, default=200, help="simulated shops of each kind")
    arguments = parser.parse_args()
    most, shops = (2, 4) if arguments.quick else (None, arguments.shops)
    parts: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory(prefix="clv-level-") as temporary:
        folder = Path(temporary)
        if CDNOW.exists():
            parts["CDNOW, H 90"] = list(monthly(read_log("CDNOW", cdnow(folder)), 90, most))
        if OLIST.exists():
            log = read_log("Olist", olist_log(folder))
            for horizon in (90, 180):
                parts[f"Olist, H {horizon}"] = list(monthly(log, horizon, most))
    real = [one for results in parts.values() for one in results]
    for kind in KINDS:
        parts[f"{shops} small shops, {kind}"] = list(simulated(kind, shops))
    table = [HEADER, *(line(name, results) for name, results in parts.items())]
    verdicts = []
    if real:
        table.insert(-len(KINDS), line("**all of these**", real))
        error, covered = (
            float(np.mean([abs(one.ours) for one in real])),
            float(np.mean([one.is_covered for one in real])),
        )
        verdicts.append(_verdict("real shops, mean abs log ratio", f"{error:.3f}", f"at most {BAR}", error <= BAR))
        verdicts.append(_coverage("real shops", covered))
    for kind in KINDS:
        name = f"{shops} small shops, {kind}"
        verdicts.append(_coverage(name, float(np.mean([one.is_covered for one in parts[name]]))))
    page = "\n".join([NOTE.strip(), "", *table, "", *verdicts])
    print(page)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "level.md").write_text(f"# Level\n\n{page}\n", encoding="utf-8")
    plain = {name: [vars(one) for one in results] for name, results in parts.items()}
    (arguments.output / "level.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def _coverage(name: str, covered: float) -> str:
    low, high = COVERAGE
    return _verdict(
        f"{name}, inside the interval", f"{covered:.0%}", f"{low:.0%} to {high:.0%}", low <= covered <= high
    )


def _verdict(what: str, found: str, bar: str, reached: bool) -> str:
    return f"- {what}: {found}, bar {bar}: {'reached' if reached else 'MISSED'}"


if __name__ == "__main__":
    main()
