{#
    One row per customer and day from a relation at order (or order line) grain.

    - Amounts are netted: positive and negative rows of the day are summed; `return_amount` keeps the negative part.
    - Facts of the shop that can't be summed (category, payment type, instalments, state) are those of the day's
      dearest order. Delivery and review are the first of the day by date, so that deleting or changing what happens
      later leaves them alone; the promise is that of the order delivered first.
    - `customer_key` numbers the customers: joining and grouping by it is several times faster than by a text id.

    `orders` needs: customer_id, order_id, purchase_date, amount, item_count, product_count, category_count,
    seller_count, category, payment_type, instalment_count, freight_amount, state, promised_date, delivered_date,
    review_created_date, review_score, review_answered_date.
#}
{% macro merge_days(orders) %}
    with

    customers as (

        select
            customer_id,
            row_number() over (order by customer_id) as customer_key
        from {{ orders }}
        group by customer_id

    ),

    numbered as (

        select
            customers.customer_key,
            orders.*
        from {{ orders }} as orders
        inner join customers on orders.customer_id = customers.customer_id

    ),

    sizes as (

        select
            customer_key,
            purchase_date,
            count(*) as row_count
        from numbered
        group by customer_key, purchase_date

    ),

    ranked as (

        select
            orders.*,
            row_number() over (
                partition by orders.customer_key, orders.purchase_date
                order by
                    orders.amount desc, orders.order_id nulls last, orders.category nulls last,
                    orders.payment_type nulls last, orders.instalment_count nulls last, orders.state nulls last
            ) as value_rank,
            row_number() over (
                partition by orders.customer_key, orders.purchase_date
                order by orders.delivered_date nulls last, orders.order_id nulls last, orders.promised_date nulls last
            ) as delivery_rank,
            row_number() over (
                partition by orders.customer_key, orders.purchase_date
                order by
                    orders.review_created_date nulls last, orders.order_id nulls last,
                    orders.review_answered_date nulls last, orders.review_score nulls last
            ) as review_rank
        from numbered as orders
        inner join sizes
            on orders.customer_key = sizes.customer_key and orders.purchase_date = sizes.purchase_date
        where sizes.row_count > 1

    ),

    merged as (

        select
            customer_key,
            min(customer_id) as customer_id,
            purchase_date,
            sum(amount) > 0 as is_purchase,
            cast(sum(amount) as {{ type_money() }}) as amount,
            cast(sum(case when amount < 0 then -amount else 0 end) as {{ type_money() }}) as return_amount,
            count(distinct order_id) + {{ total('case when order_id is null then 1 else 0 end') }} as order_count,
            {{ total('item_count') }} as item_count,
            {{ total('product_count') }} as product_count,
            max(category_count) as category_count,
            {{ total('seller_count') }} as seller_count,
            max(case when value_rank = 1 then category end) as category,
            max(case when value_rank = 1 then payment_type end) as payment_type,
            max(case when value_rank = 1 then instalment_count end) as instalment_count,
            cast(sum(freight_amount) as {{ type_money() }}) as freight_amount,
            max(case when value_rank = 1 then state end) as state,
            max(case when delivery_rank = 1 then promised_date end) as promised_date,
            max(case when delivery_rank = 1 then delivered_date end) as delivered_date,
            max(case when review_rank = 1 then review_created_date end) as review_created_date,
            max(case when review_rank = 1 then review_score end) as review_score,
            max(case when review_rank = 1 then review_answered_date end) as review_answered_date
        from ranked
        group by customer_key, purchase_date

    ),

    {# Most days have one order only, of which nothing is to be ranked or added up. -#}
    single as (

        select
            orders.customer_key,
            orders.customer_id,
            orders.purchase_date,
            orders.amount > 0 as is_purchase,
            cast(orders.amount as {{ type_money() }}) as amount,
            cast(case when orders.amount < 0 then -orders.amount else 0 end as {{ type_money() }}) as return_amount,
            cast(1 as {{ dbt.type_bigint() }}) as order_count,
            cast(orders.item_count as {{ dbt.type_bigint() }}) as item_count,
            cast(orders.product_count as {{ dbt.type_bigint() }}) as product_count,
            orders.category_count,
            cast(orders.seller_count as {{ dbt.type_bigint() }}) as seller_count,
            orders.category,
            orders.payment_type,
            orders.instalment_count,
            cast(orders.freight_amount as {{ type_money() }}) as freight_amount,
            orders.state,
            orders.promised_date,
            orders.delivered_date,
            orders.review_created_date,
            orders.review_score,
            orders.review_answered_date
        from numbered as orders
        inner join sizes
            on orders.customer_key = sizes.customer_key and orders.purchase_date = sizes.purchase_date
        where sizes.row_count = 1

    )

    select * from merged
    union all
    select * from single
{% endmacro %}
