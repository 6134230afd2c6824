"""The level: what all customers of a shop will spend together in the next H days, and how sure that is.

Learners rank customers well and carry the last window's season and trend into the next. The total has another source:
the shop's own history as a whole. Here the spend of each group of customers (by the week of their first purchase) in
each week so far is a regression with five effects, additive on the log scale:

``slope and bend``
    how the spend of a customer fades with age since the first purchase: a power law with a slow bend;
``cohort``
    customers won at one time are worth more than those won at another;
``level``
    the shop as a whole drifts, and comes back after a year or so;
``season``
    the same time of the year resembles itself; the weeks around Christmas may differ most.

Every effect has a Gaussian prior (a Gaussian process on a grid), so that what the history can't tell stays as uncertain
as the prior is wide: a shop that has not seen a Christmas yet says so by its interval, and one that has seen it does
not carry it into spring. How strong season and drift are is not known beforehand: several strengths are fitted, and
averaged by how well each explains the history (their marginal likelihood).

The spend is quasi-Poisson: its variance is proportional to its mean, as that of a sum of independent purchases is, and
the factor is measured. Sources: Wood, *Generalized Additive Models* (2017), sections 4.2 and 5.8 for penalised
regression and its Bayesian reading; Rasmussen and Williams, *Gaussian Processes* (2006), sections 3.4 for Laplace's
approximation and 4.2 for the kernels; Holford, "The estimation of age, period and cohort effects" (1983), for why a
linear trend can't be shared out between age, week and cohort by data alone, hence the priors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from clv.predictor import Predictor, total_interval
from clv.warehouse import Warehouse

Array = NDArray[np.float64]
Days = NDArray[np.int64]

SLOPE, SLOPE_SD = -0.2, 0.1
"""Prior of the power by which spend fades with age; BG/NBD fits of published logs fade about like that."""

BEND_SD, BEND_LENGTH = 0.1, 0.8
"""Bends off the power law, and over which factor of age (e to this power) they extend."""

COHORT_SD, COHORT_WEEKS = 0.2, 13.0
LEVEL_SDS, LEVEL_WEEKS = (0.03, 0.08, 0.2), 39.0
SEASON_SDS, SEASON_LENGTH = (0.04, 0.1, 0.25), 0.4
"""Standard deviations on the log scale, the strengths that are averaged over, and how fast each forgets."""

GIFT_DAY, GIFT_DAYS, GIFT_FACTOR = 335, 35.0, 4.0
"""Around 1 December the season may be this many times as strong as in the rest of the year."""

STEP = 7
COHORT_STEP = 4
LONGEST_WEEKS = 156
"""Weeks of history that are looked at; what was three years ago says little of the next months."""

FIRST_PURCHASES = 20.0
"""First purchases weigh as much as this many repeat purchases in what a single purchase's amount varies by."""

RECORD_WINDOWS = 12
RECORD_SPACING = 30
"""Closed windows, and days between their cutoffs, on which the forecast is tried out."""

FEWEST_DAYS = 60
"""Days of history before the first of them, at the least."""

