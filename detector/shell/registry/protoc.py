"""Protobuf schemas as a registry has them (texts) become descriptors, by Google's own compiler.

protoc comes with the package grpcio-tools (the extra `protobuf`). It runs in a process of its own, as the
texts are from outside: it has a time limit, and an accident in it ends nothing else. A schema takes about
0.2 s, once.

Imports are found among the files that every registry knows without a reference (google/protobuf/,
google/type/ and Confluent's own), then among the references of the schema.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from detector.errors import ConfigError, Problem

COMPILE_S_MAX = 30.0
DESCRIPTOR_BYTES_MAX = 8 << 20
_BUILT_IN = {
    "confluent/meta.proto": """
syntax = "proto3";
package confluent;
import "google/protobuf/descriptor.proto";
message Meta {
  string doc = 1;
  map<string, string> params = 2;
  repeated string tags = 3;
}
extend google.protobuf.FileOptions { Meta file_meta = 1088; }
extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
""",
    "confluent/type/decimal.proto": """
syntax = "proto3";
package confluent.type;
message Decimal {
  bytes value = 1;
  uint32 precision = 2;
  int32 scale = 3;
}
""",
}


class Uncompilable(ValueError):
    """The compiler refuses a schema; the text says why."""


def compile_protobuf(text: str, references: Sequence[tuple[str, str]] = ()) -> bytes:
    """Compile a schema with all that it imports.

    Parameters
    ----------
    references
        Names, as imports write them, and texts.

    Returns
    -------
    descriptors
        A serialized FileDescriptorSet. Files come after those that they import; the last one is the schema.

    Raises
    ------
    Uncompilable
    ConfigError
        The extra `protobuf` is not installed.
    OSError, subprocess.TimeoutExpired
        The compiler could not be run to its end.
    """
    compiler = _folder("grpc_tools")
    with tempfile.TemporaryDirectory(prefix="detector-protoc-") as scratch:
        known, given = Path(scratch) / "known", Path(scratch) / "given"
        for folder, files in ((known, _BUILT_IN.items()), (given, references)):
            folder.mkdir()
            for name, content in files:
                path = folder / _checked(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
        (known / "google").mkdir()
        (known / "google/type").symlink_to(_folder("google.type"))
        schema = given / _free_name({name for name, _ in references})
        schema.write_text(text, encoding="utf-8")
        result = Path(scratch) / "descriptors"
        folders = [known, compiler / "_proto", given]
        done = subprocess.run(
            [
                *(sys.executable, "-P", "-m", "grpc_tools.protoc"),
                *(f"--proto_path={folder}" for folder in folders),
                *("--include_imports", f"--descriptor_set_out={result}", str(schema)),
            ],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=COMPILE_S_MAX,
            check=False,
        )
        if done.returncode or not result.is_file():
            raise Uncompilable(_problem(done.stderr.decode(errors="replace"), scratch))
        if result.stat().st_size > DESCRIPTOR_BYTES_MAX:
            raise Uncompilable(f"its descriptors have more than {DESCRIPTOR_BYTES_MAX} bytes")
        return result.read_bytes()


def _folder(package: str) -> Path:
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None or not found.submodule_search_locations:
        allowed = 'the extra "protobuf": pip install "detector[protobuf]"'
        raise ConfigError("event.format", [Problem(path="event.format", value="protobuf", allowed=allowed)])
    return Path(next(iter(found.submodule_search_locations)))


def _checked(name: str) -> str:
    """The name of a file below a folder; names come from the registry."""
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name and len(name) <= 200
    if not plain or path.is_absolute() or ".." in path.parts or path.suffix != ".proto":
        raise Uncompilable("a reference of it is not named as a .proto file is")
    return str(path)


def _free_name(taken: set[str]) -> str:
    name = "schema.proto"
    while name in taken:
        name = f"_{name}"
    return name


def _problem(text: str, scratch: str) -> str:
    """The compiler's first complaint, without the folder's name: it is another one each time."""
    lines = text.replace(f"{scratch}/given/", "").splitlines()
    complaints = [line for line in lines if ".proto:" in line and ": warning: " not in line]
    return f"it cannot be compiled: {complaints[0] if complaints else 'no reason given'}"[:200]
