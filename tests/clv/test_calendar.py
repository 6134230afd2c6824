from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clv.calendar import default_as_of_day

START = date(2024, 1, 1)


def last_index(counts: list[int]) -> int:
    return (default_as_of_day(START, counts) - START).days


def test_a_steady_shop_ends_with_its_last_purchase() -> None:
    assert last_index([20] * 200) == 199


def test_days_without_purchase_at_the_end_are_no_as_of_day() -> None:
    assert last_index([20] * 200 + [0] * 3) == 199


def test_a_single_day_is_the_as_of_day() -> None:
    assert default_as_of_day(START, [5]) == START


def test_a_sparse_tail_is_cut_back_to_the_last_dense_week() -> None:
    # after k quiet days the last week still holds 20 (7 - k) purchases; below 14 (10 % of 140) only from k = 7 on
    counts = [20] * 100 + [1] * 20
    assert last_index(counts) == 100 + 6 - 1  # k = 7: 7 purchases < 14; k = 6: 20 + 6 >= 14


def test_exactly_a_tenth_is_not_sparse() -> None:
    assert last_index([10] * 70 + [1] * 7) == 76
    assert last_index([10] * 70 + [1] * 6 + [0] * 30 + [1]) == 75


def test_the_reference_is_a_median_so_one_great_week_does_not_cut() -> None:
    counts = [2] * 100 + [500] * 7 + [2] * 14
    assert last_index(counts) == len(counts) - 1


def test_a_stray_event_far_after_the_rest_is_cut() -> None:
    assert last_index([20] * 100 + [0] * 300 + [1]) == 99


@pytest.mark.parametrize("history", [1, 7, 20, 26])
def test_with_fewer_than_four_weeks_to_compare_with_nothing_is_cut(history: int) -> None:
    assert last_index([100] * history + [0] * 7 + [1]) == history + 7


def test_a_small_shop_with_gaps_is_never_cut() -> None:
    counts = ([1] + [0] * 29) * 12 + [1]
    assert last_index(counts) == len(counts) - 1


@pytest.mark.parametrize("counts", [[], [0, 0], [3, -1], [[1], [2]]])
def test_what_are_no_daily_counts_is_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="daily counts"):
        default_as_of_day(START, counts)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=250).filter(any))
def test_always_a_day_with_a_purchase_and_unmoved_by_days_without(counts: list[int]) -> None:
    index = last_index(counts)
    assert counts[index] > 0
    assert last_index([*counts, 0, 0, 0]) == index
    assert default_as_of_day(START - timedelta(days=2), [0, 0, *counts]) == START + timedelta(days=index)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=57, max_size=250).filter(any))
def test_every_later_purchase_day_is_sparse_by_the_definition(counts: list[int]) -> None:
    def week(end: int) -> int:
        return sum(counts[end - 6 : end + 1])

    index = last_index(counts)
    for day in range(index + 1, len(counts)):
        if counts[day]:
            earlier = [week(end) for end in range(day - 7, 5, -7)]
            busy = [purchases for purchases in earlier if purchases][:8]
            assert len(busy) >= 4
            assert week(day) < 0.1 * np.median(busy)
