"""A node: it plays the machines of its role, and forgets what is volatile when it crashes."""

from __future__ import annotations

from simtx.protocols import Timer
from simtx.protocols.breaker import CircuitBreaker
from simtx.protocols.names import DAEMON
from simtx.simulator.actor import BUSY, SUBMITTING, Actor
from simtx.simulator.interpreter import Interpreter


class Node(Interpreter):
    """A process with a log device and, if it is a service, workers and a store."""

    __slots__ = ()

    def crash(self) -> None:
        """Lose everything volatile: machines, timers, open local transactions, and the lazy records not yet on disk."""
        if not self.up:
            return
        self.up = False
        self.paused = False
        self.unusual = True
        if self.journal is not None:
            self.journal.fault("crash")
        # By transaction, too: machines share the records that are the same for all transactions of a kind.
        gone = {(tx, id(record)) for since, tx, record in self.lazy if self.buffered(since)}
        if gone:
            left = {
                tx: [record for record in records if (tx, id(record)) not in gone]
                for tx, records in self.durable.items()
            }
            self.durable = {tx: records for tx, records in left.items() if records}
        for since, tx, records in self.endings:
            kept = [record for record in records if (tx, id(record)) not in gone]
            if kept and self.buffered(since) and tx not in self.durable:
                self.durable[tx] = (
                    kept  # that it was forgotten is lost, and perhaps the record that ended it: it is there again
                )
        self.lazy.clear()
        self.endings.clear()
        if self.store is not None:
            self.store.crash()
        kept_branches = self.store.prepared if self.store is not None else {}
        for actor in (*self.actors.values(), *self.daemons):
            actor.alive = False
            if actor.timers:
                for token in actor.timers.values():
                    token.owner = None
            if self.journal is not None and actor.phase:
                self.journal.lost(
                    actor,
                    actor.effects[actor.position - 1 :]
                    if actor.phase >= SUBMITTING
                    else actor.effects[actor.position :],
                )
            if actor.record is not None and actor.tx not in self.durable and actor.tx not in kept_branches:
                actor.record.actors -= 1
        known = set(self.actors)
        for tx in (*self.durable, *kept_branches):  # resurrected by a lost lazy record: the machine will be back
            if tx not in known:
                record = self.ledger.active.get(tx)
                if record is not None:
                    record.actors += 1
                known.add(tx)
        self.actors.clear()
        self.daemons.clear()
        self.backlog.clear()
        self.stalled.clear()
        self.breakers = {name: CircuitBreaker(b.policy) for name, b in self.breakers.items()}
        self.disk.crash()
        if self.pool is not None:
            self.pool.crash()

    def restart(self) -> None:
        """Come back with what is on disk: recover every machine that has records, then start the daemons."""
        if self.up:
            return
        self.up = True
        self.unusual = self.journal is not None or bool(self.breakers)
        if self.journal is not None:
            self.journal.fault("restart")
        branches = list(self.store.prepared) if self.store is not None else []
        for tx in sorted({*self.durable, *branches}):
            actor = self._spawn(tx, recovered=True)
            records = list(self.durable.get(tx, ()))
            prepared = self.store.record_of(tx) if self.store is not None else None
            if prepared is not None:
                records.append(prepared)
            actor.phase = BUSY
            effects = actor.machine.recover(records)
            if self.journal is not None and self.world.full_log:
                self.journal.recovered(actor, records, effects)
            self._run(actor, effects)
            if not self.up:
                return
        self.start_daemons()
        if self.world.broker is not None:
            self.world.broker.connected(self.name)

    def start_daemons(self) -> None:
        """Start the long-running machines of this node."""
        for machine in self.world.strategy.daemons(self.name):
            daemon = Actor(machine, DAEMON, None)
            self.daemons.append(daemon)
            self._play(daemon, Timer("start"))

    def pause(self) -> None:
        """Stop handling anything, as a long garbage collection or a stopped process does."""
        if self.up:
            self.paused = self.unusual = True

    def unpause(self) -> None:
        """Go on after a pause: what came in meanwhile is handled in its order."""
        self.paused = False
        self.unusual = not self.up or self.journal is not None or bool(self.breakers)
        backlog, self.backlog = self.backlog, []
        for position, (callback, argument) in enumerate(backlog):
            if self.paused or not self.up:
                self.backlog.extend(backlog[position:])
                return
            callback(argument)

    def begin_outage(self) -> None:
        """The store and the log stop answering."""
        self.outage = True
        self.disk.stall()

    def end_outage(self) -> None:
        """The store answers again."""
        self.outage = False
        self.disk.resume()
        stalled, self.stalled = self.stalled, []
        for work in stalled:
            if work.actor.alive:
                self._submit(work)
