"""Does a model know the future? Three ways to ask.

*Too good*: a result that closes most of the way from the best baseline to the ceiling of :mod:`clv.ceiling`.
*Without the future*: features rebuilt from orders of which everything later than the cutoff was deleted must be those
of the mart; one that differs knew the future.
*A shuffled future*: what customers do after a cutoff is dealt out among them anew, and everything is rebuilt from that.
Nothing can be predicted any more, so a score that does not fall to about 0 comes from features that know the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from clv.bootstrap import Interval, Outcome, intervals, resample
from clv.contract import Contract
from clv.evaluation import MODEL, Evaluation
from clv.metrics import normalized_gini
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.predictor import Array, Parts
from clv.settings import Settings
from clv.snapshots import Shop, Snapshots
from clv.splits import Fold
from clv.warehouse import Warehouse
from clv.warehouse.duckdb import in_memory

FAR = 2 / 3
"""Closing more than this share of the way from the best baseline to the ceiling is too good to be true.

The ceiling takes a person's knowledge of every customer's habits. On synthetic shops, whoever knows the shop's true
parameters and sees what a shop sees, the best that can be, closes 0.2 to 0.6 of the way.
"""

ABOVE_ORACLE = 1.05
"""Where a synthetic shop's truth is known: more than this share of what is achievable is too good to be true."""

SAMPLE = 2_000
"""Customers whose features are rebuilt."""

BINS = 20
"""Bins of a number, when each feature is asked what it knows by itself."""

MOST_SHUFFLES, ENOUGH_RETURNERS = 6, 500
"""Shuffled futures are tested until this many customers returned in them."""

EAGER = {
    "patience": 0,
    "trees": 60,
    "value_trees": 60,
    "learning_rate": 0.06,
    "min_child_weight": 1.0,
    "value_min_child_weight": 5.0,
}
"""How a recipe is changed to be tried on shuffled futures: it shall find whatever there is, even among forty returners,
and what it only imagines of the training customers costs nothing."""

_LATER = {
    "delivered_date": ("delivered_date",),
    "review_created_date": ("review_created_date", "review_answered_date", "review_score"),
    "review_answered_date": ("review_answered_date", "review_score"),
}
"""Dates of an order's later facts, and the columns that are unknown before."""


@dataclass(frozen=True)
class TooGood:
    """A result beyond belief.

    Attributes
    ----------
    gini
        Of the model, with its interval.
    baseline, baseline_gini
        The best rung of the ladder.
    ceiling
        What is out of reach for anyone.
    share
        Share of the way between the two that the interval's lower end closes.
    reason
        Why it is not believed, in one sentence.
    """

    gini: Interval
    baseline: str
    baseline_gini: float
    ceiling: float
    share: float
    reason: str


@dataclass(frozen=True)
class Suspect:
    """A feature and how well it ranks by itself, out of time."""

    feature: str
    gini: float


@dataclass(frozen=True)
class ShuffledFuture:
    """What a recipe scores when the future is dealt out anew.

    Attributes
    ----------
    cutoff
        Where it was tested.
    gini
        Its normalized Gini; about 0 if no feature knows the future.
    """

    cutoff: date
    gini: Interval

    @property
    def is_clean(self) -> bool:
        """Whether the score fell to about 0, as it must."""
        return not self.gini.low > 0


def too_good(evaluation: Evaluation, oracle_share: Interval | None = None) -> TooGood | None:
    """Whether a result is beyond belief; None if not, or if there is no ceiling to tell.

    Parameters
    ----------
    evaluation
        Of the recipe under test.
    oracle_share
        Its share of what is achievable, where a synthetic shop's truth is known.
    """
    ceiling = evaluation.ceiling
    if not evaluation.cutoffs or ceiling is None:
        return None
    gini = evaluation.intervals()["normalized_gini"]
    best = evaluation.best_baseline()
    floor = evaluation.intervals(best)["normalized_gini"].estimate
    room = ceiling - floor
    share = (gini.low - floor) / room if room > 0 else 0.0  # a ceiling that a plain rule is above says nothing
    figures = f"normalized Gini {gini.estimate:.3f} ({gini.low:.3f} to {gini.high:.3f})"
    if gini.low > ceiling > floor:
        reason = f"{figures} is above the ceiling, {ceiling:.3f}, of who knew every customer's habits"
    elif oracle_share is not None and oracle_share.low > ABOVE_ORACLE:
        reason = f"{figures} is above what is achievable on this synthetic shop, {oracle_share.estimate:.2f} times it"
    elif share > FAR:
        reason = (
            f"{figures} is far above {best}'s {floor:.3f}: even its lower end closes {share:.0%} of the way to the "
            f"ceiling, {ceiling:.3f}"
        )
    else:
        return None
    return TooGood(gini, best, floor, ceiling, share, reason)


