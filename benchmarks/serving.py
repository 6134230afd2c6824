"""The service beside `mlflow models serve` and a bare FastAPI echo: one run, loopback, one worker each, the same model.

Needs ``wrk`` (``apt install wrk``) and a home that ``clv run`` or ``clv demo`` has filled:
``.venv/bin/python -m benchmarks.serving --home .clv`` (as a module: run by its path, this file would hide the package
it measures). Model A is one hurdle of 300 + 300 trees, model B the default
recipe; both are fitted here on the home's snapshots and registered in a store of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import uvicorn
import xgboost as xgb
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray

from benchmarks.record import OUTPUT_HELP, save
from clv.models.model import Model
from clv.models.recipe import COVARIATE_WEIGHT, Recipe
from clv.predictor import Predictor
from clv.settings import Settings
from clv.snapshots import read_snapshots
from experiments.console import Console
from experiments.tracking import Tracker
from experiments.workspace import Workspace
from serving.server import listen

RECIPES = {
    "A": Recipe(family="hurdle", bags=1, patience=0, trees=300, value_trees=300),
    "B": Recipe(covariate_weight=COVARIATE_WEIGHT),
}
"""B has all that the default may have: five hurdles, BG/NBD with covariates, BG/NBD and Gamma-Gamma."""

PARTS = ["one", "thousand", "purchases"]
"""What can be measured alone: one row, a thousand rows (model A), raw purchases (model B)."""

LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
"""


@dataclass
class Speed:
    """What wrk measured."""

    per_second: float
    p50: float


Body = dict[str, Any]
Asked = Callable[[str, str, Body, int], Speed]
"""Measures a path of a server with a body and so many connections."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".clv"), help="home that `clv run` has filled")
    parser.add_argument("--seconds", type=int, default=8, help="length of each measurement")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=OUTPUT_HELP)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure these rows, record nothing")
    parser.add_argument("--echo", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--watch", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watch:
        watch(arguments.watch)
        return
    if arguments.echo:
        serve_echo(arguments.echo)
        return
    with tempfile.TemporaryDirectory(prefix="clv-bench-") as folder:
        rows = measure(arguments.home, Path(folder), arguments.seconds, arguments.only)
    save(
        arguments.output if arguments.only == PARTS else None,
        "serving",
        table=[["", "service", "beside it", ""], *rows],
    )


def serve_echo(port: int) -> None:
    """A FastAPI app that sends the body back."""
    app = FastAPI()

    @app.post("/predict")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def measure(home: Path, folder: Path, seconds: int, parts: Sequence[str] = PARTS) -> list[list[str]]:
    """Print everything beside its bar; returns the rows that the docs show."""
    store = Settings(home=folder)
    frame, predictors = register(home, store)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, wrk")
    shown: list[list[str]] = []
    for number, (name, predictor) in enumerate(predictors.items(), start=1):
        matrix = predictor.encoder.encode(frame.head(1))
        boosters = [booster for hurdle in predictor.hurdles for booster in (hurdle.p_return, hurdle.value)]
        raw = p50(partial(predict_raw, boosters, matrix))
        uri = f"models:/clv/{number}"
        with ExitStack() as running:
            ours = running.enter_context(service(store, uri, folder))
            theirs = running.enter_context(mlflow_serve(store, uri, folder))
            echo = running.enter_context(started(["-m", "benchmarks.serving", "--echo"], {}, folder, "/docs"))
            same_answers(ours, theirs, frame.sample(200, replace=True, random_state=0))

            def speed(url: str, path: str, body: Body, connections: int) -> Speed:
                return wrk(url + path, body, connections, seconds, folder)

            if "one" in parts:
                shown += one_row(name, speed, ours, theirs, echo, frame.head(1), raw)
            if "thousand" in parts and name == "A":
                shown += thousand(speed, ours, theirs, frame.sample(1000, replace=True, random_state=0))
            if "purchases" in parts and name == "B":
                shown += purchases(ours)
    return shown


def predict_raw(boosters: Sequence[xgb.Booster], matrix: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The boosters alone, without the service around them."""
    return [one.inplace_predict(matrix) for one in boosters]


