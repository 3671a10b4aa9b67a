"""A first configuration from a sample of events."""

from detector.config.infer.choice import Choice, Inference, Label
from detector.config.infer.envelope import find_envelope
from detector.config.infer.inference import Wishes, decide, infer
from detector.config.infer.labels import is_fraud
from detector.config.infer.render import render, why
from detector.config.infer.sample import COLUMNS_MAX, SAMPLE_LINES_MAX, Sample

__all__ = [
    "COLUMNS_MAX",
    "SAMPLE_LINES_MAX",
    "Choice",
    "Inference",
    "Label",
    "Sample",
    "Wishes",
    "decide",
    "find_envelope",
    "infer",
    "is_fraud",
    "render",
    "why",
]
