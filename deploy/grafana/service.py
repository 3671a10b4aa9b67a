"""The dashboard of the service: does it work, and how far is it."""
# ruff: noqa: E501

from __future__ import annotations

from panel import JOB, SELECTED, Board, Panel, Row, one, quantiles, rate, top

S = SELECTED

HEALTH = Row(
    title="Now",
    panels=(
        Panel(title="Members that are ready", unit="short", kind="stat", width=4, height=4, runbook="DetectorNotReady",
              about="Members that answer, and those of them that are ready.",
              queries=(one(f"sum(detector_ready{{{S}}})", "ready"), one(f"count(detector_ready{{{S}}})", "members"))),
        Panel(title="Alerts of Prometheus", unit="short", kind="stat", width=4, height=4, red_from=1,
              about="Rules of deploy/prometheus/rules.yaml that fire now. Each has a section in the runbooks.",
              queries=(one('count(ALERTS{alertname=~"Detector.+",alertstate="firing"}) or vector(0)', "firing"),)),
        Panel(title="Oldest waiting event", unit="s", kind="stat", width=4, height=4, red_from=60, runbook="DetectorLag",
              about="Age of the oldest record that is not processed, over all partitions.",
              queries=(one(f"max(detector_partition_lag_seconds{{{S}}})", "age"),)),
        Panel(title="Latency", unit="s", kind="stat", width=4, height=4, red_from=1,
              about="99 % of the events are committed within this time, from their timestamp in the log.",
              queries=(quantiles("detector_event_latency_seconds")[1],)),
        Panel(title="Partitions by state", unit="short", kind="stat", width=4, height=4, runbook="DetectorRestoreSlow",
              about="All partitions must be running.",
              queries=(one(f"sum by (state) (detector_partition_state{{{S}}})", "{{state}}"),)),
        Panel(title="Targets that are down", unit="short", kind="stat", width=4, height=4, red_from=1,
              runbook="DetectorTargetDown", about="Members that Prometheus knows and does not reach.",
              queries=(one(f"count(up{{{S}}} == 0) or vector(0)", "down"),)),
    ),
)  # fmt: skip

TRAFFIC = Row(
    title="Traffic",
    panels=(
        Panel(title="Events", unit="eps", runbook="DetectorNoTraffic",
              about="Received is scored plus rejected. Replayed events restore a model and count nowhere else.",
              queries=(one(rate("detector_events_received_total"), "received"),
                       one(rate("detector_events_scored_total"), "scored"),
                       one(rate("detector_events_replayed_total"), "replayed"))),
        Panel(title="Rejected, by reason", unit="eps", stack=True, runbook="DetectorRejectedShare",
              about="Events in the dead letter topic. A rise means that a producer has changed.",
              queries=(one(rate("detector_events_rejected_total", "reason"), "{{reason}}"),)),
        Panel(title="Events by partition", unit="eps", runbook="DetectorLagOfOnePartition",
              about="One partition far above the others has a hot key.",
              queries=(one(rate("detector_events_received_total", "partition"), "partition {{partition}}"),)),
        Panel(title="Irregular events", unit="eps", stack=True,
              about="Out of order, late or repeated events, and records skipped.",
              queries=(one(rate("detector_events_irregular_total", "kind"), "{{kind}}"),)),
        Panel(title="Values that cannot be read", unit="eps", stack=True,
              about="Values of scored events that count as missing, by field. A producer writes them in another way.",
              needs="such values", queries=(one(rate("detector_values_unreadable_total", "field"), "{{field}}"),)),
        Panel(title="Keys, losses", unit="eps", runbook="DetectorEventsLost",
              about="Records whose key is not their main entity, and offsets that the log deleted unread.",
              queries=(one(rate("detector_key_mismatches_total"), "other key"),
                       one(rate("detector_events_lost_total"), "lost"))),
    ),
)  # fmt: skip

LAG = Row(
    title="Lag and latency",
    panels=(
        Panel(title="Oldest waiting event, by partition", unit="s", red_from=60, runbook="DetectorLag",
              about="Age of the oldest record that is not processed.",
              queries=(one(top("detector_partition_lag_seconds", "partition"), "partition {{partition}}"),)),
        Panel(title="Records behind", unit="short", runbook="DetectorLag",
              about="Records from the last commit to the end of the log.",
              queries=(one(top("detector_partition_lag_records", "partition"), "partition {{partition}}"),)),
        Panel(title="Is the broker telling?", unit="s", runbook="DetectorLagUnknown",
              about="Time since the broker told the end of the log, since the newest record came, and since one was processed.",
              queries=(one(f"max(detector_partition_lag_age_seconds{{{S}}})", "end of the log"),
                       one(f"min(detector_partition_newest_record_age_seconds{{{S}}})", "newest record"),
                       one(f"max(detector_partition_event_age_seconds{{{S}}})", "last one processed"))),
        Panel(title="Latency", unit="s", about="From an event's timestamp in the log to the commit of its outputs.",
              queries=quantiles("detector_event_latency_seconds")),
        Panel(title="Time of the loop, by stage", unit="percentunit", stack=True,
              about="Share of a core that each stage takes. Together 1: a core is used up.",
              queries=(one(rate("detector_stage_duration_seconds_sum", "stage"), "{{stage}}"),)),
        Panel(title="Commits", unit="s", runbook="DetectorCommitsFail", about="Duration of one commit.",
              queries=quantiles("detector_commit_duration_seconds")),
    ),
)  # fmt: skip

