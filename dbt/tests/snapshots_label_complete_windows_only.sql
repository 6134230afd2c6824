{# A label exists exactly where its window ends by the as-of day, and its parts agree. #}
select
    snapshots.customer_id,
    snapshots.cutoff_date,
    snapshots.is_return,
    snapshots.future_value
from {{ ref('customer_snapshots') }} as snapshots
inner join {{ ref('cutoffs') }} as cutoffs on snapshots.cutoff_date = cutoffs.cutoff_date
where
    (snapshots.is_return is not null) <> (cutoffs.label_end_date <= cutoffs.as_of_date)
    or (snapshots.future_value is not null) <> (cutoffs.label_end_date <= cutoffs.as_of_date)
    or (snapshots.future_value > 0 and not snapshots.is_return)
    or snapshots.horizon_days <> cutoffs.horizon_days
