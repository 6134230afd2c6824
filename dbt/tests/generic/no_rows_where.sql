{# No row breaks the rule: the condition, over the columns of one row, holds for none. #}
{% test no_rows_where(model, condition) %}
    select *
    from {{ model }}
    where {{ condition }}
{% endtest %}
