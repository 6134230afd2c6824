"""What a shop's history allows: its cutoffs, its default recipe, and the tags by which its runs are found."""

from __future__ import annotations

from clv.errors import InputError
from clv.models.recipe import Recipe, default_recipe
from clv.snapshots import Shop
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
        shop.cutoffs,
        first_purchase_date=shop.first_purchase_date,
        as_of_date=shop.as_of_date,
        horizon_days=shop.horizon_days,
    )


def untuned_recipe(workspace: Workspace) -> Recipe:
    """The default recipe for this shop."""
    protocol = protocol_of(workspace.shop())
    return default_recipe(is_short=protocol.is_short, returners=count_returners(workspace, protocol))


def count_returners(workspace: Workspace, protocol: Plan) -> int:
    """How many labels of who returned the registered model learns from."""
    if not protocol.train:
        return 0
    days = ", ".join(f"date '{cutoff}'" for cutoff in protocol.train)
    [found] = workspace.warehouse.query(
        f"select count(*) as returners from marts.customer_snapshots where is_return and cutoff_date in ({days})"
    ).to_pylist()
    return int(found["returners"])


def shop_tags(shop: Shop) -> dict[str, object]:
    """Tags which let a run be found and reproduced."""
    return {
        "clv.shop_id": shop.shop_id,
        "clv.source": shop.source,
        "clv.data_fingerprint": shop.fingerprint,
        "clv.as_of_date": shop.as_of_date,
        "clv.horizon_days": shop.horizon_days,
    }
