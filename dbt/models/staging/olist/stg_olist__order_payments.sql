with

source as (

    select * from {{ source('clv', 'olist_order_payments') }}

),

renamed as (

    select
        order_id,
        payment_type,
        cast(payment_sequential as {{ dbt.type_bigint() }}) as payment_number,
        cast(payment_installments as {{ dbt.type_bigint() }}) as instalment_count,
        cast(payment_value as {{ type_money() }}) as payment_amount
    from source

)

select * from renamed
