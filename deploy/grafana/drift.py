"""The dashboard of drift: does the stream change, and does the model follow."""
# ruff: noqa: E501

from __future__ import annotations

from panel import SELECTED, Board, Panel, Row, one, top

S = SELECTED
LABELS = "labels of the last two weeks of event time"

FIELDS = Row(
    title="Fields",
    panels=(
        Panel(title="Index against its threshold", unit="percentunit", red_from=1, width=12, runbook="DetectorDriftOfField",
              about="Population stability index of each field as a share of what chance explains. Above 100 % the field drifts; 0 while the threshold is not known yet.",
              queries=(one(f"max by (field) (detector_drift_psi{{{S}}} / on (job, instance, partition, field) detector_drift_psi_threshold{{{S}}})",
                           "{{field}}"),)),
        Panel(title="Part in the change of alerts", unit="percentunit", width=12, runbook="DetectorDriftOfField",
              about="Which part each field has in the change of the share of highly anomalous events.",
              queries=(one(top("detector_drift_alert_weight", "field"), "{{field}}"),)),
        Panel(title="Index of the whole group", unit="short", runbook="DetectorDriftOfField",
              about="Recorded from bins that add over partitions and members (rules.yaml).",
              queries=(one('max by (field) (job_field:detector_drift_psi:fleet{job=~"$job"})', "{{field}}"),)),
        Panel(title="Missing", unit="percentunit", runbook="DetectorDriftOfField", about="Share of the events whose field is missing.",
              queries=(one(f'sum by (field) (detector_drift_bin_events{{{S},side="current",bin="missing"}}) / on (field) sum by (field) (detector_drift_bin_events{{{S},side="current"}})',
                           "{{field}}"),)),
        Panel(title="Never seen before", unit="percentunit", runbook="DetectorDriftOfUnseenValues", about="Share of the events whose value was never seen before.",
              queries=(one(f'sum by (field) (detector_drift_bin_events{{{S},side="current",bin="unseen"}}) / on (field) sum by (field) (detector_drift_bin_events{{{S},side="current"}})',
                           "{{field}}"),)),
    ),
)  # fmt: skip

OTHERS = Row(
    title="Entities, embedding, scores, labels",
    panels=(
        Panel(title="Drifts, by kind", unit="short", stack=True, about="Number of drifts that are told now.", runbook="DetectorDriftOfField",
              queries=(one(f"sum by (kind) (detector_drift_active{{{S}}})", "{{kind}}"),)),
        Panel(title="New entities and contacts", unit="percentunit", runbook="DetectorDriftOfEntities",
              about="Share of events whose entity, or contact with it, was never seen before, and the usual one at this hour.",
              queries=(one(top("detector_drift_new_share", "entity, kind"), "{{entity}}: {{kind}}"),
                       one(top("detector_drift_new_share_usual", "entity, kind"), "{{entity}}: {{kind}}, usual"))),
        Panel(title="Embedding", unit="short", runbook="DetectorDriftOfEmbedding", needs="an encoder that has a say in scores",
              about="Shift of the mean in spreads, mass that moved between clusters, effective rank, distance to normal as a multiple of the usual one.",
              queries=(one(top("detector_drift_embedding", "measure"), "{{measure}}"),)),
        Panel(title="Changes of the score", unit="short", runbook="DetectorDriftOfScore",
              about="Detected changes of what the alert budget does not touch, in an hour.",
              queries=(one(f"sum by (partition) (increase(detector_drift_score_detections_total{{{S}}}[1h]))", "partition {{partition}}"),)),
        Panel(title="Labels of a week", unit="percentunit", runbook="DetectorDriftOfLabels", needs=LABELS,
              about="Share of frauds among the labels, and share of the alerts that were answered; each also of the week before.",
              queries=(one(f'max by (measure) (detector_drift_labels{{{S},measure=~"share|coverage|share_before|coverage_before"}})', "{{measure}}"),)),
        Panel(title="Delay of labels", unit="s", runbook="DetectorDriftOfLabels", needs=LABELS, about="Median, from the event to its label, in event time; also of the week before.",
              queries=(one(f'max by (measure) (detector_drift_labels{{{S},measure=~"delay_seconds|delay_seconds_before"}})', "{{measure}}"),)),
        Panel(title="Precision, by severity", unit="percentunit", runbook="DetectorDriftOfScore", needs=LABELS,
              about="Share of frauds among the answered alerts of the last week.",
              queries=(one(top("detector_label_precision", "severity"), "{{severity}}"),)),
    ),
)  # fmt: skip

