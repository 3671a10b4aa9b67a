"""Mail: one message, or a digest of several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from detector.notify.message import Message
from detector.notify.texts import details, title, together

BATCH_MAX = 100


def mail(messages: Sequence[Message], sender: str, to: Sequence[str], sent_s: float) -> EmailMessage:
    """Make the mail about messages. Its `Message-ID` comes from the first one's id: a repeat has the same."""
    first = messages[0]
    letter = EmailMessage()
    letter["From"] = sender
    letter["To"] = ", ".join(to)
    letter["Subject"] = together(messages)
    letter["Date"] = format_datetime(datetime.fromtimestamp(sent_s, UTC))
    letter["Message-ID"] = f"<{re.sub(r'[^A-Za-z0-9._-]', '_', first.id)}.{len(messages)}@detector>"
    letter["References"] = f"<{re.sub(r'[^A-Za-z0-9._-]', '_', first.case)}@detector>"  # a case is a thread
    parts = ["\n".join([title(one), *(f"  {said}" for said in details(one))]) for one in messages]
    letter.set_content("\n\n".join(parts) + "\n")
    return letter
