"""Write baskets as Olist's tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from clv.synth.clock import DAY, HOUR, Floats, Integers, Seconds, seconds
from clv.synth.ids import Stream, generator, hex_ids
from clv.synth.shop import Shop
from clv.synth.simulate import Baskets, split_baskets

CUSTOMERS = "olist_customers_dataset.csv"
ORDERS = "olist_orders_dataset.csv"
ITEMS = "olist_order_items_dataset.csv"
PAYMENTS = "olist_order_payments_dataset.csv"
REVIEWS = "olist_order_reviews_dataset.csv"
PRODUCTS = "olist_products_dataset.csv"
SELLERS = "olist_sellers_dataset.csv"
TRANSLATION = "product_category_name_translation.csv"

PRODUCTS_PER_CATEGORY = 200
_SELLERS = 150
_FAILED_SHARE = 0.006
_ONLY_FAILED_SHARE = 0.004
_TWO_PAYMENTS_SHARE = 0.03

_PLACES = {
    "SP": (1000, 19999, "sao paulo", "campinas"),
    "RJ": (20000, 28999, "rio de janeiro", "niteroi"),
    "MG": (30000, 39999, "belo horizonte", "uberlandia"),
    "RS": (90000, 99999, "porto alegre", "caxias do sul"),
    "PR": (80000, 87999, "curitiba", "londrina"),
    "SC": (88000, 89999, "florianopolis", "joinville"),
    "BA": (40000, 48999, "salvador", "feira de santana"),
    "DF": (70000, 72799, "brasilia", "guara"),
    "GO": (72800, 76799, "goiania", "anapolis"),
    "PE": (50000, 56999, "recife", "olinda"),
    "CE": (60000, 63999, "fortaleza", "sobral"),
}
_COMMENTS = (
    None,
    ("Não recomendo", "Produto não chegou, péssimo"),
    (None, "Veio errado; pedi \"azul\" e recebi preto"),
    (None, "Demorou,\nmas chegou"),
    ("Bom", "Bom produto, dentro do prazo"),
    ("Super recomendo", "Chegou antes do prazo, ótimo!"),
)  # fmt: skip
_COMMENTED_SHARE = 0.4


@dataclass(frozen=True)
class Catalogue:
    """Products and sellers, the same for every size of a shop; product ``i`` is of category ``i // 200``."""

    product_ids: pa.StringArray
    seller_ids: pa.StringArray
    seller_of_product: Integers
    tables: dict[str, pa.Table]


def catalogue(shop: Shop) -> Catalogue:
    """Draw the products and sellers of a shop."""
    rng = generator(shop, Stream.CATALOGUE)
    n = len(shop.categories) * PRODUCTS_PER_CATEGORY
    product_ids, seller_ids = hex_ids(n, rng), hex_ids(_SELLERS, rng)
    names = np.array([c.name for c in shop.categories], dtype=object)
    products = {
        "product_id": product_ids,
        "product_category_name": np.repeat(names, PRODUCTS_PER_CATEGORY),
        "product_name_lenght": rng.integers(20, 64, n),
        "product_description_lenght": rng.integers(50, 3_000, n),
        "product_photos_qty": rng.integers(1, 7, n),
        "product_weight_g": np.rint(rng.lognormal(6.7, 1.1, n)) + 50,
        "product_length_cm": rng.integers(16, 70, n),
        "product_height_cm": rng.integers(2, 50, n),
        "product_width_cm": rng.integers(11, 60, n),
    }
    states, shares, _ = shop.states
    state = rng.choice(len(states), size=_SELLERS, p=shares)
    sellers = {"seller_id": seller_ids, **_addresses("seller", states, state, rng)}
    translation = {
        "product_category_name": names,
        "product_category_name_english": [c.english for c in shop.categories],
    }
    return Catalogue(
        product_ids,
        seller_ids,
        rng.integers(0, _SELLERS, n),
        {PRODUCTS: pa.table(products), SELLERS: pa.table(sellers), TRANSLATION: pa.table(translation)},
    )


def tables(
    shop: Shop, goods: Catalogue, baskets: Baskets, customer_ids: pa.StringArray, rng: np.random.Generator
) -> dict[str, pa.Table]:
    """Olist's tables of a chunk's baskets, as an export made at the end of the shop's last day would hold them.

    What happens later (deliveries, reviews) is empty or missing. A few orders failed (canceled, unavailable): they
    are no purchases, and a few people have nothing else.
    """
    orders = _with_failed(shop, _purchases(baskets, rng), baskets.customers, rng)
    n, people = len(orders), int(orders["customer"].max()) + 1
    everyone = pa.concat_arrays([customer_ids, hex_ids(people - len(customer_ids), rng)])
    order_ids, order_customer_ids = hex_ids(n, rng), hex_ids(n, rng)
    states = shop.states[0]
    state_of = np.zeros(people, dtype=np.int64)
    state_of[orders["customer"]] = orders["state"]
    addresses = pa.table(_addresses("customer", states, state_of, rng))
    person = pa.array(orders["customer"].to_numpy())
    customers = pa.table({"customer_id": order_customer_ids, "customer_unique_id": everyone.take(person)})
    for name in addresses.column_names:
        customers = customers.append_column(name, addresses[name].take(person))
    return {
        CUSTOMERS: customers,
        ORDERS: _orders(shop, orders, order_ids, order_customer_ids, rng),
        ITEMS: _items(goods, orders, order_ids, rng),
        PAYMENTS: _payments(shop, orders, order_ids, rng),
        REVIEWS: _reviews(shop, orders, order_ids, rng),
    }


