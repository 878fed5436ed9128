"""Two-phase commit with a last resource: one participant that is not asked for a promise, but does its part when all others have promised.

**Law.** That of two-phase commit with presumed abort (`simtx.protocols.two_phase_commit`), for one participant that cannot prepare, and so can give no
promise. If it is the only participant, this is *one-phase commit*.

**Sources.** J. Gray, A. Reuter, "Transaction Processing: Concepts and Techniques", 1993, chapter 10.5 (transfer of commit, the last agent); X/Open,
"Distributed TP: The XA Specification", 1991 (one-phase commit: ``TMONEPHASE``).

**Theory of operation.** The other participants prepare first. When all have voted YES or READ, the coordinator forces a record ``last``: the work of
the last resource and the names of the YES voters. Then it sends it the work (PERFORM). Its local transaction is the decision: done means commit, refused means abort.
It writes the outcome into an idempotency row, under ``(tx, "branch")``, in that very local transaction. So PERFORM may be repeated: a copy finds
the row, and gets the same answer. The coordinator repeats it until there is an answer, for it cannot know on its own what was decided.

The record is what this costs beside plain two-phase commit, which logs nothing before its decision. Without it, a coordinator that restarts would presume
abort, while the last resource may have committed. The ``commit`` record behind the decision need not be forced any more: if it is lost, PERFORM finds the
outcome again.

**Invariants.**

1. PERFORM leaves only behind the durable record ``last``, and only when nobody can refuse any more but the last resource.
2. The answer to the client, COMMIT and ABORT are sent only upon the last resource's answer.
3. What the last resource has answered it answers for ever: the refusal is stored as well, so that a late copy of PERFORM does not do after the abort what was
   refused before.

**Costs.** N participants, the last resource among them: 4N - 2 messages, N - 1 of them acknowledgements, and 2N forced writes; refused by the last resource
3N - 1 and N + 1; refused by K of the others 3(N - 1) - K messages and N - 1 - K forced writes. One phase (N = 1): 2 messages and 2 forced writes, where
two-phase commit takes 4 and 3; refused 2 and 2, where two-phase commit takes 2 and none.

**Known weaknesses.** From PERFORM on all others are in doubt until the last resource has answered: while it is down or cut off they are blocked, as by a
coordinator. The row has to be kept for longer than the coordinator may be down. Only one participant can be the last resource: with two, one could have
committed when the other one refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from simtx.errors import PeerFault
from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing, operations_of_steps
from simtx.protocols.commit_machine import ANSWER_COMMITTED, CANCEL_VOTE, COMMITTED, LAZY_END
from simtx.protocols.contract import (
    Alert,
    Append,
    Branch,
    CancelTimer,
    Done,
    Effect,
    Message,
    Record,
    Request,
    Suspect,
    Timer,
    Transact,
    Transition,
)
from simtx.protocols.policies import Policies
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_participant import Participant

_DONE: Final = Branch("done")
_REFUSED: Final = Branch("refused")
_CANCEL_REPLY: Final = CancelTimer("reply")


class LastResourceCoordinator(Coordinator):
    """A coordinator that lets one participant decide, when all others have promised.

    Its forced record is ``("last", name, (operations, steps), names of the YES voters)``; ``commit`` behind it is lazy.

    Attributes:
        last: Name of the last resource; empty: none, until there is only one participant and `one_phase` holds.
        one_phase: Whether the only participant of a transaction is its last resource.
        work: Operations and steps of the last resource; empty if this transaction has none.
    """

    __slots__ = ("last", "one_phase", "work")

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request(
            "idle",
            "begin",
            "begin",
            ("voting", "deciding", "finished"),
            "PREPARE to all others; none: force last, PERFORM",
        ),
        *(row for row in Coordinator.transitions if row.state == "idle" and row.event != "begin"),
        on.message(
            "voting",
            "yes",
            "take_yes",
            ("voting", "deciding", "committing"),
            "count; the last vote: force last, PERFORM",
        ),
        on.message(
            "voting",
            "read",
            "take_read",
            ("voting", "deciding", "committing", "finished"),
            "drop out; the last vote: force last, PERFORM",
        ),
        *(row for row in Coordinator.transitions if row.state == "voting" and row.event not in ("yes", "read")),
        on.message(
            "deciding",
            "performed",
            "take_performed",
            ("committing", "finished"),
            "lazy commit, answer, COMMIT to YES voters",
        ),
        on.message("deciding", "refused", "take_refusal", ("finished",), "lazy abort, answer, ABORT to YES voters"),
        on.message("deciding", "failed", "back_off", ("deciding",), "nothing was done: back off"),
        on.timer("deciding", "reply", "repeat_perform", ("deciding",), "PERFORM again, for ever"),
        on.message("deciding", "inquiry", "stay_silent", ("deciding",), "not decided yet: silence"),
        *(row for row in Coordinator.transitions if row.state == "committing"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        **Coordinator.bodies,
        **dict.fromkeys(("performed", "refused", "failed"), nothing),
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": Coordinator.stale["idle"] | {"performed", "refused", "failed"},
        "voting": Coordinator.stale["voting"],
        # An ACK: COMMIT was sent before a crash that has lost the lazy commit record.
        "deciding": frozenset({"begin", "yes", "no", "read", "ack"}),
        "committing": Coordinator.stale["committing"] | {"performed", "refused", "failed"},
    }

    def __init__(self, node: str, tx: int, policies: Policies, last: str, one_phase: bool) -> None:
        super().__init__(node, tx, policies)
        self.last = last
        self.one_phase = one_phase
        self.work: tuple[Any, ...] = ()

    # --- voting --------------------------------------------------------------------------------------------------------------

    def begin(self, event: Request) -> list[Effect]:
        """Ask all but the last resource to do their part and to vote."""
        effects = super().begin(event)
        if self.one_phase and len(self.participants) == 1:
            self.last = self.participants[0]
        last = self.last
        if last not in self.participants:
            return effects
        self.participants = tuple(name for name in self.participants if name != last)
        self.pending.remove(last)
        self.updating.remove(last)
        others: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Message) and effect.to == last:
                self.work = effect.body
            else:
                others.append(effect)
        return others if self.pending else self.close_vote()

    def close_vote(self) -> list[Effect]:
        """All others have promised: the last resource decides."""
        if not self.work:
            return super().close_vote()
        self.state = "deciding"
        # Without this record a restart would presume abort, whatever the last resource has done meanwhile.
        record = Append(("last", self.last, self.work, tuple(self.updating)))
        return [record, *self.perform(), CANCEL_VOTE]

    # --- deciding ------------------------------------------------------------------------------------------------------------

    def perform(self) -> list[Effect]:
        """Have the last resource do its part, and wait for its answer."""
        return [
            self.send(self.last, "perform", self.work),
            self.timer("reply", self.policies.acknowledgement_timeout),
        ]

    def sent_by_last(self, event: Message) -> None:
        """Make sure that it is the last resource that answers.

        Raises:
            PeerFault: It is another node.
        """
        if event.sender != self.last:
            raise PeerFault(f"'{event.sender}' answers for '{self.last}', the last resource of transaction {self.tx}")

    def take_performed(self, event: Message) -> list[Effect]:
        """The last resource has done its part, which is the decision."""
        self.sent_by_last(event)
        self.attempt = 0
        if not self.updating:
            return self.over(_CANCEL_REPLY, COMMITTED, ANSWER_COMMITTED, LAZY_END)
        # Lazy: if it is lost, the last resource says once more what it has done.
        return self.commit(_CANCEL_REPLY, forced=False)

    def take_refusal(self, event: Message) -> list[Effect]:
        """The last resource cannot do its part, and never will."""
        self.sent_by_last(event)
        return self.abort(f"refused by {event.sender}")

    def back_off(self, event: Message) -> list[Effect]:
        """Try again soon: nothing was done, for a passing reason."""
        self.sent_by_last(event)
        return [self.timer("reply", 0.0)]

    def repeat_perform(self, _event: Timer) -> list[Effect]:
        """Send PERFORM again, for ever: only the last resource knows the outcome."""
        effects: list[Effect] = [Suspect(self.last)]
        if self.count_attempt():
            effects.append(Alert(f"no answer of the last resource {self.last} after {self.attempt} attempts"))
        return effects + self.perform()

    # --- restart -------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Ask the last resource again if it was asked and the outcome is not on this disk."""
        if not records or records[-1][0] != "last":
            return super().recover(records)
        _, self.last, work, updating = records[-1]
        self.work = tuple(work)
        self.updating = [*updating]
        self.state = "deciding"
        return self.perform()


