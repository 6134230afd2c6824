{{ config(cluster_by=['customer_id'] if target.type == 'bigquery' else none) }}
with

days as (

    select
        *,
        row_number() over (partition by customer_key, is_purchase order by purchase_date desc) as lateness
    from {{ ref('int_purchases') }}

)

select
    min(customer_id) as customer_id,
    max(case when is_purchase and lateness = 1 then state end) as state,
    {{ total('case when is_purchase then 1 else 0 end') }} as purchase_count,
    {{ total('order_count') }} as order_count,
    cast(sum(amount) as {{ type_money() }}) as amount_total,
    cast(sum(return_amount) as {{ type_money() }}) as return_amount,
    min(case when is_purchase then purchase_date end) as first_purchase_date,
    max(case when is_purchase then purchase_date end) as last_purchase_date
from days
group by customer_key
having sum(case when is_purchase then 1 else 0 end) > 0
