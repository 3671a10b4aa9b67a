"""The page /status of a running service, read from outside."""

from __future__ import annotations

import urllib.error
import urllib.request

import msgspec

from detector.errors import CredentialsError, NeedsOperator
from detector.ports import Status
from detector.shell.web import opener, tls_context

TIMEOUT_S = 10.0
BYTES_MAX = 1 << 22


def read_status(url: str, *, ca_file: str | None, token: str | None) -> Status:
    """Read the page.

    Parameters
    ----------
    url
        Of the service, e.g. ``http://127.0.0.1:9464``.
    ca_file
        Authorities that may have signed its certificate; None: those of the system.

    Raises
    ------
    CredentialsError
        The token is refused, or the file cannot be used.
    NeedsOperator
        Nobody answers, or something else does.
    """
    request = urllib.request.Request(f"{url}/status")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    context = tls_context("http.tls", ca_file) if url.startswith("https:") else None
    try:
        with opener(context).open(request, timeout=TIMEOUT_S) as answer:
            return msgspec.json.decode(answer.read(BYTES_MAX), type=Status)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise CredentialsError(f"{url}: the service refuses http.token") from None
        raise NeedsOperator(f"{url}: answers {error.code} instead of a status") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise NeedsOperator(f"{url}: no status from there: {error}") from None
