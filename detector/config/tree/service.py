"""What surrounds the model: Kafka, topics, checkpoints, HTTP and the log."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from detector.config.tree.base import (
    TOPIC_LENGTH_MAX,
    Duration,
    ListenAddress,
    Part,
    Secret,
    Servers,
    Topic,
    both_or_neither,
    is_loopback,
    leak,
    of_shadow,
    unfit,
    wrong,
)

T = TypeVar("T")
GROUP_LENGTH_MAX = 200
SHADOW_PORT = 9465  # of a shadow that states no address: beside a service on the same machine
_LOGIN = ("sasl_mechanism", "username", "password")
_OWNERS = {"oauth": "OAUTHBEARER", "aws_region": "AWS_MSK_IAM"}
_CERTIFICATES = ("ca_file", "cert_file", "key_file", "key_password")


def _without_a_secret(url: str) -> str:
    if "?" in url or re.search(r"://[^/@:]*:(?!\d{1,5}/)[^@]*@", url):
        raise leak("a URL without a password and a query string: configure them in the store's own client")
    return url


def _over_http(url: str) -> str:
    if not re.match(r"https?://[^/\s]+(/\S*)?$", url):
        raise wrong("an http:// or https:// URL")
    return url


def _encrypted(url: str) -> str:
    host = re.match(r"https?://(\[[^\]]*\]|[^/:\s]+)", url)
    if host is None or not (url.startswith("https://") or is_loopback(f"{host[1]}:1")):
        raise wrong("an https:// URL: a client's secret is sent there")
    return url


class Oauth(Part):
    """Where tokens come from: OIDC client credentials. `username` names the client, `password` its secret."""

    token_url: Annotated[str, AfterValidator(_without_a_secret), AfterValidator(_encrypted)] = Field(
        min_length=1, max_length=2048, description="https:// URL of the token endpoint."
    )
    scope: str | None = Field(None, max_length=1024, description="What is asked for; null: the default.")
    extensions: tuple[Annotated[str, Field(pattern=r"^[A-Za-z]{1,64}=[\x20-\x7e]{1,256}$")], ...] = Field(
        (), max_length=16, description="Sent along with each token, e.g. logicalCluster=lkc-1 (RFC 7628)."
    )
    ca_file: str | None = Field(
        None, description="PEM file of trusted authorities; null: those of the system."
    )
    timeout: Duration = Field(5.0, description="Longest wait for a token.")


class Security(Part):
    """How to connect to Kafka. The names are those of the Kafka client."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL: encrypted; SASL: with a user name and a password."
    )
    sasl_mechanism: (
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"] | None
    ) = Field(None, description="How to log in; required by SASL_*.")
    username: str | None = Field(
        None, description="Required by SASL_*, except by AWS_MSK_IAM. OAUTHBEARER: the client's id."
    )
    password: Secret | None = Field(
        None,
        description="Where the password, or the client's secret, is kept. A file is read at each login.",
    )
    oauth: Oauth | None = Field(None, description="Where tokens come from; required by OAUTHBEARER.")
    aws_region: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]{1,32}$",
        description="Region of the cluster; required by AWS_MSK_IAM. Credentials are those of the machine.",
    )
    ca_file: str | None = Field(
        None, description="PEM file of trusted authorities; null: those of the system."
    )
    cert_file: str | None = Field(None, description="PEM file of the client certificate, for mutual TLS.")
    key_file: str | None = Field(None, description="PEM file of the certificate's key.")
    key_password: Secret | None = Field(None, description="Where the password of key_file is kept.")
    check_hostname: bool = Field(True, description="Whether the server's certificate must name its host.")

    @field_validator(*_LOGIN, *_CERTIFICATES)
    @classmethod
    def _as_the_protocol_wants(cls, value: T, info: ValidationInfo) -> T:
        protocol = info.data.get("protocol")
        login = info.field_name in _LOGIN
        if protocol is None:
            return value
        used = ("SASL" if login else "SSL") in protocol
        if value is not None and not used:
            raise unfit(f"null: protocol {protocol} does not use it")
        mechanism = info.data.get("sasl_mechanism")
        if login and mechanism == "AWS_MSK_IAM":
            if value is not None:
                raise unfit("null: AWS_MSK_IAM takes the credentials of the machine")
        elif value is None and used and login:
            raise unfit(f"a value: protocol {protocol} needs it")
        return value

    @field_validator("oauth", "aws_region")
    @classmethod
    def _as_the_mechanism_wants(cls, value: T, info: ValidationInfo) -> T:
        mechanism, owner = info.data.get("sasl_mechanism"), _OWNERS[str(info.field_name)]
        if "sasl_mechanism" not in info.data:
            return value
        if value is not None and mechanism != owner:
            raise unfit(f"null: only sasl_mechanism {owner} uses it")
        if value is None and mechanism == owner:
            raise unfit(f"a value: sasl_mechanism {owner} needs it")
        return value

    @field_validator("sasl_mechanism")
    @classmethod
    def _encrypted(cls, mechanism: str | None, info: ValidationInfo) -> str | None:
        if mechanism in _OWNERS.values() and info.data.get("protocol") == "SASL_PLAINTEXT":
            raise unfit("PLAIN or SCRAM, or protocol SASL_SSL: a token that is seen can be used by others")
        return mechanism

    @field_validator("key_file")
    @classmethod
    def _with_its_certificate(cls, key_file: str | None, info: ValidationInfo) -> str | None:
        return both_or_neither(key_file, info, "cert_file")


