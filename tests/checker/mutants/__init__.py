"""Seeded defects: each is one classic mistake, made in a small subclass of our machines."""

from . import (
    dual_write,
    outbox,
    relay,
    saga,
    saga_participants,
    second_faults,
    three_phase,
    two_phase,
    two_phase_participants,
)
from .harmless import HARMLESS

ALL = (
    *two_phase.MUTANTS,
    *two_phase_participants.MUTANTS,
    *saga.MUTANTS,
    *saga_participants.MUTANTS,
    *outbox.MUTANTS,
    *relay.MUTANTS,
    *second_faults.MUTANTS,
    *dual_write.MUTANTS,
    *three_phase.MUTANTS,
)

__all__ = ["ALL", "HARMLESS"]