MODEL = Row(
    title="The model",
    panels=(
        Panel(title="Alert threshold and trim", unit="short", about="Lowest score that gives an alert, and the one from which on an event is not accepted as normal.",
              queries=(one(f"max(detector_alert_threshold_score{{{S}}})", "alert threshold"),
                       one(f"max(detector_trim_threshold_score{{{S}}})", "trim"))),
        Panel(title="Changes followed", unit="short", about="Changes of the stream that the model has followed, in an hour, by partition.",
              queries=(one(f"sum by (partition) (increase(detector_shifts_total{{{S}}}[1h]))", "partition {{partition}}"),)),
        Panel(title="Rate of events, in event time", unit="short", about="Events per day of event time, over all partitions.",
              queries=(one(f"sum(detector_events_per_day{{{S}}})", "events per day"),)),
        Panel(title="Encoder", unit="short", about="Training loss, a moving average.",
              queries=(one(top("detector_encoder_loss", "partition"), "partition {{partition}}"),)),
        Panel(title="Promotions and training", unit="short", about="Models that began to serve, other encoders among them, new ones that were refused, and training steps, in an hour.",
              queries=(one(f"sum(delta(detector_model_version{{{S}}}[1h]))", "new models"),
                       one(f"sum(changes(detector_encoder_version{{{S}}}[1h]))", "other encoders"),
                       one(f"sum(increase(detector_promotions_refused_total{{{S}}}[1h]))", "refused"),
                       one(f"sum(increase(detector_encoder_steps_total{{{S}}}[1h]))", "steps"))),
        Panel(title="Clusters and profiles", unit="short", about="What the model holds.",
              queries=(one(f"sum(detector_clusters{{{S}}})", "clusters"), one(f"sum(detector_core_events{{{S}}})", "sample of normal events"),
                       one(f"sum(detector_profiles{{{S}}})", "profiles"), one(f"sum(detector_index_vectors{{{S}}})", "vectors"))),
        Panel(title="Search", unit="percentunit", about="Recall of HNSW, measured at the last refit, the share of searches that it answers, and the part of its vectors that have left. Below .95 of recall: raise model.index.ef.",
              queries=(one(f"min(detector_index_recall_ratio{{{S}}})", "recall"), one(f"max(detector_index_hnsw_ratio{{{S}}})", "by HNSW"),
                       one(f"max(detector_index_deleted_ratio{{{S}}})", "deleted"))),
        Panel(title="Refit", unit="s", about="Time of a refit in the background, 99th percentile of an hour: training is awaited, clusters and index are built.",
              queries=(one(f"histogram_quantile(0.99, sum by (le) (increase(detector_refit_duration_seconds_bucket{{{S}}}[1h])))", "refit"),)),
        Panel(title="Warming up", unit="short", about="Partitions whose alerts say warm_up, and those whose encoder is held.",
              queries=(one(f"sum(detector_warming_up{{{S}}})", "partitions"), one(f"sum(detector_promotions_held{{{S}}})", "held"))),
        Panel(title="Accepted events", unit="short", about="Events accepted as normal since the model began.",
              queries=(one(f"sum(detector_model_events{{{S}}})", "events"),)),
    ),
)  # fmt: skip

BOARD = Board(
    uid="detector-drift",
    title="Detector: drift",
    about="Does the stream change, by which field, and does the model follow? `detector status` says it in words.",
    rows=(FIELDS, OTHERS, MODEL),
    excused={
        "detector_state_hash": "two groups compare it at one offset; as a line it says nothing",
        "detector_barrier_offset": "only read together with detector_state_hash",
    },
)
