from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from clv import plots
from clv.backtest import SMALLEST_LOSS, Backtest, run
from clv.bootstrap import FEWEST_RETURNERS, TOO_FEW, intervals, paired, resample
from clv.predictor import Parts
from clv.snapshots import Snapshots
from clv.splits import Fold, every_fold
from tests.clv.scores import evaluate

HORIZON = 59
MONTHS = [day.date() for day in pd.date_range("2019-01-31", periods=9, freq="ME")]


def shop(cutoffs: list[date], customers: int = 400, seed: int = 0) -> Snapshots:
    """Customers with a skill that decides what they spend."""
    rng = np.random.default_rng(seed)
    frames = []
    for cutoff in cutoffs:
        skill = rng.normal(size=customers)
        back = rng.random(customers) < 1 / (1 + np.exp(2 - 2 * skill))
        frames.append(
            pd.DataFrame(
                {
                    "customer_id": [f"c{i:04d}" for i in range(customers)],
                    "cutoff_date": cutoff,
                    "skill": skill,
                    "is_return": back,
                    "future_value": np.where(back, rng.gamma(3, 10, customers), 0.0),
                }
            )
        )
    return Snapshots(pd.concat(frames, ignore_index=True))


@dataclass(frozen=True)
class Ageing:
    """A model that knows the skill, less well the older it is."""

    made: date
    blur_per_day: float

    def predict_parts(self, frame: pd.DataFrame) -> Parts:
        (cutoff,) = set(frame["cutoff_date"])
        assert cutoff >= self.made, "asked about the past"
        age = (cutoff - self.made).days
        noise = np.random.default_rng(age).normal(size=len(frame)) * self.blur_per_day * age
        p_return = 1 / (1 + np.exp(2 - 2 * (frame["skill"].to_numpy() + noise)))
        return Parts(p_return, np.full(len(frame), 30.0))


def aged(blur_per_day: float, cutoffs: list[date] = MONTHS) -> Backtest:
    tests = every_fold(cutoffs, HORIZON)
    return run(shop(cutoffs), tests, lambda fold: Ageing(fold.test, blur_per_day), horizon_days=HORIZON, seed=1)


@pytest.fixture(scope="module")
def fading() -> Backtest:
    return aged(0.004)


@pytest.fixture(scope="module")
def lasting() -> Backtest:
    return aged(0.0)


def test_every_model_is_asked_about_every_later_cutoff(fading: Backtest) -> None:
    tested = MONTHS[2:]
    asked = {(cell.fitted, cell.cutoff) for cell in fading.cells}
    assert asked == {(made, cutoff) for cutoff in tested for made in tested if made <= cutoff}
    assert all(cell.age_days == (cell.cutoff - cell.fitted).days for cell in fading.cells)
    assert [age.cutoffs for age in fading.ages] == [6, 5, 4, 3, 2, 1]
    assert [age.days for age in fading.ages] == sorted(age.days for age in fading.ages)


def test_a_cell_holds_the_metrics_of_its_model_at_its_cutoff(fading: Backtest) -> None:
    cell = next(cell for cell in fading.cells if (cell.fitted, cell.cutoff) == (MONTHS[3], MONTHS[6]))
    customers = shop(MONTHS).at(MONTHS[6])
    parts = Ageing(MONTHS[3], 0.004).predict_parts(customers.frame)
    expected = evaluate(parts, customers.is_return, customers.future_value)
    assert {name: found.estimate for name, found in cell.metrics.items()} == pytest.approx(expected)
    assert cell.customers == 400
    assert cell.returners == customers.is_return.sum()
    gini = cell.metrics["normalized_gini"]
    assert gini.low < gini.estimate < gini.high


def test_a_model_that_fades_is_to_be_retrained_and_one_that_lasts_is_not(fading: Backtest, lasting: Backtest) -> None:
    days = fading.retrain_after_days()
    assert days in [age.days for age in fading.ages]
    worse = [age.days for age in fading.ages if age.verdict == "worse"]
    assert days == worse[0]
    assert str(days) in fading.note()
    assert lasting.retrain_after_days() is None
    assert all(age.difference["normalized_gini"].estimate == 0 for age in lasting.ages)
    assert "No decay" in lasting.note()


def test_the_faster_it_fades_the_sooner(fading: Backtest) -> None:
    faster, slower = aged(0.02).retrain_after_days(), fading.retrain_after_days()
    assert faster is not None
    assert slower is not None
    assert faster < slower


def test_one_bad_age_between_good_ones_is_chance(fading: Backtest) -> None:
    """Only models of exactly two steps are spoilt."""
    spoilt = {
        step: parts if step != 2 else tuple(p and Parts(np.flip(p.p_return), p.value_if_return) for p in parts)
        for step, parts in aged(0.0).parts.items()
    }
    found = Backtest(HORIZON, fading.cutoffs, fading.outcomes, fading.fitted, spoilt, seed=1)
    assert [age.difference["normalized_gini"].verdict for age in found.ages].count("worse") == 1
    assert found.retrain_after_days() is None
    assert "No lasting decay" in found.note()


