"""What a seeded defect is, and the strategies that play one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simtx.protocols import DualWrite, Outbox, Policies, Relay, Saga, Strategy, TwoPhaseCommit
from simtx.protocols.built_in import DEFAULT_POLICIES
from simtx.protocols.choreographed_saga import Choreography
from simtx.protocols.choreographed_service import ChoreographedService
from simtx.protocols.contract import Machine
from simtx.protocols.cornus import Cornus, CornusCoordinator, CornusParticipant
from simtx.protocols.dual_write import DualWriteService
from simtx.protocols.outbox import OutboxService
from simtx.protocols.paxos_commit import PaxosAcceptor, PaxosCommit, PaxosLeader, PaxosParticipant
from simtx.protocols.saga import Orchestrator
from simtx.protocols.saga_participant import Participant as SagaParticipant
from simtx.protocols.tcc import TccCoordinator, TryConfirmCancel
from simtx.protocols.tcc_participant import TccParticipant
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_last import LastResourceCoordinator, LastResourceParticipant
from simtx.protocols.two_phase_participant import Participant
from simtx.protocols.two_phase_presumed import PresumedParticipant, PresumingCoordinator
from simtx.protocols.two_phase_termination import CooperativeParticipant, NamingCoordinator


@dataclass(frozen=True)
class Mutant:
    """One seeded defect.

    Attributes:
        name: Short.
        defect: What is wrong, in a sentence.
        strategy: The strategy that has it.
        invariant: The property that it violates.
        scope: The smallest scope in which it shows; budgets that are not named are 0.
        correct: The same strategy without the defect, if it is not simply the one of its class.
        besides: What this strategy violates in this scope without the defect, too; only a dual write does.
        instead: What the scope holds without the defect, if that is in the scope: how a system is upgraded.
    """

    name: str
    defect: str
    strategy: Strategy
    invariant: str
    scope: dict[str, Any]
    correct: Strategy | None = None
    besides: frozenset[str] = frozenset()
    instead: Mapping[str, Any] = field(default_factory=dict)

    def without(self) -> tuple[Strategy, dict[str, Any]]:
        """Strategy and scope without the defect; rows that are pruned too early are one, too."""
        scope = {name: value for name, value in self.scope.items() if name != "retained"}
        return self.correct or type(self.strategy)(), {**scope, **self.instead}


@dataclass(frozen=True)
class Harmless:
    """A change that looks like a defect and is not, with the reason; or what our machines do and somebody may take for one.

    Attributes:
        name: Short.
        change: What is done, in a sentence.
        reason: Why that is sound.
        strategy: The strategy that does it.
        scopes: Scopes in which everything holds; budgets that are not named are 0.
        witness: (role, state, event) that has to occur in one of them, or nothing.
    """

    name: str
    change: str
    reason: str
    strategy: Strategy
    scopes: tuple[dict[str, Any], ...] = field(default=({},))
    witness: tuple[str, str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Commit2(TwoPhaseCommit):
    """Two-phase commit with other machines."""

    coordinator: type[Coordinator] = Coordinator
    participant: type[Participant] = Participant

    def machine(self, node: str, tx: int) -> Machine:
        kind = self.coordinator if node == self.hub else self.participant
        return kind(node, tx, self.policies or Policies())


@dataclass(frozen=True, kw_only=True)
class Cooperative2(TwoPhaseCommit):
    """Two-phase commit with cooperative termination, and other machines."""

    coordinator: type[Coordinator] = NamingCoordinator
    participant: type[Participant] = CooperativeParticipant

    def machine(self, node: str, tx: int) -> Machine:
        kind = self.coordinator if node == self.hub else self.participant
        return kind(node, tx, self.policies or Policies())


@dataclass(frozen=True, kw_only=True)
class Presumed2(TwoPhaseCommit):
    """Two-phase commit with presumed commit, and other machines."""

    presumption: Literal["abort", "commit"] = "commit"
    coordinator: type[Coordinator] = PresumingCoordinator
    participant: type[Participant] = PresumedParticipant

    def machine(self, node: str, tx: int) -> Machine:
        kind = self.coordinator if node == self.hub else self.participant
        return kind(node, tx, self.policies or Policies())


@dataclass(frozen=True, kw_only=True)
class Last2(TwoPhaseCommit):
    """Two-phase commit whose last resource is the first service, and other machines."""

    last_resource: str | None = "s1"
    coordinator: type[LastResourceCoordinator] = LastResourceCoordinator
    participant: type[LastResourceParticipant] = LastResourceParticipant

    def machine(self, node: str, tx: int) -> Machine:
        policies = self.policies or Policies()
        if node == self.hub:
            return self.coordinator(node, tx, policies, self.last_resource or "", one_phase=False)
        return self.participant(node, tx, policies)


@dataclass(frozen=True, kw_only=True)
class Paxos2(PaxosCommit):
    """Paxos Commit with other machines, its leader on a node of its own."""

    first: type[PaxosLeader] = PaxosLeader
    participant: type[PaxosParticipant] = PaxosParticipant

    def machine(self, node: str, tx: int) -> Machine:
        kind = self.first if node == self.hub else self.participant
        return kind(node, tx, self.policies or Policies(), self.faults)


@dataclass(frozen=True, kw_only=True)
class Apart2(PaxosCommit):
    """Paxos Commit with acceptors on nodes of their own, and other machines there."""

    acceptors: Literal["members", "nodes"] = "nodes"
    acceptor: type[PaxosAcceptor] = PaxosAcceptor

    def machine(self, node: str, tx: int) -> Machine:
        if node in self.further_nodes:
            return self.acceptor(node, tx, self.policies or Policies(), self.faults)
        return super().machine(node, tx)


@dataclass(frozen=True, kw_only=True)
class Cornus2(Cornus):
    """Log-once votes with other machines."""

    first: type[CornusCoordinator] = CornusCoordinator
    participant: type[CornusParticipant] = CornusParticipant

    def machine(self, node: str, tx: int) -> Machine:
        kind = self.first if node == self.hub else self.participant
        return kind(node, tx, self.policies or Policies())


@dataclass(frozen=True, kw_only=True)
class Tcc2(TryConfirmCancel):
    """Try-Confirm-Cancel with other machines."""

    coordinator: type[TccCoordinator] = TccCoordinator
    participant: type[TccParticipant] = TccParticipant

    def machine(self, node: str, tx: int) -> Machine:
        if node == self.hub:
            return self.coordinator(node, tx, self.policies or Policies())
        return self.participant(node, tx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga2(Saga):
    """A saga with other machines."""

    orchestrator: type[Orchestrator] = Orchestrator
    participant: type[SagaParticipant] = SagaParticipant

    def machine(self, node: str, tx: int) -> Machine:
        return self.orchestrator(node, tx, self) if node == self.hub else self.participant(node, tx)


@dataclass(frozen=True, kw_only=True)
class Outbox2(Outbox):
    """An outbox with other machines."""

    service: type[OutboxService] = OutboxService
    relay: type[Relay] = Relay

    def machine(self, node: str, tx: int) -> OutboxService:
        return self.service(node, tx, self.policies or DEFAULT_POLICIES, self.closing)

    def daemons(self, node: str) -> Any:
        return (self.relay(node, self.policies or DEFAULT_POLICIES),)


@dataclass(frozen=True, kw_only=True)
class Choreography2(Choreography):
    """A choreographed saga with other services."""

    service: type[ChoreographedService] = ChoreographedService

    def machine(self, node: str, tx: int) -> Machine:
        if node == self.hub:
            return super().machine(node, tx)
        return self.service(node, tx, self.policies or DEFAULT_POLICIES, self.hub or "", self.reader == "lock")


@dataclass(frozen=True, kw_only=True)
class Dual2(DualWrite):
    """A dual write with other machines."""

    service: type[DualWriteService] = DualWriteService

    def machine(self, node: str, tx: int) -> DualWriteService:
        return self.service(node, tx, self.policies or DEFAULT_POLICIES, self.order, self.acknowledge)
