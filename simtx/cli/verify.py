"""``simtx verify`` and ``simtx verify-derived``: everything that a strategy, or a rule for derived data, can do in a small scope."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, Final, TypeAlias

import typer

from simtx.cli.common import changed, echo_verdict, engine_named, print_json, warn
from simtx.cli.options import EngineOption, JsonOption, StrategyArgument

MostStatesOption: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Stop rather than hold more states.")]
MostSecondsOption: TypeAlias = Annotated[float | None, typer.Option(help="Stop after this time.")]
MOST_WORKERS: Final = 64
"""More processes than any search has use for: each takes time to start."""


def verify(
    strategy: StrategyArgument,
    participants: Annotated[int, typer.Option(help="Services, each with one step of the transaction.")] = 2,
    messages: Annotated[int, typer.Option(help="Transactions that the client asks for.")] = 1,
    crashes: Annotated[int, typer.Option(help="Crashes of any node between any two effects.")] = 1,
    losses: Annotated[int, typer.Option(help="Messages that get lost while both ends are up.")] = 0,
    duplicates: Annotated[int, typer.Option(help="Messages that arrive twice.")] = 1,
    timeouts: Annotated[int, typer.Option(help="Timers that fire early.")] = 1,
    failures: Annotated[int, typer.Option(help="Store operations that fail for a passing reason.")] = 0,
    interventions: Annotated[int, typer.Option(help="Requests of an operator.")] = 0,
    repeats: Annotated[int, typer.Option(help="Requests of the client that come again.")] = 0,
    overtakes: Annotated[
        int, typer.Option(help="Local transactions that number their outbox rows and commit later.")
    ] = 0,
    dead_letters: Annotated[int, typer.Option(help="Messages that the broker gives up.")] = 0,
    upgrade: Annotated[
        str | None,
        typer.Option(
            help="A rolling upgrade; what cannot be read yet makes its consumer stop that lane, or skip it; gated: nobody writes the new version before all read it."
        ),
    ] = None,
    lasting: Annotated[bool, typer.Option("--lasting", help="Who crashes stays away, for good.")] = False,
    parallel: Annotated[bool, typer.Option("--parallel", help="The steps form a graph and not a chain.")] = False,
    pivot: Annotated[int | None, typer.Option(help="Index of the step that is the point of no return.")] = None,
    revisit: Annotated[
        bool, typer.Option("--revisit", help="The last step is on the service of the first, which then has two.")
    ] = False,
    reads: Annotated[int, typer.Option(help="How many of the steps, the last ones, only read.")] = 0,
    contention: Annotated[
        bool, typer.Option("--contention", help="The transactions want the same keys (with --messages).")
    ] = False,
    refusals: Annotated[
        int | None,
        typer.Option(
            help="Steps that are refused in one transaction, at most.  [default: one; of independent steps all]"
        ),
    ] = None,
    unruly: Annotated[
        bool, typer.Option("--unruly", help="Also plans that refuse a retriable step or a compensation.")
    ] = False,
    retained: Annotated[
        int | None, typer.Option(help="Idempotency rows that a store keeps, the newest.  [default: all]")
    ] = None,
    isolation: Annotated[
        str, typer.Option(help="Of the stores: serializable (reads lock) or read-committed (they do not).")
    ] = "serializable",
    provider: Annotated[
        str | None,
        typer.Option(help="A provider outside does the work; it remembers: keys, or nothing.  [default: stores do it]"),
    ] = None,
    provider_at: Annotated[
        int | None, typer.Option(help="Index of the step whose service has the provider.  [default: all have one]")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(help="Take the steps of this scenario: a built-in one, or the path of a TOML file."),
    ] = None,
    symmetry: Annotated[
        bool,
        typer.Option("--symmetry", help="Explore once what differs only in who of several like participants is who."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Processes that search.")] = 1,
    max_states: MostStatesOption = None,
    max_seconds: MostSecondsOption = None,
    max_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Stop when the search has added this much: 500MB, 4GB.")
    ] = None,
    walks: Annotated[
        int | None,
        typer.Option(min=1, help="Take so many random walks, each with its own mix of faults, and search nothing."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first of the walks.")] = 1,
    engine: EngineOption = None,
    json: JsonOption = False,
) -> None:
    """Explore all that a strategy can do in a small scope.

    That is every order of events and every crash point.
    Ends with 0 when every property holds, and with 1 when one is violated, a limit stopped the exploration, or something that must
    be possible never happens. Ctrl-C stops it, too: what was found until then is shown, and it ends with 130.
    """
    options = dict(locals())
    del options["json"]
    from simtx.arguments import in_bytes
    from simtx.checker.protocols.verify import verify as explore

    options["refusals"] = True if refusals is None else refusals
    options["engine"], options["max_memory"] = engine_named(engine), in_bytes(max_memory, "--max-memory")
    signal.signal(signal.SIGTERM, _as_interrupt)
    verdict = explore(**options, progress=False if json else None)
    if json:
        print_json(verdict.as_dict())
    else:
        echo_verdict(verdict.verdict, verdict.text)
    warn(verdict.warnings)
    _end_stopped(verdict.stopped)
    if not verdict.ok and (walks is None or verdict.violations):
        raise typer.Exit(1)


def verify_derived(
    rule: Annotated[
        str,
        typer.Argument(
            help="copy (a cache, a search index), projection, group, aggregate or join; options as in 'copy:check=version,by=writer'."
        ),
    ],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="NAME=NUMBER", help="How much may happen, as in writes=3 or crashes=1; may be repeated."
        ),
    ] = None,
    max_states: MostStatesOption = None,
    max_seconds: MostSecondsOption = None,
    json: JsonOption = False,
) -> None:
    """Explore all that a rule for derived data can do.

    That is every order of events in a small scope, of caches, search indexes, projections, consumer groups, aggregates or joins.
    Ends with 0 when every property holds, and with 1 when one is violated, a limit stopped the exploration, or something that must
    be possible never happens. Ctrl-C stops it, too: what was found until then is shown, and it ends with 130.
    """
    from simtx.checker.derived.verify import scope_of
    from simtx.checker.derived.verify import verify_derived as explore
    from simtx.protocols.derived.named import rule_named

    chosen = rule_named(rule, "verify-derived")
    given = changed(scope or (), "--scope", "writes=3")
    found = explore(chosen, given, max_states=max_states, max_seconds=max_seconds)
    allowed = scope_of(chosen, given)
    if json:
        print_json({"rule": rule, "scope": allowed, **found.as_dict()})
    else:
        numbers = ", ".join(f"{name}={str(value).lower()}" for name, value in allowed.items())
        echo_verdict(found.verdict, f"{rule}: {found.summary}\n  scope: {numbers}\n{found}")
    _end_stopped(found.stopped)
    if not found.passed:
        raise typer.Exit(1)


def _end_stopped(reason: str) -> None:
    """Say why an exploration is not complete, if it is not; one that was interrupted has said so itself, and ends here."""
    if reason:
        warn([f"INCOMPLETE ({reason}): what was found until then is shown; what is not violated is not proved"])
    if reason == "interrupted":
        sys.exit(130)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    """A polite kill ends as Ctrl-C does: the exploration stops and what it has found is shown."""
    signal.raise_signal(signal.SIGINT)
