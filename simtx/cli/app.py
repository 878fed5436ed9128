"""The commands that there are, and how each of them ends.

Exit codes: 0 fine; 1 a check failed; 2 bad input, or output that cannot be written, with one line for each problem on standard error;
130 interrupted, with what was finished kept.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any, Final, TextIO

import typer

from simtx.cli.alerts import alerts
from simtx.cli.audit import audit
from simtx.cli.built_in import scenarios, strategies
from simtx.cli.calibrate import calibrate
from simtx.cli.check_history import check_history, convert
from simtx.cli.common import add_command
from simtx.cli.compare import compare
from simtx.cli.diff import diff
from simtx.cli.execute import execute
from simtx.cli.frontier import frontier
from simtx.cli.kills import crash_matrix, soak
from simtx.cli.report import report
from simtx.cli.saturation import saturation
from simtx.cli.sensitivity import sensitivity
from simtx.cli.simulate import simulate
from simtx.cli.start import INTERRUPTED, begin
from simtx.cli.story import story
from simtx.cli.sweep import sweep
from simtx.cli.transactions import transactions
from simtx.cli.validate import validate
from simtx.cli.verify import verify, verify_derived
from simtx.errors import ScenarioError, SimtxError
from simtx.printable import printable

# Older versions of typer use click, newer ones bring their own copy of it: this is the base of all usage errors in both.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="simtx",
    help="Compare two-phase commit, sagas, transactional outbox and dual writes on a scenario.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from simtx import __version__

        typer.echo(f"simtx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Find out which way of keeping distributed data consistent this system should use, and what it will cost."""


def _add(function: Callable[..., None], *modules: str) -> None:
    """Add a command, which imports these modules before it begins to work."""

    @functools.wraps(function)
    def command(**options: Any) -> None:
        begin(*modules)
        function(**options)

    add_command(app, command)


_add(scenarios, "simtx.scenario")
_add(strategies, "simtx.protocols")
_add(simulate, "simtx.simulator", "simtx.report.tables")
_add(compare, "simtx.experiments", "simtx.report.tables")
_add(story, "simtx.experiments.stories", "simtx.report.stories")
_add(alerts, "simtx.simulator", "simtx.alerts", "simtx.report.alerts")
_add(sweep, "simtx.experiments.sweep")
_add(frontier, "simtx.experiments.sweep", "simtx.experiments.frontier")
_add(saturation, "simtx.experiments.saturation", "simtx.report.saturation")
_add(sensitivity, "simtx.experiments.sensitivity")
_add(report, "simtx.experiments.saved", "simtx.report.review.report")
_add(verify, "simtx.checker.protocols.verify")
_add(verify_derived, "simtx.checker.derived.verify")
_add(diff, "simtx.experiments.diff", "simtx.report.diff")
_add(check_history, "simtx.histories")
_add(convert, "simtx.histories")
_add(execute, "simtx.reference.execute", "simtx.report.tables")
app.add_typer(transactions)
_add(audit, "simtx.reference.run_folder.audit")
_add(calibrate, "simtx.validation.calibrate")
_add(validate, "simtx.validation.validate")
_add(crash_matrix, "simtx.validation.crash_matrix")
_add(soak, "simtx.validation.soak")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # a polite kill ends like Ctrl-C: what is finished is kept, and no child is left
    polite = [signal.SIGTERM]
    if (
        signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    ):  # a terminal that is closed, unless it was said that it may (nohup)
        polite.append(signal.SIGHUP)
    before = [(number, signal.signal(number, _terminate)) for number in polite]
    try:
        code = _run(arguments)
        if sys.stdout is not None:  # what is left in the buffer
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output has gone
        _abandon(sys.stdout, sys.stderr)
        return 1
    except OSError as error:
        if not _abandon(sys.stdout, sys.stderr) and error.errno not in _FULL:
            raise
        what = f"'{error.filename}'" if error.filename else "the output"
        return _fail(f"cannot write {what}: {error.strerror or error}", 2)
    finally:
        for number, old in before:
            signal.signal(number, old)


def _run(arguments: list[str] | None) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="simtx", standalone_mode=False)
    except typer.Exit as end:
        code = end.exit_code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except _UsageError as error:
        text = str(getattr(error, "format_message", error.__str__)())
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(text)
            return 2
        context = getattr(error, "ctx", None)  # of the command, which knows what it takes
        more = f"; {context.command_path} --help says what there is" if context is not None else ""
        return _fail(f"{' '.join(text.split()).removesuffix('.')}{more}", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except ScenarioError as error:
        return _fail(str(error), 2)
    except SimtxError as error:  # a run failed, or a strategy broke the contract
        return _fail(str(error), 1)
    if code == INTERRUPTED:  # newer versions of typer make an exit code of Ctrl-C
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _abandon(*streams: TextIO | None) -> bool:
    """Return whether one of these cannot be written to; what such a stream holds goes nowhere, so that the program ends quietly."""
    found = False
    for stream in streams:
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            found = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            stream.flush()
    return found


def _fail(text: str, code: int) -> int:
    try:
        for line in text.splitlines() or [""]:
            typer.echo(f"simtx: error: {printable(line)}", err=True)
    except OSError:  # then the exit code says it alone
        _abandon(sys.stderr)
    return code
