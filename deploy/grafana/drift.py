"""The dashboard of drift: does the stream change, and does the model follow."""
# ruff: noqa: E501

from __future__ import annotations

from panel import SELECTED, Board, Panel, Row, one, top

S = SELECTED

MODEL = Row(
    title="The model",
    panels=(
        Panel(title="Alert threshold and trim", unit="short", about="Lowest score that gives an alert, and the one from which on an event is not accepted as normal.",
              queries=(one(f"max(detector_alert_threshold_score{{{S}}})", "alert threshold"),
                       one(f"max(detector_trim_threshold_score{{{S}}})", "trim"))),
        Panel(title="Changes followed", unit="short", about="Changes of the stream that the model has followed, in an hour, by partition.",
              queries=(one(f"sum by (partition) (increase(detector_shifts_total{{{S}}}[1h]))", "partition {{partition}}"),)),
        Panel(title="Changes detected", unit="short", about="Changes of the mean of a signal, in an hour.",
              queries=(one(f"sum by (signal) (increase(detector_drift_detections_total{{{S}}}[1h]))", "{{signal}}"),)),
        Panel(title="Rate of events, in event time", unit="short", about="Events per day of event time, over all partitions.",
              queries=(one(f"sum(detector_events_per_day{{{S}}})", "events per day"),)),
        Panel(title="Encoder", unit="short", about="Training loss, a moving average.",
              queries=(one(top("detector_encoder_loss", "partition"), "partition {{partition}}"),)),
        Panel(title="Promotions and training", unit="short", about="New encoders that began to serve and training steps, in an hour.",
              queries=(one(f"sum(delta(detector_model_version{{{S}}}[1h]))", "new encoders"),
                       one(f"sum(increase(detector_encoder_steps_total{{{S}}}[1h]))", "steps"))),
        Panel(title="Clusters and profiles", unit="short", about="What the model holds.",
              queries=(one(f"sum(detector_clusters{{{S}}})", "clusters"), one(f"sum(detector_core_events{{{S}}})", "sample of normal events"),
                       one(f"sum(detector_profiles{{{S}}})", "profiles"), one(f"sum(detector_index_vectors{{{S}}})", "vectors"))),
        Panel(title="Search", unit="percentunit", about="Recall of HNSW, measured at the last refit, and the share of searches that it answers. Below .95 of recall: raise model.index.ef.",
              queries=(one(f"min(detector_index_recall_ratio{{{S}}})", "recall"), one(f"max(detector_index_hnsw_ratio{{{S}}})", "by HNSW"))),
        Panel(title="Warming up", unit="short", about="Partitions whose alerts say warm_up.",
              queries=(one(f"sum(detector_warming_up{{{S}}})", "partitions"),)),
        Panel(title="Accepted events", unit="short", about="Events accepted as normal since the model began.",
              queries=(one(f"sum(detector_model_events{{{S}}})", "events"),)),
    ),
)  # fmt: skip

BOARD = Board(
    uid="detector-drift",
    title="Detector: drift",
    about="Does the stream change, by which field, and does the model follow? `detector status` says it in words.",
    rows=(MODEL,),
    excused={
        "detector_state_hash": "two groups compare it at one offset; as a line it says nothing",
        "detector_barrier_offset": "only read together with detector_state_hash",
    },
)
