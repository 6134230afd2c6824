"""A forecast of what all customers of a shop will spend together in the next H days, and how sure that is.

The spend of each group of customers (by the month of their first purchase) in each week so far is a regression with
five effects, additive on the log scale:

``fade`` and ``bend``
    how the spend of a customer fades with age since the first purchase: a power law for those who were never keen, an
    exponential for those who leave, and a slow bend;
``cohort``
    customers won at one time are worth more than those won at another;
``level``
    the shop as a whole drifts, and comes back after a year or so;
``season``
    the same time of the year resembles itself; the weeks around Christmas may differ most.

Every effect has a prior (see :mod:`clv.effects`). So a shop that has not seen a Christmas yet says so by its interval,
and one that has seen it does not carry it into spring. How strong season and drift are is not known beforehand: several
strengths are fitted, and averaged by how well each explains the history. So are shops that live from a part of the
year, and such where cohorts have nothing in common as a few accounts bring most of the spend.

The spend is quasi-Poisson: its variance is proportional to its mean, as that of a sum of independent purchases is, and
the factor is measured. The linear trends of age, week and cohort can't be told apart by data alone (Holford, "The
estimation of age, period and cohort effects", 1983); the priors decide, in favour of customers who leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import product, starmap
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from clv.effects import Effect, Posterior, Regression, curve, drift, knots, smooth
from clv.ledger import Ledger, number
from clv.predictor import Array, Parts, total_interval

FADE, FADE_SD = -0.1, 0.1
LEAVE, LEAVE_SD = -0.2, 0.2
"""How spend fades with age, and how sure that is beforehand: by a power of it, and by customers who leave, a year."""

BEND_SD, BEND_LENGTH = 0.06, 0.8
COHORT_SD, COHORT_WEEKS = 0.2, 13.0
LEVEL_WEEKS, SEASON_LENGTH = 39.0, 0.4
"""Standard deviations on the log scale, and how fast each effect forgets: by a factor of age, in weeks, and as a part
of the year's circle."""

LEVELS = (0.03, 0.08, 0.2)
SEASONS = {0.03: 1.0, 0.08: 1.0, 0.2: 1.0, 1.0: 0.1}
"""Standard deviations of level and of season on the log scale, weak to strong, and how likely those of the season are
beforehand, against each other: few shops live from a part of the year."""

COHORTS = {1.0: 1.0, 20.0: 0.02}
"""How many times `COHORT_SD` the cohorts differ by, and how likely that is beforehand: in few shops does one customer,
or do a few, bring most of the spend. All combinations of the three are averaged over."""

GIFT_DAY, GIFT_DAYS, GIFT_FACTOR = 335, 35.0, 4.0
"""Around 1 December the season may be this many times as strong as in the rest of the year."""

WEEK = 7
COHORT_STEP = 4 * WEEK
LONGEST_WEEKS = 156
"""Weeks of history that are looked at; what was three years ago says little of the next months."""

FIRST_PURCHASES = 20.0
"""First purchases weigh as much as this many repeat purchases in what a single purchase's amount varies by."""

_YEAR = 365.25
_NEW_YEAR = number(date(2000, 1, 1))


@dataclass(frozen=True)
class Forecast:
    """The total of a window.

    Attributes
    ----------
    customers
        How many were won by the cutoff.
    total
        Expected spend, at the median of the level.
    level_sd
        How uncertain the level is that all customers share: standard deviation of its logarithm.
    chance
        Variance of the total, relative to its square, that is left to the chance of single purchases.
    season
        How busy the window's time of the year is, against the year as a whole.
    season_seen
        Share of the window's days of which the history has seen the same day of a year before.
    """

    cutoff: date
    horizon_days: int
    customers: int
    total: float
    level_sd: float
    chance: float
    season: float
    season_seen: float

    def interval(self, share: float) -> tuple[float, float]:
        """Interval that holds what will be spent with probability `share`."""
        mean, variance = np.array([self.total]), np.array([self.chance * self.total**2])
        low, high = total_interval(mean, variance, self.level_sd, share)
        return float(low[0]), float(high[0])

    def surprise(self, spent: float) -> float:
        """How many standard deviations the forecast was above what was spent, on the log scale.

        Nothing spent counts as half of what a single purchase varies by.
        """
        chance = float(np.log1p(self.chance))
        away = np.log(self.total) - chance / 2 - np.log(max(spent, self.chance * self.total / 2))
        return float(away / np.sqrt(self.level_sd**2 + chance))

    def factor(self, parts: Parts) -> float:
        """The level of a predictor that meets this total: what everybody's purchase rate is to be multiplied by.

        Parameters
        ----------
        parts
            What it predicts, at level 1, of the customers at the cutoff or of a random part of them.
        """
        predicted = float(parts.expected_value.mean())
        return self.total / self.customers / predicted if predicted > 0 else 1.0


