with

orders as (

    select * from {{ ref('stg_olist__orders') }}
    where order_status not in ('canceled', 'unavailable')

),

customers as (

    select * from {{ ref('stg_olist__customers') }}

),

items as (

    select
        items.order_id,
        items.product_id,
        items.seller_id,
        items.price,
        items.freight_amount,
        coalesce(translations.category, products.category_portuguese) as category,
        row_number() over (
            partition by items.order_id order by items.price desc, items.order_item_number
        ) as price_rank
    from {{ ref('stg_olist__order_items') }} as items
    left join {{ ref('stg_olist__products') }} as products
        on items.product_id = products.product_id
    left join {{ ref('stg_olist__category_translations') }} as translations
        on products.category_portuguese = translations.category_portuguese

),

baskets as (

    select
        order_id,
        count(*) as item_count,
        count(distinct product_id) as product_count,
        count(distinct category) as category_count,
        count(distinct seller_id) as seller_count,
        sum(price) as price_total,
        sum(freight_amount) as freight_amount,
        max(case when price_rank = 1 then category end) as category
    from items
    group by order_id

),

payments as (

    select
        *,
        row_number() over (
            partition by order_id order by payment_amount desc, payment_number
        ) as amount_rank
    from {{ ref('stg_olist__order_payments') }}

),

receipts as (

    select
        order_id,
        sum(payment_amount) as payment_total,
        max(case when amount_rank = 1 then payment_type end) as payment_type,
        max(case when amount_rank = 1 then instalment_count end) as instalment_count
    from payments
    group by order_id

),

reviews as (

    select
        *,
        row_number() over (
            partition by order_id
            order by review_created_at nulls last, review_answered_at nulls last, review_id
        ) as creation_rank
    from {{ ref('stg_olist__order_reviews') }}

)

select
    customers.customer_id,
    orders.order_id,
    baskets.category,
    receipts.payment_type,
    customers.state,
    cast(
        coalesce(receipts.payment_total, baskets.price_total + baskets.freight_amount, 0) as {{ type_money() }}
    ) as amount,
    baskets.item_count,
    baskets.product_count,
    baskets.category_count,
    baskets.seller_count,
    receipts.instalment_count,
    cast(baskets.freight_amount as {{ type_money() }}) as freight_amount,
    reviews.review_score,
    cast(orders.purchased_at as date) as purchase_date,
    cast(orders.promised_at as date) as promised_date,
    cast(orders.delivered_at as date) as delivered_date,
    cast(reviews.review_created_at as date) as review_created_date,
    cast(reviews.review_answered_at as date) as review_answered_date
from orders
inner join customers on orders.order_customer_id = customers.order_customer_id
left join baskets on orders.order_id = baskets.order_id
left join receipts on orders.order_id = receipts.order_id
left join reviews on orders.order_id = reviews.order_id and reviews.creation_rank = 1
