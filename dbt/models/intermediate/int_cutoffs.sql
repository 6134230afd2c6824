{#
    Cutoffs lie on the calendar (month ends; Sundays for horizons under 45 days), so that one more day of history
    leaves the old ones where they are. Beside them: the latest day whose label window is complete, and the as-of
    day, whose customers are to be predicted.
#}
{% set horizon_days = var('horizon_days') | int %}
with

history as (

    select
        min(case when is_purchase then purchase_date end) as first_purchase_date,
        {{ as_of_date() }} as as_of_date
    from {{ ref('int_purchases') }}

),

bounds as (

    select
        first_purchase_date,
        as_of_date,
        {{ add_days('first_purchase_date', [horizon_days, 30] | min) }} as first_cutoff_date,
        {{ add_days('as_of_date', -horizon_days) }} as last_labelled_date
    from history

),

days as (

    {{ calendar('bounds', 'first_purchase_date', 'as_of_date') }}

),

anchored as (

    select
        days.calendar_date as cutoff_date,
        row_number() over (order by days.calendar_date desc) as lateness
    from days
    inner join bounds
        on
            days.calendar_date >= bounds.first_cutoff_date
            and days.calendar_date <= bounds.last_labelled_date
    where
        {% if horizon_days >= 45 -%}
        extract(day from {{ add_days('days.calendar_date', 1) }}) = 1
        {%- else -%}
        {{ iso_weekday('days.calendar_date') }} = 7
        {%- endif %}

),

chosen as (

    select cutoff_date
    from anchored
    where lateness <= 36

    union distinct

    select last_labelled_date as cutoff_date
    from bounds
    where last_labelled_date >= first_purchase_date

    union distinct

    select as_of_date as cutoff_date
    from bounds

)

select
    chosen.cutoff_date,
    cast({{ horizon_days }} as {{ dbt.type_bigint() }}) as horizon_days,
    {{ add_days('chosen.cutoff_date', horizon_days) }} as label_end_date,
    bounds.as_of_date,
    chosen.cutoff_date <= bounds.last_labelled_date as is_labelled
from chosen
cross join bounds
