"""Kafka: the transactions topic as a member of a group or for looking back, and side topics."""

from detector.shell.kafka.archive import KafkaArchive
from detector.shell.kafka.output_watch import OutputWatch
from detector.shell.kafka.side_log import KafkaSideLog, TimeOf
from detector.shell.kafka.stream import KafkaStream
from detector.shell.kafka.transactions import Hanging, Transactions

__all__ = [
    "Hanging",
    "KafkaArchive",
    "KafkaSideLog",
    "KafkaStream",
    "OutputWatch",
    "TimeOf",
    "Transactions",
]
