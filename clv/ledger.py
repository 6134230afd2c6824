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
        Days since 1970: of the customers' first purchase, and of the spending, never before it.
    is_first
        Whether these are first purchases, or returns from customers who had bought nothing else. One row for each of
        `first`, `day` and this.
    purchases
        Purchases; where `first` and `day` are the same, the number of customers won on that day.
    amount, square
        Their net amounts added up, and the squares of their net amounts.
    """

    first: Days
    day: Days
    is_first: NDArray[np.bool_]
    purchases: Array
    amount: Array
    square: Array

    @classmethod
    def of(cls, customer: ArrayLike, day: ArrayLike, amount: ArrayLike) -> Self:
        """Sum up purchases, one row per customer and day; a day with a negative amount is a return."""
        rows = pd.DataFrame({"customer": customer, "day": np.asarray(day, dtype=np.int64), "amount": amount})
        rows = rows.assign(purchases=rows["amount"] > 0, square=rows["amount"] ** 2)
        first = rows[rows["purchases"]].groupby("customer")["day"].min().rename("first")
        rows = rows.join(first, on="customer", how="inner").query("day >= first")
        second = rows.query("purchases and day > first").groupby("customer")["day"].min().rename("second")
        rows = rows.join(second, on="customer")
        rows["is_first"] = ~(rows["day"] >= rows["second"]) & (rows["amount"] != 0)
        sums = rows.groupby(["first", "day", "is_first"])[["purchases", "amount", "square"]].sum().reset_index()
        return cls(
            sums["first"].to_numpy(np.int64),
            sums["day"].to_numpy(np.int64),
            sums["is_first"].to_numpy(np.bool_),
            *(sums[name].to_numpy(np.float64) for name in ("purchases", "amount", "square")),
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
    return Ledger(first, day, table.column("is_first").to_numpy().astype(np.bool_), purchases, amount, square)
