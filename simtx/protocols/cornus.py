"""Log-once votes (Cornus): the votes stand in a store that all share, so that nobody has to wait for a coordinator.

**Law.** That of two-phase commit: all participants reach the same outcome, which is the one that the client was told. It is commit only if every participant durably voted for
it. And this: as long as the vote store can be reached, every participant that is up learns the outcome, whoever else is down.

**Source.** Z. Guo, X. Zeng, K. Wu, W.-C. Hwang, Z. Ren, X. Yu, M. Balakrishnan, P. Bernstein, "Cornus: Atomic Commit for a Cloud DBMS with Storage Disaggregation", PVLDB 16(2), 2022. Its ``LogOnce()`` is
the effect `simtx.protocols.contract.LogOnce`.

**Theory of operation.** The vote store has one row a transaction and participant, which is written once: a second write changes nothing, and gets what is there. **A transaction is committed if and only if every one
of its rows says yes.** Nobody decides; whoever has seen all rows, or one no, knows. A participant prepares its branch, writes yes, and sends the coordinator what is in its row. The coordinator
answers the client when the last YES has come, sends the outcome to all, and forgets; it writes nothing anywhere. Who has waited for too long, a participant in doubt or the coordinator, writes *no* for
everybody whose vote it does not know. The answers say what is in those rows now. One no: the transaction is aborted, and the silent participant will find the no in its row when it comes to vote. Only yes: it is committed.

**Why it is right.** A row never changes, so two who have read it agree on it. Commit is said only after all rows were seen to be yes, abort only after one was seen to be no: both cannot be. A yes is written only when its branch is
prepared, and a branch ends only when the outcome is known; so all branches are there when all rows are yes. When the store answers, one round trip gives every row a value: nobody stays in doubt.

- **A refusal** is written before it is said. Otherwise a late copy of PREPARE could still write a yes, while the client was told of an abort. (Cornus itself need not: there the work is done before, and no copy of it comes.)
- **A timeout decides nothing.** The coordinator whose patience is over asks the store like everybody else, for all may have voted yes, and their messages be lost.
- **Nobody acknowledges.** Who has missed COMMIT or ABORT asks the store. A coordinator that gets a YES in a transaction which it does not know, after a crash or after it has forgotten, says LOOK: do not wait.
- **The client** is owed an answer when the coordinator has crashed before it. So a participant that has found the outcome in the store sends it to the coordinator, until it says HEARD. It records that before it ends its branch.
- **A restart** with a branch in doubt writes the vote again, which gives what is there, and goes on from that.

**Assumptions.** The vote store does not lose what it has acknowledged, and its insert-if-absent is linearizable: one database with a primary key, or a replicated one that says so. It is as available as the transactions have to be.
While it is down, or out of reach, nobody can vote. Those in doubt are blocked then with their locks, as under two-phase commit without its coordinator. The rows have to be kept for longer than any message may be late and any
participant be away; here nobody removes them.

**Invariants.**

1. A row of the vote store never changes.
2. YES is sent only when the row says yes, NO only when it says no.
3. Nobody sends an outcome that the rows do not say: all yes, or one no.
4. A yes is written only for a branch that is prepared, by its own participant.

**Costs.** Failure-free, N participants, commit: 3N messages, 2N forced writes at the participants, and N requests to the vote store, all at once, each forced there. The coordinator forces nothing and keeps nothing. Refused by K of N: 3N - K messages,
N - K forced writes, N requests. In the paper the vote *is* the participant's prepare record, as its log is in the shared store: N writes in all before the answer. Here participants have databases of their own, so that the branch is
forced there, and the vote behind it. Who takes matters into its own hands needs at most N - 1 requests, all at once, one forced record, and two messages.

**Known weaknesses.** A participant that only reads votes and gets the outcome like all others; two-phase commit lets it go after its vote. The answer takes a round trip to the vote store and a forced write longer than under two-phase commit, which saves the
coordinator's. The vote store is one more thing that must not fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from simtx.arguments import require
from simtx.protocols.built_in import DEFAULT_POLICIES, BuiltIn
from simtx.protocols.contract import Machine, Plan, Promise
from simtx.protocols.cornus_coordinator import CornusCoordinator
from simtx.protocols.cornus_participant import CornusParticipant
from simtx.protocols.names import COORDINATOR
from simtx.protocols.policies import POLICIES, Policies

__all__ = ["Cornus", "CornusCoordinator", "CornusParticipant"]


@dataclass(frozen=True, kw_only=True)
class Cornus(BuiltIn):
    """Log-once votes in a shared store: a strategy (`simtx.protocols.contract.Strategy`).

    Attributes:
        policies: Timeouts; None: the scenario's.
    """

    policies: Policies | None = None
    hub: str | None = field(init=False, repr=False, default=COORDINATOR)

    name: ClassVar[str] = "cornus"
    promise: ClassVar[Promise] = "decided"
    uses_broker: ClassVar[bool] = False
    uses_vote_store: ClassVar[bool] = True
    label: ClassVar[str] = "log-once votes (Cornus)"
    timeouts: ClassVar = ("vote_timeout", "acknowledgement_timeout", "inquiry_timeout")
    asks: ClassVar = ("Prepare", "Commit", "Rollback", "LogOnce")

    def __post_init__(self) -> None:
        require(POLICIES, self.policies, "policies", "Cornus")

    def machine(self, node: str, tx: int) -> Machine:
        """A blank coordinator or participant."""
        kind = CornusCoordinator if node == COORDINATOR else CornusParticipant
        return kind(node, tx, self.policies or DEFAULT_POLICIES)

    def check(self, plan: Plan) -> str | None:
        """A transaction needs steps, and no service that is called like the coordinator."""
        services = plan.services()
        if not services:
            return "the transaction has no steps; log-once votes need at least one"
        if COORDINATOR in services:
            return f"a service is named '{COORDINATOR}', which log-once votes need for their coordinator: give the service another name"
        return None
