"""A shop's history as a whole: what the customers won on one day spent on each later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from clv.predictor import Array
from clv.warehouse import Warehouse

Days = NDArray[np.int64]
Windows = Mapping[int, Sequence[date]]
"""Cutoffs by the length of the window after them, in days."""

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Ledger:
    """What the customers won on one day spent on another: a shop's history as a whole, however many customers it has.

    Attributes
    ----------
    first, day
        Days since 1970: of the customers' first purchase, and of the spending, never before it.
    is_first
        Whether these are first purchases, or returns from customers who had bought nothing else. One row for each of
        `first`, `day` and this.
    purchases
        Purchases; where `first` and `day` are the same, the number of customers won on that day.
    amount, square
        Their net amounts added up, and the squares of their net amounts.
    labels
        What the customers won by a cutoff spent in the days after it, none of them less than 0, by cutoff and number of
        days; only where there are returns, without which it is what :meth:`spent` says.
    """

    first: Days
    day: Days
    is_first: NDArray[np.bool_]
    purchases: Array
    amount: Array
    square: Array
    labels: Mapping[tuple[date, int], float] = field(default_factory=dict)

    @classmethod
    def of(cls, customer: ArrayLike, day: ArrayLike, amount: ArrayLike, windows: Windows | None = None) -> Self:
        """Sum up purchases, one row per customer and day; a day with a negative amount is a return."""
        rows = pd.DataFrame({"customer": customer, "day": np.asarray(day, dtype=np.int64), "amount": amount})
        rows = rows.assign(purchases=rows["amount"] > 0, square=rows["amount"] ** 2)
        has_returns = bool((rows["amount"] < 0).any())
        first = rows[rows["purchases"]].groupby("customer")["day"].min().rename("first")
        rows = rows.join(first, on="customer", how="inner").query("day >= first")
        second = rows.query("purchases and day > first").groupby("customer")["day"].min().rename("second")
        rows = rows.join(second, on="customer")
        rows["is_first"] = ~(rows["day"] >= rows["second"]) & (rows["amount"] != 0)
        labels = {}
        for horizon_days, cutoffs in (windows or {}).items() if has_returns else ():
            for cutoff in cutoffs:
                after = rows["day"] - number(cutoff)
                window = rows[(rows["first"] <= number(cutoff)) & (after > 0) & (after <= horizon_days)]
                net = window.groupby("customer")["amount"].sum()
                labels[cutoff, horizon_days] = float(net.clip(lower=0.0).sum())
        sums = rows.groupby(["first", "day", "is_first"])[["purchases", "amount", "square"]].sum().reset_index()
        purchases, amounts, squares = (sums[name].to_numpy(np.float64) for name in ("purchases", "amount", "square"))
        return cls(
            sums["first"].to_numpy(np.int64),
            sums["day"].to_numpy(np.int64),
            sums["is_first"].to_numpy(np.bool_),
            purchases,
            amounts,
            squares,
            labels,
        )

    def rows(self, chosen: NDArray[np.bool_]) -> Self:
        """Some of the rows."""
        return replace(
            self,
            first=self.first[chosen],
            day=self.day[chosen],
            is_first=self.is_first[chosen],
            purchases=self.purchases[chosen],
            amount=self.amount[chosen],
            square=self.square[chosen],
        )

    @property
    def customers(self) -> int:
        """How many customers have bought."""
        return int(self.purchases[self.first == self.day].sum())

    def until(self, cutoff: date) -> Self:
        """What was known at the end of `cutoff`."""
        return self.rows(self.day <= number(cutoff))

    def spent(self, cutoff: date, horizon_days: int) -> float:
        """What the customers won by `cutoff` spent together in the `horizon_days` after it, less returns.

        Returns from who has bought nothing since the first purchase are not counted, as no label is below 0.
        """
        start = number(cutoff)
        chosen = (self.first <= start) & (self.day > start) & (self.day <= start + horizon_days) & ~self.is_first
        return max(float(self.amount[chosen].sum()), 0.0)

    def floor(self, cutoff: date, horizon_days: int) -> float:
        """How many times what was spent the labels of windows closed by `cutoff` are, as none of them is below 0.

        Who gives back more in a window than they buy takes from the sum of what is spent, and nothing from the labels.
        """
        last = cutoff - timedelta(days=horizon_days)
        closed = [known for known, days in self.labels if days == horizon_days and known <= last]
        spent = sum(self.spent(known, horizon_days) for known in closed)
        return max(sum(self.labels[known, horizon_days] for known in closed) / spent, 1.0) if spent > 0 else 1.0


def number(day: date) -> int:
    """Days since 1970."""
    return (day - EPOCH).days


def read_ledger(warehouse: Warehouse, windows: Windows) -> Ledger:
    """Read the shop's ledger; its size depends on the days of history, not on the customers.

    Parameters
    ----------
    windows
        Those whose labels are to be added up.
    """
    table = warehouse.query(
        """
        with firsts as (
            select customer_key, min(purchase_date) as first_date
            from intermediate.int_purchases
            where is_purchase
            group by customer_key
        ),
        seconds as (
            select days.customer_key, min(days.purchase_date) as second_date
            from intermediate.int_purchases as days
            inner join firsts on days.customer_key = firsts.customer_key
            where days.is_purchase and days.purchase_date > firsts.first_date
            group by days.customer_key
        ),
        days as (
            select
                firsts.first_date,
                days.purchase_date,
                coalesce(days.purchase_date < seconds.second_date, true) and days.amount <> 0 as is_first,
                days.is_purchase,
                days.amount
            from intermediate.int_purchases as days
            inner join firsts on days.customer_key = firsts.customer_key
            left join seconds on days.customer_key = seconds.customer_key
            where days.purchase_date >= firsts.first_date
        )
        select
            first_date,
            purchase_date,
            is_first,
            sum(case when is_purchase then 1 else 0 end) as purchases,
            sum(amount) * 1e0 as amount,
            sum(amount * 1e0 * amount) as square
        from days
        group by first_date, purchase_date, is_first
        order by first_date, purchase_date, is_first
        """
    )
    first, day = (
        table.column(name).to_numpy().astype("datetime64[D]").astype(np.int64)
        for name in ("first_date", "purchase_date")
    )
    purchases, amount, square = (
        table.column(name).to_numpy().astype(np.float64) for name in ("purchases", "amount", "square")
    )
    is_first = table.column("is_first").to_numpy().astype(np.bool_)
    has_returns = warehouse.query("select count(*) as returns from intermediate.int_purchases where amount < 0")
    labels = _labels(warehouse, windows) if has_returns.to_pylist()[0]["returns"] else {}
    return Ledger(first, day, is_first, purchases, amount, square, labels)


def _labels(warehouse: Warehouse, windows: Windows) -> dict[tuple[date, int], float]:
    """What the customers won by each cutoff spent after it, none of them less than 0."""
    days = " union all ".join(
        f"select date '{cutoff}' as cutoff_date, date '{cutoff + timedelta(days=horizon_days)}' as label_end_date, "
        f"{horizon_days} as horizon_days"
        for horizon_days, cutoffs in windows.items()
        for cutoff in cutoffs
    )
    if not days:
        return {}
    table = warehouse.query(
        f"""
        with firsts as (
            select customer_key, min(purchase_date) as first_date
            from intermediate.int_purchases
            where is_purchase
            group by customer_key
        ),
        nets as (
            select windows.cutoff_date, windows.horizon_days, days.customer_key, sum(days.amount) * 1e0 as net
            from intermediate.int_purchases as days
            inner join firsts on days.customer_key = firsts.customer_key
            inner join ({days}) as windows
                on firsts.first_date <= windows.cutoff_date
                and days.purchase_date > windows.cutoff_date
                and days.purchase_date <= windows.label_end_date
            group by windows.cutoff_date, windows.horizon_days, days.customer_key
        )
        select cutoff_date, horizon_days, sum(case when net > 0 then net else 0 end) as label
        from nets
        group by cutoff_date, horizon_days
        order by cutoff_date, horizon_days
        """
    )
    return {(row["cutoff_date"], int(row["horizon_days"])): float(row["label"]) for row in table.to_pylist()}
