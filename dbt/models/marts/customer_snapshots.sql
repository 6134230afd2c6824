{{
    config(
        partition_by={'field': 'cutoff_date', 'data_type': 'date'} if target.type == 'bigquery' else none,
        cluster_by=['customer_id'] if target.type == 'bigquery' else none,
        labels={'project': 'clv'} if target.type == 'bigquery' else {}
    )
}}
with

features as (

    {{ snapshot_features(ref('int_purchases'), ref('int_cutoffs')) }}

),

outcomes as (

    select
        days.customer_key,
        cutoffs.cutoff_date,
        sum(case when days.is_purchase then 1 else 0 end) as purchase_count,
        sum(days.amount) as amount
    from {{ ref('int_purchases') }} as days
    inner join {{ ref('int_cutoffs') }} as cutoffs
        on
            days.purchase_date > cutoffs.cutoff_date
            and days.purchase_date <= cutoffs.label_end_date
    where cutoffs.is_labelled
    group by days.customer_key, cutoffs.cutoff_date

)

select
    {{ all_but('features', 'customer_key') }},
    cutoffs.horizon_days,
    cast(extract(month from {{ add_days('features.cutoff_date', 1) }}) as {{ type_double() }}) as label_start_month,
    case when cutoffs.is_labelled then coalesce(outcomes.purchase_count, 0) > 0 end as is_return,
    case
        when cutoffs.is_labelled
            then cast(greatest(coalesce(outcomes.amount, 0), 0) as {{ type_double() }})
    end as future_value
from features
inner join {{ ref('int_cutoffs') }} as cutoffs on features.cutoff_date = cutoffs.cutoff_date
left join outcomes
    on
        features.customer_key = outcomes.customer_key
        and features.cutoff_date = outcomes.cutoff_date
