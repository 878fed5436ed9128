"""Learns the automata of a strategy by running its machines on opaque data, and compiles their effects to programs of integers.

A machine is a pure function of (state, event). With opaque values in place of what belongs to one transaction, its states (`Machine.key`) and events are
few: some tens of pairs for a saga. Each pair is run once on the real machine, when the loop first meets it.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

from simtx.engine import layout
from simtx.engine.opaque import DIFFER, NUMBER, NotCompiled, OpaqueId, OpaqueTx, check_clean
from simtx.metrics.guarantees import claim
from simtx.protocols import contract as c
from simtx.protocols.extras import extras
from simtx.protocols.relay import FULL, PART, RELAY_TX, Courier, Poller, Relay, Tell
from simtx.protocols.subjects import aims_at

OUTCOMES: Final = ("", "committed", "aborted", "accepted")
_OF_POLLERS: Final[tuple[type, ...]] = (Tell, c.Alert, c.SetTimer, c.CancelTimer, c.ReadOutbox)
_OF_COURIERS: Final[tuple[type, ...]] = (Tell, c.Alert, c.Publish, c.MarkOutbox, c.Forget)
_KINDS: Final = ("add", "set", "read", "refuse")
_MOST_PAIRS: Final = 200_000  # a machine that has not converged by then never will
_MOST_CELLS: Final = 50_000_000
_MOST_VALUES: Final = 63
LEAST_COST: Final = 6
"""Events of machines that could be interpreted while one pair is learned: about as many as there are steps, and so many at least."""
TRIED: Final = 0.04
"""Share of what interpreting all runs would take that learning may take before anybody asks whether new pairs get rarer."""
MOST: Final = 0.15
"""Share that learning may take in any case."""
WORTH: Final = 0.5
"""Share that it may take with what is missing, as far as one sees."""
_LOOK: Final = 25  # pairs from one look at them to the next
_FEWEST: Final = 3  # events of machines that a step has at least

SAYINGS: Final = ("step-done", "completed", "step-refused", "step-refused after all")
"""Words that an event may say of a step, each by the number that the loop keeps it under."""

_Outcome = tuple[tuple[int, int], int, tuple[int, ...]]
"""Place of the program of a transition, the state afterwards, and the origins of the ids that it holds."""

Slots = Mapping[int, int]
"""The slot of an opaque key or amount, by the identity of the object."""


class Learner:
    """The automata of all machines of one strategy, in the tables of one engine; they can go on to the next one that plays the same.

    Args:
        library: The compiled loop.
        engine: One engine of it.
        strategy: Whose machines to learn.
        nodes: Names of all nodes, in the order of their numbers.
        stores: Names of those that have a store.
        plans: For each shape of plan, a canonical one with opaque keys and amounts.
        slots: Which slot each of these stands for.
        places: The service of each slot.
        aims: Names of the effects that crashes are aimed at.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        engine: int,
        strategy: c.Strategy,
        nodes: Sequence[str],
        stores: Sequence[str],
        plans: Callable[[Any], Sequence[c.Plan]],
        slots: Slots,
        places: Sequence[str],
        aims: Sequence[str] = (),
    ) -> None:
        self.tx = OpaqueTx(NUMBER)
        self.taken: Counter[tuple[str, str]] = Counter()
        self._library, self._engine, self._strategy = library, engine, strategy
        self._index = {name: number for number, name in enumerate(nodes)}
        self._stores = frozenset(stores)
        self._slots = slots
        self._places = places
        self._aims = aims
        self._ids = [OpaqueId(NUMBER + 1 + number) for number in range(layout.IDS + 1)]
        self._held: list[int] = []  # ids that a machine holds, by state
        self._states: dict[Hashable, int] = {}
        self._machines: list[c.Machine] = []
        self._events: dict[c.Event, int] = {}
        self._event_objects: list[c.Event] = []
        self._kinds: dict[str, int] = {}
        self._values: dict[Any, int] = {None: 0}
        self._rows: dict[tuple[str, Hashable], int] = {}
        self._templates: dict[tuple[str, c.Effect], int] = {}
        self._asked: dict[tuple[str, str], int] = {}  # requests to the vote store: tag and voter
        self._votes: list[str] = []
        self._tags: list[str] = []
        self._nodes = list(nodes)
        self._records: dict[c.Record, int] = {}
        self._recoveries: dict[tuple[int, tuple[int, ...]], int] = {}
        self._programs: dict[tuple[tuple[int, ...], ...], tuple[int, int]] = {}
        self._numbers: dict[float, int] = {}
        self.pairs: list[tuple[int, int, int]] = []
        self._outcomes: list[_Outcome | None] = []  # of each pair; None for a recovery
        self._effects: list[list[c.Effect]] = []  # of each pair
        self._followed: dict[tuple[int, str, type], tuple[int, c.Machine]] = {}
        self._relays: dict[str, Relay] = {}
        self._couriers: dict[tuple[int, int], int] = {}
        self._clean: dict[int, object] = {}
        self._tables = 0
        self._expected = 0.0
        self._look_at = _LOOK
        self._known = 0  # pairs at the beginning of this run
        self._canonical = plans(self.tx)  # keeps the opaque values alive that `slots` tells apart
        self._initial = {name: self._state(strategy.machine(name, self.tx))[0] for name in nodes}
        self._begin()
        self.requests = [self._event(c.Request(self.tx, plan)) for plan in self._canonical]

    def _begin(self) -> None:
        for name, state in self._initial.items():
            self._library.engine_initial(self._engine, self._index[name], state)

    # --- from run to run ------------------------------------------------------------------------------------------------------------

    def detach(self) -> None:
        """Leave an engine, with all that was learned in it."""
        self._tables = self._library.engine_take_learned(self._engine) or 0
        self._engine = 0
        self._followed.clear()

    def attach(self, engine: int) -> None:
        """Go on in another engine, which has not begun yet."""
        self._engine = engine
        self._library.engine_give_learned(engine, self._tables)
        self._tables = 0
        self._begin()

    @property
    def detached(self) -> bool:
        """Return whether it can be attached to an engine."""
        return bool(self._tables)

    def __del__(self) -> None:
        tables, self._tables = getattr(self, "_tables", 0), 0
        if tables:
            self._library.engine_forget_learned(tables)

    def entry(self) -> set[str]:
        """Name the node at which requests arrive."""
        return {self._strategy.entry(plan) for plan in self._canonical}

    # --- what C calls -------------------------------------------------------------------------------------------------------------

    def duplicate(self, template: int, value: int) -> int:
        """The event that a local transaction is a duplicate with this value of its row."""
        names = {number: name for name, number in self._values.items()}
        event = self._event(c.Done(self._tags[template], "duplicate", names[value]))
        self._library.engine_on_duplicate(self._engine, template, value, event)
        return event

    def delivery(self, message: int, which: int) -> int:
        """The event that a message is delivered: with the id of one that the machine holds, or with another one."""
        inside = self._event_objects[message]
        assert isinstance(inside, c.Message)  # noqa: S101 - C delivers what was published
        return self._event(c.Delivery(inside, self._ids[which]))

    def vote(self, request: int, vote: int) -> int:
        """The event that the vote store answers a request with this vote, from 1 on."""
        tag, voter = list(self._asked)[request]
        return self._event(c.Done(tag, "done", (voter, self._votes[vote - 1])))

    def learn(self, state: int, event: int) -> int:
        """The transition of a pair that was not met before.

        Raises:
            NotCompiled: It cannot be compiled.
        """
        if len(self.pairs) >= self._look_at:
            self._look()
        if len(self.pairs) >= _MOST_PAIRS or len(self._machines) * len(self._event_objects) > _MOST_CELLS:
            raise NotCompiled("a machine has too many states")
        machine = self._machines[state].clone()
        effects = machine.handle(self._event_objects[event])
        place = self._compiled(machine, effects)
        following, sources = self._state(machine)
        self.pairs.append((state, event, following))
        self._effects.append(effects)
        self._outcomes.append((place, following, tuple(sources)))
        count = len(sources)
        found: int = self._library.engine_transition(
            self._engine, state, event, following, *place, count, (ctypes.c_int32 * max(count, 1))(*sources)
        )
        if found < 0:
            raise NotCompiled("a transition is outside the tables")
        return found

    def expect(self, transactions: float) -> None:
        """Expect so many transactions: so long may learning take."""
        self._expected = transactions
        self._known = len(self.pairs)
        self._look_at = self._known + _LOOK

    def _look(self) -> None:
        """Look whether learning is still worth it.

        It is given up after a small share of the time that interpreting takes, unless what is missing is little; and after a larger one in any case. So machines
        that have no end of states cost little.

        Raises:
            NotCompiled: By then it takes longer to learn the machines than to interpret them.
        """
        self._look_at = len(self.pairs) + _LOOK
        head = self._library.engine_head(self._engine).contents
        if not head.asked:
            return
        steps = len(self._canonical[0].steps)
        everything = self._expected * max(head.handled / head.asked, _FEWEST * steps)
        cost = max(steps, LEAST_COST)
        spent = cost * (len(self.pairs) - self._known)
        if spent <= TRIED * everything:
            return
        if spent <= MOST * everything and spent + cost * self._missing() <= WORTH * everything:
            return
        raise NotCompiled(
            f"its machines came to {len(self.pairs) - self._known:,} new states and events in {head.asked:,} transactions, and learning all would take longer"
        )

    def _missing(self) -> float:
        """Number of pairs that are not known, at least, by how many were met just once and twice (A. Chao, Scandinavian Journal of Statistics 11, 1984)."""
        once, twice, never = (ctypes.c_int32() for _ in range(3))
        self._library.engine_rare(self._engine, ctypes.byref(once), ctypes.byref(twice), ctypes.byref(never))
        unseen = once.value * (once.value - 1) / (2 * (twice.value + 1))
        return max(unseen - never.value, 0.0)

    def replay(self, tx: int, transition: int, state: int, event: int) -> int:
        """See that the real machine of a sampled transaction does what the table says.

        It is followed from event to event, so that a machine is found which remembers what its key does not tell, or which does otherwise each time.

        Raises:
            NotCompiled: It does otherwise.
        """
        known = self._machines[state]
        place = tx, known.node, type(known)
        before, machine = self._followed.get(place, (-1, known))
        if known.state == known.initial and isinstance(known, Poller | Courier):
            machine = known.clone()
        elif state in self._initial.values():
            machine = self._strategy.machine(known.node, self.tx)
        elif before != state:  # it has recovered
            machine = known.clone()
        effects = machine.handle(self._event_objects[event])
        outcome = self._outcomes[transition]
        same = outcome is not None and self._plainly_same(machine, effects, transition, outcome)
        if not same:
            program = self._compiled(machine, effects)
            following, sources = self._state(machine)
            same = (program, following, tuple(sources)) == outcome
        if outcome is None or not same:
            kind = self._event_objects[event].kind
            raise NotCompiled(
                f"{DIFFER}: a {known.role or 'machine'} that is '{known.state}' did otherwise at '{kind}' in transaction {tx:,} "
                "than when it was learned"
            )
        following = outcome[1]
        if following in self._initial.values():
            self._followed.pop(place, None)
        else:
            self._followed[place] = following, machine
        return 0

    def _plainly_same(self, machine: c.Machine, effects: list[c.Effect], transition: int, outcome: _Outcome) -> bool:
        """Return whether effects and fields are those that were learned, as they are most of the time; False: it takes a closer look."""
        known = self._machines[outcome[1]]
        if outcome[2] or type(machine) is not type(known):
            return False
        try:
            return effects == self._effects[transition] and all(
                getattr(machine, name) == getattr(known, name) for name in c.slots_of(type(machine))
            )
        except NotCompiled:  # two opaque values that are not one
            return False

    def recover(self, node: int, count: int, written: Any) -> int:
        """The transition of a blank machine that recovers from the first records of an array, so many."""
        records: tuple[int, ...] = tuple(written[:count])
        known = self._recoveries.get((node, records))
        if known is None:
            kept = list(self._records)
            machine = self._strategy.machine(self._nodes[node], self.tx)
            effects = machine.recover([kept[record] for record in records])
            place = self._program(machine.node, effects)
            state, ids = self._state(machine)
            if ids:
                raise NotCompiled("a machine recovers the id of a delivery")
            self.pairs.append((-1, len(records), state))
            self._outcomes.append(None)
            self._effects.append([])
            known = self._recoveries[node, records] = self._library.engine_recovery(self._engine, state, *place)
        return known

    # --- relays -----------------------------------------------------------------------------------------------------------------------

    def relay(self, relay: Relay) -> tuple[int, list[int]]:
        """The state of a relay's poller before it starts, and the events that a relay causes itself: start, wake, go, idle, full, part."""
        self._relays[relay.node] = relay
        state, _ = self._state(relay.poller)
        own: list[c.Event] = [c.Timer("start"), c.Timer("wake"), c.Timer("go"), c.Timer("idle")]
        own += [c.Done("rows", "done", FULL), c.Done("rows", "done", PART)]
        return state, [self._event(one) for one in own]

    def courier(self, node: int, message: int) -> int:
        """The state of a courier who is given a message of an outbox."""
        known = self._couriers.get((node, message))
        if known is None:
            inside, relay = self._event_objects[message], self._relays[self._nodes[node]]
            assert isinstance(inside, c.Message)  # noqa: S101 - C reads rows of outboxes
            made = relay.courier_type(relay.node, (self._ids[0], inside))
            known = self._couriers[node, message] = self._state(made)[0]
        return known

    def _compiled(self, machine: c.Machine, effects: Sequence[c.Effect | Tell]) -> tuple[int, int]:
        """Place of the compiled program of what a machine has just asked for."""
        if not isinstance(machine, Poller | Courier):
            return self._program(machine.node, effects)
        timers = {(row.state, row.event) for row in self._relays[machine.node].transitions if row.of == "timer"}
        allowed = _OF_POLLERS if isinstance(machine, Poller) else _OF_COURIERS
        kinds = [type(effect) for effect in effects]
        for effect, kind in zip(effects, kinds, strict=True):
            if kind not in allowed:
                raise NotCompiled(f"a {machine.role} asks for {kind.__name__}")
            if isinstance(effect, c.SetTimer) and (machine.state, effect.kind) not in timers:
                raise NotCompiled(f"a relay has no row for the timer '{effect.kind}' of its poller")
            batch = machine.batch if isinstance(machine, Poller) else -1
            if isinstance(effect, c.ReadOutbox) and (effect.tag, effect.limit) != ("rows", batch):
                raise NotCompiled("a poller reads otherwise than it says")
        if c.MarkOutbox in kinds and (c.Forget not in kinds or kinds.count(c.MarkOutbox) > 1):
            raise NotCompiled("a courier goes on after its row is marked")
        return self._program(machine.node, effects, machine.message if isinstance(machine, Courier) else None)

    def _record(self, record: c.Record) -> int:
        check_clean(record, self._clean)
        return self._records.setdefault(record, len(self._records))

    def _program(
        self, node: str, effects: Sequence[c.Effect | Tell], about: c.Message | None = None
    ) -> tuple[int, int]:
        """Beginning and end of the compiled program of these effects; of a courier, with the message of its row."""
        code = tuple((*self._effect(node, effect), self._aimed(effect, about)) for effect in effects)
        place = self._programs.get(code)
        if place is None:
            start = 0
            for number, row in enumerate(code):
                at = self._library.engine_program(self._engine, *row)
                start = at if number == 0 else start
            place = self._programs[code] = (start, start + len(code))
        return place

    def _aimed(self, effect: c.Effect | Tell, row: c.Message | None) -> int:
        """Aimed crashes that may mean an effect, one bit each."""
        if isinstance(effect, Tell):
            return 0
        owner = 0 if row is None else RELAY_TX
        return sum(
            1 << number for number, aim in enumerate(self._aims) if aims_at(aim, None, effect, owner, lambda _: row)
        )

    # --- interning ----------------------------------------------------------------------------------------------------------------

    def _state(self, machine: c.Machine) -> tuple[int, list[int]]:
        """Number of a machine's state, and for each id that it holds, which of those before it is.

        Ids are numbered in the order in which they stand in the machine's fields, so that states which differ in them alone are one.
        """
        key = (machine.node, machine.key())
        sources: list[int] = []
        _collect(key, self._ids, sources)
        if len(sources) > layout.IDS:
            raise NotCompiled(f"a machine holds the ids of more than {layout.IDS} deliveries")
        if sources != list(range(len(sources))):
            names = {id(self._ids[source]): self._ids[place] for place, source in enumerate(sources)}
            for name in c.slots_of(type(machine)):
                setattr(machine, name, _renamed(getattr(machine, name), names))
            key = (machine.node, machine.key())
        known = self._states.get(key)
        if known is None:
            check_clean(key, self._clean)
            if machine.tx is not self.tx and not (isinstance(machine, Poller) and machine.tx == RELAY_TX):
                raise NotCompiled(f"a {machine.role or 'machine'} changes the number of its transaction")
            number: int = self._library.engine_state(self._engine, int(machine.state == machine.initial), len(sources))
            self._states[key] = number
            self._machines.append(machine.clone())
            return number, sources
        return known, sources

    def _event(self, event: c.Event) -> int:
        known = self._events.get(event)
        if known is None:
            check_clean(event, self._clean)
            to, sender = (
                (self._node(event.to), self._index.get(event.sender, -1)) if type(event) is c.Message else (-1, -1)
            )
            known = self._events[event] = self._library.engine_event(self._engine, to, sender)
            self._event_objects.append(event)
        return known

    def _node(self, name: str) -> int:
        number = self._index.get(name)
        if number is None:
            raise NotCompiled(f"a machine sends to '{name}', which is no node")
        return number

    def _timer(self, kind: str) -> int:
        known = self._kinds.get(kind)
        if known is None:
            known = len(self._kinds)
            if known == layout.TIMERS:
                raise NotCompiled(f"its machines have more than {layout.TIMERS} kinds of timers")
            self._kinds[kind] = known
            self._library.engine_timer(self._engine, known, self._event(c.Timer(kind)))
        return known

    def value(self, value: Any) -> int:
        """Number of a value of an idempotency row; 0 for None."""
        known = self._values.get(value)
        if known is None:
            check_clean(value, self._clean)
            known = len(self._values)
            if known > _MOST_VALUES:
                raise NotCompiled("its idempotency rows have too many values")
            self._values[value] = known
        return known

    def _row(self, node: str, key: Hashable) -> int:
        if key is None:
            return -1
        known = self._rows.get((node, key))
        if known is None:
            check_clean(key, self._clean)
            if not isinstance(key, tuple) or not any(part is self.tx for part in key):
                raise NotCompiled("an idempotency key does not hold the number of its transaction")
            known = self._rows[node, key] = self._library.engine_row_key(self._engine)
        return known

    def _number(self, number: float) -> int:
        known = self._numbers.get(number)
        if known is None:
            known = self._numbers[number] = self._library.engine_number(self._engine, float(number))
        return known

    # --- effects ------------------------------------------------------------------------------------------------------------------

    def _effect(self, node: str, effect: c.Effect | Tell) -> tuple[int, int, int, int]:
        kind = type(effect)
        if isinstance(effect, Tell):
            return layout.TELL, self._event(c.Timer(effect.kind)), 0, 0
        if isinstance(effect, c.ReadOutbox):
            return layout.READ, effect.limit, int(effect.below_horizon), 0
        if isinstance(effect, c.MarkOutbox):
            if len(effect.ids) != 1 or effect.ids[0] is not self._ids[0]:
                raise NotCompiled("a courier marks another row than its own")
            return layout.MARK, 0, 0, 0
        if isinstance(effect, c.Message):
            if effect.tx is not self.tx:
                raise NotCompiled("a machine sends a message of another transaction")
            return layout.SEND, self._event(effect), 0, 0
        if isinstance(effect, c.Append):
            return layout.APPEND, int(effect.forced), self._record(effect.record), 0
        if isinstance(effect, c.SetTimer):
            return layout.SET_TIMER, self._timer(effect.kind), self._number(effect.delay), self._number(effect.jitter)
        if isinstance(effect, c.CancelTimer):
            return layout.CANCEL_TIMER, self._timer(effect.kind), 0, 0
        if isinstance(effect, c.Transact | c.Execute | c.Prepare):
            return layout.WORK, self._template(node, effect), 0, 0
        if isinstance(effect, c.Publish):
            if not self._strategy.uses_broker:
                raise NotCompiled("a machine publishes, but its strategy says that it uses no broker")
            if effect.message.tx is not self.tx:
                raise NotCompiled("a machine publishes a message of another transaction")
            done, failed = self._event(c.Done(effect.tag, "done")), self._event(c.Done(effect.tag, "failed"))
            return layout.PUBLISH, self._event(effect.message), done, failed
        if isinstance(effect, c.LogOnce):
            return layout.LOG, *self._request(effect)
        if isinstance(effect, c.Acknowledge):
            which = next((number for number, one in enumerate(self._ids) if one is effect.id), -1)
            if which < 0:
                raise NotCompiled("a machine acknowledges what was not delivered to it")
            return layout.ACKNOWLEDGE, which, 0, 0
        if isinstance(effect, c.Forget):
            return layout.FORGET, 0, 0, 0
        if isinstance(effect, c.Commit | c.Rollback):
            if node not in self._stores:
                raise NotCompiled(f"a machine ends a branch on {node}, which has no store")
            return (
                (layout.COMMIT, 0, 0, 0)
                if isinstance(effect, c.Commit)
                else (layout.ROLLBACK, int(effect.forced), 0, 0)
            )
        if isinstance(effect, c.Answer):
            return layout.ANSWER, OUTCOMES.index(effect.outcome), 0, 0
        if isinstance(effect, c.Decided):
            return layout.DECIDED, int(effect.outcome == "committed"), 0, 0
        if isinstance(effect, c.Suspect):
            return layout.SUSPECT, self._index.get(effect.node, -1), 0, 0
        if isinstance(effect, c.Alert):
            return layout.ALERT, int(effect.stuck), 0, 0
        raise NotCompiled(f"the effect {kind.__name__} is not compiled")

    def _request(self, effect: c.LogOnce) -> tuple[int, int, int]:
        """A request to the vote store: its number, the vote's, and the voter's."""
        if not extras(self._strategy).uses_vote_store:
            raise NotCompiled("a machine votes in a store, but its strategy says that it uses none")
        if effect.voter not in self._index:
            raise NotCompiled(f"a machine votes for '{effect.voter}', which is no node")
        request = self._asked.setdefault((effect.tag, effect.voter), len(self._asked))
        if effect.vote not in self._votes:
            self._votes.append(effect.vote)
        if len(self._asked) > layout.REQUESTS or len(self._votes) >= layout.ALL_VOTES:
            raise NotCompiled("its machines ask the vote store for too many things")
        return request, 1 + self._votes.index(effect.vote), self._index[effect.voter]

    def _template(self, node: str, effect: c.Transact | c.Execute | c.Prepare) -> int:
        known = self._templates.get((node, effect))
        if known is not None:
            return known
        if node not in self._stores:
            raise NotCompiled(f"a machine runs a local transaction on {node}, which has no store")
        row = layout.Template()
        row.type = (c.Transact, c.Execute, c.Prepare).index(type(effect))
        row.node = self._index[node]
        row.key = row.undoes = -1
        if isinstance(effect, c.Transact):
            self._transact(node, effect, row)
        elif isinstance(effect, c.Prepare):
            row.key = self._row(node, effect.key)
            row.record = self._record(effect.record)
        if len(effect.steps) > layout.STEPS or any(not 0 <= step < layout.STEPS for step in effect.steps):
            raise NotCompiled(f"it has more than {layout.STEPS} steps")
        row.steps = len(effect.steps)
        row.step[: len(effect.steps)] = list(effect.steps)
        row.on_done = self._event(c.Done(effect.tag, "done"))
        row.on_refused = self._event(c.Done(effect.tag, "refused"))
        row.on_failed = self._event(c.Done(effect.tag, "failed"))
        row.count = len(effect.operations)
        for position, operation in enumerate(effect.operations):
            at = self._operation(node, operation)
            row.operations = at if position == 0 else row.operations
        number: int = self._library.engine_template(self._engine, ctypes.byref(row))
        self._templates[node, effect] = number
        self._tags.append(effect.tag)
        return number

    def _transact(self, node: str, effect: c.Transact, row: Any) -> None:
        row.serial = int(effect.serial_outbox) * (2 if effect.outbox_rows() else 1)
        if effect.outbox_rows() > layout.OUTGOING:
            raise NotCompiled(f"a local transaction writes more than {layout.OUTGOING} outbox rows")
        for branch, rows in ((effect.accepted, row.accepted_row), (effect.refused, row.refused_row)):
            for position, message in enumerate(branch.outbox if branch is not None else ()):
                if message.tx is not self.tx:
                    raise NotCompiled("a machine writes a message of another transaction")
                rows[position] = self._event(message)
                said = claim(message)
                if said is not None:
                    self._library.engine_claim(self._engine, rows[position], SAYINGS.index(_saying(said)), said[1])
        row.accepted_rows = len(effect.accepted.outbox) if effect.accepted is not None else 0
        row.refused_rows = len(effect.refused.outbox) if effect.refused is not None else 0
        row.key = self._row(node, effect.key)
        row.undoes = self._row(node, effect.undoes)
        row.undone_if = self.value(effect.undone_if)
        if effect.undoes is not None and not row.undone_if:
            raise NotCompiled("a compensation asks for a row without a value")
        row.accepted = self.value(effect.accepted.value) if effect.accepted is not None else 0
        row.has_refused = int(effect.refused is not None)
        row.refused = self.value(effect.refused.value) if effect.refused is not None else 0
        row.compensation = int(effect.compensation)

    def _operation(self, node: str, operation: c.Operation) -> int:
        low, high = operation.low, operation.high
        key = amount = -1
        if operation.kind != "refuse":
            key = self._slots.get(id(operation.key), -1)
            amount = self._slots.get(id(operation.amount), -1)
            if key < 0 or (amount < 0 and operation.kind != "read"):
                raise NotCompiled("a machine makes an operation that is not in its transaction's plan")
            if self._places[key] != node:
                raise NotCompiled("a machine makes an operation on another service than the plan's")
        found: int = self._library.engine_operation(
            self._engine,
            _KINDS.index(operation.kind),
            key,
            amount,
            int(low is not None),
            low if low is not None else 0.0,
            int(high is not None),
            high if high is not None else 0.0,
        )
        return found

    # --- what was learned -----------------------------------------------------------------------------------------------------------

    def described(self) -> list[tuple[str, str, str, str, int]]:
        """Every pair that was met: role of the machine, its state, kind of the event, state afterwards, and how often it was taken."""
        rows = []
        for number, (state, event, following) in enumerate(self.pairs):
            then, taken = self._machines[following], self._library.engine_taken(self._engine, number)
            if not taken:
                continue  # met in an earlier run only
            if state < 0:
                rows.append((then.role, then.initial, "recovery", then.state, taken))
            else:
                before, kind = self._machines[state], self._event_objects[event].kind
                rows.append((before.role, before.state, kind, then.state, taken))
        return rows

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of states and pairs that were met."""
        return len(self._machines), len(self.pairs)


def _saying(said: tuple[str, int, str]) -> str:
    kind, _, what = said
    return SAYINGS[3] if kind == SAYINGS[2] and what == "compensation" else kind


def _collect(value: Any, ids: Sequence[OpaqueId], found: list[int]) -> None:
    """Collect the ids that stand in a value, in their order."""
    kind = type(value)
    if kind is OpaqueId:
        number = next(place for place, one in enumerate(ids) if one is value)
        if number not in found:
            found.append(number)
    elif isinstance(value, tuple | list):
        for item in value:
            _collect(item, ids, found)
    elif kind is c.Delivery:
        _collect(value.id, ids, found)


def _renamed(value: Any, names: Mapping[int, OpaqueId]) -> Any:
    """A value with other ids."""
    kind = type(value)
    if kind is OpaqueId:
        return names[id(value)]
    if kind is c.Delivery:
        return c.Delivery(value.message, names[id(value.id)])
    if kind is tuple or kind is list:
        return kind(_renamed(item, names) for item in value)
    return value
