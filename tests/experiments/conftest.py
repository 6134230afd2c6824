"""Shops that went through `clv run` once, and ways to call the command line."""

import hashlib
import io
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import duckdb
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from clv.synth import write_shop
from experiments import cli
from tests.sharing import made_once

SEED = 42

HORIZON_DAYS = 30


@dataclass(frozen=True)
class Answer:
    """What a call of `clv` did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, code: int, *words: str) -> None:
        """It ended with `code` and one line of one sentence that holds `words`."""
        assert (self.code, self.out) == (code, ""), (self.code, self.out, self.err)
        assert self.err.count("\n") == 1, self.err
        line = self.err
        assert line.startswith("Error: ")
        assert "Traceback" not in line
        for word in words:
            assert word in line


Clv = Callable[..., Answer]


def environment(home: Path) -> dict[str, str]:
    """This process' environment, with none of the settings it may hold but `home` and two threads."""
    rest = {key: value for key, value in os.environ.items() if not key.startswith(("CLV_", "MLFLOW_"))}
    return {**rest, "CLV_HOME": str(home), "CLV_THREADS": "2"}


def call(home: Path, *arguments: object, **variables: str) -> Answer:
    """Call the command line in this process, as `CLV_HOME=home clv --quiet ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # as in a process of its own, where clv sets it before import
    with (
        mock.patch.dict(os.environ, environment(home) | variables, clear=True),
        mock.patch("sys.argv", ["clv", "--quiet", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def clv() -> Clv:
    return call


@dataclass(frozen=True)
class Chain:
    """A home after `clv run`, and what it printed."""

    home: Path
    shop: Path
    truth: Path
    predictions: Path
    result: dict[str, Any]


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Files to predictions on the synthetic shop; tests only look at it."""

    def make(folder: Path) -> None:
        data = write_shop(folder / "synth", customers=4_000, repeat_rate=0.3, seed=SEED).data
        arguments = ["--predictions", folder / "predictions.csv", "--trials", 3, "--by", "ana"]
        done = call(folder / "home", "--json", "run", data, *arguments)
        assert done.code == 0, done.err
        (folder / "result.json").write_text(done.out)

    folder = made_once(tmp_path_factory, "chain", make)
    result = json.loads((folder / "result.json").read_text())
    return Chain(
        folder / "home", folder / "synth" / "shop", folder / "synth" / "truth", folder / "predictions.csv", result
    )


def copy_home(home: Path, to: Path) -> Path:
    """Copy a home, which is sooner done than making one; MLflow's store holds absolute addresses."""
    _artifact_repos_cache.clear()  # MLflow remembers by run where its files lie, and a copy has the same runs
    shutil.copytree(home, to, ignore=shutil.ignore_patterns(".lock*", ".load", ".*.next*"))
    with closing(sqlite3.connect(to / "mlflow.db")) as store, store:
        for (table,) in store.execute("select name from sqlite_master where type = 'table'").fetchall():
            for (column,) in store.execute(f"select name from pragma_table_info('{table}') where type like '%CHAR%'"):
                store.execute(f'update "{table}" set "{column}" = replace("{column}", ?, ?)', [str(home), str(to)])
    return to


@pytest.fixture(scope="session")
def copied() -> Callable[[Path, Path], Path]:
    return copy_home


@dataclass(frozen=True)
class Lab:
    """The home of a small transaction log with version 1 in Production; copies of it may be broken."""

    home: Path
    log: Path

    def copy(self, to: Path) -> "Lab":
        """The same in another place, sharing nothing."""
        return Lab(copy_home(self.home, to), self.log)

    @property
    def state(self) -> tuple[Any, ...]:
        """The last good state: the warehouse file, and what is in the registry and in Production."""
        warehouse = self.home / "warehouse.duckdb"
        with closing(sqlite3.connect(self.home / "mlflow.db")) as store:
            versions = store.execute("select version, current_stage from model_versions order by version").fetchall()
            aliases = store.execute("select alias, version from registered_model_aliases").fetchall()
        events = len(list(self.home.glob("artifacts/**/events/*.json")))
        return hashlib.sha256(warehouse.read_bytes()).hexdigest(), versions, aliases, events

    def register_again(self) -> str:
        """Version 1's model as one more version, which takes no training."""
        store = f"sqlite:///{self.home / 'mlflow.db'}"
        mlflow.set_tracking_uri(store)  # where the source is looked up
        client = MlflowClient(store, store)
        first = client.get_model_version("clv", "1")
        return str(client.create_model_version("clv", first.source, first.run_id, tags=first.tags).version)

    def sql(self, statement: str) -> None:
        """Change the warehouse behind clv's back."""
        with duckdb.connect(str(self.home / "warehouse.duckdb")) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A small shop with a model in Production; tests leave it as it is or work on a copy."""

    def make(folder: Path) -> None:
        write_shop(folder / "synth", customers=600, repeat_rate=0.4, shape="transactions", seed=SEED)
        arguments = ["--source", "transactions", "--horizon-days", HORIZON_DAYS, "--trials", 1]
        done = call(folder / "home", "--json", "run", folder / "synth" / "transactions.csv", *arguments)
        assert done.code == 0, done.err
        assert done.json["refused"] == ""

    folder = made_once(tmp_path_factory, "lab", make)
    return Lab(folder / "home", folder / "synth" / "transactions.csv")


@pytest.fixture
def copy_of_lab(lab: Lab, tmp_path: Path) -> Lab:
    return lab.copy(tmp_path / "home")


def start(home: Path, *arguments: object, first: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
    """Start `clv ARGUMENTS` as a process of its own, after the words `first`."""
    return subprocess.Popen(
        [*first, sys.executable, "-m", "experiments.cli", *map(str, arguments)],
        env=environment(home) | options.pop("variables", {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen[str]) -> Answer:
    """Wait for the end of a process."""
    out, err = process.communicate(timeout=120)
    return Answer(process.returncode, out, err)


@pytest.fixture(scope="session")
def clv_process() -> Callable[..., subprocess.Popen[str]]:
    return start


@pytest.fixture(scope="session")
def finished() -> Callable[[subprocess.Popen[str]], Answer]:
    return finish


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes a third of a small training; others look at them."""

    def savefig(_: object, file: str | Path | BinaryIO, **__: object) -> None:
        if isinstance(file, str | Path):
            Path(file).write_bytes(b"\x89PNG")
        else:
            file.write(b"\x89PNG")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)
