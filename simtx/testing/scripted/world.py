"""A world to play machines in by hand: every effect and every fault of the contract, and nothing that takes time.

A `ScriptedWorld` plays one strategy with one or more transactions. It keeps the rules of `simtx.protocols.contract`: effects run one by one, and
a node may crash between any two of them. Lazy writes may be lost (a prefix of them survives, as in a log). A prepared branch keeps its locks.
The network is a multiset, and the broker delivers at least once. It also checks the machines while it plays: every step must be in the
transition table, and a clone of a machine must
behave exactly as the machine does.

Three ways to play::

    world = ScriptedWorld(TwoPhaseCommit(), chain("a", "b"))
    world.run()                             # in the order of sending, without faults
    world.run(crashes=(7, 12))              # the node at the 7th and 12th crash point crashes there
    world.chaos(random.Random(1))           # a random schedule with faults; then everything heals and drains

    world.request().work()                  # by hand: the request arrives, and its node works as far as it can alone
    world.deliver("prepare", to="b")        # one message of those in flight
    world.crash("b")
    world.restart("b")
    world.drain()                           # the rest by itself

Afterwards: `answers`, `decided`, `sent`, `forced`, `lazy`, `alerts`, `suspects`, `applied`, `net(tx)`, `store(node)`, `machine(node)`, `left_over()`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from simtx.protocols import contract as c
from simtx.protocols.extras import own_nodes
from simtx.protocols.names import DAEMON
from simtx.testing.laws import expect
from simtx.testing.scripted.effects import Effects
from simtx.testing.scripted.parts import Asked, Node, Publication, Store

__all__ = ["ScriptedWorld", "Witness"]

REDELIVERY = 1.0
Witness = set[tuple[str, str, str, str]]
Action = Callable[[], None]


class ScriptedWorld(Effects):
    """All nodes, the network and the broker of one test."""

    def __init__(
        self,
        strategy: c.Strategy,
        *plans: c.Plan,
        initial: dict[str, dict[str, float]] | None = None,
        witness: Witness | None = None,
        ordered: bool = False,
        fail: Callable[[str, c.Effect], bool] | None = None,
    ) -> None:
        """Make a world.

        Args:
            strategy: What is played.
            plans: The transactions; their requests are on the way to the entry nodes.
            initial: Values per node and key; 0 where silent.
            witness: Collects (class, state, event kind, next state) of everything that happened.
            ordered: Whether the broker delivers one consumer's messages of one transaction in order.
            fail: Says which store operations fail transiently.
        """
        self.strategy = strategy
        self.plans = {plan.tx: plan for plan in plans}
        names = dict.fromkeys(service for plan in plans for service in plan.services())
        names |= dict.fromkeys(own_nodes(strategy))
        super().__init__({name: Node(name, Store(dict((initial or {}).get(name, {})))) for name in names}, fail)
        self.witness: Witness = set() if witness is None else witness
        self.ordered = ordered
        self.requests: list[tuple[str, c.Request]] = [
            (strategy.entry(plan), c.Request(plan.tx, plan)) for plan in plans
        ]
        self.points = 0
        self.crash_points: frozenset[int] = frozenset()
        self.restart_at_once = False
        self.keep_lazies: Callable[[int], int] = lambda _count: 0
        self.history: list[str] = []
        for node in self.nodes.values():
            self._start_daemons(node)

    # --- asking --------------------------------------------------------------------------------------------------------------

    def store(self, node: str) -> Store:
        """The store of a node."""
        return self.nodes[node].store

    def net(self, tx: int) -> dict[int, int]:
        """Number of times that each step of a transaction is in effect: actions minus compensations. Steps that write nothing have no effect."""
        count = {
            step.index: 0 for step in self.plans[tx].steps if any(one.kind in ("add", "set") for one in step.operations)
        }
        for one in self.applied:
            if one.tx == tx:
                for index in one.steps:
                    if index in count:
                        count[index] += -1 if one.compensation else 1
        return count

    def left_over(self) -> list[str]:
        """Remains that should be gone when everything is at rest: machines, records, branches, timers, messages, rows to publish."""
        rest = [f"message {one.kind} to {one.to}" for one in self.network]
        rest += [f"publication {one.message.kind}" for one in self.publications]
        rest += [f"request about the vote of {one.effect.voter}" for one in self.asked]
        rest += [f"undelivered {one.kind}" for one in self.broker.values()]
        for node in self.nodes.values():
            rest += [f"{node.name}: {machine!r}" for tx, machine in node.machines.items() if tx != DAEMON]
            rest += [f"{node.name}: timer {kind} of {tx}" for tx, kind in node.timers if tx != DAEMON]
            rest += [
                f"{node.name}: records of {tx}: {records}"
                for tx, records in node.log.items()
                if tx != DAEMON and records
            ]
            rest += [f"{node.name}: open branch of {tx}" for tx in node.store.open]
            rest += [f"{node.name}: prepared branch of {tx}" for tx in node.store.prepared]
            rest += [f"{node.name}: unpublished {row.message.kind}" for row in node.store.outbox if not row.marked]
        return rest

    # --- playing -------------------------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        crashes: Iterable[int] = (),
        restart: str = "idle",
        lazies: str = "lost",
        limit: int = 20_000,
    ) -> ScriptedWorld:
        """Play deterministically, in the order of sending, until everything is at rest; timers fire only when nothing else can happen.

        Args:
            crashes: Crash points (counted over the whole run; there is one before every effect and one after the last effect of a
                handler); the node whose turn it is crashes there.
            restart: ``idle``: a crashed node comes back when nothing else can happen but timers; ``now``: at once.
            lazies: Whether what was written lazily is ``lost`` or ``kept`` in a crash.
            limit: Most steps.
        """
        self.crash_points = frozenset(crashes)
        self.restart_at_once = restart == "now"
        self.keep_lazies = (lambda count: count) if lazies == "kept" else (lambda _count: 0)
        return self.drain(limit)

    def drain(self, limit: int = 20_000) -> ScriptedWorld:
        """Play on deterministically until everything is at rest."""
        for _ in range(limit):
            if not self._advance():
                return self
        raise AssertionError(f"does not come to rest: {self.left_over()}; last: {self.history[-40:]}")

    def chaos(
        self,
        choose: random.Random,
        *,
        steps: int = 150,
        crashes: int = 2,
        loss: float = 0.05,
        duplication: float = 0.05,
        early_timers: float = 0.05,
        failures: float = 0.02,
    ) -> ScriptedWorld:
        """Play a random schedule with faults for a number of steps, then heal everything and drain.

        Args:
            choose: Makes every choice.
            steps: Length of the part with faults.
            crashes: At most so many crashes.
            loss: Probability that a step loses a message (a request, a publication or its ack) instead of going on.
            duplication: Probability that a step duplicates a message in flight.
            early_timers: Probability that a step fires a timer although something else could happen.
            failures: Probability that a store operation fails.
        """
        self.keep_lazies = lambda count: choose.randint(0, count)
        for _ in range(steps):
            draw = choose.random()
            if crashes and draw < 0.03:
                up = [node for node in self.nodes.values() if node.up]
                if up:
                    crashes -= 1
                    self.crash(choose.choice(up).name)
                continue
            down = [node for node in self.nodes.values() if not node.up]
            if down and draw < 0.1:
                self.restart(choose.choice(down).name)
                continue
            draw = choose.random()
            if draw < loss:
                self._lose(choose)
            elif draw < loss + duplication and self.network:
                self.network.append(choose.choice(self.network))
            elif draw < loss + duplication + early_timers:
                self._fire_any(choose)
            else:
                actions = self._actions()
                if not actions and not down and self._at_rest():
                    if (
                        not crashes or choose.random() < 0.5
                    ):  # nothing is left to happen but a crash, which may bring things back
                        break
                    crashes -= 1
                    self.crash(choose.choice([*self.nodes]))
                elif actions:
                    self.failing = choose.random() < failures
                    choose.choice(actions)()
                    self.failing = False
                else:
                    self._fire_any(choose)
        for node in self.nodes.values():
            if not node.up:
                self.restart(node.name)
        self.keep_lazies = lambda _count: 0
        return self.drain()

    def crash(self, name: str) -> None:
        """Crash a node now: machines, timers, open branches and what was not yet durable are gone."""
        node = self.nodes[name]
        if not node.up:
            return
        self.history.append(f"crash {name}")
        node.up = False
        node.epoch += 1
        node.machines.clear()
        node.programs.clear()
        node.inbox.clear()
        node.timers.clear()
        node.store.open.clear()
        for undo in reversed(node.lazies[self.keep_lazies(len(node.lazies)) :]):
            undo()
        node.lazies.clear()
        for id_, message in self.broker.items():
            if message.to == name:
                self.outstanding.pop(id_, None)

    def restart(self, name: str) -> None:
        """Bring a crashed node back: every transaction with durable records recovers, then the daemons start."""
        node = self.nodes[name]
        if node.up:
            return
        self.history.append(f"restart {name}")
        node.up = True
        for tx, records in list(node.log.items()):
            if records and tx != DAEMON:
                machine = self.strategy.machine(name, tx)
                node.machines[tx] = machine
                self.witness.add((type(machine).__name__, "recover", str(records[-1][0]), ""))
                effects = machine.recover(tuple(records))
                self.witness.add((type(machine).__name__, "recover", str(records[-1][0]), machine.state))
                self._load(node, tx, effects)
        self._start_daemons(node)

    def deliver(self, kind: str, to: str | None = None) -> ScriptedWorld:
        """Hand over the first message in flight of this kind, to this node if one is named; its receiver has to be idle."""
        index = next((i for i, one in enumerate(self.network) if one.kind == kind and to in (None, one.to)), None)
        if index is None:
            flying = ", ".join(f"{one.kind} to {one.to}" for one in self.network) or "nothing"
            raise AssertionError(f"no '{kind}'{'' if to is None else f' to {to}'} is in flight; there is {flying}")
        message = self.network.pop(index)
        self.event(message.to, message.tx, message)
        return self

    def request(self, tx: int | None = None) -> ScriptedWorld:
        """Let a client's request arrive: that of this transaction, or the first that is on its way."""
        index = next((i for i, (_, one) in enumerate(self.requests) if tx in (None, one.tx)), None)
        if index is None:
            raise AssertionError(f"no request is on its way{'' if tx is None else f' for transaction {tx}'}")
        self._request(index)
        return self

    def machine(self, node: str, tx: int | None = None) -> c.Machine | None:
        """The machine of a node in a transaction (the first one), or None: it is blank, forgotten or lost."""
        return self.nodes[node].machines.get(min(self.plans) if tx is None else tx)

    def event(self, name: str, tx: int, event: c.Event) -> None:
        """Let a machine handle an event; its effects become its program."""
        node = self.nodes[name]
        machine = node.machines.get(tx)
        if machine is None:
            machine = node.machines[tx] = self.strategy.machine(name, tx)
        before, twin = machine.state, machine.clone()
        self.history.append(f"{name}/{tx} {before}: {event}")
        effects = machine.handle(event)
        expect(twin.handle(event) == effects, "a clone must behave as the machine does")
        expect(twin.key() == machine.key(), "a clone must end as the machine does")
        rows = [row for row in machine.transitions if row.state == before and row.event == event.kind]
        if rows:
            expect(
                machine.state in rows[0].to,
                f"{machine!r}: {before} --{event.kind}--> {machine.state} is not in the table",
            )
        else:
            expect(
                machine.state == before, f"{machine!r}: '{event.kind}' without a row changed the state from {before}"
            )
        self.witness.add((type(machine).__name__, before, event.kind, machine.state))
        self._load(node, tx, effects)

    # --- one step at a time --------------------------------------------------------------------------------------------------

    def _start_daemons(self, node: Node) -> None:
        daemons = list(self.strategy.daemons(node.name))
        expect(len(daemons) <= 1, "this host knows one daemon per node")
        for machine in daemons:
            node.machines[DAEMON] = machine
            node.inbox[DAEMON] = deque([c.Timer("start")])

    def _load(self, node: Node, tx: int, effects: list[c.Effect]) -> None:
        expect(
            all(not isinstance(effect, c.Forget) for effect in effects[:-1]), f"Forget is the last effect: {effects}"
        )
        if effects:
            node.programs[tx] = deque(effects)
        elif not self._crash_point(node):
            self._sweep(node, tx)

    def _sweep(self, node: Node, tx: int) -> None:
        """Drop a machine that was made for a stray message and is as blank as before."""
        machine = node.machines.get(tx)
        if tx == DAEMON or machine is None or node.log.get(tx) or not node.idle(tx):
            return
        if machine.key() == self.strategy.machine(node.name, tx).key():
            del node.machines[tx]

    def _crash_point(self, node: Node) -> bool:
        point = self.points
        self.points += 1
        if point not in self.crash_points:
            return False
        self.crash(node.name)
        if self.restart_at_once:
            self.restart(node.name)
        return True

    def _step(self, node: Node, tx: int) -> None:
        """Run the next effect of a program."""
        if self._crash_point(node):
            return
        program = node.programs[tx]
        effect = program.popleft()
        self.history.append(f"{node.name}/{tx}   {effect}")
        self._perform(node, tx, effect)
        if not program:
            node.programs.pop(tx, None)
            if not self._crash_point(node):
                self._sweep(node, tx)

    def _blocked(self, node: Node, tx: int) -> bool:
        effect = node.programs[tx][0]
        return isinstance(effect, c.Transact | c.Execute | c.Prepare) and self.waits(node, tx, effect)

    def work(self) -> ScriptedWorld:
        """Let every node finish what it is doing, without delivering anything or firing timers (for hand-made schedules)."""
        while self._work():
            pass
        return self

    def _work(self) -> bool:
        """One step of what the nodes do by themselves; False if all wait."""
        for node in self.nodes.values():
            for tx in node.programs:
                if not self._blocked(node, tx):
                    self._step(node, tx)
                    return True
        for node in self.nodes.values():
            for tx in node.inbox:
                if self._has_next(node, tx):
                    self._next(node, tx)
                    return True
        return False

    def _advance(self) -> bool:
        """The next step of the deterministic order; False if everything is at rest."""
        if self._work():
            return True
        actions = self._actions(programs=False)
        if actions:
            actions[0]()
            return True
        for node in self.nodes.values():
            for tx in node.programs:
                self.failing = True  # it waits for a lock: its lock timeout
                self._step(node, tx)
                self.failing = False
                return True
        for node in self.nodes.values():
            if not node.up:
                self.restart(node.name)
                return True
        if self._at_rest():
            return False
        return self._fire_next()

    def _actions(self, programs: bool = True) -> list[Action]:
        """Steps that are possible now, apart from timers and faults.

        Args:
            programs: Also the steps of programs, and deliveries that the broker repeats before their time.
        """
        actions: list[Action] = []
        if programs:
            for node in self.nodes.values():
                actions += [partial(self._step, node, tx) for tx in node.programs]
                actions += [partial(self._next, node, tx) for tx in node.inbox if self._has_next(node, tx)]
        for index, (name, request) in enumerate(self.requests):
            if self.nodes[name].idle(request.tx):
                actions.append(partial(self._request, index))
        for index, message in enumerate(self.network):
            if self.nodes[message.to].idle(message.tx):
                actions.append(partial(self._receive, index))
        actions += [partial(self._accept, index, acked=True) for index in range(len(self.publications))]
        actions += [partial(self._log, index, told=True) for index in range(len(self.asked))]
        seen: set[tuple[str, int]] = set()
        for id_, message in self.broker.items():
            if self.ordered and (message.to, message.tx) in seen:
                continue
            seen.add((message.to, message.tx))
            if self.nodes[message.to].idle(message.tx) and (programs or id_ not in self.outstanding):
                actions.append(partial(self._deliver, id_))
        return actions

    def _has_next(self, node: Node, tx: int) -> bool:
        """Return whether a finished store operation (or a daemon's start) waits to be handled, and can be."""
        if not node.inbox.get(tx) or node.programs.get(tx):
            return False
        return tx != DAEMON or not any(node.programs.values())

    def _next(self, node: Node, tx: int) -> None:
        self.event(node.name, tx, node.inbox[tx].popleft())

    def _request(self, index: int) -> None:
        name, request = self.requests.pop(index)
        self.event(name, request.tx, request)

    def _receive(self, index: int) -> None:
        message = self.network.pop(index)
        self.event(message.to, message.tx, message)

    def _lose(self, choose: random.Random) -> None:
        """Lose one thing on its way."""
        losable: list[Action] = [partial(self._drop, index) for index in range(len(self.network))]
        for index in range(len(self.publications)):
            losable.append(partial(self._reject, index))
            losable.append(partial(self._accept, index, acked=False))
        for index in range(len(self.asked)):
            losable.append(partial(self._unasked, index))
            losable.append(partial(self._log, index, told=False))
        if losable:
            choose.choice(losable)()

    def _drop(self, index: int) -> None:
        self.history.append(f"lose {self.network.pop(index)}")

    def _fire_any(self, choose: random.Random) -> None:
        ready = [(node, key) for node in self.nodes.values() for key in node.timers if node.idle(key[0])]
        if ready:
            self._fire(*choose.choice(ready))

    def _fire_next(self) -> bool:
        """Fire the earliest timer, or let the broker deliver again; False if there is neither."""
        due: list[tuple[float, int, Action]] = []
        for node in self.nodes.values():
            for key, time in node.timers.items():
                if node.idle(key[0]):
                    due.append((time, len(due), partial(self._fire, node, key)))
        for id_, time in self.outstanding.items():
            due.append((time, len(due), partial(self._deliver, id_)))
        if not due:
            return False
        time, _, action = min(due, key=lambda one: one[:2])
        self.now = max(self.now, time)
        action()
        return True

    def _fire(self, node: Node, key: tuple[int, str]) -> None:
        del node.timers[key]
        self.event(node.name, key[0], c.Timer(key[1]))

    def _at_rest(self) -> bool:
        if self.broker or self.publications or self.asked or self.network or self.requests:
            return False
        for node in self.nodes.values():
            if any(tx != DAEMON for tx, _ in node.timers):
                return False
            if DAEMON in node.machines and any(not row.marked for row in node.store.outbox):
                return False
        return True

    # --- broker --------------------------------------------------------------------------------------------------------------

    def _accept(self, index: int, *, acked: bool) -> None:
        publication = self.publications.pop(index)
        self.published += 1
        self.broker[self.published] = publication.message
        self._reply(publication, c.Done(publication.tag, "done" if acked else "failed"))

    def _log(self, index: int, *, told: bool) -> None:
        """A request reaches the vote store; its answer may be lost."""
        asked = self.asked.pop(index)
        voter = asked.effect.voter
        vote = self.log_once(asked.tx, voter, asked.effect.vote)
        if told:
            self._reply(asked, c.Done(asked.effect.tag, "done", (voter, vote)))

    def _unasked(self, index: int) -> None:
        self.history.append(f"lose {self.asked.pop(index).effect}")

    def _reject(self, index: int) -> None:
        publication = self.publications.pop(index)
        self._reply(publication, c.Done(publication.tag, "failed"))

    def _reply(self, sent: Publication | Asked, done: c.Done) -> None:
        """The answer to what a machine has sent; one that is gone gets none."""
        node = self.nodes[sent.node]
        if node.up and node.epoch == sent.epoch and sent.tx in node.machines:
            node.inbox.setdefault(sent.tx, deque()).append(done)

    def _deliver(self, id_: int) -> None:
        message = self.broker[id_]
        self.outstanding[id_] = self.now + REDELIVERY
        self.event(message.to, message.tx, c.Delivery(message, id_))
