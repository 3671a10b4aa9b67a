"""Rules of the source code: directions of imports, a pure core, sizes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import detector

ROOT = Path(detector.__file__).parent

# A module may import what is on a lower level, and what is in its own package (but see SEPARATE).
LEVELS = {
    "__init__": 0,
    "errors": 1,
    "early_stop": 0,
    "kernel_cache": 1,
    "config": 2,
    "core": 3,
    "ports": 4,
    "notify": 5,
    "fairness": 5,
    "rendering": 6,
    "console": 6,
    "shell": 6,
    "testing": 6,
    "wiring": 7,
    "demo": 8,
    "api": 8,
    "cli": 9,
    "__main__": 10,
}
DOOR = "api"  # what `from detector import ...` gives, imported when it is asked for
SEPARATE = {"shell"}  # rooms that never import each other: only wiring knows more than one
SHARED = {
    "calls",
    "finding",
    "objects",
    "remote",
    "watch",
    "web",
}  # files of such a package that all of its rooms may import

# The rooms of the core, floor by floor: a room imports only from lower floors. The ground floor, 0, is the
# files of the core that belong to no room.
FLOORS = {
    "events": 1,
    "recovery": 1,
    "drift": 1,
    "features": 2,
    "model": 3,
    "alerts": 3,
    "labels": 4,
    "shard": 5,
    "reporting": 5,
}
ARROWS_MAX = 16  # between rooms of the core


# All that the core may import besides itself, the configuration and the errors.
CORE_MAY_IMPORT = {
    "__future__",
    "abc",
    "array",
    "binascii",
    "bisect",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "types",
    "typing",
    "unicodedata",  # which characters are not seen
    "zlib",
    "hnswlib",
    "msgspec",
    "numba",
    "numpy",
}
# Where one file may import more, and why.
CORE_EXCEPTIONS = {
    "core/state.py": {"io", "struct", "zipfile"},  # buffers in memory, and the errors of a torn archive
    "core/events/formats/avro.py": {"io", "fastavro"},  # buffers in memory; the extra that reads Avro
    "core/events/formats/protobuf.py": {"google.protobuf"},  # the extra that reads Protobuf
    "core/recovery/generations.py": {"urllib.parse"},  # escaping of names
    "core/shard/partition.py": {"importlib.metadata", "platform"},  # versions that a checkpoint records
}
RANDOM_MAY_BE = {"Generator", "PCG64", "SeedSequence", "default_rng"}  # all of them from a given seed
CLOCKS = {"now", "utcnow", "today"}

# Each third-party client is known to one file, or to one room, so it can be replaced there.
CLIENTS = (
    "kafka",
    "prometheus_client",
    "structlog",
    "fsspec",
    "river",
    "hnswlib",
    "typer",
    "yaml",
    "confluent_kafka",
    "sqlite3",
    "starlette",
    "uvicorn",
    "jinja2",
    "joserfc",
)
# Sizes, over the whole package. An exception names a file, class or function, its own limit, and why.
LINES_MAX = 500  # of a file
ATTRIBUTES_MAX = 20  # of a class: assigned on self, and fields of a dataclass that is not frozen
FUNCTION_LINES_MAX = 70  # from `def` to its last line
SIZE_EXCEPTIONS: dict[str, tuple[int, str]] = {}

NEVER = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "runpy"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__", "import_module"}


@dataclass(frozen=True)
class Import:
    """One imported module, with its line."""

    module: str
    line: int

    def within(self, module: str) -> bool:
        """Whether it is this module, or inside it."""
        return f"{self.module}.".startswith(f"{module}.")

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def sources() -> dict[str, str]:
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.rglob("*.py"))}


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def imports(path: str, source: str) -> Iterator[Import]:
    """Everything imported anywhere in a file, also inside functions."""
    package = ["detector", *Path(path).parent.parts]
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno)


def part(path: str) -> str:
    return Path(path).parts[0].removesuffix(".py")


def room(path: str) -> str:
    """The folder below `core` or `shell`, or the file that stands there alone."""
    return Path(path).parts[1].removesuffix(".py") if len(Path(path).parts) > 1 else ""


def arrows(files: Mapping[str, str]) -> set[tuple[str, str]]:
    """Which room of the core imports from which other one."""
    return {
        (room(path), names[2])
        for path, source in files.items()
        if part(path) == "core"
        for names in (imported.module.split(".") for imported in imports(path, source))
        if names[:2] == ["detector", "core"] and names[2] != room(path)
        if room(path) in FLOORS and names[2] in FLOORS
    }


def wrong_floors(files: Mapping[str, str]) -> list[str]:
    """Imports of the core that go up, or stay on the floor."""
    found = [
        f"{path}: give {room(path)} a floor"
        for path in files
        if part(path) == "core" and len(Path(path).parts) > 2 and room(path) not in FLOORS
    ]
    for path, source in files.items():
        if part(path) != "core":
            continue
        for imported in imports(path, source):
            names = imported.module.split(".")
            if names[:2] != ["detector", "core"] or names[2] == room(path):
                continue
            if FLOORS.get(names[2], 0) >= max(FLOORS.get(room(path), 0), 1):
                found.append(f"{path}:{imported.line}: {imported.module} is not below {room(path)}")
    return found


def wrong_directions(files: Mapping[str, str]) -> list[str]:
    found = []
    for path, source in files.items():
        if part(path) not in LEVELS:
            found.append(f"{path}: give it a level")
            continue
        for imported in imports(path, source):
            names = imported.module.split(".")
            if names[0] != "detector":
                continue
            target = names[1] if len(names) > 1 and names[1] in LEVELS else "__init__"
            if path == "__init__.py" and target == DOOR:
                continue
            same = target == part(path)
            if same and target in SEPARATE and not {room(path), *SHARED} & set(names[2:3]):
                found.append(f"{path}:{imported.line}: {imported.module} is another room of {target}")
            elif not same and LEVELS[target] >= LEVELS[part(path)]:
                found.append(f"{path}:{imported.line}: {imported.module} is not below {part(path)}")
    return found


def impurities(files: Mapping[str, str]) -> list[str]:
    """Ways from the core to the world, the clock and shared chance."""
    found = []
    for path, source in files.items():
        if part(path) != "core":
            continue
        allowed = CORE_MAY_IMPORT | CORE_EXCEPTIONS.get(path, set()) | {"detector"}
        found += [
            f"{path}:{imported.line}: {imported.module}"
            for imported in imports(path, source)
            if not any(imported.within(module) for module in allowed) or imported.within("numpy.random")
        ]
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("open", "print", "input") or name.rpartition(".")[2] in CLOCKS:
                    found.append(f"{path}:{node.lineno}: {name}()")
                if name.endswith("default_rng") and not node.args:
                    found.append(f"{path}:{node.lineno}: a generator without a seed")
            if (
                isinstance(node, ast.Attribute)
                and ast.unparse(node.value) in ("np.random", "numpy.random")
                and node.attr not in RANDOM_MAY_BE
            ):
                found.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.Global):
                found.append(f"{path}:{node.lineno}: global {', '.join(node.names)}")
    return found


def homes(files: Mapping[str, str], client: str) -> set[str]:
    return {path for path, source in files.items() if any(i.top == client for i in imports(path, source))}


def dangers(files: Mapping[str, str]) -> list[str]:
    """Ways from data to code."""
    found = []
    for path, source in files.items():
        found += [f"{path}:{i.line}: {i.module}" for i in imports(path, source) if i.top in NEVER]
        for node in ast.walk(parsed(source)):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            bare = name if "." not in name else name.rpartition(".")[2]
            if bare in NEVER_CALLED and not name.startswith("re."):
                found.append(f"{path}:{node.lineno}: {name}()")
            if any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords):
                found.append(f"{path}:{node.lineno}: allow_pickle")
            if name.startswith("yaml.") and bare in ("load", "load_all", "unsafe_load", "full_load"):
                loader = [ast.unparse(k.value) for k in node.keywords if k.arg == "Loader"]
                loader += [ast.unparse(argument) for argument in node.args[1:2]]
                if bare != "load" or not loader or "Unsafe" in loader[0] or loader[0].endswith("FullLoader"):
                    found.append(f"{path}:{node.lineno}: {name}()")
    return found


def sizes(files: Mapping[str, str]) -> Iterator[tuple[str, int, int]]:
    """Place, size and limit of every file, class and function."""
    for path, source in files.items():
        yield path, len(source.splitlines()), LINES_MAX
        for name, node in definitions(parsed(source), ""):
            if isinstance(node, ast.ClassDef):
                yield f"{path}:{name}", len(attributes(node)), ATTRIBUTES_MAX
            else:
                yield f"{path}:{name}", (node.end_lineno or 0) - node.lineno + 1, FUNCTION_LINES_MAX


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def definitions(node: ast.AST, outer: str) -> Iterator[tuple[str, Definition]]:
    """Classes and functions with their qualified names, also those inside others."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            name = f"{outer}{child.name}"
            yield name, child
            yield from definitions(child, f"{name}.")
        else:
            yield from definitions(child, outer)


