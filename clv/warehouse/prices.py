"""What BigQuery asks on demand: list prices of the US multi-region, in US dollars."""

from datetime import date

READ_ON = date(2026, 11, 22)
"""When they were looked up, in published overviews of Google's list; the list itself has the last word."""

QUERIES_PER_TIB = 6.25
FREE_QUERIES_TIB = 1
"""Bytes scanned by queries, and how many of them are free in a month."""

STORAGE_PER_GIB = 0.02
FREE_STORAGE_GIB = 10
"""Logical bytes stored for a month, and how many of them are free."""

READS_PER_TIB = 1.10
FREE_READS_TIB = 300
"""Bytes read by the Storage Read API, and how many of them are free in a month; not confirmed on that day."""

MINIMUM_BILLED = 10 * 2**20
"""Bytes that are billed at least for each table that a query reads."""
