import time
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln, gammaln, hyp2f1

from clv.errors import InputError
from clv.models.btyd import BTYDModel, fit_purchases, fit_spend
from clv.predictor import BuyTillYouDie, PurchaseProcess, Spend

PUBLISHED = PurchaseProcess(r=0.243, alpha=4.414, a=0.793, b=2.426)
SUMMARY = "lifetimes/datasets/cdnow_customers_summary_with_transactions.csv"


def snapshots(x, t_x, T, mean_amount):
    x, t_x, T, mean_amount = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (x, t_x, T, mean_amount)))
    return pd.DataFrame(
        {
            "purchase_count": x + 1,
            "recency_days": T - t_x,
            "tenure_days": T,
            "amount_mean": mean_amount,
            "amount_total": (x + 1) * mean_amount,
        }
    )


def simulate(process, T, rng, horizon=0.0):
    """Customer by customer, purchase by purchase: x, t_x, and the purchases of the window after `T`."""
    rate, leave = rng.gamma(process.r, 1 / process.alpha, len(T)), rng.beta(process.a, process.b, len(T))
    x, t_x, future, now = np.zeros(len(T)), np.zeros(len(T)), np.zeros(len(T)), np.zeros(len(T))
    active = np.ones(len(T), dtype=bool)
    while active.any():
        now = now + rng.exponential(1 / np.maximum(rate, 1e-300))
        active &= now <= T + horizon
        past = active & (now <= T)
        x, t_x, future = x + past, np.where(past, now, t_x), future + (active & ~past)
        active &= rng.random(len(T)) >= leave
    return x, t_x, future


# --- published fits -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cdnow_tenth():
    """The 2,357 customers of the published fits; a file inside the `lifetimes` wheel, which is not imported."""
    try:
        path = metadata.distribution("lifetimes").locate_file(SUMMARY)
    except metadata.PackageNotFoundError:
        pytest.fail("package lifetimes is not installed; its wheel holds the CDNOW summary of the published fits")
    return pd.read_csv(str(path))


@pytest.mark.parametrize("options", [{}, {"prior_sd": np.inf}], ids=["default prior", "maximum likelihood"])
def test_published_purchase_parameters(cdnow_tenth, options):
    assert len(cdnow_tenth) == 2357
    fitted = fit_purchases(cdnow_tenth["x"], cdnow_tenth["t_x"], cdnow_tenth["T"], **options)
    expected = [0.243, 4.414, 0.793, 2.426]
    assert [fitted.r, fitted.alpha, fitted.a, fitted.b] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("options", [{}, {"prior_sd": np.inf}], ids=["default prior", "maximum likelihood"])
def test_published_spend_parameters(cdnow_tenth, options):
    repeaters = cdnow_tenth[cdnow_tenth["x"] > 0]
    fitted = fit_spend(repeaters["x"], repeaters["zbar"], **options)
    assert [fitted.p, fitted.q, fitted.v] == pytest.approx([6.25, 3.74, 15.44], rel=0.01)


def test_published_prediction():
    # Fader, Hardie and Lee (2005): customer 1 of the tenth buys 1.226 times in the next 39 weeks
    assert PUBLISHED.expected_purchases(2, 30.43, 38.86, 39.0) == pytest.approx(1.226, abs=5e-4)


# --- fitting ------------------------------------------------------------------------------------------------------


def plain_purchase_likelihood(theta, x, t_x, T):
    """As printed in the paper's spreadsheet note."""
    r, alpha, a, b = np.exp(theta)
    start = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
    alive = (alpha + T) ** -(r + x)
    gone = np.where(x > 0, a / (b + np.maximum(x, 1) - 1) * (alpha + t_x) ** -(r + x), 0)
    return np.sum(start + np.log(alive + gone))


def plain_spend_likelihood(theta, n, z):
    p, q, v = np.exp(theta)
    return np.sum(
        gammaln(p * n + q) - gammaln(p * n) - gammaln(q) + q * np.log(v) + (p * n - 1) * np.log(z) + p * n * np.log(n)
        - (p * n + q) * np.log(v + n * z)
    )  # fmt: skip


