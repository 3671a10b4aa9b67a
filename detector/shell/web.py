"""What our HTTP clients share: no redirects, and TLS by the configuration."""

from __future__ import annotations

import ssl
import urllib.request
from typing import Any

from detector.errors import CredentialsError


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send passwords, tokens and contents to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def opener(context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """Make an opener of URLs; `context` is for https."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def tls_context(
    where: str,
    ca_file: str | None,
    cert_file: str | None = None,
    key_file: str | None = None,
    key_password: str | None = None,
    *,
    check_hostname: bool = True,
) -> ssl.SSLContext:
    """Make the context of a client; `where` names the section of the configuration in errors.

    Raises
    ------
    CredentialsError
        A file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)  # None: the system's authorities
        if cert_file is not None:
            # With None as password OpenSSL would ask for it on the terminal.
            context.load_cert_chain(cert_file, key_file, key_password or "")
    except OSError as error:  # includes ssl.SSLError
        raise CredentialsError(f"{where}: a certificate file cannot be used: {error}") from None
    context.check_hostname = check_hostname
    return context
