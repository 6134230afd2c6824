{# Rows that share a (non-null) value of the column have the same owner: no order belongs to two customers. #}
{% test one_owner(model, column, owner) %}
    select {{ column }}
    from {{ model }}
    where {{ column }} is not null
    group by {{ column }}
    having min({{ owner }}) <> max({{ owner }})
{% endtest %}
