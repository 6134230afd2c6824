"""A planted leak is found, named and stopped; an honest model is not disturbed."""

from pathlib import Path

import pytest

from clv import leaks
from clv.models.recipe import Recipe
from clv.settings import Settings
from clv.transform import serving_sql
from experiments.console import Console
from experiments.protocol import protocol_of
from experiments.workspace import Workspace

pytestmark = pytest.mark.timeout(600)

FEATURE = "amount_365d"

LEAKY = """
select features.* replace (
    amount_30d + coalesce((
        select sum(later.amount) from purchases as later
        where later.customer_id = features.customer_id
            and later.purchased_at > features.cutoff_date
            and later.purchased_at <= features.cutoff_date + interval 30 day
    ), 0) as amount_30d
)
from ({}) as features
"""
"""A SELECT that counts the next 30 days' spend among the last 30 days'."""


@pytest.fixture(scope="module")
def workspace(lab) -> Workspace:
    return Workspace(Settings(home=lab.home, threads=2), Console(quiet=True))


def test_features_are_the_same_without_the_future(workspace) -> None:
    cutoff, customers, changed = leaks.changed_features(
        workspace.warehouse, workspace.shop(), workspace.contract, serving_sql(workspace.settings)
    )
    assert cutoff == max(workspace.shop().cutoffs)
    assert customers > 400
    assert changed == {}


@pytest.mark.parametrize("leaky", [False, True])
def test_with_a_shuffled_future_only_who_knows_it_can_rank(leaky: bool, workspace, monkeypatch) -> None:
    monkeypatch.setattr("clv.leaks.MOST_SHUFFLES", 3)
    sql = serving_sql(workspace.settings)
    found = leaks.shuffled_future(
        leaks.read_orders(workspace.warehouse, workspace.shop()),
        LEAKY.format(sql.strip().rstrip(";")) if leaky else sql,
        workspace.contract,
        Recipe(family="hurdle", bags=1, trees=40),
        protocol_of(workspace.shop()).tests[-1],
        horizon_days=workspace.shop().horizon_days,
        seed=1,
        threads=2,
    )
    assert found is not None
    assert found.is_clean is not leaky
    assert (found.gini.estimate > 0.3) is leaky


@pytest.mark.full_scale(
    "two trainings and two promotions: `make check` runs it; tests/clv/test_leaks.py tries the parts"
)
def test_a_feature_that_contains_the_label_is_stopped_and_named(copy_of_lab, clv, monkeypatch) -> None:
    lab = copy_of_lab
    monkeypatch.setattr("clv.leaks.MOST_SHUFFLES", 2)
    lab.sql(f"update marts.customer_snapshots set {FEATURE} = coalesce(future_value, 0)")
    trained = clv(lab.home, "--json", "train", "-p", "family=hurdle", "-p", "bags=1", "-p", "trees=40")
    assert trained.code == 0, trained.err
    assert trained.json["evaluation"]["models"]["model"]["normalized_gini"][0] > 0.9

    refused = clv(lab.home, "promote", "2")
    refused.refused(3, "too good to be true", f"most suspicious feature: {FEATURE}", "falls to", "--accept-too-good")
    assert "no leak: rebuilt without what came after" in refused.err
    assert f"{FEATURE} of" in refused.err
    assert [event["version"] for event in clv(lab.home, "--json", "history").json] == ["1"]
    (page,) = lab.home.glob("artifacts/*/artifacts/gate/version-2.md")
    assert f"| {FEATURE} |" in page.read_text()
    assert "**Refused**" in page.read_text()
    assert "data:image/png" in page.with_suffix(".html").read_text()

    # had it come in with the orders, no rebuilding could tell: then a person must
    monkeypatch.setattr("clv.leaks.changed_features", lambda *_: (None, 0, {}))
    assert clv(lab.home, "promote", "2", "--accept-too-good", "subscriptions").code == 0
    event = clv(lab.home, "--json", "history").json[-1]
    assert (event["version"], event["kind"], event["reason"]) == ("2", "promote", "accepted as true: subscriptions")
    alarm = next(check for check in event["gate"] if check["name"] == "too good to be true")
    assert alarm["passed"]
    assert alarm["detail"].endswith("accepted: subscriptions")
    assert "Accepted all the same: subscriptions." in page.read_text()


def test_the_honest_shop_raises_no_alarm(chain) -> None:
    (page,) = Path(chain.home).glob("artifacts/*/artifacts/gate/version-1.md")
    assert "| too good to be true | passed | no:" in page.read_text()
    assert "| no leak | passed |" in page.read_text()