PRIOR_WINDOWS = 2.0
"""The shop's own record of errors weighs as many windows as it has, the regression's own spread as many as this."""

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Ledger:
    """What the customers won on one day spent on another: a shop's history as a whole, however many customers it has.

    Attributes
    ----------
    first, day
        Days since 1970: of the customers' first purchase, and of the spending, never before it. One row per pair.
    purchases
        Purchases; where `first` and `day` are the same, the number of customers won on that day.
    amount, square
        Their net amounts added up, and the squares of their net amounts.
    """

    first: Days
    day: Days
    purchases: Array
    amount: Array
    square: Array

    @classmethod
    def of(cls, customer: ArrayLike, day: ArrayLike, amount: ArrayLike) -> Self:
        """Sum up purchases, one row per customer and day; a day with a negative amount is a return."""
        rows = pd.DataFrame({"customer": customer, "day": np.asarray(day, dtype=np.int64), "amount": amount})
        first = rows[rows["amount"] > 0].groupby("customer")["day"].min().rename("first")
        rows = rows.join(first, on="customer", how="inner").query("day >= first")
        rows = rows.assign(purchases=rows["amount"] > 0, square=rows["amount"] ** 2)
        sums = rows.groupby(["first", "day"])[["purchases", "amount", "square"]].sum().reset_index()
        return cls(
            sums["first"].to_numpy(np.int64),
            sums["day"].to_numpy(np.int64),
            *(sums[name].to_numpy(np.float64) for name in ("purchases", "amount", "square")),
        )

    def rows(self, chosen: NDArray[np.bool_]) -> Self:
        """Some of the rows."""
        return replace(
            self,
            first=self.first[chosen],
            day=self.day[chosen],
            purchases=self.purchases[chosen],
            amount=self.amount[chosen],
            square=self.square[chosen],
        )

    def until(self, cutoff: date) -> Self:
        """What was known at the end of `cutoff`."""
        return self.rows(self.day <= number(cutoff))

    def spent(self, cutoff: date, horizon_days: int) -> float:
        """What the customers won by `cutoff` spent together in the `horizon_days` after it."""
        start = number(cutoff)
        chosen = (self.first <= start) & (self.day > start) & (self.day <= start + horizon_days)
        return max(float(self.amount[chosen].sum()), 0.0)


def number(day: date) -> int:
    """Days since 1970."""
    return (day - _EPOCH).days


def read_ledger(warehouse: Warehouse) -> Ledger:
    """Read the shop's ledger; its size depends on the days of history, not on the customers."""
    table = warehouse.query(
        """
        with firsts as (
            select customer_key, min(purchase_date) as first_date
            from intermediate.int_purchases
            where is_purchase
            group by customer_key
        )
        select
            firsts.first_date,
            days.purchase_date,
            sum(case when days.is_purchase then 1 else 0 end) as purchases,
            sum(days.amount) * 1e0 as amount,
            sum(days.amount * 1e0 * days.amount) as square
        from intermediate.int_purchases as days
        inner join firsts on days.customer_key = firsts.customer_key
        where days.purchase_date >= firsts.first_date
        group by firsts.first_date, days.purchase_date
        order by firsts.first_date, days.purchase_date
        """
    )
    first, day = (
        table.column(name).to_numpy().astype("datetime64[D]").astype(np.int64)
        for name in ("first_date", "purchase_date")
    )
    return Ledger(
        first, day, *(table.column(name).to_numpy().astype(np.float64) for name in ("purchases", "amount", "square"))
    )


@dataclass(frozen=True)
class Forecast:
    """The total of a window.

    Attributes
    ----------
    total
        Expected spend, at the median of the level.
    level_sd
        How uncertain the level is that all customers share: standard deviation of its logarithm.
    chance
        Variance of the total, relative to its square, that is left to the chance of single purchases.
    season
        Factor of the window's time of the year, against the year as a whole.
    season_seen
        Share of the window's days of the year of which the history has seen at least one.
    """

    cutoff: date
    horizon_days: int
    total: float
    level_sd: float
    chance: float
    season: float
    season_seen: float

    def interval(self, share: float) -> tuple[float, float]:
        """Interval that holds what will be spent with probability `share`."""
        low, high = total_interval(
            np.array([self.total]), np.array([self.chance * self.total**2]), self.level_sd, share
        )
        return float(low[0]), float(high[0])

    def surprise(self, spent: float) -> float:
        """How many standard deviations what was spent is off, on the log scale; half a unit's worth for nothing."""
        chance = float(np.log1p(self.chance))
        away = np.log(self.total) - chance / 2 - np.log(max(spent, self.chance * self.total / 2))
        return float(away / np.sqrt(self.level_sd**2 + chance))


@dataclass(frozen=True)
class Window:
    """A closed window that was forecast with what was known at its cutoff, and what was spent in it."""

    forecast: Forecast
    spent: float

    def is_covered(self, share: float) -> bool:
        """Whether the interval held what was spent."""
        low, high = self.forecast.interval(share)
        return low <= self.spent <= high

    def to_json(self, share: float) -> dict[str, Any]:
        """In plain numbers."""
        low, high = self.forecast.interval(share)
        return {
            "cutoff": self.forecast.cutoff.isoformat(),
            "forecast": self.forecast.total,
            "low": low,
            "high": high,
            "spent": self.spent,
        }


