"""The clients of a simulated run: when they ask, what they do when no answer comes, and when they give up.

A request reaches its entry node or it reaches nobody: the node is down, or the request is lost on the way. A client's transport says so
(nobody accepts the connection, nothing is acknowledged), and it then asks again, with the same id, after a back-off. A request that
a node has received is asked for again only where the scenario says so *and* the strategy recognises it (`Strategy.recognises_requests`).

Clients talk over a connection: a request arrives once or not at all, however often the network doubles other messages. An answer that
arrives after the client's deadline is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simtx.event_log import journal
from simtx.metrics.guarantees import SPLIT
from simtx.protocols import Request
from simtx.protocols.names import CLIENT
from simtx.protocols.policies import RetryBudget
from simtx.workload.by_transaction import Draw
from simtx.workload.planner import arrivals

if TYPE_CHECKING:
    from simtx.metrics.ledger import TransactionRecord
    from simtx.simulator.surroundings import Surroundings


class _Call:
    """A client who waits for an answer and may ask again."""

    __slots__ = ("attempt", "entry", "number", "record", "request")

    def __init__(self, record: TransactionRecord, request: Request, entry: str, number: int | None) -> None:
        self.record = record
        self.request = request
        self.entry = entry
        self.number = number  # of the entry of the event log with which the client has asked
        self.attempt = 0  # further requests so far


class Clients:
    """Everybody who asks for transactions.

    Args:
        world: Where they ask.

    Attributes:
        over: Whether all have asked for all that they wanted.
        asking: Transactions whose requests have reached nobody so far, and that their clients are going to ask for again.
        asked: Transactions that were asked for so far; they are numbered in this order, from 0.
        suppressed: Further requests that were not made, since the budget was spent.
        insists: Whether a client asks again that has got no answer.
    """

    def __init__(self, world: Surroundings) -> None:
        scenario = world.scenario
        self.over = False
        self.asking: set[int] = set()
        self._world = world
        self._env = world.env
        self._behaviour = behaviour = scenario.clients
        self._budget = None if behaviour.budget is None else RetryBudget(behaviour.budget, behaviour.budget_burst)
        self.suppressed = 0
        self._remote = scenario.network.client_zone is not None
        self.insists = scenario.clients.ask_again == "unanswered" and world.extras.recognises_requests
        self._jitter = world.by_transaction.uniform(CLIENT, "backoff-jitter")
        self.asked = 0
        self._process = world.processes.get(CLIENT)
        self._served: set[int] = set()  # of a closed workload: users who have gone on before their patience was over
        self._arrivals: Iterator[float] | None = None
        self._thinking: Draw | None = None
        if scenario.workload.think_time is not None:
            self._thinking = world.by_transaction.draws(scenario.workload.think_time, "workload", "think-time")
        else:
            self._arrivals = arrivals(scenario.workload, world.streams)

    def start(self) -> None:
        """Schedule the first arrivals, and their end."""
        env, plan = self._env, self._world.scenario.run
        if plan.duration is not None:
            env.call_at(plan.duration, self._end)
        if self._thinking is not None:
            for _ in range(self._world.scenario.workload.users):
                env.call_in(self._thinking(-1), self._arrive)
        else:
            self._schedule()

    def _schedule(self) -> None:
        if self._arrivals is None:
            return
        time = next(self._arrivals, None)
        if time is None:
            self._end(None)
        elif self._world.scenario.run.duration is None or time < self._world.scenario.run.duration:
            self._env.call_at(time, self._arrive)

    def _end(self, _: object) -> None:
        if not self.over:
            self.over = True
            self._world.window.close()

    # --- asking -----------------------------------------------------------------------------------------------------------------

    def _arrive(self, _: object) -> None:
        if self.over:
            return
        world = self._world
        tx = self.asked
        self.asked += 1
        now = self._env.now
        plan, demands = world.planner.plan(tx)
        record = world.ledger.begin(plan, now, demands, now >= world.scenario.run.warmup, world.planner.writing)
        entry = world.strategy.entry(plan)
        if self._budget is not None:
            self._budget.earn()
        number = journal.arrived(world.trace, plan, entry) if world.trace is not None else None
        self._ask(_Call(record, Request(tx, plan), entry, number))
        if self._thinking is not None:
            self._env.call_in(self._behaviour.deadline, self._lose_patience, tx)
        if world.scenario.run.transactions == self.asked:
            self._end(None)
        elif self._arrivals is not None:
            self._schedule()

    def _ask(self, call: _Call) -> None:
        """Send a client's request on its way; on a host, it takes the time of the clients' process first."""
        if self._process is None:
            self._leave(call)
        else:
            self._process.handle(self._leave, call)

    def _leave(self, call: _Call) -> None:
        if not self._remote:
            self._at_the_node(call)
            return
        link = self._world.link(CLIENT, call.entry)
        if not link.carry(self._at_the_node, call, call.record.tx):
            self._unreached(call, "")
        elif self.insists:
            self._wait_for_answer(call)

    def _at_the_node(self, call: _Call) -> None:
        if not self._world.nodes[call.entry].request(call.request):
            self._unreached(call, "down")
            return
        self.asking.discard(call.record.tx)
        if self.insists and not self._remote:
            self._wait_for_answer(call)

    # --- asking again -----------------------------------------------------------------------------------------------------------

    def _unreached(self, call: _Call, why: str) -> None:
        """A request has met nobody."""
        world, record, behaviour = self._world, call.record, self._behaviour
        if world.trace is not None:
            journal.unreached(world.trace, record.tx, call.number, call.entry, why)
        if record.answered == record.answered:  # an answer to an earlier request has come meanwhile
            return
        deadline = record.arrival + behaviour.deadline
        again = behaviour.ask_again != "never"
        wait = behaviour.backoff.bound(call.attempt) * self._jitter(record.tx) if again else 0.0
        if again and self._env.now + wait < deadline:
            self.asking.add(record.tx)
            self._env.call_in(wait, self._ask_again, call)
        else:
            self.asking.discard(record.tx)
            self._env.call_at(max(deadline, self._env.now), self._give_up, call)

    def _ask_again(self, call: _Call) -> None:
        world, tx = self._world, call.record.tx
        if call.record.answered == call.record.answered:
            self.asking.discard(tx)
            return
        if self._budget is not None and not self._budget.spend():
            self._suppress(call)
            return
        call.attempt += 1
        world.ledger.counts["requests_repeated"] += 1
        if world.trace is not None:
            call.number = journal.asked_again(world.trace, tx, call.number, call.entry, call.attempt)
        self._ask(call)

    def _suppress(self, call: _Call) -> None:
        """A client does not ask again, as the budget is spent: it waits until its deadline."""
        world, tx = self._world, call.record.tx
        self.suppressed += 1
        if world.trace is not None:
            journal.suppressed(world.trace, tx, call.number, call.entry)
        if tx in self.asking:
            self.asking.discard(tx)
            self._env.call_at(max(call.record.arrival + self._behaviour.deadline, self._env.now), self._give_up, call)

    def _give_up(self, call: _Call) -> None:
        record, trace = call.record, self._world.trace
        if trace is not None and record.answered != record.answered:
            journal.gave_up(trace, record.tx, call.number, call.entry)

    def _wait_for_answer(self, call: _Call) -> None:
        """Ask again unless an answer comes in time: for strategies that recognise a request that comes again."""
        wait = self._behaviour.timeout + self._behaviour.backoff.bound(call.attempt) * self._jitter(call.record.tx)
        if self._env.now + wait < call.record.arrival + self._behaviour.deadline:
            self._env.call_in(wait, self._silence, (call, call.attempt))

    def _silence(self, waiting: tuple[_Call, int]) -> None:
        call, attempt = waiting
        if call.attempt == attempt and call.record.tx not in self.asking:
            self._ask_again(call)

    # --- answers ----------------------------------------------------------------------------------------------------------------

    def answered(self, record: TransactionRecord, outcome: str) -> None:
        """A machine answers the client; only the first answer counts, and none after the client's deadline."""
        if record.answer:
            if {outcome, record.answer} == {"committed", "aborted"}:
                record.watch |= SPLIT
            return
        if not self._remote:
            if self._env.now - record.arrival <= self._behaviour.deadline:
                record.answer = outcome
                record.answered = self._env.now
                self._user_goes_on(record.tx)
        else:
            record.answer = outcome
            source = self._world.strategy.entry(record.plan)
            self._env.call_in(self._world.link(source, CLIENT).draw(record.tx), self._answer_arrives, record)

    def _answer_arrives(self, record: TransactionRecord) -> None:
        if self._env.now - record.arrival > self._behaviour.deadline:
            return
        record.answered = self._env.now
        if self._world.trace is not None:
            self._world.trace.log("reply", CLIENT, record.tx, actor="network", name=record.answer)
        self._user_goes_on(record.tx)

    def _user_goes_on(self, tx: int) -> None:
        if self._thinking is not None and tx not in self._served:
            self._served.add(tx)
            self._env.call_in(self._thinking(tx), self._arrive)

    def _lose_patience(self, tx: int) -> None:
        if tx in self._served:
            self._served.discard(tx)
        else:
            self._user_goes_on(tx)
