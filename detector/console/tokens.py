"""The file of tokens: who gets in with which role. It holds hashes; a token is shown once, when it is made.

One line for each: NAME ROLE HASH. A token is 32 random bytes, so that a plain SHA-256 of it tells nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from detector.console.views import Person, Role
from detector.errors import NeedsOperator

ROLES: tuple[Role, ...] = get_args(Role)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
BYTES_MAX = 1 << 20  # of the file: some 8,000 tokens
ID_CHARS = 16  # of a hash, which name a token in sessions
_LINE = re.compile(rf"({NAME.pattern}) ({'|'.join(ROLES)}) ([0-9a-f]{{64}})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A token that is in the file."""

    person: Person
    hash: str

    @property
    def id(self) -> str:
        """What names it in a session."""
        return self.hash[:ID_CHARS]


class TokenFile:
    """The tokens of a file, read again when it changes.

    Raises
    ------
    NeedsOperator
        By each call: the file cannot be read, or a line of it is wrong.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._by_id: Mapping[str, Known] = {}

    def of(self, token: str) -> Known | None:
        """The entry of a token that somebody gives; None: it is none of ours."""
        hash_ = hash_of(token)
        known = self.by_id(hash_[:ID_CHARS])
        return known if known is not None and hmac.compare_digest(known.hash, hash_) else None

    def by_id(self, id_: str) -> Known | None:
        """The entry that a session names; None: it was taken out."""
        self._refresh()
        return self._by_id.get(id_)

    def count(self) -> int:
        """How many tokens there are."""
        self._refresh()
        return len(self._by_id)

    def _refresh(self) -> None:
        try:
            with open(self.path, "rb") as stream:
                facts = os.fstat(stream.fileno())
                seen = facts.st_ino, facts.st_size, facts.st_mtime_ns
                if seen == self._seen:
                    return
                raw = stream.read(BYTES_MAX + 1)
        except FileNotFoundError:
            self._seen, self._by_id = None, {}
            return
        except OSError as error:
            raise NeedsOperator(f"console.tokens: {self.path} cannot be read: {error.strerror}") from None
        self._by_id, self._seen = _read(self.path, raw), seen


def make_token(path: str | Path, name: str, role: Role) -> str:
    """Make a token and add it to the file; returns the token, which nobody can read from the file.

    An earlier token of the name ends.

    Raises
    ------
    NeedsOperator
        The name is none, or the file cannot be read or written.
    """
    if not NAME.fullmatch(name):
        raise NeedsOperator(
            f"got the name {name[:64]!a}, expected a letter or digit, then letters, digits and . _ @ + -; 64 "
            "at most"
        )
    path, token = Path(path), secrets.token_urlsafe(32)
    try:
        before = path.read_bytes() if path.exists() else b""
        kept = [known for known in _read(path, before).values() if known.person.name != name]
        lines = [f"{one.person.name} {one.person.role} {one.hash}" for one in kept]
        text = "\n".join([*lines, f"{name} {role} {hash_of(token)}", ""])
        if len(text) > BYTES_MAX:
            raise NeedsOperator(f"console.tokens: {path} has {len(kept):,} tokens, which are too many")
        replace_file(path, text.encode())
    except OSError as error:
        raise NeedsOperator(f"console.tokens: {path} cannot be written: {error.strerror}") from None
    return token


def hash_of(token: str) -> str:
    """What the file holds of a token."""
    return hashlib.sha256(token.strip().encode("utf-8", "replace")).hexdigest()


def private_file(path: Path, make: bytes) -> bytes:
    """Read a small file that only we may read; if there is none it is written with `make`.

    Raises
    ------
    NeedsOperator
        It cannot be read or written.
    """
    try:
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(make)
        return path.read_bytes()
    except OSError as error:
        raise NeedsOperator(f"{path} cannot be used: {error.strerror}") from None


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file as a whole, by one that only we may read."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _read(path: Path, raw: bytes) -> dict[str, Known]:
    if len(raw) > BYTES_MAX:
        raise NeedsOperator(f"console.tokens: {path} has more than 1 MiB")
    found: dict[str, Known] = {}
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        matched = _LINE.fullmatch(line.strip())
        if matched is None:
            raise NeedsOperator(
                f"console.tokens: line {number} of {path} is no entry: expected NAME ROLE HASH, as "
                "`detector console token NAME --role ROLE` writes it"
            )
        role = ROLES[ROLES.index(matched[2])]
        known = Known(person=Person(name=matched[1], role=role), hash=matched[3])
        found[known.id] = known
    return found