def test_maximum_of_the_plain_likelihoods():
    rng = np.random.default_rng(1)
    T = rng.integers(1, 60, 500).astype(float)
    x, t_x, _ = simulate(PUBLISHED, T, rng)
    z = rng.gamma(4 * (x + 1), 1 / rng.gamma(3, 1 / 20, 500)) / (x + 1)
    process, spend = fit_purchases(x, t_x, T, prior_sd=np.inf), fit_spend(x + 1, z, prior_sd=np.inf)
    for likelihood, best, data in (
        (plain_purchase_likelihood, np.log([process.r, process.alpha, process.a, process.b]), (x, t_x, T)),
        (plain_spend_likelihood, np.log([spend.p, spend.q, spend.v]), (x + 1, z)),
    ):
        top = likelihood(best, *data)
        steps = 0.01 * np.vstack([np.eye(len(best)), -np.eye(len(best)), rng.normal(size=(20, len(best)))])
        assert max(likelihood(best + step, *data) for step in steps) < top


def test_simulated_purchases_are_recovered():
    rng = np.random.default_rng(2)
    truth = PurchaseProcess(r=0.6, alpha=40.0, a=0.9, b=3.0)
    T = rng.uniform(100, 700, 40_000)
    x, t_x, _ = simulate(truth, T, rng)
    fitted = fit_purchases(x, t_x, T)
    assert [fitted.r, fitted.alpha] == pytest.approx([truth.r, truth.alpha], rel=0.06)
    assert [fitted.a, fitted.b] == pytest.approx([truth.a, truth.b], rel=0.15)
    assert fitted.a / (fitted.a + fitted.b) == pytest.approx(truth.a / (truth.a + truth.b), rel=0.05)


def test_simulated_spend_is_recovered():
    rng = np.random.default_rng(3)
    truth = Spend(p=3.0, q=4.0, v=50.0)
    n = 1.0 + rng.poisson(1.0, 40_000)
    z = rng.gamma(truth.p * n, 1 / rng.gamma(truth.q, 1 / truth.v, len(n))) / n
    fitted = fit_spend(n, z)
    assert [fitted.p, fitted.q, fitted.v] == pytest.approx([truth.p, truth.q, truth.v], rel=0.06)
    assert fitted.mean == pytest.approx(truth.mean, rel=0.02)


def test_order_of_customers_and_units_do_not_matter():
    rng = np.random.default_rng(4)
    T = rng.integers(0, 400, 3000).astype(float)
    x, t_x, _ = simulate(PurchaseProcess(0.3, 30.0, 0.8, 2.4), T, rng)
    z = rng.lognormal(3, 1, 3000)
    shuffled = rng.permutation(3000)
    fitted = fit_purchases(x, t_x, T)
    assert fit_purchases(x[shuffled], t_x[shuffled], T[shuffled]) == fitted
    assert fit_spend(x[shuffled] + 1, z[shuffled]) == fit_spend(x + 1, z)
    weeks = fit_purchases(x, t_x / 7, T / 7)
    assert [weeks.r, weeks.alpha * 7, weeks.a, weeks.b] == pytest.approx(
        [fitted.r, fitted.alpha, fitted.a, fitted.b], rel=1e-3
    )
    cents = fit_spend(x + 1, z * 100)
    assert cents.mean == pytest.approx(100 * fit_spend(x + 1, z).mean, rel=1e-4)


def test_full_cdnow_log_in_under_a_second(cdnow_log):
    log = pd.read_csv(
        cdnow_log, sep=r"\s+", skiprows=1, names=["id", "date", "units", "amount"], dtype={"id": str, "date": str}
    )
    log["date"] = pd.to_datetime(log["date"], format="%Y%m%d")
    days = log.groupby(["id", "date"], as_index=False)["amount"].sum()
    customers = days[days["amount"] > 0].groupby("id")
    first, last, end = customers["date"].min(), customers["date"].max(), days["date"].max()
    X = snapshots(customers.size() - 1, (last - first).dt.days, (end - first).dt.days, customers["amount"].mean())
    assert len(X) > 23_000
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        model = BTYDModel().fit(X, horizon_days=90)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0  # the promised figure itself; a tenth of it is usual
    parts = model.predict_parts(X)
    assert 0.05 < parts.p_return.mean() < 0.25
    assert parts.value_if_return.max() < model.model_.value_cap


# --- prediction against oracles -----------------------------------------------------------------------------------

