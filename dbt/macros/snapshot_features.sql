{#
    What was known of each customer on each cutoff: one row per customer with a purchase by the cutoff.

    `days` is what `merge_days` makes; `cutoffs` needs `cutoff_date`. What only depends on the past of a day is added
    up once per day (`purchase_steps`, `day_steps`). What depends on the cutoff itself (windows, deliveries and reviews
    known by then) takes one join of days and cutoffs with one grouping (`totals`), of no more days than matter: the
    customer's last before the cutoff, those of the longest window, and those with a delivery or review. The last day
    says which row has the rest.

    A delivery counts from its date; a review's score from the day the customer answered. Sums are of decimals and
    integers, therefore exact and independent of the order of the rows; the result is cast at the end.
#}
{% macro snapshot_features(days, cutoffs) %}
    {% set in_order = 'over (partition by customer_key order by purchase_date)' %}
    {% set so_far = 'over (partition by customer_key order by purchase_date rows unbounded preceding)' %}
    {% set windows = [30, 90, 180, 365] %}
    {% set age = days_between('days.purchase_date', 'cutoffs.cutoff_date') %}
    {% set is_delivered = 'days.delivered_date <= cutoffs.cutoff_date' %}
    {% set is_reviewed = 'days.review_created_date <= cutoffs.cutoff_date' %}
    {% set is_answered = is_reviewed ~ ' and days.review_answered_date <= cutoffs.cutoff_date' %}
    with

    numbered_purchases as (

        select
            *,
            row_number() {{ in_order }} as purchase_number,
            {{ days_between('lag(purchase_date) ' ~ in_order, 'purchase_date') }} as gap_days
        from {{ days }}
        where is_purchase

    ),

    purchase_steps as (

        select
            *,
            sum(amount) {{ so_far }} as amount_so_far,
            max(amount) {{ so_far }} as amount_max,
            sum(gap_days * gap_days) {{ so_far }} as gap_squares,
            sum(order_count) {{ so_far }} as order_count_so_far,
            sum(item_count) {{ so_far }} as item_count_so_far,
            count(item_count) {{ so_far }} as item_count_known,
            sum(product_count) {{ so_far }} as product_count_so_far,
            count(product_count) {{ so_far }} as product_count_known,
            sum(seller_count) {{ so_far }} as seller_count_so_far,
            count(seller_count) {{ so_far }} as seller_count_known,
            max(category_count) {{ so_far }} as category_count_max
        from numbered_purchases

    ),

    day_steps as (

        select
            *,
            coalesce(lead(purchase_date) {{ in_order }}, date '9999-12-31') as next_date,
            count(case when is_purchase then 1 end) {{ so_far }} as purchase_count,
            sum(amount) {{ so_far }} as amount_total,
            count(case when return_amount > 0 then 1 end) {{ so_far }} as return_count,
            sum(return_amount) {{ so_far }} as return_total
        from {{ days }}

    ),

    steps as (

        select
            day_steps.customer_key,
            day_steps.purchase_date as step_date,
            day_steps.purchase_count,
            day_steps.amount_total,
            day_steps.return_count,
            day_steps.return_total as return_amount,
            last_step.customer_id,
            first_step.purchase_date as first_purchase_date,
            last_step.purchase_date as last_purchase_date,
            {{ days_between('first_step.purchase_date', 'last_step.purchase_date') }} as active_days,
            last_step.gap_squares,
            last_step.amount_so_far,
            last_step.amount_max,
            first_step.amount as amount_first,
            last_step.amount as amount_last,
            last_step.order_count_so_far as order_count,
            last_step.item_count_so_far,
            last_step.item_count_known,
            last_step.product_count_so_far,
            last_step.product_count_known,
            last_step.seller_count_so_far,
            last_step.seller_count_known,
            last_step.category_count_max,
            first_step.category as first_category,
            last_step.category as last_category,
            first_step.payment_type as first_payment_type,
            first_step.instalment_count as first_instalment_count,
            first_step.freight_amount as first_freight_amount,
            first_step.state as first_state,
            first_step.delivered_date as first_delivered_date,
            last_step.promised_date as last_promised_date,
            last_step.delivered_date as last_delivered_date,
            last_step.review_created_date as last_review_created_date,
            last_step.review_answered_date as last_review_answered_date,
            last_step.review_score as last_score
        from day_steps
        inner join purchase_steps as last_step
            on
                day_steps.customer_key = last_step.customer_key
                and day_steps.purchase_count = last_step.purchase_number
        inner join purchase_steps as first_step
            on
                day_steps.customer_key = first_step.customer_key
                and first_step.purchase_number = 1

    ),

    totals as (

        select
            days.customer_key,
            cutoffs.cutoff_date,
            max(days.purchase_date) as step_date,
            {% for window in windows -%}
            count(case when days.is_purchase and {{ age }} < {{ window }} then 1 end) as purchase_count_{{ window }}d,
            sum(case when {{ age }} < {{ window }} then days.amount else 0 end) as amount_{{ window }}d,
            {% endfor -%}
            count(case when days.is_purchase and {{ is_delivered }} then days.promised_date end) as delivery_count,
            count(
                case
                    when days.is_purchase and {{ is_delivered }} and days.delivered_date > days.promised_date then 1
                end
            ) as late_count,
            count(case when days.is_purchase and {{ is_reviewed }} then 1 end) as review_count,
            count(case when days.is_purchase and {{ is_answered }} then 1 end) as answered_review_count,
            count(case when days.is_purchase and {{ is_answered }} then days.review_score end) as score_count,
            sum(case when days.is_purchase and {{ is_answered }} then days.review_score end) as score_total
        from day_steps as days
        inner join {{ cutoffs }} as cutoffs on days.purchase_date <= cutoffs.cutoff_date
        where
            days.next_date > cutoffs.cutoff_date
            or {{ age }} < {{ windows | max }}
            or days.delivered_date is not null
            or days.review_created_date is not null
        group by days.customer_key, cutoffs.cutoff_date

    ),

    facts as (

        select
            steps.*,
            totals.cutoff_date,
            {% for window in windows -%}
            totals.purchase_count_{{ window }}d,
            totals.amount_{{ window }}d,
            {% endfor -%}
            totals.delivery_count,
            totals.late_count,
            totals.review_count,
            totals.answered_review_count,
            totals.score_count,
            totals.score_total,
            {{ days_between('steps.last_purchase_date', 'totals.cutoff_date') }} as recency_days,
            {{ days_between('steps.first_purchase_date', 'totals.cutoff_date') }} as tenure_days,
            {{ iso_weekday('steps.first_purchase_date') }} as first_weekday,
            extract(month from steps.first_purchase_date) as first_month,
            case
                when steps.first_delivered_date <= totals.cutoff_date
                    then {{ days_between('steps.first_purchase_date', 'steps.first_delivered_date') }}
            end as first_delivery_days,
            case
                when steps.last_delivered_date <= totals.cutoff_date
                    then {{ days_between('steps.last_purchase_date', 'steps.last_delivered_date') }}
            end as last_delivery_days,
            case
                when steps.last_delivered_date <= totals.cutoff_date
                    then {{ days_between('steps.last_promised_date', 'steps.last_delivered_date') }}
            end as last_delay_days,
            case
                when
                    steps.last_review_created_date <= totals.cutoff_date
                    and steps.last_review_answered_date <= totals.cutoff_date
                    then steps.last_score
            end as last_review_score
        from totals
        inner join steps
            on
                totals.customer_key = steps.customer_key
                and totals.step_date = steps.step_date

    )

    select
        customer_key,
        customer_id,
        cutoff_date,
        {{ as_double('recency_days') }},
        {{ as_double('tenure_days') }},
        {{ as_double('purchase_count') }},
        {{ ratio('active_days', 'purchase_count - 1') }} as gap_mean_days,
        {# The sample variance of k gaps is (k * sum of squares - square of the sum) / (k (k - 1)). -#}
        case
            when purchase_count > 2
                then
                    sqrt({{ ratio(
                        '(purchase_count - 1) * gap_squares - active_days * active_days',
                        '(purchase_count - 1) * (purchase_count - 2)'
                    ) }})
        end as gap_sd_days,
        {{ ratio('recency_days * (purchase_count - 1)', 'active_days') }} as gap_ratio,
        {{ as_double('amount_total') }},
        {{ ratio('amount_so_far', 'purchase_count') }} as amount_mean,
        {{ as_double('amount_max') }},
        {{ as_double('amount_first') }},
        {{ as_double('amount_last') }},
        {{ ratio('amount_last * purchase_count - amount_so_far', 'purchase_count - 1') }} as amount_trend,
        {% for window in windows -%}
        {{ as_double('purchase_count_' ~ window ~ 'd') }},
        {{ as_double('amount_' ~ window ~ 'd') }},
        {% endfor -%}
        {{ as_double('return_count') }},
        {{ as_double('return_amount') }},
        {{ as_double('order_count') }},
        {{ ratio('item_count_so_far', 'item_count_known') }} as item_count_mean,
        {{ ratio('product_count_so_far', 'product_count_known') }} as product_count_mean,
        {{ as_double('category_count_max') }},
        {{ ratio('seller_count_so_far', 'seller_count_known') }} as seller_count_mean,
        first_category,
        last_category,
        first_payment_type,
        {{ as_double('first_instalment_count') }},
        {{ ratio('first_freight_amount', 'amount_first') }} as first_freight_share,
        first_state,
        {{ as_double('first_weekday') }},
        {{ as_double('first_month') }},
        {{ as_double('first_delivery_days') }},
        {{ as_double('last_delivery_days') }},
        {{ as_double('last_delay_days') }},
        {{ ratio('late_count', 'delivery_count') }} as late_share,
        {{ as_double('last_review_score') }},
        {{ ratio('score_total', 'score_count') }} as mean_review_score,
        {{ ratio('answered_review_count', 'review_count') }} as answered_review_share
    from facts
{% endmacro %}

{# A column of facts as a feature. #}
{% macro as_double(column) -%}
    cast({{ column }} as {{ type_double() }}) as {{ column }}
{%- endmacro %}

{# A quotient as a double; null where there is nothing to divide by. #}
{% macro ratio(numerator, denominator) -%}
    cast({{ numerator }} as {{ type_double() }}) / nullif(cast({{ denominator }} as {{ type_double() }}), 0)
{%- endmacro %}
