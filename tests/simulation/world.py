"""Members of one group take turns on a log that grows, under the faults that a plan allows.

There is one thread of control. `Simulation.current` is the member that acts. Each of its steps into the world
comes through `Simulation._hook`, where it may crash, fail, or freeze while others go on. All random numbers
come from the seed.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

from detector.config.tree import Config
from detector.core.recovery.checkpoint import Manifest, read_manifest
from detector.core.recovery.generations import config_name, folders, state_name, store_prefix
from detector.core.recovery.journal import Journal
from detector.core.reporting.telemetry import Telemetry
from detector.core.shard import partition as partition_module
from detector.core.shard.shard import Shard
from detector.errors import BrokerUnavailable, CommitFailed, OutsideError, StoreUnavailable
from detector.ports import Commit
from detector.shell.runner import loop as runner_module
from detector.shell.runner.loop import Runner
from detector.shell.runner.stopping import StoppableCalls, Stopped
from detector.testing import (
    POLL_S,
    STEPS,
    STEPS_AFTER,
    FakeClock,
    InlineExecutor,
    MemoryBroker,
    MemoryLog,
    MemorySideLog,
    MemoryStore,
    MemoryStream,
)
from tests.chain import ERASE, MALFORMED, ChainShard
from tests.simulation.plan import Plan

T = TypeVar("T")

TOPIC, GROUP, KEY = "transactions", "group/1", b"secret"
PREFIX = store_prefix(GROUP, TOPIC)
TRACE = 400  # last steps, kept for the report
WITHIN = ("crash", "freeze", "call_fails", "clock_ahead", "stop")  # faults in the middle of a turn
ARMED_TURNS = 12  # then a fault that waits for its step is given up
PARTITIONS_MAX = 5
TAIL = 3  # barriers of each partition after the faults: enough for a checkpoint
START_S = 1_700_000_000.0
BLOCK_BYTES = 512
CUT = {  # what a member cannot reach: steps that fail
    "cut_from_broker": frozenset(
        ("poll:before", "partitions_count", "committed", "beginning", "start", "log_end", "commit:before")
    ),
    "cut_from_store": frozenset(("put:before", "get", "list", "delete")),
}
CUT["no_files"] = CUT["cut_from_broker"] | CUT["cut_from_store"]


class Crash(BaseException):
    """The process ends here."""


class Violation(BaseException):
    """A check failed. A `BaseException`, so that no handler of the runner catches it."""


@dataclass(kw_only=True, slots=True)
class Armed:
    """A fault that waits for its step."""

    kind: str
    step: str | None  # None: any
    left: int  # number of such steps until it happens
    until: int  # turn in which it is given up


class Store(MemoryStore):
    """Keeps every manifest that was ever written, and knows which objects are damaged."""

    def __init__(self, hook: Callable[[str], None]) -> None:
        super().__init__(hook)
        self.manifests: dict[str, Manifest] = {}
        self.damaged: dict[str, str] = {}  # generation -> name of its damaged object
        self.full = False

    def put(self, name: str, data: bytes) -> None:
        if self.full:
            raise StoreUnavailable("no space left on device")
        generation = _generation(name)
        if name.endswith(".json") and not name.startswith(PREFIX + config_name("")[:6]):
            self.manifests[generation] = read_manifest(data)
        try:
            super().put(name, data)
        finally:
            if self.damaged.get(generation) == name and self.objects.get(name) == data:
                del self.damaged[generation]

    def zero(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Zero a block, or all: what a disk returns that lost a sector, or never wrote what was fsynced."""
        data = bytearray(self.objects[name])
        data[start:stop] = bytes(len(data[start:stop]))
        self.objects[name] = bytes(data)

    def is_whole(self, generation: str) -> bool:
        """Whether all state objects that a generation needs are there and undamaged."""
        return all(
            PREFIX + state_name(layer.name) in self.objects
            and not self.damaged.get(layer.name, "").endswith(".state")
            for layer in self.manifests[generation].all_layers
        )

    def generations(self, partition: int) -> list[str]:
        """Generations with any object in the store, sorted."""
        places = tuple(PREFIX + folder for folder in folders(partition))
        return sorted({_generation(name) for name in self.objects if name.startswith(places)})


