with

source as (

    select * from {{ source('clv', 'olist_order_reviews') }}

),

renamed as (

    select
        review_id,
        order_id,
        review_comment_title as review_title,
        review_comment_message as review_message,
        cast(review_score as {{ dbt.type_bigint() }}) as review_score,
        review_creation_date as review_created_at,
        review_answer_timestamp as review_answered_at
    from source

)

select * from renamed
