"""One engine of the loop in C and the world that it plays: what Python and C know of each other."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np

from simtx.engine import layout
from simtx.engine.generators import generators
from simtx.protocols.names import BROKER, CLIENT, VOTE_STORE
from simtx.simulator.network import spared
from simtx.simulator.world import World

_OTHERS: Final = {CLIENT: layout.CLIENT, BROKER: layout.BROKER, VOTE_STORE: layout.VOTES}
_NAMES: Final = {number: name for name, number in _OTHERS.items()}


class Binding:
    """One engine, bound to a world.

    Args:
        world: The world.
        library: The compiled loop.
        engine: An engine of it.

    Attributes:
        head: Data that C and Python both read and write.
        generators: Where C finds the generators of random numbers; None: it asks Python for them.
        names: Names of the nodes, in the order of their numbers.
        index: Numbers of the nodes, and those of the client, the broker and the vote store, by name.
    """

    def __init__(self, world: World, library: ctypes.CDLL, engine: int) -> None:
        self.world, self.library, self.engine = world, library, engine
        self.head: Any = library.engine_head(engine).contents
        self.generators = generators(library)
        if self.generators is not None:
            library.engine_generators(engine, ctypes.byref(self.generators.functions))
        self.names = list(world.nodes)
        self.index = {name: number for number, name in enumerate(self.names)} | _OTHERS

    def name(self, number: int) -> str:
        """Name of a node, or of somebody else."""
        return _NAMES.get(number) or self.names[number]

    def pull(self) -> None:
        """Copies the state of C to the parts that Python reads."""
        head, ledger = self.head, self.world.ledger
        gauges = self.library.engine_gauges(self.engine)
        for number, gauge in enumerate(ledger.gauges):
            for name in layout.GAUGE:
                setattr(gauge, name, getattr(gauges[number], name))
        ledger.undecided, ledger.unsettled, ledger.partial = head.undecided, head.unsettled, head.partial
        ledger.partial_time, ledger.partial_since = head.partial_time, head.partial_since
        figures = layout.Figures()
        for number, node in enumerate(self.world.nodes.values()):
            self.library.engine_figures(self.engine, number, ctypes.byref(figures))
            node.disk.busy_time = figures.disk_busy
            node.expired = figures.expired
            if node.pool is None or node.store is None:
                continue
            node.pool.restore(figures.busy_time, figures.busy, figures.since, figures.work)
            node.store.locks.taken, node.store.locks.held = figures.locks_taken, figures.locks_held
            for station, counted in (
                (node.pool.waiting, figures.waiting),
                (node.pool.served, figures.served),
                (node.store.locks.waits, figures.waits),
            ):
                station.restore(
                    counted.arrivals,
                    counted.departures,
                    counted.present,
                    counted.stayed,
                    counted.entries,
                    counted.exits,
                )

    def push(self) -> None:
        """Writes the changes of Python's part to the state of C."""
        head, ledger = self.head, self.world.ledger
        gauges = self.library.engine_gauges(self.engine)
        for number, gauge in enumerate(ledger.gauges):
            for name in layout.GAUGE:
                setattr(gauges[number], name, getattr(gauge, name))
        head.partial_time, head.partial_since, head.measuring = (
            ledger.partial_time,
            ledger.partial_since,
            int(ledger.measuring),
        )
        for number, node in enumerate(self.world.nodes.values()):
            if node.pool is not None:
                self.library.engine_account(self.engine, number, *node.pool.accounted())
            factor = node.pool.factor if node.pool is not None else 1.0
            self.library.engine_factors(self.engine, number, factor, node.timer_factor)
            provider = node.provider
            if provider is not None:
                behaviour = provider.behaviour
                self.library.engine_set_provider(self.engine, number, provider.up, behaviour.factor, behaviour.silent)
        for (source, destination), link in self.world.links.items():  # those that a fault has touched
            chances = ((bool(one), spared(one)) for one in (link.reorder, link.duplication, link.loss))
            flat = [value for chance in chances for value in chance]
            place = self.library.engine_link_number(self.engine, self.index[source], self.index[destination])
            self.library.engine_set_link(self.engine, place, link.blocked, *flat)


def view(address: int, size: int) -> Any:
    """Memory of C's as bytes, without a copy."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