def track_record(ledger: Ledger, cutoff: date, horizon_days: int) -> tuple[Window, ...]:
    """Forecasts of the windows that had closed by `cutoff`, the latest first, each with what was known at its own.

    A window needs as long a history before it as it is long itself.
    """
    known = ledger.until(cutoff)
    begin = _EPOCH + timedelta(days=int(known.first.min()))
    windows: list[Window] = []
    for back in range(RECORD_WINDOWS):
        past = cutoff - timedelta(days=horizon_days + back * RECORD_SPACING)
        if (past - begin).days + 1 < max(horizon_days, FEWEST_DAYS):
            break
        windows.append(Window(forecast(known, past, horizon_days), known.spent(past, horizon_days)))
    return tuple(windows)


@dataclass(frozen=True)
class Level:
    """The level of a shop at a cutoff.

    Attributes
    ----------
    forecast
        Of the total; its uncertainty is widened or narrowed by the shop's own record.
    record
        Closed windows it was tried out on, the latest first.
    """

    forecast: Forecast
    record: tuple[Window, ...]

    def apply(self, predictor: Predictor, today: pd.DataFrame) -> Predictor:
        """Bring a predictor to this level; `today` has the features of all customers at the cutoff."""
        predicted = float(replace(predictor, level=1.0).predict_parts(today).expected_value.sum())
        return replace(predictor, level=self.forecast.total / predicted if predicted > 0 else 1.0)

    def covered(self, share: float) -> int:
        """How many windows of the record ended within their interval."""
        return sum(window.is_covered(share) for window in self.record)

    def to_json(self, share: float, factor: float) -> dict[str, Any]:
        """What ``model.json`` says of it, in plain numbers and one sentence; `factor` is the predictor's level."""
        low, high = self.forecast.interval(share)
        return {
            "factor": factor,
            "total": self.forecast.total,
            "total_low": low,
            "total_high": high,
            "sd": self.forecast.level_sd,
            "chance": self.forecast.chance,
            "season": self.forecast.season,
            "season_seen": self.forecast.season_seen,
            "windows": len(self.record),
            "windows_covered": self.covered(share),
            "record": [window.to_json(share) for window in reversed(self.record)],
            "note": self.note(share, factor),
        }

    def note(self, share: float, factor: float) -> str:
        """What was done, in plain words."""
        seen = self.forecast.season_seen
        season = (
            f"the shop has seen this time of the year before, {self.forecast.season:.2f} times as busy as the average"
            if seen > 0.5
            else "the shop has not seen this time of the year before, and what season it is widens the interval"
        )
        record = (
            f"{self.covered(share)} of {len(self.record)} closed windows, forecast the same way, ended within their "
            f"{share:.0%} interval"
            if self.record
            else "no window of this length has closed yet that it could be tried out on"
        )
        return (
            f"The total is forecast from the shop's own history, and all purchase rates are multiplied by "
            f"{factor:.2f} to meet it; {season}; {record}."
        )


def fit_level(ledger: Ledger, cutoff: date, horizon_days: int) -> Level:
    """Forecast the total after `cutoff`, and closed windows before it to see how good such forecasts are.

    The spread of the forecast is scaled by how far off, in its own terms, forecasts of closed windows were. Their mean
    error is not taken over: it says next to nothing of the next error.
    """
    record = track_record(ledger, cutoff, horizon_days)
    now = forecast(ledger, cutoff, horizon_days)
    scale = _scale(record, horizon_days)
    total_variance = now.level_sd**2 + np.log1p(now.chance)
    # The chance of single purchases is known well; what the record adds or takes away is the level's.
    level_variance = max(scale**2 * total_variance - np.log1p(now.chance), (now.level_sd / 2) ** 2)
    return Level(replace(now, level_sd=float(np.sqrt(level_variance))), record)


