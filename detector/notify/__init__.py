"""Tells people and programs about alerts: from the topics to receivers, at least once and in order.

    inbox (Kafka) ─> `rules`: does the receiver take it? ─> `delivery`: when, how many at once, again if it
    failed ─> sender (`bodies`, `mail`) ─> the receiver; then the position is committed

Each receiver has a consumer group of its own, so one that is down or slow holds up nobody else.
"""

from detector.notify.delivery import Arrived, Counts, Delivery, Inbox, Refused, Sender, Unavailable
from detector.notify.message import Message, read_message

__all__ = [
    "Arrived",
    "Counts",
    "Delivery",
    "Inbox",
    "Message",
    "Refused",
    "Sender",
    "Unavailable",
    "read_message",
]
