"""What all sections share: their base class, types of values, and how a check reports a problem."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

T = TypeVar("T")
PORT_MAX = 65_535
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$")
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)\s*$")
_BYTES = {"B": 1} | {f"{p}iB": 1 << 10 * i for i, p in enumerate("KMGT", start=1)}
_BYTES |= {f"{p}B": 1000**i for i, p in enumerate("kMGT", start=1)}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


# --- problems --------------------------------------------------------------------------------------------

WRONG, UNFIT, LEAK = "wrong", "unfit", "leak"  # types of the errors below


def wrong(allowed: str) -> PydanticCustomError:
    """Make the error of a value that is wrong by itself.

    Parameters
    ----------
    allowed
        Completes the sentence "got X, expected ...".
    """
    return _error(WRONG, allowed)


def unfit(allowed: str) -> PydanticCustomError:
    """Make the error of a value that does not fit other keys."""
    return _error(UNFIT, allowed)


def leak(allowed: str) -> PydanticCustomError:
    """Make the error of a value that holds a secret. The value must not be shown."""
    return _error(LEAK, allowed)


def _error(type_: str, allowed: str) -> PydanticCustomError:
    return PydanticCustomError(type_, "expected {allowed}", {"allowed": allowed})


def both_or_neither(value: T, info: ValidationInfo, other: str) -> T:
    """Check, in a validator, that this key and an earlier one both have a value, or neither."""
    if other in info.data and (value is None) != (info.data[other] is None):
        raise unfit(f"both {other} and {info.field_name}, or neither")
    return value


def of_shadow(name: str, shadow: str, length_max: int) -> str:
    """Give a topic or group of a shadow its name; one that has it stays, so a loaded configuration does."""
    suffix = f"-shadow-{shadow}"
    if name.endswith(suffix):
        return name
    if len(name) + len(suffix) > length_max:
        raise unfit(f"at most {length_max - len(suffix)} characters in {name!r}: shadow adds {suffix}")
    return name + suffix


# --- types of values -------------------------------------------------------------------------------------


def to_seconds(value: Any) -> Any:
    """Read a text such as 15m; another one is a ValueError. Anything else stays as it is."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError("a duration like 500ms, 30s, 15m, 12h or 7d")
        return float(match[1]) * _SECONDS[match[2]]
    return value


def to_bytes(text: str) -> int:
    """Read a size such as 2GiB; anything else is a ValueError that says what is expected."""
    match = _SIZE.match(text)
    if match is None:
        raise ValueError("a size like 512MiB, 2GiB or 2GB")
    return int(float(match[1]) * _BYTES[match[2]])


def _to_bytes(value: Any) -> Any:
    return to_bytes(value) if isinstance(value, str) else value


def _split(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _with_a_port(address: str) -> str:
    if int(address.rpartition(":")[2]) > PORT_MAX:
        raise wrong(f"a port of at most {PORT_MAX}")
    return address


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address, as far as its text says so."""
    host = address.rpartition(":")[0].strip("[]").lower()
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


Duration = Annotated[
    float,
    BeforeValidator(to_seconds, json_schema_input_type=float | str),
    Field(gt=0, le=10 * 365 * 86400.0, description="Seconds, or a text like 500ms, 30s, 15m, 12h, 7d."),
]
Size = Annotated[
    int,
    BeforeValidator(_to_bytes, json_schema_input_type=int | str),
    Field(description="Bytes, or a text like 512MiB, 2GiB, 2GB."),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
TOPIC_LENGTH_MAX = 249
Topic = Annotated[str, Field(pattern=rf"^[A-Za-z0-9._-]{{1,{TOPIC_LENGTH_MAX}}}$")]
ShadowName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Server = Annotated[
    str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:,/]+):\d{1,5}$"), AfterValidator(_with_a_port)
]
Servers = Annotated[
    tuple[Server, ...],
    BeforeValidator(_split, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=64),
]
ListenAddress = Annotated[
    str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:]*):\d{1,5}$"), AfterValidator(_with_a_port)
]


# --- sections --------------------------------------------------------------------------------------------


class Part(BaseModel):
    """Base of every section: frozen, and unknown keys are refused."""

    # The text of a ValidationError shows no values: one of them may be a secret.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
    )


class Secret(Part):
    """Where a secret is kept. A configuration never holds the secret itself."""

    env: str | None = Field(None, description="Environment variable that holds the secret.", min_length=1)
    file: str | None = Field(None, description="File that holds the secret.", min_length=1)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise unfit("exactly one of env and file")
        return self