def _scale(record: Sequence[Window], horizon_days: int) -> float:
    """Root mean square surprise; windows that overlap count as fewer, and the regression's own spread as some."""
    if not record:
        return 1.0
    count = max(1.0, len(record) * min(1.0, RECORD_SPACING / horizon_days))
    square = float(np.mean([window.forecast.surprise(window.spent) ** 2 for window in record]))
    return float(np.sqrt((PRIOR_WINDOWS + count * square) / (PRIOR_WINDOWS + count)))


def forecast(ledger: Ledger, cutoff: date, horizon_days: int) -> Forecast:
    """Forecast what the customers won by `cutoff` will spend in the `horizon_days` after it.

    Nothing after the cutoff is looked at.

    Raises
    ------
    ValueError
        If nobody has bought by the cutoff.
    """
    known = ledger.until(cutoff)
    if not len(known.day):
        raise ValueError(f"Nobody has bought by {cutoff}.")
    # short inner products: on a busy machine BLAS threads make them ten times slower
    with threadpool_limits(1, user_api="blas"):
        return _forecast(_Weeks(known, number(cutoff), horizon_days), cutoff)


class _Weeks:
    """The history as cells of cohort x week, and the window as more of them.

    A cell's customer-days are its exposure: whoever was won by then, from the day after the first purchase on.
    """

    def __init__(self, known: Ledger, cutoff: int, horizon_days: int) -> None:
        self.cutoff, self.horizon_days = cutoff, horizon_days
        self.start = int(known.first.min())
        weeks = min((cutoff - self.start) // STEP + 1, LONGEST_WEEKS)
        self.ahead = -(-horizon_days // STEP)
        won = known.rows(known.first == known.day)
        cohort = (won.first - self.start) // (STEP * COHORT_STEP)
        cohorts = int(cohort.max()) + 1
        week = np.arange(-weeks + 1, self.ahead + 1)
        exposure, log_age, spend = (np.zeros((cohorts, len(week))) for _ in range(3))
        for column, last in enumerate(np.minimum(cutoff + STEP * week, cutoff + horizon_days)):
            begin = np.maximum(cutoff + STEP * (week[column] - 1), won.first) + 1
            days = won.purchases * np.maximum(last - begin + 1, 0)
            age = np.log1p(np.maximum((begin + last) / 2 - won.first, 0) / STEP)
            exposure[:, column] = np.bincount(cohort, days, cohorts)
            log_age[:, column] = np.bincount(cohort, days * age, cohorts)
        later = known.rows((known.day > known.first) & (known.day > cutoff - STEP * weeks))
        place = (later.first - self.start) // (STEP * COHORT_STEP), -((cutoff - later.day) // STEP) + weeks - 1
        np.add.at(spend, place, later.amount)

        rows, columns = np.nonzero(exposure)
        self.exposure = exposure[rows, columns]
        self.log_age = log_age[rows, columns] / self.exposure
        self.spend = np.maximum(spend[rows, columns], 0.0)
        self.week = week[columns]
        self.cohort_week = (rows + 0.5) * COHORT_STEP
        self.day = cutoff + STEP * (self.week - 0.5)
        self.past = self.week <= 0
        self.dispersion = _dispersion(known)

    @cached_property
    def season_seen(self) -> float:
        """Share of the window's days of which the history has seen the same day of a year before."""
        days = self.cutoff + 1 + np.arange(self.horizon_days)
        return float(np.mean(days - 365 >= self.start))


def _dispersion(known: Ledger) -> float:
    """Variance over mean of a sum of repeat purchases; while they are few, first ones have a say in it."""
    is_repeat = known.day > known.first
    square, amount, purchases = (
        np.array([each[is_repeat].sum(), each[~is_repeat].sum()])
        for each in (known.square, known.amount, known.purchases)
    )
    weight = np.array([1.0, FIRST_PURCHASES / max(float(purchases[1]), 1.0)])
    return float(weight @ square / (weight @ amount))


@dataclass(frozen=True)
class _Effect:
    """One block of coefficients: the design's columns, the prior's mean and covariance."""

    design: sparse.csr_array
    mean: Array
    covariance: Array


def _effects(weeks: _Weeks) -> dict[str, _Effect]:
    """All effects; level and season with standard deviation 1, to be scaled."""
    ages = np.linspace(0.0, float(weeks.log_age.max()) + 1e-9, 8)
    level = _knots(float(weeks.week.min()), float(weeks.week.max()), 6.0)
    cohort = _knots(0.0, float(weeks.cohort_week.max()), max(8.0, float(weeks.cohort_week.max()) / 40))
    year = np.arange(18) / 18
    from_gifts = np.abs((365.25 * year - GIFT_DAY + 182.6) % 365.25 - 182.6)
    strength = 1 + (GIFT_FACTOR - 1) * np.exp(-0.5 * (from_gifts / GIFT_DAYS) ** 2)
    wave = np.sin(np.pi * (year[:, None] - year)) / SEASON_LENGTH
    line = np.column_stack([np.ones(len(weeks.log_age)), weeks.log_age - np.log1p(4.0)])
    return {
        "line": _Effect(sparse.csr_array(line), np.array([0.0, SLOPE]), np.diag([2.0**2, SLOPE_SD**2])),
        "bend": _effect(_hats(weeks.log_age, ages), BEND_SD**2 * np.exp(-0.5 * (_gaps(ages) / BEND_LENGTH) ** 2)),
        "cohort": _effect(
            _hats(weeks.cohort_week, cohort), COHORT_SD**2 * np.exp(-np.abs(_gaps(cohort)) / COHORT_WEEKS)
        ),
        "level": _effect(_hats(weeks.week.astype(np.float64), level), np.exp(-np.abs(_gaps(level)) / LEVEL_WEEKS)),
        "season": _effect(
            _hats((_day_of_year(weeks.day) / 365.25) % 1.0, np.append(year, 1.0), periodic=True),
            np.outer(strength, strength) * np.exp(-2 * wave**2),
        ),
    }


def _forecast(weeks: _Weeks, cutoff: date) -> Forecast:
    effects = _effects(weeks)
    design = sparse.hstack([effect.design for effect in effects.values()], format="csr")
    mean = np.concatenate([effect.mean for effect in effects.values()])
    ends = np.cumsum([len(effect.mean) for effect in effects.values()])
    block = {name: slice(end - len(effects[name].mean), end) for name, end in zip(effects, ends, strict=True)}
    precisions = {name: np.linalg.inv(effect.covariance) for name, effect in effects.items()}
    half_logs = {name: 0.5 * np.linalg.slogdet(precision)[1] for name, precision in precisions.items()}
    past, future = weeks.past, ~weeks.past
    spend, seen, ahead = weeks.spend[past], design[past], design[future]
    # with no repeat purchase yet, half of one is taken to have been seen
    rate = max(float(spend.sum()), 0.5 * weeks.dispersion) / max(float(weeks.exposure[past].sum()), 1.0)
    offset = np.log(weeks.exposure * rate)

    def prior(level_sd: float, season_sd: float) -> tuple[Array, float]:
        sds = {"level": level_sd, "season": season_sd}
        precision = np.zeros((len(mean), len(mean)))
        half_log = 0.0
        for name, place in block.items():
            sd = sds.get(name, 1.0)
            precision[place, place] = precisions[name] / sd**2
            half_log += half_logs[name] - len(effects[name].mean) * np.log(sd)
        return precision, half_log

    # The dispersion is that of single purchases, or more where whole weeks differ by more than that explains.
    theta, dispersion = mean, weeks.dispersion
    middle, _ = prior(LEVEL_SDS[len(LEVEL_SDS) // 2], SEASON_SDS[len(SEASON_SDS) // 2])
    for _ in range(3):
        theta, _, _ = _fit(seen, offset[past] - np.log(dispersion), spend / dispersion, mean, middle, theta)
        expected = np.bincount(-weeks.week[past], np.exp(seen @ theta + offset[past]))
        happened = np.bincount(-weeks.week[past], spend)
        used = expected > 0
        excess = ((happened - expected)[used] ** 2 / (weeks.dispersion * expected[used])).sum() / max(used.sum() - 4, 4)
        dispersion = weeks.dispersion * max(1.0, float(excess))

    logs, variances, evidence, seasons = [], [], [], []
    for level_sd in LEVEL_SDS:
        for season_sd in SEASON_SDS:
            precision, half_log = prior(level_sd, season_sd)
            fitted, hessian, fit = _fit(
                seen, offset[past] - np.log(dispersion), spend / dispersion, mean, precision, theta
            )
            each = np.exp(ahead @ fitted + offset[future])
            total = float(each.sum())
            gradient = ahead.T @ each / total
            logs.append(np.log(total))
            variances.append(float(gradient @ np.linalg.solve(hessian, gradient)))
            evidence.append(fit + half_log - 0.5 * np.linalg.slogdet(hessian)[1])
            season = fitted[block["season"]]
            wave = np.exp(effects["season"].design[future] @ season)
            seasons.append(float(wave @ each / total) / float(np.exp(season).mean()))
    weight = np.exp(np.array(evidence) - logsumexp(evidence))
    centre = float(weight @ np.array(logs))
    variance = float(weight @ (np.array(variances) + (np.array(logs) - centre) ** 2))
    total = float(np.exp(centre))
    return Forecast(
        cutoff=cutoff,
        horizon_days=weeks.horizon_days,
        total=total,
        # weeks that differ by more than single purchases explain are nothing that customers do one by one
        level_sd=float(np.sqrt(variance + (dispersion - weeks.dispersion) / total)),
        chance=weeks.dispersion / total,
        season=float(weight @ np.array(seasons)),
        season_seen=weeks.season_seen,
    )


def _fit(
    design: sparse.csr_array, offset: Array, counts: Array, mean: Array, precision: Array, start: Array
) -> tuple[Array, Array, float]:
    """Posterior mode of a Poisson regression by Newton's method, the Hessian there, and the log posterior."""

    def log_posterior(theta: Array) -> float:
        log_mean = design @ theta + offset
        away = theta - mean
        return float(counts @ log_mean - np.exp(np.minimum(log_mean, 60.0)).sum() - 0.5 * away @ precision @ away)

    def hessian(theta: Array) -> tuple[Array, Array]:
        expected = np.exp(np.minimum(design @ theta + offset, 60.0))
        curvature = (design.T @ sparse.diags_array(expected) @ design).toarray() + precision
        return curvature, design.T @ (counts - expected) - precision @ (theta - mean)

    theta, value = start, log_posterior(start)
    for _ in range(50):
        curvature, gradient = hessian(theta)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while (better := log_posterior(theta + size * step)) < value and size > 1e-6:
            size /= 2
        theta, gained, value = theta + size * step, better - value, better
        if gained < 1e-4:
            break
    return theta, hessian(theta)[0], value


def _effect(design: sparse.csr_array, covariance: Array) -> _Effect:
    jitter = 1e-4 * np.diag(np.diag(covariance))
    return _Effect(design, np.zeros(len(covariance)), covariance + jitter)


def _hats(x: Array, knots: Array, *, periodic: bool = False) -> sparse.csr_array:
    """Weights of linear interpolation between knots; where periodic, the last knot is the first one."""
    left = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    share = np.clip((x - knots[left]) / (knots[left + 1] - knots[left]), 0.0, 1.0)
    width = len(knots) - 1 if periodic else len(knots)
    rows = np.concatenate([np.arange(len(x))] * 2)
    columns = np.concatenate([left, (left + 1) % width if periodic else left + 1])
    return sparse.csr_array(sparse.coo_array((np.concatenate([1 - share, share]), (rows, columns)), (len(x), width)))


def _knots(first: float, last: float, step: float) -> Array:
    """Knots up to `last`, from `first` or before, never fewer than two."""
    return last - step * np.arange(max(2, int(np.ceil((last - first) / step)) + 1))[::-1]


def _gaps(knots: Array) -> Array:
    return knots[:, None] - knots


def _day_of_year(day: Array) -> Array:
    """Days since the last 1 January, up to leap days."""
    return (day - number(date(2000, 1, 1))) % 365.25