OUTAGES = Row(
    title="Outages and the group",
    panels=(
        Panel(title="Heartbeat of the loop", unit="s", red_from=10, runbook="DetectorLoopStalled",
              about="Time since the loop's last round. Above 10 s it stands still.",
              queries=(one(top("detector_loop_heartbeat_age_seconds", "instance"), "{{instance}}"),)),
        Panel(title="Ready", unit="bool_yes_no", runbook="DetectorNotReady", about="1 while a member is ready.",
              queries=(one(top("detector_ready", "instance"), "{{instance}}"),)),
        Panel(title="Outage under way", unit="s", red_from=60, runbook="DetectorNotReady",
              about="How long something outside has kept a member from work.",
              queries=(one(top("detector_outage_seconds", "instance"), "{{instance}}"),)),
        Panel(title="Outages that ended", unit="short", about="Number in the last hour.",
              queries=(one(f"sum by (instance) (increase(detector_outages_total{{{S}}}[1h]))", "{{instance}}"),)),
        Panel(title="Duration of outages", unit="s", needs="an outage within the hour", about="Of the last hour; median and 99 %.",
              queries=tuple(one(f"histogram_quantile({q}, sum by (le) (increase(detector_outage_duration_seconds_bucket{{{S}}}[1h])))", name)
                            for q, name in ((0.5, "median"), (0.99, "99 %")))),
        Panel(title="Commits that failed", unit="short", runbook="DetectorCommitsFail",
              about="In ten minutes. Each one rebuilds all partitions of the member.",
              queries=(one(f"sum by (instance) (increase(detector_commit_failures_total{{{S}}}[10m]))", "{{instance}}"),)),
        Panel(title="Changes of the group", unit="short", about="Partitions given and taken away, in ten minutes.",
              queries=(one(f"sum by (kind) (increase(detector_rebalances_total{{{S}}}[10m]))", "{{kind}}"),)),
        Panel(title="Outputs hidden from consumers", unit="s", red_from=30, runbook="DetectorOutputsHidden",
              about="How long the last stable offset of an output topic has stood still.",
              queries=(one(top("detector_output_stable_offset_age_seconds", "topic"), "{{topic}}"),)),
        Panel(title="Transactions ended for others", unit="short",
              about="Transactions of dead members, and hanging ones, that a member ended in an hour.",
              queries=(one(f"sum by (cause) (increase(detector_transactions_ended_total{{{S}}}[1h]))", "{{cause}}"),)),
        Panel(title="Partitions by state", unit="short", stack=True, runbook="DetectorRestoreSlow",
              about="All must be running.",
              queries=(one(f"sum by (state) (detector_partition_state{{{S}}})", "{{state}}"),)),
    ),
)  # fmt: skip