# (r, alpha, a, b), x, T, horizon and the closed form with 40 digits (mpmath); a + b + x < 1 in three of them
REFERENCES = [
    ((0.243, 4.414, 0.793, 2.426), 2, 38.86, 39.0, 1.68739930580531),
    ((0.017, 68.2, 0.3, 0.2), 0, 200.0, 90.0, 0.00521358658677819),
    ((0.05, 30.0, 0.1, 0.6), 0, 5.0, 365.0, 0.420399538218546),
    ((0.5, 0.1, 0.02, 0.01), 0, 0.0, 90.0, 132.743919191678),
    ((134.0, 6716.0, 0.056, 40.0), 3, 300.0, 90.0, 1.75541671830907),
    ((0.3, 0.05, 5.0, 0.2), 300, 0.0, 90.0, 76.0499999999924),
    ((2.0, 40.0, 200.0, 300.0), 7, 100.0, 180.0, 2.47777490619796),
]


@pytest.mark.parametrize(("parameters", "x", "T", "horizon", "expected"), REFERENCES)
def test_expected_purchases_to_many_digits(parameters, x, T, horizon, expected):
    assert PurchaseProcess(*parameters).purchases_if_alive(x, T, horizon) == pytest.approx(expected, rel=1e-8)


def test_closed_form_where_it_is_valid():
    x, T = np.meshgrid(np.arange(30.0), np.linspace(0, 78, 40))
    horizon, m = 39.0, PUBLISHED
    share = (m.alpha + T) / (m.alpha + T + horizon)
    top = m.a + m.b + x - 1
    closed = top / (m.a - 1) * (1 - share ** (m.r + x) * hyp2f1(m.r + x, m.b + x, top, 1 - share))
    assert m.purchases_if_alive(x, T, horizon) == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize(("a", "b", "x"), [(1.0, 1.5, 0), (1.0, 2.0, 3), (0.4, 0.6, 0), (0.25, 0.75, 0)])
def test_poles_of_the_closed_form_are_nothing_special(a, b, x):
    def mean(a):
        return float(PurchaseProcess(0.3, 20.0, a, b).purchases_if_alive(x, 100.0, 90.0))

    assert mean(a) == pytest.approx((mean(a - 1e-4) + mean(a + 1e-4)) / 2, rel=1e-6)


def test_limits():
    nobody_leaves = PurchaseProcess(2.0, 50.0, 1e-9, 10.0)
    assert nobody_leaves.purchases_if_alive(3, 100.0, 90.0) == pytest.approx(5 * 90 / 150, rel=1e-6)
    all_leave = PurchaseProcess(2.0, 50.0, 10.0, 1e-9)
    assert all_leave.purchases_if_alive(0, 100.0, 90.0) == pytest.approx(1 - (150 / 240) ** 2, rel=1e-6)


@pytest.mark.parametrize(
    ("parameters", "history"),
    [
        ((0.243, 30.0, 0.793, 2.426), (2, 200.0, 270.0)),
        ((0.3, 40.0, 0.3, 0.4), (0, 0.0, 150.0)),  # a + b + x < 1
        ((0.05, 20.0, 0.1, 0.2), (0, 0.0, 10.0)),  # a + b + x < 1
        ((0.5, 60.0, 0.4, 0.6), (0, 0.0, 90.0)),  # a + b + x = 1
        ((0.3, 60.0, 1.3, 0.2), (1, 30.0, 200.0)),  # Olist-like
        ((3.0, 60.0, 0.05, 5.0), (4, 80.0, 100.0)),  # hardly anybody leaves
        ((1.0, 30.0, 1.0, 1.0), (3, 20.0, 120.0)),  # a = 1
    ],
)
def test_against_brute_force(parameters, history):
    """Latent customers weighted by the likelihood of their history, then simulated onwards."""
    process, (x, t_x, T), horizon, draws = PurchaseProcess(*parameters), history, 180.0, 1_000_000
    rng = np.random.default_rng(5)
    rate = rng.gamma(process.r, 1 / process.alpha, draws)
    leave = np.clip(rng.beta(process.a, process.b, draws), 1e-12, 1 - 1e-12)
    alive = rate**x * (1 - leave) ** x * np.exp(-rate * T)
    gone = rate**x * leave * (1 - leave) ** (x - 1) * np.exp(-rate * t_x) if x else np.zeros(draws)
    future = np.minimum(rng.poisson(rate * horizon), rng.geometric(leave))
    weight = alive / (alive + gone).sum()
    assert process.p_alive(*history) == pytest.approx(weight.sum(), rel=0.02)
    assert process.p_return(*history, horizon) == pytest.approx(weight @ (future > 0), rel=0.02)
    assert process.expected_purchases(*history, horizon) == pytest.approx(weight @ future, rel=0.03)


