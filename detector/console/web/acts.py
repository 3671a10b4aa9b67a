"""What a form says, as a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detector.console.views import ActKind, Command
from detector.console.web.text import iso
from detector.console.web.visit import Visit

LEGITIMATE = (  # keys 1 to 6 choose one
    ("customer_confirmed", "customer confirmed it"),
    ("usual_for_customer", "usual for this customer"),
    ("travel", "travel or move"),
    ("known_merchant", "merchant is known and fine"),
    ("refund_or_correction", "refund, correction or test"),
    ("other", "other reason"),
)
CLOSED = (
    ("duplicate", "duplicate of another case"),
    ("handled_elsewhere", "handled elsewhere"),
    ("not_worth_it", "too small to follow"),
    ("no_answer", "customer cannot be reached"),
)
DAY_S = 86_400.0
SNOOZES = (
    (1, "1 day", "analyst"),
    (7, "7 days", "analyst"),
    (30, "30 days", "lead"),
    (90, "90 days", "lead"),
)
NOTE_CHARS_MAX = 4000
UNDOABLE = ("label", "snooze")
MOVES_ON = ("label", "snooze", "close")  # after these the next case opens


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a form cannot be sent, as a sentence."""

    sentence: str


def snooze_choices(visit: Visit) -> list[tuple[int, str]]:
    """Give the lengths of a snooze, days, that the person may choose."""
    return [
        (days, name) for days, name, role in SNOOZES if visit.may("lead" if role == "lead" else "analyst")
    ]


def read_command(
    visit: Visit, *, cases: Sequence[str], alerts: Sequence[str], last_s: float
) -> Command | Wrong:
    """Read the act of a form.

    Parameters
    ----------
    cases, alerts
        What it is for; with `alerts` it is for these alone.
    last_s
        Time of the latest event of the cases, s since the epoch: a snooze is counted from now, or from there
        if that is later, as the service ends it by event time.
    """
    act, _, choice = visit.one("act").partition(":")
    detail: dict[str, str] = {}
    lasts = ""
    kind: ActKind
    match act:
        case "fraud":
            kind, detail = "label", {"label": "fraud"}
        case "legitimate":
            code = choice or visit.one("legitimate_code") or "other"
            if code not in dict(LEGITIMATE):
                return Wrong("Choose why it is legitimate.")
            kind, detail = "label", {"label": "legitimate", "code": code}
        case "erase" if visit.may("lead"):
            kind = "erase"
        case "retract":
            kind = "retract_label"
        case "unsnooze":
            kind = "unsnooze"
        case "snooze":
            days = {str(days): days for days, _ in snooze_choices(visit)}.get(visit.one("days"))
            if days is None:
                return Wrong("Choose for how long it is snoozed.")
            kind, detail = "snooze", {"until": iso(max(last_s, visit.console.now_s()) + days * DAY_S)}
            lasts = f"{days} days"
        case "close":
            code = choice or visit.one("close_code")
            if code not in dict(CLOSED):
                return Wrong("Choose why it is closed.")
            kind, detail = "close", {"code": code}
        case "assign" | "take":
            assignee = visit.person.name if act == "take" else visit.one("assignee", 200)
            if not assignee:
                return Wrong("Write who takes it.")
            kind, detail = "assign", {"assignee": assignee}
        case "note":
            if not visit.one("note", NOTE_CHARS_MAX):
                return Wrong("The note is empty. Write something first.")
            kind, detail = "note", {"note": visit.one("note", NOTE_CHARS_MAX)}
        case _:
            return Wrong("Choose what to do.")
    whole = () if alerts else tuple(cases)
    return Command(
        kind=kind, id=visit.form_id, case_ids=whole, alert_ids=tuple(alerts), detail=detail, lasts=lasts
    )


def note_beside(visit: Visit, command: Command) -> Command | None:
    """Give the note that was written beside another act; None: there is none."""
    text = visit.one("note", NOTE_CHARS_MAX)
    if not text or command.kind == "note":
        return None
    case_ids = tuple(visit.form.get("case", ())[:1])
    return Command(kind="note", id=f"{visit.form_id}-note", case_ids=case_ids, detail={"note": text})


def said(command: Command) -> str:
    """Say what a command does, in a few words."""
    detail: Mapping[str, str] = command.detail
    match command.kind:
        case "label":
            code = dict(LEGITIMATE).get(detail.get("code", ""), "")
            return f"answered {detail['label']}" + (f": {code}" if code else "")
        case "retract_label":
            return "answer taken back"
        case "snooze":
            return f"snoozed until {detail['until'][:10]}"
        case "unsnooze":
            return "snooze ended"
        case "close":
            return f"closed: {dict(CLOSED).get(detail['code'], detail['code'])}"
        case "erase":
            return "erased: all that the service knows of the entity is dropped for good"
        case "assign":
            return f"assigned to {detail['assignee']}"
        case "note":
            return "note added"
        case _:
            return command.kind
