"""Steps from a state: of nodes, network, broker, client and budgets of faults.

What keeps the number of states down, and why nothing is lost by it:

- A copy of a message comes into being when the message is delivered first (both copies are alike, so it does not matter when).
- A machine in the middle of a program receives nothing: the messages stay in flight, or are lost when its node crashes, at no cost to the budget.
- A crash before the first effect of a program is one before the event, followed by the loss of a message to a node that is down.
- While something else can happen, timers fire against the budget only; at rest, when nothing else can, they fire for free.
- Which variant of the plan is played does not matter any more once every request was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

from simtx.checker.explorer.interning import SharedInternLog
from simtx.checker.protocols import broker as brokers
from simtx.checker.protocols.layout import (
    CRASH,
    DEAD_LETTER,
    DUPLICATE,
    ENDED,
    FAILURE,
    HALTED,
    INTERVENTION,
    LOSS,
    MASK,
    OVERTAKE,
    REPEAT,
    REQUESTS,
    TIMEOUT,
    UPGRADED_SHIFT,
    VARIANT_SHIFT,
    WAIT_SHIFT,
    State,
)
from simtx.checker.protocols.local_store import Output
from simtx.checker.protocols.reactions import (
    COPY,
    DONE,
    LOGGED,
    LOGGING,
    MESSAGE,
    NEW,
    OLD,
    ORPHAN,
    PUBLICATION,
    STRAY,
    Action,
    ActionKind,
    GlobalReaction,
    Item,
    Reactions,
)
from simtx.checker.protocols.rollout import AFTER, BEFORE, Level, rollout_of
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.protocols import Delivery, Done, LogOnce, Message, Plan, Request, Strategy

#: Tags of messages at the broker, by how far their producer is in a rolling upgrade.
WRITERS: Final = ("", OLD, NEW)
#: What an operator may ask for.
OPERATOR: Final = ("retry", "skip", "resolve")
#: What the observer notes when it is about something stuck.
ANSWERED: Final = {"retry": "retried", "skip": "skipped", "resolve": "vouched"}


class Steps:
    """The steps of a scope.

    Args:
        strategy: The strategy.
        scope: Plans and budgets.
        variants: What is refused, and the plans.
        nodes: Names of the nodes, services first.
        fused: Where everything goes through a broker, let the last crash and the restart be one step.
        book: Numbers that are shared with other processes.

    Attributes:
        nodes: Names of the nodes, services first.
        requests: For each variant, the event with which the client asks for each transaction.
        entry: Index of the node that the client turns to.
        reactions: What the nodes do.
        locals: What one node can do.
        items: What is or was in flight, by number.
        observations: What was observed, by number.
        crash_free: Gives the reactions to an event when no crash is left in the budget; symmetry reduction replaces it.
    """

    def __init__(
        self,
        strategy: Strategy,
        scope: Scope,
        variants: list[tuple[str, tuple[Plan, ...]]],
        nodes: tuple[str, ...],
        *,
        fused: bool,
        book: SharedInternLog | None,
    ) -> None:
        self.strategy = strategy
        self.scope = scope
        self.variants = variants
        self.nodes = nodes
        self.fused = fused
        self.book = book
        self._lasting = scope.lasting
        self._rollout = None if scope.upgrade is None else rollout_of(scope.upgrade)
        self._skips = self._rollout is not None and self._rollout.unread == "skip"
        # A bit for each node; in two rounds, or where nodes go back, two for its level, and four for how often a node may still go back, below the rounds of time.
        self._wide = self._rollout is not None and (self._rollout.rounds > 1 or self._rollout.backs > 0)
        self._backs = UPGRADED_SHIFT + 2 * len(nodes)
        self._wait = self._backs + 4 if self._wide else WAIT_SHIFT
        self.most_rounds = 4 + sum(getattr(scope, name) for name in BUDGETS)
        self.reactions = Reactions(strategy, nodes, scope, book)
        self.locals = self.reactions.locals
        self.items = self.reactions.items.values
        self.observations = self.reactions.observations.values
        self.requests = [[("event", plan.tx, Request(plan.tx, plan)) for plan in plans] for _, plans in variants]
        self.entry = nodes.index(strategy.entry(variants[0][1][0]))
        self._up = self.reactions.up
        self._running = self.reactions.running
        self._under_way = self.reactions.under_way
        self._deaf = self.reactions.deaf
        self._set_timers = self.reactions.set_timers
        self._number = self.reactions.items.of
        self._observe = self.reactions.observe
        self._kept = self.reactions.kept
        self._digests = self.reactions.digests
        self.crash_free = self._digests

    def initial(self) -> list[State]:
        """One initial state for each variant of the plans."""
        nodes = tuple(self.locals.first(name) for name in self.nodes)
        budget = self.scope.budget()
        first = (1 << self.scope.messages) - 1
        if self._rollout is not None and self._wide:
            first |= self._rollout.backs << self._backs
        return [(nodes, (), (), 0, budget, first | number << VARIANT_SHIFT) for number in range(len(self.variants))]

    def successors(self, state: State) -> Iterator[tuple[Action, State]]:
        """Everything that can happen in a state."""
        nodes, net, broker, seen, budget, rest = state
        if rest & (ENDED | HALTED):
            return
        busy = False
        for step in self._arrivals(state):
            busy = True
            yield step
        requests = rest & REQUESTS
        if requests and (not self._lasting or self._up(nodes[self.entry])):
            busy = True
            yield from self._asked(state)
        if budget & REPEAT * MASK:
            yield from self._asked(state, again=True)
        for node, local in enumerate(nodes):
            if not self._up(local):
                if not self._lasting:
                    busy = True
                    yield from self._react(state, Action("restart", node, ("restart",)))
                continue
            if self._running(local):  # a program that will not come to its end: the crash is paid for
                busy = True
                yield from self._react(state, Action("crash", node, ("crash",), note="paid"))
            for tx in self._under_way(local):
                busy = True
                yield from self._react(state, Action("continue", node, ("continue", tx)))
            for _, event, free in self._set_timers(local):
                if free:
                    busy = True
                    yield from self._react(state, Action("timer", node, event))
        if budget & INTERVENTION * MASK:
            yield from self._intervened(state)
        if self._rollout is not None:
            yield from self._upgrades(state)
            yield from self._goes_back(state)
        # Early timers only while something else could happen. At rest time passes for free, see `_time_passes`.
        if busy and budget & TIMEOUT * MASK:
            cheaper = (nodes, net, broker, seen, budget - TIMEOUT, rest)
            for node, local in enumerate(nodes):
                for _, event, free in self._set_timers(local):
                    if not free:
                        yield from self._react(cheaper, Action("timer", node, event))
        if budget & CRASH * MASK:
            cheaper = (nodes, net, broker, seen, budget - CRASH, rest)
            for node, local in enumerate(nodes):
                if self._up(local) and not self._running(local):
                    yield from self._react(cheaper, Action("crash", node, ("crash",)))
        if not busy:
            yield from self._time_passes(state)

    def _arrivals(self, state: State) -> Iterator[tuple[Action, State]]:
        """Everything in flight arrives, or is lost; the broker delivers."""
        nodes, net, broker, seen, budget, rest = state
        last = -1
        for position, number in enumerate(net):
            # Copies of one message lie side by side, since what is in flight is sorted: to deliver one or the other is the same.
            if number == last:
                continue
            last = number
            item = self.items[number]
            others = net[:position] + net[position + 1 :]
            kind = item.kind
            less = (nodes, others, broker, seen, budget, rest)
            if kind in (PUBLICATION, ORPHAN):
                yield from self._published(less, number, item)
                continue
            if kind in (LOGGING, STRAY):
                yield from self._logged(less, number, item)
                continue
            local = nodes[item.node]
            # A real network reports nothing of a message to a node that is down, so this costs no budget.
            if not self._up(local):
                yield Action("lose", item.node, None, number), less
                continue
            if kind != DONE and budget & LOSS * MASK:
                yield Action("lose", item.node, None, number), (nodes, others, broker, seen, budget - LOSS, rest)
            # Its machine is in the middle of a program: the message stays in flight until that has ended.
            if item.tx in self._deaf(local):
                continue
            action = Action("deliver", item.node, item.event, number)
            yield from self._react(less, action)
            if kind == MESSAGE and budget & DUPLICATE * MASK:
                copied = (nodes, net, broker, seen, budget - DUPLICATE, rest)
                yield from self._react(copied, action._replace(note="copy"))
            if kind == DONE:
                for cost in (LOSS, TIMEOUT):
                    if budget & cost * MASK:
                        yield from self._unheard((nodes, others, broker, seen, budget - cost, rest), number, item)
        for head in brokers.heads(broker):
            local = nodes[head.consumer]
            if budget & DEAD_LETTER * MASK and head.tx not in self._deaf(local):
                left = brokers.acknowledge(broker, head.consumer, head.id)
                yield Action("dead-letter", -1, None, head.item), (nodes, net, left, seen, budget - DEAD_LETTER, rest)
            if self._unreadable(head, rest):
                if self._skips and self._up(local) and head.tx not in self._deaf(local):
                    left = brokers.acknowledge(broker, head.consumer, head.id)
                    yield Action("skip", head.consumer, None, head.item), (nodes, net, left, seen, budget, rest)
                continue
            if head.delivered or not self._up(local) or head.tx in self._deaf(local):
                continue
            yield from self._delivered(state, head)

    def level(self, rest: int, node: int) -> Level:
        """The level of a node in a rolling upgrade."""
        if self._wide:
            return rest >> UPGRADED_SHIFT + 2 * node & 3
        return AFTER if rest >> UPGRADED_SHIFT + node & 1 else BEFORE

    def _got(self, number: int, reader: Level) -> Message | None:
        """Message at the broker, as a process on this level gets it; None: it cannot read it."""
        rollout = self._rollout
        item = self.items[number]
        assert rollout is not None  # noqa: S101 - an invariant of both
        assert item.message is not None  # noqa: S101
        message = item.message
        got: tuple[Message | None] = self._kept(
            "got", number, reader, make=lambda: (rollout.read(message, writer=WRITERS.index(item.tag), reader=reader),)
        )
        return got[0]

    def _unreadable(self, head: brokers.Head, rest: int) -> bool:
        """Return whether an event is of a version that its consumer cannot read yet."""
        return self._rollout is not None and self._got(head.item, self.level(rest, head.consumer)) is None

    def _upgrades(self, state: State) -> Iterator[tuple[Action, State]]:
        """A node is upgraded: drained and started anew. That it may die of it, a crash before or after says."""
        nodes, net, broker, seen, budget, rest = state
        levels = tuple(self.level(rest, node) for node in range(len(nodes)))
        for node, local in enumerate(nodes):
            if self._up(local) and not self._running(local) and self._rollout is not None:
                to = self._rollout.next(levels, node)
                if to is not None:
                    yield Action("upgrade", node), (nodes, net, broker, seen, budget, self._leveled(rest, node, to))

    def _goes_back(self, state: State) -> Iterator[tuple[Action, State]]:
        """A node goes back to the old version, and may throw away what it cannot read any more."""
        nodes, net, broker, seen, budget, rest = state
        if self._rollout is None or not self._wide or not rest >> self._backs & 15:
            return
        for node, local in enumerate(nodes):
            if self.level(rest, node) == BEFORE or not self._up(local) or self._running(local):
                continue
            left = broker
            if self._rollout.discards:
                waiting = [entry for consumer, *_, entries in broker if consumer == node for entry in entries]
                for identity, number, _ in waiting:
                    if self._got(number, BEFORE) is None:
                        left = brokers.acknowledge(left, node, identity)
            back = self._leveled(rest, node, BEFORE) - (1 << self._backs)
            yield Action("downgrade", node), (nodes, net, left, seen, budget, back)

    def _leveled(self, rest: int, node: int, level: Level) -> int:
        """The bits of a state in which a node is on another level, and time passes anew."""
        anew = rest & (1 << self._wait) - 1
        if not self._wide:
            return anew | 1 << UPGRADED_SHIFT + node
        shift = UPGRADED_SHIFT + 2 * node
        return anew & ~(3 << shift) | level << shift

    def _published(self, less: State, number: int, item: Item) -> Iterator[tuple[Action, State]]:
        """A publication reaches the broker, or does not."""
        nodes, others, broker, seen, budget, rest = less
        message = item.message
        assert message is not None  # noqa: S101 - an invariant of publications
        told, entry = self.published(number, item, BEFORE if self._rollout is None else self.level(rest, item.node))
        heard = self._observe(seen, item.node, told)
        stored = brokers.store(broker, item.consumer, message.tx, entry)
        action = Action("store", -1, None, number)
        if item.kind == ORPHAN:
            yield action, (nodes, others, stored, heard, budget, rest)
            return
        yield action, (nodes, _with(others, (self.reactions.ack(item),)), stored, heard, budget, rest)
        if budget & LOSS * MASK:
            yield from self._unheard((nodes, others, broker, seen, budget - LOSS, rest), number, item)
        if budget & TIMEOUT * MASK:
            # Too late for its producer, which gives up waiting: the message still reaches the broker, at any later time.
            orphan = self.stray(item)
            yield from self._unheard(
                (nodes, _with(others, (orphan,)), broker, seen, budget - TIMEOUT, rest), number, item
            )

    def _logged(self, less: State, number: int, item: Item) -> Iterator[tuple[Action, State]]:
        """A request reaches the vote store, which answers with the vote that is there; or it is lost, or fails.

        A copy of a request that comes later finds a vote, and changes nothing: it is not explored.
        """
        nodes, others, broker, seen, budget, rest = less
        request = item.request
        assert request is not None  # noqa: S101 - an invariant of such items
        told = self.voted(number, item, request)
        heard = self._observe(seen, item.node, told)
        action = Action("log", -1, None, number)
        if item.kind == STRAY:
            yield action, (nodes, others, broker, heard, budget, rest)
            return
        answer = self.reactions.logged(item, self.observations[heard].vote(item.tx, request.voter))
        yield action, (nodes, _with(others, (answer,)), broker, heard, budget, rest)
        if budget & LOSS * MASK:
            yield Action("lose", item.node, None, number), (nodes, others, broker, seen, budget - LOSS, rest)
        if budget & FAILURE * MASK:
            failed = _with(others, (self.reactions.logged(item, ""),))
            yield action._replace(fail=0), (nodes, failed, broker, seen, budget - FAILURE, rest)

    def voted(self, number: int, item: Item, request: LogOnce) -> tuple[Output, ...]:
        """The observation when a request reaches the vote store."""
        told: tuple[Output, ...] = self._kept(
            "vote", number, make=lambda: (Output("vote", (item.tx, request.voter, request.vote)),)
        )
        return told

    def stray(self, item: Item) -> int:
        """The number of a publication, or of a request to the vote store, whose sender no longer waits for an answer."""
        if item.kind == LOGGING:
            return self._number(replace(item, kind=STRAY))
        return self._number(Item(ORPHAN, item.node, item.tx, None, item.message, item.consumer))

    def published(self, number: int, item: Item, writer: Level = BEFORE) -> tuple[tuple[Output, ...], int]:
        """Observations when a publication reaches the broker, and the number of the message that waits there. `writer`: how far its producer is upgraded."""
        told: tuple[tuple[Output, ...], int] = self._kept(
            "stored", number, writer, make=lambda: self._arrival(item, writer)
        )
        return told

    def _arrival(self, item: Item, writer: Level) -> tuple[tuple[Output, ...], int]:
        message = item.message
        assert message is not None  # noqa: S101 - an invariant of publications
        waiting = Item(MESSAGE, item.consumer, message.tx, None, message, tag=WRITERS[writer])
        return (Output("stored", message),), self._number(waiting)

    def _unheard(self, after: State, number: int, item: Item) -> Iterator[tuple[Action, State]]:
        """The publication or the broker's ack is lost, or comes too late: the producer gets a failure."""
        local = after[0][item.node]
        if self._up(local) and item.tx not in self._deaf(local):
            event = self._kept(item.tx, item.tag, make=lambda: ("event", item.tx, Done(item.tag, "failed")))
            yield from self._react(after, Action("unheard", item.node, event, number))

    def _delivered(
        self, state: State, head: brokers.Head, kind: ActionKind = "deliver"
    ) -> Iterator[tuple[Action, State]]:
        """The broker delivers the head of a queue."""
        nodes, net, broker, seen, budget, rest = state
        reader = BEFORE if self._rollout is None else self.level(rest, head.consumer)
        message = self.items[head.item].message if self._rollout is None else self._got(head.item, reader)
        assert message is not None  # noqa: S101 - an invariant of the broker's entries, and of what can be read
        event = self._kept(
            head.item, head.tx, head.id, reader, make=lambda: ("event", head.tx, Delivery(message, head.id))
        )
        action = Action(kind, head.consumer, event, head.item)
        marked = brokers.mark(broker, head.consumer, head.id, delivered=True)
        after = (nodes, net, marked, seen, budget, rest)
        yield from self._react(after, action)
        if kind == "deliver" and budget & DUPLICATE * MASK:
            copy = self._number(Item(COPY, head.consumer, head.tx, event, message))
            copied = (nodes, _with(net, (copy,)), marked, seen, budget - DUPLICATE, rest)
            yield from self._react(copied, action._replace(note="copy"))

    def _asked(self, state: State, *, again: bool = False) -> Iterator[tuple[Action, State]]:
        """The client's requests reach the entry node, while it is up; or `again` those that have reached it, as if the client had got no answer."""
        nodes, net, broker, seen, budget, rest = state
        local = nodes[self.entry]
        if not self._up(local):
            return
        note = ""
        if again:
            note, budget = "again", budget - REPEAT
        for tx in range(self.scope.messages):
            if (not rest >> tx & 1) is again and tx not in self._deaf(local):
                event = self.requests[rest >> VARIANT_SHIFT & REQUESTS][tx]
                left = rest & ~(1 << tx)
                # Nobody will ask any more, so which plan it was is in the machines alone: states of several plans become one.
                if not left & REQUESTS and not budget & REPEAT * MASK:
                    left &= ~(REQUESTS << VARIANT_SHIFT)
                after = (nodes, net, broker, seen, budget, left)
                yield from self._react(after, Action("request", self.entry, event, note=note))

    def _intervened(self, state: State) -> Iterator[tuple[Action, State]]:
        """An operator turns to a transaction, stuck or not; at the hub, if there is one."""
        nodes, net, broker, seen, budget, rest = state
        cheaper = (nodes, net, broker, seen, budget - INTERVENTION, rest)
        for node, local in enumerate(nodes):
            if self.strategy.hub and self.nodes[node] != self.strategy.hub:
                continue
            if not self._up(local) or self._running(local):
                continue
            for tx in range(self.scope.messages):
                if not rest >> tx & 1 and tx not in self._under_way(local):  # else nobody knows of it yet
                    yield from self._asks(cheaper, node, tx)

    def _asks(
        self, state: State, node: int, tx: int, kinds: tuple[str, ...] = OPERATOR
    ) -> Iterator[tuple[Action, State]]:
        """An operator asks for everything that the transaction's machine has an answer for; to skip what is stuck is to answer for it."""
        nodes, net, broker, seen, budget, rest = state
        stuck = (node, tx) in self.observations[seen].stuck
        for kind in self.locals.hears(nodes[node], tx, kinds):
            told = (*([Output(ANSWERED[kind], tx)] if stuck else ()), Output("freed", tx))
            noted = self._observe(seen, node, self._kept("told", *told, make=lambda: told))  # noqa: B023 - made at once
            event = self._kept(tx, kind, "operator", make=lambda: intervention(tx, kind))  # noqa: B023 - made at once
            yield from self._react((nodes, net, broker, noted, budget, rest), Action("intervene", node, event))

    def _attended(self, state: State) -> Iterator[tuple[Action, State]]:
        """Let the operator, where there is one, answer what waits for one at rest. Time passes anew; to try again is tried once."""
        nodes, net, broker, seen, budget, rest = state
        observed = self.observations[seen]
        if not self.scope.interventions:
            return
        anew = (nodes, net, broker, seen, budget, rest & (1 << self._wait) - 1)
        for node, tx in sorted(observed.stuck):
            if any(owner == tx for owner, _ in self.locals.busy(nodes[node])):
                yield from self._asks(anew, node, tx, OPERATOR[tx in observed.retried :])

    def _time_passes(self, state: State) -> Iterator[tuple[Action, State]]:
        """Nothing else can happen, and all nodes are up, or away for good: timers fire, and what is not acknowledged is delivered again.

        Time is fair: it passes in rounds, and whoever waits has one turn in each. When the rounds are used up, somebody waits for ever.
        """
        nodes, net, broker, seen, budget, rest = state
        count, fired = self.reactions.rounds.values[rest >> self._wait]
        waiting: dict[tuple[int, int, str], Any] = {}
        for node, local in enumerate(nodes):
            for tx, event, free in self._set_timers(local):
                if not free:
                    waiting[node, tx, event[2].kind] = event
        for head in brokers.heads(broker):
            if self._unreadable(head, rest):
                continue
            if any(after[:4] != state[:4] for _, after in self._delivered(state, head, "redeliver")):
                waiting[head.consumer, head.tx, ""] = head
        if waiting.keys() <= fired:
            count, fired = count + 1, frozenset()
        if not waiting or count >= self.most_rounds:
            attended = False
            for step in self._attended(state):
                attended = True
                yield step
            if attended or (self._rollout is not None and any(True for _ in self._upgrades(state))):
                return  # sooner or later everybody is upgraded
            yield Action("rest", -1), (nodes, net, broker, seen, budget, rest & (1 << self._wait) - 1 | ENDED)
            return
        for key, one in waiting.items():
            if key in fired:
                continue
            later = (nodes, net, broker, seen, budget, self._turn(rest, count, fired | {key}))
            if key[2]:
                yield from self._react(later, Action("timer", key[0], one))
            else:
                yield from self._delivered(later, one, "redeliver")

    def _turn(self, rest: int, count: int, fired: frozenset[tuple[int, int, str]]) -> int:
        """The bits of a state in which these have had their turn in this round."""
        number = self.reactions.rounds.of((count, fired))
        return rest & (1 << self._wait) - 1 | number << self._wait

    def _react(self, base: State, action: Action) -> Iterator[tuple[Action, State]]:
        """A node reacts: every outcome, crashes against the budget, and passing failures against theirs."""
        budget = base[4]
        node = action.node
        local = base[0][node]
        # The crash that is to cut off a half-done program is paid for, and cuts off whatever else the node does.
        cut_off = bool(self._running(local)) and action.kind != "crash"
        paid = cut_off or action.kind == "crash"
        may_crash = paid or bool(budget & CRASH * MASK)
        digests_of = self._digests if may_crash else self.crash_free
        for choice, digest in enumerate(digests_of(node, local, action.event)):
            if (digest.crashed or digest.paused) and not may_crash:
                break  # the outcome without a crash comes first
            if digest.crashed and cut_off:
                continue  # the same as a pause, and then the crash
            if digest.begun:
                if budget & OVERTAKE * MASK:
                    yield from self._become(base, action._replace(choice=choice), digest, budget - OVERTAKE)
                continue
            spent = budget - CRASH if (digest.crashed or digest.paused) and not paid else budget
            label = action._replace(choice=choice) if choice else action
            yield from self._become(base, label, digest, spent)
        if budget & FAILURE * MASK and action.event[0] == "event":
            fail = 0
            while digests := digests_of(node, local, action.event, fail):
                yield from self._become(base, action._replace(fail=fail), digests[0], budget - FAILURE)
                fail += 1

    def _become(
        self, base: State, label: Action, digest: GlobalReaction, budget: int
    ) -> Iterator[tuple[Action, State]]:
        """The states after an outcome: an acknowledgement may get lost, and so may a publication of a node that crashes."""
        nodes, net, broker, seen, _, rest = base
        node, local = label.node, digest.local
        calm = not budget & CRASH * MASK
        if local != nodes[node]:
            if calm and not (digest.crashed or digest.paused):
                local = self.locals.calm(local)
            nodes = (*nodes[:node], local, *nodes[node + 1 :])
        if calm and (digest.crashed or digest.paused):
            nodes = tuple(map(self.locals.calm, nodes))
        if digest.adds:
            net = _with(net, digest.adds)
        if digest.seen:
            seen = self._observe(seen, node, digest.seen)
            if "fault" in self.observations[seen].flags:
                yield label, (nodes, net, broker, seen, budget, rest | HALTED)
                return
        ends = [(label, broker, budget)]
        if digest.acks:
            acked = again = broker
            for identity in digest.acks:
                acked = brokers.acknowledge(acked, node, identity)
                again = brokers.mark(again, node, identity, delivered=False)
            ends = [(label, acked, budget)]
            if budget & LOSS * MASK:
                ends.append((label._replace(note="ack lost"), again, budget - LOSS))
        for name, left, spent in ends:
            after = (nodes, net, left, seen, spent, rest)
            if digest.crashed:
                yield from self._cut_off(after, name)
            else:
                yield name, after

    def _cut_off(self, state: State, label: Action) -> Iterator[tuple[Action, State]]:
        """Cut off what a node that crashes has in flight with the broker: a publication arrives or is lost, and acks reach nobody."""
        nodes, net, broker, seen, budget, rest = state
        node = label.node
        if broker:
            broker = brokers.reset(broker, node)
        kept: list[int] = []
        orphans: list[int] = []
        for number in net:
            item = self.items[number]
            if item.node != node or item.kind not in (DONE, PUBLICATION, LOGGING, LOGGED):
                kept.append(number)
            elif item.kind in (LOGGING, PUBLICATION):
                orphans.append(self.stray(item))
        restart = self.fused and not budget & CRASH * MASK
        for count in range(len(orphans), -1, -1):
            for survivors in combinations(orphans, count):
                after = (nodes, _with(tuple(kept), survivors), broker, seen, budget, rest)
                lost = len(orphans) - count
                note = f"{label.note}, {lost} lost" if lost else label.note
                if not restart:
                    yield label._replace(note=note), after
                    continue
                digest = self._digests(node, nodes[node], ("restart",))[0]
                yield from self._become(after, label._replace(note=f"{note}, restart"), digest, budget)


def intervention(tx: int, kind: str) -> tuple[str, int, Request]:
    """The event by which an operator turns to a transaction."""
    return "event", tx, Request(tx, None, kind, "an operator's reason")


def _with(net: tuple[int, ...], adds: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(net + adds))