def _generation(name: str) -> str:
    return name.removeprefix(PREFIX).removeprefix("manifests/").rpartition(".")[0]


class Stream(MemoryStream):
    """Keeps the commits that were answered."""

    def __init__(self, broker: MemoryBroker, clock: FakeClock, plan: Plan) -> None:
        # With threads the run would depend on their timing.
        beside = plan.commits_in_background and not plan.threads
        super().__init__(broker, clock, poll_records_max=plan.poll_records_max, commits_in_background=beside)
        self.answered: list[Commit] = []

    def commit(self, commit: Commit) -> None:
        super().commit(commit)
        self.answered.append(commit)


class Call(Future[T]):
    """A call that takes effect at `go_on`, at the latest when its result is waited for."""

    def __init__(self, call: Callable[[], T]) -> None:
        super().__init__()
        self._call = call
        self.begun = False

    def go_on(self) -> None:
        """Make the call, once."""
        if self.begun:
            return
        self.begun = True
        try:
            self.set_result(self._call())
        except Exception as error:  # noqa: BLE001 - raised again where the future is waited for
            self.set_exception(error)


class SkewedClock(FakeClock):
    """A process's clocks: intervals are the same for all, the wall clock is wrong."""

    def __init__(self, clock: FakeClock, skew_s: float) -> None:
        super().__init__()
        self._clock, self._skew_s = clock, skew_s

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def time(self) -> float:
        return self._clock.time() + self._skew_s

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


class InlineCalls(StoppableCalls):
    """Blocking calls without threads: they take effect between other steps. A stop may leave them behind."""

    left_behind: Callable[[Call[Any]], bool] = staticmethod(lambda call: False)

    def begin(self, call: Callable[[], T]) -> Call[T]:
        self.beat()
        if self.overdue:
            raise Stopped
        return Call(call)

    def wait(self, future: Future[T]) -> T:
        assert isinstance(future, Call)
        if self.stopping and self.left_behind(future):
            raise Stopped
        future.go_on()
        error = future.exception()
        if self.overdue and (error is None or isinstance(error, OutsideError)):
            raise Stopped
        self.beat()
        return future.result()


class Log(MemoryLog):
    """Writes log lines into the trace."""

    def __init__(self, trace: Callable[[str], None]) -> None:
        super().__init__()
        for level in ("info", "warning", "error", "exception"):
            setattr(self, level, self._writer(trace))

    def _writer(self, trace: Callable[[str], None]) -> Callable[..., None]:
        def write(event: str, **values: object) -> None:
            trace(f"  {event} " + " ".join(f"{name}={value}" for name, value in values.items()))

        return write


@dataclass(kw_only=True, slots=True, eq=False)
class Member:
    """One process."""

    number: int
    config: Config
    stream: Stream
    executor: InlineExecutor
    telemetry: Telemetry
    sides: dict[str, MemorySideLog]
    runner: Runner = field(init=False)
    alive: bool = True
    crashed: bool = False
    frozen: bool = False
    stopping: bool = False
    armed: Armed | None = None
    slow_until: int = -1  # turn up to which its checkpoint writes are kept
    side_until: dict[str, int] = field(default_factory=dict)  # turn up to which a side topic is away or late
    cut_until: dict[str, int] = field(default_factory=dict)  # fault of the network: turn up to which it lasts
    counted: list[Commit] = field(default_factory=list)  # commits whose answer it got


