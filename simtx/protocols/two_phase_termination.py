"""Two-phase commit with cooperative termination: who is in doubt asks the other participants, too.

**Law.** That of two-phase commit with presumed abort (`simtx.protocols.two_phase_commit`), and this: a participant in doubt is not blocked if it can reach one
other participant which has ended the transaction, or was never asked to vote. This holds also if the coordinator never comes back.

**Sources.** P. Bernstein, V. Hadzilacos, N. Goodman, "Concurrency Control and Recovery in Database Systems", 1987, chapter 7.4 (the cooperative
termination protocol, and why it cannot help when all are in doubt).

**Theory of operation.** PREPARE names the other participants that write. A participant whose inquiry finds no answer asks them as well. What one
of them has done stands in its store, in the idempotency row that commits with its branch, under the key ``(tx, "branch")``:

- The row says ``done``: the branch was committed, so commit was decided. It answers COMMITTED.
- There is no row, and no branch: it never voted, or its branch was rolled back. It writes a *tombstone* into the row, which makes a later PREPARE a NO,
  and then answers ABORTED. Without the tombstone the answer could become untrue: PREPARE might arrive afterwards, and its YES be the last vote.
- A tombstone: somebody has asked before. ABORTED.
- It is in doubt itself: silence. When all that can be reached are in doubt, everybody waits for the coordinator, as ever.

A participant that has the outcome from another one still acknowledges to the coordinator, which otherwise would repeat COMMIT. A participant that only reads is asked
by nobody: it has kept nothing that it could answer from. The coordinator knows from the operations who that is, and names the others.

**Costs.** Without faults those of two-phase commit: 4N messages and 2N + 1 forced writes. An inquiry costs up to N - 1 questions more, and N - 1 answers;
a tombstone is one forced write.

**Invariants.**

1. ABORTED is said only behind a durable tombstone, so that this participant will never have voted YES.
2. A row ``done`` and a tombstone exclude each other: both stand under one key, and the first one stays.

**Known weaknesses.** All in doubt are blocked, as before: a coordinator that dies before it has sent the decision to anybody blocks everybody. And the row must be kept for
longer than anybody may be in doubt (`Policies.dedup_retention`): one that has forgotten its commit would take itself for one that never voted.
``simtx.verify("2pc:termination=cooperative", retained=0)`` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from simtx.protocols import on
from simtx.protocols.bodies import Form, nothing, operations_of_steps_and_names
from simtx.protocols.commit_machine import COMMIT
from simtx.protocols.contract import (
    Branch,
    Done,
    Effect,
    Message,
    Prepare,
    Record,
    Request,
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


class NamingCoordinator(Coordinator):
    """A coordinator whose PREPARE names the other participants that write."""

    __slots__ = ()

    def begin(self, event: Request) -> list[Effect]:
        """Ask for votes, with the names of all that may later be asked about the outcome."""
        effects = super().begin(event)
        asked = [effect for effect in effects if isinstance(effect, Message)]
        able = [one.to for one in asked if writes(one.body[0])]
        named: list[Effect] = [
            replace(one, body=(*one.body, tuple(name for name in able if name != one.to))) for one in asked
        ]
        return named + effects[len(asked) :]


class CooperativeParticipant(Participant):
    """A participant that, when it is in doubt, asks the coordinator and its peers, and answers its peers from its store.

    Its record is ``("prepared", coordinator, names of the peers)``.

    Attributes:
        peers: The other participants that write.
        asker: The peer whose question is being looked up.
    """

    __slots__ = ("asker", "peers")

    transitions: ClassVar[tuple[Transition, ...]] = (
        *Participant.transitions,
        on.message("idle", "ask", "look_up", ("checking",), "look for the row; none: tombstone"),
        on.done("checking", "looked-up", "tell", ("finished",), "row: COMMITTED; tombstone: ABORTED; failed: silence"),
        on.message("in-doubt", "ask", "stay_silent", ("in-doubt",), "in doubt, too: silence"),
        on.message("in-doubt", "committed", "commit", ("finished",), "force commit, release, ACK"),
        on.message("in-doubt", "aborted", "roll_back", ("finished",), "lazy rollback, release"),
    )
    bodies: ClassVar[Mapping[str, Form]] = {
        "prepare": operations_of_steps_and_names,
        **dict.fromkeys(("commit", "abort", "ask", "committed", "aborted"), nothing),
    }
    stale: ClassVar[dict[str, frozenset[str]]] = {
        "idle": frozenset({"committed", "aborted"}),
        **dict.fromkeys(
            ("preparing", "reading", "checking"),
            frozenset({"prepare", "commit", "abort", "ask", "committed", "aborted"}),
        ),
    }

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        super().__init__(node, tx, policies)
        self.peers: tuple[str, ...] = ()
        self.asker = ""

    # --- voting --------------------------------------------------------------------------------------------------------------

    def prepare(self, event: Message) -> list[Effect]:
        """Do the work that came with PREPARE, and remember with the branch whom to ask."""
        operations, steps, peers = event.body
        self.peers = tuple(peers)
        if not writes(operations):
            return super().prepare(replace(event, body=(operations, steps)))
        self.coordinator = event.sender
        self.state = "preparing"
        record = ("prepared", event.sender, *self.peers)
        return [Prepare("prepared", operations, record, (self.tx, "branch"), steps)]

    def vote(self, event: Done) -> list[Effect]:
        """Vote as the store says; where a peer has got ABORTED, the vote is NO."""
        if event.status == "duplicate" and event.value == TOMBSTONE:
            return self.over(self.send(self.coordinator, "no", "a peer was told so"))
        return super().vote(event)

    # --- in doubt ------------------------------------------------------------------------------------------------------------

    def commit(self, event: Message) -> list[Effect]:  # noqa: ARG002 - the coordinator gets the ACK, whoever has told
        """Commit, and acknowledge to the coordinator, which may be waiting for it."""
        return self.over(COMMIT, self.send(self.coordinator, "ack"))

    def inquire(self, event: Timer) -> list[Effect]:
        """Ask everybody again, for ever."""
        return [*super().inquire(event), *self.ask()]

    def ask(self) -> list[Effect]:
        """The question to each peer."""
        return [self.send(peer, "ask") for peer in self.peers]

    def stay_silent(self, _event: Message) -> list[Effect]:
        """Send nothing: a participant that is in doubt knows nothing that could help."""
        return []

    # --- being asked ---------------------------------------------------------------------------------------------------------

    def look_up(self, event: Message) -> list[Effect]:
        """Look into the store, as there is no branch here: it knows whether there was one, and if not there will be none."""
        self.state = "checking"
        self.asker = event.sender
        return [Transact("looked-up", (), (self.tx, "branch"), _TOMBSTONE)]

    def tell(self, event: Done) -> list[Effect]:
        """Answer from what is durable."""
        if event.status == "failed":
            return self.over()  # the peer asks again
        committed = event.status == "duplicate" and event.value != TOMBSTONE
        return self.over(self.send(self.asker, "committed" if committed else "aborted"))

    # --- restart -------------------------------------------------------------------------------------------------------------

    def recover(self, records: Sequence[Record]) -> list[Effect]:
        """A prepared branch is in doubt: ask everybody at once."""
        effects = super().recover(records)
        if not effects:
            return effects
        self.peers = tuple(records[-1][2:])
        return [*effects, *self.ask()]
