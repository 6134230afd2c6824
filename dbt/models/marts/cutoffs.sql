with

customers as (

    select
        customer_key,
        min(purchase_date) as first_purchase_date
    from {{ ref('int_purchases') }}
    where is_purchase
    group by customer_key

),

arrivals as (

    select
        first_purchase_date,
        count(*) as customer_count
    from customers
    group by first_purchase_date

)

select
    cutoffs.cutoff_date,
    cutoffs.horizon_days,
    cutoffs.label_end_date,
    cutoffs.as_of_date,
    cutoffs.is_labelled,
    cast(coalesce(sum(arrivals.customer_count), 0) as {{ dbt.type_bigint() }}) as customer_count
from {{ ref('int_cutoffs') }} as cutoffs
left join arrivals on arrivals.first_purchase_date <= cutoffs.cutoff_date
group by
    cutoffs.cutoff_date, cutoffs.horizon_days, cutoffs.label_end_date, cutoffs.as_of_date, cutoffs.is_labelled
