"""Conformance: what every strategy, store, broker and host has to keep, as laws that can be checked on one of your own; and a world to play by hand.

The project's own tests run the same laws, on what is simulated and on what is real.
"""

from simtx.testing.brokers import BROKER_LAWS, broker_laws, check_broker
from simtx.testing.hosts import HOST_LAWS, check_host
from simtx.testing.laws import Law, LawBroken
from simtx.testing.outboxes import OUTBOX_LAWS, Threaded, check_outbox
from simtx.testing.scripted import ScriptedWorld, chain
from simtx.testing.simulated import simulated_broker, simulated_stores
from simtx.testing.stores import STORE_LAWS, check_store
from simtx.testing.strategies import STRATEGY_LAWS, check_strategy

__all__ = [
    "BROKER_LAWS",
    "HOST_LAWS",
    "OUTBOX_LAWS",
    "STORE_LAWS",
    "STRATEGY_LAWS",
    "Law",
    "LawBroken",
    "ScriptedWorld",
    "Threaded",
    "broker_laws",
    "chain",
    "check_broker",
    "check_host",
    "check_outbox",
    "check_store",
    "check_strategy",
    "simulated_broker",
    "simulated_stores",
]
