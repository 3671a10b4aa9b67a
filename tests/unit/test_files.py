"""A replay of files: any end of the process at any moment changes no byte of what comes out."""

from __future__ import annotations

import base64
import csv
import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.config.tree import Topics
from detector.core.recovery.journal import Journal
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard import partition as partition_module
from detector.errors import NeedsOperator
from detector.ports import Commit, Committed, Message
from detector.shell.files import FileExchange, FileSideLog, FileStream, OutputFiles, line_reader
from detector.shell.files.exchange import EXCHANGE
from detector.shell.files.outputs import OutputFile
from detector.shell.runner.loop import Runner
from detector.testing import FakeClock, InlineExecutor, MemoryLog, MemoryStore
from tests.chain import ChainShard
from tests.unit.runner_world import Crash, config

NAMES = {"alerts": "alerts.jsonl", "rejected": "rejected.jsonl", "scores": "scores.csv"}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_module, "Shard", ChainShard)
    monkeypatch.setattr(line_reader, "GROUP_LINES", 64)


def key_of(line: bytes) -> bytes | None:
    return line.split(b" ")[0] or None


def write_events(path: Path, count: int = 500) -> Path:
    lines = [b"" if n % 41 == 7 else b"card%d event %d" % (n * 7 % 23, n) for n in range(count)]
    text = b"\n".join(lines)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text + b"\n")
    return path


def outputs(folder: Path, suffix: str = "") -> OutputFiles:
    return OutputFiles(**{kind: folder / f"{name}{suffix}" for kind, name in NAMES.items()})


class Replay:
    """One folder, one store, as many processes as it takes."""

    def __init__(
        self,
        folder: Path,
        *,
        partitions: int = 1,
        suffix: str = "",
        interval_s: float = 0.002,
        exchange: bool = False,
    ) -> None:
        self.folder, self.partitions, self.suffix = folder, partitions, suffix
        folder.mkdir(exist_ok=True)
        self.events = folder.parent / "events.jsonl"
        if not self.events.exists():
            write_events(self.events)
        self.store = MemoryStore()
        topics = {"topics": {"scores": "scores", "exchange": "exchange"}} if exchange else {}
        self.config = config(checkpoints={"interval": interval_s}, **topics)
        self.clock = FakeClock()
        self.telemetry = Telemetry()

    def stream(self, *, resume: bool = True) -> FileStream:
        return FileStream(
            self.events,
            key_of=key_of,
            partitions=self.partitions,
            topics=self.config.topics,
            outputs=outputs(self.folder, self.suffix),
            folder=self.folder / "state",
            resume=resume,
        )

    def run(self) -> None:
        stream = self.stream()
        poll = stream.poll

        def ticking(timeout_ms: int) -> Any:
            self.clock.sleep(0.001)
            return poll(timeout_ms)

        stream.poll = ticking  # type: ignore[method-assign]
        self.runner(stream).run()

    def runner(self, stream: FileStream) -> Runner:
        return Runner(
            config=self.config,
            topic="events",
            group="replay",
            entity_key=b"secret",
            stream=stream,
            store=self.store,
            sides={} if stream.exchange is None else {"exchange": stream.exchange},
            clock=self.clock,
            telemetry=self.telemetry,
            log=MemoryLog(),
            executor=InlineExecutor(),
            commit_interval_s=0.0,
            metadata_bytes_max=1 << 30,
        )

    def result(self) -> dict[str, bytes]:
        return {name: (self.folder / f"{name}{self.suffix}").read_bytes() for name in NAMES.values()}


