"""`notify`: alerts to webhooks, chats, pagers and mail."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from detector.cli.common import ConfigPath, Overrides, load_config, out
from detector.errors import NeedsOperator


def notify(
    config: ConfigPath,
    test: Annotated[
        bool,
        typer.Option("--test", help="Send each receiver one test message, say what came of it, and end."),
    ] = False,
    set_: Overrides = None,
) -> None:
    """Send alerts to webhooks, Slack, PagerDuty, Alertmanager and mail.

    A process of its own beside the service: it reads the topics of alerts and case updates, with a consumer
    group for each of `notify.receivers`. Each message is delivered at least once and in order; a repeated
    one has the same id. Several such processes share the work. It stops at SIGTERM or SIGINT.
    """
    from detector.wiring.notify import notify as deliver
    from detector.wiring.notify import try_receivers

    settings = load_config(config, set_)
    if not test:
        deliver(settings, os.environ)
        return
    tried = try_receivers(settings, os.environ)
    for one in tried:
        out.print(f"{one.receiver}: {one.problem or 'delivered'}", markup=False, highlight=False)
    failed = [one.receiver for one in tried if one.problem]
    if failed:
        raise NeedsOperator(f"{len(failed)} of {len(tried)} receivers did not take the test message")