def _purchases(baskets: Baskets, rng: np.random.Generator) -> pd.DataFrame:
    basket, cents = split_baskets(baskets, rng)
    e = baskets.experience
    columns = {
        "customer": baskets.customer,
        "moment": baskets.moment,
        "category": baskets.category,
        "payment": baskets.payment,
        "state": baskets.state,
        "lead_days": e.lead_days,
        "delivery_days": e.delivery_days,
        "review": e.review,
        "review_days": e.review_days,
    }
    # One delivery and one review per basket: its orders were one shopping trip.
    hour = rng.integers(8 * HOUR, 21 * HOUR, baskets.moment.size)
    return pd.DataFrame({**columns, "delivery_second": hour}).iloc[basket].assign(cents=cents, failed="")


def _with_failed(shop: Shop, orders: pd.DataFrame, customers: int, rng: np.random.Generator) -> pd.DataFrame:
    """Add failed orders: attempts of customers after an order, and people who have nothing else."""
    again = orders.loc[rng.random(len(orders)) < _FAILED_SHARE]
    again = again.assign(moment=again["moment"] + rng.integers(300, 2 * DAY, len(again)))
    strangers = rng.binomial(customers, _ONLY_FAILED_SHARE)
    models = orders.iloc[rng.integers(0, len(orders), strangers)]
    models = models.assign(
        customer=customers + np.arange(strangers), moment=models["moment"] + rng.integers(0, HOUR, strangers)
    )
    failed = pd.concat([again, models])
    failed = failed.loc[failed["moment"] < seconds(shop.end) + DAY]
    # People whose only attempt fell after the end would leave a gap in the numbering.
    is_stranger = failed["customer"] >= customers
    number = np.where(is_stranger, customers + np.cumsum(is_stranger) - 1, failed["customer"])
    status = np.where(rng.random(len(failed)) < 0.5, "canceled", "unavailable")
    return pd.concat([orders, failed.assign(customer=number, failed=status)], ignore_index=True)


def _orders(
    shop: Shop, orders: pd.DataFrame, order_ids: pa.StringArray, customer_ids: pa.StringArray, rng: np.random.Generator
) -> pa.Table:
    n, stop = len(orders), seconds(shop.end) + DAY
    moment = orders["moment"].to_numpy()
    midnight = moment // DAY * DAY
    delivered = midnight + orders["delivery_days"].to_numpy() * DAY + orders["delivery_second"].to_numpy()
    approved = moment + np.minimum(np.rint(rng.exponential(6 * HOUR, n)), DAY).astype(np.int64)
    shipped = approved + np.rint((delivered - approved) * rng.uniform(0.1, 0.5, n)).astype(np.int64)
    failed = orders["failed"].to_numpy()
    reached = np.select(
        [failed != "", delivered < stop, shipped < stop, approved < stop],
        [failed, "delivered", "shipped", "invoiced"],
        default="created",
    )
    never = np.where(failed == "", stop, 0)
    return pa.table(
        {
            "order_id": order_ids,
            "customer_id": customer_ids,
            "order_status": reached,
            "order_purchase_timestamp": moment.astype("datetime64[s]"),
            "order_approved_at": _known(approved, np.full(n, stop)),
            "order_delivered_carrier_date": _known(shipped, never),
            "order_delivered_customer_date": _known(delivered, never),
            "order_estimated_delivery_date": (midnight + orders["lead_days"].to_numpy() * DAY).astype("datetime64[s]"),
        }
    )


