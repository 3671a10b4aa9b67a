"""The program: all commands, and how it ends."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from detector import __version__
from detector.cli import checkpoint, config, doctor, looking_back, service, traffic
from detector.cli.common import err, out
from detector.config.words import redacted
from detector.errors import NeedsOperator, OperatorError, OutsideError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # of standard output; files have their own sentences

app = typer.Typer(
    help="Streaming anomaly detection for transactions: Kafka in, explained alerts out, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(service.run)
app.command("replay")(service.replay)
app.command("explain")(looking_back.explain)
app.command("init-config")(config.init_config)
app.command("simulate")(traffic.simulate)
app.command("check-config")(config.check_config)
app.command("config-schema")(config.config_schema)
app.command("demo")(traffic.demo)
app.command("doctor")(doctor.doctor)

_checkpoint = typer.Typer(
    help="List, inspect, verify, export and roll back checkpoints.", no_args_is_help=True
)
_checkpoint.command("list")(checkpoint.list_)
_checkpoint.command("show")(checkpoint.show)
_checkpoint.command("verify")(looking_back.verify)
_checkpoint.command("rollback")(checkpoint.rollback)
_checkpoint.command("export")(checkpoint.export)
app.add_typer(_checkpoint, name="checkpoint")


def main() -> NoReturn:
    """Run a command. What the user caused ends with a sentence and an exit code, without a traceback.

    Files that it writes hold values of events, or what was learned from them: no others may read them.
    """
    os.umask(os.umask(0o077) | 0o027)
    for stream in ("stdout", "stderr"):  # None where it was closed, as by a supervisor
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115 - for the life of the process
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
