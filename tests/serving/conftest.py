"""A tiny registry: a model of six features fitted on random customers, logged and promoted as the real one is."""

import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType

import duckdb
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from clv.contract import Contract, Feature
from clv.models.model import Model
from clv.models.recipe import Recipe
from clv.predictor import Predictor
from clv.settings import Settings
from serving import holder
from serving.app import create_app
from serving.server import listen, server
from serving.settings import ServingSettings
from serving.shop import ScoredShop
from tests.sharing import made_once

CONTRACT = Contract(
    (
        Feature("recency_days", "number", "days", False, 0, None, "Days since the last purchase."),
        Feature("purchase_count", "number", "purchases", False, 1, 10_000, "Purchases so far."),
        Feature("amount_total", "number", "currency", False, None, None, "Net spend so far."),
        Feature("gap_mean_days", "number", "days", True, 0, None, "Mean days between purchases."),
        Feature("first_category", "category", "category", True, None, None, "Category of the first purchase."),
        Feature("state", "category", "state", True, None, None, "State of the last purchase."),
    )
)

FEATURES_SQL = """
with days as (
    select customer_id, cast(purchased_at as date) as day, sum(amount) as amount,
        min(category) as category, min(state) as state
    from purchases group by all
), known as (
    select days.*, cutoff_date from days, cutoffs where day <= cutoff_date and amount > 0
)
select
    customer_id, cutoff_date,
    cast(cutoff_date - max(day) as double) as recency_days,
    cast(count(*) as double) as purchase_count,
    cast(sum(amount) as double) as amount_total,
    cast(max(day) - min(day) as double) / nullif(count(*) - 1, 0) as gap_mean_days,
    arg_min(category, day) as first_category,
    arg_max(state, day) as state
from known group by customer_id, cutoff_date
"""

EVALUATION = {
    "note": "",
    "tests": ["2018-03-31", "2018-04-30"],
    "level": 0.95,
    "models": {
        "model": {
            "normalized_gini": [0.61, 0.55, 0.66],
            "top_decile_capture": [0.42, 0.36, 0.47],
            "mae": [3.1, 2.9, 3.4],
        },
        "mean": {"normalized_gini": [0.0, None, None], "top_decile_capture": [0.1, 0.1, 0.1], "mae": [4.0, 3.7, 4.2]},
        "newest": {
            "normalized_gini": [0.31, 0.25, 0.36],
            "top_decile_capture": [0.22, 0.18, 0.27],
            "mae": [4.0, 3.7, 4.2],
        },
    },
    "verdicts": {"mean": {"normalized_gini": "better"}, "newest": {"normalized_gini": "better"}},
}