class LastResourceParticipant(Participant):
    """A participant that can also be the last resource: it does its work at once, and stores the outcome."""

    __slots__ = ()

    transitions: ClassVar[tuple[Transition, ...]] = (
        *Participant.transitions,
        on.message("idle", "perform", "perform", ("performing",), "do the work, store the outcome"),
        on.done("performing", "performed", "answer", ("finished",), "PERFORMED, REFUSED or FAILED"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {**Participant.bodies, "perform": operations_of_steps}
    stale: ClassVar[dict[str, frozenset[str]]] = {
        **Participant.stale,
        "performing": frozenset({"perform"}),
    }

    def perform(self, event: Message) -> list[Effect]:
        """Do the work in one local transaction, once, however often it is asked for."""
        operations, steps = event.body
        self.coordinator = event.sender
        self.state = "performing"
        return [
            Transact("performed", tuple(operations), (self.tx, "branch"), _DONE, _REFUSED, steps=tuple(steps)),
        ]

    def answer(self, event: Done) -> list[Effect]:
        """Say what stands in the row; a passing failure leaves none."""
        outcome = event.value if event.status == "duplicate" else event.status
        kind = {"done": "performed", "refused": "refused"}.get(outcome, "failed")
        return self.over(self.send(self.coordinator, kind))
