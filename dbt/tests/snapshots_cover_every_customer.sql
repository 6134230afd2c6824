{# Each cutoff has exactly one snapshot per customer with a purchase by then, and no other cutoff has any. #}
with

snapshots as (

    select
        cutoff_date,
        count(*) as snapshot_count
    from {{ ref('customer_snapshots') }}
    group by cutoff_date

)

select
    cutoffs.cutoff_date,
    cutoffs.customer_count,
    snapshots.snapshot_count
from {{ ref('cutoffs') }} as cutoffs
full outer join snapshots on cutoffs.cutoff_date = snapshots.cutoff_date
where coalesce(cutoffs.customer_count, -1) <> coalesce(snapshots.snapshot_count, 0)
