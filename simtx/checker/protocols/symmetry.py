"""Symmetry reduction over identical participants: one representative of each orbit is explored.

A renaming takes participants that are alike to each other's places, everywhere: nodes, machines, stores, messages, timers. Two states are
the same up to symmetry if a renaming, and forgetting the order in which machines list such participants, makes them equal. A machine that keeps
something by step says so (`Machine.by_step`), and is checked like any other. This is
applied where no crash is left in the budget (which is where most states are): before, a crash may cut a coordinator off after it has told
the first and not the second, so that their order does count.

That participants are alike is checked, not assumed. Candidates have equal parts in the plan, and their exchange leaves the hub's reaction to the
client's
request as it is. (The steps of a saga are ordered, so its participants fail here.) Then, during the search, each reaction of each node is
compared with the reaction to the renamed event in the renamed state. That is done for a set of renamings that generates all, and for each order
of the participants that occurs. So what a state's representative can do is exactly what the state can
do, up to renaming (a bisimulation); if a machine treats one of them otherwise than another, the search ends with an error.

Source of the technique: C. N. Ip and D. L. Dill, "Better verification through symmetry", Formal Methods in System Design 9 (1996).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from itertools import pairwise, permutations, product
from typing import TYPE_CHECKING, Any, Final

from simtx.checker.explorer.interning import InternTable, by_number
from simtx.checker.protocols.exchange import Exchange, Parts, Places, nodes_by_step, swap
from simtx.checker.protocols.layout import CRASH, MASK, REQUESTS, VARIANT_SHIFT, WAIT_SHIFT, State
from simtx.checker.protocols.local import PAUSED, Reaction
from simtx.checker.protocols.renaming import Renaming
from simtx.checker.protocols.words import describe_event
from simtx.errors import ScenarioError
from simtx.protocols.extras import extras

if TYPE_CHECKING:
    from simtx.checker.protocols.steps import Steps

#: Representatives that are remembered: a state is reached some five times, mostly soon after the first.
_KEPT: Final = 100_000
_EVENT: Final = 3  # length of ("event", transaction, event)


class NotAlikeError(ScenarioError):
    """A machine treats participants that seemed to be alike in different ways."""


def _crash_free(outcomes: Sequence[Reaction]) -> Iterator[Reaction]:
    """Outcomes that are possible when no crash is left."""
    for outcome in outcomes:
        if outcome.crashed >= 0 or outcome.crashed == PAUSED:
            return
        yield outcome


class Symmetry:
    """Symmetry of a model: which participants are alike, and which state represents all that are the same up to their exchange.

    Args:
        model: The model; its plans are `simtx.checker.protocols.exchange.marked`.

    Attributes:
        names: For each participant, its name, the name of its step, and the keys that only this step changes.
        kinds: For each participant, the number of its class, or -1.
        classes: Participants that are alike, at least two each.
    """

    def __init__(self, model: Steps) -> None:
        self.model = model
        count = model.scope.participants
        self.names = [
            (step.service, step.name, *(model.scope.own_key(tx, int(step.index)) for tx in range(model.scope.messages)))
            for step in model.variants[0][1][0].steps
        ]
        self.kinds: list[int] = [0] * count
        self.classes: list[tuple[int, ...]] = []
        self._signatures: InternTable[Hashable, None] = InternTable(model.book)
        self._by_step = nodes_by_step(model)
        self._exchange = cache(lambda places: Exchange(model, self.names, self.kinds, places))
        self._find_classes()
        self.kinds = [next((k for k, one in enumerate(self.classes) if p in one), -1) for p in range(count)]
        self._exchange.cache_clear()
        self._straight = self._exchange(tuple(range(count)))
        self._generators = [
            self._exchange(swap(count, one, other)) for members in self.classes for one, other in pairwise(members)
        ]
        self._checked: set[tuple[int, int, Hashable, int]] = set()
        self._events: defaultdict[int, set[tuple[int, Hashable, int]]] = defaultdict(set)
        self._orders: defaultdict[int, set[int]] = defaultdict(set)
        self._tellings: defaultdict[Hashable, set[Hashable]] = defaultdict(set)
        self._known: dict[tuple[Places, Places, int, int], Parts] = {}

    # --- who is alike -----------------------------------------------------------------------------------------------------------

    def _find_classes(self) -> None:
        model, scope = self.model, self.model.scope
        # Steps that follow each other are ordered, and a service with two steps is like no other: no candidates there.
        shared = model.strategy.uses_broker or extras(model.strategy).uses_vote_store
        if shared or not model.strategy.hub or scope.revisit:
            return
        # The client knows the entry by name, so it is in nobody's class.
        left = [one for one in range(scope.participants) if one != model.entry]
        while left:
            first = left[0]
            alike = [first, *(other for other in left[1:] if self._interchangeable(first, other))]
            left = [one for one in left if one not in alike]
            if len(alike) > 1:
                self.classes.append(tuple(alike))

    def _interchangeable(self, one: int, other: int) -> bool:
        """Return whether two participants have equal parts in the plan, and the hub begins alike when they change places."""
        model, scope = self.model, self.model.scope
        if (scope.writes(one), scope.kind(one)) != (scope.writes(other), scope.kind(other)):
            return False
        exchange = self._exchange(swap(scope.participants, one, other))
        straight = self._exchange(tuple(range(scope.participants)))
        first = model.initial()[0][0]
        if any(
            exchange.local(local) != straight.local(first[exchange.nodes[node]]) for node, local in enumerate(first)
        ):
            return False
        for variant, requests in enumerate(model.requests):
            image = exchange.variant(variant)
            if image < 0:
                return False
            for tx, request in enumerate(requests):
                begun = model.locals.outcomes(first[model.entry], request)
                renamed = model.locals.outcomes(first[model.entry], model.requests[image][tx])
                if self._results(exchange, begun) != self._results(straight, renamed):
                    return False
        return True

    @property
    def words(self) -> str:
        """Participants that are alike, in words."""
        groups = [", ".join(self.names[member][0] for member in members) for members in self.classes]
        return "; ".join(groups)

    # --- checking ---------------------------------------------------------------------------------------------------------------

    def check(self, node: int, local: int, event: Any, fail: int) -> None:
        """Make sure that a reaction is the same up to renaming, and so are all that follow from this one by renaming.

        Raises:
            NotAlikeError: It is not.
        """
        if (node, local, event, fail) in self._checked:
            return
        todo: list[tuple[int, int, Any, int]] = [(node, local, event, fail)]
        while todo:
            case = todo.pop()
            if case not in self._checked:
                self._checked.add(case)
                todo += self._compare(*case)

    def _compare(self, node: int, local: int, event: Any, fail: int) -> list[tuple[int, int, Any, int]]:
        """Compare one reaction with its renamed ones; return what has to be compared next."""
        known = self.model.locals
        outcomes = known.outcomes(local, event, fail)
        again: list[tuple[int, int, Any, int]] = []
        # Neighbours of a class generate all of its permutations, so that n - 1 comparisons stand for n!.
        for exchange in (self._straight, *self._generators):
            twin, moved, renamed = exchange.local(local), exchange.nodes[node], exchange.event(event)
            theirs = known.outcomes(twin, renamed, fail)
            same = self._results(exchange, outcomes) == self._results(self._straight, theirs)
            if not same or self._patience(exchange, local) != self._patience(self._straight, twin):
                raise NotAlikeError(
                    f"{self.words} are not alike: when they change places, {known.states.values[local].name} reacts to "
                    f"{describe_event(event[2]) if len(event) == _EVENT else 'a ' + event[0]} in another way; "
                    "verify without symmetry",
                    "verify: symmetry",
                )
            again.append((moved, twin, renamed, fail))
        again += self._in_any_order(node, local, event, fail)
        for outcome in _crash_free(outcomes):
            again += self._ordered(known.calm(outcome.local))
            for kind, value in outcome.outputs:
                if kind == "send":
                    again += self._told(("event", value.tx, value))
        return again

    def _in_any_order(self, node: int, local: int, event: Any, fail: int) -> list[tuple[int, int, Any, int]]:
        """The same reaction in every order of the participants that has occurred."""
        normal, telling = self._straight.local(local), self._straight.event(event)
        case = (node, telling, fail)
        if case in self._events[normal]:
            return []
        self._events[normal].add(case)
        tellings = {telling, *self._tellings[telling]}
        return [(node, order, one, fail) for order in {normal, *self._orders[normal]} for one in tellings]

    def _ordered(self, local: int) -> list[tuple[int, int, Any, int]]:
        """A local state as it occurs, its participants in some order."""
        normal = self._straight.local(local)
        if local == normal or local in self._orders[normal]:
            return []
        self._orders[normal].add(local)
        return [
            (node, local, one, fail)
            for node, telling, fail in self._events[normal]
            for one in {telling, *self._tellings[telling]}
        ]

    def _told(self, event: Any) -> list[tuple[int, int, Any, int]]:
        """An event as it occurs, the participants that it speaks of in some order."""
        normal = self._straight.event(event)
        if event == normal or event in self._tellings[normal]:
            return []
        self._tellings[normal].add(event)
        return [
            (node, order, event, fail)
            for local, cases in list(self._events.items())
            for node, telling, fail in cases
            if telling == normal
            for order in {local, *self._orders[local]}
        ]

    def _results(self, exchange: Exchange, outcomes: Sequence[Reaction]) -> Counter[Hashable]:
        """Reactions to an event where no crash is left in the budget, renamed."""
        results: Counter[Hashable] = Counter()
        for outcome in _crash_free(outcomes):
            outputs = Counter(
                "fault" if output.kind == "fault" else exchange.renaming.value(output) for output in outcome.outputs
            )
            results[exchange.local(self.model.locals.calm(outcome.local)), frozenset(outputs.items())] += 1
        return results

    def _patience(self, exchange: Exchange, local: int) -> Counter[Hashable]:
        """The timers that mean something, renamed."""
        return Counter(
            (tx, exchange.renaming.value(event), free) for tx, event, free in self.model.reactions.set_timers(local)
        )

    # --- representatives --------------------------------------------------------------------------------------------------------

    def canonical(self, state: State) -> State:
        """The representative of a state."""
        nodes, net, _, seen, budget, rest = state
        # A crash may still come between two effects of a list: the order of participants in it counts.
        if budget & CRASH * MASK or any(map(self.model.reactions.running, nodes)):
            return state
        key = (nodes, net, seen, rest)
        known = self._known.get(key)
        if known is None:
            # Forgotten as a whole: a state is mostly met again soon, and to find the oldest entry each time would cost more than it saves.
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[key] = self._represented(nodes, net, seen, rest)
        nodes, net, seen, rest = known
        return nodes, net, state[2], seen, budget, rest

    def _represented(self, nodes: Places, net: Places, seen: int, rest: int) -> Parts:
        about: dict[int, list[int]] = {member: [] for members in self.classes for member in members}
        simple = True
        for number in net:
            traits = self._item_trait(number)
            simple &= len(traits) < 2
            for member, trait in traits:
                about[member].append(trait)
        keys: dict[int, list[Any]] = {}
        waits = self._rest_trait(rest)
        stuck = self.model.observations[seen].stuck
        for member, told in about.items():
            told.sort()
            keys[member] = [told, waits[member], sorted(tx for node, tx in stuck if node == member)]
        said: dict[int, list[tuple[bool, int]]] = {member: [] for member in about}
        for node, local in enumerate(nodes):
            of_whom = self._local_trait(local)
            for member, trait in of_whom:
                said[member].append((node == member, trait))
            if of_whom and (len(of_whom) > 1 or of_whom[0][0] != node):
                simple &= node not in about and self._is_uniform(local)
        for member, what in said.items():
            keys[member].append(sorted(what))
        places = list(range(len(self.kinds)))
        for members in self.classes:
            for place, member in zip(members, sorted(members, key=keys.__getitem__), strict=True):
                places[member] = place
        # If nothing speaks of two members at once, to sort them by what is said of each is enough. Otherwise members with equal keys
        # may still differ in what binds them together, and every arrangement of these is tried: the smallest state represents the orbit.
        choices = [tuple(places)] if simple else self._arrangements(keys)
        return min(self._exchange(one).parts(nodes, net, seen, rest) for one in choices)

    def _arrangements(self, keys: dict[int, list[Any]]) -> list[Places]:
        """All ways to sort the members of each class by their keys."""
        choices = []
        for members in self.classes:
            ordered = sorted(keys[member] for member in members)
            ways = [way for way in permutations(members) if [keys[member] for member in way] == ordered]
            choices.append([(members, way) for way in ways])
        found = []
        for choice in product(*choices):
            places = list(range(len(self.kinds)))
            for members, way in choice:
                for place, member in zip(members, way, strict=True):
                    places[member] = place
            found.append(tuple(places))
        return found

    def _trait(self, value: Callable[[Renaming], Hashable]) -> tuple[tuple[int, int], ...]:
        """Trait of a value: what it says of each member of a class that it mentions, as (member, number)."""
        plain = Renaming(self.names, range(len(self.kinds)), self.kinds, self._by_step)
        value(plain)
        found = []
        for member in sorted(plain.mentioned):
            if self.kinds[member] >= 0:
                places = [
                    place if self.kinds[place] < 0 else self.classes[self.kinds[place]][0] if place == member else -1
                    for place in range(len(self.kinds))
                ]
                said = (self.kinds[member], value(Renaming(self.names, places, self.kinds, self._by_step)))
                found.append((member, self._signatures.number(said, None)))
        return tuple(found)

    @by_number
    def _local_trait(self, number: int) -> tuple[tuple[int, int], ...]:
        """Trait of a local state: what it says of whom. Met here for the first time, it is also a possible order of the participants."""
        for case in self._ordered(number):
            self.check(*case)

        def value(renaming: Renaming) -> Hashable:
            node = renaming.node(self.model.locals.thaw(number))
            actors = [
                (tx, one.machine.key(), tuple(sorted(one.timers)), one.running)
                for tx, one in sorted(node.actors.items())
            ]
            return node.name, node.up, tuple(actors), node.store.freeze(ordered_rows=True)

        return self._trait(value)

    @by_number
    def _item_trait(self, number: int) -> tuple[tuple[int, int], ...]:
        item = self.model.items[number]
        for case in self._told(item.event):
            self.check(*case)
        return self._trait(lambda renaming: (item.kind, item.tx, renaming.value(item.event)))

    @by_number
    def _rest_trait(self, rest: int) -> tuple[tuple[int, ...], ...]:
        """Trait of the rest: of each participant, what it is to refuse, and when it had its turn."""
        count, fired = self.model.reactions.rounds.values[rest >> WAIT_SHIFT]
        plans = self.model.variants[rest >> VARIANT_SHIFT & REQUESTS][1] if rest & REQUESTS else ()
        found = []
        for member in range(len(self.kinds)):
            parts = tuple(
                tuple((one.kind, one.amount) for one in (*step.operations, *step.compensation))
                for step in (plan.steps[member] for plan in plans)
            )
            turns = tuple(sorted((tx, name) for node, tx, name in fired if node == member))
            found.append((self._signatures.number((count, parts, turns), None),))
        return tuple(found)

    @by_number
    def _is_uniform(self, local: int) -> bool:
        """Return whether nothing but what a local state says of each member tells its members apart."""
        said = dict(self._local_trait(local))
        count = len(self.kinds)
        return all(
            self._exchange(swap(count, one, other)).local(local) == self._straight.local(local)
            for members in self.classes
            for one in members
            for other in members
            if one < other and said.get(one) == said.get(other)
        )
