"""What the image holds, and that it works without rights. Built anew for each run: some ten minutes."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import pytest

from tests.image.rootfs import USER, Image, ImageUnavailable, build
from tests.kafka.waiting import poll_until

# Compiling takes half a minute of CPU time or more; with the image's kernels the start takes a few seconds.
FIRST_EVENT_CPU_S = 15.0


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    try:
        build()
    except ImageUnavailable as unavailable:
        pytest.skip(str(unavailable))
    with Image() as made:
        yield made


def test_a_program_has_no_rights_and_a_read_only_root(image: Image) -> None:
    rights = "grep -E '^(Cap(Eff|Bnd)|NoNewPrivs)' /proc/self/status"
    code, said = image.run(["sh", "-c", f"id -u; {rights}; touch /var/lib/detector/x /x; touch /tmp/x"])
    assert code == 0, said
    lines = said.split("\n")
    assert lines[0] == str(USER)
    assert set(re.findall(r"Cap\w+:\t(\w+)", said)) == {"0" * 16}
    assert "NoNewPrivs:\t1" in said
    assert said.count("Read-only file system") == 2


def test_it_holds_what_runs_and_not_what_builds_or_tests(image: Image) -> None:
    code, said = image.run(["/opt/detector/bin/pip", "list", "--format=freeze"])
    assert code == 0, said
    names = {line.partition("==")[0].lower() for line in said.split()}
    assert {"stream-anomaly-detector", "numba", "fastavro", "protobuf", "s3fs", "confluent-kafka"} <= names
    assert not names & {"pytest", "mypy", "ruff", "wheel", "pandas", "moto"}
    assert not (image.root / "usr/bin/g++").exists()
    assert not (image.root / "root/.cache").exists()


def test_the_demo_runs_with_the_kernels_of_the_image(image: Image) -> None:
    demo = image.start(["detector", "demo", "--seconds", "10"])
    assert demo.stdout is not None
    said = demo.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/metrics", said)
    assert found, said + demo.communicate()[0]

    def value(name: str) -> float:
        try:
            with urllib.request.urlopen(found[0], timeout=5) as answer:
                page = answer.read().decode()
        except OSError:
            return 0.0
        return sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE))

    assert poll_until(lambda: value("detector_events_scored_total") > 0 or demo.poll() is not None)
    took_s = value("process_cpu_seconds_total")
    rest, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, rest
    print(f"first event after {took_s:.1f} s of CPU time\n{rest}")
    assert 0.0 < took_s < FIRST_EVENT_CPU_S
