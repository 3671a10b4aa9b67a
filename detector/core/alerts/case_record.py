"""An update of a case as people and programs receive it: a CloudEvent in Kafka's binary mode.

`detector/schemas/case.updated.v1.json` describes the body. Ids are made from the case and the number of
the update, so a consumer can drop duplicates.
"""

from __future__ import annotations

from typing import Any

import msgspec

from detector.core.alerts.alert import alert_id, cloud_event
from detector.core.alerts.cases import Held, Update
from detector.core.alerts.score_record import iso
from detector.core.alerts.severity import SEVERITIES
from detector.core.records import CaseUpdate, Identity

TYPE = "detector.case.updated.v1"
SCHEMA_VERSION = 1
DATA_SCHEMA = "urn:detector:schema:case.updated.v1"


def make_update(identity: Identity, update: Update, main_name: str, priority: float) -> CaseUpdate:
    """Make the record of an update.

    Parameters
    ----------
    main_name
        Name of the main entity.
    priority
        Expected loss of the case.
    """
    totals = update.totals
    case_id = alert_id(identity, totals.case)
    id_ = f"{case_id}#{update.number}"
    body = {
        "schema_version": SCHEMA_VERSION,
        "update_id": id_,
        "case_id": case_id,
        "number": update.number,
        "cause": update.cause,
        "severity": SEVERITIES[update.severity],
        "entity": {"name": main_name, "value": update.value},
        "first_time": iso(update.began),
        "last_time": iso(update.latest),
        "case": {"number": totals.events, "sum": totals.sum, "largest": totals.largest},
        "priority": priority,
        "related": [alert_id(identity, first) for first in totals.related],
        "alerts": totals.alerts,
        "alert_ids": [alert_id(identity, offset) for offset in update.alerts],
        "held_back": [_held(identity, held) for held in update.held],
        "source": {"topic": identity.topic, "partition": identity.partition, "offset": update.at},
    }
    return CaseUpdate(
        offset=update.at,
        key=update.value.encode(),
        headers=cloud_event(
            identity,
            id_=id_,
            type_=TYPE,
            subject=update.value,
            time=update.latest,
            schema=DATA_SCHEMA,
        ),
        body=msgspec.json.encode(body),
        cause=update.cause,
    )


def _held(identity: Identity, held: Held) -> dict[str, Any]:
    return {
        "topic": identity.topic,
        "partition": identity.partition,
        "offset": held.offset,
        "event_time": iso(held.time),
        "exposure": held.exposure,
        "score": held.score,
        "severity": SEVERITIES[held.severity],
        "reason": held.reason,
    }