def suspects(train: Snapshots, test: Snapshots, contract: Contract) -> list[Suspect]:
    """Every feature by how well it ranks alone, out of time, the best first.

    Each value (a category, or one of some bins of a number) stands for the mean spend that followed it in training.
    """
    found = [
        Suspect(
            feature.name,
            normalized_gini(test.future_value, _alone(train, test, feature.name, is_number=feature.kind == "number")),
        )
        for feature in contract
    ]
    return sorted(found, key=lambda suspect: -np.nan_to_num(suspect.gini))


def _alone(train: Snapshots, test: Snapshots, name: str, *, is_number: bool) -> Array:
    if is_number:
        known = train.frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        values = known[np.isfinite(known)]
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])) if len(values) else np.empty(0)
        keys = [
            np.where(np.isnan(values), -1, np.searchsorted(edges, values))
            for values in (known, test.frame[name].to_numpy(dtype=np.float64, na_value=np.nan))
        ]
    else:
        columns = [data.frame[name].astype(object) for data in (train, test)]
        keys = [column.where(column.notna(), "").to_numpy() for column in columns]
    overall = float(train.future_value.mean())
    by_value = pd.Series(train.future_value).groupby(keys[0]).agg(["sum", "count"])
    # a value seen a few times says little: twenty customers' worth of the average are added
    mean = (by_value["sum"] + 20 * overall) / (by_value["count"] + 20)
    return pd.Series(keys[1]).map(mean).fillna(overall).to_numpy(dtype=np.float64)


def changed_features(
    warehouse: Warehouse,
    shop: Shop,
    contract: Contract,
    features_sql: str,
    settings: Settings | None = None,
    *,
    sample: int = SAMPLE,
) -> tuple[date, int, dict[str, int]]:
    """Rebuild the features of some customers without the future, and compare them with the mart's.

    Parameters
    ----------
    settings
        Limits of the rebuilding; the default ones without.

    Returns
    -------
    cutoff, customers, changed
        The latest labelled cutoff (the as-of day, if none is), how many customers were compared, and for each feature
        that differs how many customers' it does.
    """
    cutoff = max(shop.cutoffs, default=shop.as_of_date)
    chosen = (
        f"select customer_id from marts.customer_snapshots where cutoff_date = date '{cutoff}' "
        f"order by reverse(customer_id), customer_id limit {sample}"
    )
    orders = read_orders(warehouse, shop, f"customer_id in ({chosen})")
    mart = warehouse.query(
        f"select customer_id, {', '.join(contract.names)} from marts.customer_snapshots "
        f"where cutoff_date = date '{cutoff}' and customer_id in ({chosen})"
    ).to_pandas()
    rebuilt = build_features(without_future(orders, cutoff), features_sql, [cutoff], settings)
    both = mart.merge(rebuilt, on="customer_id", how="left", suffixes=("", "_rebuilt"))
    changed = {feature.name: _differences(both, feature.name, feature.kind == "number") for feature in contract}
    return cutoff, len(mart), {name: count for name, count in changed.items() if count}


def _differences(both: pd.DataFrame, name: str, is_number: bool) -> int:
    there, again = both[name], both[f"{name}_rebuilt"]
    if is_number:
        same = np.isclose(
            there.to_numpy(dtype=np.float64, na_value=np.nan),
            again.to_numpy(dtype=np.float64, na_value=np.nan),
            rtol=1e-9,
            atol=1e-9,
            equal_nan=True,
        )
    else:
        same = ((there == again) | (there.isna() & again.isna())).to_numpy(dtype=bool)
    return int(np.count_nonzero(~same))


def read_orders(warehouse: Warehouse, shop: Shop, where: str = "true") -> pd.DataFrame:
    """The shop's orders up to the as-of day, as the SELECT inside a model wants them."""
    orders: pd.DataFrame = warehouse.query(
        f"select *, purchase_date as purchased_at from intermediate.int_orders__{shop.source} "
        f"where purchase_date <= date '{shop.as_of_date}' and {where}"
    ).to_pandas(date_as_object=False)
    for name in ("amount", "freight_amount"):  # the SELECT makes exact decimals of them again
        orders[name] = orders[name].astype(np.float64)
    return orders


