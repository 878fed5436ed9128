"""The participant of log-once votes; theory and sources are in `simtx.protocols.cornus`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing, operations_of_steps_and_names
from simtx.protocols.commit_machine import COMMIT, ROLLBACK
from simtx.protocols.contract import (
    Append,
    CancelTimer,
    Decided,
    Done,
    Effect,
    LogOnce,
    Message,
    Outcome,
    Prepare,
    Record,
    Suspect,
    Timer,
    Transition,
)
from simtx.protocols.cornus_member import COMMITTED, NO, YES, Voter
from simtx.protocols.policies import Policies

TELLING: Final = "telling"


class CornusParticipant(Voter):
    """Does its part, writes its vote into the store, and asks the store about the others when no outcome comes.

    Its records are ``("prepared", coordinator, *participants)``, which lives as long as the branch, and, if it has found the outcome in the store,
    ``("telling", outcome, coordinator)``: the client is owed an answer.

    Attributes:
        coordinator: Name of the coordinator's node.
        refusal: Why it votes no.
        result: The outcome that it sends to the coordinator.
    """

    __slots__ = ("coordinator", "refusal", "result")

    role: ClassVar[str] = "participant"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.message("idle", "prepare", "prepare", ("preparing",), "do the work"),
        on.done(
            "preparing",
            "prepared",
            "vote",
            ("voting", "refusing", "finished"),
            "done: log once YES; refused or failed: log once NO; committed before: silence",
        ),
        on.done(
            "voting",
            "logged",
            "take_own",
            ("voting", "in-doubt", "finished"),
            "YES is there: YES; NO is there: roll back, NO",
        ),
        on.timer("voting", "inquiry", "vote_again", ("voting",), "log once again"),
        on.done("refusing", "logged", "take_refusal", ("refusing", "finished"), "NO; YES of an earlier try: silence"),
        on.timer("refusing", "inquiry", "vote_again", ("refusing",), "log once again"),
        on.message("in-doubt", "prepare", "repeat_yes", ("in-doubt",), "YES again"),
        on.message("in-doubt", "look", "look", ("asking", "telling"), "log once NO for the others, read what is there"),
        on.timer(
            "in-doubt", "inquiry", "inquire", ("asking", "telling"), "log once NO for the others, read what is there"
        ),
        on.done(
            "asking",
            "logged",
            "take_stored",
            ("asking", "telling"),
            "a NO: roll back, OUTCOME; all YES: commit, OUTCOME",
        ),
        on.timer("asking", "inquiry", "ask_again", ("asking",), "ask again, for ever"),
        *(
            row
            for state in ("voting", "in-doubt", "asking")
            for row in (
                on.message(state, "commit", "commit", ("finished",), "force commit, release"),
                on.message(state, "abort", "roll_back", ("finished",), "lazy rollback, release"),
            )
        ),
        on.message("telling", "heard", "forget", ("finished",), "the client knows"),
        on.message("telling", "commit", "forget", ("finished",), "the client knows"),
        on.message("telling", "abort", "forget", ("finished",), "the client knows"),
        on.timer("telling", "acknowledgement", "tell_again", ("telling",), "OUTCOME again, for ever"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        "prepare": operations_of_steps_and_names,
        **dict.fromkeys(("commit", "abort", "look", "heard"), nothing),
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"commit", "abort", "look", "heard"}),
        "preparing": frozenset({"prepare", "commit", "abort", "look", "heard"}),
        "voting": frozenset({"prepare", "look", "heard"}),
        "refusing": frozenset({"prepare", "commit", "abort", "look", "heard"}),
        "in-doubt": frozenset({"heard"}),
        "asking": frozenset({"prepare", "look", "heard"}),
        "telling": frozenset({"prepare", "look"}),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.coordinator = ""
        self.refusal = ""
        self.result = ""

    # --- voting --------------------------------------------------------------------------------------------------------------

    def prepare(self, event: Message) -> list[Effect]:
        """Do the work that came with PREPARE, and prepare it, also if it only reads."""
        operations, steps, participants = event.body
        self.coordinator = event.sender
        self.participants = tuple(participants)
        self.state = "preparing"
        record = ("prepared", self.coordinator, *self.participants)
        return [Prepare("prepared", operations, record, (self.tx, "branch"), steps)]

    def vote(self, event: Done) -> list[Effect]:
        """Write the vote into the store; nobody gets it before it is there."""
        if event.status == "duplicate":
            return self.over()  # a late copy of PREPARE: the branch was committed
        self.state = "voting" if event.status == "done" else "refusing"
        self.refusal = "" if event.status == "done" else event.status
        return self.log_vote()

    def log_vote(self) -> list[Effect]:
        """The request to the store."""
        vote = YES if self.state == "voting" else NO
        return [LogOnce("logged", self.node, vote), self.timer("inquiry", self.policies.inquiry_timeout)]

    def vote_again(self, _event: Timer) -> list[Effect]:
        """The store has not answered: whether the vote is there is not known, so write it again."""
        longer = self.again("inquiry", self.policies.inquiry_timeout)
        return [self.log_vote()[0], *longer]

    def take_own(self, event: Done) -> list[Effect]:
        """Go by the vote in the store: somebody may have lost patience, and have written NO in this participant's name."""
        if not self.is_own(event):
            return []
        if event.value[1] == NO:
            return self.over(ROLLBACK, self.send(self.coordinator, "no", "too late"))
        self.state = "in-doubt"
        self.count(self.node)
        self.attempt = 0
        return [self.send(self.coordinator, "yes"), self.timer("inquiry", self.policies.inquiry_timeout)]

    def is_own(self, event: Done) -> bool:
        """Return whether the store has answered for the own vote."""
        return event.status == "done" and event.value[0] == self.node

    def take_refusal(self, event: Done) -> list[Effect]:
        """The NO is in the store, so that no late copy of PREPARE can turn it into a YES."""
        if not self.is_own(event):
            return []
        if event.value[1] == YES:
            return self.over()  # an earlier copy of PREPARE was answered YES, and its branch has ended since: aborted
        return self.over(self.send(self.coordinator, "no", self.refusal))

    # --- in doubt ------------------------------------------------------------------------------------------------------------

    def repeat_yes(self, _event: Message) -> list[Effect]:
        """A copy of PREPARE: the first YES may have been lost."""
        return [self.send(self.coordinator, "yes")]

    def commit(self, _event: Message) -> list[Effect]:
        """End the branch without an acknowledgement, for which nobody waits: the votes are in the store."""
        return self.over(COMMIT)

    def roll_back(self, _event: Message) -> list[Effect]:
        """Undo lazily: if a crash brings the branch back, the store gives the same answer."""
        return self.over(ROLLBACK)

    def inquire(self, _event: Timer) -> list[Effect]:
        """The coordinator says nothing: ask the store instead."""
        return [Suspect(self.coordinator), *self.look(_event)]

    def look(self, _event: Message | Timer) -> list[Effect]:
        """Write NO for everybody who has not voted, and read what is there."""
        self.state = "asking"
        if self.complete():
            return self.conclude(COMMITTED)
        return [*self.ask(), self.timer("inquiry", self.policies.inquiry_timeout)]

    def ask_again(self, _event: Timer) -> list[Effect]:
        """The store has not answered: neither outcome may be assumed."""
        return [*self.ask(), *self.again("inquiry", self.policies.inquiry_timeout)]

    # --- telling -------------------------------------------------------------------------------------------------------------

    def conclude(self, result: Outcome, reason: str = "") -> list[Effect]:  # noqa: ARG002 - the client gets no reason this way
        """End the branch, and see to it that the client is told: the record outlives a crash."""
        self.state = TELLING
        self.result = result
        self.attempt = 0
        return [
            Append((TELLING, result, self.coordinator)),
            COMMIT if result == COMMITTED else ROLLBACK,
            Decided(result),
            CancelTimer("inquiry"),
            *self.tell(),
        ]

    def tell(self) -> list[Effect]:
        """OUTCOME to the coordinator, and wait for HEARD."""
        wait = self.timer("acknowledgement", self.policies.acknowledgement_timeout)
        return [self.send(self.coordinator, "outcome", self.result), wait]

    def tell_again(self, _event: Timer) -> list[Effect]:
        """Repeat the outcome until the coordinator is back: locks are released, only the client still waits."""
        self.attempt += 1
        return [Suspect(self.coordinator), *self.tell()]

    # --- restart -------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Tell again; or, with nothing but a branch, vote again, and so find out what is in the store."""
        told: list[Literal["committed", "aborted"]] = []
        for record in records:
            if record[0] == TELLING:
                told.append(record[1])
                self.coordinator = str(record[2])
        if told:
            self.state, self.result = TELLING, told[-1]
            return [COMMIT if self.result == COMMITTED else ROLLBACK, *self.tell()]
        if not records:
            return []
        _, self.coordinator, *participants = records[-1]
        self.participants = tuple(participants)
        self.state = "voting"
        return self.log_vote()
