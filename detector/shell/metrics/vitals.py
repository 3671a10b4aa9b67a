"""Metrics of whether the service works: where each partition stands, checkpoints, outages, durations.

Their series exist for every partition from its assignment on, also while it is restored, the broker is away
or the loop stands still: ages go by the clock of the scrape. What is not known is NaN.
"""

from __future__ import annotations

from detector.core.reporting.standing import STATES
from detector.core.reporting.telemetry import PartitionTelemetry
from detector.shell.metrics.kinds import Metric, Moment
from detector.shell.metrics.kinds import age as _age
from detector.shell.metrics.kinds import delivery as _delivery
from detector.shell.metrics.kinds import process as _process
from detector.shell.metrics.kinds import state as _state
from detector.shell.metrics.kinds import timed as _timed


def _states(partition: PartitionTelemetry) -> dict[str, int]:
    return {state: int(state == partition.standing.state) for state in STATES}


def _lag_seconds(partition: PartitionTelemetry, moment: Moment) -> float | None:
    return partition.standing.lag_seconds(partition.log, moment.monotonic_s, moment.wall_s)


def _feedback_age(partition: PartitionTelemetry, moment: Moment) -> float | None:
    standing = partition.standing
    if standing.feedback_pending is None:
        return None
    since_s = standing.feedback_since_s
    return 0.0 if since_s is None else max(moment.monotonic_s - since_s, 0.0)


def _or(first_s: float | None, otherwise_s: float | None) -> float | None:
    return otherwise_s if first_s is None else first_s


