"""The protocols: pure state machines, written once, hosted by the simulator, the real execution and the model checker.

`contract` says what a machine and its hosts owe each other, `policies` holds timeouts and retries. Each protocol is a strategy with its
machines; `strategy` finds one by name.
"""

from simtx.protocols.breaker import CircuitBreaker
from simtx.protocols.choreographed_saga import Choreography
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Answer,
    Append,
    Branch,
    CancelTimer,
    Commit,
    Decided,
    Delivery,
    Done,
    Effect,
    Event,
    Execute,
    Forget,
    Key,
    LogOnce,
    Machine,
    MarkOutbox,
    Message,
    Operation,
    OutboxRow,
    Outcome,
    Plan,
    Prepare,
    Promise,
    Publish,
    ReadOutbox,
    Record,
    Request,
    Rollback,
    SetTimer,
    Status,
    Step,
    StepKind,
    Strategy,
    Suspect,
    Timer,
    Transact,
    Transition,
)
from simtx.protocols.cornus import Cornus
from simtx.protocols.diagrams import to_dot, to_mermaid
from simtx.protocols.dual_write import DualWrite
from simtx.protocols.outbox import Outbox
from simtx.protocols.paxos_commit import PaxosCommit
from simtx.protocols.policies import Backoff, BreakerPolicy, Policies
from simtx.protocols.registry import LABELS, STRATEGIES, label, strategies, strategy
from simtx.protocols.relay import Courier, Poller, Relay
from simtx.protocols.saga import Saga
from simtx.protocols.tcc import TryConfirmCancel
from simtx.protocols.two_phase_commit import TwoPhaseCommit

__all__ = [
    "LABELS",
    "STRATEGIES",
    "Acknowledge",
    "Alert",
    "Answer",
    "Append",
    "Backoff",
    "Branch",
    "BreakerPolicy",
    "CancelTimer",
    "Choreography",
    "CircuitBreaker",
    "Commit",
    "Cornus",
    "Courier",
    "Decided",
    "Delivery",
    "Done",
    "DualWrite",
    "Effect",
    "Event",
    "Execute",
    "Forget",
    "Key",
    "LogOnce",
    "Machine",
    "MarkOutbox",
    "Message",
    "Operation",
    "Outbox",
    "OutboxRow",
    "Outcome",
    "PaxosCommit",
    "Plan",
    "Policies",
    "Poller",
    "Prepare",
    "Promise",
    "Publish",
    "ReadOutbox",
    "Record",
    "Relay",
    "Request",
    "Rollback",
    "Saga",
    "SetTimer",
    "Status",
    "Step",
    "StepKind",
    "Strategy",
    "Suspect",
    "Timer",
    "Transact",
    "Transition",
    "TryConfirmCancel",
    "TwoPhaseCommit",
    "label",
    "strategies",
    "strategy",
    "to_dot",
    "to_mermaid",
]
