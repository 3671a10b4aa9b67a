"""The program: all commands, and how it ends."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from detector import __version__
from detector.cli import (
    alerts,
    checkpoint,
    config,
    console,
    diff,
    doctor,
    drift,
    embedding,
    feedback,
    looking_back,
    model,
    notify,
    report,
    service,
    similar,
    status,
    traffic,
)
from detector.cli.common import err, out
from detector.cli.help import Command, Group
from detector.config.words import redacted
from detector.errors import NeedsOperator, OperatorError, OutsideError
from detector.kernel_cache import begin_with_shipped

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # of standard output; files have their own sentences

app = typer.Typer(
    help="Streaming anomaly detection for transactions: Kafka in, explained alerts out, exactly once.",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_checkpoint = typer.Typer(
    help="List, inspect, verify, export and roll back checkpoints; begin anew.",
    cls=Group,
    no_args_is_help=True,
)
_alerts = typer.Typer(help="Show and export alerts, from their topic.", cls=Group, no_args_is_help=True)
_cases = typer.Typer(help="List and show cases, from the topics.", cls=Group, no_args_is_help=True)
_drift = typer.Typer(help="Show what has changed in the stream.", cls=Group, no_args_is_help=True)
_console = typer.Typer(cls=Group, invoke_without_command=True)
_embedding = typer.Typer(
    help="Look at the learned embedding, from checkpoints.", cls=Group, no_args_is_help=True
)
_model = typer.Typer(
    help="Look at the encoder's versions, and say which one serves.", cls=Group, no_args_is_help=True
)
_feedback = typer.Typer(help="Answer alerts.", cls=Group, no_args_is_help=True)
_BEGIN, _OPERATE, _TRY = "Your stream", "Operation", "Simulated traffic"
_report = typer.Typer(help="Report on what the detector does.", cls=Group, no_args_is_help=True)
_COMMANDS: tuple[tuple[typer.Typer, str, Callable[..., Any], str | None], ...] = (
    (app, "init-config", config.init_config, _BEGIN),
    (app, "check-config", config.check_config, _BEGIN),
    (app, "config-schema", config.config_schema, _BEGIN),
    (app, "asyncapi", config.asyncapi, _BEGIN),
    (app, "replay", service.replay, _BEGIN),
    (app, "run", service.run, _BEGIN),
    (app, "notify", notify.notify, _OPERATE),
    (app, "status", status.status, _OPERATE),
    (app, "explain", looking_back.explain, _OPERATE),
    (app, "similar", similar.similar, _OPERATE),
    (app, "diff", diff.diff, _OPERATE),
    (app, "doctor", doctor.doctor, _OPERATE),
    (app, "compile", service.compile_, _OPERATE),
    (app, "demo", traffic.demo, _TRY),
    (app, "simulate", traffic.simulate, _TRY),
    (_alerts, "tail", alerts.tail, None),
    (_alerts, "show", alerts.show, None),
    (_alerts, "export", alerts.export, None),
    (_cases, "list", feedback.list_cases, None),
    (_cases, "show", feedback.show_case, None),
    (_console, "token", console.token, None),
    (_feedback, "send", feedback.send, None),
    (_drift, "report", drift.report, None),
    (_report, "bias", report.bias, None),
    (_model, "list", model.list_, None),
    (_model, "show", model.show, None),
    (_model, "hold", model.hold, None),
    (_model, "promote", model.promote, None),
    (_model, "rollback", model.rollback, None),
    (_embedding, "map", embedding.map_, None),
    (_embedding, "report", embedding.report, None),
    (_checkpoint, "list", checkpoint.list_, None),
    (_checkpoint, "show", checkpoint.show, None),
    (_checkpoint, "verify", looking_back.verify, None),
    (_checkpoint, "rollback", checkpoint.rollback, None),
    (_checkpoint, "begin", checkpoint.begin, None),
    (_checkpoint, "export", checkpoint.export, None),
)
for _group, _name, _function, _panel in _COMMANDS:
    _group.command(_name, cls=Command, rich_help_panel=_panel)(_function)
app.add_typer(_alerts, name="alerts", rich_help_panel=_OPERATE)
app.add_typer(_cases, name="cases", rich_help_panel=_OPERATE)
_console.callback()(console.console)
app.add_typer(_console, name="console", rich_help_panel=_OPERATE)
app.add_typer(_feedback, name="feedback", rich_help_panel=_OPERATE)
app.add_typer(_drift, name="drift", rich_help_panel=_OPERATE)
app.add_typer(_report, name="report", rich_help_panel=_OPERATE)
app.add_typer(_embedding, name="embedding", rich_help_panel=_OPERATE)
app.add_typer(_model, name="model", rich_help_panel=_OPERATE)
app.add_typer(_checkpoint, name="checkpoint", rich_help_panel=_OPERATE)


def main() -> NoReturn:
    """Run a command. What the user caused ends with a sentence and an exit code, without a traceback.

    Files that it writes hold values of events, or what was learned from them: no others may read them.
    """
    os.umask(os.umask(0o077) | 0o027)
    for stream in ("stdout", "stderr"):  # None where it was closed, as by a supervisor
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115 - for the life of the process
    if problem := begin_with_shipped(os.environ):
        err.print(problem)
    try:
        code = app(standalone_mode=False, prog_name="detector")
        sys.stdout.flush()
    except typer.Abort:
        sys.exit(130)
    except OperatorError as error:
        _fail(str(error), error.exit_code)
    except OutsideError as error:
        _fail(str(error), NeedsOperator.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # e.g. `detector config-schema | head`
        _leave_the_pipe()
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _fail(f"the output cannot be written: {error.strerror}", NeedsOperator.exit_code)
    except SystemExit as done:
        if done.code == 1 and isinstance(done.__context__, BrokenPipeError):  # as click and rich report it
            _leave_the_pipe()
        raise
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own usage errors
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def entry() -> NoReturn:
    """Run a command as a process of its own.

    Threads that are left behind (a call or a compilation that a stop does not wait for) may be in compiled
    code. The interpreter would end them there, which aborts the process. So it ends without them.
    """
    try:
        main()
    except SystemExit as done:
        sys.stdout.flush()
        sys.stderr.flush()
        if threading.active_count() > 1 and isinstance(done.code, int):
            os._exit(done.code)
        raise


def _fail(message: str, exit_code: int) -> NoReturn:
    err.print(f"detector: {redacted(message)}", style="red")
    sys.exit(exit_code)


def _leave_the_pipe() -> NoReturn:
    """End quietly: the reader has closed the pipe. What is buffered is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    sys.exit(0)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"detector {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Handle options that come before any command."""
