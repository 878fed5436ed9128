"""The search of a protocol's model, with its loop in C: the same states, counts and stories as the loop in Python, many times as fast.

C knows numbers only (`simtx/engine/loop/search.c`). It asks here what a node does upon an event, what the observer sees then, what a broker holds
afterwards; each question once, since its answer depends on nothing else. What is asked, and in which order, is what `Steps` asks. So numbers are given in
the same order, too, and states come in the same order. The properties at rest are judged here, once for all states of which they cannot tell one from the other.

The loop in Python searches where there is no compiled loop and no compiler, or where a model has what C has no room for. The verdict says why then: it differs in
nothing but time.
"""

from __future__ import annotations

import ctypes as c
import functools
import gc
from collections.abc import Callable, Hashable, Iterable, Sequence
from mmap import mmap
from time import monotonic
from typing import Any, Final, cast

import numpy as np

from simtx.checker.explorer.engine import Guard, check, interruptible
from simtx.checker.explorer.interning import InternTable
from simtx.checker.explorer.quiescence import Termination
from simtx.checker.explorer.tally import Tally
from simtx.checker.protocols import broker as brokers
from simtx.checker.protocols.broker import Broker
from simtx.checker.protocols.layout import CRASH, DEAD_LETTER, ENDED, MASK, WAIT_SHIFT, State
from simtx.checker.protocols.local_store import Output
from simtx.checker.protocols.properties import Judge
from simtx.checker.protocols.reactions import COPY, NEW, Item
from simtx.checker.protocols.rollout import AFTER, BEFORE
from simtx.checker.protocols.steps import ANSWERED, OPERATOR, Steps, intervention
from simtx.engine import Unavailable, load_library
from simtx.errors import ScenarioError
from simtx.protocols import Delivery, Done
from simtx.protocols.names import DAEMON

_ASK: Final = c.CFUNCTYPE(c.c_int32, c.c_uint32, c.c_uint32, c.c_uint32, c.c_uint32)
_RAISED, _NO_MEMORY, _TOO_LARGE, _UNFIT, _LIMIT = range(1, 6)
#: Bits of the properties that C decides, in the order of its enumeration.
_PROPERTIES: Final = (
    "agreement",
    "order",
    "contract",
    "durable-votes",
    "effect-once",
    "undo-order",
    "termination",
    "commit",
    "abort",
    "recovery",
)
_TERMINATION: Final = 1 << _PROPERTIES.index("termination")
_SLICE_S: Final = 0.05
_NODES: Final = 10  # each has a bit between those of the state's end and the dead letters
_STEPS: Final = 8
_DAEMON_BIT: Final = 1 << 7
#: A word of C has room for eight budgets: the ninth stands in another one, above everything else that stands there.
_WORD: Final = 0xFFFFFFFF
_NINTH: Final = DEAD_LETTER.bit_length() - 1
_UPGRADES: Final = (None, "stop", "skip")  # in the order of the enumeration in search.c


class _Head(c.Structure):
    """Memory that C and Python share: ``SearchHead`` in search.c."""

    _fields_ = (
        *((name, c.c_int32) for name in ("nodes", "entry", "messages", "lasting", "fused", "most_rounds")),
        *((name, c.c_int32) for name in ("crash", "restart", "hub", "upgrade")),
        ("behind", c.c_uint32 * _STEPS),
        ("writing", c.c_uint32),
        *((name, c.c_int32) for name in ("interventions", "states", "done", "terminals", "error", "at")),
        ("transitions", c.c_int64),
    )


class _TooLargeError(Exception):
    """C has no room for this model."""


_OTHER: Final = "the compiled loop is of another version of simtx"


