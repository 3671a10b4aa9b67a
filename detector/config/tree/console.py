"""`console`: the pages of `detector console`, where analysts work."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from detector.config.tree.base import Duration, ListenAddress, Part, Secret, is_loopback, unfit, wrong

Role = Literal["viewer", "analyst", "lead"]


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,253})(:\d{1,5})?", text):
        raise wrong("scheme and host alone, like https://console.example.com")
    return text.lower()


def _keys(text: str) -> str:
    if "://" in text and not re.fullmatch(r"https?://[^/\s?#@]+(/[^\s#]*)?", text):
        raise wrong("an https:// or http:// URL without a password, or a file")
    return text


class ConsoleProxy(Part):
    """The OpenID Connect token that a proxy passes on with every request, and who may do what."""

    issuer: str = Field(min_length=1, max_length=2048, description="The token's `iss`, to the letter.")
    audience: str = Field(min_length=1, max_length=1024, description="What its `aud` must name.")
    jwks: Annotated[str, AfterValidator(_keys)] = Field(
        min_length=1, max_length=2048, description="URL or file of the provider's public keys (JWKS)."
    )
    header: str = Field(
        "Authorization",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Header that carries it, with or without `Bearer` before it.",
    )
    name_claim: str = Field(
        "preferred_username", min_length=1, max_length=64, description="Claim that names the person."
    )
    role_claim: str = Field(
        "roles",
        min_length=1,
        max_length=128,
        description="Claim with the person's roles, a text or a list; dots lead into objects. Nobody without "
        "viewer, analyst or lead in it gets in; of several the highest counts.",
    )
    ca_file: str | None = Field(
        None, description="PEM file of trusted authorities for jwks; null: those of the system."
    )


class Console(Part):
    """The pages of `detector console`, where analysts work."""

    address: ListenAddress = Field(
        "127.0.0.1:9470", description="host:port to listen on; http.tls counts here, too."
    )
    origin: Annotated[str, AfterValidator(_origin)] | None = Field(
        None,
        description="How browsers reach the pages where a proxy stands before them, like "
        "https://console.example.com; null: as the address says.",
    )
    tokens: str = Field(
        "console.tokens",
        min_length=1,
        max_length=4096,
        description="Mode token: file of the hashed tokens, which `detector console token` writes.",
    )
    proxy: ConsoleProxy | None = Field(None, description="Mode proxy: which tokens are taken.")
    mode: Literal["none", "token", "proxy"] = Field(
        "none",
        description="Who gets in. none: whoever reaches the address, as lead, on this machine only; token: "
        "who has a token; proxy: whose OpenID Connect token a proxy passes on.",
    )
    session: Duration = Field(
        12 * 3600.0, ge=60, le=30 * 86_400, description="How long a log-in lasts, in mode token."
    )
    session_key: Secret | None = Field(
        None,
        description="Where the key that signs log-ins and forms is kept; null: beside the database.",
    )
    database: str = Field(
        "console.db",
        min_length=1,
        max_length=4096,
        description="File of what was read from the topics. It may be deleted: it is read again.",
    )
    days: int = Field(
        30, ge=1, le=3650, description="Records that are older than the newest by more are dropped."
    )
    rows: int = Field(
        200_000,
        ge=1000,
        le=10_000_000,
        description="Most alerts that are kept, and as many case updates, answers and receipts.",
    )
    map_every: Duration | None = Field(
        None,
        ge=60,
        description="How old a map of the embedding may get before it is drawn again, when somebody asks for "
        "it: from the newest checkpoint, by a process that needs the memory of one partition. null: no map.",
    )
    mask: tuple[Role, ...] = Field(
        (), max_length=3, description="Roles whose pages show ids of entities masked."
    )
    replicas: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        (),
        max_length=64,
        description="Where the pages of the service's replicas are, like http://detector-0:9464; they are "
        "asked with http.token. Empty: http.address of this machine.",
    )

    @field_validator("mode")
    @classmethod
    def _as_open_as_it_may_be(cls, mode: str, info: ValidationInfo) -> str:
        address = info.data.get("address")
        if mode == "none" and address is not None and not is_loopback(address):
            raise unfit("token or proxy: other machines reach console.address")
        if mode == "proxy" and "proxy" in info.data and info.data["proxy"] is None:
            raise unfit("none or token, or a section console.proxy")
        return mode
