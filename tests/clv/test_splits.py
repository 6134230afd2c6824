from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clv.bootstrap import FEWEST_RETURNERS
from clv.errors import InputError
from clv.splits import MAX_FOLDS, MAX_TESTS, Plan, every_fold, plan, rolling_origin

START = date(2017, 1, 1)
MANY = 100
"""So many returned after each cutoff that they can judge."""


def grid(days: int, horizon: int, step: int = 30) -> list[date]:
    """Labelled cutoffs of a history of `days` days."""
    return [START + timedelta(offset) for offset in range(min(horizon, 30), days - horizon, step)]


def month_ends(first: date, as_of: date, horizon: int) -> list[date]:
    """Labelled cutoffs as dbt chooses them for horizons of 45 days and more (`int_cutoffs`)."""
    last = as_of - timedelta(horizon)
    every = (first + timedelta(offset) for offset in range(min(horizon, 30), (last - first).days))
    return [*(day for day in every if (day + timedelta(1)).day == 1), last]


def planned(days: int, horizon: int, first: date = START) -> Plan:
    """The plan of a history of `days` days."""
    as_of = first + timedelta(days - 1)
    cutoffs = month_ends(first, as_of, horizon)
    # so many return early that every fold can judge
    returners = {cutoff: MANY * 2**back for back, cutoff in enumerate(reversed(cutoffs))}
    return plan(returners, first_purchase_date=first, as_of_date=as_of, horizon_days=horizon)


@given(days=st.integers(60, 900), horizon=st.integers(7, 200))
def test_no_fold_trains_on_a_label_that_was_open_at_its_test(days: int, horizon: int) -> None:
    as_of = START + timedelta(days - 1)
    cutoffs = grid(days, horizon)
    if days < 2 * horizon:
        with pytest.raises(InputError, match=f"has {days} days.*at least {2 * horizon}"):
            plan(dict.fromkeys(cutoffs, 1), first_purchase_date=START, as_of_date=as_of, horizon_days=horizon)
        return
    protocol = plan(dict.fromkeys(cutoffs, MANY), first_purchase_date=START, as_of_date=as_of, horizon_days=horizon)
    gap = timedelta(horizon)
    for fold in (*protocol.tests, *protocol.folds):
        assert fold.train
        assert max(fold.train) + gap <= fold.test
        assert fold.test + gap <= as_of
    if protocol.folds:
        first_test = protocol.tests[0].test
        assert all(fold.test + gap <= first_test for fold in protocol.folds)
    assert bool(protocol.note) == (days < 4 * horizon or not protocol.folds)
    assert len(protocol.tests) <= (3 if days >= 4 * horizon else 1)