def attributes(node: ast.ClassDef) -> set[str]:
    """Names assigned on self, and fields of a dataclass whose fields may be assigned."""
    found = {
        target.attr
        for method in node.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
        for target in ast.walk(method)
        if isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store)
        if isinstance(target.value, ast.Name) and target.value.id == "self"
    }
    decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
    if "dataclass" in decorators and "frozen=True" not in decorators:
        found |= {
            line.target.id
            for line in node.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        }
    return found


def too_large(files: Mapping[str, str], exceptions: Mapping[str, tuple[int, str]]) -> list[str]:
    return [
        f"{place}: {size}, limit {limit}"
        for place, size, usual in sizes(files)
        if size > (limit := exceptions.get(place, (usual, ""))[0])
    ]


# --- the rules ---------------------------------------------------------------------------------------------


def test_the_sources_are_there() -> None:
    files = sources()
    expected = {
        "errors.py",
        "ports.py",
        "config/tree/config.py",
        "core/shard/shard.py",
        "shell/runner/loop.py",
    }
    assert expected <= set(files)


def test_imports_go_one_way() -> None:
    assert wrong_directions(sources()) == []


def test_the_package_imports_its_door_only_when_asked() -> None:
    modules = "{name for name in sys.modules if name.startswith(('detector.', 'numpy', 'numba'))}"
    code = f"import detector, sys; assert not {modules}; from detector import Detector; assert {modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_service_loads_only_what_it_uses() -> None:
    """Libraries of extras would cost each start 150 MB and more than a second of CPU time, modules of other
    commands .15 s.
    """
    others = {"console", "fairness", "rendering", "config.infer", "shell.files", "wiring.file_replay"}
    never = {"river", "sklearn", "pandas", "pyarrow", *(f"detector.{name}" for name in others)}
    code = f"import sys, detector.cli, detector.wiring.daemon; assert not {never} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("floor", sorted(set(FLOORS.values())))
