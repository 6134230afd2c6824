"""Clients of Google Cloud: credentials, endpoints, and their errors in one clear sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
LOG_IN = "log in with `gcloud auth application-default login` or set GOOGLE_APPLICATION_CREDENTIALS"


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
        If there are no credentials.
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
    with clear_errors(f"bigquery://{project}"):
        credentials: Credentials
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        return Clients(
            rest=bigquery.Client(project, credentials),
            storage=BigQueryReadClient(credentials=credentials),  # type: ignore[no-untyped-call]
            is_emulated=False,
        )


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
    except auth.DefaultCredentialsError as error:
        raise UnavailableError(f"No Google credentials found for {address}; {LOG_IN}.") from error
    except auth.RefreshError as error:
        raise UnavailableError(f"The Google credentials for {address} are no longer accepted; {LOG_IN}.") from error
    except api.GoogleAPICallError as error:
        raise _explained(address, error) from error
    except (api.RetryError, auth.TransportError, RequestException) as error:
        raise UnavailableError(f"{address} can't be reached; check the network and try again.") from error


def _explained(address: str, error: api.GoogleAPICallError) -> ClvError:
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
