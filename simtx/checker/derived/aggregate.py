"""An event-sourced account as a model for the explorer: clients that load, decide and append, answers that are lost, and snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from simtx.checker.explorer.model import Model
from simtx.protocols.derived.aggregate import AggregateRule, Event, Snapshot, State

Told: TypeAlias = Literal["", "done", "refused", "given up"]


@dataclass(frozen=True, kw_only=True)
class AggregateScope:
    """Bounds of an exploration.

    Attributes:
        commands: Clients, each with one command that takes 1.
        balance: At the start.
        losses: Answers of appends that may be lost: the client asks again.
        snapshots: Snapshots that may be written.
    """

    commands: int = 2
    balance: int = 1
    losses: int = 1
    snapshots: int = 0


class Client(NamedTuple):
    """A client and its command.

    Attributes:
        state: What it has loaded, if it has.
        event: What it has decided to append, if it has.
        told: What it knows in the end.
    """

    state: State | None = None
    event: Event | None = None
    told: Told = ""


class AggregateState(NamedTuple):
    """A state.

    Attributes:
        stream: The events.
        clients: By the number of their command.
        snapshot: The last one.
        saving: A state that was loaded and is to be saved.
        losses: Left.
        snapshots: Left.
    """

    stream: tuple[Event, ...]
    clients: tuple[Client, ...]
    snapshot: Snapshot | None
    saving: State | None
    losses: int
    snapshots: int


def aggregate_model(rule: AggregateRule, scope: AggregateScope) -> Model[AggregateState]:
    """The model of one account under a rule."""
    game = _Aggregate(rule, scope)
    start = AggregateState((), (Client(),) * scope.commands, None, None, scope.losses, scope.snapshots)

    def balance(stream: tuple[Event, ...]) -> int:
        return scope.balance + sum(event.amount for event in stream)

    goals = {"a command is done": lambda state: any(one.told == "done" for one in state.clients)}
    if rule.append == "expected" and scope.commands > 1:
        goals["a conflict"] = game.conflicts
    return Model(
        name=f"append at {'the expected' if rule.append == 'expected' else 'any'} version, after a conflict "
        f"{ {'decide': 'decided again', 'append': 'appended again', 'give-up': 'given up'}[rule.conflict] }"
        f"{'' if rule.recognises else ', recognises no command'}"
        f"{'' if rule.snapshots == 'none' else f', snapshots with {rule.snapshots} version'}",
        initial=[start],
        successors=game.steps,
        invariants={
            "guard": lambda state: all(balance(state.stream[:end]) >= 0 for end in range(len(state.stream) + 1)),
            "once": lambda state: len({event.command for event in state.stream}) == len(state.stream),
            "snapshot-is-a-fold": lambda state: (
                state.snapshot is None or state.snapshot.balance == balance(state.stream[: state.snapshot.version])
            ),
            "told-is-true": game.truthful,
        },
        terminal_invariants={"everybody-is-told": lambda state: all(one.told for one in state.clients)},
        goals=goals,
        show=game.show,
    )


@dataclass(frozen=True)
class _Aggregate:
    rule: AggregateRule
    scope: AggregateScope

    def steps(self, state: AggregateState) -> Iterator[tuple[str, AggregateState]]:
        """All that can happen next."""
        for number, client in enumerate(state.clients):
            yield from self._client(state, number, client)
        if state.snapshots and state.saving is None and self.rule.snapshots != "none":
            yield (
                "a state is loaded for a snapshot",
                state._replace(saving=self._loaded(state), snapshots=state.snapshots - 1),
            )
        if state.saving is not None:
            made = self.rule.snapshot(state.saving, len(state.stream))
            yield f"a snapshot of version {made.version} is saved", state._replace(snapshot=made, saving=None)

    def _loaded(self, state: AggregateState) -> State:
        return self.rule.load(state.stream, self.scope.balance, state.snapshot)

    def _client(self, state: AggregateState, number: int, client: Client) -> Iterator[tuple[str, AggregateState]]:
        if client.told:
            return
        who = f"client {number}"
        if client.state is None:
            loaded = self._loaded(state)
            yield f"{who} loads version {loaded.version}", _with(state, number, Client(loaded))
        elif client.event is None:
            decided = self.rule.decide(client.state, number, -1)
            if isinstance(decided, Event):
                yield f"{who} decides", _with(state, number, client._replace(event=decided))
            else:
                told: Told = "done" if decided == "known" else "refused"
                yield f"{who} is told: {told}", _with(state, number, Client(told=told))
        else:
            yield from self._append(state, number, client.state, client.event)

    def _append(
        self, state: AggregateState, number: int, loaded: State, event: Event
    ) -> Iterator[tuple[str, AggregateState]]:
        who, stream = f"client {number}", self.rule.appended(state.stream, event, loaded.version)
        if stream is not None:
            appended = state._replace(stream=stream)
            yield f"{who} appends at version {len(state.stream)}", _with(appended, number, Client(told="done"))
            if state.losses:
                lost = _with(appended, number, Client())._replace(losses=state.losses - 1)
                yield f"{who} appends at version {len(state.stream)}, gets no answer, and asks again", lost
            return
        conflict = f"{who} meets version {len(state.stream)} instead of {loaded.version}"
        if self.rule.conflict == "give-up":
            yield f"{conflict} and gives up", _with(state, number, Client(told="given up"))
        elif self.rule.conflict == "decide":
            yield f"{conflict} and begins again", _with(state, number, Client())
        else:
            moved = loaded._replace(version=len(state.stream))
            yield f"{conflict} and appends there", _with(state, number, Client(moved, event))

    def conflicts(self, state: AggregateState) -> bool:
        """Return whether somebody is about to append at a version that is over."""
        return any(
            one.event is not None and one.state is not None and one.state.version < len(state.stream)
            for one in state.clients
        )

    @staticmethod
    def truthful(state: AggregateState) -> bool:
        """Return whether a command is in the stream if its client was told that it is done, and is not if it was told another thing."""
        known = {event.command for event in state.stream}
        return all((one.told == "done") == (number in known) for number, one in enumerate(state.clients) if one.told)

    def show(self, state: AggregateState) -> str:
        """A state on one line."""
        events = ", ".join(f"client {event.command} takes {-event.amount}" for event in state.stream) or "no events"
        saved = f"; snapshot of version {state.snapshot.version}: {state.snapshot.balance}" if state.snapshot else ""
        return f"{events}; balance {self.scope.balance + sum(event.amount for event in state.stream)}{saved}"


def _with(state: AggregateState, number: int, client: Client) -> AggregateState:
    return state._replace(clients=(*state.clients[:number], client, *state.clients[number + 1 :]))