def test_a_room_of_the_core_imports_from_lower_floors_only(floor: int) -> None:
    files = {path: source for path, source in sources().items() if part(path) == "core"}
    there = {path: source for path, source in files.items() if FLOORS.get(room(path)) == floor}
    assert there
    assert wrong_floors(there) == []


def test_files_beside_the_rooms_of_the_core_import_from_none() -> None:
    files = {path: source for path, source in sources().items() if room(path) not in FLOORS}
    assert wrong_floors(files) == []


def test_arrows_between_rooms_are_few() -> None:
    assert len(arrows(sources())) <= ARROWS_MAX


def test_the_core_has_no_io_no_clock_and_no_global_randomness() -> None:
    assert impurities(sources()) == []


def test_exceptions_of_the_core_are_still_needed() -> None:
    files = sources()
    for path, modules in CORE_EXCEPTIONS.items():
        for module in modules:
            assert any(imported.within(module) for imported in imports(path, files[path])), (path, module)


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_library_is_used_in_one_room(client: str) -> None:
    rooms = {(part(path), room(path) if part(path) != "cli" else "") for path in homes(sources(), client)}
    # fsspec: checkpoints, and files of events, by URL
    assert len(rooms) == (2 if client == "fsspec" else 1)


def test_clients_are_where_they_belong() -> None:
    files = sources()
    for client in ("kafka", "prometheus_client", "structlog", "fsspec"):
        assert {part(path) for path in homes(files, client)} == {"shell"}
    assert homes(files, "river") == {"api/online.py"}
    assert homes(files, "hnswlib") == {"core/model/index.py"}
    assert {room(path) for path in homes(files, "kafka")} == {"kafka"}
    assert {part(path) for path in homes(files, "typer")} == {"cli"}
    assert homes(files, "yaml") == {"config/yaml_text.py"}


