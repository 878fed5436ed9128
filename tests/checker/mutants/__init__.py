"""Seeded defects: each is one classic mistake, made in a small subclass of our machines."""

from . import outbox, saga, three_phase, two_phase
from .harmless import HARMLESS

ALL = (*two_phase.MUTANTS, *saga.MUTANTS, *outbox.MUTANTS, *three_phase.MUTANTS)

__all__ = ["ALL", "HARMLESS"]