class Kafka(Part):
    """The cluster, and the consumer group."""

    bootstrap_servers: Servers = Field(
        ("127.0.0.1:9092",), description="First brokers to contact: a list, or a text like a:9092,b:9092."
    )
    group_id: str = Field(
        "detector",
        min_length=1,
        max_length=GROUP_LENGTH_MAX,
        description="Replicas of one group share the partitions.",
    )
    group_instance_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Static membership: a restart within the session timeout moves no partition. Each "
        "replica needs its own.",
    )
    leave_on_stop: bool = Field(
        False, description="true: a static member gives up its partitions at once when it stops."
    )
    security: Security = Security()
    session_timeout_ms: int = Field(
        15_000, ge=1000, le=600_000, description="A member that is silent for this long loses its partitions."
    )
    poll_records_max: int = Field(2048, ge=1, le=100_000, description="Maximum records per poll.")
    transaction_timeout_ms: int = Field(
        15_000, ge=1000, le=900_000, description="The broker aborts a transaction that is open for longer."
    )
    request_timeout_ms: int = Field(
        10_000, ge=1000, le=600_000, description="Longest wait for one answer of the broker."
    )
    api_version: tuple[int, int] | None = Field(
        None, description="Protocol version; null: ask the broker. librdkafka's mock cluster needs [2, 3]."
    )

    def of_shadow(self, shadow: str) -> Self:
        """A group of its own; transactional ids and places of checkpoints follow from it."""
        return self.model_copy(update={"group_id": of_shadow(self.group_id, shadow, GROUP_LENGTH_MAX)})


class Topics(Part):
    """Topics that are read and written. Each has a name of its own."""

    transactions: Topic = Field("transactions", description="Input: the events.")
    alerts: Topic = Field("alerts", description="Output: the alerts.")
    case_updates: Topic | None = Field(
        None, description="Output: what is held back of alerted entities; null: it is counted only."
    )
    dead_letter: Topic = Field(
        "dead_letter", description="Output: rejected events, with the reason and the original bytes."
    )
    feedback: Topic | None = Field(
        None, description="Input: answers and other feedback (one partition); null: there is none."
    )
    receipts: Topic | None = Field(
        None,
        description="Output: what became of each feedback record; null: not published. With several "
        "partitions it needs exchange.",
    )
    scores: Topic | None = Field(None, description="Output: the score of every event; null: alerts only.")
    exchange: Topic | None = Field(
        None,
        description="Input and output: messages between shards (one partition); null: each shard learns from "
        "its own partition alone.",
    )

    @field_validator("receipts")
    @classmethod
    def _of_feedback(cls, receipts: Topic | None, info: ValidationInfo) -> Topic | None:
        if receipts is not None and "feedback" in info.data and info.data["feedback"] is None:
            raise unfit("null, or a topic in topics.feedback: receipts are about its records")
        return receipts

    @field_validator("*")
    @classmethod
    def _different(cls, topic: str | None, info: ValidationInfo) -> str | None:
        others = {name: key for key, name in info.data.items() if name is not None}
        if topic in others:
            raise unfit(f"a name that no other topic has (topics.{others[topic]} has it)")
        return topic

    def of_shadow(self, shadow: str) -> Self:
        """What a shadow writes has topics of its own; it reads the same."""
        written = {
            key: of_shadow(topic, shadow, TOPIC_LENGTH_MAX)
            for key, topic in self
            if topic is not None and key not in ("transactions", "feedback")
        }
        return self.model_copy(update=written)


