"""Tables say which sort of event they mean: a message that bears the name of a timer is not taken for it."""

from __future__ import annotations

import pytest

from simtx.errors import PeerFault, ProtocolViolation
from simtx.protocols import Machine, Message, Timer, Transition
from simtx.protocols.dual_write import DualWriteService
from simtx.protocols.outbox import OutboxService
from simtx.protocols.relay import Courier, Poller, Relay
from simtx.protocols.saga import Orchestrator
from simtx.protocols.saga_participant import Participant as SagaParticipant
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_execution import ExecutingCoordinator, ExecutingParticipant
from simtx.protocols.two_phase_participant import Participant

MACHINES = (
    Coordinator,
    Participant,
    ExecutingCoordinator,
    ExecutingParticipant,
    Orchestrator,
    SagaParticipant,
    OutboxService,
    Relay,
    Poller,
    Courier,
    DualWriteService,
)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_every_row_of_ours_says_which_sort_of_event_it_means(machine: type[Machine]) -> None:
    assert [row for row in machine.transitions if row.of is None] == []


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_a_message_with_the_name_of_a_timer_does_not_fire_it(machine: type[Machine]) -> None:
    for row in machine.transitions:
        names = {other.event for other in machine.transitions if other.state == row.state and other.of == "message"}
        if row.of != "timer" or row.event in names:
            continue
        one = object.__new__(machine)
        one.node, one.tx, one.state = "s1", 0, row.state
        with pytest.raises((PeerFault, ProtocolViolation)):
            one.handle(Message(row.event, 0, "elsewhere", "s1"))


def test_a_state_may_have_a_row_for_each_sort() -> None:
    class Both(Machine):
        __slots__ = ()
        initial = "on"
        transitions = (
            Transition("on", "ring", "told", ("on",), of="message"),
            Transition("on", "ring", "fired", ("off",), of="timer"),
        )

        def told(self, event: object) -> list[object]:
            return []

        def fired(self, event: object) -> list[object]:
            self.state = "off"
            return []

    one = Both("s1", 0)
    one.handle(Message("ring", 0, "s2", "s1"))
    assert one.state == "on"
    one.handle(Timer("ring"))
    assert one.state == "off"
