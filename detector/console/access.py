"""Who asks: sessions, forms, and what a request must show before anything is answered.

Modes
    none     whoever reaches the address, which is one of this machine, is its user, as lead
    token    a log-in with a token of the file opens a session: a signed cookie that names the token. The
             session ends with its time, with a log-out, and when the token is taken out of the file.
    proxy    each request carries an OpenID Connect token, which is checked each time (`oidc.py`)

Forms carry a signed text that names the person and a random id (`new_form`, `read_form`): another site cannot
make one, and a form that is sent twice is known again by its id.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

from detector.config.tree import Console
from detector.console.ended import Ended
from detector.console.tokens import TokenFile
from detector.console.views import Person
from detector.ports import Clock

FORM_S = 24 * 3600  # how long a page may be open before one of its forms is sent
TRIES_MAX, TRIES_S = 5, 60.0  # failed log-ins of one address within this time
ADDRESSES_MAX = 10_000  # whose failed log-ins are remembered
LOCAL = ("localhost", "127.0.0.1", "::1")

Headers = Mapping[str, str]  # names in lower case
Cookies = Mapping[str, str]


class Tokens(Protocol):
    """Checks tokens of an OpenID provider: `detector.console.oidc.Oidc`."""

    def person(self, token: str) -> Person | None:
        """Whose token it is; None: it is not valid, or has none of our roles."""


class Access:
    """Decides who somebody is; see the module. Safe to use from several threads.

    Parameters
    ----------
    settings
        The section `console`.
    key
        Signs sessions and forms.
    clock
        Tells the time; sessions and forms have one.
    secure
        Whether pages are reached by https alone: cookies say so.
    user
        Name of the person in mode none.
    tokens
        Checks the tokens of mode proxy.
    ended
        File of the log-ins that were ended, in mode token; None: a restart opens them again.

    Raises
    ------
    NeedsOperator
        The file cannot be used.
    """

    def __init__(
        self,
        settings: Console,
        key: bytes,
        clock: Clock,
        *,
        secure: bool = False,
        user: str = "local",
        tokens: Tokens | None = None,
        ended: Path | None = None,
    ) -> None:
        self.mode, self.secure, self.session_s = settings.mode, secure, int(settings.session)
        self.cookie = "__Host-console" if secure else "console"  # name of the session's cookie
        self._settings, self._clock, self._tokens = settings, clock, tokens
        self._file = TokenFile(settings.tokens)
        self._local = Person(name=user, role="lead")
        self._sessions = _signer(key, "session", clock)
        self._forms = _signer(key, "form", clock)
        self._lock = threading.Lock()
        self._tries: dict[str, list[float]] = {}  # by address, the one that tried longest ago first
        self._ended = Ended(ended if settings.mode == "token" else None, clock)

    # --- who asks -------------------------------------------------------------------------------------------

    def authenticate(self, headers: Headers, cookies: Cookies) -> Person | None:
        """Who sends a request; None: nobody that may see anything."""
        match self.mode:
            case "none":
                return self._local
            case "proxy":
                assert self._settings.proxy is not None
                text = headers.get(self._settings.proxy.header.lower(), "")
                kind, _, token = text.partition(" ")
                token = token.strip() if kind.lower() == "bearer" else text
                return self._tokens.person(token) if self._tokens is not None and token else None
            case _:
                session = self._session(cookies)
                known = None if session is None else self._file.by_id(session[0])
                return None if known is None else known.person

    def login(self, token: str, address: str) -> str | None:
        """Open a session, in mode token: the value of its cookie; None: a wrong token, or not `may_try`."""
        if self.mode != "token" or not self.may_try(address):
            return None
        known = self._file.of(token)
        if known is None:
            self._failed(address)
            return None
        return str(self._sessions.dumps([known.id, secrets.token_hex(8)]))

    def logout(self, cookies: Cookies) -> None:
        """End the session of a cookie, also for whoever has a copy of it.

        Raises
        ------
        NeedsOperator
            It has ended, and a restart would open it again.
        """
        session = self._session(cookies)
        if session is not None:
            self._ended.add(session[1], self._clock.time() + self._settings.session)

    def may_try(self, address: str) -> bool:
        """Whether an address may log in now: it has not failed `TRIES_MAX` times within `TRIES_S`."""
        since_s = self._clock.monotonic() - TRIES_S
        with self._lock:
            return sum(at > since_s for at in self._tries.get(address, ())) < TRIES_MAX

    # --- forms ----------------------------------------------------------------------------------------------

    def new_form(self, person: Person) -> str:
        """A hidden field for a form that this person gets. Each call makes another one."""
        return str(self._forms.dumps([person.name, secrets.token_hex(8)]))

    def read_form(self, person: Person, text: str) -> str | None:
        """Id of a form that this person sends; None: it is not one that was made for them, or is too old."""
        try:
            name, id_ = self._forms.loads(text, max_age=FORM_S)
        except (BadData, ValueError, TypeError):
            return None
        return str(id_) if name == person.name else None

    # --- where a request comes from -------------------------------------------------------------------------

    def host_ok(self, headers: Headers) -> bool:
        """Whether a request names a host of ours.

        A foreign page may lead its own name to this machine (DNS rebinding); the browser still sends that
        name.
        """
        host = _host(headers.get("host", ""))
        if self._settings.origin is not None and host == urlsplit(self._settings.origin).hostname:
            return True
        ours = self._settings.address.rpartition(":")[0].strip("[]").lower()
        everywhere = self.mode != "none" and ours in ("", "0.0.0.0", "::")
        return everywhere or host in (*LOCAL, ours)

    def origin_ok(self, headers: Headers) -> bool:
        """Whether a request that changes something comes from a page of ours, as the browser says."""
        site = headers.get("sec-fetch-site")
        if site is not None and site not in ("same-origin", "none"):
            return False
        origin = headers.get("origin")
        if origin is None:  # some browsers leave it out; then the form's own text must do
            return site is not None or "referer" not in headers or self._is_ours(headers["referer"], headers)
        return self._is_ours(origin, headers)

    def _is_ours(self, url: str, headers: Headers) -> bool:
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        given = f"{parts.scheme}://{parts.netloc}".lower()
        if self._settings.origin is not None and given == self._settings.origin:
            return True
        return given == f"{'https' if self.secure else 'http'}://{headers.get('host', '')}".lower()

    # --- inside ---------------------------------------------------------------------------------------------

    def _session(self, cookies: Cookies) -> tuple[str, str] | None:
        """Ids of the token and of the session that a cookie names, if it is signed and in time."""
        try:
            token, id_ = self._sessions.loads(cookies.get(self.cookie, ""), max_age=self.session_s)
        except (BadData, ValueError, TypeError):
            return None
        return None if id_ in self._ended else (str(token), str(id_))

    def _failed(self, address: str) -> None:
        now_s = self._clock.monotonic()
        with self._lock:
            tries = self._tries.pop(address, [])
            self._tries[address] = [*(at for at in tries[-TRIES_MAX:] if at > now_s - TRIES_S), now_s]
            while len(self._tries) > ADDRESSES_MAX:
                del self._tries[next(iter(self._tries))]


def _host(text: str) -> str:
    """Name of a Host header, without the port."""
    try:
        return urlsplit(f"//{text}").hostname or ""
    except ValueError:
        return ""


def _signer(key: bytes, salt: str, clock: Clock) -> URLSafeTimedSerializer:
    """Signs texts with their time, which is that of `clock`."""

    class Signer(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(clock.time())

    return URLSafeTimedSerializer(key, salt=f"detector.console.{salt}", signer=Signer)