def forecast(ledger: Ledger, cutoff: date, horizon_days: int) -> Forecast:
    """Forecast what the customers won by `cutoff` will spend in the `horizon_days` after it.

    Nothing after the cutoff is looked at.

    Raises
    ------
    ValueError
        If nobody has bought by the cutoff.
    """
    known = ledger.until(cutoff)
    if not known.customers:
        raise ValueError(f"Nobody has bought by {cutoff}.")
    cells = _Cells(known, number(cutoff), horizon_days)
    # short inner products: on a busy machine BLAS threads make them ten times slower
    with threadpool_limits(1, user_api="blas"):
        total, level_variance, season = _averaged(cells)
    days = number(cutoff) + 1 + np.arange(horizon_days)
    return Forecast(
        cutoff=cutoff,
        horizon_days=horizon_days,
        customers=known.customers,
        total=total,
        level_sd=float(np.sqrt(level_variance)),
        chance=cells.dispersion / total,
        season=season,
        season_seen=float(np.mean(days - 365 >= cells.start)),
    )


class _Strengths(NamedTuple):
    """How strong the effects are that not all shops share: factors on the standard deviations of their priors."""

    level: float
    season: float
    cohort: float

    @property
    def log_odds(self) -> float:
        """How likely such a shop is beforehand."""
        return float(np.log(SEASONS[self.season] * COHORTS[self.cohort]))


_USUAL = _Strengths(level=LEVELS[1], season=LEVELS[1], cohort=1.0)


