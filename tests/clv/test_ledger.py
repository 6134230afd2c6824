from datetime import date

import numpy as np
import pandas as pd

from clv.ledger import Ledger, number

C = date(2018, 3, 31)


def rows(seed: int = 0, n: int = 400) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "customer": draw.integers(0, 60, n),
            "day": number(C) + draw.integers(-90, 60, n),
            "amount": draw.choice([-20.0, 30.0, 50.0], n, p=[0.1, 0.5, 0.4]),
        }
    )
    return frame.groupby(["customer", "day"], as_index=False).sum()


def test_the_ledger_holds_every_purchase_of_who_has_bought() -> None:
    data = rows()
    ledger = Ledger.of(data["customer"], data["day"], data["amount"])
    first = data[data["amount"] > 0].groupby("customer")["day"].min()
    counted = data[data["day"] >= data["customer"].map(first)]
    assert ledger.amount.sum() == counted["amount"].sum()
    assert ledger.square.sum() == (counted["amount"] ** 2).sum()
    assert ledger.customers == len(first)
    assert (ledger.day >= ledger.first).all()


def test_what_is_spent_after_a_cutoff_is_that_of_known_customers_less_returns() -> None:
    data = rows(1)
    ledger = Ledger.of(data["customer"], data["day"], data["amount"])
    day = data["day"] - number(C)
    known = set(data.loc[(day <= 0) & (data["amount"] > 0), "customer"])
    window = data[(day > 0) & (day <= 30) & data["customer"].isin(known)]
    assert ledger.spent(C, 30) == window["amount"].sum()


def test_what_was_known_holds_no_later_row() -> None:
    data = rows(2)
    ledger = Ledger.of(data["customer"], data["day"], data["amount"])
    known = ledger.until(C)
    early = data[data["day"] <= number(C)]
    np.testing.assert_array_equal(known.amount, Ledger.of(early["customer"], early["day"], early["amount"]).amount)