class Registry(Part):
    """The schema registry, by the API of Confluent's; others speak it, too (Apicurio: /apis/ccompat/v7)."""

    url: Annotated[str, AfterValidator(_without_a_secret), AfterValidator(_over_http)] = Field(
        min_length=1, max_length=2048, description="http:// or https:// URL, without a password."
    )
    username: str | None = Field(None, description="For basic authentication; null: none.")
    password: Secret | None = Field(None, description="Where the password is kept.")
    ca_file: str | None = Field(
        None, description="PEM file of trusted authorities; null: those of the system."
    )
    cert_file: str | None = Field(None, description="PEM file of the client certificate, for mutual TLS.")
    key_file: str | None = Field(None, description="PEM file of the certificate's key.")
    key_password: Secret | None = Field(None, description="Where the password of key_file is kept.")
    check_hostname: bool = Field(True, description="Whether the server's certificate must name its host.")
    timeout: Duration = Field(5.0, description="Longest wait for a connection or a part of an answer.")
    retries: int = Field(
        2, ge=0, le=10, description="Times a request is repeated at once. After that the partition waits."
    )

    @field_validator("password")
    @classmethod
    def _with_a_username(cls, password: Secret | None, info: ValidationInfo) -> Secret | None:
        return both_or_neither(password, info, "username")

    @field_validator("key_file")
    @classmethod
    def _with_its_certificate(cls, key_file: str | None, info: ValidationInfo) -> str | None:
        return both_or_neither(key_file, info, "cert_file")


class Checkpoints(Part):
    """Where checkpoints are kept. Every replica of the group must reach the same place."""

    url: Annotated[str, AfterValidator(_without_a_secret)] = Field(
        "file://./checkpoints",
        min_length=1,
        description="Any fsspec URL: a folder, s3://, gs://, abfs://; without a password.",
    )
    interval: Duration = Field(
        30.0, description="A barrier starts a checkpoint if the last one is older than this."
    )
    keep: int = Field(3, ge=2, le=1000, description="Checkpoints kept per partition.")
    age_max: Duration = Field(
        86400.0,
        description="Maximum age of a checkpoint: a partition too quiet for regular barriers makes one "
        "before the log it needs is deleted.",
    )


class HttpTls(Part):
    """The certificate of the pages. A renewed one is used within a minute."""

    cert_file: str = Field(min_length=1, description="PEM file of the certificate, with its chain.")
    key_file: str = Field(min_length=1, description="PEM file of the certificate's key, without a password.")


class Http(Part):
    """The pages /livez, /readyz, /status and /metrics."""

    address: ListenAddress = Field(
        "127.0.0.1:9464", description="host:port to listen on; 0.0.0.0:9464 for all networks."
    )
    tls: HttpTls | None = Field(None, description="The certificate; null: plain HTTP.")
    token: Secret | None = Field(
        None,
        description="Where the bearer token of /metrics, /status and the details of /readyz is kept; null: "
        "whoever reaches the pages sees them. /livez and whether the service is ready need no token.",
    )
    unprotected: bool = Field(
        False,
        description="true: an address that other machines reach needs no tls and no token; the network "
        "protects it.",
    )

    @field_validator("unprotected")
    @classmethod
    def _protected_beyond_loopback(cls, unprotected: bool, info: ValidationInfo) -> bool:
        address, tls, token = (info.data.get(key) for key in ("address", "tls", "token"))
        open_ = address is not None and not is_loopback(address)
        if open_ and not unprotected and (tls is None or token is None):
            raise unfit("true, or both http.tls and http.token: other machines reach http.address")
        return unprotected

    def of_shadow(self, _shadow: str) -> Self:
        """Another port, unless an address is stated."""
        if "address" in self.model_fields_set:
            return self
        return self.model_copy(update={"address": f"127.0.0.1:{SHADOW_PORT}"})


class Log(Part):
    """The service's own log."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level written.")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else json."
    )