def random_customers(n: int, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    count = draw.integers(1, 9, n).astype(float)
    return pd.DataFrame(
        {
            "recency_days": draw.integers(0, 400, n).astype(float),
            "purchase_count": count,
            "amount_total": np.round(draw.gamma(2.0, 60.0, n) * count, 2),
            "gap_mean_days": np.where(count > 1, draw.uniform(5, 90, n), np.nan),
            "first_category": draw.choice(["books", "toys", None], n),
            "state": draw.choice(["SP", "RJ", "MG"], n),
        }
    )


def fit(seed: int = 0) -> Predictor:
    draw = np.random.default_rng(seed)
    frame = random_customers(1500, seed)
    chance = np.exp(-frame["recency_days"] / 200) * 0.5
    is_return = draw.uniform(size=len(frame)) < chance
    value = np.where(is_return, draw.gamma(2.0, 40.0, len(frame)), 0.0)
    recipe = Recipe(family="hurdle", bags=1, trees=20, value_trees=10)
    labelled = frame.assign(customer_id=[f"c{row}" for row in range(len(frame))])
    model = Model(CONTRACT, recipe, seed=seed, threads=2).fit(
        labelled, value, is_return=is_return, today=frame, horizon_days=90
    )
    predictor = replace(
        model.predictor_,
        about={
            "horizon_days": 90,
            "as_of_date": "2018-06-30",
            "currency": "BRL",
            "shop_id": "tiny",
            "source": "transactions",
            "contract": CONTRACT.to_json(),
            "contract_fingerprint": CONTRACT.fingerprint,
            "data_fingerprint": "0" * 64,
            "commit": "unknown",
            "trained_at": "2018-07-01T00:00:00+00:00",
            "recipe": recipe.model_dump(),
            "cutoffs": ["2018-01-31"],
            "interval_level": 0.8,
            "customers": len(frame),
            "importance": [
                {"feature": "recency_days", "mean_abs_contribution": 7.5},
                {"feature": "amount_total", "mean_abs_contribution": 2.25},
                {"feature": "state", "mean_abs_contribution": 0.5},
            ],
            "evaluation": EVALUATION,
        },
        value_interval=(0.4, 1.9),
        features_sql=FEATURES_SQL,
    )
    expected = predictor.predict_parts(frame).expected_value
    return replace(predictor, percentiles=tuple(np.quantile(expected, np.linspace(0, 1, 101)).tolist()))


@dataclass(frozen=True)
class TinyRegistry:
    """An MLflow store in a folder of its own."""

    settings: Settings

    @property
    def serving(self) -> ServingSettings:
        return ServingSettings(tracking_uri=self.settings.tracking_uri, poll_seconds=0.2)

    @property
    def steady(self) -> ServingSettings:
        """For services that run beside many tests: the one look at the registry is the first."""
        return self.serving.model_copy(update={"poll_seconds": 3600})

    def register(self, predictor: Predictor, *, spoil: dict[str, str] | None = None) -> str:
        """Log a model folder; `spoil` overwrites files of it before."""
        import matplotlib.pyplot as plt

        from experiments.tracking import Tracker

        folder = self.settings.home / "model"
        predictor.save(folder)
        (folder / "figures").mkdir(exist_ok=True)
        plt.imsave(folder / "figures" / "gain_curve.png", np.linspace(0, 1, 400).reshape(20, 20))
        for name, text in (spoil or {}).items():
            (folder / name).write_text(text)
        tracker = Tracker(self.settings).open()
        with warnings.catch_warnings(), tracker.run("tiny") as run:
            warnings.simplefilter("ignore")
            return tracker.log_model(
                run,
                folder,
                contract=CONTRACT,
                example=random_customers(2).astype({"first_category": "str"}),
                version_tags={},
                description="tiny",
            )

    def promote(self, version: str, stage: str = "Production") -> None:
        from mlflow import MlflowClient

        client = MlflowClient(self.settings.tracking_uri, self.settings.tracking_uri)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            client.transition_model_version_stage("clv", version, stage, archive_existing_versions=True)
        if stage == "Production":
            client.set_registered_model_alias("clv", "production", version)


@pytest.fixture(scope="session")
def helpers() -> ModuleType:
    """This very module, for tests that need more than the fixtures."""
    return sys.modules[__name__]


@pytest.fixture(scope="session", autouse=True)
def settled_once() -> Iterator[None]:
    """Services settle the memory of their process after each load of a model; that of tests is large and shared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.holder._settle_memory", cache(holder._settle_memory))
        yield


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return fit()


def make_registry(folder: Path) -> TinyRegistry:
    home = folder / "home"
    home.mkdir()
    return TinyRegistry(Settings(home=home))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, predictor: Predictor) -> TinyRegistry:
    """A registry with one version in Production; tests must not change it."""

    def make(folder: Path) -> None:
        made = make_registry(folder)
        made.promote(made.register(predictor))

    return TinyRegistry(Settings(home=made_once(tmp_path_factory, "registry", make) / "home"))


def scored_shop(scores: np.ndarray, scored_by: str = "version 1") -> dict[str, pa.Table]:
    """The marts of a scored shop as they are read for `GET /customers`, with a customer for each score."""
    scored = pa.table(
        {
            "customer_id": [f"{row:05d}" for row in range(len(scores))],
            "p_return": scores / 100,
            "value_if_return": np.full(len(scores), 100.0),
            "expected_value": scores,
            "value_if_return_low": np.full(len(scores), 40.0),
            "value_if_return_high": np.full(len(scores), np.nan),
            "percentile": np.full(len(scores), np.nan),
            "as_of_date": [date(2018, 6, 30)] * len(scores),
            "horizon_days": pa.array([90] * len(scores), pa.int64()),
            "scored_by": [scored_by] * len(scores),
        }
    )
    purchases = """
        select '00001' as customer_id, day as purchase_date, 12.5::decimal(18, 4) as amount,
        0::decimal(18, 4) as return_amount, 1::bigint as order_count, null::bigint as item_count, 'toys' as category,
        null::varchar as payment_type, 7::bigint as never_shown
        from (values (date '2018-05-01'), (date '2018-06-01'), (date '2018-07-01')) as days(day)
        """
    snapshots = """
        select '00001' as customer_id, day as cutoff_date, 29::double as recency_days, 2::double as purchase_count,
        25::double as amount_total, 31::double as gap_mean_days, 'toys' as first_category, null::varchar as state
        from (values (date '2018-05-31'), (date '2018-06-30')) as days(day)
        """
    with duckdb.connect() as connection:
        return {
            "customer_predictions": scored,
            "purchases": connection.sql(purchases).to_arrow_table(),
            "customer_snapshots": connection.sql(snapshots).to_arrow_table(),
        }


def read_while_replaced(shop: ScoredShop, replace: Callable[[dict[str, pa.Table]], None]) -> None:
    """Pages that are read while one scoring takes the place of the other come whole from one of them."""
    scorings = {"version 1": np.full(300, 1.0), "version 2": np.full(200, 2.0)}
    pages: list[dict] = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            pages.append(shop.page("customer_id", 1000, None, None))

    replace(scored_shop(scorings["version 1"], "version 1"))
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for by in [*scorings] * 2:
                replace(scored_shop(scorings[by], by))
        finally:
            is_over.set()
        for reader in readers:
            reader.result()
    assert {page["scored"]["scored_by"] for page in pages} == set(scorings)
    for page in pages:
        assert [one["expected_value"] for one in page["customers"]] == scorings[page["scored"]["scored_by"]].tolist()


@contextmanager
def serving(settings: ServingSettings, *, until_ready: bool = True) -> Iterator[httpx.Client]:
    """The app behind a real socket, and a client of it."""
    with listen("127.0.0.1", 0) as bound:
        running = server(create_app(settings))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", timeout=30) as client:
            deadline = time.monotonic() + 60
            while until_ready and client.get("/ready").status_code != 200:
                assert time.monotonic() < deadline, client.get("/ready").text
                time.sleep(0.05)
            yield client
        running.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(scope="session")
def api(registry: TinyRegistry) -> Iterator[httpx.Client]:
    with serving(registry.steady) as client:
        yield client


def as_customers(frame: pd.DataFrame) -> dict:
    """The body of POST /predict for a frame of features."""
    features = json.loads(frame.to_json(orient="records", double_precision=15))
    return {"customers": [{"customer_id": f"c{row}", "features": one} for row, one in enumerate(features)]}