def test_data_never_becomes_code() -> None:
    assert dangers(sources()) == []


def test_files_classes_and_functions_are_small() -> None:
    assert too_large(sources(), SIZE_EXCEPTIONS) == []


def test_exceptions_of_sizes_are_still_needed() -> None:
    found = {place: size > usual for place, size, usual in sizes(sources())}
    assert [place for place in SIZE_EXCEPTIONS if not found.get(place)] == []


# --- the checker itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/x.py", "from detector.shell.kafka import KafkaStream"),
        ("core/x.py", "from detector import ports"),
        ("core/x.py", "import detector.wiring"),
        ("core/x.py", "from .. import ports"),
        ("core/x.py", "from ..shell import http"),
        ("core/x.py", "def f():\n    from detector.cli import main"),
        ("config/x.py", "from detector.core.records import Record"),
        ("errors.py", "from detector.config.tree import Config"),
        ("ports.py", "from detector.testing import MemoryStore"),
        ("testing.py", "from detector.shell.runner.loop import Runner"),
        ("shell/x.py", "from detector.testing import MemoryStore"),
        ("shell/x.py", "from detector.shell.kafka import KafkaStream"),
        ("shell/x.py", "from detector.shell import kafka"),
        ("shell/x.py", "from . import kafka"),
        ("shell/x.py", "from .kafka import KafkaStream"),
        ("shell/x.py", "from detector.wiring import run"),
        ("wiring/x.py", "from detector.cli import main"),
        ("elsewhere.py", "import math"),
    ],
)
def test_a_wrong_direction_is_seen(path: str, source: str) -> None:
    assert len(wrong_directions({path: source})) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/x.py", "from detector.core.records import Record\nfrom detector.config.tree import Event"),
        (
            "core/x.py",
            "from . import records\nfrom .records import Record\nfrom ..errors import NeedsOperator",
        ),
        ("shell/x.py", "from detector.ports import Log\nfrom detector.core.records import Record"),
        ("shell/kafka/x.py", "from detector.shell.kafka.y import z\nfrom .y import z"),
        ("shell/kafka/x.py", "from detector.shell import calls\nfrom detector.shell.calls import within"),
        ("testing.py", "from detector.ports import Log"),
        ("wiring/x.py", "from detector.shell import kafka\nfrom detector.shell.http import HttpServer"),
        ("cli/x.py", "from detector import __version__, rendering"),
        ("core/x.py", "import detectors\nfrom math import pi"),
    ],
)
def test_a_right_direction_is_accepted(path: str, source: str) -> None:
    assert wrong_directions({path: source}) == []


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("core/model/x.py", "from detector.core.labels.feedback import Label", 1),
        ("core/model/x.py", "from detector.core.alerts import policy", 1),
        ("core/records.py", "from detector.core.events.parser import Parser", 1),
        ("core/attic/x.py", "import math", 1),
        ("core/model/x.py", "from detector.core.model.index import Index", 0),
        ("core/model/x.py", "from detector.core.features import Rows", 0),
        ("core/model/x.py", "from detector.core.state import State", 0),
    ],
)
def test_a_wrong_floor_is_seen(path: str, source: str, wrong: int) -> None:
    assert len(wrong_floors({path: source})) == wrong


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import time",
        "from time import monotonic",
        "import logging",
        "import random",
        "from random import random",
        "import socket",
        "import threading",
        "from concurrent.futures import Future",
        "import io",
        "from pathlib import Path",
        "import fsspec",
        "from urllib.request import urlopen",
        "from importlib import import_module",
        "def f():\n    import os.path",
        "np.random.rand(3)",
        "np.random.seed(0)",
        "from numpy.random import rand",
        "rng = np.random.default_rng()",
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "date.today()",
        "open('x')",
        "print('x')",
        "def f():\n    global x",
    ],
)
def test_an_impure_core_is_seen(source: str) -> None:
    assert len(impurities({"core/x.py": source})) >= 1
    assert impurities({"shell/x.py": source}) == []