class Simulation:
    """See the module's text; `run` does it all.

    Parameters
    ----------
    plan
        What the seed decided.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = Random(f"faults {plan.seed}")
        self.clock = FakeClock(START_S)
        self.broker = MemoryBroker(plan.partitions, self._hook)
        self.store = Store(self._hook)
        self.sides = {
            side: MemorySideLog()
            for side in ("feedback", "exchange")
            if getattr(plan.configs[0].topics, side) is not None
        }
        if "exchange" in self.sides:
            self.broker.sides = {"exchange": self.sides["exchange"]}
        self.members: list[Member] = []
        self.current: Member | None = None
        self.turn = 0
        self.calm = False
        self.happened: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=TRACE)
        self.violation: Violation | None = None
        self.rounds_to_drain = 0
        self.waiting_max = 0  # maximum number of calls kept by an executor
        self._sessions: list[tuple[int, Stream]] = []  # without heartbeats: the turn in which they expire
        self._ghosts: list[Callable[[], Any]] = []  # calls whose caller no longer waits
        self._broker_until = self._store_until = self._full_until = -1  # turn
        self._producing = Random(f"log {plan.seed}")
        self._forging = Random(f"forged {plan.seed}")
        self._erasing = Random(f"erased {plan.seed}")
        self._events: list[tuple[bytes, bytes]] = []  # keys and values, to be repeated
        self._depth = 0
        interval_s = plan.commit_interval_s
        interval_s = plan.configs[0].commit_interval_ms / 1000.0 if interval_s is None else interval_s
        self._polls_between_commits = 2 + interval_s / POLL_S

    # --- turns ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run turns with faults, then without.

        Raises
        ------
        Violation
            A check failed.
        """
        with _model(self.plan):
            for _ in range(self.plan.turns):
                self.turn += 1
                self._produce()
                self._fault()
                self._background()
                if self._may_join() and (not self._able() or self.rng.random() < 0.06):
                    self._join()
                if able := self._able():
                    self._step(self.rng.choice(able))
            self._be_calm()
            self._drain("after the faults")
            self._tail()
            self._drain("after the tail")
            for member in self._able():
                self._leave(member)
            published = len(self.broker.published)
            self._join()
            self._drain("after a restart")
            if len(self.broker.published) != published:
                self.fail("a restart published something again")
            self._tail()
            self._drain("at the end")

    def fail(self, text: str) -> None:
        """Raise a `Violation`."""
        self.violation = self.violation or Violation(text)
        raise self.violation

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        who = "-" if self.current is None else self.current.number
        self.trace.append(f"{self.turn:4} {self.clock.now_s - START_S:10.3f} member {who}: {text}")

    def _step(self, member: Member) -> None:
        """Do one turn of one member."""
        self._arm(member)
        self._do(member, member.runner.turn)
        if member.alive:
            self._check(member)
        if member.alive and member.stopping:
            self._leave(member)

    def _do(self, member: Member, call: Callable[[], Any]) -> None:
        before, self.current = self.current, member
        try:
            call()
        except Crash:
            self._bury(member)
        except Violation:
            raise
        except Exception as error:  # whatever it is, it ended a process that should go on
            self.violation = self.violation or Violation(f"member {member.number} ended: {error!r}")
            raise self.violation from error
        finally:
            self.current = before
        if self.violation is not None:
            raise self.violation

    def _able(self) -> list[Member]:
        return [member for member in self.members if member.alive and not member.frozen]

    def _may_join(self) -> bool:
        return sum(member.alive for member in self.members) < self.plan.members_max

    def _join(self) -> None:
        plan, rng = self.plan, self.rng
        config = plan.configs[0] if rng.random() < 0.7 else rng.choice(plan.configs)
        if config is not plan.configs[0]:
            self.happened["other_configuration"] += 1
        member = Member(
            number=len(self.members),
            config=config,
            stream=Stream(self.broker, self.clock, plan),
            executor=InlineExecutor(),
            telemetry=Telemetry(),
            sides={side: log.reader(self._hook) for side, log in self.sides.items()},
        )
        with patch.object(runner_module, "StoppableCalls", StoppableCalls if plan.threads else InlineCalls):
            member.runner = Runner(
                config=config,
                topic=TOPIC,
                group=GROUP,
                entity_key=KEY,
                stream=member.stream,
                store=self.store,
                sides=member.sides,
                clock=self._clock_of(member),
                telemetry=member.telemetry,
                log=Log(self.note),
                executor=member.executor,
                commit_interval_s=plan.commit_interval_s,
                metadata_bytes_max=plan.metadata_bytes_max,
                live=plan.live,
            )
        self._watch(member)
        self.members.append(member)
        self.happened["join"] += 1
        self.note(f"member {member.number} joins")

    def _clock_of(self, member: Member) -> FakeClock:
        if "clock_skew" not in self.plan.faults:
            return self.clock
        self.happened["clock_skew"] += 1
        # Less than the age at which quiet partitions make barriers: with more they come elsewhere.
        skews = (0.0, 3.0, -3.0, 7200.0, -86_400.0, 1e8, -1e8)
        return SkewedClock(self.clock, Random(f"clock {self.plan.seed} {member.number}").choice(skews))

    def _watch(self, member: Member) -> None:
        """Note which commits get their answer, and let a stop leave calls behind."""
        calls = member.runner._calls
        wait = calls.wait

        def watched(future: Future[T]) -> T:
            under_way = member.runner._committer.under_way
            value = wait(future)
            if under_way is not None and under_way.answer is future:
                member.counted += member.stream.answered
                member.stream.answered.clear()
            return value

        def left_behind(call: Call[Any]) -> bool:
            if self.calm or "freeze" not in self.plan.faults or self.rng.random() > 0.1:
                return False
            self.happened["call_left_behind"] += 1
            self._ghosts.append(call.go_on)
            self.clock.sleep(3.5)
            return True

        calls.wait = watched  # type: ignore[method-assign]
        if isinstance(calls, InlineCalls):
            calls.left_behind = left_behind  # type: ignore[method-assign]

    def _leave(self, member: Member) -> None:
        """Stop a member: it commits what is done, and leaves."""
        self.note(f"member {member.number} is asked to stop")
        member.runner.stop()
        self._do(member, member.runner.run)
        if member.alive:
            member.alive = False
            self._forget_work(member)

    def _bury(self, member: Member) -> None:
        """End a process; its session expires at once or later."""
        self.note(f"member {member.number} is dead")
        member.alive, member.crashed = False, True
        at_once = self.calm or self.rng.random() < 0.5
        self._sessions.append((self.turn + (0 if at_once else self.rng.randint(1, 10)), member.stream))
        self._forget_work(member)

    def _forget_work(self, member: Member) -> None:
        """Drop a dead member's background calls, or let them take effect: the request may have been sent."""
        if (commit := _commit_of(member)) is not None and self.rng.random() < 0.5:
            self.happened["commit_goes_on_after_death"] += 1
            self._ghosts.append(commit.go_on)
        if self.rng.random() < 0.5:
            member.executor.drop()
        elif member.executor.waiting:
            self.happened["work_goes_on_after_death"] += 1
            self._ghosts.append(member.executor.release)

    def _background(self) -> None:
        """What happens between the turns."""
        for turn, stream in self._sessions[:]:
            if self.turn >= turn or self.calm:
                self.broker.evict(stream)
                self._sessions.remove((turn, stream))
        if self.turn >= self._broker_until:
            self.broker.down = False
        if self.turn >= self._store_until:
            self.store.fail = 0
        if self.turn >= self._full_until:
            self.store.full = False
        for member in self._able():
            self._let_commit(member)
            for side, log in member.sides.items():
                if self.turn >= member.side_until.get(side, -1):
                    log.down, log.lag = False, 0
            if member.executor.held:
                if self.turn >= member.slow_until:
                    member.executor.held = False
                    self._do(member, member.executor.release)
                elif self.rng.random() < 0.3:
                    self._do(member, lambda executor=member.executor: executor.release(1))  # type: ignore[misc]
        if self._ghosts and (self.calm or self.rng.random() < 0.2):
            ghost = self._ghosts.pop(self.rng.randrange(len(self._ghosts)))
            self.note("a call that was left behind takes effect")
            self._unseen(ghost)

    def _let_commit(self, member: Member) -> None:
        """A commit under way may take effect now, in the middle of something else."""
        commit = _commit_of(member)
        if commit is not None and self.rng.random() < 0.2:
            self.happened["commit_beside"] += 1
            self.note("the commit under way takes effect")
            self._unseen(commit.go_on)

    def _unseen(self, call: Callable[[], Any]) -> None:
        """Make a call that nobody waits for right now; no fault happens in it."""
        before, self.current = self.current, None
        try:
            call()
        except OutsideError as error:
            self.note(f"  it failed: {error}")
        finally:
            self.current = before

    # --- the log -------------------------------------------------------------------------------------------

    def _produce(self, count: int | None = None) -> None:
        rng = self._producing
        for _ in range(rng.choice((0, 0, 1, 3, 10, 35)) if count is None else count):
            partition = rng.randrange(self.broker.partitions)
            key, value = self._keyed(rng)
            key = None if rng.random() < 0.05 else key
            self.broker.append(partition, value, key=key, timestamp_ms=int(self.clock.time() * 1000))
            if rng.random() < 0.04:
                self.broker.gap(partition, rng.randint(1, 3))
        if "feedback" in self.sides and rng.random() < 0.2:
            self.sides["feedback"].append(self._label(rng))
        if "feedback" in self.sides and self._erasing.random() < self.plan.erased_share:
            self.sides["feedback"].append(self._erase(self._erasing))
            self.happened["erase"] += 1
        if "exchange" in self.sides and rng.random() < 0.05:
            self.sides["exchange"].append(rng.randbytes(rng.randint(0, 40)))
        if "exchange" in self.sides and "hostile" in self.plan.faults and self._forging.random() < 0.2:
            self._forge(self.sides["exchange"])

    def _forge(self, topic: MemorySideLog) -> None:
        """Append a message that was sent before, whole or changed."""
        rng, there = self._forging, topic.log_end()
        sent = bytearray(topic.read(there - 1, there)[0][1] if there else b"message")
        for _ in range(rng.choice((0, 1, 1, 8))):
            if sent:
                sent[rng.randrange(len(sent))] = rng.randrange(256)
        if rng.random() < 0.2:
            del sent[rng.randrange(len(sent) + 1) :]
        if rng.random() < 0.05:
            sent += bytes(100_000)
        topic.append(bytes(sent))
        self.happened["hostile"] += 1

    def _keyed(self, rng: Random) -> tuple[bytes, bytes | None]:
        """Key and value of a record."""
        chance, known = rng.random(), self._events
        if chance < 0.02:
            return b"c0", None
        if chance < 0.04:
            return b"c0", b""
        if chance < 0.06:
            return b"c0", MALFORMED + rng.randbytes(rng.randint(0, 9))
        if chance < 0.10 and known:  # repeat a recent event: A, B, A
            return known[-rng.randint(1, min(3, len(known)))]
        if chance < 0.12 and known:  # repeat any event
            return rng.choice(known)
        late_s = rng.choice((60.0, 3600.0, 86_400.0)) if chance < 0.17 else 0.0
        known.append(self._event(rng, len(known), late_s))
        return known[-1]

    def _event(self, rng: Random, number: int, late_s: float) -> tuple[bytes, bytes]:
        card = f"c{rng.randrange(20)}"
        if not self.plan.real:
            return card.encode(), b"event %d" % (number if not late_s else max(number - 20, 0))
        size = 4.0 if rng.random() < 0.03 else 0.0
        event = {
            "id": str(number),
            "t": 1_600_000_000 + 30 * number - late_s,
            "card": card,
            "x": rng.lognormvariate(size, 1.0),
            "y": rng.lognormvariate(size, 1.0),
        }
        return card.encode(), json.dumps(event).encode()

    def _label(self, rng: Random) -> bytes:
        number = rng.randrange(max(len(self._events), 1))
        if not self.plan.real or rng.random() < 0.1:
            return b"label %d" % number
        label = rng.choice(("fraud", "fraud", "legitimate"))
        return json.dumps({"time": 1, "label": label, "event_id": str(number)}).encode()

    def _erase(self, rng: Random) -> bytes:
        if not self.plan.real:
            return ERASE + b" %d" % rng.randrange(1000)
        return json.dumps({"kind": "erase", "time": 1, "entity": f"c{rng.randrange(22)}"}).encode()

    def _tail(self) -> None:
        """Produce more events for every partition, with time for a checkpoint."""
        config = self.plan.configs[0]
        self.clock.sleep(config.checkpoints.interval)
        events = max(config.model.barriers.every_events for config in self.plan.configs)
        self._produce(TAIL * events * self.broker.partitions)

    # --- faults --------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        """Faults between turns."""
        rng, happened = self.rng, self.happened
        for fault in ("kill", "evict", "stop", "commit_refused", "commit_lost", "broker_away", "store_fails",
                      "store_away", "store_slow", "damage", "side_away", "side_late", "clock_ahead",
                      "wall_back", *CUT, "slow_network", "disk_full"):  # fmt: skip
            if fault not in self.plan.faults or rng.random() >= self.plan.rate:
                continue
            able = self._able()
            member = rng.choice(able) if able else None
            late_s = rng.choice((0.0, 0.0, 12.0, 70.0))
            until = self.turn + rng.randint(1, rng.choice((12, 12, 60)))
            self.note(f"fault: {fault}")
            if fault == "kill" and member:
                self._bury(member)
            elif fault == "evict" and member:
                self.broker.evict(member.stream)
            elif fault == "stop" and member:
                self._leave(member)
            elif fault == "commit_refused":
                self.broker.fail_commits(rng.choice((1, 1, 3)), after_s=late_s)
            elif fault == "commit_lost":
                self.broker.fail_commits(rng.choice((1, 1, 3)), applied=True, after_s=late_s)
            elif fault == "broker_away":
                self.broker.down, self._broker_until = True, until
            elif fault == "store_fails":
                self.store.fail = rng.randint(1, 4)
            elif fault == "store_away":
                self.store.fail, self._store_until = 10**9, until
            elif fault == "store_slow" and member:
                member.executor.held, member.slow_until = True, until
            elif fault == "damage":
                self._damage()
                continue
            elif fault in ("side_away", "side_late") and member and member.sides:
                side = rng.choice(sorted(member.sides))
                log, member.side_until[side] = member.sides[side], until
                log.down, log.lag = (True, log.lag) if fault == "side_away" else (log.down, rng.randint(1, 9))
            elif fault == "clock_ahead":
                self._move_clock()
            elif fault == "wall_back":
                self.clock.jump_wall(-rng.choice((0.5, 5.0, 600.0)))
            elif fault == "disk_full":
                self.store.full, self._full_until = True, until
            elif fault in (*CUT, "slow_network") and member:
                member.cut_until[fault] = until
                if fault != "cut_from_store" and rng.random() < 0.7:  # it sends no heartbeats
                    self._sessions.append((self.turn + rng.randint(0, 10), member.stream))
            else:
                continue
            happened[fault] += 1
        if self.plan.grows and self.broker.partitions < PARTITIONS_MAX and rng.random() < 0.02:
            self.broker.grow(1)
            happened["partition_added"] += 1

    def _move_clock(self) -> None:
        self.clock.sleep(self.rng.choice((0.5, 5.0, 90.0, 7200.0)))

    def _damage(self) -> None:
        """Tear, corrupt or lose one object of a checkpoint; an undamaged generation is left."""
        rng, store = self.rng, self.store
        partition = rng.randrange(self.broker.partitions)
        there = store.generations(partition)
        if not there:
            return
        generation = rng.choice((there[-1], there[-1], rng.choice(there)))
        places = [f"{generation}.state", f"{generation}.json", f"manifests/{generation}.json"]
        present = [PREFIX + place for place in places if PREFIX + place in store.objects]
        if generation in store.damaged or not present:
            return
        name = rng.choice(present)
        store.damaged[generation] = name
        if not self._recoverable(partition):
            del store.damaged[generation]
            return
        kind = rng.choice(("tear", "corrupt", "lose", "block", "unsynced"))
        if kind == "block":
            start = BLOCK_BYTES * rng.randrange(-(-len(store.objects[name]) // BLOCK_BYTES))
            store.zero(name, start, start + BLOCK_BYTES)
        elif kind == "unsynced":
            store.zero(name)
        elif kind == "corrupt":
            store.corrupt(name, rng.randrange(len(store.objects[name])))
        else:
            getattr(store, kind)(name)
        self.happened[f"damage_{kind}_{'state' if name.endswith('.state') else 'manifest'}"] += 1
        self.note(f"  {kind} {name}")
        owners = [member for member in self._able() if partition in member.runner._owned]
        if owners and rng.random() < 0.7:  # else the damage is seldom read
            self.broker.evict(owners[0].stream)

    def _recoverable(self, partition: int) -> bool:
        """Whether each generation that may be committed has one to begin with among those kept for it."""
        store, manifests = self.store, self.store.manifests
        committed = self.broker.committed.get(partition)
        newest = Journal.from_text(committed.metadata).checkpoint if committed is not None else ""
        for generation in store.generations(partition):
            if generation < newest or generation not in manifests:
                continue
            chain = [generation]
            while chain[-1] in manifests and len(chain) < self._keep():
                if manifests[chain[-1]].erases:  # older ones are deleted
                    break
                chain.append(manifests[chain[-1]].since.checkpoint)
            begin = {*chain, manifests[generation].before}
            if begin <= manifests.keys() and not any(map(store.is_whole, begin)):
                return False
        return True

    def _keep(self) -> int:
        return min(config.checkpoints.keep for config in self.plan.configs)

    def _arm(self, member: Member) -> None:
        """Prepare a fault in the middle of one of the member's next turns."""
        rng = self.rng
        if member.armed is not None and self.turn > member.armed.until:
            member.armed = None
        kinds = [kind for kind in WITHIN if kind in self.plan.faults]
        if self.calm or member.armed is not None or not kinds or rng.random() >= 8.0 * self.plan.rate:
            return
        named = rng.random() < 0.6
        member.armed = Armed(
            kind=rng.choice(kinds),
            step=rng.choice(STEPS + STEPS_AFTER * 3) if named else None,
            left=rng.randint(1, 2) if named else rng.randint(1, 25),
            until=self.turn + ARMED_TURNS,
        )

    def _hook(self, step: str) -> None:
        member = self.current
        self.note(step)
        if member is not None:
            self._let_commit(member)
        if member is None or self.calm:
            return
        self._reach(member, step)
        armed = member.armed
        if armed is None or armed.step not in (None, step):
            return
        armed.left -= 1
        if armed.left > 0 or (armed.kind == "freeze" and self._depth):
            return
        member.armed = None
        self.happened[armed.kind] += 1
        self.happened[f"{armed.kind} at {step}"] += 1
        self.note(f"fault at {step}: {armed.kind}")
        if armed.kind == "crash":
            raise Crash
        if armed.kind == "call_fails":
            raise _error(step)
        if armed.kind == "clock_ahead":
            self._move_clock()
        elif armed.kind == "stop":
            member.stopping = True
            member.runner.stop()
        else:
            self._freeze(member)

    def _reach(self, member: Member, step: str) -> None:
        """Let a call fail or take long if the member's network does not work."""
        for fault, until in member.cut_until.items():
            if self.turn < until and step in CUT.get(fault, ()):
                raise _error(step)
        if self.turn < member.cut_until.get("slow_network", -1):
            self.clock.sleep(self.rng.choice((0.2, 2.0, 20.0)))

    def _freeze(self, member: Member) -> None:
        """Let the others go on while this member stands still in the middle of a step."""
        rng = self.rng
        member.frozen, self._depth = True, self._depth + 1
        if rng.random() < 0.6:
            self.broker.evict(member.stream)
            self.happened["evict_within"] += 1
        if self._may_join() and rng.random() < 0.5:
            self._join()
        self.clock.sleep(rng.choice((0.0, 0.2, 50.0)))
        for _ in range(rng.randint(1, 12)):
            if not (able := self._able()):
                break
            self._produce()
            self._background()
            if able := self._able():
                self._step(rng.choice(able))
        member.frozen, self._depth = False, self._depth - 1
        self.note(f"member {member.number} goes on")

    # --- checks --------------------------------------------------------------------------------------------

    def _check(self, member: Member) -> None:
        """Check what must hold after each turn."""
        polled = self.plan.poll_records_max
        for number, owned in member.runner._owned.items():
            if len(owned.backlog) > polled:
                self.fail(f"partition {number}: {len(owned.backlog)} records are held back")
            outputs = sum(len(s.offsets) for o in owned.outputs for s in o.scored)
            if outputs > polled * self._polls_between_commits:
                self.fail(f"partition {number}: {outputs} scores wait for a commit")
            if len(owned.checkpoints.snapshots) > 2:
                self.fail(f"partition {number}: {len(owned.checkpoints.snapshots)} snapshots are held")
        for number, numbers in member.telemetry.partitions.items():
            if numbers.received != numbers.scored + sum(numbers.rejected.values()):
                self.fail(f"partition {number}: received is not scored + rejected")
        self.waiting_max = max(self.waiting_max, member.executor.waiting)

    def _be_calm(self) -> None:
        """End all faults, and everything that is under way."""
        self.note("no faults from here on")
        self.calm = True
        self.broker.heal()
        self.store.fail, self._store_until = 0, -1
        self.store.full, self._full_until = False, -1
        for member in self._able():
            member.armed, member.slow_until, member.side_until, member.cut_until = None, -1, {}, {}
        self._background()
        while self._ghosts:
            self._background()
        if not self._able():
            self._join()

    def _drain(self, when: str) -> None:
        """Check liveness: within a bounded number of rounds all is committed and every member is ready."""
        records = sum(self.broker.end(number) for number in range(self.broker.partitions))
        bound = 150 + 4 * (records // self.plan.poll_records_max + records // 16)
        for rounds in range(bound):
            self.rounds_to_drain = max(self.rounds_to_drain, rounds)
            if self._drained():
                return
            self.turn += 1
            for member in self._able():
                self._step(member)
            self._background()
        reasons = [f"member {m.number}: {m.runner.status().reason}" for m in self._able()]
        self.fail(f"{when}: not done after {bound} rounds; {'; '.join(reasons)}")

    def _drained(self) -> bool:
        broker = self.broker
        ends = [broker.end(number) for number in range(broker.partitions)]
        there = [broker.committed.get(number) for number in range(broker.partitions)]
        done = all(found is not None and found.offset == end for found, end in zip(there, ends, strict=True))
        return done and all(
            member.runner.status().ready
            and member.runner._committer.under_way is None
            and not any(owned.checkpoints.writing for owned in member.runner._owned.values())
            for member in self._able()
        )


def _commit_of(member: Member) -> Call[Any] | None:
    """A member's commit under way that has not taken effect yet."""
    under_way = member.runner._committer.under_way
    if under_way is None or not isinstance(under_way.answer, Call) or under_way.answer.begun:
        return None
    return under_way.answer


def _error(step: str) -> OutsideError:
    if step.startswith("commit"):
        return CommitFailed("injected")
    if step.startswith(("put", "get", "list", "delete")):
        return StoreUnavailable("injected")
    return BrokerUnavailable("injected")


@contextmanager
def _model(plan: Plan) -> Iterator[None]:
    with patch.object(partition_module, "Shard", shard_of(plan)):
        yield


def shard_of(plan: Plan) -> Any:
    """Class of the plan's model."""
    return Shard if plan.real else ChainShard
