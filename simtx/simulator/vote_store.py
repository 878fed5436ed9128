"""The vote store: the participants of a transaction share it, and it writes each vote once.

A request travels to it, a vote that is not there is forced to its disk, and the answer travels back. While it is down, requests get no answer; who waits has a timer.
Its machine refuses nothing in its place: to a node, a store that is down and one that is slow look alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simtx.protocols import Done, LogOnce
from simtx.protocols.names import VOTE_STORE
from simtx.simulator.disk import Disk

if TYPE_CHECKING:
    from simtx.simulator.node import Node
    from simtx.simulator.running_machine import RunningMachine
    from simtx.simulator.surroundings import Surroundings


class _Request:
    """A request on its way, and who waits for its answer."""

    __slots__ = ("actor", "effect", "epoch", "node", "written")

    def __init__(self, node: Node, actor: RunningMachine, effect: LogOnce) -> None:
        self.node = node
        self.actor = actor
        self.effect = effect
        self.epoch = node.disk.epoch  # a crash begins another one
        self.written = False  # whether its vote was the first of the row

    @property
    def row(self) -> tuple[int, str]:
        """The row that it is about."""
        return self.actor.tx, self.effect.voter


class VoteStore:
    """The simulated vote store.

    Args:
        world: What it lives in.
        disk: Its log device.

    Attributes:
        disk: As given.
        up: Whether it answers.
        votes: Every vote that is durable, by transaction and voter.
    """

    def __init__(self, world: Surroundings, disk: Disk) -> None:
        self._world = world
        self.disk = disk
        self._written: dict[tuple[int, str], list[_Request]] = {}  # under way to the disk, with all who wait for it
        self.up = True
        self.votes: dict[tuple[int, str], str] = {}

    def ask(self, node: Node, actor: RunningMachine, effect: LogOnce) -> None:
        """A request leaves its node; it and its answer count as messages."""
        if actor.record is not None:
            actor.record.messages += 2
        self._world.link(node.name, VOTE_STORE).transmit(self._receive, _Request(node, actor, effect), actor.tx)

    def _receive(self, request: _Request) -> None:
        if not self.up:
            return
        row = request.row
        if row in self.votes:
            self._answer(request)
        elif row in self._written:
            self._written[row].append(request)
        else:
            self._written[row] = [request]
            if self.disk.instant:
                self.disk.note_instant()
                self._durable(row)
            else:
                self.disk.force(self._durable, row, row[0])

    def _durable(self, row: tuple[int, str]) -> None:
        """The first vote of a row is on disk: it is the row's for ever, and whoever came meanwhile gets the same."""
        waiting = self._written.pop(row)
        self.votes[row] = waiting[0].effect.vote
        waiting[0].written = True
        for request in waiting:
            self._answer(request)

    def _answer(self, request: _Request) -> None:
        tx = request.actor.tx
        self._world.link(VOTE_STORE, request.node.name).transmit(self._arrive, request, tx)

    def _arrive(self, request: _Request) -> None:
        node, actor, effect = request.node, request.actor, request.effect
        if request.epoch != node.disk.epoch or not actor.alive:
            return  # whoever has asked is gone
        vote = self.votes[request.row]
        if request.written and actor.record is not None:
            actor.record.forced += 1
        if node.journal is not None:
            node.journal.logged(actor, effect.voter, vote, written=request.written)
        node.confirm((actor, Done(effect.tag, "done", (effect.voter, vote))))

    # --- outage -----------------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Stop answering. What is not on disk yet is gone, and was an answer to nobody."""
        self.up = False
        self._written.clear()
        self.disk.crash()

    def restart(self) -> None:
        """Answer again, with every vote that was answered before."""
        self.up = True
