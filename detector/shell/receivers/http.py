"""Sends messages over HTTP."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException

from detector.notify import Message, Refused, Unavailable
from detector.notify.bodies import Build
from detector.shell import calls
from detector.shell.web import opener

ANSWER_BYTES_MAX = 4096  # of an answer that is read
# Answers that say something about this message, not about us or the server.
_REFUSED = frozenset((400, 406, 409, 411, 412, 413, 414, 415, 416, 417, 422, 431, 451))


class HttpSender:
    """A `detector.notify.Sender` that posts one request.

    What an answer means: 2xx delivered; 400, 413, 422 and the like: the message is refused for good; all
    others (no answer, 5xx, 429, and 401, 403, 404 or a redirect, which an operator must mend): again later.

    Parameters
    ----------
    build
        Makes the request.
    token
        Bearer token; None: none is sent.
    context
        For https; None for http.
    timeout_s
        Longest time of one request, as a whole.
    """

    def __init__(
        self,
        url: str,
        build: Build,
        *,
        batch_max: int,
        token: str | None,
        context: ssl.SSLContext | None,
        timeout_s: float,
    ) -> None:
        self.batch_max = batch_max
        self._url, self._build, self._timeout_s = url, build, timeout_s
        self._opener = opener(context)
        self._headers = {"User-Agent": "detector-notify"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def send(self, messages: Sequence[Message], sent_s: float) -> None:
        """Post messages; see `detector.notify.Sender`."""
        request = self._build(messages, sent_s)
        headers = {**self._headers, **request.headers}
        post = urllib.request.Request(self._url, data=request.body, headers=headers, method="POST")
        try:
            # A server that sends a byte now and then would hold up a socket's own timeout.
            calls.within(self._timeout_s, lambda: self._post(post), name="receiver")
        except urllib.error.HTTPError as error:
            raise _meaning(error) from None
        except TimeoutError:
            raise Unavailable(f"no answer in {self._timeout_s:g} s") from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise Unavailable(f"its certificate is not trusted ({reason.verify_message})") from None
            raise Unavailable(f"no connection: {reason}") from None

    def _post(self, post: urllib.request.Request) -> None:
        with self._opener.open(post, timeout=self._timeout_s) as response:
            response.read(ANSWER_BYTES_MAX)


def _meaning(error: urllib.error.HTTPError) -> Unavailable | Refused:
    with error:
        after = error.headers.get("Retry-After", "")
    if error.code in _REFUSED:
        return Refused(f"HTTP {error.code}")
    hint = ": check the URL and the token or key" if error.code in (301, 302, 307, 308, 401, 403, 404) else ""
    return Unavailable(
        f"HTTP {error.code}{hint}", float(after) if after.isascii() and after.isdigit() else 0.0
    )
