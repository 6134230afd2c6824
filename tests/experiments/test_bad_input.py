"""Every mistake at the command line: its exit code, one sentence that names the thing, the last good state kept."""

import csv
import gzip
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.processes import after

pytestmark = pytest.mark.timeout(600)

LOG = ["--source", "transactions"]

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1

BOUND_BY_PERMISSIONS = after(f"import ctypes\nctypes.CDLL(None).prctl({PR_CAPBSET_DROP}, {CAP_DAC_OVERRIDE})")
"""Root may write anywhere, unless it gives up the capability to."""


def skip_if_writable(path: Path) -> None:
    """Some file systems know no permissions: nothing there can be read-only, and nothing is left to test."""
    probe = [*BOUND_BY_PERMISSIONS, sys.executable, "-c", f"open({str(path)!r}, 'a')"]
    if subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0:
        pytest.skip(
            f"{path.parent} is on a file system without permissions; with TMPDIR on one that has them this runs"
        )


def write_log(path: Path, rows: list[tuple[object, ...]], header: str = "customer_id,date,amount,order_id") -> Path:
    with path.open("w", newline="") as file:
        file.write(header + "\n")
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def days(count: int, start: date = date(2024, 1, 1)) -> list[date]:
    return [start + timedelta(days=number) for number in range(count)]


# Arguments: refused before anything is made, read or written.

ARGUMENTS = [
    (["run", "{log}", *LOG, "--horizon-days", "0"], ["--horizon-days", "0", "expected 1 or more"]),
    (["run", "{log}", *LOG, "--horizon-days", "-90"], ["--horizon-days", "-90", "expected 1 or more"]),
    (["transform", "--horizon-days", "soon"], ["--horizon-days", "soon", "expected 1 or more"]),
    (["transform", "--as-of", "31.12.2018"], ["--as-of", "'31.12.2018'", "YYYY-MM-DD"]),
    (["run", "{log}", *LOG, "--as-of", "2018-02-30"], ["--as-of", "'2018-02-30'", "YYYY-MM-DD"]),
    (["run", "{log}", *LOG, "--predictions", "out.xlsx"], ["out.xlsx", "'.xlsx'", ".csv or .parquet"]),
    (["run", "{log}", *LOG, "--predictions", "{folder}/old.csv"], ["old.csv", "is a folder"]),
    (["score", "--predictions", "out.txt"], ["out.txt", "'.txt'", ".csv or .parquet"]),
    (["score", "--predictions", "{folder}/old.csv"], ["old.csv", "is a folder"]),
    (["export", "--to", "{folder}"], ["is a folder"]),
    (["promote", "--force"], ["--force needs --reason"]),
    (["promote", "--report", "{folder}/gate.md"], ["--report needs --check"]),
    (["promote", "2", "--repair"], ["--repair", "without VERSION, --check and --force"]),
    (["promote", "--repair", "--check"], ["--repair", "without VERSION, --check and --force"]),
    (["promote", "--repair", "--force", "--reason", "so"], ["--repair", "without VERSION, --check and --force"]),
    (["load"], ["clv load PATH", "--download"]),
    (["load", "{log}", "--download"], ["--download fetches Olist", "without PATH"]),
    (["load", "--download", *LOG], ["--download fetches Olist", "--source transactions"]),
    (["run"], ["PATH", "clv run --help"]),
    (["run", "{log}", "--source", "shopify"], ["--source", "shopify", "olist", "transactions"]),
    (["run", "{log}", *LOG, "--trials", "0"], ["--trials"]),
    (["serve", "--port", "99999"], ["--port"]),
    (["synth", "{folder}/shop", "--customers", "5"], ["--customers"]),
    (["synth", "{folder}/shop", "--repeat-rate", "0.99"], ["0.99", "expected a share"]),
    (["--seed", "-1", "init"], ["CLV_SEED", "-1"]),
    (["--warehouse", "postgres://x", "score"], ["postgres://x", "duckdb:///PATH"]),
    (["--warehouse", "postgres://x", "init"], ["postgres://x", "duckdb:///PATH"]),
    (["--tracking-uri", "nope://x", "history"], ["nope://x", "sqlite:///FILE"]),
    (["forecast"], ["No such command 'forecast'", "clv --help"]),
    (["train", "--trees", "9"], ["--trees", "clv train --help"]),
    (["run", "{log}", "--home", "y"], ["Give --home before the verb: `clv --home ... run ...`."]),
    (["load", "--json"], ["Give --json before the verb: `clv --json load ...`."]),
]


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS, ids=lambda value: " ".join(value)[:40])
def test_arguments_are_checked_before_any_work(arguments, words, lab, clv, tmp_path: Path) -> None:
    (tmp_path / "old.csv").mkdir()
    home = tmp_path / "home"
    clv(home, *(str(a).format(log=lab.log, folder=tmp_path) for a in arguments)).refused(2, *words)
    assert not (home / "warehouse.duckdb").exists()
    assert not (home / "mlflow.db").exists()


