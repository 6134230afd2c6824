"""The tiny registry of the serving tests, and the app in front of it."""

import importlib.util
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import duckdb
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[2] / "streamlit_app" / "app.py"


def _load() -> ModuleType:
    """The serving tests' fixtures; importlib mode keeps conftest files apart."""
    name = "tiny_registry"
    if name not in sys.modules:
        path = Path(__file__).resolve().parent.parent / "serving" / "conftest.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


tiny = _load()
helpers = tiny.helpers
settled_once = tiny.settled_once
predictor = tiny.predictor
registry = tiny.registry
api = tiny.api


@pytest.fixture(autouse=True)
def fresh_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLV_API_KEY", raising=False)
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def app_path() -> Path:
    return APP


LOG = "Customer,Order Date,Revenue,Invoice\n" + "\n".join(
    f"{customer:05d},2018-0{1 + row % 6}-1{row % 9},{10 + customer}.50,{customer}-{row}"
    for customer in range(40)
    for row in range(1 + customer % 3)
)
AS_OF = "2018-06-30"


@pytest.fixture
def log() -> str:
    """A transaction log of forty customers."""
    return LOG


@pytest.fixture(scope="session")
def predict_log(api) -> Callable[[str], pd.DataFrame]:
    """Ask the service what it says of the customers in the log as of a day, the best first."""

    def predict(as_of: str) -> pd.DataFrame:
        body = LOG.replace("Customer,Order Date,Revenue,Invoice", "customer_id,purchased_at,amount,order_id", 1)
        answer = api.post(
            "/predict/purchases",
            params={"as_of": as_of, "features": "true"},
            content=body.encode(),
            headers={"content-type": "text/csv"},
        )
        found = pd.DataFrame(answer.json()["predictions"])
        return found.sort_values(["expected_value", "customer_id"], ascending=[False, True], ignore_index=True)

    return predict


@pytest.fixture(scope="session")
def predicted(predict_log) -> pd.DataFrame:
    """The same at the end of the log's half year."""
    found: pd.DataFrame = predict_log(AS_OF)
    return found


@pytest.fixture(scope="session")
def scored_api(tmp_path_factory: pytest.TempPathFactory, registry, predicted: pd.DataFrame) -> Iterator[httpx.Client]:
    """The service, with the customers of the log as the scored shop."""
    file = tmp_path_factory.mktemp("scored") / "warehouse.duckdb"
    day = pd.Timestamp(AS_OF).date()
    frames = {
        "scored": predicted.drop(columns="features").assign(as_of_date=day, horizon_days=90, scored_by="version 1"),
        "snapshots": pd.DataFrame(list(predicted["features"])).assign(
            customer_id=predicted["customer_id"], cutoff_date=day
        ),
        "log": pd.read_csv(io.StringIO(LOG), dtype={"Customer": str}),
    }
    with duckdb.connect(str(file)) as connection:
        for name, frame in frames.items():
            connection.register(name, frame)
        connection.execute("create schema marts")
        connection.execute("create table marts.customer_predictions as select * from scored")
        connection.execute("create table marts.customer_snapshots as select * from snapshots")
        connection.execute(
            """
            create table marts.purchases as select "Customer" as customer_id, "Order Date"::date as purchase_date,
            sum("Revenue")::decimal(18, 4) as amount, 0::decimal(18, 4) as return_amount, count(*) as order_count,
            null::bigint as item_count, 'toys' as category, null::varchar as payment_type
            from log group by all
            """
        )
    with tiny.serving(registry.steady.model_copy(update={"warehouse": f"duckdb:///{file}"})) as client:
        yield client


@pytest.fixture
def scored_as(registry, tmp_path: Path) -> Callable[..., AbstractContextManager[httpx.Client]]:
    """The service in front of a scored shop with these expected values and customers, of two purchases each."""

    def serve(scores: np.ndarray, ids: Sequence[str]) -> AbstractContextManager[httpx.Client]:
        tables = tiny.scored_shop(scores)
        with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
            connection.register("scored", tables["customer_predictions"].set_column(0, "customer_id", pa.array(ids)))
            connection.register("bought", tables["purchases"].drop_columns("customer_id"))
            connection.execute("create schema marts")
            connection.execute("create table marts.customer_predictions as from scored")
            connection.execute("create table marts.purchases as select customer_id, bought.* from scored, bought")
        settings = registry.serving.model_copy(update={"warehouse": f"duckdb:///{tmp_path}/warehouse.duckdb"})
        return tiny.serving(settings)

    return serve


class Page:
    """The app in a test, and what people do in it."""

    def __init__(self, address: str | httpx.URL, path: str | None = None, **query: str) -> None:
        self.app = AppTest.from_file(str(APP), default_timeout=60)
        self.app.query_params.update(query)
        self.address = str(address)
        self.run()
        if path is not None:
            self.go(path)

    def run(self, change=None) -> "Page":
        """Do something and let the page run; it must not break."""
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("CLV_API_URL", self.address)
            (change or self.app).run()
        assert not self.app.exception, self.app.exception[0].message
        return self

    def go(self, path: str) -> "Page":
        return self.run(self.app.switch_page(f"views/{path}.py"))

    def upload(self, content: str | bytes, name: str = "file.csv") -> "Page":
        """Choose one's own file and drop it."""
        data = content.encode() if isinstance(content, str) else content
        if not self.app.file_uploader:
            self.run(self.app.segmented_control(key="source").set_value("Your own file"))
        return self.run(self.app.file_uploader[0].set_value((name, data, "text/csv")))

    def press(self, label: str) -> "Page":
        return self.run(next(button for button in self.app.button if button.label == label).click())

    def box(self, label: str):
        return next(one for one in self.app.selectbox if one.label == label)

    def number(self, key: str, value: float | None) -> "Page":
        return self.run(self.app.number_input(key=key).set_value(value))

    @property
    def metrics(self) -> dict[str, str]:
        return {metric.label: metric.value for metric in self.app.metric}

    @property
    def ranges(self) -> dict[str, str]:
        return {metric.label: metric.delta for metric in self.app.metric}

    @property
    def customers(self) -> pd.DataFrame:
        return next(one.value for one in self.app.dataframe if "expected_value" in one.value.columns)

    @property
    def captions(self) -> str:
        return "\n".join(caption.value for caption in self.app.caption)

    @property
    def charts(self) -> int:
        return len(self.app.get("vega_lite_chart") or self.app.get("arrow_vega_lite_chart"))


@pytest.fixture
def open_page() -> type[Page]:
    """Opens a page in front of the service at an address."""
    return Page
