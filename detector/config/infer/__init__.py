"""A first configuration from a sample of events."""

from detector.config.infer.choice import Choice, Inference
from detector.config.infer.inference import infer
from detector.config.infer.render import render
from detector.config.infer.sample import COLUMNS_MAX, SAMPLE_LINES_MAX

__all__ = ["COLUMNS_MAX", "SAMPLE_LINES_MAX", "Choice", "Inference", "infer", "render"]
