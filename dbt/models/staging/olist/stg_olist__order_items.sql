with

source as (

    select * from {{ source('clv', 'olist_order_items') }}

),

renamed as (

    select
        order_id,
        product_id,
        seller_id,
        cast(order_item_id as {{ dbt.type_bigint() }}) as order_item_number,
        cast(price as {{ type_money() }}) as price,
        cast(freight_value as {{ type_money() }}) as freight_amount,
        shipping_limit_date as shipping_limit_at
    from source

)

select * from renamed
