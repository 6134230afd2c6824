{# Features that say related things may not contradict each other; above all, nothing is later than the cutoff. #}
select
    customer_id,
    cutoff_date
from {{ ref('customer_snapshots') }}
where
    recency_days > tenure_days
    or purchase_count_30d > purchase_count_90d
    or purchase_count_90d > purchase_count_180d
    or purchase_count_180d > purchase_count_365d
    or purchase_count_365d > purchase_count
    or (purchase_count_30d > 0) <> (recency_days < 30)
    or (purchase_count = 1) <> (recency_days = tenure_days)
    or (purchase_count = 1) <> (gap_mean_days is null)
    or (purchase_count < 3) <> (gap_sd_days is null)
    or amount_last > amount_max
    or amount_first > amount_max
    or order_count < purchase_count
    or first_delivery_days > tenure_days
    or last_delivery_days > recency_days