# Files: a handful through the command line; all cases are tests of the loader.


def latin_1(path: Path) -> None:
    write_log(path, [])
    path.write_bytes(path.read_bytes() + "josé,2024-01-01,5,1\n".encode("latin-1"))


def broken_gzip(path: Path) -> None:
    path.with_name("bad.csv.gz").write_bytes(gzip.compress(b"customer_id,date,amount\n" * 99)[:-9])
    path.unlink(missing_ok=True)


FILES: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("missing", lambda path: None, ["does not exist"]),
    ("empty", lambda path: path.touch(), ["bad.csv", "empty"]),
    ("header only", lambda path: write_log(path, []), ["bad.csv"]),
    ("wrong header", lambda path: write_log(path, [("a", 1)], "who,what"), ["bad.csv", "who", "--customer-column"]),
    ("wrong type", lambda path: write_log(path, [("a", "2024-01-01", "much", 1)]), ["bad.csv", "amount", "much", "2"]),
    ("comma", lambda path: write_log(path, [("a", "2024-01-01", "1.234,56", 1)]), ["1.234,56", "--decimal ,"]),
    ("date", lambda path: write_log(path, [("a", "01/31/2024", 9, 1)]), ["01/31/2024", "--time-format"]),
    ("future", lambda path: write_log(path, [("a", "2999-01-01", 9, 1)]), ["2999-01-01"]),
    ("null ids", lambda path: write_log(path, [("", "2024-01-01", 9, 1)] * 3), ["bad.csv", "customer_id"]),
    (
        "two customers",
        lambda path: write_log(path, [("a", "2024-01-01", 9, 1), ("b", "2024-01-01", 9, 1)]),
        ["order"],
    ),
    ("latin-1", latin_1, ["bad.csv", "Latin-1"]),
    ("corrupt", broken_gzip, ["bad.csv.gz"]),
    (
        "strangers",
        lambda path: write_log(path, [("new", day, 9, n) for n, day in enumerate(days(9))]),
        ["another shop"],
    ),
]


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_a_bad_file_leaves_what_is_loaded(make, words, lab, clv, tmp_path: Path) -> None:
    before = lab.state
    path = tmp_path / "bad.csv"
    make(path)
    found = next(tmp_path.glob("bad*"), path)
    clv(lab.home, "run", found, *LOG).refused(2, *words)
    assert lab.state == before
    assert not list(lab.home.glob(".*.next*"))


def not_a_zip(path: Path) -> None:
    path.write_text("not a zip")


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def escaping_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../olist_orders_dataset.csv", "order_id\n")


@pytest.mark.parametrize("make", [not_a_zip, other_zip, escaping_zip])
def test_a_bad_zip_leaves_no_warehouse(make, clv, tmp_path: Path) -> None:
    make(tmp_path / "olist.zip")
    clv(tmp_path / "home", "run", tmp_path / "olist.zip").refused(2, "olist.zip")
    assert not (tmp_path / "home" / "warehouse.duckdb").exists()
    assert not (tmp_path / "olist_orders_dataset.csv").exists()


def test_another_shop_needs_a_word(lab, clv, chain_free_shop: Path) -> None:
    before = lab.state
    clv(lab.home, "load", chain_free_shop, *LOG).refused(2, "another shop", "--replace-shop")
    clv(lab.home, "load", lab.log).refused(2, "source transactions, not olist", "--replace-shop")
    assert lab.state == before


@pytest.fixture
def chain_free_shop(tmp_path: Path) -> Path:
    """A log of customers nobody has heard of."""
    rows = [(f"s{n % 20}", day, 10 + n % 7, f"x{n}") for n, day in enumerate(days(200))]
    return write_log(tmp_path / "other.csv", rows)


# Periods and shops that can't teach a model: loading works, the verb that needs more refuses.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--horizon-days", "5000"], ["Horizon 5000", "days needed", "days had"]),
        (["--as-of", "1999-12-31"], ["As-of day 1999-12-31", "expected a day from"]),
        (["--as-of", "2031-01-01"], ["As-of day 2031-01-01", "expected a day from"]),
    ],
)
def test_a_period_outside_the_history_leaves_the_marts(options, words, lab, clv) -> None:
    before = lab.state
    clv(lab.home, "transform", *options).refused(2, *words)
    assert lab.state == before


