"""Nodes, processes, the broker and the sampler of a world that C plays, as faults, samples and results look at them."""

from __future__ import annotations

import ctypes
from array import array
from typing import TYPE_CHECKING, Protocol

from simtx.simulator.broker import Broker
from simtx.simulator.compiled.binding import Binding, view
from simtx.simulator.disk import Disk
from simtx.simulator.host import Process
from simtx.simulator.node import AimedCrash, Node
from simtx.simulator.sampler import Sampler
from simtx.simulator.vote_store import VoteStore

if TYPE_CHECKING:
    from simtx.scenario import BrokerSpec


class Strikes(Protocol):
    """The loop, as faults strike nodes through it."""

    def crash(self, name: str) -> None:
        """A node loses everything volatile."""

    def restart(self, name: str) -> None:
        """A node comes back with what is on disk."""

    def aim(self, name: str, armed: AimedCrash) -> None:
        """Aim a crash at one effect of one transaction."""

    def strike(self, function: str, name: str) -> None:
        """A fault begins or ends at a node: C has a function for it."""


class CompiledNode(Node):
    """A node as faults see it."""

    __slots__ = ("loop",)
    loop: Strikes

    def crash(self) -> None:
        """Lose everything volatile."""
        self.loop.crash(self.name)

    def restart(self) -> None:
        """Come back with what is on disk."""
        self.loop.restart(self.name)

    def arm(self, armed: AimedCrash) -> None:
        """Aim a crash at one effect of one transaction."""
        self.loop.aim(self.name, armed)

    def pause(self) -> None:
        """Stop handling anything."""
        self.loop.strike("engine_pause", self.name)

    def unpause(self) -> None:
        """Handle what came in meanwhile."""
        self.loop.strike("engine_unpause", self.name)

    def begin_outage(self) -> None:
        """The store and the log stop answering."""
        self.loop.strike("engine_begin_outage", self.name)

    def end_outage(self) -> None:
        """The store answers again."""
        self.loop.strike("engine_end_outage", self.name)


def _nothing(_: int) -> float:
    return 0.0


class CompiledBroker(Broker):
    """The broker as faults see it."""

    def __init__(self, bound: Binding, spec: BrokerSpec) -> None:
        super().__init__(bound.world, spec, _nothing, _nothing)
        self._bound = bound

    def crash(self) -> None:
        """Stop answering."""
        self.up = False
        kept = self.spec.deduplication_after_restart
        self._bound.library.engine_broker_crash(
            self._bound.engine, int(self.spec.ack == "memory"), int(kept == "all"), int(kept == "stored")
        )

    def restart(self) -> None:
        """Answer again, and deliver what waits."""
        self.up = True
        self._bound.library.engine_broker_restart(self._bound.engine)


class CompiledVoteStore(VoteStore):
    """The vote store as faults see it."""

    def __init__(self, bound: Binding, disk: Disk) -> None:
        super().__init__(bound.world, disk)
        self._bound = bound

    def crash(self) -> None:
        """Stop answering."""
        self.up = False
        self._bound.library.engine_votes_crash(self._bound.engine)

    def restart(self) -> None:
        """Answer again."""
        self.up = True
        self._bound.library.engine_votes_restart(self._bound.engine)


class CompiledProcess(Process):
    """A process on a host, as what it counts is asked for."""

    __slots__ = ("_bound", "_number")

    def __init__(self, process: Process, bound: Binding, number: int) -> None:
        super().__init__(process.host, process.spec)
        self._bound, self._number = bound, number

    def account(self) -> float:
        """Seconds in which there was something to do, until now."""
        return float(self._bound.library.engine_process_busy(self._bound.engine, self._number))


class CompiledSampler(Sampler):
    """Samples the levels that C counts, which takes those by the clock itself."""

    def __init__(self, bound: Binding) -> None:
        super().__init__(bound.world)
        self._bound = bound
        self._row = array("d", [0.0] * len(self.timeline.names))

    def start(self) -> None:
        """Begin at once, and go on by the clock: its distance doubles behind the last arrival after so many samples; 0: never."""
        self._bound.library.engine_start_samples(self._bound.engine, *self._clock.pace)

    def take(self, *, whole: bool = True) -> None:
        """Take a sample now; `whole`: all that happens at this time has happened."""
        library, engine, row = self._bound.library, self._bound.engine, self._row
        cells = ctypes.c_int64()
        address = library.engine_samples(engine, ctypes.byref(cells))  # since they were asked for last
        self.timeline.add_rows(view(address, 8 * cells.value).data if cells.value else memoryview(b""))
        count = library.engine_sample(engine, (ctypes.c_double * len(row)).from_buffer(row))
        if count != len(row):
            raise AssertionError(f"C has {count} figures for the {len(row)} columns of the timeline")
        self.timeline.add_row(row, whole=whole)
