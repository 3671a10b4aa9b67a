"""Puts the parts together: the only place that knows both the core and the world.

run      Kafka stream, side topics, checkpoint store, HTTP pages    ─┐
replay   events file, feedback file, progress folder                ─┴─> the same Runner, the same shards
audits   the same logs and stores, read from outside the group      ───> Auditor, the same shards
"""

from detector.core.shard.space import AMONG
from detector.shell.signature import sign
from detector.wiring.alerts import read_alerts
from detector.wiring.audit import ReplayFiles, auditing, begin, check_partition, roll_back
from detector.wiring.bias import BiasFiles, bias
from detector.wiring.checkpoints import checkpoints_place, export, list_checkpoints, show_checkpoint
from detector.wiring.common import ModelFile, entity_key
from detector.wiring.compiling import COMPILING, compile_all, watching_compilation
from detector.wiring.console import console, console_token
from detector.wiring.daemon import run
from detector.wiring.diff import Diff, Run, RunAlert, main_reasons, why
from detector.wiring.diff_sides import diff_files, diff_topics
from detector.wiring.doctor import diagnose, exit_code
from detector.wiring.drift_report import drift_report
from detector.wiring.embedding import MapWanted, draw_map
from detector.wiring.embedding_reports import judge
from detector.wiring.feedback import receipts, send_feedback
from detector.wiring.file_replay import Replay, Replayed, replay
from detector.wiring.first_config import (
    TRIAL_EVENTS_MAX,
    Trial,
    open_envelope,
    try_out,
    write_labels,
)
from detector.wiring.model import card_of, commands, list_versions, partitions_of
from detector.wiring.notify import Tried, notify, try_receivers
from detector.wiring.similar import Similar, Wanted, similar
from detector.wiring.status import service_status

__all__ = [
    "AMONG",
    "COMPILING",
    "TRIAL_EVENTS_MAX",
    "BiasFiles",
    "Diff",
    "MapWanted",
    "ModelFile",
    "Replay",
    "ReplayFiles",
    "Replayed",
    "Run",
    "RunAlert",
    "Similar",
    "Trial",
    "Tried",
    "Wanted",
    "auditing",
    "begin",
    "bias",
    "card_of",
    "check_partition",
    "checkpoints_place",
    "commands",
    "compile_all",
    "console",
    "console_token",
    "diagnose",
    "diff_files",
    "diff_topics",
    "draw_map",
    "drift_report",
    "entity_key",
    "exit_code",
    "export",
    "judge",
    "list_checkpoints",
    "list_versions",
    "main_reasons",
    "notify",
    "open_envelope",
    "partitions_of",
    "read_alerts",
    "receipts",
    "replay",
    "roll_back",
    "run",
    "send_feedback",
    "service_status",
    "show_checkpoint",
    "sign",
    "similar",
    "try_out",
    "try_receivers",
    "watching_compilation",
    "why",
    "write_labels",
]
