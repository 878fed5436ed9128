"""Plays the loop in C. What is rare (faults, the ends of warm-up and arrivals) stays Python's, in a heap of its own: the loop returns when its turn has come.

Both count the order of scheduling together.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable
from heapq import heappop
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.engine import NotCompiled, layout, load_library
from simtx.engine.learn import Learner
from simtx.engine.plans import Plans, pointer
from simtx.engine.signals import HeldSignals
from simtx.metrics.guarantees import Watch
from simtx.metrics.still_open import StillOpen
from simtx.protocols import Strategy
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.relay import Relay
from simtx.simulator.compiled import results
from simtx.simulator.compiled.binding import Binding
from simtx.simulator.compiled.description import describe, describe_link
from simtx.simulator.compiled.keys import KeyNumbers
from simtx.simulator.compiled.parts import CompiledNode, CompiledSampler
from simtx.simulator.compiled.reasons import COUNTED, why_interpreted
from simtx.simulator.compiled.streams import StreamNumbers
from simtx.simulator.environment import URGENT
from simtx.simulator.last_values import CompiledValues, LastValues
from simtx.simulator.node import AimedCrash
from simtx.simulator.remembered import memory
from simtx.simulator.run_loop import RunLoop
from simtx.simulator.world import World
from simtx.workload.planner import arrival_pages

if TYPE_CHECKING:
    from simtx.scenario import Scenario

_FOLLOWED: Final = 16  # first transactions that the real machines play, too, beside every 4,096th
_FOLLOWED_AGAIN: Final = 1  # likewise, where the machines are known from an earlier run


class CompiledLoop(RunLoop):
    """Plays a world in C. It builds the world itself, since its nodes and its broker are those of C.

    Args:
        scenario: What to play.
        strategy: How to keep it consistent, with its policies filled in.
        seed: First part of the key of all random streams.
        replication: Second part.
        runs: How many runs of this kind there are, which all go on with what one has learned: so long may learning take. Without, as long as it likes.

    Raises:
        ScenarioError: The strategy cannot play this scenario.
        NotCompiled: It has to be interpreted.
        Unavailable: There is no compiled loop here.
    """

    def __init__(
        self, scenario: Scenario, strategy: Strategy, *, seed: int, replication: int, runs: float = math.inf
    ) -> None:
        self.runs = runs
        reason = why_interpreted(scenario, strategy)
        if reason:
            raise NotCompiled(reason)
        library = layout.bind(load_library())
        world = World(scenario, strategy, seed=seed, replication=replication, traced=False, kind_of_node=CompiledNode)
        super().__init__(world)
        self.scenario, self.strategy, self.env, self.ledger = world.scenario, world.strategy, world.env, world.ledger
        self._failure: BaseException | None = None
        self._complete = False
        self._armed: list[tuple[str, AimedCrash]] = []
        self._signals = HeldSignals()
        fills: list[Any] = []
        self._calls = layout.Calls(
            layout.LEARN(self._asking("learn")),
            layout.LEARN(self._asking("duplicate")),
            layout.FILL(self._filling(fills)),
            layout.PLAN(self._answering(self._plan)),
            layout.ARRIVALS(self._answering(self._more_arrivals)),
            layout.ENDED(self._answering(self._ended)),
            layout.LEARN(self._answering(self._link)),
            layout.LEARN(self._asking("delivery")),
            layout.LEARN(self._asking("courier")),
            layout.RECOVER(self._asking("recover")),
            layout.REPLAY(self._asking("replay")),
            layout.AIMED(self._answering(self._strike)),
            layout.LEARN(self._asking("vote")),
            layout.AIMED(self._answering(self._started)),
        )
        engine = library.engine_new(ctypes.byref(self._calls))
        if not engine:
            raise MemoryError("no memory for the compiled engine")
        self._bound = Binding(world, library, engine)
        self._head = self._bound.head
        self._streams, self._keys = StreamNumbers(self._bound, fills), KeyNumbers(self._bound)
        self._times = arrival_pages(scenario.workload, world.streams)
        self._arrived = 0  # times that C was given
        world.sampler = CompiledSampler(self._bound)
        self.env.sequence = self._sequence
        for node in world.nodes.values():
            if not isinstance(node, CompiledNode):
                raise AssertionError("the nodes are those of C")
            node.loop = self
        describe(self._bound, self._streams)
        self._plans = self._planned()
        self._learner = self._learning()
        self._begin()

    def release(self) -> None:
        """Give the memory of the compiled loop back; the world's results stay, and what was learned is kept for the next run."""
        bound: Binding | None = getattr(self, "_bound", None)  # none, if there was no loop to make
        if bound is None or not bound.engine:
            return
        if self._complete:
            self._learner.detach()
            if self._learner.detached:
                memory(self.scenario).give_back(self.strategy, self._learner)
        engine, bound.engine = bound.engine, 0
        bound.library.engine_free(engine)

    def __del__(self) -> None:
        self.release()

    @property
    def memory(self) -> int:
        """Bytes that C has taken."""
        return int(self._head.memory)

    def limit_memory(self, most: int) -> None:
        """Let C take no more than so many bytes: a run that needs more ends with a `MemoryError`."""
        self._head.memory_limit = most

    # --- plans and machines -------------------------------------------------------------------------------------------------------

    def _planned(self) -> Plans:
        bound, keys = self._bound, self._keys
        plans = Plans(self.scenario, self.world.streams, keys.number, keys.numbers, keys.numbered)
        self._head.slots, self._head.shared_slots = len(plans.slots), int(plans.shared)
        for slot in plans.booked:
            if bound.library.engine_book(bound.engine, slot) < 0:
                raise NotCompiled("its steps have too many operations")
        return plans

    def _learning(self) -> Learner:
        """A learner that knows these machines from an earlier run, or a new one."""
        learner = memory(self.scenario).learner(self.strategy)
        self._head.followed = _FOLLOWED if learner is None else _FOLLOWED_AGAIN
        if learner is None:
            learner = Learner(
                self._bound.library,
                self._bound.engine,
                self.strategy,
                self._bound.names,
                [name for name, node in self.world.nodes.items() if node.store is not None],
                self._plans.shapes,
                self._plans.opaque,
                [service for service, _ in self._plans.slots],
                self._aims(),
            )
        else:
            learner.attach(self._bound.engine)
        learner.expect(self.scenario.expected_transactions() * self.runs)
        return learner

    def _begin(self) -> None:
        head, learner = self._head, self._learner
        head.request[: len(learner.requests)] = learner.requests
        head.done_value, head.refused_value = learner.value("done"), learner.value("refused")
        head.tombstone_value = learner.value(TOMBSTONE)
        entries = learner.entry()
        if len(entries) != 1:
            raise NotCompiled("the entry node differs between transactions")
        head.entry = self._bound.index[entries.pop()]

    @property
    def learned(self) -> list[tuple[str, str, str, str, int]]:
        """Every pair of the automata: role, state, event, state afterwards, how often it was taken."""
        return self._learner.described()

    # --- what C calls -------------------------------------------------------------------------------------------------------------

    def _answering(self, function: Callable[..., int]) -> Callable[..., int]:
        """A function as C calls it: C cannot raise, so what it raises is kept for `_raise`, and C stops."""

        def answer(*arguments: Any) -> int:
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - `_raise` raises it
                self._failure = self._failure or error
                result = -1
            self._head.answered = 1
            return result

        return answer

    def _asking(self, name: str) -> Callable[..., int]:
        """A method of the learner as C calls it; it is looked up then, as the learner comes when there is an engine."""
        return self._answering(lambda *arguments: getattr(self._learner, name)(*arguments))  # noqa: PLW0108

    def _filling(self, fills: list[Any]) -> Callable[[int, int, int, int, int, int], int]:
        """The function that gives C random numbers, as it calls it: `_answering` in one piece, as no other is called so often."""
        pages: dict[int, tuple[Any, int]] = {}
        move = ctypes.memmove

        def fill(stream: int, major: int, minor: int, size: int, blocks: int, target: int) -> int:
            result = 0
            try:
                page = pages.get(size)
                if page is None:
                    numbers = np.empty(size)
                    page = pages[size] = numbers, pointer(numbers)
                if stream >= 0 and major >= 0:
                    fills[stream](major, minor, page[0], blocks)
                else:
                    self._streams.fill_together(stream, major, minor, target, page[0])
                move(target, page[1], 8 * size)
            except BaseException as error:  # noqa: BLE001 - `_raise` raises it
                self._failure = self._failure or error
                result = -1
            self._head.answered = 1
            return result

        return fill

    def _plan(self, page: int) -> int:
        for number in range(page, page + self._ahead(page * layout.PAGE)):
            demands, amounts, keys, shapes = self._plans.page(number)
            arrays = (pointer(demands), pointer(amounts), pointer(keys), pointer(shapes))
            self._bound.library.engine_page(self._bound.engine, *arrays)
        return 0

    def _ahead(self, transactions: int) -> int:
        """Number of pages to make when there are plans or arrivals of so many transactions: several, if they will be wanted.

        While C has them it needs no Python, which another thread may be in.
        """
        missing = int(self._head.transactions) - transactions
        return min(max(-(-missing // layout.PAGE), 1), layout.AHEAD)

    def _more_arrivals(self, target: int, count: int) -> int:
        pages = list(islice(self._times, self._ahead(self._arrived)))
        times = np.concatenate(pages) if pages else np.zeros(0)
        if len(times) > count:
            raise AssertionError(f"C has room for {count} arrivals, and gets {len(times)}")
        ctypes.memmove(target, pointer(times), 8 * len(times))
        self._arrived += len(times)
        return len(times)

    def aim(self, name: str, armed: AimedCrash) -> None:
        """Aim a crash at one effect of one transaction: C says when it comes to it."""
        tx, effect, before, occurrence = armed.place
        which, pattern = len(self._armed), self._aims().index(effect)
        self._armed.append((name, armed))
        bound = self._bound
        found = bound.library.engine_aim(bound.engine, bound.index[name], which, pattern, tx, int(before), occurrence)
        if found < 0:
            raise NotCompiled(f"more than {layout.AIMS} crashes are aimed at one node")

    def _aims(self) -> list[str]:
        """Names of the effects that crashes are aimed at."""
        return sorted({fault.trigger.effect for fault in self.scenario.faults if fault.trigger is not None})

    def _strike(self, number: int) -> int:
        name, armed = self._armed[number]
        self.env.now = self._head.now
        armed.strike(self.world.nodes[name])
        self._announce()
        return 0

    def _ended(self) -> int:
        self.env.now = self._head.now
        self.world.clients.over = True
        self._bound.pull()
        self.world.window.close()
        self._bound.push()
        return 0

    def _link(self, source: int, destination: int) -> int:
        bound = self._bound
        return describe_link(bound, self._streams, bound.name(source), bound.name(destination))

    def _sequence(self) -> int:
        number = self._head.seq
        self._head.seq = number + 1
        return int(number)

    # --- the run ------------------------------------------------------------------------------------------------------------------

    def start_daemons(self) -> None:
        """As `RunLoop` says."""
        self._start_relays(self._bound.names)

    def start_arrivals(self) -> None:
        """As `RunLoop` says."""
        duration = self.scenario.run.duration
        if duration is not None:
            self.env.call_at(duration, self._time_is_over)
        for _ in range(self.scenario.workload.users if self._head.closed_workload else 1):
            self._bound.library.engine_arrivals(self._bound.engine)
        self._raise()

    def _time_is_over(self, _: object) -> None:
        if not self.world.clients.over:
            self.world.clients.over = True
            self._head.over = 1
            self.world.window.close()

    def play(self, report: Callable[[float], object] | None = None) -> None:
        """As `RunLoop.play`. Handlers of signals wait until the loop has come back, which it does often."""
        with self._signals:
            super().play(report)

    def _announce(self) -> None:
        """Say when it is Python's turn."""
        head, queue = self._head, self.env.queue
        if queue:
            time, priority, sequence, _, _ = queue[0]
            head.python_time, head.python_key = time, priority << 62 | sequence << 6
        else:
            head.python_time = math.inf

    def advance(self, until: float) -> None:
        """As `RunLoop` says."""
        head, env, bound, sampler = self._head, self.env, self._bound, self.world.sampler
        bound.library.engine_push(bound.engine, until, URGENT, layout.STOP)
        while True:
            self._announce()
            what = bound.library.engine_run(bound.engine)
            self._raise()
            self._signals.strike()
            if sampler.report is not None:
                sampler.report(head.now)
            if what == layout.LOOK:
                continue
            if what != layout.PYTHON:
                env.now = head.now
                return
            env.now, _, _, callback, argument = heappop(env.queue)
            head.now = env.now
            bound.pull()
            callback(argument)
            bound.push()

    def _raise(self) -> None:
        """Raise what has failed in a call of C's.

        Raises:
            NotCompiled: The run has to be interpreted.
            MemoryError: There is too little for this run; interpreted it would take more.
        """
        if self._head.error == layout.NO_MEMORY:
            raise MemoryError(
                f"no memory for more than {self._head.asked:,} transactions; {self._head.memory / 1e6:,.0f} MB are taken"
            )
        failure = self._failure
        if failure is not None:
            if isinstance(failure, NotCompiled | MemoryError) or not isinstance(failure, Exception):
                raise failure
            raise NotCompiled(f"learning its machines failed: {failure}") from failure
        if self._head.error:
            raise NotCompiled(f"the compiled loop gave up (reason {self._head.error})")

    def strike(self, function: str, name: str) -> None:
        """A fault begins or ends at a node: C has a function for it."""
        getattr(self._bound.library, function)(self._bound.engine, self._bound.index[name])
        self._bound.pull()

    def crash(self, name: str) -> None:
        """A node loses everything volatile."""
        self.strike("engine_crash", name)

    def restart(self, name: str) -> None:
        """A node comes back with what is on disk, when its processes have had the processor time for it."""
        bound = self._bound
        relay = int(bool(list(self.strategy.daemons(name))))
        if not bound.library.engine_start(bound.engine, bound.index[name], relay):
            self._come_back(name)

    def _started(self, number: int) -> int:
        self.env.now = self._head.now
        self._come_back(self._bound.name(number))
        self._announce()
        return 0

    def _come_back(self, name: str) -> None:
        library, engine, number = self._bound.library, self._bound.engine, self._bound.index[name]
        library.engine_restart(engine, number)
        if not library.engine_is_up(engine, number):
            return  # an aimed crash
        self._start_relays([name])
        if self.world.broker is not None:
            library.engine_connected(engine, number)
        self._bound.pull()

    def _start_relays(self, names: Iterable[str]) -> None:
        for name in names:
            for relay in self.strategy.daemons(name):
                if not isinstance(relay, Relay):
                    raise NotCompiled("it has a daemon that is no relay")
                state, events = self._learner.relay(relay)
                ordered = int(relay.reader != "marks")
                self._bound.library.engine_start_relay(
                    self._bound.engine, self._bound.index[name], state, ordered, (ctypes.c_int32 * len(events))(*events)
                )

    def quiet(self) -> bool:
        """As `RunLoop` says."""
        broker, bound = self.world.broker, self._bound
        return (broker is None or broker.up) and bool(bound.library.engine_quiet(bound.engine))

    def close(self) -> None:
        """Close every record, and hand the results to the parts of the world that know how to tell them."""
        head, ledger, bound, library = self._head, self.ledger, self._bound, self._bound.library
        bound.pull()
        library.engine_finish(bound.engine)
        ledger.counts |= {counter: getattr(head, name) for counter, name in COUNTED.items()}
        ledger.still_open = StillOpen(head.in_doubt_open, head.locks_open, head.unpublished)
        for number, node in enumerate(self.world.nodes.values()):
            if node.provider is not None:
                for which, name in enumerate(layout.COUNTS):
                    node.provider.counts[name] = library.engine_provider_count(bound.engine, number, which)
            replica = node.store.replica if node.store is not None else None
            if replica is not None:
                replica.reads = library.engine_replica_reads(bound.engine, number, 0)
                replica.stale_reads = library.engine_replica_reads(bound.engine, number, 1)
        self.world.clients.asked, self.world.clients.suppressed = head.asked, head.suppressed
        for name, node in self.world.nodes.items():
            for key in node.store.first.exact if node.store is not None else ():
                self._keys.number(name, key)  # those that no transaction has asked for
        self._last = CompiledValues(library, bound.engine, bound.names)
        self._wrong = self._last.wrong(*results.forces(bound, self._plans, self._last.count))
        results.judge(bound, self._plans)
        library.engine_forget_effects(bound.engine)
        results.fill(bound, ledger.rows)
        self._complete = True

    def last_values(self) -> LastValues:
        """As `RunLoop` says; C has them."""
        return self._last

    def watched(self) -> Watch:
        """As `RunLoop` says; C has compared the values, so that only those that are off are looked at here."""
        return self.ledger.watch.final(self.scenario, *self._wrong)