def test_simulated_shop_comes_true():
    rng = np.random.default_rng(6)
    process = PurchaseProcess(0.4, 35.0, 0.7, 2.2)
    T = rng.integers(0, 500, 200_000).astype(float)
    x, t_x, future = simulate(process, T, rng, horizon=90.0)
    expected, p_return = process.expected_purchases(x, t_x, T, 90.0), process.p_return(x, t_x, T, 90.0)
    for group in (x == 0, x == 1, (x > 1) & (x < 5), x >= 5, T < 60):
        assert expected[group].sum() == pytest.approx(future[group].sum(), rel=0.05)
        assert p_return[group].sum() == pytest.approx((future[group] > 0).sum(), rel=0.05)


def test_expected_amount_is_between_own_and_shop_mean():
    spend = Spend(p=6.25, q=3.74, v=15.44)
    assert spend.mean == pytest.approx(35.22, abs=0.01)
    assert spend.expected_amount(2, 22.35) == pytest.approx(6.25 * (15.44 + 2 * 22.35) / (2 * 6.25 + 3.74 - 1))
    assert spend.expected_amount(1e9, 22.35) == pytest.approx(22.35)


# --- nothing runs away --------------------------------------------------------------------------------------------


def extreme_shops():
    rng = np.random.default_rng(7)
    n = 800
    T, z = rng.integers(1, 400, n).astype(float), rng.lognormal(4, 1, n)
    some = (rng.random(n) < 0.01).astype(float)
    steady = rng.poisson(T / 50).astype(float)
    return {
        "nobody repeats": (np.zeros(n), np.zeros(n), T, z),
        "1 % repeat": (some, some * T * rng.random(n), T, z),
        "all repeat": (np.ones(n), T, T, z),
        "every day": (T, T, T, z),
        "nobody leaves": (steady, np.where(steady > 0, T * rng.beta(np.maximum(steady, 1), 1), 0), T, z),
        "one customer": (0.0, 0.0, 50.0, 30.0),
        "one repeat buyer": (3.0, 40.0, 50.0, 30.0),
        "one day old": (0.0, 0.0, 1.0, 30.0),
        "equal rows": (np.full(n, 2.0), 10.0, 100.0, 20.0),
        "huge x": (np.r_[np.zeros(n), 1e6], np.r_[np.zeros(n), 300], np.r_[T, 300], np.r_[z, 1e9]),
        "half the revenue": (np.zeros(n), np.zeros(n), T, np.r_[z[1:], z.sum()]),
        "Pareto amounts without a mean": (some, some * T, T, rng.random(n) ** -2.0),
        "most on the cutoff day": (np.zeros(n), np.zeros(n), np.r_[np.zeros(n - 1), 30.0], z),
    }


@pytest.mark.parametrize("name", extreme_shops())
def test_extreme_shops_are_finite_and_sane(name):
    X = snapshots(*(np.atleast_1d(column) for column in extreme_shops()[name]))
    model = BTYDModel().fit(X, horizon_days=90)
    process, spend = model.model_.purchases, model.model_.spend
    assert np.isfinite([process.r, process.alpha, process.a, process.b, spend.p, spend.q, spend.v]).all()
    odd = snapshots([0, 0, 500, 10_000, 1], [0, 0, 0, 400, 700], [0, 1e4, 600, 400, 700], [1e-2, 50, 1e9, 20, 1e-9])
    for frame in (X, odd):
        parts = model.predict_parts(frame)
        assert np.isfinite(parts.p_return).all()
        assert ((parts.p_return >= 0) & (parts.p_return <= 1)).all()
        assert np.isfinite(parts.value_if_return).all()
        assert ((parts.value_if_return >= 0) & (parts.value_if_return <= model.model_.value_cap)).all()


def test_nobody_repeats_means_hardly_anybody_will():
    X = snapshots(*extreme_shops()["nobody repeats"])
    assert BTYDModel().fit(X, horizon_days=90).predict_parts(X).p_return.max() < 0.01


def test_all_repeat_every_day_means_they_will():
    X = snapshots(*extreme_shops()["every day"])
    parts = BTYDModel().fit(X, horizon_days=90).predict_parts(X)
    assert parts.p_return.min() > 0.99
    assert (parts.value_if_return <= 90 * X["amount_mean"].max() * 1.01).all()


