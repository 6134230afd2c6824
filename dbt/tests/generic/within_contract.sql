{#
    Every value keeps to what its column's meta says (nullable, minimum, maximum). One scan for all columns; the
    answer has one row per column that fails.
#}
{% test within_contract(model) %}
    {% set rules = [] %}
    {% set nodes = graph.nodes.values() if execute else [] %}
    {% for node in nodes if node.resource_type == 'model' and node.name == model.identifier %}
        {% for column in node.columns.values() %}
            {% set meta = column.config.meta %}
            {% set broken = [] %}
            {% if meta.nullable == false %}{% do broken.append(column.name ~ ' is null') %}{% endif %}
            {% if meta.minimum is defined %}{% do broken.append(column.name ~ ' < ' ~ meta.minimum) %}{% endif %}
            {% if meta.maximum is defined %}{% do broken.append(column.name ~ ' > ' ~ meta.maximum) %}{% endif %}
            {% if broken %}{% do rules.append((column.name, broken | join(' or '))) %}{% endif %}
        {% endfor %}
    {% endfor %}

    {% if execute and not rules %}
        {{ exceptions.raise_compiler_error('No column of ' ~ model.identifier ~ ' has a rule in its meta.') }}
    {% endif %}

    with

    counts as (

        select
            {% for name, broken in rules -%}
            sum(case when {{ broken }} then 1 else 0 end) as {{ name }},
            {% endfor -%}
            count(*) as row_count
        from {{ model }}

    )

    {% for name, broken in rules -%}
    select
        '{{ name }}' as column_name,
        '{{ broken }}' as broken_rule,
        {{ name }} as row_count
    from counts
    where {{ name }} > 0
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
{% endtest %}
