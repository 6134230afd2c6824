"""A BigQuery stand-in for tests: REST v2 and the Storage Read API in front of an in-memory DuckDB.

It lets the real clients (google-cloud-bigquery, bigquery-storage, pandas-gbq, dbt-bigquery) run without an account. It
is no judge of SQL: what sqlglot translates and DuckDB runs passes, so GoogleSQL itself is proven elsewhere, by ZetaSQL.
Every project exists; each is a database of its own, so tests that share a process take different ones. Some misbehave:
`forbidden-project` (no permission), `exhausted-project` (out of quota), and `forgetful-...`, where all that is asked is
done, but the first answer is lost on the way.

Start: ``PYTHONPATH=tests/bigquery python -m facade [--port N] [--storage-port N]``; one JSON line tells the addresses.
"""
