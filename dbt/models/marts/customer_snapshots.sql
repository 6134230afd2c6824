{#
    A partition is one cutoff. It is built anew when its facts (`int_cutoffs.fingerprint`) or the code of this model
    have changed, and goes when its cutoff does; all others stay as they are.
#}
{{
    config(
        materialized='incremental',
        incremental_strategy='insert_overwrite' if target.type == 'bigquery' else 'delete+insert',
        unique_key=none if target.type == 'bigquery' else 'cutoff_date',
        on_schema_change='fail',
        partition_by={'field': 'cutoff_date', 'data_type': 'date'} if target.type == 'bigquery' else none,
        cluster_by=['customer_id'] if target.type == 'bigquery' else none,
        pre_hook="{{ drop_partitions(this, 'cutoff_date', ref('int_cutoffs')) }}"
    )
}}
{% set version = local_md5(model.raw_code ~ snapshot_features('days', 'cutoffs'))[:8] %}
with

cutoffs as (

    select
        *,
        {{ dbt.concat(["'" ~ version ~ "-'", 'fingerprint']) }} as partition_fingerprint
    from {{ ref('int_cutoffs') }}

),

changed as (

    select cutoffs.*
    from cutoffs
    {% if is_incremental() -%}
    left join (select distinct cutoff_date, partition_fingerprint from {{ this }}) as built
        on
            cutoffs.cutoff_date = built.cutoff_date
            and cutoffs.partition_fingerprint = built.partition_fingerprint
    where built.cutoff_date is null
    {%- endif %}

),

features as (

    {{ snapshot_features(ref('int_purchases'), 'changed') }}

),

outcomes as (

    select
        days.customer_key,
        changed.cutoff_date,
        sum(case when days.is_purchase then 1 else 0 end) as purchase_count,
        sum(days.amount) as amount
    from {{ ref('int_purchases') }} as days
    inner join changed
        on
            days.purchase_date > changed.cutoff_date
            and days.purchase_date <= changed.label_end_date
    where changed.is_labelled
    group by days.customer_key, changed.cutoff_date

)

select
    {{ all_but('features', 'customer_key') }},
    changed.horizon_days,
    cast(extract(month from {{ add_days('features.cutoff_date', 1) }}) as {{ type_double() }}) as label_start_month,
    case when changed.is_labelled then coalesce(outcomes.purchase_count, 0) > 0 end as is_return,
    case
        when changed.is_labelled
            then cast(greatest(coalesce(outcomes.amount, 0), 0) as {{ type_double() }})
    end as future_value,
    changed.partition_fingerprint
from features
inner join changed on features.cutoff_date = changed.cutoff_date
left join outcomes
    on
        features.customer_key = outcomes.customer_key
        and features.cutoff_date = outcomes.cutoff_date
