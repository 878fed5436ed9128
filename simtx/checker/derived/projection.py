"""A projection as a model for the explorer: events that arrive, local transactions, crashes between them, and a rebuild while readers read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from simtx.checker.explorer.model import Model
from simtx.protocols.derived.projection import ProjectionRule, Table, Write


@dataclass(frozen=True, kw_only=True)
class ProjectionScope:
    """Bounds of an exploration.

    Attributes:
        events: Events of the log.
        crashes: Crashes of the process that projects; it comes back.
        rebuilds: Rebuilds of the table.
    """

    events: int = 3
    crashes: int = 2
    rebuilds: int = 1


class ProjectionState(NamedTuple):
    """A state.

    Attributes:
        log: How many events there are.
        table: What readers read.
        shadow: The table that is to replace it, if it is being rebuilt.
        pending: Local transactions that are still to be done for an event of the table, and for one of the shadow.
        replayed: Up to which offset things were sent before the table was emptied.
        seen: The highest checkpoint of what readers have read.
        crashes: Left.
        rebuilds: Left.
    """

    log: int
    table: Table
    shadow: Table | None
    pending: tuple[tuple[Write, ...], tuple[Write, ...]]
    replayed: int
    seen: int
    crashes: int
    rebuilds: int


def projection_model(rule: ProjectionRule, scope: ProjectionScope) -> Model[ProjectionState]:
    """The model of a projection under a rule."""
    game = _Projection(rule, scope)
    start = ProjectionState(0, Table(), None, ((), ()), 0, 0, scope.crashes, scope.rebuilds)
    goals = {"all is applied": lambda state: state.table.checkpoint == scope.events}
    if scope.rebuilds:
        goals["a table is replaced"] = lambda state: state.rebuilds < scope.rebuilds and state.shadow is None
    return Model(
        name=f"checkpoint {rule.checkpoint} the effect{', which is keyed' if rule.keyed else ''}, rebuilt {rule.rebuild}"
        f"{'' if rule.muted else ', sends again'}{'' if rule.follows else ', the shadow overtakes'}",
        initial=[start],
        successors=game.steps,
        invariants={
            "checkpointed-is-done": lambda state: all(_done(one) for one in (state.table, state.shadow)),
            "once": lambda state: all(count <= 1 for count in state.table.applied),
            "replay-sends-nothing": lambda state: all(
                sum(one) <= 1 for one in _side_by_side(state.table.sent, state.shadow.sent if state.shadow else ())
            ),
            "never-back": lambda state: state.table.checkpoint >= state.seen,
        },
        terminal_invariants={
            "replay-gives-the-same": lambda state: (
                state.shadow is None
                and state.table.applied == (1,) * scope.events
                and state.table.checkpoint == scope.events
            ),
            "all-is-sent": lambda state: state.table.sent == (1,) * scope.events,
        },
        goals=goals,
        show=game.show,
    )


def _done(table: Table | None) -> bool:
    """Return whether all that lies before the checkpoint was applied."""
    if table is None:
        return True
    return all(count > 0 for count in table.applied[: table.checkpoint]) and len(table.applied) >= table.checkpoint


def _side_by_side(one: tuple[int, ...], other: tuple[int, ...]) -> list[tuple[int, int]]:
    length = max(len(one), len(other))
    return list(zip(one + (0,) * (length - len(one)), other + (0,) * (length - len(other)), strict=True))


@dataclass(frozen=True)
class _Projection:
    rule: ProjectionRule
    scope: ProjectionScope

    def steps(self, state: ProjectionState) -> Iterator[tuple[str, ProjectionState]]:
        """All that can happen next."""
        if state.log < self.scope.events:
            yield f"event {state.log} is stored", state._replace(log=state.log + 1)
        yield from self._work(state)
        if state.crashes and (any(state.pending) or state.table.checkpoint):
            yield "the projection crashes and begins again", state._replace(pending=((), ()), crashes=state.crashes - 1)
        yield from self._rebuild(state)

    def _work(self, state: ProjectionState) -> Iterator[tuple[str, ProjectionState]]:
        """The next local transaction of the table, and of the shadow."""
        for place, table in enumerate((state.table, state.shadow)):
            if table is None:
                continue
            writes, name = state.pending[place], ("the table", "the shadow")[place]
            if not writes:
                if table.checkpoint >= state.log or (place and not self.rule.may_go_on(table, state.table)):
                    continue
                writes = self.rule.writes(table.checkpoint, replay=table.checkpoint < self._sent_before(state, place))
            first, *rest = writes
            written = self.rule.written(table, first)
            left = (tuple(rest), state.pending[1]) if not place else (state.pending[0], tuple(rest))
            done = state._replace(pending=left)
            done = done._replace(shadow=written) if place else _read(done._replace(table=written))
            yield f"{name}: {_said(first)}", done

    @staticmethod
    def _sent_before(state: ProjectionState, place: int) -> int:
        """The offset up to which events were worked off by another table."""
        return state.table.checkpoint if place else state.replayed

    def _rebuild(self, state: ProjectionState) -> Iterator[tuple[str, ProjectionState]]:
        if state.rebuilds and state.shadow is None and state.table.checkpoint and not state.pending[0]:
            begun = state._replace(rebuilds=state.rebuilds - 1)
            if self.rule.rebuild == "in-place":
                # What was sent is in the outbox, which nobody empties.
                yield (
                    "the table is emptied",
                    begun._replace(
                        table=Table(0, (), state.table.sent), replayed=max(state.replayed, state.table.checkpoint)
                    ),
                )
            else:
                yield "a shadow is begun", begun._replace(shadow=Table())
        if state.shadow is not None and not any(state.pending) and self.rule.ready(state.shadow, state.table):
            sent = tuple(sum(one) for one in _side_by_side(state.table.sent, state.shadow.sent))
            replayed = max(state.replayed, state.table.checkpoint)
            yield (
                "readers are switched to the shadow",
                _read(state._replace(table=state.shadow._replace(sent=sent), shadow=None, replayed=replayed)),
            )

    def show(self, state: ProjectionState) -> str:
        """A state on one line."""
        parts = [f"{state.log} events", f"table {_counted(state.table)}"]
        if state.shadow is not None:
            parts.append(f"shadow {_counted(state.shadow)}")
        return "; ".join(parts)


def _read(state: ProjectionState) -> ProjectionState:
    """Readers have read the table before this step: it is not forgotten how far it was."""
    return state._replace(seen=max(state.seen, state.table.checkpoint))


def _counted(table: Table) -> str:
    return f"at {table.checkpoint}, applied {list(table.applied)}, sent {list(table.sent)}"


def _said(write: Write) -> str:
    parts = [f"event {write.apply} is applied"] if write.apply is not None else []
    parts += ["something is sent"] if write.send and write.apply is not None else []
    parts += [f"the checkpoint is {write.checkpoint}"] if write.checkpoint is not None else []
    return ", ".join(parts)