@functools.cache
def _library() -> c.CDLL | str:
    """The compiled loop; where there is none, why not."""
    try:
        library = load_library()
        library.search_head_size.restype = c.c_uint32
        if library.search_head_size() != c.sizeof(_Head):
            return _OTHER
    except Unavailable as error:
        return str(error)
    except AttributeError:
        return _OTHER
    word, words = c.c_uint32, c.POINTER(c.c_uint32)
    shapes: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "new": (c.c_void_p, (c.POINTER(_Head), _ASK)),
        "free": (None, (c.c_void_p,)),
        "head": (c.POINTER(_Head), (c.c_void_p,)),
        "terminals": (words, (c.c_void_p,)),
        "parent": (word, (c.c_void_p, word)),
        "words": (words, (c.c_void_p, word)),
        "root": (c.c_int, (c.c_void_p, words)),
        "expand": (c.c_int, (c.c_void_p, word, word)),
        "settle": (c.c_int, (c.c_void_p, word, word, word, c.POINTER(c.c_int32))),
        "list": (c.c_int32, (c.c_void_p, c.POINTER(c.c_int32), word)),
        "local": (None, (c.c_void_p, word, c.c_int, c.c_int, c.c_int, word, word, word, word, word)),
        "item": (None, (c.c_void_p, word, c.c_int, c.c_int, c.c_int, word)),
        "seen": (None, (c.c_void_p, word, c.c_int, c.c_int, c.c_int, c.c_int, word, word)),
    }
    for name, (result, arguments) in shapes.items():
        function = getattr(library, f"search_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def searched(model: Steps, judge: Judge, ends: Termination[State], ledger: Tally[Any]) -> str:
    """Search a model with the loop in C.

    Args:
        model: The model; symmetry is not for it.
        judge: Its properties.
        ends: Its property `termination`.
        ledger: The tally of the search, which is complete afterwards.

    Returns:
        Why it did not, as the rest of a sentence; nothing if it did. If it did not, another tally has to be begun, and the loop in Python searches.
    """
    library = _library()
    if isinstance(library, str):
        return library
    if not _fits(model, judge, ledger):
        return "its steps or its properties are not those of the checker"
    if model.scope.upgrade not in _UPGRADES:
        return "its upgrade is not one of the plain ones"
    if len(model.nodes) > _NODES:
        return f"it has {len(model.nodes)} nodes; there is room for {_NODES}"
    try:
        with _Search(library, model, judge, ends, ledger) as search:
            search.run()
    except _TooLargeError:
        return "its states are larger than there is room for"
    return ""


def _fits(model: Steps, judge: Judge, ledger: Tally[Any]) -> bool:
    """Return whether what is to be searched and checked is the model's own, and nobody has put anything in its place."""
    compiled = ledger.compiled
    known: dict[str, Any] = {**judge.always(), **judge.at_rest()}
    known |= {"commit": judge.commits, "abort": judge.aborts, "recovery": judge.recovers}
    checked = {**compiled.invariants, **compiled.terminal_invariants, **compiled.goals}
    termination = checked.pop("termination", None)
    return (
        compiled.successors == model.successors
        and type(model).successors is Steps.successors
        and model.crash_free == model.reactions.digests
        and (termination is None or isinstance(termination, Termination))
        and compiled.deadlocked is None
        and all(known.get(name) == predicate for name, predicate in checked.items())
    )


class _Search:
    """One search.

    Args:
        library: The compiled loop.
        model: The model.
        judge: Its properties.
        ends: Its property `termination`.
        ledger: What is found.
    """

    def __init__(
        self, library: c.CDLL, model: Steps, judge: Judge, ends: Termination[State], ledger: Tally[Any]
    ) -> None:
        self._c = library
        self._model = model
        self._judge = judge
        self._ledger = ledger
        self._raised: BaseException | None = None
        self._events: InternTable[Any, Any] = InternTable()
        self._outs: InternTable[tuple[Output, ...], tuple[Output, ...]] = InternTable()
        self._brokers: InternTable[Broker, Broker] = InternTable()
        self._turns: InternTable[tuple[int, int, str], tuple[int, int, str]] = InternTable()
        # The empty ones have the number 0, in C as here.
        self._outs.of(())
        self._brokers.of(())
        self._position = {name: index for index, name in enumerate(model.nodes)}
        self._judged: set[Hashable] = set()
        self._ends = ends
        scope = model.scope
        head = _Head(
            nodes=len(model.nodes),
            entry=model.entry,
            messages=scope.messages,
            lasting=scope.lasting,
            fused=model.fused,
            most_rounds=model.most_rounds,
            crash=self._event(("crash",)),
            restart=self._event(("restart",)),
            hub=self._position[model.strategy.hub] if model.strategy.hub else -1,
            upgrade=_UPGRADES.index(scope.upgrade),
            writing=self._bits((0, index) for index in judge.writing),
            interventions=scope.interventions,
        )
        for index, later in judge.behind.items():
            head.behind[index] = self._bits((0, one) for one in later)
        # In the order of the enumeration in search.c.
        self._answers: tuple[Callable[[int, int, int], int], ...] = (
            self._react,
            self._observe,
            self._timers,
            self._under_way,
            lambda local, _b, _c: model.locals.calm(local),
            self._heads,
            self._store,
            self._mark,
            self._acknowledge,
            self._reset,
            self._told,
            lambda item, _b, _c: model.reactions.ack(model.items[item]),
            self._orphan,
            self._unheard,
            lambda item, tx, identity: self._event(self._delivery(item, tx, identity)),
            self._copy,
            lambda variant, tx, _c: self._event(model.requests[variant][tx]),
            lambda turn, _b, _c: model.reactions.rounds.values[turn][0],
            lambda turn, key, _c: self._turns.values[key] in model.reactions.rounds.values[turn][1],
            self._turn,
            lambda consumer, tx, _c: self._turns.of((consumer, tx, "")),
            self._asks,
            lambda seen, node, tx: (node, tx) in model.observations[seen].stuck,
            self._attended,
            lambda local, _b, _c: sum(1 << tx for tx, _ in model.locals.busy(local)),
            self._item,
            self._local,
            self._seen,
            lambda state, _b, _c: self._ends(self._state(state)),
            self._vote,
        )
        self._ask = _ASK(self._asked)  # C calls it as long as this object lives
        self._search = library.search_new(c.byref(head), self._ask)
        if not self._search:
            raise MemoryError("a search")
        self._head = library.search_head(self._search).contents

    def __enter__(self) -> _Search:
        return self

    def __exit__(self, *_: object) -> None:
        self._c.search_free(self._search)
        self._search = None

    # --- the search, level by level, as `simtx.checker.explorer.explore` does it -------------------------------------------------

    def run(self) -> None:
        """Search, and note everything in the tally."""
        ledger, head = self._ledger, self._head
        options = ledger.options
        flag = mmap(-1, 8)
        with interruptible(flag):
            guard = Guard(options.max_seconds, options.max_memory, flag)
            roots = ledger.compiled.roots[: options.max_states]
            if len(roots) < len(ledger.compiled.roots):
                ledger.stopped = f"max_states={options.max_states} reached"
            for root in roots:
                self._root(root)
            begin = 0
            while begin < head.states:
                end = head.states
                ledger.levels.append(end - begin)
                self._settle(begin, end)
                if ledger.must_stop and not ledger.stopped:
                    ledger.stopped = "stop_at_violation"
                if ledger.stopped:
                    break
                terminals = head.terminals
                ledger.stopped = self._level(begin, end, guard)
                ledger.expanded = head.done
                ledger.transitions = head.transitions
                self._settle_terminal(terminals)
                begin = end

    def _root(self, state: State) -> None:
        nodes, _, _, seen, budget, rest = state
        flags = rest & (1 << WAIT_SHIFT) - 1 | budget >> _NINTH << WAIT_SHIFT
        words = (*nodes, 0, seen, budget & _WORD, flags, rest >> WAIT_SHIFT, 0)
        self._check(self._c.search_root(self._search, (c.c_uint32 * len(words))(*words)))

    def _level(self, begin: int, end: int, guard: Guard) -> str:
        """Expand a level, slice by slice; return why it was not finished, or nothing."""
        head, limit = self._head, self._ledger.options.max_states
        while head.done < end:
            if reason := guard.reason():
                return reason
            result = self._c.search_expand(self._search, min(end, head.done + guard.size), limit or 0)
            if result == _LIMIT:
                return f"max_states={limit} reached"
            self._check(result)
            gc.freeze()  # what was learned stays; see `explore`
            self._ledger.tell(len(self._ledger.levels), head.done - begin, end - begin, head.states)
        return ""

    def _settle(self, begin: int, end: int) -> None:
        """Check the open invariants and goals on the states of a new level."""
        ledger = self._ledger
        wanted = {name: kind for kind, name in ledger.open_properties()}
        mask = sum(1 << bit for bit, name in enumerate(_PROPERTIES) if name in wanted)
        first = (c.c_int32 * len(_PROPERTIES))()
        size, found = 16, dict[str, int]()
        while begin < end and mask:
            until, started = min(end, begin + size), monotonic()
            self._check(self._c.search_settle(self._search, begin, until, mask, first), judging=True)
            for bit, state in enumerate(first):
                if state >= 0:
                    found[_PROPERTIES[bit]] = state
                    mask &= ~(1 << bit)
            # To look for an end may take long, where there is none. Without time to look, nothing is claimed.
            if self._ends.late():
                mask &= ~_TERMINATION
            size = max(size // 2, 1) if monotonic() - started > _SLICE_S else 2 * size
            begin = until
        for name, kind in wanted.items():
            if name in found:
                ledger.record(kind, name, self._lineage(found[name]))

    def _settle_terminal(self, before: int) -> None:
        """Check what must hold where the expanded states of a level have no successors."""
        ledger, count = self._ledger, self._head.terminals
        ledger.terminal = count
        if count == before or not ledger.open_terminal():
            return
        numbers = np.ctypeslib.as_array(self._c.search_terminals(self._search), (count,))[before:].tolist()
        states: list[State] = []
        positions: list[int] = []
        full = self._model.scope.budget()
        for number in numbers:
            # Of budgets, properties at rest ask only whether they are untouched; and of what is in flight nothing.
            nodes, broker, seen, budget, rest = self._parts(number)
            what = (nodes, broker, seen, budget == full, budget & CRASH * MASK, rest & ENDED)
            if what not in self._judged:
                self._judged.add(what)
                states.append(self._state(number))
                positions.append(number)
        for name in ledger.open_terminal():
            for state in check(ledger.compiled, ledger.predicate("terminal", name), states, wanted=False):
                ledger.record("terminal", name, self._lineage(positions[states.index(state)]))

    def _check(self, result: int, *, judging: bool = False) -> None:
        """Raise what went wrong, with the state in which it did."""
        error, self._raised = self._raised, None  # of a way that C has left alone it has said nothing
        if result and error is not None:
            if isinstance(error, _TooLargeError) or not isinstance(error, Exception):
                raise error
            state, asked = self._state(self._head.at), self._ledger.compiled.model
            if judging:
                error.add_note(f"raised by a property of model {asked.name!r} in {asked.show(state)}")
                raise error
            blamed = asked.blame(error, state)
            if blamed is error:
                raise error
            raise blamed from error
        if result == _NO_MEMORY:
            raise MemoryError("a search")
        if result:
            raise _TooLargeError

    # --- states -----------------------------------------------------------------------------------------------------------------

    def _parts(self, number: int) -> tuple[tuple[int, ...], int, int, int, int]:
        """Nodes, broker, observer, budgets, flags."""
        nodes = self._head.nodes
        words = self._c.search_words(self._search, number)[: nodes + 4]
        budget, rest = _parted(words[nodes + 2], words[nodes + 3])
        return tuple(words[:nodes]), words[nodes], words[nodes + 1], budget, rest

    def _state(self, number: int) -> State:
        """A state as the model knows it."""
        nodes = self._head.nodes
        place = self._c.search_words(self._search, number)
        words = place[: nodes + 6 + place[nodes + 5]]
        broker, seen, budget, rest, turn, _ = words[nodes : nodes + 6]
        net = tuple(words[nodes + 6 :])
        budget, rest = _parted(budget, rest)
        return tuple(words[:nodes]), net, self._brokers.values[broker], seen, budget, rest | turn << WAIT_SHIFT

    def _lineage(self, number: int) -> list[State]:
        """The states from an initial one to this one."""
        states = [self._state(number)]
        while (number := self._c.search_parent(self._search, number)) != 0xFFFFFFFF:
            states.append(self._state(number))
        return states[::-1]

    # --- answers ----------------------------------------------------------------------------------------------------------------

    def _asked(self, what: int, one: int, two: int, three: int) -> int:
        try:
            return int(self._answers[what](one, two, three))
        except BaseException as error:  # noqa: BLE001 - nothing may be raised through C: it is raised again behind it
            self._raised = error
            self._head.error = _UNFIT if isinstance(error, ScenarioError) else _RAISED
            return 0

    def _list(self, values: Sequence[int]) -> int:
        return int(self._c.search_list(self._search, (c.c_int32 * len(values))(*values), len(values)))

    def _event(self, event: Any) -> int:
        """The number of an event; odd ones are those that an operation may fail in."""
        return 2 * self._events.of(event) + bool(event[0] == "event")

    def _bits(self, steps: Iterable[tuple[int, int]]) -> int:
        """(transaction, step) of each as a bit."""
        found = 0
        for tx, index in steps:
            if not (0 <= tx < 4 and 0 <= index < _STEPS):
                raise _TooLargeError
            found |= 1 << 8 * tx + int(index)
        return found

    def _transactions(self, numbers: Iterable[int]) -> int:
        """Transactions as bits."""
        found = 0
        for tx in numbers:
            if tx != DAEMON and not 0 <= tx < 4:
                raise _TooLargeError
            found |= _DAEMON_BIT if tx == DAEMON else 1 << tx
        return found

    def _node(self, local: int) -> int:
        return self._position[self._model.locals.states.values[local].name]

    def _react(self, local: int, event: int, fails: int) -> int:
        words: list[int] = []
        digests = self._model.reactions.digests(self._node(local), local, self._events.values[event >> 1], fails - 1)
        for one in digests:
            flags = one.crashed + 2 * one.paused + 4 * one.begun
            words += [6 + len(one.adds) + len(one.acks), one.local, flags, self._outs.of(one.seen)]
            words += [len(one.adds), *one.adds, len(one.acks), *one.acks]
        return self._list([len(digests), *words])

    def _observe(self, seen: int, node: int, outs: int) -> int:
        return self._model.reactions.observe(seen, node, self._outs.values[outs])

    def _timers(self, local: int, _b: int, _c: int) -> int:
        node = self._node(local)
        timers = self._model.reactions.set_timers(local)
        words = [len(timers)]
        for tx, event, free in timers:
            key = self._turns.of((node, tx, event[2].kind))
            words += [self._transactions([tx]), self._event(event), free, key]
        return self._list(words)

    def _under_way(self, local: int, _b: int, _c: int) -> int:
        events = [self._event(("continue", tx)) for tx in self._model.reactions.under_way(local)]
        return self._list([len(events), *events])

    def _heads(self, broker: int, _b: int, _c: int) -> int:
        found = brokers.heads(self._brokers.values[broker])
        words = [len(found)]
        for head in found:
            new = self._model.items[head.item].tag == NEW
            words += [head.consumer, head.tx, self._transactions([head.tx]), head.id, head.item, head.delivered, new]
        return self._list(words)

    def _published(self, number: int, upgraded: int) -> tuple[tuple[Output, ...], int]:
        item = self._model.items[number]
        return self._model.published(number, item, AFTER if upgraded else BEFORE)

    def _told(self, number: int, upgraded: int, _c: int) -> int:
        item = self._model.items[number]
        if item.request is not None:
            return self._outs.of(self._model.voted(number, item, item.request))
        return self._outs.of(self._published(number, upgraded)[0])

    def _vote(self, number: int, heard: int, answered: int) -> int:
        item = self._model.items[number]
        assert item.request is not None  # noqa: S101 - an invariant of requests to the vote store
        vote = self._model.observations[heard].vote(item.tx, item.request.voter) if answered else ""
        return self._model.reactions.logged(item, vote)

    def _store(self, broker: int, number: int, upgraded: int) -> int:
        item = self._model.items[number]
        assert item.message is not None  # noqa: S101 - an invariant of publications
        entry = self._published(number, upgraded)[1]
        return self._brokers.of(brokers.store(self._brokers.values[broker], item.consumer, item.message.tx, entry))

    def _mark(self, broker: int, consumer: int, mark: int) -> int:
        return self._brokers.of(
            brokers.mark(self._brokers.values[broker], consumer, mark >> 1, delivered=bool(mark & 1))
        )

    def _acknowledge(self, broker: int, consumer: int, identity: int) -> int:
        return self._brokers.of(brokers.acknowledge(self._brokers.values[broker], consumer, identity))

    def _reset(self, broker: int, consumer: int, _c: int) -> int:
        return self._brokers.of(brokers.reset(self._brokers.values[broker], consumer))

    def _orphan(self, number: int, _b: int, _c: int) -> int:
        return self._model.stray(self._model.items[number])

    def _unheard(self, number: int, _b: int, _c: int) -> int:
        item = self._model.items[number]
        return self._event(("event", item.tx, Done(item.tag, "failed")))

    def _delivery(self, number: int, tx: int, identity: int) -> Any:
        message = self._model.items[number].message
        assert message is not None  # noqa: S101 - an invariant of the broker's entries
        return "event", tx, Delivery(message, identity)

    def _copy(self, number: int, tx: int, identity: int) -> int:
        item = self._model.items[number]
        event = self._delivery(number, tx, identity)
        return self._model.reactions.items.of(Item(COPY, item.node, tx, event, item.message))

    def _turn(self, before: int, key: int, anew: int) -> int:
        rounds = self._model.reactions.rounds
        count, fired = (rounds.values[before][0] + 1, frozenset[Any]()) if anew else rounds.values[before]
        return rounds.of((count, fired | {self._turns.values[key]}))

    def _asks(self, local: int, tx: int, how: int) -> int:
        words: list[int] = []
        for kind in self._model.locals.hears(local, tx, OPERATOR[how >> 1 :]):
            told = (*([Output(ANSWERED[kind], tx)] if how & 1 else ()), Output("freed", tx))
            words += [self._event(intervention(tx, kind)), self._outs.of(told)]
        return self._list([len(words) // 2, *words])

    def _attended(self, number: int, _b: int, _c: int) -> int:
        seen = self._model.observations[number]
        words = [len(seen.stuck)]
        for node, tx in sorted(seen.stuck):
            words += [node, tx, tx in seen.retried]
        return self._list(words)

    def _item(self, number: int, _b: int, _c: int) -> int:
        item = self._model.items[number]
        event = -1 if item.event is None else self._event(item.event)
        self._c.search_item(self._search, number, item.kind, item.node, event, self._transactions([item.tx]))
        return 0

    def _local(self, number: int, _b: int, _c: int) -> int:
        reactions, judge = self._model.reactions, self._judge
        nets = judge.net(number)
        self._c.search_local(
            self._search,
            number,
            reactions.up(number),
            bool(reactions.running(number)),
            judge.repeated(number),
            self._transactions(reactions.deaf(number)),
            self._bits(judge.firm(number)),
            self._bits(nets),
            self._bits(key for key, net in nets.items() if net > 0),
            self._bits(judge.undone(number)),
        )
        return 0

    def _seen(self, number: int, _b: int, _c: int) -> int:
        judge, seen = self._judge, self._model.observations[number]
        state = cast("State", ((), (), (), number, 0, 0))
        wrong = (not judge.agreement(state)) + 2 * (not judge.order(state)) + 4 * (not judge.contract(state))
        required = judge.required(seen)
        self._c.search_seen(
            self._search,
            number,
            "fault" in seen.flags,
            wrong,
            required is None,
            judge.recovers(state),
            self._bits(required or ()),
            sum(255 << 8 * tx for tx in judge.answered_for(seen) if 0 <= tx < 4),
        )
        return 0


def _parted(budget: int, rest: int) -> tuple[int, int]:
    """All nine budgets, and the flags, of the two words in which C has them."""
    return budget | rest >> WAIT_SHIFT << _NINTH, rest & (1 << WAIT_SHIFT) - 1