def one_row(
    name: str, speed: Asked, ours: str, theirs: str, echo: str, one: pd.DataFrame, raw: float
) -> list[list[str]]:
    """One customer a request, from many callers and from one."""
    one_8 = [speed(ours, "/predict", customers(one), 8), speed(theirs, "/invocations", split(one), 8)]
    mine, beside = (speed.per_second for speed in one_8)
    row(f"{name}: 1 row, 8 connections, requests/s", mine, beside, 20 if name == "A" else 5)
    cells = f"{mine:,.0f} requests/s", f"`mlflow models serve`: {beside:,.0f}", f"{mine / beside:.1f}x"
    single, echoed = speed(ours, "/predict", customers(one), 1), speed(echo, "/predict", customers(one), 1)
    bound = echoed.p50 + 1.5 * raw
    print(
        f"{name}: 1 row, 1 connection, p50: {single.p50:.2f} ms; echo {echoed.p50:.2f} + 1.5 x raw "
        f"{raw:.2f} = {bound:.2f} ms: {verdict(single.p50 <= bound)}"
    )
    beside_it = f"echo {echoed.p50:.2f} ms, XGBoost's raw predictions {raw:.2f} ms"
    return [
        [f"{name}, one row, 8 connections", *cells],
        [f"{name}, one row, one connection, median", f"{single.p50:.2f} ms", beside_it, ""],
    ]


def thousand(speed: Asked, ours: str, theirs: str, many: pd.DataFrame) -> list[list[str]]:
    """A thousand customers a request; both sides take turns, lest one of them has the quieter machine."""
    rounds = [
        (speed(ours, "/predict", customers(many), 1).p50, speed(theirs, "/invocations", split(many), 1).p50)
        for _ in range(3)
    ]
    mine, beside = (statistics.median(each) for each in zip(*rounds, strict=True))
    row("A: 1,000 rows, 1 connection, p50 ms", beside, mine, 5)
    cells = f"{mine:.0f} ms", f"`mlflow models serve`: {beside:.0f} ms", f"{beside / mine:.1f}x"
    return [["A, 1,000 rows, one connection, median", *cells]]


def register(home: Path, store: Settings) -> tuple[pd.DataFrame, dict[str, Predictor]]:
    """Fit both models on the home's snapshots and register them."""
    workspace = Workspace(Settings(home=home), Console(quiet=True))
    shop = workspace.shop()
    today = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date])
    made = {name: fit(workspace, recipe) for name, recipe in RECIPES.items()}
    tracker = Tracker(store).open()  # from here on MLflow looks there
    types = {one.name: "float64" if one.kind == "number" else "object" for one in workspace.contract}
    frame = today.frame[workspace.contract.names].astype(types)
    text = [one.name for one in workspace.contract if one.kind == "category"]
    for name, predictor in made.items():
        model_folder = store.home / f"model-{name}"
        predictor.save(model_folder)
        (model_folder / "figures").mkdir()
        with tracker.run(name) as run:
            tracker.log_model(
                run,
                model_folder,
                contract=workspace.contract,
                example=frame.dropna(subset=text).head(2),
                version_tags={},
                description=name,
            )
    return frame, made


def fit(workspace: Workspace, recipe: Recipe) -> Predictor:
    """A recipe fitted on the last labelled snapshots of a home, with all facts of the model in Production there."""
    shop = workspace.shop()
    labelled = read_snapshots(workspace.warehouse, workspace.contract, shop.cutoffs[-3:])
    workspace.tracker  # noqa: B018  (sets the store's address)
    served = mlflow.pyfunc.load_model("models:/clv/Production").unwrap_python_model().predictor
    model = Model(workspace.contract, recipe, seed=1, threads=2).fit(
        labelled.frame,
        labelled.future_value,
        is_return=labelled.is_return,
        today=read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date]).frame,
        horizon_days=shop.horizon_days,
    )
    return replace(
        model.predictor_,
        about={**served.about, "recipe": recipe.model_dump()},
        percentiles=served.percentiles,
        features_sql=served.features_sql,
    )


@contextmanager
def started(words: list[str], environment: dict[str, str], folder: Path, ready: str) -> Iterator[str]:
    """A server on a free port, which is its last argument; yields its address."""
    with listen("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `mlflow models serve` looks for uvicorn there
    with (folder / f"server-{port}.log").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *words, str(port)],
            env={**os.environ, "PATH": path, **environment},
            stdout=output,
            stderr=output,
        )
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    if httpx.get(url + ready, timeout=5).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{words} did not start:\n{Path(output.name).read_text()[-2000:]}")
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait()


def service(store: Settings, uri: str, folder: Path) -> AbstractContextManager[str]:
    """Our service."""
    environment = {"CLV_HOME": str(store.home), "CLV_MODEL_URI": uri}
    return started(["-m", "serving", "--port"], environment, folder, "/ready")


def mlflow_serve(store: Settings, uri: str, folder: Path) -> AbstractContextManager[str]:
    """MLflow's own, one worker."""
    words = ["-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--workers", "1", "--port"]
    return started(words, {"MLFLOW_TRACKING_URI": store.tracking_uri}, folder, "/ping")


def customers(frame: pd.DataFrame) -> Body:
    """The body of our service."""
    features = json.loads(frame.to_json(orient="records", double_precision=15))
    return {"customers": [{"customer_id": str(row), "features": one} for row, one in enumerate(features)]}


