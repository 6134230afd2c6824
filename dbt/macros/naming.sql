{# DuckDB: the schemas staging, intermediate, marts of the file. BigQuery: the datasets <dataset>_staging, ... #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%}
        {{ target.schema }}
    {%- elif target.type == 'duckdb' -%}
        {{ custom_schema_name | trim }}
    {%- else -%}
        {{ target.schema }}_{{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}

{# DuckDB names a catalog after its file. Views must survive a rename of the file, so they may not mention it. #}
{% macro ref() %}
    {% set relation = builtins.ref(*varargs, **kwargs) %}
    {% do return(relation.include(database=false) if target.type == 'duckdb' else relation) %}
{% endmacro %}

{% macro source(source_name, table_name) %}
    {% set relation = builtins.source(source_name, table_name) %}
    {% do return(relation.include(database=false) if target.type == 'duckdb' else relation) %}
{% endmacro %}

{# The as-of day as an SQL date: the variable, or what `clv load` found. #}
{% macro as_of_date() -%}
    {%- if var('as_of_date') -%}
        date '{{ modules.datetime.date.fromisoformat(var('as_of_date') | string) }}'
    {%- else -%}
        (select as_of_date from {{ source('clv', 'shop') }})
    {%- endif -%}
{%- endmacro %}
