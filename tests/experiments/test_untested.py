"""Shops with plenty of history and hardly anybody who came back in the test windows: nothing is claimed of them."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

pytestmark = pytest.mark.usefixtures("unrendered")

END = date(2022, 10, 31)


def shop(path: Path, *late: date) -> Path:
    """Three winters in which people come back; later on new ones buy, and one of the old on each day of `late`."""
    rows = [
        (n, date(2019 + year, 12, 1) + timedelta((7 * n + 30 * k) % 110))
        for n in range(120)
        for year in range(n % 2, 3)
        for k in range(2)
    ]
    rows += [(1_000 + n, date(2022, 4, 1) + timedelta(4 * n)) for n in range(54)]
    rows += [(2 * n, day) for n, day in enumerate(late)]
    lines = [f"{customer},{day},{40 + customer % 7},o{number}" for number, (customer, day) in enumerate(rows)]
    path.write_text("\n".join(["customer_id,timestamp,amount,order_id", *lines]))
    return path


@pytest.mark.parametrize(
    ("late", "verdict", "described"),
    [
        ((), "nobody came back within 60 days", "could not be tested out of time"),
        ((date(2022, 8, 8), date(2022, 9, 20)), "2 customers came back in the test windows, too few to tell", "at: 20"),
    ],
    ids=["nobody", "two"],
)
def test_no_test_is_claimed_and_nothing_is_refused(clv, tmp_path: Path, late, verdict: str, described: str) -> None:
    home, log = tmp_path / "home", shop(tmp_path / "log.csv", *late)
    options = ["--source", "transactions", "--horizon-days", 60, "--as-of", END, "--trials", 1]
    done = clv(home, "--json", "run", log, *options)
    assert done.code == 0, done.err
    assert done.json["refused"] == ""
    evaluation = done.json["evaluation"]
    assert verdict in evaluation["note"]
    store = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(store, store)
    version = client.get_model_version_by_alias("clv", "production")
    run = client.get_run(version.run_id).data
    assert verdict in run.tags["clv.verdict"]
    assert described in run.tags[MLFLOW_RUN_NOTE]
    tests = ", ".join(evaluation["tests"])
    assert f"at: {tests}." in run.tags[MLFLOW_RUN_NOTE] or not tests
    assert run.params["test_cutoffs"] == tests
    assert "normalized_gini_low" not in run.metrics
    (page,) = home.glob("artifacts/*/artifacts/gate/version-1.md")
    text = page.read_text()
    assert "| out-of-time test | not judged |" in text
    assert verdict in text
    assert "too little history" not in text
    for row in (f"version 1, run {version.run_id}", f"| as of | {END} |", "| horizon | 60 days |", "| judged | 20"):
        assert row in text
    assert "not judged" in clv(home, "--json", "history").json[0]["reason"]
