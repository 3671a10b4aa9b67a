"""The detector in Python: the same shard as the daemon's, over data frames.

    frames      tables of any library <-> events and columns
    stream      one shard with its barriers, labels and checkpoints
    labels      labels that wait for a barrier
    alerts      alerts as objects, with a view for notebooks
    detector    the class that puts them together

The adapters and the plots need packages of their own, so nothing here imports them: `detector.api.online`
(river), `detector.api.outlier` (scikit-learn), `detector.api.plots` (matplotlib).
"""

from detector.api.alerts import Alert, Alerts, Reason
from detector.api.detector import Detector

__all__ = ["Alert", "Alerts", "Detector", "Reason"]
