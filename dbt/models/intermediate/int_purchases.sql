{# What the loaded source's orders looked like on the as-of day: later orders are left out, later facts unknown. #}
with

history as (

    select
        customer_id,
        order_id,
        category,
        payment_type,
        state,
        amount,
        item_count,
        product_count,
        category_count,
        seller_count,
        instalment_count,
        freight_amount,
        case when review_answered_date <= {{ as_of_date() }} then review_score end as review_score,
        purchase_date,
        promised_date,
        case when delivered_date <= {{ as_of_date() }} then delivered_date end as delivered_date,
        case when review_created_date <= {{ as_of_date() }} then review_created_date end as review_created_date,
        case when review_answered_date <= {{ as_of_date() }} then review_answered_date end as review_answered_date
    from {{ ref('int_orders__' ~ var('source')) }}
    where purchase_date <= {{ as_of_date() }}

),

days as (

    {{ merge_days('history') }}

)

select * from days