def without_future(orders: pd.DataFrame, cutoff: date) -> pd.DataFrame:
    """Orders as known on the evening of a cutoff: later ones deleted, later deliveries and reviews unknown."""
    day = pd.Timestamp(cutoff)
    known = orders[orders["purchase_date"] <= day].copy()
    for moment, columns in _LATER.items():
        later = known[moment] > day
        known.loc[later, list(columns)] = None
    return known


def build_features(
    orders: pd.DataFrame, features_sql: str, cutoffs: Sequence[date], settings: Settings | None = None
) -> pd.DataFrame:
    """Run a model's own SELECT on orders; one row per customer and cutoff."""
    days = pd.DataFrame({"cutoff_date": pd.to_datetime(list(cutoffs))})
    with in_memory(settings) as connection:
        connection.execute("set enable_external_access = false")  # a model's SELECT has no business with files
        connection.register("orders_frame", orders)
        connection.register("cutoffs_frame", days)
        connection.execute("create table purchases as select * from orders_frame")
        connection.execute("create table cutoffs as select cast(cutoff_date as date) as cutoff_date from cutoffs_frame")
        features: pd.DataFrame = connection.sql(features_sql.strip().rstrip(";")).df()
    return features


def shuffled_orders(orders: pd.DataFrame, cutoff: date, rng: np.random.Generator) -> pd.DataFrame:
    """Deal out what the customers of a cutoff did after it among them anew; their past stays theirs."""
    later = (orders["purchase_date"] > pd.Timestamp(cutoff)).to_numpy()
    known = np.sort(orders.loc[~later, "customer_id"].unique())
    heir = dict(zip(known, rng.permutation(known), strict=True))
    dealt = orders.copy()
    dealt.loc[later, "customer_id"] = orders.loc[later, "customer_id"].map(lambda one: heir.get(one, one))
    return dealt


def shuffled_future(
    orders: pd.DataFrame,
    features_sql: str,
    contract: Contract,
    recipe: Recipe,
    fold: Fold,
    *,
    horizon_days: int,
    seed: int,
    threads: int,
    settings: Settings | None = None,
) -> ShuffledFuture | None:
    """Test a recipe on futures that belong to somebody else; None if nobody returned in one of the two.

    Every cutoff of the fold gets a shuffle of its own; features and labels are built from the shuffled orders. Where
    few return it is done several times over, as a few lucky guesses look like knowledge.
    """
    settings = settings or Settings(threads=threads)
    rng = np.random.default_rng(seed)
    parts: list[Parts] = []
    outcomes: list[Outcome] = []
    while len(parts) < MOST_SHUFFLES and sum(outcome.is_return.sum() for outcome in outcomes) < ENOUGH_RETURNERS:
        frames = [
            _snapshot(shuffled_orders(orders, cutoff, rng), features_sql, contract, cutoff, horizon_days, settings)
            for cutoff in (*fold.train[-2:], fold.test)
        ]
        train, test = Snapshots(pd.concat(frames[:-1], ignore_index=True)), Snapshots(frames[-1])
        if not (train.is_return.any() and test.is_return.any()):
            return None
        model = Model(contract, recipe.model_copy(update=EAGER), seed=seed, threads=threads).fit(
            train.frame, train.future_value, is_return=train.is_return, today=test.frame, horizon_days=horizon_days
        )
        parts.append(model.predict_parts(test.frame))
        outcomes.append(Outcome(test.customer_id, test.is_return, test.future_value))
    draws = resample({MODEL: parts}, outcomes, rng=rng)
    return ShuffledFuture(fold.test, intervals(draws, MODEL)["normalized_gini"])


def _snapshot(
    orders: pd.DataFrame,
    features_sql: str,
    contract: Contract,
    cutoff: date,
    horizon_days: int,
    settings: Settings,
) -> pd.DataFrame:
    """Features and labels of one cutoff, built from orders."""
    frame = build_features(orders, features_sql, [cutoff], settings)
    later = orders["purchase_date"]
    window = orders[(later > pd.Timestamp(cutoff)) & (later <= pd.Timestamp(cutoff + timedelta(days=horizon_days)))]
    days = window.groupby(["customer_id", "purchase_date"])["amount"].sum().round(6).reset_index()
    spent = days.groupby("customer_id")["amount"].sum().clip(lower=0)
    returned = set(days.loc[days["amount"] > 0, "customer_id"])
    frame["future_value"] = frame["customer_id"].map(spent).fillna(0.0)
    frame["is_return"] = frame["customer_id"].isin(returned)
    for feature in contract:
        column = frame[feature.name]
        frame[feature.name] = column.astype(np.float32) if feature.kind == "number" else column.astype("category")
    return frame
