"""A shop's history as a whole: what the customers won on one day spent on each later one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from clv.predictor import Array
from clv.warehouse import Warehouse

Days = NDArray[np.int64]

EPOCH = date(1970, 1, 1)


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

    @property
    def customers(self) -> int:
        """How many customers have bought."""
        return int(self.purchases[self.first == self.day].sum())

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
    return (day - EPOCH).days


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
