import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from clv import metrics
from clv.metrics import METRICS, decile_table
from clv.predictor import Parts
from tests.clv.scores import evaluate

RANKINGS = [metrics.normalized_gini, metrics.top_decile_capture, metrics.spearman, metrics.spearman_ceiling]


@st.composite
def customers(draw, smallest=2, largest=30):
    """Values with many zeros and ties, scores with ties, and whole-number weights."""
    size = draw(st.integers(smallest, largest))
    value = draw(arrays.arrays(np.float64, size, elements=st.sampled_from([0.0, 0.0, 0.0, 5.0, 5.0, 12.5, 400.0])))
    score = draw(arrays.arrays(np.float64, size, elements=st.sampled_from([0.0, 0.1, 0.1, 0.25, 0.5, 0.9, 1.0])))
    weight = draw(arrays.arrays(np.int16, size, elements=st.integers(0, 4)))
    return value, score, weight


def over_all_orders(metric, value, score):
    """Average of a metric over every way to break the ties of the score."""
    results = []
    for order in itertools.permutations(range(len(value))):
        broken = np.empty(len(value))
        broken[list(order)] = np.arange(len(value))
        if all(broken[a] < broken[b] for a in range(len(value)) for b in range(len(value)) if score[a] < score[b]):
            results.append(metric(value, broken))
    return np.mean(results)


def replicated(weight, *columns):
    return [np.repeat(column, weight) for column in columns]


def test_gini_by_hand():
    # gains by perfect order: 6, 9, 9 of 9; by the score's: 3, 9, 9. Less the diagonal (3, 6, 9): 6 and 3
    assert metrics.normalized_gini([6.0, 3.0, 0.0], [2.0, 3.0, 1.0]) == pytest.approx(3 / 6)


@pytest.mark.parametrize(("score", "expected"), [([3, 2, 1, 0], 1), ([1, 1, 1, 1], 0), ([0, 1, 2, 3], -1)])
def test_gini_of_perfect_constant_and_reversed_order(score, expected):
    assert metrics.normalized_gini([10.0, 2.0, 0.0, 0.0], score) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [metrics.normalized_gini, metrics.top_decile_capture])
def test_ties_count_as_the_mean_over_all_orders(metric):
    value, score = np.array([9.0, 0.0, 0.0, 4.0, 1.0, 0.0]), np.array([0.5, 0.5, 0.2, 0.2, 0.2, 0.9])
    assert metric(value, score) == pytest.approx(over_all_orders(metric, value, score))


def test_capture_takes_the_border_customer_in_part():
    value = np.array([8.0, 4.0, *[0.5] * 13])  # a tenth of 15 is one and a half customers
    assert metrics.top_decile_capture(value, -np.arange(15)) == pytest.approx((8 + 2) / value.sum())


def test_capture_of_a_constant_score_is_a_tenth():
    assert metrics.top_decile_capture([5.0, 0.0, 1.0], [1.0, 1.0, 1.0]) == pytest.approx(0.1)


@given(customers())
def test_areas_agree_with_sklearn(data):
    value, score, weight = data
    back = value > 0
    everybody = np.ones(len(value))
    for use in (everybody, weight):
        found = evaluate(Parts(score, np.ones(len(score))), back, value, use)
        if 0 < use[back].sum() < use.sum():
            assert found["roc_auc"] == pytest.approx(roc_auc_score(back, score, sample_weight=use))
        if use[back].sum() > 0:
            assert found["pr_auc"] == pytest.approx(average_precision_score(back, score, sample_weight=use))


@given(customers())
def test_spearman_agrees_with_scipy(data):
    value, score, _ = data
    if np.ptp(value) > 0 and np.ptp(score) > 0:
        assert metrics.spearman(value, score) == pytest.approx(spearmanr(value, score).statistic, abs=1e-12)
        best = spearmanr(np.sort(value), np.sort(score)).statistic
        assert metrics.spearman_ceiling(value, score) == pytest.approx(best, abs=1e-12)


