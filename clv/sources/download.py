"""Fetching Olist's data set from Kaggle."""

from __future__ import annotations

from pathlib import Path

from clv.errors import UnavailableError, first_line

OLIST = "olistbr/brazilian-ecommerce"
"""Name of the data set on Kaggle (CC BY-NC-SA 4.0: everyone fetches their own copy)."""


def download_olist() -> Path:
    """Fetch Olist's data set with kagglehub, or find the copy fetched before; return its folder.

    Raises
    ------
    UnavailableError
        If kagglehub isn't installed or Kaggle can't be reached.
    """
    try:
        import kagglehub
    except ImportError:
        raise UnavailableError(
            "Fetching Olist needs kagglehub, which is not installed: `pip install 'clv[download]'`; or fetch "
            f"https://www.kaggle.com/datasets/{OLIST} by hand and load the zip."
        ) from None
    try:
        return Path(kagglehub.dataset_download(OLIST))
    except Exception as error:  # kagglehub lets through whatever its HTTP client, archive reader and own checks raise
        raise UnavailableError(
            f"Olist could not be fetched from Kaggle ({first_line(error)}); check the connection, or fetch "
            f"https://www.kaggle.com/datasets/{OLIST} by hand and load the zip."
        ) from error