def split(frame: pd.DataFrame) -> Body:
    """The body of MLflow's."""
    return {"dataframe_split": json.loads(frame.to_json(orient="split", double_precision=15, index=False))}


def same_answers(ours: str, theirs: str, frame: pd.DataFrame) -> None:
    """Both answer the same fields with the same numbers."""
    mine = pd.DataFrame(httpx.post(f"{ours}/predict", json=customers(frame)).raise_for_status().json()["predictions"])
    answer = httpx.post(f"{theirs}/invocations", json=split(frame), timeout=60).raise_for_status().json()
    other = pd.DataFrame(answer["predictions"])
    np.testing.assert_allclose(mine[other.columns].to_numpy(float), other.to_numpy(float), rtol=1e-9)


def wrk(url: str, body: Body, connections: int, seconds: int, folder: Path) -> Speed:
    (folder / "body.json").write_text(json.dumps(body))
    script = folder / "post.lua"
    script.write_text(LUA.format(body=folder / "body.json"))
    command = ["wrk", "-t1", f"-c{connections}", "--latency", "--timeout", "30s", "-s", str(script), url]
    subprocess.run([*command, "-d2s"], check=True, capture_output=True)  # warm
    text = subprocess.run([*command, f"-d{seconds}s"], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{url} failed under load:\n{text}")
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)[1]  # type: ignore[index]
    return Speed(float(rate), float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit])


def purchases(url: str) -> list[list[str]]:
    """`/predict/purchases` for one and for 20,000 customers, with `/health` asked meanwhile."""
    one, rows = (json.dumps(log(*size)).encode() for size in ((3, 1), (60_000, 20_000)))
    with httpx.Client(base_url=url, timeout=60, headers={"Content-Type": "application/json"}) as client:

        def ask(body: bytes) -> None:
            client.post("/predict/purchases", content=body).raise_for_status()

        single = p50(lambda: ask(one), 60)
        print(f"B: /predict/purchases, 1 customer, p50: {single:.0f} ms; bar 60 ms: {verdict(single <= 60)}")
        # In a process of its own: here it would wait for its turn beside the large answers.
        command = [sys.executable, "-m", "benchmarks.serving", "--watch", url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout is not None
            watcher.stdout.readline()  # it has begun
            many = p50(lambda: ask(rows), 5)
            waits = json.loads(watcher.communicate()[0])
    print(f"B: /predict/purchases, 20,000 customers, p50: {many:.0f} ms; bar 3,000 ms: {verdict(many <= 3000)}")
    worst = max(waits)
    print(
        f"   /health meanwhile: p50 {statistics.median(waits):.1f}, p99 {np.quantile(waits, 0.99):.1f}, worst "
        f"{worst:.0f} ms of {len(waits):,}; bar 50 ms: {verdict(worst < 50)}"
    )
    late = np.quantile(waits, 0.99)
    meanwhile = f"`/health` meanwhile: {late:.0f} ms at the 99th percentile, {worst:.0f} ms at worst"
    return [
        ["B, raw purchases of one customer", f"{single:.0f} ms", "", ""],
        ["B, raw purchases of 20,000 customers", f"{many:.0f} ms", meanwhile, ""],
    ]


def watch(url: str) -> None:
    """Ask for `/health` over and over until standard input ends; prints what each answer took, in milliseconds."""
    done = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    waits: list[float] = []
    with httpx.Client(base_url=url) as client:
        client.get("/health")
        print("watching", flush=True)
        while not done.is_set():
            at = time.perf_counter()
            client.get("/health").raise_for_status()
            waits.append((time.perf_counter() - at) * 1e3)
            time.sleep(0.005)
    print(json.dumps(waits))


def log(rows: int, count: int) -> Body:
    """Purchases of so many customers."""
    draw = np.random.default_rng(0)
    days = pd.Timestamp("2018-01-01") + pd.to_timedelta(draw.integers(0, 180, rows), "D")
    return {
        "as_of": "2018-06-30",
        "purchases": [
            {"customer_id": f"c{who}", "purchased_at": str(day), "amount": round(float(amount), 2)}
            for who, day, amount in zip(np.arange(rows) % count, days, draw.gamma(2, 50, rows), strict=True)
        ],
    }


def p50(action: Callable[[], object], times: int = 500) -> float:
    """Median milliseconds of an action."""
    action()
    waits = []
    for _ in range(times):
        at = time.perf_counter()
        action()
        waits.append((time.perf_counter() - at) * 1e3)
    return statistics.median(waits)


def row(what: str, numerator: float, denominator: float, bar: float) -> None:
    ratio = numerator / denominator
    print(f"{what}: {numerator:,.1f} against {denominator:,.1f}: {ratio:.1f}x, bar {bar}x: {verdict(ratio >= bar)}")


def verdict(reached: bool) -> str:
    return "reached" if reached else "NOT reached"


if __name__ == "__main__":
    main()
