"""What customers did after a day, for any day and any horizon.

``customer_snapshots`` holds the labels of one horizon. The same definition applies here: the window is D+1 .. D+H, a
return is a purchase in it, and the value is the net spend, at least 0. Only the days are asked of the warehouse, so
that one query serves both engines; a window that is not complete has no label, never a 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import pandas as pd

from clv.warehouse import Warehouse


def closed(days: Iterable[date], horizon_days: int, as_of_date: date) -> tuple[date, ...]:
    """Those of `days` whose label window is complete, earliest first."""
    return tuple(sorted(day for day in set(days) if (as_of_date - day).days >= horizon_days))


def read_activity(warehouse: Warehouse, days: Iterable[date], horizon_days: int) -> pd.DataFrame:
    """Read what each customer did in the windows after `days`; who did nothing has no row.

    Parameters
    ----------
    days
        Cutoffs whose windows are complete (:func:`closed`).
    horizon_days
        Length of the windows.

    Returns
    -------
    DataFrame
        ``customer_id``, ``cutoff_date``, ``is_return``, ``future_value``.
    """
    columns = ["customer_id", "cutoff_date", "is_return", "future_value"]
    windows = " union all ".join(
        f"select date '{day}' as cutoff_date, date '{day + timedelta(days=horizon_days)}' as label_end_date"
        for day in sorted(set(days))
    )
    if not windows:
        return pd.DataFrame(columns=columns)
    table = warehouse.query(
        f"""
        select
            days.customer_id,
            windows.cutoff_date,
            sum(case when days.is_purchase then 1 else 0 end) > 0 as is_return,
            sum(days.amount) * 1e0 as future_value  -- a double on both engines, which disagree on its name
        from intermediate.int_purchases as days
        inner join ({windows}) as windows
            on days.purchase_date > windows.cutoff_date and days.purchase_date <= windows.label_end_date
        group by days.customer_id, windows.cutoff_date
        """
    )
    frame: pd.DataFrame = table.to_pandas(date_as_object=True)
    frame["future_value"] = frame["future_value"].clip(lower=0.0)
    return frame[columns]


def label(customers: pd.DataFrame, activity: pd.DataFrame) -> pd.DataFrame:
    """Give rows of customers their labels.

    Parameters
    ----------
    customers
        ``customer_id``, ``cutoff_date`` and whatever else; former labels are replaced.
    activity
        From :func:`read_activity`, for all their cutoffs.

    Returns
    -------
    DataFrame
        The same rows in the same order with ``is_return`` and ``future_value``.
    """
    keys = ["customer_id", "cutoff_date"]
    found = customers[keys].merge(activity, on=keys, how="left", validate="many_to_one")
    return customers.assign(
        is_return=(found["is_return"] == True).to_numpy(),  # noqa: E712  (missing counts as no)
        future_value=found["future_value"].fillna(0.0).to_numpy(dtype=float),
    )
