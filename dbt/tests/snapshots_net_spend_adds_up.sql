{# Spend so far at the as-of day is the customers' total. #}
with

snapshots as (

    select
        snapshots.cutoff_date,
        sum(cast(snapshots.amount_total as {{ type_money() }})) as amount
    from {{ ref('customer_snapshots') }} as snapshots
    inner join {{ ref('cutoffs') }} as cutoffs
        on snapshots.cutoff_date = cutoffs.cutoff_date and cutoffs.cutoff_date = cutoffs.as_of_date
    group by snapshots.cutoff_date

),

customers as (

    select sum(amount_total) as amount
    from {{ ref('customers') }}

)

select
    snapshots.amount as snapshot_amount,
    customers.amount as customer_amount
from snapshots
cross join customers
where snapshots.amount <> customers.amount
