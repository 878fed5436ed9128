"""Seeded defects: each is one classic mistake, made in a small subclass of our machines."""

from . import outbox, saga, three_phase, two_phase

ALL = (*two_phase.MUTANTS, *saga.MUTANTS, *outbox.MUTANTS, *three_phase.MUTANTS)
HARMLESS = (*two_phase.HARMLESS, *saga.HARMLESS, *outbox.HARMLESS)
