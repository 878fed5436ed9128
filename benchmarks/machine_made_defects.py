"""Defects made by machine: every effect of every machine left out, doubled and put last, and every field of it changed; which of them does the checker find?

``python benchmarks/machine_made_defects.py`` prints a table for docs/verification.md and the defects that no scope has refuted; ``--only saga`` one strategy.

An effect is put last only where others come after it: elsewhere nothing would change. `HARMLESS_LAST` says of each effect that may come last why it may; what is alive and has
no reason there is printed as such.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from time import process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from simtx.checker import explore
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.errors import SimtxError
from simtx.protocols import Relay
from simtx.protocols.outbox import OutboxService
from simtx.protocols.saga import Orchestrator
from simtx.protocols.saga_participant import Participant as SagaParticipant
from simtx.protocols.subjects import name as inside
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_participant import Participant
from tests.checker.mutants.catalogue import Commit2, Outbox2, Saga2

MACHINES: dict[str, tuple[Any, dict[str, type]]] = {
    "2pc": (Commit2, {"coordinator": Coordinator, "participant": Participant}),
    "saga": (Saga2, {"orchestrator": Orchestrator, "participant": SagaParticipant}),
    "outbox": (Outbox2, {"service": OutboxService, "relay": Relay}),
}
SCOPES = (
    {"participants": 2},
    {"participants": 2, "crashes": 1},
    {"participants": 2, "duplicates": 1, "timeouts": 1},
    {"participants": 2, "losses": 1, "failures": 1},
    {"participants": 2, "crashes": 1, "timeouts": 1},
    {"participants": 3, "pivot": 1, "timeouts": 1},
)
MOST_STATES = 12_000
_WATCHED = "it tells an observer something, and no machine: what a crash swallows of it, it swallows in either place"
_UNLOGGED = (
    "whoever forgets here has no record that anybody could miss, so that a crash in between is a crash before both: the command, "
    "the question or the delivery comes again, and is answered anew"
)
_VOLATILE = "neither outlives a crash, no time passes between them, and no other node learns of the timer: only both together, or the first alone, are lost"
_NO_RECORD = (
    "no record means abort: whoever was not told asks, and a crash in between leaves what a crash before both leaves"
)
#: Effects that may be put last, behind what their machine does after them, and why.
HARMLESS_LAST: dict[str, str] = {
    "2pc coordinator: Answer:aborted": "it comes behind the forgetting: no client is owed this answer after a crash, since a presumed abort is not remembered",
    "2pc coordinator: Answer:committed": "the commit is on disk before both, and a recovery answers again",
    "2pc coordinator: Append:abort": _NO_RECORD,
    "2pc coordinator: Append:end": "an end without a commit before it says no more than no record; one that is lost has COMMIT sent again",
    "2pc coordinator: Decided:aborted": _WATCHED,
    "2pc coordinator: Decided:committed": _WATCHED,
    "2pc coordinator: Message:abort": _NO_RECORD,
    "2pc coordinator: Message:commit": _VOLATILE,
    "2pc coordinator: Message:prepare": _VOLATILE,
    "2pc coordinator: SetTimer:acknowledgement": "the timer that it comes behind is another one",
    "2pc coordinator: Suspect": _WATCHED,
    "2pc participant: Message:ack": _UNLOGGED,
    "2pc participant: Message:inquiry": _VOLATILE,
    "2pc participant: Message:no": _UNLOGGED,
    "2pc participant: Message:yes": _VOLATILE,
    "2pc participant: Rollback": "a prepared branch is not forgotten with the machine: a crash in between leaves it in doubt, and its question is answered by ABORT",
    "2pc participant: Suspect": _WATCHED,
    "saga orchestrator: Decided:aborted": _WATCHED,
    "saga orchestrator: Decided:committed": _WATCHED,
    "saga orchestrator: Message:do": _VOLATILE,
    "saga orchestrator: Message:resolve": _VOLATILE,
    "saga orchestrator: Message:undo": _VOLATILE,
    "saga orchestrator: Suspect": _WATCHED,
    "saga participant: Message:done": _UNLOGGED,
    "saga participant: Message:error": _UNLOGGED,
    "saga participant: Message:refused": _UNLOGGED,
    "saga participant: Message:undone": _UNLOGGED,
    "outbox service: Acknowledge": _UNLOGGED,
    "outbox service: Answer:aborted": "a service has no record of its client: a crash in between leaves what a crash before both leaves",
    "outbox service: Answer:accepted": "a service has no record of its client: a crash in between leaves what a crash before both leaves",
    "outbox service: Decided:aborted": _WATCHED,
    "outbox service: Decided:committed": _WATCHED,
    "outbox relay: SetTimer:poll": "the rows are asked for first, and both are lost together with the relay, which polls when it starts",
}
OTHER = {"committed": "aborted", "aborted": "committed", "accepted": "aborted"}


def pattern(effect: Any) -> tuple[str, str]:
    """What an effect is: its class, and what is inside."""
    return type(effect).__name__, inside(effect)


def changes(effect: Any) -> Iterator[tuple[str, Any]]:
    """Every field of an effect, changed: a switch turned, an outcome reversed, a sequence halved, anything else left out."""
    for one in fields(effect):
        value = getattr(effect, one.name)
        if one.name in ("tx", "sender", "tag", "kind", "reason", "delay", "jitter", "limit", "attempt"):
            continue  # identity, words and time
        if isinstance(value, bool):
            yield one.name, not value
        elif value in OTHER and one.name == "outcome":
            yield one.name, OTHER[value]
        elif isinstance(value, tuple) and value:
            yield f"{one.name} halved", value[: len(value) // 2]
        elif value is not None and one.name in ("key", "accepted", "refused", "undoes", "body"):
            yield f"without {one.name}", None
        elif one.name == "to":
            yield "to itself", effect.sender


def made(kind: type, wanted: tuple[str, str], how: str) -> type:
    """A machine that changes such effects."""

    def turned(effects: Any) -> list[Any]:
        out: list[Any] = []
        late: list[Any] = []
        for effect in effects:
            if pattern(effect) != wanted:
                out.append(effect)
            elif how == "twice":
                out += [effect, effect]
            elif how == "last":
                late.append(effect)
            elif how != "left out":
                field = how.removeprefix("without ").removesuffix(" halved")
                field = "to" if how == "to itself" else field
                value = dict(changes(effect)).get(how, getattr(effect, field))
                out.append(replace(effect, **{field: value}))
        return out + late

    def handle(self: Any, event: Any) -> list[Any]:
        return turned(kind.handle(self, event))  # type: ignore[attr-defined]

    def recover(self: Any, records: Any) -> list[Any]:
        return turned(kind.recover(self, records))  # type: ignore[attr-defined]

    return type(f"{kind.__name__}Changed", (kind,), {"__slots__": (), "handle": handle, "recover": recover})


def effects_of(kind: Any, role: str, machine: type) -> dict[tuple[str, str], set[str]]:
    """What a machine asks for in the scopes, and how each of it can be changed."""
    found: dict[tuple[str, str], set[str]] = {}

    def note(effects: Any) -> Any:
        for place, effect in enumerate(effects):
            hows = found.setdefault(pattern(effect), {"left out", "twice"})
            hows.update(how for how, _ in changes(effect))
            if any(pattern(other) != pattern(effect) for other in effects[place + 1 :]):
                hows.add("last")
        return effects

    watched = type(
        "Watched",
        (machine,),
        {
            "__slots__": (),
            "handle": lambda self, event: note(machine.handle(self, event)),  # type: ignore[attr-defined]
            "recover": lambda self, records: note(machine.recover(self, records)),  # type: ignore[attr-defined]
        },
    )
    for scope in SCOPES:
        refuted(kind(**{role: watched}), scope)
    return found


def refuted(strategy: Any, scope: dict[str, Any]) -> str:
    """The property that a strategy violates in a scope, or nothing."""
    model = ProtocolModel(strategy, Scope(**{**dict.fromkeys(BUDGETS, 0), **scope}))
    exploration = explore(model.model(), max_states=MOST_STATES, stop_at_violation=True)
    if exploration.violations:
        return exploration.violations[0].name
    return "" if all(exploration.goals.values()) or not exploration.complete else "out of reach"


def killed(strategy: Any) -> str:
    """What a strategy violates in the first scope in which it violates anything, or nothing."""
    for scope in SCOPES:
        try:
            if name := refuted(strategy, scope):
                return name
        except SimtxError:
            return "refused"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=MACHINES)
    only = parser.parse_args().only
    started = process_time()
    alive: list[str] = []
    print("| Machine | Written | Killed | Alive | Killed on |")
    print("|---|---:|---:|---:|---|")
    for name, (kind, machines) in MACHINES.items():
        if only not in (None, name):
            continue
        for role, machine in machines.items():
            ends: Counter[str] = Counter()
            for wanted, hows in sorted(effects_of(kind, role, machine).items()):
                for how in sorted(hows):
                    end = killed(kind(**{role: made(machine, wanted, how)}))
                    ends[end] += 1
                    if not end:
                        alive.append(f"{name} {role}: {':'.join(filter(None, wanted))} {how}")
            on = ", ".join(f"`{end}` {number}" for end, number in ends.most_common() if end)
            print(f"| {name}, {role} | {ends.total()} | {ends.total() - ends['']} | {ends['']} | {on} |", flush=True)
    print(f"\nalive ({len(alive)}), {process_time() - started:.0f} s of processor time:")
    print("\n".join(alive))
    unexplained = [one for one in alive if one.endswith(" last") and one.removesuffix(" last") not in HARMLESS_LAST]
    print(f"\nput last, alive and without a reason: {', '.join(unexplained) or 'none'}")


if __name__ == "__main__":
    main()