def test_a_pure_core_is_accepted() -> None:
    source = (
        "import numpy as np\nfrom numpy.typing import NDArray\nrng = np.random.default_rng(3)\nrng.random()"
    )
    assert impurities({"core/x.py": source}) == []


def test_homes_are_found_wherever_a_client_is_imported() -> None:
    files = {
        "a.py": "import kafka",
        "b.py": "from kafka.errors import KafkaError",
        "c.py": "def f():\n    import kafka.admin as admin",
        "d.py": "import kafkaesque\nfrom detector.shell import kafka",
    }
    assert homes(files, "kafka") == {"a.py", "b.py", "c.py"}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import dump",
        "eval('1')",
        "exec(text)",
        "__import__('os')",
        "importlib.import_module(name)",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=flag)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
    ],
)
def test_a_danger_is_seen(source: str) -> None:
    assert len(dangers({"shell/x.py": source})) == 1


def test_safe_code_is_accepted() -> None:
    source = (
        "re.compile('x')\nnp.load(f, allow_pickle=False)\nyaml.safe_load(t)\nyaml.load(t, Loader=SafeLoader)"
    )
    assert dangers({"shell/x.py": source}) == []


def test_sizes_above_the_limit_are_found() -> None:
    assignments = "\n".join(f"        self.a{n} = self.b, self.c = 1, 2" for n in range(19))
    of_class = f"class A:\n    def f(self):\n{assignments}\n        self.a0.x = other.y = 1"
    assert too_large({"x.py": of_class}, {}) == ["x.py:A: 21, limit 20"]
    assert too_large({"x.py": of_class}, {"x.py:A": (21, "")}) == []
    fields = "\n".join(f"    a{n}: int" for n in range(21))
    assert too_large({"x.py": f"@dataclass(slots=True)\nclass A:\n{fields}"}, {}) == ["x.py:A: 21, limit 20"]
    assert too_large({"x.py": f"@dataclass(frozen=True)\nclass A:\n{fields}"}, {}) == []
    function = "class A:\n    def f():\n        def g():\n" + "            pass\n" * 69
    assert too_large({"x.py": function}, {}) == ["x.py:A.f: 71, limit 70"]
    assert too_large({"x.py": "\n" * 501}, {}) == ["x.py: 501, limit 500"]


def test_the_documentation_lists_every_module() -> None:
    document = ROOT.parent / "docs" / "explanation" / "architecture.md"
    listing = document.read_text().split("## Modules")[1].split("```")[1]
    modules = {path.name for path in ROOT.rglob("*.py") if not path.name.startswith("__")}
    assert set(re.findall(r"\b\w+\.py\b", listing)) == modules