def _items(goods: Catalogue, orders: pd.DataFrame, order_ids: pa.StringArray, rng: np.random.Generator) -> pa.Table:
    """Lines of every order but the unavailable; price and freight add up to the order's cents."""
    n = len(orders)
    cents = orders["cents"].to_numpy()
    freight = np.rint(cents * rng.uniform(0.08, 0.25, n)).astype(np.int64)
    lines = np.where(orders["failed"] == "unavailable", 0, 1 + (rng.random(n) < 0.1) + (rng.random(n) < 0.03))
    order = np.repeat(np.arange(n), lines)
    line = np.arange(order.size) - np.repeat(np.cumsum(lines) - lines, lines)
    # Popular products first; most further lines are more of the same.
    favourite = (PRODUCTS_PER_CATEGORY * rng.random(n) ** 2).astype(np.int64)[order]
    other = (PRODUCTS_PER_CATEGORY * rng.random(order.size) ** 2).astype(np.int64)
    pick = np.where((line == 0) | (rng.random(order.size) < 0.7), favourite, other)
    product = orders["category"].to_numpy()[order] * PRODUCTS_PER_CATEGORY + pick
    limit = orders["moment"].to_numpy() + rng.integers(3 * DAY, 8 * DAY, n)

    def share(total: Integers) -> Floats:
        each = total // np.maximum(lines, 1)
        return np.asarray(np.where(line == 0, total[order] - each[order] * (lines[order] - 1), each[order]) / 100)

    return pa.table(
        {
            "order_id": order_ids.take(pa.array(order)),
            "order_item_id": line + 1,
            "product_id": goods.product_ids.take(pa.array(product)),
            "seller_id": goods.seller_ids.take(pa.array(goods.seller_of_product[product])),
            "shipping_limit_date": limit[order].astype("datetime64[s]"),
            "price": share(cents - freight),
            "freight_value": share(freight),
        }
    )


def _payments(shop: Shop, orders: pd.DataFrame, order_ids: pa.StringArray, rng: np.random.Generator) -> pa.Table:
    """One payment per order; a few are completed by a smaller voucher."""
    n = len(orders)
    cents = orders["cents"].to_numpy()
    names = np.array([t.name for t in shop.payment_types], dtype=object)
    kind = names[orders["payment"].to_numpy()]
    is_card = kind == "credit_card"
    instalments = np.where(is_card, np.minimum(rng.geometric(0.3, n), 10), 1)
    has_two = is_card & (rng.random(n) < _TWO_PAYMENTS_SHARE)
    voucher = np.where(has_two, np.rint(cents * rng.uniform(0.1, 0.4, n)), 0).astype(np.int64)
    order = np.repeat(np.arange(n), 1 + has_two)
    is_second = np.diff(order, prepend=-1) == 0
    return pa.table(
        {
            "order_id": order_ids.take(pa.array(order)),
            "payment_sequential": 1 + is_second,
            "payment_type": np.where(is_second, "voucher", kind[order]),
            "payment_installments": np.where(is_second, 1, instalments[order]),
            "payment_value": np.where(is_second, voucher[order], (cents - voucher)[order]) / 100,
        }
    )


def _reviews(shop: Shop, orders: pd.DataFrame, order_ids: pa.StringArray, rng: np.random.Generator) -> pa.Table:
    """Reviews written by the shop's end."""
    stop = seconds(shop.end) + DAY
    days = (orders["delivery_days"] + orders["review_days"]).to_numpy()
    created = orders["moment"].to_numpy() // DAY * DAY + days * DAY
    written = np.flatnonzero((orders["failed"] == "") & (orders["review"] > 0) & (created < stop))
    created, score = created[written], orders["review"].to_numpy()[written]
    answered = created + rng.integers(HOUR, 4 * DAY, written.size)
    has_comment = rng.random(written.size) < _COMMENTED_SHARE
    comment = np.where(has_comment, score, 0)
    titles = np.array([c[0] if c else None for c in _COMMENTS], dtype=object)
    messages = np.array([c[1] if c else None for c in _COMMENTS], dtype=object)
    return pa.table(
        {
            "review_id": hex_ids(written.size, rng),
            "order_id": order_ids.take(pa.array(written)),
            "review_score": score,
            "review_comment_title": pa.array(titles[comment], pa.string()),
            "review_comment_message": pa.array(messages[comment], pa.string()),
            "review_creation_date": created.astype("datetime64[s]"),
            "review_answer_timestamp": _known(answered, np.full(written.size, stop)),
        }
    )


def _addresses(
    whose: str, states: tuple[str, ...], state: Integers, rng: np.random.Generator
) -> dict[str, NDArray[np.object_]]:
    places = [_PLACES[name] for name in states]
    low, high = np.array([p[0] for p in places])[state], np.array([p[1] for p in places])[state]
    city = np.where(rng.random(state.size) < 0.7, 2, 3)
    return {
        f"{whose}_zip_code_prefix": np.char.zfill(rng.integers(low, high, endpoint=True).astype(str), 5),
        f"{whose}_city": np.array([(p[2], p[3]) for p in places], dtype=object)[state, city - 2],
        f"{whose}_state": np.array(states, dtype=object)[state],
    }


def _known(moments: Seconds, until: Seconds) -> NDArray[np.datetime64]:
    """The moments before `until`; later ones are empty."""
    return np.where(moments < until, moments.astype("datetime64[s]"), np.datetime64("NaT", "s"))
