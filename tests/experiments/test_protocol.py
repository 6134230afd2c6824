"""What a shop's history allows, and how many labels its model learns from."""

from datetime import date, timedelta

from clv.snapshots import MOST_ROWS, Shop
from experiments.protocol import count_returners, protocol_of

START = date(2017, 1, 1)


def shop(customers: int) -> Shop:
    """A shop with as many customers at each of 24 cutoffs, a tenth of whom return."""
    cutoffs = [START + timedelta(30 * month) for month in range(1, 25)]
    return Shop(
        shop_id="s",
        source="transactions",
        currency="EUR",
        fingerprint="f",
        first_purchase_date=START,
        as_of_date=cutoffs[-1] + timedelta(60),
        horizon_days=60,
        snapshots=dict.fromkeys(cutoffs, customers),
        returners=dict.fromkeys(cutoffs, customers // 10),
        customers=customers,
    )


def test_every_returner_before_today_is_learnt_from() -> None:
    protocol = protocol_of(shop(5000))
    assert count_returners(shop(5000), protocol) == 500 * len(protocol.train)


def test_of_a_very_large_shop_those_in_the_sample_are() -> None:
    large = shop(1_000_000)
    protocol = protocol_of(large)
    assert len(protocol.folds) == 3  # how many are sampled is no reason not to tune
    assert count_returners(large, protocol) == round(MOST_ROWS * 0.1 * len(protocol.train) / len(protocol.cutoffs))