TOO_LITTLE = [
    ("one date", [(f"c{n}", "2024-01-01", 10, f"o{n}") for n in range(30)], "1", ["history"]),
    ("one customer", [("c", day, 10, f"o{n}") for n, day in enumerate(days(60))], "30", ["has 1 customer", "several"]),
    ("no repeat buyer", [(f"c{n}", day, 10, f"o{n}") for n, day in enumerate(days(90))], "30", ["No repeat buyer"]),
    (
        "less than two horizons",
        [(f"c{n % 9}", day, 10, f"o{n}") for n, day in enumerate(days(100))],
        "60",
        ["100 days", "at least 120", "--horizon-days"],
    ),
]


@pytest.mark.parametrize(("rows", "horizon", "words"), [c[1:] for c in TOO_LITTLE], ids=[c[0] for c in TOO_LITTLE])
def test_a_shop_without_enough_to_learn_is_loaded_but_not_modelled(rows, horizon, words, clv, tmp_path: Path) -> None:
    home, predictions = tmp_path / "home", tmp_path / "out.csv"
    log = write_log(tmp_path / "log.csv", rows)
    clv(home, "run", log, *LOG, "--horizon-days", horizon, "--predictions", predictions).refused(2, *words)
    assert not predictions.exists()
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from raw.transactions").fetchone() == (len(rows),)


@pytest.mark.full_scale(
    "a chain of its own: `make check` runs it; tests/clv/test_odd_shops.py tries every family on such shops"
)
def test_an_odd_shop_is_predicted_sanely(clv, tmp_path: Path) -> None:
    """Everybody comes back every month, one customer holds half the revenue, some gave back all they bought."""
    rows: list[tuple[object, ...]] = []
    for n in range(60):
        for month, day in enumerate(days(240)[n % 30 :: 30]):
            rows.append((f"c{n}", day, 4000 if n == 0 else 60 + n % 7, f"o{n}-{month}"))
            if n % 10 == 1:
                rows.append((f"c{n}", day + timedelta(days=3), -(60 + n % 7), f"r{n}-{month}"))
    log, out = write_log(tmp_path / "log.csv", rows), tmp_path / "out.parquet"
    options = ["--horizon-days", 30, "--trials", 1, "--predictions", out]
    done = clv(tmp_path / "home", "--json", "run", log, *LOG, *options)
    assert done.code == 0, done.err
    found = pd.read_parquet(out).set_index("customer_id")
    assert len(found) == 60
    assert found["p_return"].between(0, 1).all()
    assert found["expected_value"].between(0, 20_000).all()
    assert found["expected_value"].idxmax() == "c0"


# Models.

MODELS = [
    (["train", "-p", "leaves=9"], ["leaves='9'", "known ones: family"]),
    (["train", "-p", "trees=many"], ["trees='many'"]),
    (["train", "-p", "max_depth=99"], ["max_depth='99'"]),
    (["train", "--from-run", "0123"], ["'0123'", "clv tune"]),
    (["evaluate", "--version", "7"], ["no version '7'", "existing versions: 1"]),
    (["evaluate", "--version", "1", "-p", "trees=9"], ["either --version or a recipe"]),
    (["promote", "7"], ["no version '7'", "existing versions: 1"]),
    (["promote", "one"], ["no version 'one'"]),
    (["promote", "1"], ["Version 1 is in Production already"]),
    (["rollback"], ["no earlier version", "clv history"]),
    (["export", "--version", "7"], ["no version '7'"]),
]


@pytest.mark.parametrize(("arguments", "words"), MODELS, ids=lambda value: " ".join(value)[:40])
def test_a_model_that_does_not_exist(arguments, words, lab, clv) -> None:
    before = lab.state
    clv(lab.home, *arguments).refused(2, *words)
    assert lab.state == before


