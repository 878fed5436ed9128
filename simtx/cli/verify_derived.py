"""``simtx verify-derived``: everything that a rule for derived data can do in a small scope."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from simtx.cli.common import JsonOption


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
    max_states: Annotated[int | None, typer.Option(min=1, help="Stop rather than hold more states.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Stop after this time.")] = None,
    json: JsonOption = False,
) -> None:
    """Explore every interleaving of a rule for caches, indexes, projections, consumer groups, aggregates or joins in a small scope.

    Ends with 0 when every property holds, and with 1 when one is violated, a limit stopped the exploration, or something that must
    be possible never happens. Ctrl-C stops it, too: what was found until then is shown, and it ends with 130.
    """
    from simtx.checker.derived.verify import scope_of
    from simtx.checker.derived.verify import verify_derived as explore
    from simtx.cli.common import changed, echo_verdict, print_json, warn
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
    if found.stopped:
        warn([f"INCOMPLETE ({found.stopped}): what was found until then is shown; what is not violated is not proved"])
    if found.stopped == "interrupted":
        sys.exit(130)
    if not found.passed:
        raise typer.Exit(1)
