with

source as (

    select * from {{ source('clv', 'olist_category_translation') }}

),

renamed as (

    select
        product_category_name as category_portuguese,
        product_category_name_english as category
    from source

)

select * from renamed
