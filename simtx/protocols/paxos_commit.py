"""Paxos Commit: the votes are decided by consensus, so that no single node has to come back for the transaction to end.

**Law.** That of two-phase commit: all participants reach the same outcome, which is the one that the client was told. It is commit only if every participant durably voted for
it. And this: with 2F + 1 acceptors, as long as no more than F of them are down, every participant that is up learns the outcome.

**Source.** J. Gray, L. Lamport, "Consensus on Transaction Commit", ACM TODS 31(1), 2006 (first as a technical report of Microsoft Research, 2004).

**Theory of operation.** Each participant has an instance of consensus, in which its vote is chosen. Only the participant itself proposes in ballot 0, so that its vote costs one message to
each of F + 1 *active* acceptors; a leader of a higher ballot proposes what the acceptors have accepted, and abort where they have not. An acceptor accepts the instances of a transaction
together, by one forced record, when the last vote has come, and reports to the leader. F + 1 acceptors have decided. The leader answers the client, and sends the outcome to the participants until all have
acknowledged.

The acceptors are the first 2F + 1 *members*: the leader and participants, in the order of their first steps. A participant that waits for too long *takes the lead*: it asks all to join a ballot
that is higher than all it knows, and proposes to those that have joined. As an acceptor accepts all instances or none, what it has accepted is a whole outcome; votes that were not
accepted count as not given.

- **A refusal** decides at once. Nobody else may propose commit for this participant, and it never will: it has written its refusal into the row of its branch before it says NO, to the leader alone.
- **A participant that has ended**, or has never voted, has no branch. When somebody asks it, it answers from the row of its branch, under the key ``(tx, "branch")``: that of a branch that was committed,
  or of one that never will be; where there is no row, it writes a tombstone first, and will never vote for commit. So acceptors that are participants may forget what they have accepted with the outcome: the row outlives
  it, and says more.
- **A leader on a node of its own** has no rows. One that knows nothing of a transaction, after a crash, says nothing: it counts as one of the F that have failed. It does not forget before all have acknowledged,
  the abort as well; and where nothing but accepted proposals stands behind an abort, participants leave a tombstone before they acknowledge.
- **The client** is owed an answer by the leader of ballot 0. Another leader that has come to an outcome sends it to that one, too, until it acknowledges; before it ends its own branch it records that it has to.

With **F = 0** the leader is the only acceptor, its record is the commit record, and all of this is two-phase commit with presumed abort: nobody else can take the lead, refusals are not written down, who is
not known is aborted, and aborts are not acknowledged.

With **acceptors on nodes of their own** the leader and the participants are not acceptors, and the acceptors nothing else (`simtx.protocols.paxos_apart`). A vote says who leads and who takes part. The leader
receives no votes, so that it sends an abort to all: who is still at work rolls back afterwards, and who was never asked leaves a tombstone. It keeps nothing on disk, and after a crash leads no ballot again. An
acceptor has no rows. It keeps what it has promised and accepted until all participants have ended: then it gets word, or it asks. So a request that comes again after that is decided anew, as under two-phase commit.

**Invariants.**

1. An acceptor accepts nothing in a ballot lower than one that it has joined, crashes or not. So it forgets its record only when its branch has ended for good: a rollback is forced where there is one,
   and a tombstone stands behind it, also after a crash in between. Else a late copy of PREPARE would prepare the branch anew, and votes still on their way would be accepted in ballot 0.
2. A leader proposes one outcome in a ballot: what was accepted in the highest ballot of F + 1 acceptors, or abort if nothing was. It never leads a ballot twice with two proposals.
3. Nobody sends an outcome before F + 1 acceptors have accepted it, durably, or a row says it.
4. A participant with a tombstone or a refusal in its row never votes for commit.

**Costs.** Failure-free, N participants that write, a leader on a node of its own: N(F + 3) messages and N acknowledgements; 2N + F + 1 forced writes. The leader being a participant, which is how the paper counts
co-location: N(F + 3) - 3 messages and N - 1 acknowledgements. Acceptors on nodes of their own: (N + 1)(F + 3) - 2 messages, which is the count of the paper for that, N acknowledgements, and
F + 1 words that an acceptor may forget; the same forced writes. The paper counts neither acknowledgements nor the participants' N commit records.

**Known weaknesses.** A participant that only reads votes and gets the outcome like all others; two-phase commit lets it go after its vote. Without more than F acceptors that are up, those in doubt are blocked, as under two-phase
commit. The rows have to be kept for longer than anybody may be in doubt (`Policies.dedup_retention`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, get_args

from simtx.arguments import require
from simtx.errors import ScenarioError
from simtx.protocols.built_in import DEFAULT_POLICIES, BuiltIn, require_choice
from simtx.protocols.contract import Machine, Plan, Promise
from simtx.protocols.names import COORDINATOR
from simtx.protocols.paxos_apart import ApartLeader, ApartParticipant, PaxosAcceptor, council
from simtx.protocols.paxos_leader import PaxosLeader
from simtx.protocols.paxos_participant import LeadingParticipant, PaxosParticipant
from simtx.protocols.policies import POLICIES, Policies

__all__ = [
    "ApartLeader",
    "ApartParticipant",
    "LeadingParticipant",
    "PaxosAcceptor",
    "PaxosCommit",
    "PaxosLeader",
    "PaxosParticipant",
]

Leader = Literal["own", "participant"]
Acceptors = Literal["members", "nodes"]
MOST_FAULTS: Final = 10


@dataclass(frozen=True, kw_only=True)
class PaxosCommit(BuiltIn):
    """Paxos Commit: a strategy (`simtx.protocols.contract.Strategy`).

    Attributes:
        faults: F, how many of the 2F + 1 acceptors may be down; with 0 it is two-phase commit.
        leader: Where the first leader is: on a node of its ``"own"``, or on that of the first ``"participant"``, which clients then turn to.
        acceptors: Who they are: the first ``"members"`` of each transaction, or ``"nodes"`` of their own, ``acceptor-1`` to ``acceptor-3`` for F = 1, which are nothing else.
        policies: Timeouts; None: the scenario's.

    Raises:
        ScenarioError: An option has a value that is not available.
    """

    faults: int = 1
    leader: Leader = "own"
    acceptors: Acceptors = "members"
    policies: Policies | None = None
    hub: str | None = field(init=False, repr=False, default=COORDINATOR)
    presumption: str | None = field(init=False, repr=False, default=None)
    further_nodes: tuple[str, ...] = field(init=False, repr=False, default=())

    name: ClassVar[str] = "paxos-commit"
    promise: ClassVar[Promise] = "decided"
    uses_broker: ClassVar[bool] = False
    label: ClassVar[str] = "Paxos Commit"
    timeouts: ClassVar = ("vote_timeout", "acknowledgement_timeout", "inquiry_timeout", "idle_timeout")
    asks: ClassVar = ("Transact", "Prepare", "Commit", "Rollback")

    def __post_init__(self) -> None:
        faults: Any = self.faults
        if type(faults) is not int or not 0 <= faults <= MOST_FAULTS:
            raise ScenarioError(f"faults = {faults!r}: use a whole number from 0 to {MOST_FAULTS}", "PaxosCommit")
        require_choice(self.leader, get_args(Leader), "leader", "PaxosCommit")
        require_choice(self.acceptors, get_args(Acceptors), "acceptors", "PaxosCommit")
        if self.acceptors == "nodes":
            self._apart()
        require(POLICIES, self.policies, "policies", "PaxosCommit")
        if self.leader == "participant":
            object.__setattr__(self, "hub", None)
        elif not self.faults:
            object.__setattr__(self, "presumption", "abort")

    def _apart(self) -> None:
        if self.leader != "own":
            raise ScenarioError(
                "acceptors = 'nodes' takes a leader on a node of its own, too: leave out leader = 'participant'",
                "PaxosCommit",
            )
        if not self.faults:
            raise ScenarioError(
                "acceptors = 'nodes' with faults = 0 is two-phase commit with one node more: use faults = 1 or more",
                "PaxosCommit",
            )
        object.__setattr__(self, "further_nodes", council(self.faults))

    def machine(self, node: str, tx: int) -> Machine:
        """A blank leader or participant."""
        policies = self.policies or DEFAULT_POLICIES
        if self.hub is None:
            return LeadingParticipant(node, tx, policies, self.faults)
        if self.further_nodes:
            apart = (
                PaxosAcceptor if node in self.further_nodes else ApartLeader if node == self.hub else ApartParticipant
            )
            return apart(node, tx, policies, self.faults)
        kind = PaxosLeader if node == self.hub else PaxosParticipant
        return kind(node, tx, policies, self.faults)

    def check(self, plan: Plan) -> str | None:
        """A transaction takes enough services to have 2F + 1 acceptors, unless these are nodes of their own; none is called like another node."""
        services = plan.services()
        if not services:
            return "the transaction has no steps; Paxos Commit needs at least one"
        if self.hub in services:
            return f"a service is named '{self.hub}', which Paxos Commit needs for its leader: give the service another name"
        for name in self.further_nodes:
            if name in services:
                return f"a service is named '{name}', which Paxos Commit needs for an acceptor: give the service another name"
        if self.further_nodes:
            return None
        members = len(services) + (self.hub is not None)
        if members <= 2 * self.faults:
            most = (members - 1) // 2
            return (
                f"faults = {self.faults} takes {2 * self.faults + 1} acceptors, and the transaction has {members}, the leader included: "
                f"use faults = {most} or less"
            )
        return None
