from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clv.errors import InputError
from clv.splits import plan, rolling_origin

START = date(2017, 1, 1)


def grid(days: int, horizon: int, step: int = 30) -> list[date]:
    """Labelled cutoffs of a history of `days` days."""
    return [START + timedelta(offset) for offset in range(min(horizon, 30), days - horizon, step)]


@given(days=st.integers(60, 900), horizon=st.integers(7, 200))
def test_no_fold_trains_on_a_label_that_was_open_at_its_test(days: int, horizon: int) -> None:
    as_of = START + timedelta(days - 1)
    cutoffs = grid(days, horizon)
    if days < 2 * horizon:
        with pytest.raises(InputError, match=f"has {days} days.*at least {2 * horizon}"):
            plan(cutoffs, first_purchase_date=START, as_of_date=as_of, horizon_days=horizon)
        return
    protocol = plan(cutoffs, first_purchase_date=START, as_of_date=as_of, horizon_days=horizon)
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


def test_the_latest_cutoffs_are_tested_and_kept_apart() -> None:
    near = [date(2018, 1, 1), date(2018, 2, 1), date(2018, 5, 30), date(2018, 5, 31), date(2018, 6, 30)]
    folds = rolling_origin(near, 30, until=date(2018, 12, 31), most=2, spacing_days=10)
    assert [fold.test for fold in folds] == [date(2018, 5, 31), date(2018, 6, 30)]
    assert folds[0].train == (date(2018, 1, 1), date(2018, 2, 1))
