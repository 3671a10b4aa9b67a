"""Kafka: the transactions topic as a member of a group or for looking back, and side topics."""

from detector.shell.kafka.archive import KafkaArchive
from detector.shell.kafka.side_log import KafkaSideLog, TimeOf
from detector.shell.kafka.stream import KafkaStream

__all__ = ["KafkaArchive", "KafkaSideLog", "KafkaStream", "TimeOf"]
