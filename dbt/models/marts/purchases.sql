{{ config(cluster_by=['customer_id'] if target.type == 'bigquery' else none) }}
select
    customer_id,
    category,
    payment_type,
    state,
    amount,
    return_amount,
    order_count,
    item_count,
    product_count,
    category_count,
    seller_count,
    instalment_count,
    freight_amount,
    review_score,
    purchase_date,
    promised_date,
    delivered_date,
    review_created_date,
    review_answered_date
from {{ ref('int_purchases') }}
where is_purchase
