"""The configuration: one frozen tree of sections.

Rules
    - Unknown keys are refused.
    - An object that exists is valid: types, bounds and relations between keys are checked by the sections
      themselves, however they are built.
    - All problems of a tree are reported at once. A relation is a validator of the later key and reads the
      earlier ones from ``info.data``, where pydantic puts what is valid.
    - Every key has a description. `detector config-schema` exports them to editors.

`Config.model_part()` is what alerts depend on: `event`, `model`, `alerts`. A change there takes effect at a
barrier, and the journal records its hash (see `detector.core.recovery.journal`). Every other key may change
between two starts.
"""

from detector.config.tree.alerts import Alerts, Budget, Severity
from detector.config.tree.base import Name, Part, Secret, ShadowName, Topic
from detector.config.tree.config import PROCESS_BYTES, Config, ModelPart
from detector.config.tree.console import Console, ConsoleProxy
from detector.config.tree.event import (
    EPOCHS,
    MISSING,
    TIME_FORMATS,
    TIME_MAX_S,
    TIME_PARTS,
    UNREADABLE,
    Duplicates,
    EntityField,
    Envelope,
    Event,
    EventLimits,
    Late,
    NumberForm,
    Reversals,
    TimeField,
    ValueField,
    split_path,
)
from detector.config.tree.model import (
    STEP_EVENTS_MAX,
    Barriers,
    Calibration,
    Clusters,
    Encoder,
    Features,
    Index,
    Labels,
    Model,
    Objectives,
)
from detector.config.tree.notify import Hours, Notify, Receiver
from detector.config.tree.service import (
    Checkpoints,
    Http,
    HttpTls,
    Kafka,
    Log,
    Oauth,
    Registry,
    Security,
    Topics,
)

__all__ = [
    "EPOCHS",
    "MISSING",
    "PROCESS_BYTES",
    "STEP_EVENTS_MAX",
    "TIME_FORMATS",
    "TIME_MAX_S",
    "TIME_PARTS",
    "UNREADABLE",
    "Alerts",
    "Barriers",
    "Budget",
    "Calibration",
    "Checkpoints",
    "Clusters",
    "Config",
    "Console",
    "ConsoleProxy",
    "Duplicates",
    "Encoder",
    "EntityField",
    "Envelope",
    "Event",
    "EventLimits",
    "Features",
    "Hours",
    "Http",
    "HttpTls",
    "Index",
    "Kafka",
    "Labels",
    "Late",
    "Log",
    "Model",
    "ModelPart",
    "Name",
    "Notify",
    "NumberForm",
    "Oauth",
    "Objectives",
    "Part",
    "Receiver",
    "Registry",
    "Reversals",
    "Secret",
    "Security",
    "Severity",
    "ShadowName",
    "TimeField",
    "Topic",
    "Topics",
    "ValueField",
    "split_path",
]
