"""The demo: a synthetic shop through the whole chain, to a prediction that is really asked over HTTP."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from clv.errors import UnavailableError
from clv.money import money
from clv.settings import Settings
from clv.snapshots import read_snapshots
from clv.synth import write_shop
from experiments.run import run
from experiments.servers import environment
from experiments.workspace import Workspace

if TYPE_CHECKING:
    from experiments.learn import RunResult

REPEAT_RATE = 0.2
HORIZON_DAYS = 90
TRIALS = 6
START_SECONDS = 60

_ADDRESS = re.compile(r"API: (http://[^,\s]+),")


def demo(workspace: Workspace, *, customers: int) -> dict[str, Any]:
    """Write a synthetic shop, run the chain on it, ask the service for one prediction, say where to look next."""
    console = workspace.console
    console.say("A synthetic shop (made up from a seed, no real customer) through the whole chain:", style="bold")
    started = time.monotonic()
    result = build(workspace, customers=customers)
    staged = workspace.registry.production()
    answer = _ask(workspace) if staged else None

    from experiments import report  # late, as in `run`

    report.show(console, result.trained.facts)
    console.say(
        f"\nIn Production: version {staged.number if staged else 'none'} of model clv"
        + (f"; the gate refused version {result.trained.version}: {result.refused}" if result.refused else "")
    )
    console.say(_told(answer) if answer else "So nothing is served yet; predictions are by the best baseline.")
    clv = called(workspace.settings)
    console.say(
        f"\n{result.scored.summary}\nPredictions of all {result.scored.customers:,} customers: {result.scored.path}\n"
        f"Done in {time.monotonic() - started:.0f} s. The shop is synthetic. Now explore:\n"
        f"  {clv} ui      MLflow: runs, plots, models     http://127.0.0.1:5000\n"
        f"  {clv} serve   API with its documentation      http://127.0.0.1:8000/docs\n"
        f"  {clv} app     Streamlit                       http://127.0.0.1:8501"
    )
    return {"version": result.trained.version, "answer": answer, "evaluation": result.trained.facts}


def called(settings: Settings) -> str:
    """How a shell calls `clv` on this home and warehouse."""
    usual = Settings()
    given = {"CLV_HOME": str(settings.home)} if settings.home != usual.home else {}
    if settings.warehouse != Settings(home=settings.home).warehouse:
        given["CLV_WAREHOUSE"] = settings.warehouse
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in given.items()), ".venv/bin/clv"])


def build(workspace: Workspace, *, customers: int, trials: int = TRIALS) -> RunResult:
    """Write a synthetic shop into the home and run the chain on it."""
    folder = workspace.home.root / "demo"
    with workspace.console.step("synth") as step:
        summary = write_shop(
            folder,
            customers=customers,
            repeat_rate=REPEAT_RATE,
            shape="olist",
            seed=workspace.settings.seed,
            horizon_days=HORIZON_DAYS,
            progress=lambda done, total: step.update("", done, total),
        )
        step.note = f"{summary.customers:,} customers, {summary.orders:,} orders in Olist's tables -> {folder}"
    return run(
        workspace,
        [folder / "shop"],
        source="olist",
        columns=None,
        horizon_days=HORIZON_DAYS,
        as_of_date=None,
        predictions=None,
        replace_shop=False,
        trials=trials,
        jobs=1,
        by="demo",
    )


def _ask(workspace: Workspace) -> dict[str, Any]:
    """Start the service, ask it for the customer with the highest expected value, stop it."""
    body = question(workspace)
    with workspace.console.step("serve") as step, served(workspace) as url:
        response = httpx.post(f"{url}/predict", json=body, timeout=30).raise_for_status()
        step.note = f"POST {url}/predict answered"
    answer: dict[str, Any] = response.json()
    return answer


def _told(answer: dict[str, Any]) -> str:
    prediction, model = answer["predictions"][0], answer["model"]
    return (
        f"Asked over HTTP: customer {prediction['customer_id'][:8]}… returns within {model['horizon_days']} days of "
        f"{model['as_of_date']} with probability {prediction['p_return']:.1%}, then spends "
        f"{money(prediction['value_if_return'])} {model['currency']}: expected value "
        f"{money(prediction['expected_value'])} {model['currency']} (model version {model['version']})."
    )


def question(workspace: Workspace) -> dict[str, Any]:
    """The request body for the customer with the highest expected value."""
    shop = workspace.shop()
    [best] = workspace.warehouse.query(
        "select customer_id from marts.customer_predictions order by expected_value desc, customer_id limit 1"
    ).to_pylist()
    frame = read_snapshots(workspace.warehouse, workspace.contract, [shop.as_of_date]).frame
    row = frame[frame["customer_id"] == best["customer_id"]].iloc[0]
    features = {
        feature.name: None
        if row[feature.name] != row[feature.name] or row[feature.name] is None
        else float(row[feature.name])
        if feature.kind == "number"
        else str(row[feature.name])
        for feature in workspace.contract
    }
    return {"customers": [{"customer_id": str(best["customer_id"]), "features": features}]}


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    """The prediction service in a process of its own, on a port of its choice, ready to answer.

    Raises
    ------
    UnavailableError
        If it does not become ready.
    """
    log = workspace.home.logs / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.cli", "serve", "--port", "0"],
            env=environment(workspace),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _wait_until_ready(process, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the service says it listens on, once it answers there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        address = _ADDRESS.search(log.read_text(encoding="utf-8"))
        try:
            if address and httpx.get(f"{address[1]}/ready", timeout=2).status_code == httpx.codes.OK:
                return address[1]
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    if process.poll() is not None:
        raise UnavailableError(f"The service ended with exit code {process.returncode} before it was ready; see {log}.")
    raise UnavailableError(f"The service did not become ready within {START_SECONDS} s; see {log}.")