@pytest.mark.parametrize(
    ("partitions", "suffix", "exchange"), [(1, "", False), (3, "", False), (3, ".gz", False), (3, "", True)]
)
def test_killed_anywhere_and_resumed_it_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: int, suffix: str, exchange: bool
) -> None:
    kind: dict[str, Any] = {"partitions": partitions, "suffix": suffix, "exchange": exchange}
    undisturbed = Replay(tmp_path / "undisturbed", **kind)
    undisturbed.run()
    expected = undisturbed.result()
    assert all(expected.values())
    assert (undisturbed.telemetry.totals().exchange["applied"] > 0) == exchange

    append, write, append_messages = OutputFile.append, Path.replace, FileExchange.append
    for left in itertools.count():
        steps = itertools.count()

        def die(steps: Iterator[int] = steps, left: int = left) -> bool:
            return next(steps) == left

        def torn(self: Any, text: bytes, die: Callable[[], bool] = die) -> None:
            if die():
                append(self, text[: len(text) // 2])
                self.file.flush()
                raise Crash
            append(self, text)

        def replaced(self: Path, target: Path, die: Callable[[], bool] = die) -> Path:
            if die():
                raise Crash
            done = write(self, target)
            if die():
                raise Crash
            return done

        def torn_exchange(self: FileExchange, values: Iterable[bytes], die: Callable[[], bool] = die) -> None:
            messages = list(values)
            if messages and die():
                append_messages(self, [*messages[:-1], messages[-1][: len(messages[-1]) // 2]])
                raise Crash
            append_messages(self, messages)

        replay = Replay(tmp_path / f"killed{left}", **kind)
        with monkeypatch.context() as patch:
            patch.setattr(OutputFile, "append", torn)
            patch.setattr(FileExchange, "append", torn_exchange)
            patch.setattr(Path, "replace", replaced)
            try:
                replay.run()
                break
            except Crash:
                pass
        replay.run()
        assert replay.result() == expected
    assert left > 20


@pytest.mark.parametrize(("suffix", "exchange"), [("", False), (".gz", False), ("", True)])
def test_stopped_at_every_turn_and_resumed_it_ends_with_the_same_bytes(
    tmp_path: Path, suffix: str, exchange: bool
) -> None:
    undisturbed = Replay(tmp_path / "undisturbed", partitions=2, suffix=suffix, exchange=exchange)
    undisturbed.run()
    stopped = Replay(tmp_path / "stopped", partitions=2, suffix=suffix, interval_s=1e6, exchange=exchange)
    for _ in range(12):
        runner = stopped.runner(stopped.stream())
        for _ in range(12):
            if runner.turn():
                break
        runner.stop()
        runner.run()
    assert stopped.result() == undisturbed.result()


def test_outputs_are_in_the_order_of_the_input(tmp_path: Path) -> None:
    results = []
    for partitions in (1, 4):
        replay = Replay(tmp_path / str(partitions), partitions=partitions)
        replay.run()
        rows = list(csv.DictReader((replay.folder / "scores.csv").read_text().splitlines()))
        ids = [int(row["event_id"]) for row in rows]
        assert ids == [n for n in range(500) if n % 41 != 7]
        assert {row["alert"] for row in rows} == {"0", "1"}
        assert float(rows[3]["score"]) == 3 / 7
        results.append(ids)
    assert results[0] == results[1]


# --- messages between shards --------------------------------------------------------------------------------


def test_shards_of_a_replay_exchange_messages_with_and_without_a_folder(tmp_path: Path) -> None:
    alone, together = (Replay(tmp_path / str(on), partitions=3, exchange=on) for on in (False, True))
    alone.run()
    together.run()
    assert alone.result()["alerts.jsonl"] != together.result()["alerts.jsonl"]
    assert not (alone.folder / "state" / EXCHANGE).exists()
    no_folder = Replay(tmp_path / "no_folder", partitions=3, exchange=True)
    stream = FileStream(
        no_folder.events,
        key_of=key_of,
        partitions=3,
        topics=no_folder.config.topics,
        outputs=outputs(no_folder.folder),
    )
    no_folder.runner(stream).run()
    assert no_folder.result() == together.result()


def test_messages_are_visible_in_order_once_all_partitions_reach_the_same_line(tmp_path: Path) -> None:
    path = write_events(tmp_path / "events.jsonl", 2 * 64)
    stream = FileStream(path, key_of=key_of, partitions=2, topics=Topics(exchange="exchange"))
    exchange = stream.exchange
    assert exchange is not None

    def publish(partition: int, line: int, *values: tuple[int, bytes]) -> int:
        messages = [
            Message(topic="exchange", key=None, value=value, headers=(), partition=partition, offset=offset)
            for offset, value in values
        ]
        positions = {partition: Committed(offset=line, metadata="")}
        stream.commit(Commit(messages=messages, positions=positions, membership=None))
        return exchange.end(0.0)

    stream.poll(0)
    stream.poll(0)
    assert publish(1, 50, (40, b"1/40"), (40, b"1/40 again")) == 0
    assert publish(1, 64, (63, b"1/63")) == 0
    assert publish(0, 64, (12, b"0/12"), (50, b"")) == 5
    expected = [b"0/12", b"1/40", b"1/40 again", b"", b"1/63"]
    assert exchange.read(0, 5) == list(enumerate(expected))
    assert exchange.read(1, 3) == [(1, b"1/40"), (2, b"1/40 again")]
    assert (exchange.beginning(), exchange.log_end()) == (0, 5)
    stream.close()


def test_an_exchange_is_cut_to_what_was_committed_and_refused_if_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "exchange"
    log = FileExchange(path)
    log.append([b"one", b"two"])
    size = log.size
    log.append([b"three"])
    log.file.close()
    again = FileExchange(path, size)
    assert again.read(0, 9) == [(0, b"one"), (1, b"two")]
    assert path.stat().st_size == size
    again.append([b"four"])
    assert again.read(2, 3) == [(2, b"four")]
    again.file.close()
    for wrong in (size - 1, size + 100):
        with pytest.raises(NeedsOperator, match="has changed since"):
            FileExchange(path, wrong)
    path.unlink()
    with pytest.raises(NeedsOperator, match="cannot be written"):
        FileExchange(path, size)


def test_a_replay_is_not_resumed_with_the_exchange_switched(tmp_path: Path) -> None:
    for on in (False, True):
        replay = Replay(tmp_path / str(on), partitions=2, exchange=on)
        replay.run()
        replay.config = Replay(tmp_path / str(on), exchange=not on).config
        with pytest.raises(NeedsOperator, match="with other outputs"):
            replay.stream()


def test_rejected_lines_have_reason_and_value(tmp_path: Path) -> None:
    path = write_events(tmp_path / "events.jsonl", 3)
    stream = FileStream(path, key_of=key_of, topics=Topics(), outputs=outputs(tmp_path))
    while not stream.poll(0).exhausted:
        pass
    headers = (("detector_reason", b"malformed"), ("detector_detail", b"at byte 0"))
    messages = [
        Message(topic="dead_letter", key=None, value=value, headers=headers, partition=0, offset=offset)
        for offset, value in enumerate((b"text", b"\xff\x00", None))
    ]
    stream.commit(Commit(messages=messages, positions={0: Committed(offset=3, metadata="")}, membership=None))
    stream.close()
    lines = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert lines[0] == {"reason": "malformed", "detail": "at byte 0", "offset": 0, "value": "text"}
    assert base64.b64decode(lines[1]["value_base64"]) == b"\xff\x00"
    assert lines[2]["value"] is None


# --- reading ------------------------------------------------------------------------------------------------


def read_all(stream: FileStream) -> list[tuple[int, int, bytes | None, bytes | None]]:
    found = []
    while True:
        poll = stream.poll(0)
        for partition, records in poll.records.items():
            found += [(r.offset, partition, r.key, r.value) for r in records]
        if poll.exhausted:
            return sorted(found)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"", []),
        (b"a\nb", [b"a", b"b"]),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\r\n\r\n\n b", [b"a", b"", b"", b" b"]),
        (b"\n", [b""]),
        (b"a\n\n", [b"a", b""]),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_line_is_a_record_whose_offset_is_its_number(
    tmp_path: Path, text: bytes, values: list[bytes], zipped: bool
) -> None:
    path = tmp_path / ("events.jsonl.gz" if zipped else "events.jsonl")
    path.write_bytes(gzip.compress(text) if zipped else text)
    stream = FileStream(path, key_of=lambda line: None)
    records = read_all(stream)
    assert [value for _, _, _, value in records] == values
    assert [offset for offset, _, _, _ in records] == list(range(len(values)))
    assert stream.end(0) == len(values)
    stream.close()


def test_partitions_are_stable_and_can_be_read_again(tmp_path: Path) -> None:
    path = write_events(tmp_path / "events.jsonl.gz", 300)
    reported: list[int] = []
    stream = FileStream(path, key_of=key_of, partitions=3, progress=reported.append)
    first = stream.poll(0)
    assert first.changes[0].partitions == (0, 1, 2)
    assert not first.records
    records = read_all(stream)
    assert [offset for offset, _, _, _ in records] == list(range(300))
    assert len({(partition, key) for _, partition, key, _ in records}) == len(
        {key for _, _, key, _ in records}
    )
    assert reported[-1] == stream.size_bytes == path.stat().st_size
    stream.seek(1, 100)  # one of them is rebuilt
    assert stream.position(1) == 100
    again = read_all(stream)
    assert again == [record for record in records if record[1] == 1 and record[0] >= 100]
    stream.pause([0])
    stream.seek(0, 0)
    stream.seek(2, 290)
    poll = stream.poll(0)
    assert not poll.exhausted
    assert set(poll.records) == {2}
    stream.resume([0])
    assert read_all(stream) == [record for record in records if record[1] == 0]
    stream.close()


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_reader, "LINE_BYTES_MAX", 10)
    monkeypatch.setattr(line_reader, "POLL_BYTES_MAX", 12)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"0123456789" * 100 + b"\nab\n012345678\n0123456789\ncd")
    stream = FileStream(path, key_of=lambda line: None)
    values = [value for _, _, _, value in read_all(stream)]
    assert values == [b"0123456789", b"ab", b"012345678", b"0123456789", b"cd"]
    stream.close()


# --- what only an operator can mend -------------------------------------------------------------------------


def test_unusable_files_are_reported_in_a_sentence(tmp_path: Path) -> None:
    def opened(path: Path, **arguments: Any) -> FileStream:
        return FileStream(path, key_of=key_of, **arguments)

    with pytest.raises(NeedsOperator, match=r"nowhere\.jsonl cannot be read: No such file"):
        opened(tmp_path / "nowhere.jsonl")
    with pytest.raises(NeedsOperator, match="cannot be read: Is a directory"):
        opened(tmp_path)
    (tmp_path / "text.gz").write_text("{}")
    with pytest.raises(NeedsOperator, match="is not a gzip file"):
        opened(tmp_path / "text.gz")
    events = write_events(tmp_path / "events.jsonl.gz")
    with pytest.raises(NeedsOperator, match=r"alerts\.jsonl cannot be written: No such file"):
        opened(events, outputs=outputs(tmp_path / "missing"))
    with pytest.raises(NeedsOperator, match="must be different files"):
        opened(events, outputs=OutputFiles(alerts=events))
    with pytest.raises(NeedsOperator, match="must be different files"):
        opened(events, outputs=OutputFiles(alerts=tmp_path / "a", rejected=tmp_path / "a"))
    opened(events, outputs=OutputFiles(alerts=Path("/dev/null"), rejected=Path("/dev/null"))).close()
    events.write_bytes(events.read_bytes()[:-20])
    stream = opened(events)
    with pytest.raises(NeedsOperator, match="is damaged or truncated after line"):
        read_all(stream)
    stream.close()


def test_only_the_same_replay_is_resumed(tmp_path: Path) -> None:
    replay = Replay(tmp_path / "replay", partitions=2)
    replay.run()
    with pytest.raises(NeedsOperator, match="belongs to an earlier replay"):
        replay.stream(resume=False)
    replay.stream().close()
    replay.partitions = 3
    with pytest.raises(NeedsOperator, match="2 partitions, not 3"):
        replay.stream()
    replay.partitions = 2
    scores = replay.folder / "scores.csv"
    os.truncate(scores, 10)
    with pytest.raises(NeedsOperator, match=r"scores\.csv is shorter"):
        replay.stream()
    write_events(replay.events, 501)
    with pytest.raises(NeedsOperator, match="has changed since"):
        replay.stream()
    (replay.folder / "state" / "progress.json").write_text("{")
    with pytest.raises(NeedsOperator, match="is damaged"):
        replay.stream()


def test_other_outputs_are_refused_on_resume(tmp_path: Path) -> None:
    replay = Replay(tmp_path / "replay")
    replay.run()
    with pytest.raises(NeedsOperator, match=r"other outputs \(alerts, rejected, scores\)"):
        FileStream(replay.events, key_of=key_of, folder=replay.folder / "state", resume=True)


def test_the_progress_file_has_the_journals(tmp_path: Path) -> None:
    replay = Replay(tmp_path / "replay", partitions=2)
    replay.run()
    document = json.loads((replay.folder / "state" / "progress.json").read_text())
    assert [offset for offset, _ in document["positions"]] == [500, 500]
    assert Journal.from_text(document["positions"][0][1]).checkpoint


# --- feedback -----------------------------------------------------------------------------------------------


def test_feedback_is_visible_by_the_time_of_the_events(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl.gz"
    lines = [
        '{"time": "1970-01-01T00:00:10Z"}',
        '{"time": 10}',
        '{"time": 20.5}',
        '{"time": "1970-01-01T01:00:00"}',
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    log = FileSideLog(path)
    assert log.notes == ()
    assert [log.end(time) for time in (float("-inf"), 10, 10.5, 20.5, 21, 3600.5)] == [0, 0, 2, 2, 3, 4]
    assert log.read(1, 3) == [(1, b'{"time": 10}'), (2, b'{"time": 20.5}')]
    assert log.beginning() == 0


def test_unsorted_feedback_is_sorted_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    path.write_text('{"time": 30, "n": 1}\n{"time": 20}\nnonsense\n{"time": 30, "n": 2}\n')
    log = FileSideLog(path)
    assert [value for _, value in log.read(0, 4)] == [
        b"nonsense", b'{"time": 20}', b'{"time": 30, "n": 1}', b'{"time": 30, "n": 2}'
    ]  # fmt: skip
    assert log.end(0.0) == 1
    assert len(log.notes) == 2
    with pytest.raises(NeedsOperator, match="cannot be read"):
        FileSideLog(tmp_path / "missing")
