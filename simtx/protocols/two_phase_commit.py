"""Two-phase commit with presumed abort.

**Law.** All participants of a transaction reach the same outcome, which is that of the client's answer. It is commit only if every participant
durably voted YES (or voted READ, having written nothing).

**Sources.** J. Gray, "Notes on data base operating systems", 1978 (two-phase commit); C. Mohan, B. Lindsay, R. Obermarck, "Transaction
management in the R* distributed database management system", ACM TODS 11(4), 1986 (presumed abort, read-only votes, what is forced and
what is not); B. Lampson, D. Lomet, "A new presumed commit optimization for two phase commit", VLDB 1993 (the costs side by side).

**Theory of operation.** The coordinator sends PREPARE; each participant does its work, forces it to disk together with a ``prepared``
record, and votes YES; from then on it is in doubt and holds its locks. When all votes are YES or READ, the coordinator forces a
``commit`` record. That write is the decision. Only then the client is answered and COMMIT is sent, again and again, until all YES voters
have acknowledged; then everything is forgotten. A NO or a missing vote aborts, and an abort needs no forced write, no acknowledgement
and no memory: whoever asks about a transaction that the coordinator does not know gets ABORT. *No commit record means abort*: this is all
that a restarted coordinator has to know. It is also why it may forget a commit only after the last acknowledgement.

By default PREPARE carries the work of the participant, so that execution costs no messages. That makes a late copy of PREPARE dangerous:
a participant that has committed and forgotten would do the work once more and vote; and a coordinator that still collects
acknowledgements would tell it COMMIT. So the branch commits a row under the key ``(tx, "branch")``, and a copy that finds it is dropped
in silence: whoever committed owes only an ACK, and a lost ACK is repeated upon the next COMMIT. The row has to be kept for longer than
the network may delay a message.

**Invariants.**

1. A participant votes YES only when its branch is durably prepared, and then leaves it only on the coordinator's word.
2. The coordinator sends COMMIT to nobody, and the client no answer, before the commit record is durable.
3. The coordinator forgets a commit only when every YES voter has durably committed. So a YES or an inquiry for an unknown transaction
   comes from a participant that may abort, or that is already through with it.
4. Votes and acknowledgements count by participant; the first vote counts. Copies change nothing.
5. Failure-free with N updating participants: 4N messages (N of them acknowledgements) and 2N + 1 forced writes. Refused by K of N:
   3N - K messages and N - K forced writes. A read-only participant takes two messages and no write; if all are, nothing is logged.

**Assumption.** The client's request for one transaction number arrives once. After an abort nothing durable is left by which a second request
could be recognised. After a commit the participants drop a second PREPARE in silence, so that its vote would end in an abort. A client
may ask again as long as its request has reached nobody; hosts see to that (`simtx.verify("2pc", repeats=1)` shows what happens otherwise).

**Known weaknesses.** While the coordinator is down or cut off, participants in doubt are blocked and keep their locks. A read-only
participant releases its locks with its vote; if work travels with PREPARE, others may not yet have acquired theirs then, so that such
transactions are atomic but not always serializable. With ``work="before"`` all locks are held until all work is done.

**Variants**, each with its theory in a module of its own: `simtx.protocols.two_phase_execution` (``work="before"``),
`simtx.protocols.two_phase_presumed` (``presumption="commit"``), `simtx.protocols.two_phase_termination` (``termination="cooperative"``), `simtx.protocols.two_phase_last` (``one_phase``, ``last_resource``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from simtx.arguments import require
from simtx.errors import ScenarioError
from simtx.protocols.built_in import DEFAULT_POLICIES, BuiltIn, require_choice
from simtx.protocols.contract import Machine, Plan, Promise
from simtx.protocols.names import COORDINATOR
from simtx.protocols.policies import POLICIES, Policies
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_execution import ExecutingCoordinator, ExecutingParticipant
from simtx.protocols.two_phase_last import LastResourceCoordinator, LastResourceParticipant
from simtx.protocols.two_phase_participant import Participant
from simtx.protocols.two_phase_presumed import PresumedParticipant, PresumingCoordinator
from simtx.protocols.two_phase_termination import CooperativeParticipant, NamingCoordinator

__all__ = [
    "CooperativeParticipant",
    "Coordinator",
    "ExecutingCoordinator",
    "ExecutingParticipant",
    "LastResourceCoordinator",
    "LastResourceParticipant",
    "NamingCoordinator",
    "Participant",
    "PresumedParticipant",
    "PresumingCoordinator",
    "TwoPhaseCommit",
]

Presumption = Literal["abort", "commit"]
Work = Literal["with-prepare", "before"]
Termination = Literal["coordinator", "cooperative"]


@dataclass(frozen=True, kw_only=True)
class TwoPhaseCommit(BuiltIn):
    """Two-phase commit, with presumed abort or presumed commit (Mohan, Lindsay and Obermarck 1986): a strategy, as `simtx.protocols.contract.Strategy` describes it.

    Attributes:
        presumption: What a coordinator concludes about a transaction that it does not know: ``"abort"`` or ``"commit"``.
        work: ``"with-prepare"``: PREPARE carries all operations of a service, so that execution costs no messages and steps on
            different services run in parallel, whatever their order. ``"before"``: the steps are executed along their graph first,
            under locks, and then the vote begins.
        termination: Whom a participant in doubt asks: the ``"coordinator"``, or, ``"cooperative"``, the other participants as well.
        one_phase: Whether a transaction of one service skips the vote: the service does its part at once.
        last_resource: The one service that cannot prepare, and does its part when all others have promised; None: there is none.
        policies: Timeouts; None: the scenario's.

    Raises:
        ScenarioError: An option has a value that is not available, or two of them exclude each other.
    """

    presumption: Presumption = "abort"
    work: Work = "with-prepare"
    termination: Termination = "coordinator"
    one_phase: bool = False
    last_resource: str | None = None
    policies: Policies | None = None

    name: ClassVar[str] = "2pc"
    promise: ClassVar[Promise] = "decided"
    uses_broker: ClassVar[bool] = False
    hub: ClassVar[str] = COORDINATOR
    label: ClassVar[str] = "two-phase commit"
    timeouts: ClassVar = ("vote_timeout", "acknowledgement_timeout", "inquiry_timeout", "idle_timeout")
    asks: ClassVar = ("Transact", "Execute", "Prepare", "Commit", "Rollback")

    def __post_init__(self) -> None:
        require_choice(self.presumption, get_args(Presumption), "presumption", "TwoPhaseCommit")
        require_choice(self.work, get_args(Work), "work", "TwoPhaseCommit")
        require_choice(self.termination, get_args(Termination), "termination", "TwoPhaseCommit")
        if not isinstance(self.one_phase, bool):
            raise ScenarioError(f"one_phase = {self.one_phase!r}: use true or false", "TwoPhaseCommit")
        last: Any = self.last_resource
        if last is not None and (not isinstance(last, str) or not last):
            raise ScenarioError(f"last_resource = {last!r}: use the name of a service, or None", "TwoPhaseCommit")
        self._check_together()
        require(POLICIES, self.policies, "policies", "TwoPhaseCommit")

    def _check_together(self) -> None:
        """Some options exclude each other."""
        chosen = [
            text
            for given, text in (
                (self.presumption == "commit", 'presumption = "commit"'),
                (self.work == "before", 'work = "before"'),
                (self.termination == "cooperative", 'termination = "cooperative"'),
                (self.one_phase or self.last_resource is not None, "one_phase or last_resource"),
            )
            if given
        ]
        if len(chosen) > 1:
            raise ScenarioError(f"{chosen[0]} and {chosen[1]} exclude each other: choose one", "TwoPhaseCommit")

    def machine(self, node: str, tx: int) -> Machine:
        """A blank coordinator or participant."""
        policies = self.policies or DEFAULT_POLICIES
        if self.presumption == "commit":
            return (PresumingCoordinator if node == COORDINATOR else PresumedParticipant)(node, tx, policies)
        if self.termination == "cooperative":
            return (
                NamingCoordinator(node, tx, policies)
                if node == COORDINATOR
                else CooperativeParticipant(node, tx, policies)
            )
        if self.one_phase or self.last_resource is not None:
            if node != COORDINATOR:
                return LastResourceParticipant(node, tx, policies)
            return LastResourceCoordinator(node, tx, policies, self.last_resource or "", self.one_phase)
        if self.work == "with-prepare":
            return Coordinator(node, tx, policies) if node == COORDINATOR else Participant(node, tx, policies)
        return (
            ExecutingCoordinator(node, tx, policies)
            if node == COORDINATOR
            else ExecutingParticipant(node, tx, policies)
        )

    def check(self, plan: Plan) -> str | None:
        """Every plan can be played, except that no service may be called like the coordinator, and the last resource must have a step."""
        services = plan.services()
        if COORDINATOR in services:
            return f"a service is named '{COORDINATOR}', which two-phase commit needs for its coordinator: give the service another name"
        if self.last_resource is not None and self.last_resource not in services:
            choices = ", ".join(services)
            return f"no step is on the last resource '{self.last_resource}': use one of the services {choices}"
        return None
