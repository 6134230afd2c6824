"""Clients of Google Cloud: credentials, endpoints, and their errors in one clear sentence each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import google.auth
import grpc  # type: ignore[import-untyped]
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import bigquery
from google.cloud.bigquery_storage import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from requests.exceptions import RequestException

from clv.errors import ClvError, InputError, UnavailableError
from clv.settings import Settings

SETUP = "create it with `clv setup-bigquery`"
KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
LOGIN_COMMAND = "gcloud auth application-default login"
LOG_IN = f"log in with `{LOGIN_COMMAND}` or set {KEY_FILE}"
_GOOGLE_ERRORS = (
    auth.DefaultCredentialsError,
    auth.RefreshError,
    auth.TransportError,
    api.GoogleAPICallError,
    api.RetryError,
    RequestException,
)
"""What Google's libraries raise."""


@dataclass(frozen=True)
class Clients:
    """BigQuery's REST client and the Storage Read API's."""

    rest: bigquery.Client
    storage: BigQueryReadClient
    is_emulated: bool


def make_clients(project: str, settings: Settings) -> Clients:
    """Clients by Application Default Credentials, or of the emulator that `settings` name.

    Raises
    ------
    UnavailableError
        If there are no credentials, or none can be read from the file that is named for them.
    """
    if settings.bigquery_emulator_host:
        channel = grpc.insecure_channel(settings.bigquery_storage_emulator_host)
        options = {"api_endpoint": settings.bigquery_emulator_host}
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
        transport = BigQueryReadGrpcTransport(channel=channel)
        return Clients(
            rest=bigquery.Client(project, nobody, client_options=options),
            storage=BigQueryReadClient(transport=transport),  # type: ignore[no-untyped-call]
            is_emulated=True,
        )
    credentials: Credentials
    with clear_errors(f"bigquery://{project}"), _key_file_errors():
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    with clear_errors(f"bigquery://{project}"):
        return Clients(
            rest=bigquery.Client(project, credentials),
            storage=BigQueryReadClient(credentials=credentials),  # type: ignore[no-untyped-call]
            is_emulated=False,
        )


@contextmanager
def _key_file_errors() -> Iterator[None]:
    """Say what is wrong with the file that the environment names for credentials, if it names one.

    Raises
    ------
    UnavailableError
        If no credentials can be read from it.
    """
    named = os.environ.get(KEY_FILE)
    try:
        yield
    # Google's library expects a readable file with an object in it: a folder or a list end in Python's own errors.
    except (auth.DefaultCredentialsError, OSError, ValueError, AttributeError) as error:
        if not named:
            raise
        path = Path(named)
        wrong = "is not a key that can be read; expected the JSON file of a service account or of gcloud"
        if path.is_dir():
            wrong = "is a folder; expected a key file"
        elif not path.exists():
            wrong = "does not exist; expected a key file"
        raise UnavailableError(
            f"{KEY_FILE} names {named}, which {wrong}, so correct the variable, or unset it and log in with "
            f"`{LOGIN_COMMAND}`."
        ) from error


@contextmanager
def clear_errors(address: str) -> Iterator[None]:
    """Turn what Google answers into one sentence on `address`.

    Raises
    ------
    InputError
        If a dataset is missing or a query would bill more than is allowed.
    UnavailableError
        If credentials, permission or quota are missing, or BigQuery can't be reached.
    """
    try:
        yield
    except (*_GOOGLE_ERRORS, ValueError) as error:
        answer = _answer(error)
        if answer is None:
            raise
        raise _explained(address, answer) from error


def _answer(error: BaseException | None) -> BaseException | None:
    """The error of Google's, or the one behind it: pandas-gbq wraps them in ValueErrors, some of them twice."""
    while error is not None and not isinstance(error, _GOOGLE_ERRORS):
        error = error.__cause__ or error.__context__
    return error


def _explained(address: str, error: BaseException) -> ClvError:
    if isinstance(error, auth.DefaultCredentialsError):
        return UnavailableError(f"No Google credentials found for {address}; {LOG_IN}.")
    if isinstance(error, auth.RefreshError):
        return UnavailableError(f"The Google credentials for {address} are no longer accepted; {LOG_IN}.")
    if isinstance(error, api.GoogleAPICallError):
        return _refused(address, error)
    return UnavailableError(f"{address} can't be reached; check the network and try again.")


def _refused(address: str, error: api.GoogleAPICallError) -> ClvError:
    said = _said(error)
    reasons = {str(item["reason"]) for item in error.errors if isinstance(item, dict) and "reason" in item}
    if "bytesBilledLimitExceeded" in reasons:
        return InputError(
            f"{address}: {said}; raise the limit with CLV_BIGQUERY_MAXIMUM_BYTES_BILLED if the cost is meant."
        )
    if reasons & {"quotaExceeded", "rateLimitExceeded"} or isinstance(error, api.TooManyRequests):
        return UnavailableError(f"{address}: the quota is used up ({said}); wait or ask for more in the console.")
    if isinstance(error, (api.Forbidden, api.Unauthorized)):
        return UnavailableError(
            f"{address}: no permission ({said}); the account needs the roles BigQuery Data Editor, Job User and Read "
            "Session User."
        )
    if isinstance(error, api.NotFound):
        return InputError(f"{address} is not complete ({said}); {SETUP}, then load and transform.")
    return UnavailableError(f"{address}: BigQuery answered: {said}.")


def _said(error: api.GoogleAPICallError) -> str:
    """What the service said, without the request and the ids that the client adds to the error's own text."""
    first = error.errors[0] if error.errors else None
    text = str(first["message"]) if isinstance(first, dict) and "message" in first else str(error)
    return (text.splitlines() or ["no reason given"])[0].rstrip(".;: ")
