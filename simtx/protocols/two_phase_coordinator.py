"""The coordinator of two-phase commit with presumed abort; theory and sources are in `simtx.protocols.two_phase_commit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from simtx.errors import PeerFault, ProtocolViolation
from simtx.protocols.bodies import Form, index, indexed_text, nothing, text
from simtx.protocols.contract import (
    Alert,
    Answer,
    Append,
    CancelTimer,
    Decided,
    Effect,
    Event,
    Forget,
    Machine,
    Message,
    Operation,
    Record,
    Request,
    SetTimer,
    Suspect,
    Timer,
    Transition,
)
from simtx.protocols.policies import Policies

# Effects without fields of their own are made once: nobody changes an effect after it was made.
FORGET = Forget()
COMMITTED = Decided("committed")
ABORTED = Decided("aborted")
ANSWER_COMMITTED = Answer("committed")
ANSWER_ABORTED = Answer("aborted")
LAZY_ABORT = Append(("abort",), forced=False)
LAZY_END = Append(("end",), forced=False)
CANCEL_VOTE = CancelTimer("vote")


class Coordinator(Machine):
    """Collects the votes, decides, and repeats a commit until every participant that voted YES has acknowledged it.

    Its only forced record is ``("commit", names of the YES voters)``. Without that record the transaction is aborted, whether the
    coordinator still knows it or not.

    Attributes:
        policies: Timeouts.
        participants: Services of the transaction, in the order of their first step; empty after a recovery.
        updating: Participants that are not known to be read-only; from the decision on, exactly those that voted YES.
        pending: While voting, those that have not voted; while committing, those that have not acknowledged.
        attempt: How often COMMIT was sent again.
    """

    __slots__ = ("attempt", "participants", "pending", "policies", "updating")

    role: ClassVar[str] = "coordinator"
    initial: ClassVar[str] = "idle"
    transitions: ClassVar[tuple[Transition, ...]] = (
        Transition("idle", "begin", "begin", ("voting", "finished"), "PREPARE to all", of="request"),
        Transition("idle", "yes", "presume_abort", ("finished",), "not known, so aborted: ABORT", of="message"),
        Transition("idle", "inquiry", "presume_abort", ("finished",), "not known, so aborted: ABORT", of="message"),
        Transition(
            "voting",
            "yes",
            "take_yes",
            ("voting", "committing"),
            "count; the last vote: force commit, answer, COMMIT to YES voters",
            of="message",
        ),
        Transition(
            "voting",
            "read",
            "take_read",
            ("voting", "committing", "finished"),
            "drop out; all READ: answer, nothing to log",
            of="message",
        ),
        Transition(
            "voting", "no", "take_no", ("voting", "finished"), "lazy abort, answer, ABORT to YES voters", of="message"
        ),
        Transition(
            "voting",
            "vote",
            "miss_votes",
            ("finished",),
            "too late: lazy abort, answer, ABORT to YES voters",
            of="timer",
        ),
        Transition("voting", "inquiry", "stay_silent", ("voting",), "not decided yet: silence", of="message"),
        Transition(
            "committing",
            "ack",
            "take_acknowledgement",
            ("committing", "finished"),
            "count; the last one: lazy end",
            of="message",
        ),
        Transition(
            "committing",
            "acknowledgement",
            "repeat_commit",
            ("committing",),
            "COMMIT again to those without ACK",
            of="timer",
        ),
        Transition("committing", "inquiry", "tell_commit", ("committing",), "COMMIT", of="message"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        "yes": nothing,
        "read": nothing,
        "no": text,
        "ack": nothing,
        "inquiry": nothing,
        "executed": index,
        "refused": indexed_text,
    }
    #: Late copies of messages, and timers that fired while they were being cancelled: legal, and without meaning in these states.
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"no", "read", "ack"}),
        "voting": frozenset({"begin"}),
        "committing": frozenset({"begin", "yes", "no", "read"}),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx)
        self.policies = policies
        self.participants: tuple[str, ...] = ()
        self.updating: list[str] = []
        self.pending: list[str] = []
        self.attempt = 0

    # --- idle ----------------------------------------------------------------------------------------------------------------

    def begin(self, event: Request) -> list[Effect]:
        """Ask every participant to do its part and to vote."""
        if event.plan is None:
            raise ProtocolViolation(f"the request that begins transaction {self.tx} carries no plan")
        work: dict[str, tuple[list[Operation], list[int]]] = {}
        for step in event.plan.steps:
            branch = work.get(step.service)
            if branch is None:
                work[step.service] = ([*step.operations], [step.index])
            else:
                branch[0].extend(step.operations)
                branch[1].append(step.index)
        self.participants = tuple(work)
        node, tx = self.node, self.tx
        effects: list[Effect] = []
        for service, (operations, steps) in work.items():
            effects.append(Message("prepare", tx, node, service, (tuple(operations), tuple(steps))))
        return self.open_vote(effects)

    def open_vote(self, effects: list[Effect]) -> list[Effect]:
        """Wait for everybody's vote; `effects` holds the PREPAREs."""
        self.pending = [*self.participants]
        self.updating = [*self.participants]
        if not self.pending:
            return self.close_vote()
        self.state = "voting"
        effects.append(SetTimer("vote", self.policies.vote_timeout))
        return effects

    def presume_abort(self, event: Message) -> list[Effect]:
        """Answer ABORT for a transaction that is not known: no commit record means that it was never committed, or is finished."""
        self.state = "finished"
        return [Message("abort", self.tx, self.node, event.sender), FORGET]

    # --- voting --------------------------------------------------------------------------------------------------------------

    def first_vote(self, sender: str) -> bool:
        """Whether this is the participant's first vote; a later one, whatever it says, is a late copy or stems from one.

        Raises:
            PeerFault: The sender does not take part in the transaction.
        """
        if sender in self.pending:
            self.pending.remove(sender)
            return True
        if sender not in self.participants:
            raise PeerFault(f"'{sender}' votes in transaction {self.tx}, in which it has no part")
        return False

    def take_yes(self, event: Message) -> list[Effect]:
        """Count a YES by its participant, not by its number."""
        if not self.first_vote(event.sender) or self.pending:
            return []
        return self.close_vote()

    def take_read(self, event: Message) -> list[Effect]:
        """A participant without writes has nothing to commit or to undo: the second phase goes on without it."""
        if not self.first_vote(event.sender):
            return []
        self.updating.remove(event.sender)
        return [] if self.pending else self.close_vote()

    def take_no(self, event: Message) -> list[Effect]:
        """One NO decides; whoever votes YES later is told ABORT then, as for any unknown transaction."""
        if not self.first_vote(event.sender):
            return []
        self.updating.remove(event.sender)
        return self.abort(f"{event.body} by {event.sender}")

    def miss_votes(self, _event: Timer) -> list[Effect]:
        """The vote has lasted too long: abort."""
        effects = self.abort("no vote of " + ", ".join(self.pending))
        effects[-1:] = [*(Suspect(service) for service in self.pending), FORGET]
        return effects

    def stay_silent(self, _event: Message) -> list[Effect]:
        """Nothing is decided, so there is nothing to tell; the participant will ask again."""
        return []

    def close_vote(self) -> list[Effect]:
        """All votes are in, none is NO: commit."""
        if not self.updating:
            self.state = "finished"
            return [COMMITTED, ANSWER_COMMITTED, FORGET]
        self.state = "committing"
        self.pending = [*self.updating]
        # The forced record is the decision. It is sent to nobody, the client included, before it is durable.
        effects: list[Effect] = [Append(("commit", *self.updating)), COMMITTED, ANSWER_COMMITTED]
        self.send_commit(effects)
        effects.append(CANCEL_VOTE)
        return effects

    def abort(self, reason: str) -> list[Effect]:
        """Tell the client and those that voted YES, and forget at once: a lost ABORT is made good by their inquiry."""
        self.state = "finished"
        node, tx, pending = self.node, self.tx, self.pending
        effects: list[Effect] = [LAZY_ABORT, ABORTED, Answer("aborted", reason)]
        for service in self.updating:
            if service not in pending:
                effects.append(Message("abort", tx, node, service))  # noqa: PERF401 - the list is of effects of several kinds
        effects.append(FORGET)
        return effects

    # --- committing ----------------------------------------------------------------------------------------------------------

    def send_commit(self, effects: list[Effect]) -> None:
        """Send COMMIT to everyone whose acknowledgement is pending, and wait for them."""
        node, tx, policies = self.node, self.tx, self.policies
        for service in self.pending:
            effects.append(Message("commit", tx, node, service))  # noqa: PERF401
        effects.append(
            SetTimer("acknowledgement", policies.acknowledgement_timeout, policies.backoff.bound(self.attempt))
        )

    def take_acknowledgement(self, event: Message) -> list[Effect]:
        """A participant has committed; when all have, nobody will ever ask again."""
        sender = event.sender
        if sender not in self.pending:
            if sender not in self.updating:
                raise PeerFault(
                    f"'{sender}' acknowledges the commit of transaction {self.tx}, in which it did not vote YES"
                )
            return []
        self.pending.remove(sender)
        if self.pending:
            return []
        self.state = "finished"
        return [LAZY_END, FORGET]

    def repeat_commit(self, _event: Timer) -> list[Effect]:
        """Send COMMIT again, for ever: a prepared participant cannot be left alone."""
        effects: list[Effect] = [Suspect(service) for service in self.pending]
        self.attempt += 1
        if self.attempt == self.policies.alert_after:
            effects.append(Alert(f"commit not acknowledged by {', '.join(self.pending)} after {self.attempt} attempts"))
        self.send_commit(effects)
        return effects

    def tell_commit(self, event: Message) -> list[Effect]:
        """Answer an inquiry; one of a participant that has acknowledged is a late copy."""
        if event.sender not in self.pending:
            return []
        return [Message("commit", self.tx, self.node, event.sender)]

    # --- restart, and what has no row ------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Take up a commit that is not known to have ended; everything else is aborted, or over.

        The client is answered again: the crash may have come between the decision and the first answer.
        """
        if not records:
            return []
        last = records[-1]
        if last[0] != "commit":
            self.state = "finished"
            return [ABORTED, ANSWER_ABORTED, FORGET] if last[0] == "abort" else [FORGET]
        self.state = "committing"
        self.updating = [*last[1:]]
        self.pending = [*last[1:]]
        effects: list[Effect] = [COMMITTED, ANSWER_COMMITTED]
        self.send_commit(effects)
        return effects

    def unexpected(self, event: Event) -> list[Effect]:
        """Ignore late copies; refuse what no correct peer and no correct host causes."""
        if isinstance(event, Timer) or event.kind in self.stale.get(self.state, ()):
            return [FORGET] if self.state == self.initial else []
        if isinstance(event, Message):
            return super().unexpected(event)
        raise ProtocolViolation(
            f"{self.role} of transaction {self.tx} on {self.node}: no '{event.kind}' is expected in state '{self.state}'"
        )