RECOVERY = Row(
    title="Recovery",
    panels=(
        Panel(title="Age of checkpoints", unit="s", red_from=3600, runbook="DetectorCheckpointOld",
              about="Time since a checkpoint was last written.",
              queries=(one(top("detector_checkpoint_age_seconds", "partition"), "partition {{partition}}"),)),
        Panel(title="Checkpoints not written", unit="short", runbook="DetectorCheckpointsFail",
              about="In ten minutes, by kind of failure.",
              queries=(one(f"sum by (kind) (increase(detector_checkpoint_failures_total{{{S}}}[10m]))", "{{kind}}"),)),
        Panel(title="Journal", unit="bytes", red_from=3072, runbook="DetectorJournalNearLimit",
              about="Kafka's default limit is 4096 bytes. A checkpoint empties it.",
              queries=(one(top("detector_journal_bytes", "partition"), "partition {{partition}}"),)),
        Panel(title="Size of checkpoints, room for them", unit="bytes", runbook="DetectorCheckpointStoreNearlyFull",
              about="Bytes of the newest checkpoints, and what is free; the latter only where the store is a folder.",
              queries=(one(f"sum(detector_checkpoint_bytes{{{S}}})", "newest checkpoints"),
                       one(f"min(detector_checkpoint_store_free_bytes{{{S}}})", "free"))),
        Panel(title="Time to write one", unit="s", about="Duration of a checkpoint.",
              queries=quantiles("detector_checkpoint_duration_seconds")),
        Panel(title="Restores", unit="s", runbook="DetectorRestoreSlow",
              about="Time from the assignment of a partition until its model was restored, in the last hour.",
              queries=(one(f"histogram_quantile(0.99, sum by (le) (increase(detector_restore_duration_seconds_bucket{{{S}}}[1h])))",
                           "99 %"),), needs="a restore within the hour"),
        Panel(title="Progress of restores", unit="percentunit", runbook="DetectorRestoreSlow",
              about="Share of the replay that is done; 1 once the partition has caught up.",
              queries=(one(top("detector_restore_progress_ratio", "partition", "min"), "partition {{partition}}"),)),
        Panel(title="How long topics are kept", unit="s", runbook="DetectorRetentionShort",
              about="Each topic must be above the line of what recovery needs.",
              queries=(one(top("detector_topic_retention_seconds", "topic", "min"), "{{topic}}"),
                       one(f"max(detector_recovery_retention_seconds{{{S}}})", "needed"))),
        Panel(title="States that differ", unit="short", runbook="DetectorStatesDiffer",
              about="Replays that came to another state than the process before them, in an hour.",
              queries=(one(f"sum by (partition) (increase(detector_state_mismatches_total{{{S}}}[1h]))",
                           "partition {{partition}}"),)),
    ),
)  # fmt: skip

PROCESS = Row(
    title="Processes",
    panels=(
        Panel(title="Memory", unit="bytes", runbook="DetectorMemoryNearBound", about="Used, and what may be used.",
              queries=(one(top("process_resident_memory_bytes", "instance"), "{{instance}}"),
                       one(f"min(detector_memory_limit_bytes{{{S}}})", "limit"))),
        Panel(title="CPU", unit="percentunit", about="Cores in use.",
              queries=(one(rate("process_cpu_seconds_total", "instance"), "{{instance}}"),)),
        Panel(title="Open files", unit="short", about="Open files and connections, and the limit.",
              queries=(one(top("process_open_fds", "instance"), "{{instance}}"),
                       one(f"min(process_max_fds{{{S}}})", "limit"))),
        Panel(title="Versions", unit="short", width=8, runbook="DetectorVersionsMixed", about="Members by version.",
              queries=(one(f"count by (version, python) (detector_build_info{{{S}}})", "{{version}}, Python {{python}}"),)),
        Panel(title="Configurations", unit="short", width=8, runbook="DetectorConfigsMixed",
              about="Members by hash of the model's settings.",
              queries=(one(f"count by (model, delivery) (detector_config_info{{{S}}})", "{{model}} {{delivery}}"),)),
        Panel(title="Uptime", unit="s", width=8, about="Time since a member started.",
              queries=(one(f"time() - max by (instance) (process_start_time_seconds{{{S}}})", "{{instance}}"),)),
    ),
)  # fmt: skip

NOTIFY = Row(
    title="detector notify",
    panels=(
        Panel(title="Messages", unit="short", stack=True, runbook="DetectorNotifyRefused", needs="detector notify",
              about="What became of alerts and case updates, in an hour.",
              queries=(one(f"sum by (receiver, outcome) (increase(detector_notify_messages_total{{{JOB}}}[1h]))",
                           "{{receiver}}: {{outcome}}"),)),
        Panel(title="Waiting", unit="short", needs="detector notify", about="Messages in memory that wait, and sendings that failed in ten minutes.",
              queries=(one(f"sum by (receiver) (detector_notify_waiting{{{JOB}}})", "{{receiver}}: waiting"),
                       one(f"sum by (receiver) (increase(detector_notify_failures_total{{{JOB}}}[10m]))", "{{receiver}}: failed"))),
        Panel(title="Oldest message", unit="s", red_from=300, runbook="DetectorNotifyBehind", needs="detector notify",
              about="Time since the oldest waiting message was published.",
              queries=(one(f"max by (receiver) (detector_notify_oldest_age_seconds{{{JOB}}})", "{{receiver}}"),)),
        Panel(title="Receivers that work", unit="bool_yes_no", runbook="DetectorNotifyBehind", needs="detector notify",
              about="0 while the last sending has failed.",
              queries=(one(f"min by (receiver) (detector_notify_up{{{JOB}}})", "{{receiver}}"),)),
    ),
)  # fmt: skip

BOARD = Board(
    uid="detector-service",
    title="Detector: service",
    about="Does the service work, how far is it, and could it recover? The runbooks have a section for each alert.",
    rows=(HEALTH, TRAFFIC, LAG, OUTAGES, RECOVERY, PROCESS, NOTIFY),
    excused={
        "process_virtual_memory_bytes": "address space says nothing about memory in use",
    },
)
