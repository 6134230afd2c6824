{# Where DuckDB and BigQuery differ. Nothing outside this file may ask which engine it runs on in SQL. #}

{% macro type_money() %}{{ return(adapter.dispatch('type_money')()) }}{% endmacro %}
{% macro default__type_money() %}decimal(18, 4){% endmacro %}
{% macro bigquery__type_money() %}numeric{% endmacro %}

{# dbt's own type_float is 32 bits wide on DuckDB. #}
{% macro type_double() %}{{ return(adapter.dispatch('type_double')()) }}{% endmacro %}
{% macro default__type_double() %}double{% endmacro %}
{% macro bigquery__type_double() %}float64{% endmacro %}

{# Of GoogleSQL itself; `bigint` is an alias that only BigQuery knows. #}
{% macro bigquery__type_bigint() %}int64{% endmacro %}

{# Days from one date to another. #}
{% macro days_between(first, last) %}{{ return(adapter.dispatch('days_between')(first, last)) }}{% endmacro %}
{% macro default__days_between(first, last) %}({{ last }} - {{ first }}){% endmacro %}
{% macro bigquery__days_between(first, last) %}date_diff({{ last }}, {{ first }}, day){% endmacro %}

{# A date some days later; a date again, not a timestamp. #}
{% macro add_days(date, days) %}{{ return(adapter.dispatch('add_days')(date, days)) }}{% endmacro %}
{% macro default__add_days(date, days) %}({{ date }} + cast({{ days }} as integer)){% endmacro %}
{% macro bigquery__add_days(date, days) %}date_add({{ date }}, interval {{ days }} day){% endmacro %}

{# One row `calendar_date` for every day from column `first` to column `last` of a one-row relation. #}
{% macro calendar(relation, first, last) %}
    {{ return(adapter.dispatch('calendar')(relation, first, last)) }}
{% endmacro %}
{% macro default__calendar(relation, first, last) -%}
    select cast(unnest(generate_series({{ first }}, {{ last }}, interval 1 day)) as date) as calendar_date
    from {{ relation }}
{%- endmacro %}
{% macro bigquery__calendar(relation, first, last) -%}
    select calendar_date
    from {{ relation }}, unnest(generate_date_array({{ first }}, {{ last }})) as calendar_date
{%- endmacro %}

{# All columns of a relation but one. #}
{% macro all_but(relation, column) %}{{ return(adapter.dispatch('all_but')(relation, column)) }}{% endmacro %}
{% macro default__all_but(relation, column) %}{{ relation }}.* exclude ({{ column }}){% endmacro %}
{% macro bigquery__all_but(relation, column) %}{{ relation }}.* except ({{ column }}){% endmacro %}

{# A number that stands for the columns of a row, such that sums of it stand for rows in any order. #}
{% macro checksum(columns) %}{{ return(adapter.dispatch('checksum')(columns)) }}{% endmacro %}
{% macro default__checksum(columns) %}hash({{ columns | join(', ') }}){% endmacro %}
{% macro bigquery__checksum(columns) -%}
    cast(farm_fingerprint(to_json_string(struct({{ columns | join(', ') }}))) as numeric)
{%- endmacro %}

{# 1 = Monday .. 7 = Sunday; the first day of year 1 was a Monday. #}
{% macro iso_weekday(date) -%}
    (mod({{ days_between("date '0001-01-01'", date) }}, 7) + 1)
{%- endmacro %}

{# Sum of integers as a 64-bit integer (DuckDB's own is 128 bits wide). #}
{% macro total(expression) -%}
    cast(sum({{ expression }}) as {{ dbt.type_bigint() }})
{%- endmacro %}
