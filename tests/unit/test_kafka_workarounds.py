"""The contract with kafka-python: the version, and each private name that `workarounds` uses.

No broker is needed: clients with a given `api_version` do not connect when they are made.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.producer.sender import Sender
from kafka.producer.transaction_manager import TransactionManager
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

import detector.shell.kafka
from detector.shell.kafka import workarounds

PACKAGE = Path(detector.shell.kafka.__file__).parent
ROOT = Path(__file__).parents[2]
NOWHERE = {"bootstrap_servers": "127.0.0.1:1", "api_version": (2, 3), "metrics_enabled": False}

RECORDS = Fetcher.PartitionRecords
# Every function of kafka-python that `workarounds` calls or replaces and that is not public API.
SIGNATURES: list[tuple[Any, str, str]] = [
    (
        RECORDS,
        "__init__",
        "(self, fetch_offset, tp, records, key_deserializer=None, value_deserializer=None, check_crcs=True, "
        "isolation_level=<IsolationLevel.READ_UNCOMMITTED: 0>, aborted_transactions=None, "
        "metric_aggregator=None, on_drain=<lambda>)",
    ),
    (RECORDS, "_unpack_records", "(self, tp, records, key_deserializer, value_deserializer)"),
    (RECORDS, "drain", "(self)"),
    (RECORDS, "_consume_aborted_transactions_up_to", "(self, offset)"),
    (RECORDS, "_contains_abort_marker", "(self, batch)"),
    (RECORDS, "_is_batch_aborted", "(self, batch)"),
    (DefaultRecordBatch, "validate_crc", "(self)"),
    (DefaultRecordBatch, "has_producer_id", "(self)"),
    (DefaultRecordBatch, "_maybe_uncompress", "(self)"),
    (ConsumerCoordinator, "need_rejoin", "(self)"),
    (ConsumerCoordinator, "request_rejoin", "(self)"),
    (ConsumerCoordinator, "_send_group_coordinator_request", "(self)"),
    (ConsumerCoordinator, "_send_heartbeat_request", "(self)"),
    (ConsumerCoordinator, "_on_join_prepare_async", "(self, generation, member_id, timeout_ms=None)"),
    (NetworkSelector, "sleep", "(self, delay)"),
    (KafkaNetClient, "__init__", "(self, net=None, manager=None, **configs)"),
    (KafkaNetClient, "await_ready", "(self, node_id, timeout_ms=30000)"),
    (KafkaNetClient, "close", "(self, node_id=None)"),
    (Sender, "force_close", "(self)"),
    (Sender, "join", "(self, timeout=None)"),
    (TransactionManager, "authentication_failed", "(self, exc)"),
    (KafkaAdminClient, "_find_coordinator_ids", "(self, keys, key_type=<CoordinatorType.GROUP: 0>)"),
    (KafkaAdminClient, "_async_get_leader_for_partitions", "(self, partitions)"),
    (KafkaConnectionManager, "run", "(self, coro, *args)"),
    (KafkaConnectionManager, "send", "(self, request, node_id=None, request_timeout_ms=None)"),
]
COROUTINES = {
    "_find_coordinator_ids",
    "_async_get_leader_for_partitions",
    "_send_group_coordinator_request",
    "_send_heartbeat_request",
    "_on_join_prepare_async",
}
# Private attributes that `workarounds` reads or sets, and how to reach the object that has them.
ATTRIBUTES: dict[str, str] = {
    "_fetcher": "consumer",
    "_next_partition_records": "consumer._fetcher",
    "_cluster": "consumer",
    "_coordinator": "consumer",
    "_join_task": "consumer._coordinator",
    "_manager": "consumer._coordinator",
    "_net": "consumer._coordinator._manager",
    "_sender": "producer",
    "_transaction_manager": "producer",
    "_buffer": "batch",
    "_pos": "batch",
}
# Public by name, but of private objects.
MEMBERS = {
    "records": {"next_fetch_offset", "check_crcs", "leader_epoch", "aborted_producer_ids"},
    "batch": {
        "base_offset",
        "first_timestamp",
        "is_control_batch",
        "last_offset",
        "leader_epoch",
        "max_timestamp",
        "next_offset",
        "producer_id",
        "records_count",
        "timestamp_type",
    },
}


@pytest.fixture(scope="module")
def objects() -> Iterator[dict[str, Any]]:
    """One of each kind of object that `workarounds` looks into."""
    consumer = KafkaConsumer(**NOWHERE, group_id="group")
    producer = KafkaProducer(**NOWHERE, transactional_id="id")
    yield {
        "consumer": consumer,
        "producer": producer,
        "batch": DefaultRecordBatch(bytes(DefaultRecordBatch.HEADER_STRUCT.size)),
        "records": RECORDS(0, None, None),
    }
    producer.close(timeout=0)
    consumer.close(timeout_ms=0)


def test_the_installed_version_is_the_one_that_the_workarounds_were_read_for() -> None:
    installed, expected = metadata.version("kafka-python"), workarounds.KAFKA_PYTHON_VERSION
    assert installed == expected, (
        f"kafka-python {installed} is installed, but detector/shell/kafka/workarounds.py was written for "
        f"{expected}. Read the new version's code for each private name used there before changing the pin."
    )


@pytest.mark.parametrize("file", ["pyproject.toml", "requirements.lock", "requirements-bench.lock"])
def test_the_version_is_pinned_exactly(file: str) -> None:
    pins = re.findall(r"^\W*kafka-python(?:\[[\w,]+\])?([^\s\",]+)", (ROOT / file).read_text(), re.MULTILINE)
    assert pins == [f"=={workarounds.KAFKA_PYTHON_VERSION}"], f"{file} must pin kafka-python exactly"


def signature_of(function: Any) -> str:
    return re.sub(r"<function .*?<lambda> at \w+>", "<lambda>", str(inspect.signature(function)))


@pytest.mark.parametrize(("owner", "name", "signature"), SIGNATURES)
def test_private_functions_have_the_known_signatures(owner: Any, name: str, signature: str) -> None:
    function = getattr(owner, name, None)
    assert function is not None, (
        f"kafka-python has no {owner.__qualname__}.{name} any more; workarounds.py uses it"
    )
    assert signature_of(function) == signature, (
        f"{owner.__qualname__}.{name} of kafka-python has another signature; check its use in workarounds.py"
    )
    assert inspect.iscoroutinefunction(function) == (name in COROUTINES), (
        f"{owner.__qualname__}.{name} of kafka-python has changed between function and coroutine"
    )


@pytest.mark.parametrize(("name", "path"), sorted(ATTRIBUTES.items()))
def test_private_attributes_are_there(name: str, path: str, objects: dict[str, Any]) -> None:
    found: Any = objects[path.partition(".")[0]]
    for step in path.split(".")[1:]:
        found = getattr(found, step)
    assert hasattr(found, name), f"kafka-python's {path} has no {name} any more; workarounds.py uses it"


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner in MEMBERS for name in sorted(MEMBERS[owner])]
)
def test_members_of_private_objects_are_there(owner: str, name: str, objects: dict[str, Any]) -> None:
    assert hasattr(objects[owner], name), f"kafka-python's {type(objects[owner]).__qualname__} lacks {name}"


def test_private_objects_are_of_the_known_kinds(objects: dict[str, Any]) -> None:
    """The signatures above are those of these classes."""
    consumer, producer = objects["consumer"], objects["producer"]
    assert type(consumer._fetcher) is Fetcher
    assert type(consumer._coordinator) is ConsumerCoordinator
    assert type(consumer._coordinator._manager._net) is NetworkSelector
    assert consumer._coordinator._join_task is None
    assert type(producer._sender) is Sender
    assert type(producer._transaction_manager) is TransactionManager


def test_the_fetcher_reads_what_we_set_at_each_fetch(objects: dict[str, Any]) -> None:
    fetcher = objects["consumer"]._fetcher
    workarounds.tune_fetches(objects["consumer"], busy=True)
    assert (fetcher.config["fetch_min_bytes"], fetcher.config["fetch_max_wait_ms"]) == (32_768, 10)
    workarounds.tune_fetches(objects["consumer"], busy=False)
    assert (fetcher.config["fetch_min_bytes"], fetcher.config["fetch_max_wait_ms"]) == (1, 500)
    request = inspect.getsource(Fetcher._create_fetch_requests)
    assert {"self.config['fetch_min_bytes']", "self.config['fetch_max_wait_ms']"} <= set(
        re.findall(r"self\.config\['\w+'\]", request)
    )
    assert "self.PartitionRecords(" in inspect.getsource(Fetcher._parse_fetched_data)


def test_a_replaced_coroutine_is_the_one_that_is_called() -> None:
    """The coordinator looks these up on itself at each call, so an attribute of the object replaces them."""
    source = inspect.getsource(inspect.getmodule(ConsumerCoordinator.__bases__[0]))  # type: ignore[arg-type]
    assert "self._send_group_coordinator_request)" in source
    assert "await self._on_join_prepare_async(" in source
    assert "self._join_task.is_done" in source


# --- completeness ------------------------------------------------------------------------------------------


def foreign_private_names(tree: ast.AST) -> set[str]:
    """Return attributes with a leading underscore that are not those of a class defined here."""
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own = {*functions, *(a.attr for a in attributes if is_self(a) and isinstance(a.ctx, ast.Store))}
    private = [a for a in attributes if re.match(r"_(?!_)", a.attr)]
    return {a.attr for a in private if not is_self(a) or a.attr not in own}


def is_self(attribute: ast.Attribute) -> bool:
    return isinstance(attribute.value, ast.Name) and attribute.value.id == "self"


def test_every_private_name_that_is_used_is_in_this_contract() -> None:
    used = foreign_private_names(ast.parse(Path(workarounds.__file__).read_text()))
    known = {*ATTRIBUTES, *(name for _, name, _ in SIGNATURES if name.startswith("_"))} - {"__init__"}
    assert used == known


@pytest.mark.parametrize("file", sorted(p.name for p in PACKAGE.glob("*.py") if p.name != "workarounds.py"))
def test_only_workarounds_uses_private_names(file: str) -> None:
    assert foreign_private_names(ast.parse((PACKAGE / file).read_text())) == set(), f"move it from {file}"


def test_the_search_for_private_names_sees_them() -> None:
    source = (
        "class A:\n def _f(self):\n  self._own = 1\n  self._own, self._f, self._inherited, x._foreign, x.y"
    )
    assert foreign_private_names(ast.parse(source)) == {"_inherited", "_foreign"}


def test_records_parked_by_a_pause_are_delivered_after_it() -> None:
    paused, other = TopicPartition("t", 0), TopicPartition("t", 1)
    consumer = KafkaConsumer(**NOWHERE, group_id="group")
    fetcher = consumer._fetcher
    consumer.assign([paused, other])
    for at in (paused, other):
        consumer.seek(at, 0)
    used_up = RECORDS(0, other, None)
    used_up.drain()
    assert not used_up
    fetcher._next_partition_records = used_up
    fetcher._paused_partition_records[paused] = RECORDS(0, paused, MemoryRecords(batch_of(b"parked")))
    workarounds.release_parked_records(consumer)
    (records,) = fetcher.fetched_records()[0].values()
    consumer.close(timeout_ms=0)
    assert [record.value for record in records] == [b"parked"]


def batch_of(value: bytes) -> bytes:
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1024)
    builder.append(timestamp=1, key=None, value=value)
    builder.close()
    return bytes(builder.buffer())
