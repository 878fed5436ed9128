"""Seeded defects: each is one classic mistake, made in a small subclass of our machines."""

from . import (
    choreography,
    contents,
    cornus,
    dual_write,
    operator,
    outbox,
    paxos,
    relay,
    saga,
    saga_participants,
    second_faults_outbox,
    second_faults_saga,
    second_faults_two_phase,
    tcc,
    three_phase,
    two_phase,
    two_phase_participants,
    two_phase_variants,
    versions,
)
from .harmless import HARMLESS

ALL = (
    *two_phase.MUTANTS,
    *two_phase_participants.MUTANTS,
    *two_phase_variants.MUTANTS,
    *paxos.MUTANTS,
    *cornus.MUTANTS,
    *tcc.MUTANTS,
    *saga.MUTANTS,
    *saga_participants.MUTANTS,
    *outbox.MUTANTS,
    *relay.MUTANTS,
    *choreography.MUTANTS,
    *second_faults_two_phase.MUTANTS,
    *second_faults_saga.MUTANTS,
    *second_faults_outbox.MUTANTS,
    *operator.MUTANTS,
    *dual_write.MUTANTS,
    *contents.MUTANTS,
    *three_phase.MUTANTS,
    *versions.MUTANTS,
)

__all__ = ["ALL", "HARMLESS"]
