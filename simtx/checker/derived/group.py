"""One partition of a consumer group as a model for the explorer: owners that come and go, zombies, crashes, and checkpoints that arrive late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from simtx.checker.explorer.model import Model
from simtx.protocols.derived.group import GroupRule, Partition


@dataclass(frozen=True, kw_only=True)
class GroupScope:
    """Bounds of an exploration.

    Attributes:
        events: Events of the partition.
        rebalances: How often the partition gets another owner. The old one goes on, until a write of it is refused.
        crashes: Owners that crash; the next rebalance gives the partition to somebody else.
    """

    events: int = 3
    rebalances: int = 2
    crashes: int = 1


class Owner(NamedTuple):
    """An instance that was given the partition.

    Attributes:
        epoch: Of its assignment.
        raised: Whether it has raised the fence.
        cursor: The offset that it reads next; None: it has not looked yet.
    """

    epoch: int
    raised: bool = False
    cursor: int | None = None


class GroupState(NamedTuple):
    """A state.

    Attributes:
        log: How many events there are.
        partition: What is stored.
        epoch: Of the last assignment.
        owners: All that go on as owners, zombies among them.
        marks: Checkpoints on their way: (epoch, offset that is done).
        highest: The highest checkpoint that there has been.
        rebalances: Left.
        crashes: Left.
    """

    log: int
    partition: Partition
    epoch: int
    owners: tuple[Owner, ...]
    marks: tuple[tuple[int, int], ...]
    highest: int
    rebalances: int
    crashes: int


def group_model(rule: GroupRule, scope: GroupScope) -> Model[GroupState]:
    """The model of one partition under a rule."""
    game = _Group(rule, scope)
    start = GroupState(0, Partition(), 1, (Owner(1),), (), 0, scope.rebalances, scope.crashes)
    goals = {"all is applied": lambda state: set(state.partition.applied) == set(range(scope.events))}
    if scope.rebalances:
        goals["two owners have applied events"] = lambda state: state.epoch > 1 and bool(state.partition.applied)
    return Model(
        name=f"guarded by {'nothing' if rule.guard == 'none' else f'the {rule.guard}'}, checkpoint {rule.checkpoint} the effect"
        f"{'' if rule.raised else ', fence raised late'}{', begins at the end' if rule.begin == 'end' else ''}",
        initial=[start],
        successors=game.steps,
        invariants={
            "no-skip": lambda state: _no_gap(state.partition.applied),
            "once": lambda state: len(set(state.partition.applied)) == len(state.partition.applied),
            "in-order": lambda state: list(state.partition.applied) == sorted(state.partition.applied),
            "checkpoint-never-back": lambda state: state.partition.checkpoint >= state.highest,
            "checkpointed-is-done": lambda state: (
                set(range(state.partition.checkpoint)) <= set(state.partition.applied)
            ),
        },
        terminal_invariants={
            "nothing-is-left": lambda state: (
                not game.alive(state) or set(state.partition.applied) == set(range(scope.events))
            )
        },
        goals=goals,
        show=game.show,
    )


def _no_gap(applied: tuple[int, ...]) -> bool:
    """Return whether no event was applied before one that comes before it had been."""
    reached = 0
    for offset in applied:
        if offset > reached:
            return False
        reached = max(reached, offset + 1)
    return True


@dataclass(frozen=True)
class _Group:
    rule: GroupRule
    scope: GroupScope

    def steps(self, state: GroupState) -> Iterator[tuple[str, GroupState]]:
        """All that can happen next."""
        if state.log < self.scope.events:
            yield f"event {state.log} is stored", state._replace(log=state.log + 1)
        if state.rebalances:
            epoch = state.epoch + 1
            yield (
                f"the partition is given to owner {epoch}",
                state._replace(epoch=epoch, owners=(*state.owners, Owner(epoch)), rebalances=state.rebalances - 1),
            )
        for owner in state.owners:
            yield from self._work(state, owner)
            # Without another rebalance nobody would take its place.
            if state.crashes and state.rebalances:
                yield f"owner {owner.epoch} crashes", _without(state, owner)._replace(crashes=state.crashes - 1)
        for place, (epoch, offset) in enumerate(state.marks):
            if place and state.marks[place - 1][0] == epoch:
                continue  # those of one owner arrive in their order
            rest = state._replace(marks=state.marks[:place] + state.marks[place + 1 :])
            marked = self.rule.marked(state.partition, epoch, offset)
            text = f"the checkpoint {offset + 1} of owner {epoch} arrives"
            if marked is None:
                yield f"{text} and is refused: it stops", self._stopped(rest, epoch)
            else:
                yield text, _kept(rest, marked)

    def _work(self, state: GroupState, owner: Owner) -> Iterator[tuple[str, GroupState]]:
        """The next step of an owner: raise the fence, read the checkpoint, apply an event."""
        who = f"owner {owner.epoch}"
        raises = self.rule.guard == "epoch" and not owner.raised
        if raises and (self.rule.raised or owner.cursor is not None):
            if owner.epoch < state.partition.fence:
                yield f"{who} finds a higher fence and stops", _without(state, owner)
            else:
                fenced = self.rule.fenced(state.partition, owner.epoch)
                yield (
                    f"{who} raises the fence",
                    _with(state, owner, owner._replace(raised=True))._replace(partition=fenced),
                )
        elif owner.cursor is None:
            cursor = self.rule.first(state.partition, state.log)
            yield f"{who} begins at {cursor}", _with(state, owner, owner._replace(cursor=cursor))
        elif owner.cursor < state.log:
            applied = self.rule.applied(state.partition, owner.epoch, owner.cursor)
            if applied is None:
                yield f"{who} applies event {owner.cursor} and is refused: it stops", _without(state, owner)
                return
            done = _kept(_with(state, owner, owner._replace(cursor=owner.cursor + 1)), applied)
            if self.rule.checkpoint == "after":
                done = done._replace(marks=tuple(sorted((*state.marks, (owner.epoch, owner.cursor)))))
            yield f"{who} applies event {owner.cursor}", done

    def _stopped(self, state: GroupState, epoch: int) -> GroupState:
        """A zombie that has learned it stops. Who is refused for the order of its own checkpoints goes on."""
        if epoch == state.epoch:
            return state
        return state._replace(owners=tuple(owner for owner in state.owners if owner.epoch != epoch))

    @staticmethod
    def alive(state: GroupState) -> bool:
        """Return whether the owner of the last assignment lives."""
        return any(owner.epoch == state.epoch for owner in state.owners)

    def show(self, state: GroupState) -> str:
        """A state on one line."""
        one = state.partition
        fence = f", fence {one.fence}" if self.rule.guard == "epoch" else ""
        return f"{state.log} events, checkpoint {one.checkpoint}{fence}, applied {list(one.applied)}"


def _kept(state: GroupState, partition: Partition) -> GroupState:
    return state._replace(partition=partition, highest=max(state.highest, state.partition.checkpoint))


def _with(state: GroupState, owner: Owner, changed: Owner) -> GroupState:
    return state._replace(owners=tuple(changed if one is owner else one for one in state.owners))


def _without(state: GroupState, owner: Owner) -> GroupState:
    return state._replace(owners=tuple(one for one in state.owners if one is not owner))
