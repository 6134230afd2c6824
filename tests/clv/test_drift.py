import json

import numpy as np
import pandas as pd
import pytest

from clv.contract import Contract, Feature
from clv.drift import CATEGORIES, LARGE, profile, stability

CONTRACT = Contract(
    (
        Feature("age", "number", "days", nullable=False),
        Feature("score", "number", "score", nullable=True),
        Feature("state", "category", "", nullable=True),
    )
)


def customers(size: int = 2000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(size)],
            "age": rng.exponential(100, size).astype(np.float32),
            "score": np.where(rng.random(size) < 0.3, np.nan, rng.integers(1, 6, size)),
            "state": rng.choice(["SP", "RJ", "MG", None], size, p=[0.5, 0.3, 0.1, 0.1]),
        }
    )


def drifts(changed: pd.DataFrame) -> dict[str, float]:
    return stability(profile(customers(), CONTRACT), changed)


def test_the_same_customers_do_not_drift_in_any_order_or_number() -> None:
    same = customers()
    assert drifts(same) == {"age": 0.0, "score": 0.0, "state": 0.0}
    assert drifts(same.sample(frac=1, random_state=1)) == drifts(same)
    assert drifts(pd.concat([same, same])) == drifts(same)


def test_other_customers_of_the_same_population_drift_by_no_more_than_chance() -> None:
    assert max(drifts(customers(seed=1)).values()) < 0.02


def test_the_index_is_the_sum_over_bins() -> None:
    contract = Contract((Feature("kind", "category", "", nullable=False),))
    before = pd.DataFrame({"kind": ["a"] * 60 + ["b"] * 40})
    after = pd.DataFrame({"kind": ["a"] * 30 + ["b"] * 70})
    expected = (0.3 - 0.6) * np.log(0.3 / 0.6) + (0.7 - 0.4) * np.log(0.7 / 0.4)
    assert stability(profile(before, contract), after)["kind"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("age", lambda column: column * 3),
        ("age", lambda column: column - 1000),
        ("score", lambda column: column.fillna(5)),
        ("score", lambda column: column * np.nan),
        ("state", lambda column: column.replace("SP", "a state never seen")),
        ("state", lambda column: column.where(column != "SP", None)),
    ],
)
def test_a_changed_feature_is_found_and_no_other(feature: str, change) -> None:
    frame = customers()
    found = drifts(frame.assign(**{feature: change(frame[feature])}))
    assert found.pop(feature) > LARGE
    assert set(found.values()) == {0.0}


def test_the_further_the_larger() -> None:
    frame = customers()
    steps = [drifts(frame.assign(age=frame["age"] + shift))["age"] for shift in (0, 10, 40, 160)]
    assert steps == sorted(steps)
    assert steps[0] < steps[1]


@pytest.mark.parametrize("value", [0.0, 7.0, -3.5])
def test_a_constant_feature_drifts_as_soon_as_it_moves(value: float) -> None:
    contract = Contract((Feature("x", "number", "", nullable=True),))
    constant = profile(pd.DataFrame({"x": [value] * 50}), contract)
    assert stability(constant, pd.DataFrame({"x": [value] * 7})) == {"x": 0.0}
    for other in (value - 0.1, value + 0.1, np.nan):
        assert stability(constant, pd.DataFrame({"x": [other] * 7}))["x"] > LARGE


def test_a_feature_that_nobody_had_may_come() -> None:
    contract = Contract((Feature("x", "number", "", nullable=True), Feature("y", "category", "", nullable=True)))
    nothing = pd.DataFrame({"x": [np.nan] * 5, "y": pd.Series([None] * 5, dtype=object)})
    assert stability(profile(nothing, contract), nothing) == {"x": 0.0, "y": 0.0}
    assert min(stability(profile(nothing, contract), pd.DataFrame({"x": [1.0], "y": ["a"]})).values()) > LARGE


def test_a_profile_is_json_names_no_customer_and_is_small() -> None:
    frame = customers().assign(state=[f"state {i % 500:03d}" for i in range(2000)])
    described = profile(frame, CONTRACT)
    text = json.dumps(described)
    assert json.loads(text) == described
    assert "c17" not in text
    assert len(described["state"]["values"]) == CATEGORIES
    assert len(text) < 5_000
    for feature in described.values():
        assert sum(feature["shares"]) == pytest.approx(1, abs=1e-4)
    assert stability(json.loads(text), frame) == stability(described, frame)


def test_categories_and_texts_are_the_same() -> None:
    frame = customers()
    assert drifts(frame.assign(state=frame["state"].astype("category"))) == drifts(frame)
    assert profile(frame.assign(state=frame["state"].astype("category")), CONTRACT) == profile(frame, CONTRACT)


def test_a_feature_that_is_gone_is_left_out() -> None:
    assert set(drifts(customers().drop(columns="score"))) == {"age", "state"}
