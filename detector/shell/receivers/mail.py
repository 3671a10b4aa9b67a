"""Sends messages by mail."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence

from detector.config.tree import Receiver
from detector.notify import Message, Refused, Unavailable
from detector.notify.mail import BATCH_MAX, mail
from detector.shell import calls

_REFUSED_MIN = 500  # codes from here on are for good


class MailSender:
    """A `detector.notify.Sender` by SMTP: one connection for each mail, as there are few.

    A server that refuses the content of a mail for good (5xx after DATA) refuses the message. Whatever it
    refuses of us (login, sender, recipients), an operator must mend: the mail is tried again later.

    Parameters
    ----------
    receiver
        Of kind email.
    context
        For encryption; None: the connection is not encrypted.
    """

    batch_max = BATCH_MAX

    def __init__(self, receiver: Receiver, password: str | None, context: ssl.SSLContext | None) -> None:
        assert receiver.smtp is not None
        assert receiver.sender is not None
        host, _, port = receiver.smtp.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._encryption, self._context = receiver.encryption, context
        self._login = None if receiver.username is None else (receiver.username, password or "")
        self._sender, self._to = receiver.sender, receiver.to
        self._timeout_s = receiver.timeout

    def send(self, messages: Sequence[Message], sent_s: float) -> None:
        """Send one mail; see `detector.notify.Sender`."""
        try:
            calls.within(self._timeout_s, lambda: self._deliver(messages, sent_s), name="receiver")
        except smtplib.SMTPDataError as error:
            if error.smtp_code >= _REFUSED_MIN:
                raise Refused(f"SMTP {error.smtp_code} {_text(error.smtp_error)}") from None
            raise Unavailable(f"SMTP {error.smtp_code} {_text(error.smtp_error)}") from None
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            raise Unavailable(f"it refuses the addresses in to: SMTP {code} {_text(text)}") from None
        except smtplib.SMTPResponseException as error:
            raise Unavailable(f"SMTP {error.smtp_code} {_text(error.smtp_error)}") from None
        except TimeoutError:
            raise Unavailable(f"no answer in {self._timeout_s:g} s") from None
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable(f"no connection: {error}") from None

    def _deliver(self, messages: Sequence[Message], sent_s: float) -> None:
        letter = mail(messages, self._sender, self._to, sent_s)
        with self._connected() as server:
            if self._login is not None:
                server.login(*self._login)
            server.send_message(letter)

    def _connected(self) -> smtplib.SMTP:
        if self._encryption == "tls":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=self._context)
        server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        if self._encryption == "starttls":
            try:
                server.starttls(context=self._context)
            except BaseException:
                server.close()
                raise
        return server


def _text(error: bytes | str) -> str:
    text = error.decode("utf-8", "replace") if isinstance(error, bytes) else error
    return " ".join(text.split())[:200]