class _Cells:
    """The history as cells of cohort x week, and the window as more of them.

    A cell's exposure are its customer-days: of whoever was won by then, from the day after the first purchase on.
    """

    def __init__(self, known: Ledger, cutoff: int, horizon_days: int) -> None:
        self.start = int(known.first.min())
        weeks = min((cutoff - self.start) // WEEK + 1, LONGEST_WEEKS)
        week = np.arange(-weeks + 1, -(-horizon_days // WEEK) + 1)  # 0 ends with the cutoff
        won = known.rows(known.first == known.day)
        cohort = (won.first - self.start) // COHORT_STEP
        cohorts = int(cohort.max()) + 1
        exposure, log_age, spend = (np.zeros((cohorts, len(week))) for _ in range(3))
        for column, last in enumerate(np.minimum(cutoff + WEEK * week, cutoff + horizon_days)):
            begin = np.maximum(cutoff + WEEK * (week[column] - 1), won.first) + 1
            days = won.purchases * np.maximum(last - begin + 1, 0)
            age = np.log1p(np.maximum((begin + last) / 2 - won.first, 0) / WEEK)
            exposure[:, column] = np.bincount(cohort, days, cohorts)
            log_age[:, column] = np.bincount(cohort, days * age, cohorts)
        # what comes back from who has bought nothing since the first purchase lowers no label, as none is below 0
        later = known.rows(~known.is_first & (known.day > cutoff - WEEK * weeks))
        at = (later.first - self.start) // COHORT_STEP, weeks - 1 - (cutoff - later.day) // WEEK
        np.add.at(spend, at, later.amount)
        # a cell with more returns than purchases is at the expense of the week's others: clipped, it would count as 0
        bought = np.maximum(spend, 0.0)
        total = bought.sum(axis=0)
        spend = bought * (np.maximum(spend.sum(axis=0), 0.0) / np.where(total > 0, total, 1.0))

        rows, columns = np.nonzero(exposure)
        self.week = week[columns].astype(np.float64)
        self.past = self.week <= 0
        self.exposure = exposure[rows, columns]
        self.log_age = log_age[rows, columns] / self.exposure
        self.cohort_week = (rows + 0.5) * COHORT_STEP / WEEK
        self.day = cutoff + WEEK * (self.week - 0.5)
        self.spend = spend[rows, columns][self.past]
        self.dispersion = _dispersion(known)

    def by_week(self, spend: Array) -> Array:
        """Sums over the cohorts for each week of the past, latest first."""
        return np.bincount((-self.week[self.past]).astype(np.int64), spend).astype(np.float64)

    def effects(self) -> dict[str, Effect]:
        """All effects; level and season with a standard deviation of 1, to be scaled."""
        fade = np.column_stack([np.ones(len(self.log_age)), self.log_age, np.expm1(self.log_age) * WEEK / _YEAR])
        ages = np.linspace(0.0, float(self.log_age.max()) + 1e-9, 8)
        cohorts = knots(0.0, float(self.cohort_week.max()), max(8.0, float(self.cohort_week.max()) / 40))
        weeks = knots(float(self.week.min()), float(self.week.max()), 6.0)
        year = np.arange(18) / 18
        from_gifts = np.abs((_YEAR * year - GIFT_DAY + _YEAR / 2) % _YEAR - _YEAR / 2)
        strength = 1 + (GIFT_FACTOR - 1) * np.exp(-0.5 * (from_gifts / GIFT_DAYS) ** 2)
        circle = np.exp(-2 * (np.sin(np.pi * (year[:, None] - year)) / SEASON_LENGTH) ** 2)
        return {
            "fade": Effect(
                sparse.csr_array(fade), np.array([0.0, FADE, LEAVE]), np.diag([2.0, FADE_SD, LEAVE_SD]) ** 2
            ),
            "bend": curve(self.log_age, ages, BEND_SD**2 * smooth(ages, BEND_LENGTH)),
            "cohort": curve(self.cohort_week, cohorts, COHORT_SD**2 * drift(cohorts, COHORT_WEEKS)),
            "level": curve(self.week, weeks, drift(weeks, LEVEL_WEEKS)),
            "season": curve(
                (self.day - _NEW_YEAR) / _YEAR % 1.0,
                np.append(year, 1.0),
                np.outer(strength, strength) * circle,
                periodic=True,
            ),
        }


def _dispersion(known: Ledger) -> float:
    """Variance over mean of a sum of repeat purchases; while they are few, first ones have a say in it."""
    square, amount, purchases = (
        np.array([each[~known.is_first].sum(), each[known.is_first].sum()])
        for each in (known.square, np.abs(known.amount), known.purchases)
    )
    weight = np.array([1.0, FIRST_PURCHASES / max(float(purchases[1]), 1.0)])
    return float(weight @ square / (weight @ amount))


def _averaged(cells: _Cells) -> tuple[float, float, float]:
    """Total at the median level, variance of the logarithm of the level, and season, averaged over the strengths."""
    # with no repeat purchase yet, half of one is taken to have been seen
    seen = max(float(cells.spend.sum()), 0.5 * cells.dispersion)
    rate = seen / max(float(cells.exposure[cells.past].sum()), 1.0)
    regression = Regression(cells.effects(), cells.past, cells.spend, cells.exposure * rate)
    posteriors, dispersion = _fitted(cells, regression, _USUAL)
    likely = max(posteriors, key=lambda strengths: posteriors[strengths].log_evidence + strengths.log_odds)
    if likely.log_odds < 0:
        # what usual strengths leave unexplained of an unusual shop was taken for chance
        posteriors, dispersion = _fitted(cells, regression, likely)
    future = ~cells.past
    ahead = regression.design[future]
    season_ahead = regression.effects["season"].design[future]
    logs, variances, evidence, seasons = [], [], [], []
    for strengths, posterior in posteriors.items():
        each = regression.expected(posterior.mode)[future]
        total = float(each.sum())
        gradient = ahead.T @ each / total
        wave = posterior.mode[regression.place["season"]]
        logs.append(np.log(total))
        variances.append(float(gradient @ np.linalg.solve(posterior.precision, gradient)))
        evidence.append(posterior.log_evidence + strengths.log_odds)
        seasons.append(float(np.exp(season_ahead @ wave) @ each / total / np.exp(wave).mean()))
    weight = softmax(evidence)
    centre = float(weight @ logs)
    total = float(np.exp(centre))
    # weeks that differ by more than single purchases explain are nothing that customers do one by one
    shared = (dispersion - cells.dispersion) / total
    variance = float(weight @ (np.array(variances) + (np.array(logs) - centre) ** 2)) + shared
    return total, variance, float(weight @ seasons)


def _fitted(cells: _Cells, regression: Regression, assumed: _Strengths) -> tuple[dict[_Strengths, Posterior], float]:
    """What is known of the coefficients at all strengths, and the dispersion, measured at the assumed ones.

    It is that of single purchases, or more where whole weeks differ by more than that explains.
    """
    happened = cells.by_week(cells.spend)
    coefficients, dispersion = regression.mean, cells.dispersion
    for _ in range(3):
        coefficients = regression.fit(assumed._asdict(), dispersion, coefficients).mode
        expected = cells.by_week(regression.expected(coefficients)[cells.past])
        away = (happened - expected)[expected > 0] ** 2 / (cells.dispersion * expected[expected > 0])
        dispersion = cells.dispersion * max(1.0, float(away.sum()) / max(len(away) - 4, 4))
    every = starmap(_Strengths, product(LEVELS, SEASONS, COHORTS))
    return {each: regression.fit(each._asdict(), dispersion, coefficients) for each in every}, dispersion
