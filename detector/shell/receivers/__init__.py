"""Receivers of alerts: over HTTP, and by mail."""

from detector.shell.receivers.http import HttpSender
from detector.shell.receivers.mail import MailSender

__all__ = ["HttpSender", "MailSender"]
