"""Which Kafka the tests of this folder use.

- `kafka`: one broker for the whole run, with all listeners and the authorizer on; each worker of pytest-xdist
  has its own. If KAFKA_BOOTSTRAP_SERVERS is set, that cluster is used instead: nothing is started, and only
  PLAINTEXT is available.
- `own_kafka`: a broker for one test, to kill, freeze and restart. `own_cluster`: three of them.
- `place`, `own_place`: topics and a group for one test, on `kafka` or `own_kafka`.

A test that uses one of these is marked `kafka`. Without Java or Maven it is skipped. With CI=true and Java it
fails instead, so that a broken CI machine is noticed.

Most of the time these tests wait, for sessions that expire and processes that start. So `make test` runs
three workers, `-n 3 --dist loadgroup`, also on two cores. Tests that start a registry or brokers come first,
as they take longest. No test may assume how fast anything is.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import pytest

from tests.kafka.broker import LISTENERS, PLAINTEXT, KafkaBroker
from tests.kafka.cluster import KafkaCluster
from tests.kafka.distribution import KafkaUnavailable, java
from tests.kafka.place import Place

_EXTERNAL = "KAFKA_BOOTSTRAP_SERVERS"
LONG = ("own_kafka", "own_cluster", "registry")  # what the longest tests start, the longest last
Own = TypeVar("Own", KafkaBroker, KafkaCluster)


class ExternalKafka:
    """A cluster that was not started here, with the part of KafkaBroker's interface that tests need."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def bootstrap_for(self, listener: str) -> str:
        if listener != PLAINTEXT:
            pytest.skip(f"{_EXTERNAL} names only a PLAINTEXT listener, the test needs {listener}")
        return self.bootstrap

    def client_settings(self, listener: str = PLAINTEXT) -> dict[str, Any]:
        return {"bootstrap_servers": self.bootstrap_for(listener), "security_protocol": "PLAINTEXT"}

    def allow(self, listener: str, *_: object, **__: object) -> None:
        self.bootstrap_for(listener)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker | ExternalKafka]:
    external = os.environ.get(_EXTERNAL)
    if external:
        yield ExternalKafka(external)
        return
    yield from _started(KafkaBroker(listeners=LISTENERS, authorizer=True))


@pytest.fixture
def own_kafka() -> Iterator[KafkaBroker]:
    _require_own()
    yield from _started(KafkaBroker(listeners=[PLAINTEXT]))


@pytest.fixture
def own_cluster() -> Iterator[KafkaCluster]:
    _require_own()
    yield from _started(KafkaCluster())


@pytest.fixture
def place(kafka: KafkaBroker, topic_name: str) -> Iterator[Place]:
    place = Place(kafka, topic_name)
    yield place
    place.close()


@pytest.fixture
def own_place(own_kafka: KafkaBroker, topic_name: str) -> Iterator[Place]:
    place = Place(own_kafka, topic_name)
    yield place
    own_kafka.resume() if own_kafka.running else None
    place.close()


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """Return a topic name for this test. Groups and transactional ids may begin with it too."""
    return f"{request.node.originalname.removeprefix('test_')}-{uuid.uuid4().hex[:8]}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def takes_long(item: pytest.Item) -> int:
        used = set(getattr(item, "fixturenames", ()))
        return sum(rank for rank, name in enumerate(LONG, 1) if name in used)

    for item in items:
        if {"kafka", "own_kafka", "own_cluster"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)
    items.sort(key=takes_long, reverse=True)


def _require_own() -> None:
    if os.environ.get(_EXTERNAL):
        pytest.skip(f"the test stops brokers, which is not for those of {_EXTERNAL}")


def _started(kafka: Own) -> Iterator[Own]:
    try:
        kafka.__enter__()
    except KafkaUnavailable as unavailable:
        _give_up(str(unavailable))
    try:
        yield kafka
    finally:
        kafka.remove()


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true" and _has_java():
        pytest.fail(f"CI=true, and {reason}", pytrace=False)
    pytest.skip(reason.splitlines()[0])


def _has_java() -> bool:
    try:
        java()
    except KafkaUnavailable:
        return False
    return True
