"""What a seed decides before the simulation begins."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from detector.config.tree import Config

FAULTS = (
    "crash",  # between any two steps, also during a restore or a checkpoint write
    "kill",  # between two turns
    "stop",  # a requested stop, also in the middle of a step
    "freeze",  # one member stands still in the middle of a step; its session may expire
    "evict",  # the broker ends a session
    "call_fails",  # one call, before or after it takes effect
    "commit_refused",  # maybe after a delay
    "commit_lost",  # it takes effect, but the answer is lost, maybe after a delay
    "broker_away",  # for some turns
    "store_fails",  # some calls
    "store_away",  # for some turns
    "store_slow",  # checkpoint writes take some turns, whatever happens to their writer
    "damage",  # an object of a checkpoint is torn, corrupt, or lost
    "side_away",  # for some turns
    "side_late",  # new records are seen some turns later
    "clock_ahead",  # seconds to hours pass, also within a step
    "wall_back",
    "cut_from_broker",  # one member, for some turns, while the others go on; its session may expire
    "cut_from_store",  # one member, for some turns
    "no_files",  # one member can open nothing, neither connections nor files, for some turns
    "slow_network",  # every call of one member takes seconds, for some turns
    "disk_full",  # nothing can be written to the store, for some turns
    "clock_skew",  # each member's wall clock is wrong by up to years
    "hostile",  # the exchange topic has messages that nobody of the group wrote
)
EVERYTHING_SHARE = 0.1  # of the seeds have every fault
NOTHING_SHARE = 0.03
REAL_EVERY = 25  # one seed in so many has the real model

TOPICS = {"scores": "scores"}
BLOCK = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Settings of one simulation."""

    seed: int
    real: bool  # the real model, not the hash chain
    partitions: int
    members_max: int
    turns: int  # number of turns with faults
    faults: frozenset[str]
    rate: float  # probability of each fault, per turn
    poll_records_max: int
    metadata_bytes_max: int
    commit_interval_s: float | None
    threads: bool  # blocking calls run in threads, as in the service
    grows: bool  # partitions are added
    ages: bool  # hours may pass, so that quiet partitions make barriers for age
    configs: tuple[Config, ...]  # members start with one of these, most often with the first
    commits_in_background: bool  # commits take effect between other steps, not at once
    live: bool  # one barrier a turn, as in the service
    erased_share: float  # of turns with a record that erases an entity

    @property
    def golden(self) -> bool:
        """Whether an undisturbed run must publish the same: only the log decides where barriers are."""
        topics = self.configs[0].topics
        alone = topics.feedback is None and topics.exchange is None
        return alone and len(self.configs) == 1 and not self.grows and not self.ages


def make_plan(seed: int) -> Plan:
    """Draw the settings of a seed."""
    rng = Random(f"plan {seed}")
    real = seed % REAL_EVERY == REAL_EVERY - 1
    partitions = rng.choice((1, 1, 2, 2, 3, 4)) if not real else rng.choice((1, 2))
    share = rng.random()
    if share < EVERYTHING_SHARE:
        faults = frozenset(FAULTS)
    elif share > 1.0 - NOTHING_SHARE:
        faults = frozenset()
    else:
        faults = frozenset(fault for fault in FAULTS if rng.random() < 0.6)
    sides = rng.choice(((), (), ("feedback",), ("exchange",), ("feedback", "exchange")))
    grows = rng.random() < 0.12
    checkpoints = {"interval": rng.choice((0.001, 0.05, 0.5, 5.0)), "keep": rng.choice((2, 2, 3, 5))}
    ages = rng.random() < 0.15
    receipts = {"receipts": "receipts"} if len(sides) == 2 else {}
    changes: dict[str, Any] = {
        "topics": TOPICS | {side: side for side in sides} | receipts,
        "checkpoints": checkpoints | ({"age_max": 3600.0} if ages else {"age_max": 3e8}),
        "alerts": {"budget": {"per_day": 90.0}} if grows else {"budget": {"share": 0.05}},
    }
    make = _model_config if real else _chain_config
    configs = [make(rng, changes)]
    if rng.random() < 0.25:
        # Without entities, as in the chain's events, there is no key to require.
        other = {"require_key": True} if real else {"alerts": changes["alerts"] | {"reasons_max": 2}}
        configs.append(make(rng, changes | other))
    return Plan(
        seed=seed,
        real=real,
        partitions=partitions,
        members_max=rng.randint(1, 3),
        turns=rng.randint(20, 50) if real else rng.randint(30, 120),
        faults=faults,
        rate=rng.choice((0.02, 0.05, 0.1)),
        poll_records_max=rng.choice((3, 20, 50, 500)),
        metadata_bytes_max=rng.choice((4096, 4096, 424, 344)),
        commit_interval_s=rng.choice((None, 0.0, 0.0)),
        threads=rng.random() < 0.1,
        grows=grows,
        ages=ages,
        configs=tuple(configs),
        commits_in_background=rng.random() < 0.7,
        live=rng.random() < 0.5,
        erased_share=rng.choice((0.0, 0.0, 0.02, 0.1)),
    )


def _chain_config(rng: Random, changes: dict[str, Any]) -> Config:
    barriers = {
        "block_events": BLOCK,
        "every_events": rng.choice((1, 2, 4)) * BLOCK,
        "early_events_min": BLOCK,
    }
    event = {"id": "id", "time": {"path": "t"}, "fields": [{"name": "x", "path": "x", "type": "numeric"}]}
    model = {"barriers": barriers, "labels": {"per_barrier_max": rng.choice((3, 1024))}}
    return Config.model_validate({"event": event, "model": model} | changes)


def _model_config(rng: Random, changes: dict[str, Any]) -> Config:
    event = {
        "id": "id",
        "time": {"path": "t"},
        "entities": [{"name": "card", "path": "card"}],
        "fields": [{"name": name, "path": name, "type": "numeric"} for name in ("x", "y")],
    }
    model = {
        "barriers": {"block_events": 32, "every_events": 64, "early_events_min": 32},
        "clusters": {"core_events": 512, "count_max": 16, "memory_events": 1024},
        "encoder": {"dimension": 8, "hidden": 8},
        "calibration": {"memory_events": 1024, "warm_up_events": 256},
        "labels": {"maturity_delay": 3600.0},
    }
    return Config.model_validate({"event": event, "model": model} | changes)
