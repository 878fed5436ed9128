"""The protocols: pure state machines, written once, hosted by the simulator, the real execution and the model checker.

`contract` says what a machine and its hosts owe each other, `policies` holds timeouts and retries. Each protocol is a strategy with its
machines; `strategy` finds one by name.
"""

from simtx.protocols import contract
from simtx.protocols.breaker import CircuitBreaker
from simtx.protocols.choreographed_saga import Choreography
from simtx.protocols.contract import *  # noqa: F403 - what it exports is what machines and hosts speak
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
    "Backoff",
    "BreakerPolicy",
    "Choreography",
    "CircuitBreaker",
    "Cornus",
    "Courier",
    "DualWrite",
    "Outbox",
    "PaxosCommit",
    "Policies",
    "Poller",
    "Relay",
    "Saga",
    "TryConfirmCancel",
    "TwoPhaseCommit",
    "label",
    "strategies",
    "strategy",
    "to_dot",
    "to_mermaid",
]
__all__ += contract.__all__