@given(customers())
def test_nothing_beats_the_perfect_order(data):
    value, score, weight = data
    found = evaluate(Parts(score, np.ones(len(score))), value > 0, value, weight)
    if not np.isnan(found["normalized_gini"]):
        assert -1 - 1e-9 <= found["normalized_gini"] <= 1 + 1e-9
        assert found["spearman"] <= found["spearman_ceiling"] + 1e-9
        assert metrics.normalized_gini(value, value, weight) == pytest.approx(1)


def test_spearman_ceiling_formula_and_simulation():
    n, buyers = 4000, 48
    value = np.zeros(n)
    value[:buyers] = np.arange(1.0, buyers + 1)
    ties = (n - buyers) ** 3 - (n - buyers)
    exact = np.sqrt((n**3 - n - ties) / (n**3 - n))
    assert metrics.spearman_ceiling(value) == pytest.approx(exact)
    assert exact == pytest.approx(np.sqrt(1 - (1 - buyers / n) ** 3), rel=1e-3)
    rng = np.random.default_rng(5)
    perfect = [spearmanr(value, value + rng.uniform(0, 0.5, n)).statistic for _ in range(20)]
    assert perfect == pytest.approx([exact] * 20)


@given(customers())
def test_weights_are_copies(data):
    value, score, weight = data
    parts, back = Parts(score, np.full(len(score), 20.0)), value > 0
    value_, score_, back_ = replicated(weight, value, score, back)
    copied = evaluate(Parts(score_, np.full(len(score_), 20.0)), back_, value_)
    for weights in (weight, weight.astype(np.float64)):
        assert evaluate(parts, back, value, weights) == pytest.approx(copied, nan_ok=True, abs=1e-12)


@given(customers(), st.randoms(use_true_random=False))
def test_order_of_customers_does_not_matter(data, random):
    value, score, _ = data
    order = list(range(len(value)))
    random.shuffle(order)
    parts = Parts(score, np.full(len(score), 20.0))
    shuffled = Parts(score[order], parts.value_if_return[order])
    found = evaluate(shuffled, value[order] > 0, value[order])
    assert found == pytest.approx(evaluate(parts, value > 0, value), nan_ok=True, abs=1e-12)


@given(customers())
def test_rankings_look_at_the_order_alone(data):
    value, score, _ = data
    for metric in RANKINGS:
        expected = pytest.approx(metric(value, score), nan_ok=True, abs=1e-12)
        assert metric(value, np.exp(3 * score) - 7) == expected
        assert metric(1000 * value, score) == expected


def test_errors_and_total_by_hand():
    parts = Parts(np.array([0.5, 0.5]), np.array([4.0, 12.0]))
    found = evaluate(parts, [True, False], [4.0, 0.0])
    assert found["total_ratio"] == 2.0
    assert found["mae"] == 4.0
    assert found["rmse"] == pytest.approx(np.sqrt((2**2 + 6**2) / 2))
    assert metrics.total_ratio([4.0, 0.0], parts.expected_value) == 2.0
    assert metrics.mean_absolute_error([4.0, 0.0], parts.expected_value) == 4.0
    assert metrics.root_mean_squared_error([4.0, 0.0], parts.expected_value) == pytest.approx(found["rmse"])


