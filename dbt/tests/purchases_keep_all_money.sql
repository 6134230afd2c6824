{# Merging days neither loses nor doubles money. #}
with

orders as (

    select coalesce(sum(amount), 0) as amount
    from {{ ref('int_orders__' ~ var('source')) }}
    where purchase_date <= {{ as_of_date() }}

),

purchases as (

    select coalesce(sum(amount), 0) as amount
    from {{ ref('int_purchases') }}

)

select
    orders.amount as order_amount,
    purchases.amount as purchase_amount
from orders
cross join purchases
where orders.amount <> purchases.amount