@given(days=st.integers(60, 1500), horizon=st.integers(7, 200))
def test_a_test_is_given_up_only_for_a_fold_to_tune_on(days: int, horizon: int) -> None:
    as_of = START + timedelta(days - 1)
    if days < 4 * horizon:
        return
    cutoffs, spacing = grid(days, horizon), max(1, horizon // 3)
    protocol = plan(dict.fromkeys(cutoffs, MANY), first_purchase_date=START, as_of_date=as_of, horizon_days=horizon)

    def latest(most: int, until: date) -> tuple:
        return rolling_origin(cutoffs, horizon, until=until, most=most, spacing_days=spacing)

    assert protocol.tests == latest(len(protocol.tests), as_of)
    more = latest(MAX_TESTS, as_of)[: -len(protocol.tests)]
    assert not any(latest(1, test.test) for test in more)  # with one of these, too, nothing would be left to tune on
    folds = latest(MAX_FOLDS, protocol.tests[0].test) if protocol.tests else ()
    # as many returned after each cutoff
    assert protocol.folds == tuple(fold for fold in folds if len(fold.train) >= 0.1 * len(protocol.train))
    assert protocol.folds or not more


def test_a_fold_with_hardly_a_label_judges_nothing() -> None:
    as_of = START + timedelta(899)
    cutoffs = month_ends(START, as_of, 90)

    def after(returners: dict[date, int]) -> Plan:
        return plan(returners, first_purchase_date=START, as_of_date=as_of, horizon_days=90)

    full = after(dict.fromkeys(cutoffs, MANY))
    assert len(full.folds) == MAX_FOLDS
    bound = MANY * (10 * len(full.folds[-1].train) - (len(full.train) - 1))
    assert after({**dict.fromkeys(cutoffs, MANY), cutoffs[-1]: bound}).folds == full.folds[-1:]
    grown = after({**dict.fromkeys(cutoffs, MANY), cutoffs[-1]: bound + 1})
    assert not grown.folds
    assert grown.tests == full.tests  # a test is not given up for nothing
    assert grown.note.startswith("Before the tests fewer customers had come back than a tenth")
    assert full.folds[-1] not in after({**dict.fromkeys(cutoffs, MANY), full.folds[-1].test: 0}).folds
    nobody = after(dict.fromkeys(cutoffs, 0))
    assert not nobody.folds
    assert nobody.note == "Before the tests nobody came back: defaults without tuning."


def test_folds_with_too_few_returners_together_judge_nothing() -> None:
    as_of = START + timedelta(899)
    cutoffs = month_ends(START, as_of, 90)
    tests = planned(900, 90).folds

    def after(each: int) -> Plan:
        return plan(dict.fromkeys(cutoffs, each), first_purchase_date=START, as_of_date=as_of, horizon_days=90)

    enough = -(-FEWEST_RETURNERS // len(tests))
    assert after(enough).folds == tests
    few = after(enough - 1)
    assert not few.folds
    assert few.tests == after(enough).tests
    assert few.note == (
        f"Before the tests {len(tests) * (enough - 1)} customers came back, too few to choose by (at least 20): "
        "defaults without tuning."
    )


@pytest.mark.parametrize(("horizon", "days"), [(90, 365), (180, 720)])
def test_from_about_four_horizons_there_is_a_fold_and_a_test_whatever_the_day(horizon: int, days: int) -> None:
    for offset in range(366):
        protocol = planned(days, horizon, START + timedelta(offset))
        assert protocol.tests
        assert protocol.folds
        assert protocol.note == ""


def test_before_four_horizons_there_is_one_test_and_in_the_end_there_are_three_and_three_folds() -> None:
    young, old = planned(359, 90), planned(540, 90)
    assert (len(young.tests), young.folds, young.is_short) == (1, (), True)
    assert (len(old.tests), len(old.folds), old.is_short) == (3, 3, False)


def test_a_short_horizon_may_have_to_wait_for_a_fold_and_says_so() -> None:
    """The first month end that may be a cutoff comes too late for what four horizons leave."""
    first = START + timedelta(5)
    protocol = planned(180, 45, first)
    assert (len(protocol.tests), protocol.folds, protocol.is_short) == (2, (), False)
    assert "history of 180 days leaves no cutoff to tune on" in protocol.note
    assert planned(205, 45, first).folds


def test_the_latest_cutoffs_are_tested_and_kept_apart() -> None:
    near = [date(2018, 1, 1), date(2018, 2, 1), date(2018, 5, 30), date(2018, 5, 31), date(2018, 6, 30)]
    folds = rolling_origin(near, 30, until=date(2018, 12, 31), most=2, spacing_days=10)
    assert [fold.test for fold in folds] == [date(2018, 5, 31), date(2018, 6, 30)]
    assert folds[0].train == (date(2018, 1, 1), date(2018, 2, 1))


def test_every_fold_trains_on_what_had_closed_and_needs_some() -> None:
    months = [date(2019, 1, 31), date(2019, 2, 28), date(2019, 3, 31), date(2019, 4, 30), date(2019, 5, 31)]
    made = every_fold(months, 59)
    assert [fold.test for fold in made] == months[2:]  # in March January's window has closed
    for fold in made:
        assert fold.train
        assert all(cutoff + timedelta(days=59) <= fold.test for cutoff in fold.train)
    assert every_fold(months[:2], 59) == ()