def test_an_empty_home_says_what_comes_first(clv, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert clv(home, "init").code == 0
    for verb in (["transform"], ["tune"], ["train"], ["score"]):
        clv(home, *verb).refused(2, "clv load")
    for verb in (["promote"], ["evaluate"], ["export"]):
        clv(home, *verb).refused(2, "no version yet", "clv train")
    clv(home, "promote", "--repair").refused(2, "No version is in stage Production")
    assert clv(home, "--json", "history").json == []


def test_a_model_of_another_shop_horizon_or_contract_is_neither_served_nor_promoted(
    copy_of_lab, clv, monkeypatch, tmp_path: Path
) -> None:
    lab, out = copy_of_lab, tmp_path / "out.csv"
    second = lab.register_again()
    with duckdb.connect(str(lab.home / "warehouse.duckdb"), read_only=True) as connection:
        ((shop_id,),) = connection.execute("select shop_id from raw.shop").fetchall()
    lab.sql("update raw.shop set shop_id = 'another'")
    clv(lab.home, "score", "--predictions", out).refused(2, "Version 1 in Production", "shop", "another", "clv train")
    clv(lab.home, "promote", second).refused(3, "refused version 2", "same shop", "another")
    lab.sql(f"update raw.shop set shop_id = '{shop_id}'; update marts.cutoffs set horizon_days = 60")
    clv(lab.home, "score", "--predictions", out).refused(2, "horizon 30", "holds horizon 60")
    clv(lab.home, "promote", second).refused(3, "same horizon")
    lab.sql("update marts.cutoffs set horizon_days = 30")
    with monkeypatch.context() as patch:
        patch.setattr("clv.contract.Contract.fingerprint", "of-tomorrow")
        clv(lab.home, "score", "--predictions", out).refused(2, "feature contract", "of-tomorrow")
        clv(lab.home, "promote", second).refused(3, "same feature contract", "of-tomorrow")
    assert not out.exists()
    assert [e["version"] for e in clv(lab.home, "--json", "history").json] == ["1"]
    MlflowClient().transition_model_version_stage("clv", "1", "Archived")
    clv(lab.home, "score", "--predictions", out).refused(2, "No model is in stage Production", "clv promote")


def test_a_model_that_lost_its_files_is_not_served(copy_of_lab, clv, tmp_path: Path) -> None:
    lab = copy_of_lab
    for folder in (lab.home / "artifacts").rglob("models"):
        shutil.rmtree(folder)
    before = lab.state
    clv(lab.home, "score", "--predictions", tmp_path / "out.csv").refused(4, "Version 1 of model clv", "artifacts")
    clv(lab.home, "export", "--to", tmp_path / "out.pkl").refused(4, "Version 1 of model clv", "artifacts")
    assert lab.state == before
    assert not list(tmp_path.glob("out*"))


# Home, warehouse and registry.


def test_a_home_of_tomorrow_is_left_alone(copy_of_lab, clv) -> None:
    lab = copy_of_lab
    (lab.home / "home.json").write_text('{"format": 99, "clv": "9.0"}')
    before = lab.state
    for verb in (["init"], ["run", lab.log, *LOG], ["transform"], ["train"], ["score"], ["history"], ["promote"]):
        clv(lab.home, *verb).refused(2, "format 99", "clv 9.0", "upgrade clv")
    assert lab.state == before


def test_a_home_that_is_a_file(clv, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("mine")
    for verb in (["init"], ["score"], ["history"]):
        clv(tmp_path / "home", *verb).refused(2, "is a file", "--home")
    assert (tmp_path / "home").read_text() == "mine"


def test_a_damaged_warehouse_is_told_and_can_be_loaded_anew(copy_of_lab, clv) -> None:
    lab = copy_of_lab
    file = lab.home / "warehouse.duckdb"
    file.write_bytes(b"x" * 20_000)
    clv(lab.home, "score").refused(4, str(file))
    clv(lab.home, "load", lab.log, *LOG).refused(4, str(file))
    assert clv(lab.home, "load", lab.log, *LOG, "--replace-shop").code == 0


def test_a_deleted_experiment_is_told(copy_of_lab, clv) -> None:
    lab = copy_of_lab
    client = MlflowClient(f"sqlite:///{lab.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("clv")
    client.delete_experiment(experiment.experiment_id)
    before = lab.state
    for verb in (["tune", "--trials", 1], ["train"], ["evaluate"], ["history"]):
        clv(lab.home, *verb).refused(4, "experiment 'clv'", "mlflow experiments restore")
    assert lab.state == before
    client.restore_experiment(experiment.experiment_id)
    assert clv(lab.home, "history").code == 0


def test_a_registry_that_is_down_is_told_soon(lab, clv) -> None:
    before, started = lab.state, time.monotonic()
    for verb in (["history"], ["score"]):
        clv(lab.home, "--tracking-uri", "http://127.0.0.1:9", *verb).refused(4, "http://127.0.0.1:9", "reached")
    assert time.monotonic() - started < 60
    assert lab.state == before


def test_a_store_that_is_read_only_is_told(copy_of_lab, clv_process, finished) -> None:
    lab = copy_of_lab
    before = lab.state
    store = lab.home / "mlflow.db"
    store.chmod(0o444)
    skip_if_writable(store)
    answer = finished(clv_process(lab.home, "--quiet", "tune", "--trials", 1, first=BOUND_BY_PERMISSIONS))
    answer.refused(4, str(store), "readonly")
    assert lab.state == before


def test_a_home_without_leave_to_write(copy_of_lab, clv_process, finished, tmp_path: Path) -> None:
    lab = copy_of_lab
    before = lab.state
    lab.home.chmod(0o555)
    try:
        skip_if_writable(lab.home / "probe")
        for verb in (["init"], ["load", lab.log, *LOG], ["history"]):
            answer = finished(clv_process(lab.home, "--quiet", *verb, first=BOUND_BY_PERMISSIONS))
            answer.refused(4, str(lab.home), "writable")
    finally:
        lab.home.chmod(0o755)
    assert lab.state == before