VITALS: tuple[Metric, ...] = (
    # --- where a partition stands ---
    _state(
        "detector_partition_lag_records",
        "records",
        "Records from the last commit to the end of the log, which a thread beside the loop asks for "
        "every 5 s; NaN when not known.",
        lambda p: p.log.lag(p.standing.processed),
        always=True,
        alert="`deriv(detector_partition_lag_records[15m]) > 0` for 15 minutes",
    ),
    _timed(
        "detector_partition_lag_seconds",
        "Age of the oldest record that is not processed, from when the end of the log was first seen behind "
        "it; 0 when none waits, NaN when not known.",
        _lag_seconds,
        alert="`max(detector_partition_lag_seconds) > 60` for 5 minutes",
    ),
    _age(
        "detector_partition_lag_age_seconds",
        "Time since the broker last told the end of the log, before its first answer since the assignment; "
        "while it grows the lag is at least what it says.",
        lambda p: _or(p.log.asked_s, p.standing.assigned_s),
        alert="`max(detector_partition_lag_age_seconds) > 15`: the broker does not answer",
    ),
    _age(
        "detector_partition_newest_record_age_seconds",
        "Time since the end of the log was last seen to move: the age of its newest record, at least; NaN "
        "when not known.",
        lambda p: p.log.grown_s(),
        alert="`min(detector_partition_newest_record_age_seconds) > 600` while producers run: no traffic",
    ),
    _age(
        "detector_partition_event_age_seconds",
        "Time since the partition last processed a record, before the first one since the assignment.",
        lambda p: p.standing.moved_s,
        alert="`detector_partition_event_age_seconds > 15 and detector_partition_lag_records > 0`",
    ),
    _state(
        "detector_partition_state",
        "",
        "State of the partition: 1 for the one that it is in, 0 for the others.",
        _states,
        label="state",
        alert='`detector_partition_state{state!="running"} == 1` for 5 minutes',
    ),
    _state(
        "detector_restore_progress_ratio",
        "0 to 1",
        "Share of the replay that is done; 0 while the model is read, 1 once the partition has caught up.",
        lambda p: p.standing.progress,
        always=True,
    ),
    _age(
        "detector_checkpoint_age_seconds",
        "Time since a checkpoint was last written, before the first one since the assignment.",
        lambda p: p.checkpoints.since_s,
        alert="`detector_checkpoint_age_seconds > 3600` while events arrive: a restart would replay an hour",
    ),
    _state(
        "detector_checkpoint_bytes",
        "bytes",
        "Bytes that the newest checkpoint wrote: what changed since an earlier one, or its whole state.",
        lambda p: p.checkpoints.bytes,
    ),
    _delivery(
        "detector_checkpoint_failures_total",
        "checkpoints",
        "Checkpoints that were not written, by kind.",
        lambda p: p.checkpoints.failures,
        "kind",
        alert="`increase(detector_checkpoint_failures_total[10m]) > 0`",
    ),
    _state(
        "detector_journal_bytes",
        "bytes",
        "Size of the journal stored with the committed offset; Kafka's default limit is 4096.",
        lambda p: p.checkpoints.journal_bytes,
        alert="`detector_journal_bytes > 3500`: checkpoints fail",
    ),
    _state(
        "detector_feedback_pending",
        "records",
        "Feedback records that this partition has not read, or that wait until the others have.",
        lambda p: p.standing.feedback_pending,
    ),
    _timed(
        "detector_feedback_oldest_age_seconds",
        "Time since the process first saw the oldest feedback record that detector_feedback_pending counts; "
        "0: none waits.",
        _feedback_age,
        alert="`detector_feedback_oldest_age_seconds > 300`: more feedback comes than barriers apply, or "
        "they are held back",
    ),
    _state(
        "detector_barrier_offset",
        "offset",
        "Offset of the last barrier, after which detector_state_hash was computed.",
        lambda p: p.barrier[0],
    ),
    _state(
        "detector_state_hash",
        "",
        "First 48 bits of the hash of the state after the last barrier.",
        lambda p: p.barrier[1],
        alert="two groups read one topic without side inputs: different at the same "
        "`detector_barrier_offset`",
    ),
    # --- the process ---
    _process(
        "detector_ready",
        "gauge",
        "",
        "1 if the process is ready and its loop turns, else 0.",
        lambda t, moment: int(t.works(moment.monotonic_s)),
        timed=True,
        alert="`detector_ready == 0` for 5 minutes",
    ),
    _process(
        "detector_loop_heartbeat_age_seconds",
        "gauge",
        "seconds",
        "Time since the last sign of life of the loop; NaN before the first one.",
        lambda t, moment: t.heartbeat_age_s(moment.monotonic_s),
        timed=True,
        always=True,
        alert="`detector_loop_heartbeat_age_seconds > 10`: the loop stands still",
    ),
    _process(
        "detector_rebalances_total",
        "counter",
        "changes",
        "Changes of the consumer group that gave partitions to this process or took them away, by kind.",
        lambda t: t.changes,
        "kind",
        alert="`increase(detector_rebalances_total[1h]) > 10`: members come and go",
    ),
    _process(
        "detector_outages_total",
        "counter",
        "outages",
        "Times that something outside kept the process from work, from the first sign until it was ready.",
        lambda t: t.outages.count,
    ),
    _process(
        "detector_outage_seconds",
        "gauge",
        "seconds",
        "Duration of the outage under way; 0 when there is none.",
        lambda t, moment: t.outages.lasting_s(moment.monotonic_s),
        timed=True,
        alert="`detector_outage_seconds > 60`",
    ),
    _process(
        "detector_outage_duration_seconds",
        "histogram",
        "seconds",
        "Duration of the outages that have ended.",
        lambda t: t.outages.durations,
    ),
    _process(
        "detector_checkpoint_duration_seconds",
        "histogram",
        "seconds",
        "Time to write one checkpoint.",
        lambda t: t.checkpoints,
    ),
    _process(
        "detector_memory_limit_bytes",
        "gauge",
        "bytes",
        "Memory that the process may use: its control group's limit, else the machine's memory.",
        lambda t: t.memory_limit_bytes,
        alert="`process_resident_memory_bytes / detector_memory_limit_bytes > 0.9`: it is killed soon",
    ),
    _process(
        "detector_topic_retention_seconds",
        "gauge",
        "seconds",
        "How long a topic that is read is kept, as the broker says; +Inf: for ever.",
        lambda t: t.retention_s,
        "topic",
    ),
    _process(
        "detector_recovery_retention_seconds",
        "gauge",
        "seconds",
        "How long the topics that are read must be kept, so that every checkpoint can be replayed from.",
        lambda t: t.recovery_s,
        alert="above `detector_topic_retention_seconds`: recovery may find its records deleted",
    ),
    _process(
        "detector_checkpoint_store_free_bytes",
        "gauge",
        "bytes",
        "Free space for checkpoints; only where the store is a folder.",
        lambda t: t.store_free_bytes,
        alert="below twice the sum of `max_over_time(detector_checkpoint_bytes[6h])`: the next checkpoints "
        "may fail",
    ),
    _process(
        "detector_event_latency_seconds",
        "histogram",
        "seconds",
        "Time from an event's timestamp in the log to the commit of its outputs.",
        lambda t: t.latency,
        alert="`histogram_quantile(0.99, sum by (le) (rate(detector_event_latency_seconds_bucket[5m]))) > 1`",
    ),
    _process(
        "detector_stage_duration_seconds",
        "histogram",
        "seconds",
        "Time that one batch spent in a stage of the loop, by stage.",
        lambda t: t.stages,
        "stage",
    ),
    _process(
        "detector_refit_duration_seconds",
        "histogram",
        "seconds",
        "Time of one refit in the background: training is awaited, clusters and index are built.",
        lambda t: t.refits,
    ),
    _process(
        "detector_commit_duration_seconds",
        "histogram",
        "seconds",
        "Duration of one commit.",
        lambda t: t.commits,
    ),
    _process(
        "detector_commit_failures_total",
        "counter",
        "commits",
        "Commits that failed or whose outcome was unknown; each one rebuilds every shard.",
        lambda t: t.commit_failures,
        alert="`increase(detector_commit_failures_total[10m]) > 2`",
    ),
    _process(
        "detector_output_stable_offset_age_seconds",
        "gauge",
        "seconds",
        "How long the last stable offset of an output partition has not moved while records are behind it.",
        lambda t: t.stable_offset_ages,
        ("topic", "partition"),
        alert="`max by (topic) (detector_output_stable_offset_age_seconds) > 60`: read_committed consumers "
        "see nothing new",
    ),
    _process(
        "detector_transactions_ended_total",
        "counter",
        "transactions",
        "Transactions of this group that were ended for a dead member or because they hung, by cause.",
        lambda t: t.transactions_ended,
        "cause",
    ),
    _process(
        "detector_restore_duration_seconds",
        "histogram",
        "seconds",
        "Time from the assignment of a partition until its model was restored.",
        lambda t: t.restores,
    ),
)
