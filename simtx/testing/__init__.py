"""Conformance: what every store, broker and host has to keep for the machines, as laws that can be checked on one of your own.

The project's own tests run the same laws, on what is simulated and on what is real.
"""

from simtx.testing.brokers import BROKER_LAWS, broker_laws, check_broker
from simtx.testing.hosts import HOST_LAWS, check_host
from simtx.testing.laws import Law, LawBroken
from simtx.testing.outboxes import OUTBOX_LAWS, Threaded, check_outbox
from simtx.testing.simulated import simulated_broker, simulated_stores
from simtx.testing.stores import STORE_LAWS, check_store

__all__ = [
    "BROKER_LAWS",
    "HOST_LAWS",
    "OUTBOX_LAWS",
    "STORE_LAWS",
    "Law",
    "LawBroken",
    "Threaded",
    "broker_laws",
    "check_broker",
    "check_host",
    "check_outbox",
    "check_store",
    "simulated_broker",
    "simulated_stores",
]
