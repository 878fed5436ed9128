"""One node in the checker: what it can do with one event, crash points included, as a function of numbered local states.

A local state holds everything that one node is: its machines, timers, log, store, and how often each step took effect there. What the
node can do with an event depends on nothing else, so it is computed once for each (local state, event) and remembered; the global
search then only combines integers. That is what makes every crash point between any two effects affordable.

The semantics are those of `simtx.protocols.contract`. A crash may come after each effect of a program (before the first it is a crash
between two events, which the global model has anyway). Of the lazy records of a transaction any prefix survives, up to its last forced
one at least; a prepared branch keeps its locks.

The machines of one node take turns effect by effect. Most of these interleavings have the same effect as programs that run one after the other.
What can be: an outbox relay publishes a row that was committed by a program that has not come to its end; one crash cuts off several
programs. Both take a crash. So where a node has several transactions, or a relay, and a crash is to come, a program may stop behind any
effect, with `PAUSED`. (A test plays every effect as a step of its own, and comes to the same ends.)
"""

from __future__ import annotations

import traceback
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from simtx.checker.explorer.interning import InternTable, NotShareableError, SharedInternLog, by_number
from simtx.checker.protocols.admission import UnfitStateError, check_fields
from simtx.checker.protocols.local_store import Output, Store
from simtx.checker.protocols.program import EffectPlayer, Node, Play, RunningMachine
from simtx.checker.protocols.scope import Remembers
from simtx.errors import ProtocolViolation, SimtxError
from simtx.protocols import Effect, Machine, Strategy
from simtx.protocols.names import DAEMON

RUNS: Final = -1  # in place of the number of effects that were done before a crash: there was none
PAUSED: Final = -2  # the program has come so far, and will get no further before a crash
UNDER_WAY: Final = -3  # the program has come to a local transaction that is under way, and will go on


def raised(error: Exception) -> str:
    """The error of a machine, in words; of a mistake in its code also where, by name, since lines move."""
    where = ""
    if not isinstance(error, SimtxError):
        code = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
        where = f" in {code.co_qualname}"
    return f"it raises {type(error).__name__}{where}: {error}"


class Reaction(NamedTuple):
    """One thing that may come of an event.

    Attributes:
        local: Number of the local state afterwards.
        outputs: What left the node, in order.
        crashed: Number of effects that were done before the node crashed, or `RUNS`, `PAUSED` or `UNDER_WAY`.
        program: The effects, each with the status of its answer or an empty text; those that a crash swallowed included.
        note: What the crash left of lazy writes, in words.
    """

    local: int
    outputs: tuple[Output, ...]
    crashed: int
    program: tuple[tuple[Effect, str], ...]
    note: str = ""


class FrozenMachine(NamedTuple):
    """A machine of a local state.

    Attributes:
        tx: Its transaction, or `DAEMON`.
        machine: Its number.
        timers: Names of the timers that are set.
        running: Whether it is in the middle of a program.
        rest: What is left of a program whose local transaction is under way.
    """

    tx: int
    machine: int
    timers: tuple[str, ...]
    running: bool
    rest: tuple[Effect, ...] = ()


class LocalState(NamedTuple):
    """Everything that one node is, as a value.

    Attributes:
        name: Name of the node.
        up: Whether it is up.
        actors: Its machines, by transaction.
        store: Its store and log, frozen.
    """

    name: str
    up: bool
    actors: tuple[FrozenMachine, ...]
    store: tuple[Any, ...]


