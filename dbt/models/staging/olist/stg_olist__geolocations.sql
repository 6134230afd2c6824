with

source as (

    select * from {{ source('clv', 'olist_geolocation') }}

),

renamed as (

    select
        geolocation_zip_code_prefix as zip_code_prefix,
        geolocation_city as city,
        geolocation_state as state,
        geolocation_lat as latitude,
        geolocation_lng as longitude
    from source

)

select * from renamed
