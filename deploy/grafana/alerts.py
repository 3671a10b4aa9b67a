"""The dashboard of alerts: the budget, cases, feedback, and what is missed."""
# ruff: noqa: E501

from __future__ import annotations

from panel import SELECTED, Board, Panel, Row, one, rate, top

S = SELECTED
LABELS = "feedback with labels"
EXPLORATION = "alerts.exploration_share, and 100 answered alerts of each kind"

ALERTS = Row(
    title="Alerts and their budget",
    panels=(
        Panel(title="Alerts, by severity", unit="short", stack=True, width=12, runbook="DetectorBudgetHigh",
              about="Alerts in an hour. A point links to an event: `detector explain` computes it again.",
              queries=(one(f"sum by (severity) (increase(detector_alerts_total{{{S}}}[1h]))", "{{severity}}", exemplars=True),)),
        Panel(title="Alerts of a day and their budget", unit="short", width=12, runbook="DetectorBudgetSilent",
              about="The alerts of 24 hours should stay near the budget, which is for a day of event time.",
              queries=(one(f"sum(increase(detector_alerts_total{{{S}}}[1d]))", "alerts of 24 h"),
                       one(f"sum(detector_alert_budget_per_day{{{S}}})", "budget"))),
        Panel(title="Budget in use", unit="percentunit", red_from=1, runbook="DetectorBudgetUsedUp",
              about="Half while alerts are published as they are earned, 1 when the budget is used up.",
              queries=(one(top("detector_alert_budget_used_ratio", "partition"), "partition {{partition}}"),)),
        Panel(title="Held back, by reason", unit="short", stack=True, runbook="DetectorBudgetUsedUp",
              about="Events above the threshold that gave no alert, in an hour.",
              queries=(one(f"sum by (reason) (increase(detector_alerts_suppressed_total{{{S}}}[1h]))", "{{reason}}"),)),
        Panel(title="Beyond the budget", unit="short", runbook="DetectorBudgetHigh",
              about="Critical alerts published beyond the budget, in an hour.",
              queries=(one(f"sum(increase(detector_budget_overdrafts_total{{{S}}}[1h]))", "overdrafts"),)),
        Panel(title="Threshold", unit="short", runbook="DetectorBudgetSilent",
              about="Lowest score that gives an alert now. A field that goes missing raises it.",
              queries=(one(top("detector_alert_threshold_score", "partition"), "partition {{partition}}"),)),
        Panel(title="Cases", unit="short", about="Open cases.",
              queries=(one(f"sum(detector_cases_open{{{S}}})", "open"),)),
        Panel(title="Updates of cases, by cause", unit="short", stack=True, about="In an hour.",
              queries=(one(f"sum by (cause) (increase(detector_case_updates_total{{{S}}}[1h]))", "{{cause}}"),)),
    ),
)  # fmt: skip

FEEDBACK = Row(
    title="Feedback",
    panels=(
        Panel(title="Feedback, by outcome", unit="short", stack=True, runbook="DetectorFeedbackRefused",
              about="Feedback records of an hour. All but `applied` and the like changed nothing.",
              queries=(one(f'sum by (outcome) (increase(detector_labels_total{{{S},outcome!="read"}}[1h]))', "{{outcome}}"),)),
        Panel(title="Receipts, by status", unit="short", stack=True, runbook="DetectorFeedbackRefused",
              about="Receipts of an hour. The text of a receipt says why.",
              queries=(one(f"sum by (status) (increase(detector_receipts_total{{{S}}}[1h]))", "{{status}}"),)),
        Panel(title="Feedback that waits", unit="short", needs="topics.feedback",
              about="Records that a partition has not read, or that wait until the others have. Some always do while people answer.",
              queries=(one(top("detector_feedback_pending", "partition"), "partition {{partition}}"),)),
        Panel(title="Oldest feedback that waits", unit="s", runbook="DetectorFeedbackPending", needs="topics.feedback",
              about="Usually below 10 s.",
              queries=(one(top("detector_feedback_oldest_age_seconds", "partition"), "partition {{partition}}"),)),
        Panel(title="Labels in force", unit="short", about="Events with a label, and entities and categories with a known fraud.",
              queries=(one(f"sum(detector_labels_held{{{S}}})", "labelled events"),
                       one(f"sum(detector_fraud_rate_keys{{{S}}})", "with a known fraud"))),
        Panel(title="Weight of labels in the score", unit="percentunit",
              about="What the labelled part has earned by its skill. Near 0 without labels.",
              queries=(one(top("detector_label_weight_ratio", "partition"), "partition {{partition}}"),)),
        Panel(title="Events that can be answered", unit="short", about="Events that a label can still refer to.",
              queries=(one(f"sum(detector_answerable_events{{{S}}})", "events"),)),
        Panel(title="Share of old events that can be answered", unit="percentunit",
              about="Of events without an alert that are no longer recent.",
              queries=(one(top("detector_answerable_sample_ratio", "partition", "min"), "partition {{partition}}"),)),
        Panel(title="Dropped before their time", unit="short",
              about="Alerted or labelled events dropped for want of space, in an hour. Raise model.labels.buffer_bytes_max.",
              queries=(one(f"sum(increase(detector_answerable_dropped_total{{{S}}}[1h]))", "events"),)),
    ),
)  # fmt: skip

MISSED = Row(
    title="What is missed",
    panels=(
        Panel(title="Recall", unit="percentunit", needs=EXPLORATION,
              about="Estimated share of frauds that gave an alert, with its standard error.",
              queries=(one(top("detector_recall_ratio", "partition"), "partition {{partition}}"),
                       one(top("detector_recall_standard_error_ratio", "partition"), "standard error, {{partition}}"))),
        Panel(title="Missed frauds", unit="short", needs=EXPLORATION,
              about="Estimated frauds that gave no alert, with its standard error.",
              queries=(one(top("detector_missed_frauds", "partition"), "partition {{partition}}"),
                       one(top("detector_missed_frauds_standard_error", "partition"), "standard error, {{partition}}"))),
        Panel(title="Answers on exploration", unit="short",
              about="Answered exploration alerts among the last 16,384 alerts.",
              queries=(one(f"sum(detector_exploration_answers{{{S}}})", "answers"),)),
    ),
)  # fmt: skip

EXCHANGE = Row(
    title="Exchange between partitions",
    panels=(
        Panel(title="Messages, by outcome", unit="short", stack=True, about="Published and received, in an hour.",
              queries=(one(f"sum by (outcome) (increase(detector_exchange_messages_total{{{S}}}[1h]))", "{{outcome}}"),)),
        Panel(title="Frauds of peers", unit="short", about="Confirmed frauds received from peers and kept.",
              queries=(one(f"sum(detector_peer_frauds{{{S}}})", "frauds"),)),
        Panel(title="Changes dropped", unit="short", about="Changes of fraud rates that were too many to publish, per second.",
              queries=(one(rate("detector_exchange_changes_dropped_total"), "changes"),)),
    ),
)  # fmt: skip

BOARD = Board(
    uid="detector-alerts",
    title="Detector: alerts",
    about="Is the alert budget held, is feedback used, and what is missed?",
    rows=(ALERTS, FEEDBACK, MISSED, EXCHANGE),
)
