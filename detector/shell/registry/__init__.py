"""The client of a schema registry, and the compiler of the Protobuf schemas in it."""

from detector.shell.registry.client import SCHEMAS_MAX, UNKNOWN_S, RegistryClient
from detector.shell.registry.protoc import Uncompilable, compile_protobuf

__all__ = ["SCHEMAS_MAX", "UNKNOWN_S", "RegistryClient", "Uncompilable", "compile_protobuf"]