def test_a_loss_too_small_to_matter_is_no_reason_to_train_again() -> None:
    """So many customers that the smallest loss is certain."""
    tests = every_fold(MONTHS, HORIZON)
    many = shop(MONTHS, customers=20_000)
    found = run(many, tests[-4:], lambda fold: Ageing(fold.test, 0.002), horizon_days=HORIZON, seed=1)
    assert {age.verdict for age in found.ages if age.cutoffs > 1} == {"slightly worse"}
    assert found.retrain_after_days() is None
    assert "Hardly any decay" in found.note()


@pytest.mark.parametrize("tested", [1, 2])
def test_too_little_history_is_said(tested: int) -> None:
    found = aged(0.2, MONTHS[: 2 + tested])
    assert len(found.cutoffs) == tested
    assert found.retrain_after_days() is None
    assert "Too little history" in found.note()


def test_of_few_returners_nothing_is_said() -> None:
    frame = shop(MONTHS).frame
    returners = frame[frame["is_return"]]
    gone = returners.index.difference(returners.groupby("cutoff_date").head(2).index)
    frame.loc[gone, ["is_return", "future_value"]] = [False, 0.0]
    tests = every_fold(MONTHS, HORIZON)
    found = run(Snapshots(frame), tests, lambda fold: Ageing(fold.test, 0.05), horizon_days=HORIZON, seed=1)
    assert {age.verdict for age in found.ages} == {TOO_FEW}
    assert all(age.returners == 2 * age.cutoffs < FEWEST_RETURNERS for age in found.ages)
    assert found.retrain_after_days() is None
    assert "Too few customers came back" in found.note()


def test_a_last_cutoff_off_the_calendar_loses_no_cell() -> None:
    found = aged(0.01, [*MONTHS, MONTHS[-1] + timedelta(days=12)])
    assert len(found.cells) == 8 * 9 / 2
    assert {cell.age_days for cell in found.cells if cell.cutoff == found.cutoffs[-1]} >= {0, 12, 42}


def test_a_cutoff_without_a_returner_is_left_out() -> None:
    frame = shop(MONTHS).frame
    silent = frame["cutoff_date"] == MONTHS[5]
    frame.loc[silent, ["is_return", "future_value"]] = [False, 0.0]
    tests = [Fold((MONTHS[0],), cutoff) for cutoff in MONTHS[2:]]
    found = run(Snapshots(frame), tests, lambda fold: Ageing(fold.test, 0.0), horizon_days=HORIZON, seed=1)
    assert MONTHS[5] not in found.cutoffs
    assert len(found.cutoffs) == len(tests) - 1


def test_scatter_tells_a_recipe_that_comes_and_goes_from_one_that_does_not() -> None:
    steady, by_chance = aged(0.0).scatter()
    assert steady < 2 * by_chance
    unsteady, by_chance = run(
        shop(MONTHS),
        every_fold(MONTHS, HORIZON),
        lambda fold: Sometimes(fold.test),
        horizon_days=HORIZON,
        seed=1,
    ).scatter()
    assert unsteady > 3 * by_chance


@dataclass(frozen=True)
class Sometimes:
    """Knows the skill in every other month."""

    made: date

    def predict_parts(self, frame: pd.DataFrame) -> Parts:
        skill = frame["skill"].to_numpy() * (self.made.month % 2)
        return Parts(1 / (1 + np.exp(2 - 2 * skill)), np.full(len(frame), 30.0))


def test_a_model_without_an_answer_at_a_cutoff_is_compared_on_the_others(fading: Backtest) -> None:
    new = [parts for parts in fading.parts[0] if parts is not None]
    with_gap = resample({"new": new, "old": fading.parts[2]}, fading.outcomes, rng=np.random.default_rng(5))
    assert np.isnan(with_gap.estimates["old"][:2]).all()
    some = [parts for parts in fading.parts[2] if parts is not None]
    alone = resample({"new": new[2:], "old": some}, fading.outcomes[2:], rng=np.random.default_rng(5))
    assert intervals(with_gap, "old") == intervals(alone, "old")
    assert paired(with_gap, "old", "new") == paired(alone, "old", "new")
    first = intervals(with_gap, "new", cutoff=0)["normalized_gini"]
    assert first.estimate == with_gap.estimates["new"][0, 0]


def test_the_figure_shows_every_cutoff_and_age(fading: Backtest, lasting: Backtest) -> None:
    figure = plots.backtest({60: fading, 30: lasting}, 60, SMALLEST_LOSS)
    figure.savefig(BytesIO(), format="png")
    by_cutoff, by_age = figure.axes
    assert [len(line.get_xdata()) for line in by_cutoff.lines[:2]] == [7, 7]
    ages = [age.days for age in fading.ages]
    assert by_age.lines[0].get_xdata().tolist() == ages
    assert [text.get_text() for text in by_cutoff.get_legend().get_texts()] == ["60 days ahead", "30 days ahead"]
