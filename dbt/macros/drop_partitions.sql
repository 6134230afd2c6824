{# Hook of an incremental model: partitions that are no longer wanted go. #}
{% macro drop_partitions(relation, column, wanted) -%}
    {% if is_incremental() -%}
    delete from {{ relation }}
    where {{ column }} not in (select {{ column }} from {{ wanted }})
    {%- endif %}
{%- endmacro %}
