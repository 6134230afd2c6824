{#
    The SELECT that travels inside the model: features straight from orders as a caller of the API sends them.
    It reads two bare relations, `purchases` (order grain) and `cutoffs` (cutoff_date), and nothing else.
#}
with

orders as (

    select
        customer_id,
        order_id,
        category,
        payment_type,
        state,
        cast(amount as {{ type_money() }}) as amount,
        cast(item_count as {{ dbt.type_bigint() }}) as item_count,
        cast(product_count as {{ dbt.type_bigint() }}) as product_count,
        cast(category_count as {{ dbt.type_bigint() }}) as category_count,
        cast(seller_count as {{ dbt.type_bigint() }}) as seller_count,
        cast(instalment_count as {{ dbt.type_bigint() }}) as instalment_count,
        cast(freight_amount as {{ type_money() }}) as freight_amount,
        cast(review_score as {{ dbt.type_bigint() }}) as review_score,
        cast(purchased_at as date) as purchase_date,
        cast(promised_date as date) as promised_date,
        cast(delivered_date as date) as delivered_date,
        cast(review_created_date as date) as review_created_date,
        cast(review_answered_date as date) as review_answered_date
    from purchases

),

days as (

    {{ merge_days('orders') }}

),

features as (

    {{ snapshot_features('days', 'cutoffs') }}

)

select {{ all_but('features', 'customer_key') }}
from features
