"""What a shop's history allows: its cutoffs, its default recipe, and the tags by which its runs are found."""

from __future__ import annotations

from clv.errors import InputError
from clv.models.recipe import Recipe, default_recipe
from clv.snapshots import MOST_ROWS, Shop
from clv.splits import Plan, plan
from experiments.workspace import Workspace


def protocol_of(shop: Shop) -> Plan:
    """Which cutoffs train, tune and test for this shop.

    Raises
    ------
    InputError
        If there is but one customer, or less history than twice the horizon.
    """
    if shop.customers < 2:
        raise InputError(
            f"The shop has {shop.customers} customer by {shop.as_of_date}; a model needs several, so load more of them."
        )
    return plan(
        shop.returners,
        first_purchase_date=shop.first_purchase_date,
        as_of_date=shop.as_of_date,
        horizon_days=shop.horizon_days,
    )


def untuned_recipe(workspace: Workspace) -> Recipe:
    """The default recipe for this shop."""
    shop = workspace.shop()
    protocol = protocol_of(shop)
    return default_recipe(is_short=protocol.is_short, returners=count_returners(shop, protocol))


def count_returners(shop: Shop, protocol: Plan) -> int:
    """How many labels of who returned the registered model learns from: of a very large shop those in its sample."""
    share = MOST_ROWS / max(sum(shop.snapshots[cutoff] for cutoff in protocol.cutoffs), 1)
    return round(min(share, 1.0) * sum(shop.returners[cutoff] for cutoff in protocol.train))


def shop_tags(shop: Shop) -> dict[str, object]:
    """Tags which let a run be found and reproduced."""
    return {
        "clv.shop_id": shop.shop_id,
        "clv.source": shop.source,
        "clv.data_fingerprint": shop.fingerprint,
        "clv.as_of_date": shop.as_of_date,
        "clv.horizon_days": shop.horizon_days,
    }