class Locals:
    """The local states of all nodes of one scope, and what they can do.

    Args:
        strategy: The strategy under test.
        retained: How many idempotency rows a store keeps; None: all.
        book: Numbers that are shared with other processes.
        several: Whether a node may be in the middle of several programs.
        overtakes: Whether a local transaction may be under way, with numbers for its outbox rows.
        serializable: Whether reads lock.
        providers: What providers outside remember that do the work of local transactions, by the node's name.

    Attributes:
        machines: (node, key) to a machine with this key.
        states: The local states.
        covered: Rows of transition tables that were taken: (class, state, event, state afterwards).
        recovered: What restarts have found: (class, kind of the last record, state afterwards).
    """

    def __init__(
        self,
        strategy: Strategy,
        retained: int | None = None,
        book: SharedInternLog | None = None,
        *,
        several: bool = False,
        overtakes: bool = False,
        serializable: bool = True,
        providers: Mapping[str, Remembers] | None = None,
    ) -> None:
        self.strategy = strategy
        self.overtakes = overtakes
        self.retained = retained
        self.machines: InternTable[Hashable, Machine] = InternTable(book)
        self.states: InternTable[LocalState, LocalState] = InternTable(book)
        self.covered: InternTable[tuple[type[Machine], str, str, str], None] = InternTable(book)
        self.recovered: InternTable[tuple[type[Machine], str, str], None] = InternTable(book)
        self.player = EffectPlayer(
            strategy, retained, self.freeze, several=several, serializable=serializable, providers=providers
        )
        self._taken: dict[tuple[int, Hashable, int], Play] = {}
        self._cache: dict[tuple[int, Hashable, int], tuple[Reaction, ...]] = {}

    # --- freezing and thawing -----------------------------------------------------------------------------------------------

    def first(self, name: str) -> int:
        """The local state of a node before anything happened; its daemons have started.

        Raises:
            ProtocolViolation: A daemon puts something out when it starts on an empty node.
        """
        node = Node(name, True, {}, Store())
        play = Play()
        self.player.start_daemons(node, play)
        self._cover(play)
        if play.outputs:
            raise ProtocolViolation(f"the daemons of {name} put out {play.outputs[0]} before anything has happened")
        return self.freeze(node)

    def freeze(self, node: Node) -> int:
        """The number of a node's local state.

        Raises:
            UnfitStateError: A machine, or what is on the disk, cannot be copied and compared.
        """
        actors = tuple(
            FrozenMachine(tx, self.machine(actor.machine), tuple(sorted(actor.timers)), actor.running, actor.rest)
            for tx, actor in sorted(node.actors.items())
        )
        state = LocalState(node.name, node.up, actors, node.store.freeze(ordered_rows=self.retained is not None))
        try:
            return self.states.of(state)
        except TypeError as error:
            raise UnfitStateError(
                f"{node.name} keeps something on its disk that is no plain value ({error}): records, keys and values are tuples",
                "verify",
            ) from None

    def machine(self, machine: Machine) -> int:
        """The number of a machine as it is now."""
        if getattr(machine, "__dict__", None):
            check_fields(machine)
        key = (machine.node, machine.key())
        try:
            known = self.machines.numbers.get(key)
        except TypeError:
            check_fields(machine)
            raise
        # Fields are checked for new keys only: equal keys are equal machines, and this runs for every step of the search.
        if known is not None:
            return known
        check_fields(machine)
        return self.machines.number(key, machine.clone())  # the machine at hand goes on changing

    def thaw(self, number: int) -> Node:
        """A copy of a node that may be changed."""
        name, up, actors, store = self.states.values[number]
        machines = self.machines.values
        thawed = {
            tx: RunningMachine(machines[machine].clone(), dict.fromkeys(timers), [], running, rest)
            for tx, machine, timers, running, rest in actors
        }
        return Node(name, up, thawed, Store.thaw(store))

    # --- what others may look at ----------------------------------------------------------------------------------------------

    def up(self, number: int) -> bool:
        """Return whether the node is up."""
        return self.states.values[number].up

    def timers(self, number: int) -> tuple[tuple[int, str], ...]:
        """Timers that are set: (transaction, name); a machine in the middle of a program handles none."""
        actors = self.states.values[number].actors
        return tuple(
            (actor.tx, name) for actor in actors if not actor.running and not actor.rest for name in actor.timers
        )

    def running(self, number: int) -> tuple[int, ...]:
        """Transactions whose machine is in the middle of a program."""
        return tuple(actor.tx for actor in self.states.values[number].actors if actor.running)

    def under_way(self, number: int) -> tuple[int, ...]:
        """Transactions whose local transaction here is under way."""
        return tuple(actor.tx for actor in self.states.values[number].actors if actor.rest)

    def busy(self, number: int) -> list[tuple[int, Machine]]:
        """Machines of transactions, which at the end should be none, by transaction."""
        actors = self.states.values[number].actors
        return [(actor.tx, self.machines.values[actor.machine]) for actor in actors if actor.tx != DAEMON]

    def hears(self, number: int, tx: int, kinds: Iterable[str]) -> list[str]:
        """Kinds of events, of these, for which the transaction's machine has a row in its state."""
        machine = dict(self.busy(number)).get(tx) or self.strategy.machine(self.states.values[number].name, tx)
        rows = {row.event for row in machine.transitions if row.state == machine.state}
        return [kind for kind in kinds if kind in rows]

    def store(self, number: int) -> Store:
        """A copy of the node's store and log."""
        return Store.thaw(self.states.values[number].store)

    @by_number
    def calm(self, number: int) -> int:
        """The same node when no crash is to come: what only a recovery would read is dropped, so that more states are one.

        A node that is down, or in the middle of a program, stays as it is.
        """
        node = self.thaw(number)
        if node.up and not any(actor.running for actor in node.actors.values()):
            node.store.log.clear()
            node.store.marks.clear()
            node.store.rolled_back.clear()
        return self.freeze(node)

    # --- what a node can do -----------------------------------------------------------------------------------------------------

    def outcomes(self, number: int, event: Hashable, fail: int = -1) -> tuple[Reaction, ...]:
        """Everything that may come of this event; the first outcome is the one without a crash.

        Args:
            number: The local state.
            event: ``("event", transaction, event)``, ``("continue", transaction)``, ``("restart",)`` or ``("crash",)``.
            fail: The store operation of the program that fails for a passing reason (from 0), or -1. Without such an
                operation nothing comes of it.
        """
        key = (number, event, fail)
        known = self._cache.get(key)
        if known is None:
            play = self._taken[key] = Play(fail)
            known = self._cache[key] = tuple(self._distinct(number, event, play))
        return known

    def take(self, number: int, event: Hashable, fail: int = -1) -> tuple[Reaction, ...]:
        """Outcomes as in `outcomes`, of something that does happen: the rows of transition tables that it takes count as covered."""
        outcomes = self.outcomes(number, event, fail)
        self._cover(self._taken[number, event, fail])
        return outcomes

    def _cover(self, play: Play) -> None:
        for row in play.taken:
            self.covered.number(row, None)
        for found in play.recovered:
            self.recovered.number(found, None)

    def _distinct(self, number: int, event: Any, play: Play) -> Iterator[Reaction]:
        """Outcomes that differ; a crash that leaves what a crash before the program leaves is not told again."""
        seen: set[Hashable] = {(number, (), True)}
        if event[0] == "event":
            seen.update((local, (), True) for local, _ in self._crashes(number))
        for outcome in self._compute(number, event, play):
            key = (outcome.local, outcome.outputs, outcome.crashed >= 0)
            try:
                known = key in seen
            except TypeError as error:
                name = self.states.values[number].name
                raise UnfitStateError(
                    f"{name} sends something that is no plain value ({error}): make its body a tuple", "verify"
                ) from None
            if not known:
                seen.add(key)
                yield outcome

    def _compute(self, number: int, event: Any, play: Play) -> Iterator[Reaction]:
        kind, fail = event[0], play.fail
        if kind == "crash":
            for local, note in self._crashes(number):
                yield Reaction(local, (), 0, (), note)
            return
        node = self.thaw(number)
        try:
            if kind == "restart":
                node.up = True
                self.player.recover(node, play)
            else:
                self._play(node, event, play)
        except (UnfitStateError, NotShareableError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a machine raises is a finding, and its story is wanted
            if fail >= 0 and play.operations <= fail:
                return  # it raises without this failure, too
            text = raised(error)
            yield Reaction(number, (Output("fault", text),), RUNS, tuple(play.program), text)
            return
        if fail >= 0 and play.operations <= fail:
            return
        program = tuple(play.program)
        yield Reaction(self.freeze(node), tuple(play.outputs), RUNS, program)
        if self.overtakes and kind == "event" and fail < 0:
            yield from self._begun(number, event)
        if kind != "restart" and fail < 0:
            yield from self._paused(number, event, play, node)
        if play.points and play.points[-1][2] == len(program):
            play.points.pop()  # a crash behind the last effect is one between two events
        for point, outputs, count in play.points:
            for local, note in self._crashes(point):
                yield Reaction(local, outputs, count, program, note)

    def _play(self, node: Node, event: Any, play: Play) -> None:
        if event[0] == "continue":
            self.player.go_on(node, event[1], play)
        else:
            self.player.react(node, event[1], event[2], play)

    def _begun(self, number: int, event: Any) -> Iterator[Reaction]:
        """The program comes to a local transaction with outbox rows, which is under way from then on."""
        node = self.thaw(number)
        play = Play(begin=True)
        self.player.react(node, event[1], event[2], play)
        if event[1] in node.store.under_way:
            yield Reaction(self.freeze(node), tuple(play.outputs), UNDER_WAY, tuple(play.program))

    def _paused(self, number: int, event: Any, play: Play, end: Node) -> Iterator[Reaction]:
        """The program stops where somebody else could tell, and never goes on.

        What becomes of its machine does not matter any more. Neither does a stop at which nothing has left the node, or been stored,
        since the program began, or nothing would any more until its end.
        """
        told: set[Hashable] = {
            (self.states.values[number].store, ()),
            (end.store.freeze(ordered_rows=self.retained is not None), tuple(play.outputs)),
        }
        tx = event[1]
        for pause in range(play.pauses):
            node = self.thaw(number)
            half = Play(pause=pause)
            self._play(node, event, half)
            node.actors[tx] = RunningMachine(self._blank(node.name, tx), running=True)
            key = (node.store.freeze(ordered_rows=self.retained is not None), tuple(half.outputs))
            if key not in told:
                told.add(key)
                yield Reaction(self.freeze(node), tuple(half.outputs), PAUSED, tuple(half.program))

    def _blank(self, name: str, tx: int) -> Machine:
        """A machine to which nothing has happened."""
        return next(iter(self.strategy.daemons(name))) if tx == DAEMON else self.strategy.machine(name, tx)

    @by_number
    def _crashes(self, number: int) -> tuple[tuple[int, str], ...]:
        """The local states that a crash now may leave, each with a few words."""
        name, _, _, frozen = self.states.values[number]
        found: dict[int, str] = {}
        for store, note in Store.thaw(frozen).after_crash():
            found.setdefault(self.freeze(Node(name, False, {}, store)), note)
        return tuple(found.items())
