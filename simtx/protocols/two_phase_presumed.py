"""Two-phase commit with presumed commit: who asks about a transaction that nobody knows any more gets COMMIT.

**Law.** That of two-phase commit (`simtx.protocols.two_phase_commit`).

**Sources.** C. Mohan, B. Lindsay, R. Obermarck, "Transaction management in the R* distributed database management system", ACM TODS 11(4), 1986;
B. Lampson, D. Lomet, "A new presumed commit optimization for two phase commit", VLDB 1993.

**Theory of operation.** Most transactions commit, so here it is the commits that nobody acknowledges. Before the coordinator asks for votes it forces a
``collecting`` record with the names of all that write. A restarted coordinator that finds it without a ``commit`` record aborts. It may forget
a commit at once, and an abort only when everybody in the record has acknowledged it: an inquiry for a transaction without a record is answered COMMIT.

That makes every trace of an abort precious. A participant that has refused or undone its branch writes a *tombstone* under the key of the branch before it
says NO or ACK. Otherwise a late copy of PREPARE would prepare the branch anew, and the coordinator, which has forgotten the abort, would answer COMMIT.

**Costs.** N participants write, K of them refuse. Commit: 3N messages and 2N + 2 forced writes. (The sources count N + 2: there a participant commits lazily. Stores here
force each commit of a branch, as PostgreSQL's COMMIT PREPARED does.) Refused: 4N - 2K messages and 2N - K + 1 forced writes, K of which the sources do not have: they
assume that no message comes twice. A participant that only reads takes two messages and no write. If all only read, the coordinator forces two records: a
client that was told of a commit must not be told of an abort after a restart.

**Invariants.**

1. PREPARE is sent behind a durable ``collecting`` record, COMMIT and the answer behind a durable ``commit`` record.
2. The coordinator forgets an abort only when a tombstone is durable at everybody that writes. So nobody is in doubt about it, or ever will be.
3. A tombstone and the row of a committed branch exclude each other: both stand under one key, and the first one stays.

**Known weaknesses.** Blocking, as under presumed abort. An abort is not over while one participant is away, and refusals cost forced writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from simtx.protocols import on
from simtx.protocols.commit_machine import (
    ABORTED,
    ANSWER_ABORTED,
    ANSWER_COMMITTED,
    CANCEL_VOTE,
    COMMIT,
    COMMITTED,
    LAZY_ABORT,
    LAZY_END,
    ROLLBACK,
)
from simtx.protocols.contract import (
    Alert,
    Answer,
    Append,
    Branch,
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
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.operations import writes
from simtx.protocols.policies import Policies
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_participant import Participant

_TOMBSTONE: Final = Branch(TOMBSTONE)


class PresumingCoordinator(Coordinator):
    """Collects the votes, decides, forgets a commit at once, and repeats an abort until everybody that writes has acknowledged it.

    Its forced records are ``("collecting", names of those that write)`` and ``("commit",)``.

    Attributes:
        updating: Participants that write and have not refused.
        pending: While voting, those that have not voted; while aborting, those whose tombstone is not known to be there.
    """

    __slots__ = ()

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.request("idle", "begin", "begin", ("voting", "finished"), "force collecting, PREPARE to all"),
        on.message("idle", "yes", "presume_commit", ("finished",), "not known, so committed: COMMIT"),
        on.message("idle", "inquiry", "presume_commit", ("finished",), "not known, so committed: COMMIT"),
        on.message(
            "voting",
            "yes",
            "take_yes",
            ("voting", "finished"),
            "count; the last vote: force commit, answer, COMMIT to YES voters",
        ),
        on.message(
            "voting",
            "read",
            "take_read",
            ("voting", "finished"),
            "drop out; the last vote: force commit, answer, COMMIT to YES voters",
        ),
        on.message(
            "voting", "no", "take_no", ("voting", "aborting", "finished"), "lazy abort, answer, ABORT to YES voters"
        ),
        on.timer(
            "voting",
            "vote",
            "miss_votes",
            ("aborting", "finished"),
            "too late: lazy abort, answer, ABORT to YES voters",
        ),
        on.message("voting", "inquiry", "stay_silent", ("voting",), "not decided yet: silence"),
        on.message("aborting", "yes", "tell_abort", ("aborting",), "ABORT"),
        on.message("aborting", "inquiry", "tell_abort", ("aborting",), "ABORT"),
        on.message("aborting", "no", "take_undone", ("aborting", "finished"), "count; the last one: lazy end"),
        on.message("aborting", "ack", "take_undone", ("aborting", "finished"), "count; the last one: lazy end"),
        on.timer("aborting", "acknowledgement", "repeat_abort", ("aborting",), "ABORT again to those without ACK"),
    )
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"no", "read", "ack"}),
        "voting": frozenset({"begin"}),
        "aborting": frozenset({"begin", "read"}),
    }

    # --- idle ----------------------------------------------------------------------------------------------------------------

    def begin(self, event: Request) -> list[Effect]:
        """Write down who may have to undo something, and only then ask for votes."""
        effects = super().begin(event)
        if self.state != "voting":
            return effects
        asked = [effect for effect in effects if isinstance(effect, Message)]
        self.updating = [one.to for one in asked if writes(one.body[0])]
        return [Append(("collecting", *self.updating)), *effects]

    def presume_commit(self, event: Message) -> list[Effect]:
        """Answer COMMIT for a transaction that is not known: an abort is remembered until nobody can ask about it any more."""
        return self.over(self.send(event.sender, "commit"))

    # --- voting --------------------------------------------------------------------------------------------------------------

    def take_read(self, event: Message) -> list[Effect]:
        """A participant without writes has nothing to commit or to undo."""
        return self.take_yes(event)

    def take_no(self, event: Message) -> list[Effect]:
        """One NO decides."""
        if not self.first_vote(event.sender):
            return []
        if event.sender in self.updating:
            self.updating.remove(event.sender)
        return self.abort(f"{event.body} by {event.sender}")

    def miss_votes(self, _event: Timer) -> list[Effect]:
        """The vote has lasted too long: abort."""
        late = [*self.pending]
        effects = self.abort("no vote of " + ", ".join(late))
        return [*effects[:-1], *(Suspect(service) for service in late), effects[-1]]

    def close_vote(self) -> list[Effect]:
        """All votes are in, none is NO: commit, and forget."""
        # The forced record is the decision. It is sent to nobody, the client included, before it is durable.
        return self.over(Append(("commit",)), COMMITTED, ANSWER_COMMITTED, *self.tell_all("commit", self.updating))

    def abort(self, reason: str) -> list[Effect]:
        """Send the outcome to the client and to those that voted YES. Who has not voted yet gets it when it has, or when its acknowledgement is missed."""
        voted = [service for service in self.updating if service not in self.pending]
        self.pending = [*self.updating]
        effects: list[Effect] = [LAZY_ABORT, ABORTED, Answer("aborted", reason), *self.tell_all("abort", voted)]
        if not self.pending:
            return self.over(*effects)
        self.state = "aborting"
        return [*effects, CANCEL_VOTE, self.timer("acknowledgement", self.policies.acknowledgement_timeout)]

    def tell_all(self, kind: str, services: Sequence[str]) -> list[Effect]:
        """The decision for each of them."""
        return [self.send(service, kind) for service in services]

    # --- aborting ------------------------------------------------------------------------------------------------------------

    def tell_abort(self, event: Message) -> list[Effect]:
        """Answer a late vote or an inquiry; one of a participant that has acknowledged is a late copy."""
        return self.tell_all("abort", [event.sender]) if event.sender in self.pending else []

    def take_undone(self, event: Message) -> list[Effect]:
        """A tombstone is there; when all are, nobody will ever ask again."""
        if event.sender not in self.pending:
            return []
        self.pending.remove(event.sender)
        return [] if self.pending else self.over(LAZY_END)

    def repeat_abort(self, _event: Timer) -> list[Effect]:
        """Send ABORT again, for ever: an abort that is forgotten too early would be taken for a commit."""
        effects: list[Effect] = [Suspect(service) for service in self.pending]
        if self.count_attempt():
            effects.append(Alert(f"abort not acknowledged by {', '.join(self.pending)} after {self.attempt} attempts"))
        effects.extend(self.tell_all("abort", self.pending))
        effects.append(self.timer("acknowledgement", self.policies.acknowledgement_timeout))
        return effects

    # --- restart -------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """Without a commit record the transaction is aborted, at everybody that may have voted YES. The client is answered again."""
        if not records:
            return []
        last = records[-1][0]
        if last == "end":
            return self.over()
        names = [str(name) for name in records[0][1:]]
        if last == "commit":
            return self.over(COMMITTED, ANSWER_COMMITTED, *self.tell_all("commit", names))
        if not names:
            return self.over(ABORTED, ANSWER_ABORTED)
        self.state = "aborting"
        self.updating = names
        self.pending = [*names]
        wait = self.timer("acknowledgement", self.policies.acknowledgement_timeout)
        return [ABORTED, ANSWER_ABORTED, *self.tell_all("abort", names), wait]


class PresumedParticipant(Participant):
    """A participant that acknowledges aborts and not commits, and leaves a tombstone of each abort.

    Attributes:
        refusal: Why it votes NO.
    """

    __slots__ = ("refusal",)

    transitions: ClassVar[tuple[Transition, ...]] = (
        on.message("idle", "prepare", "prepare", ("preparing", "reading"), "do the work"),
        on.message("idle", "abort", "fence", ("undoing",), "tombstone"),
        on.done(
            "preparing",
            "prepared",
            "vote",
            ("in-doubt", "refusing", "finished"),
            "done: YES; refused or failed: tombstone; aborted before: NO; committed before: silence",
        ),
        on.done("reading", "evaluated", "vote_read", ("finished",), "done: READ; refused or failed: NO"),
        on.done("refusing", "fenced", "refuse", ("finished",), "NO; failed: silence"),
        on.message("in-doubt", "prepare", "repeat_yes", ("in-doubt",), "YES again"),
        on.message("in-doubt", "commit", "commit", ("finished",), "force commit, release"),
        on.message("in-doubt", "abort", "roll_back", ("undoing",), "roll back, release, tombstone"),
        on.timer("in-doubt", "inquiry", "inquire", ("in-doubt",), "INQUIRY to the coordinator, for ever"),
        on.done("undoing", "fenced", "acknowledge_abort", ("finished",), "ACK; failed: silence"),
    )
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"commit"}),
        **dict.fromkeys(
            ("preparing", "reading", "refusing", "undoing"),
            frozenset({"prepare", "commit", "abort"}),
        ),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.refusal = ""

    def leave_tombstone(self) -> Transact:
        """Never vote for commit any more."""
        return Transact("fenced", (), (self.tx, "branch"), _TOMBSTONE)

    # --- voting --------------------------------------------------------------------------------------------------------------

    def vote(self, event: Done) -> list[Effect]:
        """Vote as the store says; NO only behind a tombstone."""
        if event.status in ("refused", "failed"):
            self.state = "refusing"
            self.refusal = event.status
            return [self.leave_tombstone()]
        if event.status == "duplicate" and event.value == TOMBSTONE:
            return self.over(self.send(self.coordinator, "no", "aborted before"))
        return super().vote(event)

    def refuse(self, event: Done) -> list[Effect]:
        """NO; if the tombstone is not there, the coordinator misses the vote and asks for one."""
        return self.over() if event.status == "failed" else self.over(self.send(self.coordinator, "no", self.refusal))

    # --- the decision --------------------------------------------------------------------------------------------------------

    def commit(self, _event: Message) -> list[Effect]:
        """End the branch without an acknowledgement, for which nobody waits: who has lost COMMIT inquires, and gets it again."""
        return self.over(COMMIT)

    def roll_back(self, event: Message) -> list[Effect]:
        """Undo; after the ACK the coordinator may forget."""
        self.coordinator = event.sender
        self.state = "undoing"
        return [ROLLBACK, self.leave_tombstone()]

    def fence(self, event: Message) -> list[Effect]:
        """ABORT without a branch: none may be prepared any more."""
        self.coordinator = event.sender
        self.state = "undoing"
        return [self.leave_tombstone()]

    def acknowledge_abort(self, event: Done) -> list[Effect]:
        """ACK; if the tombstone is not there, the coordinator repeats ABORT."""
        return self.over() if event.status == "failed" else self.over(self.send(self.coordinator, "ack"))
