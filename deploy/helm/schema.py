"""Write `values.schema.json`: what Helm accepts as values of the chart.

    python deploy/helm/schema.py

The part for `config` is the daemon's own schema (`detector config-schema`), so that Helm refuses a key of the
configuration that does not exist, before any pod starts.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from detector.config.schema import json_schema

PATH = Path(__file__).with_name("values.schema.json")

Schema = dict[str, Any]


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object with these keys and no others."""
    found: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return found | ({"required": list(required)} if required else {})


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema, keys: str | None = None) -> Schema:
    found: Schema = {"type": "object", "additionalProperties": values}
    return found | ({"propertyNames": {"pattern": keys}} if keys else {})


def _number(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


# Keys of the configuration that the chart sets itself, so values may not.
SET_BY_THE_CHART = (
    ("checkpoints", "url"),
    ("http", "address"),
    ("http", "unprotected"),
    ("kafka", "group_instance_id"),
    ("notify", "address"),
)

TEXT: Schema = {"type": "string"}
SWITCH: Schema = {"type": "boolean"}
LABELS = _map(TEXT)
ANYTHING: Schema = {"type": "object"}
PORTS = _list(_number(1, 65535)) | {"minItems": 1}
NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"}
QUANTITY: Schema = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"}
RESOURCES = _object(
    requests=_object(cpu=QUANTITY, memory=QUANTITY), limits=_object(cpu=QUANTITY, memory=QUANTITY)
)
KEY_OF_SECRET = _object(name=TEXT, key=TEXT)
PEER = _object(to=_list(ANYTHING), ports=PORTS)


def values_schema() -> Schema:
    """The schema of the values, JSON Schema 2020-12."""
    config = copy.deepcopy(json_schema())
    definitions = config.pop("$defs")
    for section, key in SET_BY_THE_CHART:
        reference = config["properties"][section]["$ref"]
        del definitions[reference.rpartition("/")[2]]["properties"][key]
    config.pop("$schema", None)
    chart = _object(
        ("config", "checkpoints", "partitions"),
        image=_object(
            repository=TEXT | {"minLength": 1},
            tag=TEXT,
            digest=TEXT | {"pattern": "^(sha256:[0-9a-f]{64})?$"},
            pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
        ),
        imagePullSecrets=_list(_object(("name",), name=NAME)),
        replicas=_number(1, 1000),
        partitions=_number(1, 10_000),
        config={"$ref": "#/$defs/Config"},
        secrets=_map(_object(("name", "key"), name=NAME, key=TEXT), keys="^[A-Za-z_][A-Za-z0-9_]*$"),
        secretFiles=_list(_object(("name",), name=NAME)),
        checkpoints=_object(
            # A `file://` store would be the pod's own; a volume is said below.
            url=TEXT | {"pattern": r"^$|^[a-z][a-z0-9+]*://[^?@\s]+$", "not": {"pattern": "^(file|memory):"}},
            volume=_object(
                accessMode={"enum": ["ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]},
                storageClassName=TEXT,
                size=QUANTITY,
                existingClaim=TEXT,
            ),
        ),
        serviceAccount=_object(annotations=LABELS),
        startupSeconds=_number(30, 86_400),
        terminationGracePeriodSeconds=_number(15, 3_600),  # a stop takes up to 10 s
        resources=RESOURCES,
        podAnnotations=LABELS,
        podLabels=LABELS,
        nodeSelector=LABELS,
        tolerations=_list(ANYTHING),
        priorityClassName=TEXT,
        spreadStrictly=SWITCH,
        networkPolicy=_object(
            enabled=SWITCH,
            metricsFrom=_list(ANYTHING) | {"minItems": 1},
            egress=_object(kafka=PEER, store=PEER, receivers=PEER, extra=_list(ANYTHING)),
        ),
        podMonitor=_object(
            enabled=SWITCH,
            labels=LABELS,
            interval=TEXT | {"pattern": "^[0-9]+(s|m)$"},
            token=KEY_OF_SECRET,
            ca=KEY_OF_SECRET,
            serverName=TEXT,
        ),
        docs=TEXT | {"pattern": r"^https?://[^?#\s]*[^?#\s/]$"},
        prometheusRule=_object(enabled=SWITCH, labels=LABELS),
        dashboards=_object(enabled=SWITCH, labels=LABELS),
        autoscaling=_object(
            enabled=SWITCH,
            min=_number(1, 1000),
            max=_number(1, 1000),
            lag=_number(1, 1_000_000_000),
            pollingSeconds=_number(5, 3_600),
            scaleInSeconds=_number(60, 3_600),  # 3,600 s is the most that Kubernetes takes
            authentication=TEXT,
        ),
        notify=_object(enabled=SWITCH, replicas=_number(1, 100), resources=RESOURCES),
    )
    chart["properties"]["global"] = ANYTHING  # Helm gives it to every chart
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart of detector",
        **chart,
        "$defs": {**definitions, "Config": config | {"required": ["event", "kafka"]}},
    }


def text() -> str:
    """The file's content."""
    return json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
