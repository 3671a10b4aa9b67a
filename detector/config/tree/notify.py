"""`notify`: where alerts and case updates are sent, besides their topics."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from detector.config.clock import read_clock
from detector.config.tree.base import (
    Duration,
    ListenAddress,
    Name,
    Part,
    Secret,
    Server,
    both_or_neither,
    leak,
    unfit,
    wrong,
)

T = TypeVar("T")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
RECEIVERS_MAX = 32
_ADDRESS = re.compile(r"[^\s@<>,;:\"\\\x00-\x1f]{1,64}@[A-Za-z0-9.-]{1,253}").fullmatch
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Keys by the kinds of receivers that use them; the others take none of them.
_USED_BY = {
    "url": ("webhook", "slack", "pagerduty", "alertmanager"),
    "secret_url": ("webhook", "slack"),
    "key": ("webhook", "pagerduty"),
    "token": ("webhook", "alertmanager"),
    "smtp": ("email",),
    "encryption": ("email",),
    "username": ("email",),
    "password": ("email",),
    "sender": ("email",),
    "to": ("email",),
}


def _time_of_day(text: str) -> str:
    clock = read_clock(text)
    if clock is None or clock.offset_us is not None or ":" not in text:
        raise wrong("a time of day like 08:30")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise wrong("a time zone like UTC or Europe/Paris") from None
    return name


def _plain_url(url: str) -> str:
    if re.search(r"://[^/]*@", url):
        raise leak("a URL without a password: use token, or secret_url")
    if not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?(\?[^\s#]*)?", url):
        raise wrong("an http:// or https:// URL")
    return url


def _address(text: str) -> str:
    if not _ADDRESS(text):
        raise wrong("an address like fraud-team@example.com")
    return text


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]
MailAddress = Annotated[str, AfterValidator(_address)]


class Hours(Part):
    """A part of the week. With `from` after `to` it goes on past midnight."""

    begin: TimeOfDay = Field("00:00", alias="from", description="First time of day, like 08:30.")
    end: TimeOfDay = Field("24:00", alias="to", description="Time of day at which it ends.")
    days: tuple[Day, ...] = Field(
        _DAYS, min_length=1, max_length=7, description="Days of the week on which it begins."
    )
    zone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="Time zone of these times.")

    def hold(self, time_s: float) -> bool:
        """Whether a time, s since the epoch, lies in it."""
        here = datetime.fromtimestamp(time_s, ZoneInfo(self.zone))
        now_us = (here.hour * 3600 + here.minute * 60 + here.second) * 1_000_000 + here.microsecond
        begin, end = read_clock(self.begin), read_clock(self.end)
        assert begin is not None
        assert end is not None
        today = _DAYS[here.weekday()] in self.days
        if begin.micros < end.micros:
            return today and begin.micros <= now_us < end.micros
        yesterday = _DAYS[here.weekday() - 1] in self.days
        return (today and now_us >= begin.micros) or (yesterday and now_us < end.micros)


class Receiver(Part):
    """Somebody who is told. Keys that its kind does not use stay null."""

    name: Name = Field(description="Part of its consumer group; with another name it begins anew.")
    kind: Literal["webhook", "slack", "pagerduty", "alertmanager", "email"] = Field(
        description="webhook: CloudEvents over HTTP; slack: incoming webhooks, also of services that copy "
        "them; pagerduty: Events API v2; alertmanager: API v2."
    )
    url: Annotated[str, AfterValidator(_plain_url)] | None = Field(
        None,
        max_length=2048,
        description="Where messages go; pagerduty: null for its public address; alertmanager: its base URL.",
    )
    secret_url: Secret | None = Field(
        None, description="Where the URL is kept, if whoever knows it may send, as with slack."
    )
    key: Secret | None = Field(
        None, description="webhook: key of the signature, null: unsigned; pagerduty: the routing key."
    )
    token: Secret | None = Field(None, description="Where the bearer token is kept; null: none is sent.")
    smtp: Server | None = Field(None, description="email: host:port of the server.")
    encryption: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="email: how the connection is encrypted."
    )
    username: str | None = Field(None, max_length=256, description="email: for the login; null: none.")
    password: Secret | None = Field(None, description="email: where the password is kept.")
    sender: MailAddress | None = Field(None, description="email: address in From.")
    to: tuple[MailAddress, ...] = Field((), max_length=64, description="email: addresses in To.")
    ca_file: str | None = Field(
        None, description="PEM file of trusted authorities; null: those of the system."
    )
    timeout: Duration = Field(10.0, le=60, description="Longest wait for one sending, as a whole.")
    types: tuple[Literal["alert", "case"], ...] = Field(
        ("alert", "case"), min_length=1, max_length=2, description="Alerts, case updates, or both."
    )
    severity: Literal["low", "medium", "high", "critical"] = Field(
        "low", description="Lowest severity that is sent."
    )
    priority: float | None = Field(
        None, ge=0, description="Lowest priority that is sent: expected loss; null: any."
    )
    entities: tuple[Name, ...] = Field(
        (), max_length=64, description="Kinds of main entities that are sent; empty: all."
    )
    hours: Hours | None = Field(
        None, description="Only messages published in these hours are sent; null: always."
    )
    rate: int = Field(
        60,
        ge=1,
        le=6000,
        description="Sendings per minute. What comes faster waits and goes out together where the kind "
        "allows it; nothing is dropped.",
    )
    digest: Duration | None = Field(
        None,
        le=86_400,
        description="Messages are collected for this time, from the first on, and go out together; null: "
        "each at once.",
    )

    @field_validator(*_USED_BY)
    @classmethod
    def _as_its_kind_wants(cls, value: T, info: ValidationInfo) -> T:
        kind, name = info.data.get("kind"), info.field_name
        assert name is not None
        unset = cls.model_fields[name].get_default()
        if kind is not None and kind not in _USED_BY[name] and value != unset:
            raise unfit(f"{'nothing' if unset == () else unset or 'null'}: {kind} does not use it")
        if kind == "email" and name in ("smtp", "sender", "to") and not value:
            raise unfit("a value: email needs it")
        if kind == "pagerduty" and name == "key" and value is None:
            raise unfit("a value: pagerduty needs it")
        return value

    @field_validator("password")
    @classmethod
    def _with_a_username(cls, password: Secret | None, info: ValidationInfo) -> Secret | None:
        return both_or_neither(password, info, "username")

    @field_validator("digest")
    @classmethod
    def _that_goes_together(cls, digest: float | None, info: ValidationInfo) -> float | None:
        if digest is not None and info.data.get("kind") == "pagerduty":
            raise unfit("null: pagerduty takes one message at a time")
        return digest

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        count = (self.url is not None) + (self.secret_url is not None)
        if self.kind in ("webhook", "slack", "alertmanager") and count != 1:
            raise unfit("exactly one of url and secret_url" if self.kind != "alertmanager" else "a url")
        return self


class Notify(Part):
    """Where `detector notify` sends alerts and case updates, besides their topics."""

    receivers: tuple[Receiver, ...] = Field(
        (), max_length=RECEIVERS_MAX, description="Each gets every message that its rules take."
    )
    start: Literal["latest", "earliest"] = Field(
        "latest", description="Where a receiver begins that has never received anything."
    )
    address: ListenAddress = Field(
        "127.0.0.1:9465",
        description="host:port of the pages of this process; http.tls, http.token and http.unprotected "
        "count here, too.",
    )

    @field_validator("receivers")
    @classmethod
    def _different(cls, receivers: tuple[Receiver, ...]) -> tuple[Receiver, ...]:
        names = [receiver.name for receiver in receivers]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise unfit(f"receivers with different names ({name} is there twice)")
        return receivers
