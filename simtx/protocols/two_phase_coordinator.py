"""The coordinator of two-phase commit with presumed abort; theory and sources are in `simtx.protocols.two_phase_commit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from simtx.errors import PeerFault
from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing, text
from simtx.protocols.commit_machine import (
    ABORTED,
    ANSWER_ABORTED,
    ANSWER_COMMITTED,
    CANCEL_VOTE,
    COMMITTED,
    FORGET,
    LAZY_ABORT,
    LAZY_END,
    CommitMachine,
    work_of,
)
from simtx.protocols.contract import (
    Alert,
    Answer,
    Append,
    CancelTimer,
    Effect,
    Message,
    Record,
    Request,
    SetTimer,
    Suspect,
    Timer,
    Transition,
)
from simtx.protocols.policies import Policies


class Coordinator(CommitMachine):
    """Collects the votes, decides, and repeats a commit until every participant that voted YES has acknowledged it.

    Its only forced record is ``("commit", names of the YES voters)``. Without that record the transaction is aborted, whether the
    coordinator still knows it or not.

    Attributes:
        participants: Services of the transaction, in the order of their first step; empty after a recovery.
        updating: Participants that are not known to be read-only; from the decision on, exactly those that voted YES.
        pending: While voting, those that have not voted; while committing, those that have not acknowledged.
    """

    __slots__ = ("participants", "pending", "updating")

    role: ClassVar[str] = "coordinator"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("voting", "finished"), "PREPARE to all"),
        on.message("idle", "yes", "presume_abort", ("finished",), "not known, so aborted: ABORT"),
        on.message("idle", "inquiry", "presume_abort", ("finished",), "not known, so aborted: ABORT"),
        on.message(
            "voting",
            "yes",
            "take_yes",
            ("voting", "committing"),
            "count; the last vote: force commit, answer, COMMIT to YES voters",
        ),
        on.message(
            "voting",
            "read",
            "take_read",
            ("voting", "committing", "finished"),
            "drop out; all READ: answer, nothing to log",
        ),
        on.message("voting", "no", "take_no", ("voting", "finished"), "lazy abort, answer, ABORT to YES voters"),
        on.timer("voting", "vote", "miss_votes", ("finished",), "too late: lazy abort, answer, ABORT to YES voters"),
        on.message("voting", "inquiry", "stay_silent", ("voting",), "not decided yet: silence"),
        on.message(
            "committing", "ack", "take_acknowledgement", ("committing", "finished"), "count; the last one: lazy end"
        ),
        on.timer(
            "committing", "acknowledgement", "repeat_commit", ("committing",), "COMMIT again to those without ACK"
        ),
        on.message("committing", "inquiry", "tell_commit", ("committing",), "COMMIT"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {**dict.fromkeys(("yes", "read", "ack", "inquiry"), nothing), "no": text}
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"no", "read", "ack"}),
        "voting": frozenset({"begin"}),
        "committing": frozenset({"begin", "yes", "no", "read"}),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.participants: tuple[str, ...] = ()
        self.updating: list[str] = []
        self.pending: list[str] = []

    # --- idle ----------------------------------------------------------------------------------------------------------------

    def begin(self, event: Request) -> list[Effect]:
        """Ask every participant to do its part and to vote."""
        work = work_of(event, least=0)
        self.participants = tuple(work)
        return self.open_vote([self.send(service, "prepare", part) for service, part in work.items()])

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
        return self.over(self.send(event.sender, "abort"))

    # --- voting --------------------------------------------------------------------------------------------------------------

    def first_vote(self, sender: str) -> bool:
        """Return whether this is the participant's first vote; a later one, whatever it says, is a late copy or stems from one.

        Raises:
            PeerFault: The sender does not take part in the transaction.
        """
        if sender in self.pending:
            self.pending.remove(sender)
            return True
        if sender not in self.participants:
            raise self.stranger(sender, "votes in")
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
        """One NO decides; whoever votes YES later gets ABORT then, as for any unknown transaction."""
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
        """Send nothing, since nothing is decided; the participant will ask again."""
        return []

    def close_vote(self) -> list[Effect]:
        """All votes are in, none is NO: commit."""
        if not self.updating:
            return self.over(COMMITTED, ANSWER_COMMITTED)
        # The forced record is the decision. It is sent to nobody, the client included, before it is durable.
        return self.commit(CANCEL_VOTE, forced=True)

    def commit(self, cancel: CancelTimer, *, forced: bool) -> list[Effect]:
        """Tell the client and all that voted YES; `cancel` ends what was waited for before, `forced` is for the record."""
        self.state = "committing"
        self.pending = [*self.updating]
        record = Append(("commit", *self.updating), forced)
        return [record, COMMITTED, ANSWER_COMMITTED, *self.send_commit(), cancel]

    def abort(self, reason: str) -> list[Effect]:
        """Tell the client and those that voted YES, and forget at once: a lost ABORT is made good by their inquiry."""
        told = (self.send(service, "abort") for service in self.updating if service not in self.pending)
        return self.over(LAZY_ABORT, ABORTED, Answer("aborted", reason), *told)

    # --- committing ----------------------------------------------------------------------------------------------------------

    def send_commit(self) -> list[Effect]:
        """COMMIT to everyone whose acknowledgement is pending, and the timer until it is sent again."""
        wait = self.timer("acknowledgement", self.policies.acknowledgement_timeout)
        return [*(self.send(service, "commit") for service in self.pending), wait]

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
        return self.over(LAZY_END)

    def repeat_commit(self, _event: Timer) -> list[Effect]:
        """Send COMMIT again, for ever: a prepared participant cannot be left alone."""
        effects: list[Effect] = [Suspect(service) for service in self.pending]
        if self.count_attempt():
            effects.append(Alert(f"commit not acknowledged by {', '.join(self.pending)} after {self.attempt} attempts"))
        return effects + self.send_commit()

    def tell_commit(self, event: Message) -> list[Effect]:
        """Answer an inquiry; one of a participant that has acknowledged is a late copy."""
        if event.sender not in self.pending:
            return []
        return [self.send(event.sender, "commit")]

    # --- restart -------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Take up a commit that is not known to have ended; everything else is aborted, or over.

        The client is answered again: the crash may have come between the decision and the first answer.
        """
        if not records:
            return []
        last = records[-1]
        if last[0] != "commit":
            return self.over(ABORTED, ANSWER_ABORTED) if last[0] == "abort" else self.over()
        self.state = "committing"
        self.updating = [*last[1:]]
        self.pending = [*last[1:]]
        return [COMMITTED, ANSWER_COMMITTED, *self.send_commit()]