def test_evaluate_ranks_value_by_expected_value_and_returning_by_p_return():
    parts = Parts(np.array([0.9, 0.5, 0.1]), np.array([1.0, 10.0, 20.0]))  # expected: 0.9, 5, 2
    found = evaluate(parts, [True, False, False], [3.0, 0.0, 0.0])
    assert list(found) == list(METRICS)
    assert found["roc_auc"] == found["pr_auc"] == 1.0
    assert found["normalized_gini"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("value", "undefined"),
    [
        ([0.0, 0.0, 0.0], {"normalized_gini", "top_decile_capture", "roc_auc", "pr_auc", "total_ratio"}),
        ([7.0, 7.0, 7.0], {"normalized_gini", "roc_auc"}),
        ([7.0], {"normalized_gini", "roc_auc"}),
        ([], set(METRICS) - {"spearman", "spearman_ceiling"}),
    ],
    ids=["no buyer", "all equal", "one customer", "nobody"],
)
def test_what_the_data_cannot_define_is_nan_without_a_warning(value, undefined):
    value = np.array(value)
    parts = Parts(np.linspace(0.1, 0.2, len(value)), np.full(len(value), 30.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(parts, value > 0, value)
    assert {name for name, result in found.items() if np.isnan(result)} == undefined | {"spearman", "spearman_ceiling"}


def test_a_constant_score_is_defined():
    found = evaluate(Parts(np.zeros(4), np.zeros(4)), [True, False, False, False], [5.0, 0.0, 0.0, 0.0])
    expected = {"normalized_gini": 0, "top_decile_capture": 0.1, "roc_auc": 0.5, "pr_auc": 0.25, "total_ratio": 0}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["spearman"] == found["spearman_ceiling"] == 0


def test_goodness_points_the_right_way():
    assert METRICS["rmse"].goodness([1.0, 2.0]).tolist() == [-1.0, -2.0]
    assert METRICS["roc_auc"].goodness([0.4]).tolist() == [0.4]
    ratios = METRICS["total_ratio"].goodness([0.0, 0.5, 1.0, 2.0, np.nan])
    assert ratios[:4].tolist() == [-1.0, -0.5, 0.0, -0.5]
    assert np.isnan(ratios[4])


@given(customers())
def test_decile_table_keeps_the_sums(data):
    value, score, _ = data
    parts, back = Parts(score, np.full(len(score), 20.0)), value > 0
    table = decile_table(parts, back, value)
    assert table["customers"].to_numpy() == pytest.approx(len(value) / 10)
    assert (table["customers"] * table["predicted_mean"]).sum() == pytest.approx(parts.expected_value.sum())
    assert (table["customers"] * table["actual_mean"]).sum() == pytest.approx(value.sum())
    assert table["buyers"].sum() == pytest.approx(back.sum())
    assert table["predicted_mean"].is_monotonic_decreasing or np.allclose(
        np.maximum(table["predicted_mean"].diff().dropna(), 0), 0
    )
    if value.any():
        assert table["share_of_value"][0] == pytest.approx(metrics.top_decile_capture(value, parts.expected_value))


def test_deciles_of_a_constant_score_are_alike():
    value = np.zeros(1000)
    value[:7] = 100.0
    table = decile_table(Parts(np.full(1000, 0.01), np.full(1000, 50.0)), value > 0, value)
    assert table["buyers"].to_numpy() == pytest.approx(0.7)
    assert table["actual_mean"].to_numpy() == pytest.approx(0.7)
    assert table["share_of_value"].to_numpy() == pytest.approx(0.1)


def test_deciles_by_hand():
    value = np.zeros(20)
    value[[0, 3, 19]] = 10.0, 5.0, 1.0
    table = decile_table(Parts(np.linspace(1, 0, 20), np.ones(20)), value > 0, value)
    assert table["buyers"].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert table["actual_mean"].tolist() == [5, 2.5, 0, 0, 0, 0, 0, 0, 0, 0.5]


def test_gain_curve_ends_and_ties():
    share, gained = metrics.gain_curve([4.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], points=5)
    assert share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert gained.tolist() == [0, 0.5, 1, 1, 1]
    assert np.isnan(metrics.gain_curve([0.0, 0.0], [1.0, 2.0])[1]).all()


@pytest.mark.parametrize(
    ("cutoff", "active", "gini"), [("19971001", 0.177, 0.663), ("19980101", 0.162, 0.717), ("19980401", 0.140, 0.752)]
)
def test_total_spend_on_cdnow_as_measured_by_an_independent_implementation(cutoff, active, gini, cdnow_log):
    log = pd.read_csv(cdnow_log, sep=r"\s+", header=0, names=["customer", "date", "count", "amount"], dtype=str)
    amount, date = log["amount"].astype(float), pd.to_datetime(log["date"])
    day = pd.Timestamp(cutoff)
    past, future = date <= day, (date > day) & (date <= day + pd.Timedelta(days=90))
    spent = amount[past].groupby(log["customer"]).sum()
    value = amount[future].groupby(log["customer"]).sum().reindex(spent.index, fill_value=0.0)
    assert len(spent) == 23_570
    assert np.mean(value > 0) == pytest.approx(active, abs=6e-4)
    assert metrics.normalized_gini(value, spent) == pytest.approx(gini, abs=6e-4)
