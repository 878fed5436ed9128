"""The participant of two-phase commit with presumed abort; theory and sources are in `simtx.protocols.two_phase_commit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing, operations_of_steps
from simtx.protocols.commit_machine import COMMIT, ROLLBACK, CommitMachine
from simtx.protocols.contract import (
    Alert,
    Done,
    Effect,
    Message,
    Prepare,
    Record,
    SetTimer,
    Suspect,
    Timer,
    Transact,
    Transition,
)
from simtx.protocols.operations import writes
from simtx.protocols.policies import Policies


class Participant(CommitMachine):
    """Does its part of the transaction, promises to commit it, and then does what the coordinator says, however long that takes.

    Its only record is that of the prepared branch, ``("prepared", coordinator)``, which lives exactly as long as the branch. A refused
    branch writes no abort record, not even a lazy one: nothing of it is durable, so a restart finds nothing that the record could
    explain, and the coordinator takes silence for an abort.

    Attributes:
        coordinator: Name of the coordinator's node.
    """

    __slots__ = ("coordinator",)

    role: ClassVar[str] = "participant"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.message("idle", "prepare", "prepare", ("preparing", "reading"), "do the work"),
        on.message("idle", "commit", "acknowledge", ("finished",), "committed before: ACK"),
        # Without a branch there is nothing to undo, and nobody waits for an acknowledgement.
        on.message("idle", "abort", "forget", ("finished",), "aborted before"),
        on.done(
            "preparing",
            "prepared",
            "vote",
            ("in-doubt", "finished"),
            "done: YES; refused or failed: NO; committed before: silence",
        ),
        on.done("reading", "evaluated", "vote_read", ("finished",), "done: READ; refused or failed: NO"),
        on.message("in-doubt", "prepare", "repeat_yes", ("in-doubt",), "YES again"),
        on.message("in-doubt", "commit", "commit", ("finished",), "force commit, release, ACK"),
        on.message("in-doubt", "abort", "roll_back", ("finished",), "lazy rollback, release"),
        on.timer("in-doubt", "inquiry", "inquire", ("in-doubt",), "INQUIRY to the coordinator, for ever"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {"prepare": operations_of_steps, "commit": nothing, "abort": nothing}
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "preparing": frozenset({"prepare", "commit", "abort"}),
        "reading": frozenset({"prepare", "commit", "abort"}),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.coordinator = ""

    # --- idle ----------------------------------------------------------------------------------------------------------------

    def prepare(self, event: Message) -> list[Effect]:
        """Do the work that came with PREPARE, and prepare it if it writes anything."""
        operations, steps = event.body
        self.coordinator = event.sender
        if writes(operations):
            self.state = "preparing"
            return [Prepare("prepared", operations, ("prepared", event.sender), (self.tx, "branch"), steps)]
        self.state = "reading"
        return [Transact("evaluated", operations, steps=steps)]

    def acknowledge(self, event: Message) -> list[Effect]:
        """COMMIT without a branch: it was committed already, for a YES voter keeps its branch until the outcome comes."""
        return self.over(self.send(event.sender, "ack"))

    # --- voting --------------------------------------------------------------------------------------------------------------

    def vote(self, event: Done) -> list[Effect]:
        """Vote as the store says."""
        status = event.status
        if status == "done":
            self.state = "in-doubt"
            return [self.send(self.coordinator, "yes"), self.wait()]
        if status == "duplicate":
            # A late copy of PREPARE: this branch has been committed, so the outcome was known long ago. A vote would be a lie, and
            # if the coordinator misses an acknowledgement it sends COMMIT again, which is acknowledged.
            return self.over()
        return self.over(self.send(self.coordinator, "no", status))

    def vote_read(self, event: Done) -> list[Effect]:
        """Take no part in the second phase: nothing was written."""
        if event.status == "done":
            return self.over(self.send(self.coordinator, "read"))
        return self.over(self.send(self.coordinator, "no", event.status))

    # --- in doubt ------------------------------------------------------------------------------------------------------------

    def wait(self) -> SetTimer:
        """The timer until the next inquiry."""
        return self.timer("inquiry", self.policies.inquiry_timeout)

    def repeat_yes(self, event: Message) -> list[Effect]:
        """A copy of PREPARE: the first vote may have been lost."""
        return [self.send(event.sender, "yes")]

    def commit(self, event: Message) -> list[Effect]:
        """Commit first, then acknowledge: after the ACK the coordinator may forget."""
        return self.over(COMMIT, self.send(event.sender, "ack"))

    def roll_back(self, _event: Message) -> list[Effect]:
        """Undo lazily: if a crash brings the branch back, the inquiry brings the same answer."""
        return self.over(ROLLBACK)

    def inquire(self, _event: Timer) -> list[Effect]:
        """Ask again, for ever: neither outcome may be assumed."""
        effects: list[Effect] = [Suspect(self.coordinator), self.send(self.coordinator, "inquiry")]
        if self.count_attempt():
            effects.append(Alert(f"in doubt: {self.coordinator} has not answered {self.attempt} inquiries"))
        effects.append(self.wait())
        return effects

    # --- restart -------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """A prepared branch is in doubt, and has kept its locks: ask at once. Everything else has left no trace."""
        if not records:
            return []
        self.coordinator = str(records[-1][1])
        self.state = "in-doubt"
        return [self.send(self.coordinator, "inquiry"), self.wait()]