def test_refusals():
    with pytest.raises(InputError, match="There is no customer to fit on"):
        BTYDModel().fit(snapshots([], [], [], []), horizon_days=90)
    with pytest.raises(InputError, match="All 2 customers bought for the first time on the cutoff day"):
        BTYDModel().fit(snapshots([0, 0], [0, 0], [0, 0], [1, 2]), horizon_days=90)
    with pytest.raises(InputError, match="None of 2 customers has a purchase above 0"):
        fit_spend([1, 2], [0.0, -3.0])


def test_no_customer_no_answer():
    model = BTYDModel().fit(snapshots([0, 1], [0, 5], [10, 20], [1, 2]), horizon_days=90)
    assert model.predict_parts(snapshots([], [], [], [])).expected_value.shape == (0,)


# --- properties ---------------------------------------------------------------------------------------------------


def magnitudes(low, high):
    return st.floats(np.log(low), np.log(high)).map(lambda power: float(np.exp(power)))


models = st.builds(
    BuyTillYouDie,
    purchases=st.builds(
        PurchaseProcess,
        r=magnitudes(1e-3, 100),
        alpha=magnitudes(1e-2, 1e5),
        a=magnitudes(1e-3, 1e3),
        b=magnitudes(1e-3, 1e3),
    ),
    spend=st.builds(Spend, p=magnitudes(0.1, 100), q=magnitudes(1.01, 100), v=magnitudes(0.01, 1e4)),
    horizon_days=st.integers(1, 730),
    value_cap=st.just(float("inf")),
)
histories = st.builds(
    lambda x, share, T, amount: (float(x), share * T if x else 0.0, T, amount),
    x=st.integers(0, 500),
    share=st.floats(0, 1),
    T=st.floats(0, 2000),
    amount=magnitudes(0.01, 1e6),
)
ROUNDING = 1e-7


def answer(model, history):
    p_return, value = model.parts(*([value] for value in history))
    return p_return[0], value[0]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(models, histories)
def test_answers_are_probabilities_and_money(model, history):
    p_return, value = answer(model, history)
    x, t_x, T, amount = history
    assert 0 <= p_return <= 1
    each = model.spend.expected_amount(x + 1, amount)
    assert each * (1 - ROUNDING) <= value <= each * model.horizon_days * (1 + ROUNDING)
    expected = model.purchases.expected_purchases(x, t_x, T, model.horizon_days)
    steady = model.purchases.p_alive(x, t_x, T) * (model.purchases.r + x) / (model.purchases.alpha + T)
    assert p_return * (1 - ROUNDING) <= expected <= steady * model.horizon_days * (1 + ROUNDING)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(models, histories, st.integers(1, 400))
def test_a_longer_window_holds_more(model, history, more):
    longer = BuyTillYouDie(model.purchases, model.spend, model.horizon_days + more, model.value_cap)
    for short, long in zip(answer(model, history), answer(longer, history), strict=True):
        assert short <= long * (1 + ROUNDING)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(models, histories, st.floats(0, 1))
def test_silence_lowers_the_chance_to_return(model, history, share):
    x, t_x, T, amount = history
    assert answer(model, (x, t_x * share, T, amount))[0] <= answer(model, history)[0] * (1 + ROUNDING)
    silent = (0.0, 0.0, T + 365 * share, amount)
    assert answer(model, silent)[0] <= answer(model, (0.0, 0.0, T, amount))[0] * (1 + ROUNDING)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(models, histories, magnitudes(1, 1000))
def test_larger_amounts_are_worth_more_and_do_not_change_who_returns(model, history, factor):
    x, t_x, T, amount = history
    p_return, value = answer(model, history)
    p_richer, richer = answer(model, (x, t_x, T, amount * factor))
    assert p_richer == p_return
    assert richer >= value * (1 - ROUNDING)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(models, st.lists(histories, min_size=1, max_size=20))
def test_a_customer_is_answered_alike_alone_and_among_others(model, customers):
    p_return, value = model.parts(*np.transpose(customers))
    alone = [answer(model, customer) for customer in customers]
    assert p_return == pytest.approx([p for p, _ in alone], rel=1e-12)
    assert value == pytest.approx([v for _, v in alone], rel=1e-12)
