{#
    Cutoffs lie on the calendar (month ends; Sundays for horizons under 45 days), so that one more day of history
    leaves the old ones where they are. Beside them: the latest day whose label window is complete, and the as-of
    day, whose customers are to be predicted.

    The fingerprint says from which facts the snapshots of a cutoff are made. A fact enters it on the day on which it
    is known: a purchase on its day, a delivery on its date, a review and its answer on theirs. What is known by the
    cutoff makes the features, the purchases of the label window the label; nothing else can change the snapshots.
#}
{% set horizon_days = var('horizon_days') | int %}
{# Fact: dates that must have come for it to be known, and what else it says. -#}
{% set facts = {
    'purchase': [
        ['purchase_date'],
        [
            'amount', 'return_amount', 'order_count', 'item_count', 'product_count', 'category_count', 'seller_count',
            'category', 'payment_type', 'instalment_count', 'freight_amount', 'state'
        ]
    ],
    'delivery': [['purchase_date', 'delivered_date'], ['promised_date']],
    'review': [['purchase_date', 'review_created_date'], []],
    'answer': [['purchase_date', 'review_created_date', 'review_answered_date'], ['review_score']]
} %}
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

),

labelled as (

    select
        chosen.cutoff_date,
        bounds.as_of_date,
        {{ add_days('chosen.cutoff_date', horizon_days) }} as label_end_date,
        chosen.cutoff_date <= bounds.last_labelled_date as is_labelled
    from chosen
    cross join bounds

),

facts as (

    {% for fact, (dates, columns) in facts.items() -%}
    select
        '{{ fact }}' as fact,
        greatest({{ dates | join(', ') }}) as known_date,
        {{ checksum(["'" ~ fact ~ "'", 'customer_id'] + dates + columns) }} as fact_sum
    from {{ ref('int_purchases') }}
    where {{ dates | join(' is not null and ') }} is not null
    {%- if not loop.last %}

    union all

    {% endif -%}
    {%- endfor %}

),

known as (

    select
        fact,
        known_date,
        sum(fact_sum) as fact_sum
    from facts
    group by fact, known_date

),

sums as (

    select
        labelled.cutoff_date,
        sum(case when known.known_date <= labelled.cutoff_date then known.fact_sum end) as feature_sum,
        sum(
            case
                when known.fact = 'purchase' and known.known_date > labelled.cutoff_date and labelled.is_labelled
                    then known.fact_sum
            end
        ) as label_sum
    from labelled
    inner join known on known.known_date <= labelled.label_end_date
    group by labelled.cutoff_date

)

select
    labelled.cutoff_date,
    cast({{ horizon_days }} as {{ dbt.type_bigint() }}) as horizon_days,
    labelled.label_end_date,
    labelled.as_of_date,
    labelled.is_labelled,
    {{ dbt.hash(dbt.concat([
        "'" ~ horizon_days ~ " '",
        "cast(labelled.is_labelled as " ~ dbt.type_string() ~ ")",
        "' '",
        "coalesce(cast(sums.feature_sum as " ~ dbt.type_string() ~ "), '')",
        "' '",
        "coalesce(cast(sums.label_sum as " ~ dbt.type_string() ~ "), '')",
    ])) }} as fingerprint
from labelled
left join sums on labelled.cutoff_date = sums.cutoff_date
