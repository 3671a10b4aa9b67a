"""Which messages a receiver takes."""

from __future__ import annotations

from detector.config.tree import Receiver
from detector.core.alerts.severity import SEVERITIES
from detector.notify.message import Message


def takes(receiver: Receiver, message: Message) -> bool:
    """Whether all rules of a receiver fit a message.

    The hours are those in which the message was published, so a receiver that was down gets what it missed.
    A message without a priority fits any.
    """
    priority = message.body.get("priority")
    entity = message.entity
    return (
        message.kind in receiver.types
        and message.severity >= SEVERITIES.index(receiver.severity)
        and (receiver.priority is None or priority is None or priority >= receiver.priority)
        and (not receiver.entities or (entity is not None and entity[0] in receiver.entities))
        and (receiver.hours is None or receiver.hours.hold(message.published_s))
    )
