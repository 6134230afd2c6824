with

source as (

    select * from {{ source('clv', 'transactions') }}

),

renamed as (

    select
        customer_id,
        order_id,
        cast(amount as {{ type_money() }}) as amount,
        purchased_at
    from source

)

select * from renamed
