"""Properties of a correct protocol, as predicates of the checker's states, and the observer that sees what nodes say and do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from simtx.checker.explorer.interning import by_number
from simtx.checker.protocols.broker import is_empty
from simtx.checker.protocols.layout import CRASH, ENDED, MASK
from simtx.checker.protocols.local import Locals
from simtx.checker.protocols.local_store import Output
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.protocols import Message, Plan
from simtx.protocols.extras import extras
from simtx.protocols.subjects import cause_of

ALWAYS: Final[Mapping[str, str]] = {
    "agreement": "no two parties, nor the client, hold opposite decisions",
    "durable-votes": "commit is decided only when every participant has durably voted for it or done its step",
    "effect-once": "the net effect of every step is zero or one, at any time",
    "undo-order": "a step is undone only after all that came after it, along the plan",
    "order": "the broker gets the first copies of a transaction's events in the order in which a service committed them",
    "contract": "no machine meets an event that it has no answer for, breaks down, or goes on for ever upon one event",
    "termination": "when no more faults come, everything can still come to rest",
}
AT_REST: Final[Mapping[str, str]] = {
    "truth": "what the client was told comes true",
    "atomicity": "all steps of a transaction are in force, or none, as anybody has decided",
    "values": "the values of every store are what the steps in force amount to",
    "validity": "without a fault, a refusal or a conflict, every transaction commits, and its client gets that answer",
    "non-blocking": "with all nodes up, nobody is blocked, in doubt or stuck, no event is left over, and no client waits; after a crash, none that was promised the decision and whose transaction is in force, or was undone",
    "parked": "a transaction that waits for an operator is still known to the node that said so, and what the operator has settled stays settled, whatever has crashed",
    "no-loss": "every event that was committed has reached the broker",
    "no-ghost": "every event that has reached the broker tells of something that happened",
}
PROPERTIES: Final[Mapping[str, str]] = {**ALWAYS, **AT_REST}

#: Properties that say nothing about a strategy without a broker.
OF_BROKERS: Final = ("order", "no-loss", "no-ghost")


class Observed(NamedTuple):
    """Observations from outside of all nodes.

    Attributes:
        said: (transaction, outcome) of every decision and answer.
        told: (transaction, outcome) of the first answer, which is what the client knows.
        branches: (transaction, outcome) of every prepared branch that ended.
        rows: ((node, transaction), committed outbox messages in order, how many of them have reached the broker).
        loose: Causes of events that reached the broker without an outbox row.
        stuck: (node, transaction) that wait for an operator.
        refused: Transactions of which a step that only reads was refused, which leaves no trace on any disk.
        retried: Transactions that were stuck, and that an operator had tried again.
        alerts: (transaction, how many alerts have said that it waits for an operator, since one last turned to it).
        skipped: (transaction, how many steps an operator answers for, since they were skipped on request).
        vouched: Transactions that an operator answers for altogether (``resolve``).
        votes: ((transaction, voter), vote) of every vote in the vote store.
        flags: ``fault``, ``recovered``, ``order``, ``reopened``.
    """

    said: frozenset[tuple[int, str]] = frozenset()
    told: tuple[tuple[int, str], ...] = ()
    branches: frozenset[tuple[int, str]] = frozenset()
    rows: tuple[tuple[tuple[int, int], tuple[Message, ...], int], ...] = ()
    loose: frozenset[tuple[Any, ...]] = frozenset()
    stuck: frozenset[tuple[int, int]] = frozenset()
    refused: frozenset[int] = frozenset()
    retried: frozenset[int] = frozenset()
    alerts: tuple[tuple[int, int], ...] = ()
    skipped: tuple[tuple[int, int], ...] = ()
    vouched: frozenset[int] = frozenset()
    votes: tuple[tuple[tuple[int, str], str], ...] = ()
    flags: frozenset[str] = frozenset()

    def after(self, node: int, outputs: Iterable[Output]) -> Observed:
        """The observations, with these things that have left a node."""
        now = self
        for kind, value in outputs:
            if kind == "decided" or kind == "answer":
                if value[1] != "accepted":
                    now = now._replace(said=now.said | {value})
                if kind == "answer" and all(tx != value[0] for tx, _ in now.told):
                    now = now._replace(told=tuple(sorted((*now.told, value))))
                if kind == "answer" and now.stuck:
                    now = now._replace(stuck=now.stuck - {(node, value[0])})
            elif kind == "branch":
                now = now._replace(branches=now.branches | {value})
            elif kind == "row":
                now = now.committed(node, value)
            elif kind == "stored":
                now = now.stored(node, value)
            elif kind == "vote":
                now = now.logged(*value)
            elif kind == "stuck":
                now = now.waits(node, value)
            elif kind == "refused":
                now = now._replace(refused=now.refused | {value})
            elif kind == "retried":
                now = now._replace(retried=now.retried | {value})
            elif kind == "skipped":
                now = now._replace(skipped=_more(now.skipped, value, dict(now.alerts).get(value, 1)))
            elif kind == "vouched":
                now = now._replace(vouched=now.vouched | {value})
            elif kind == "freed":
                alerts = tuple(one for one in now.alerts if one[0] != value)
                now = now._replace(stuck=now.stuck - {(node, value)}, alerts=alerts)
            elif kind in ("fault", "recovered"):
                now = now._replace(flags=now.flags | {kind})
        return now

    def waits(self, node: int, tx: int) -> Observed:
        """A transaction waits for an operator; one that was settled so, and whose end is known, should not wait again."""
        settled = tx in self.vouched or tx in dict(self.skipped)
        over = settled and dict(self.told).get(tx, "accepted") != "accepted"
        flags = self.flags | {"reopened"} if over else self.flags
        return self._replace(stuck=self.stuck | {(node, tx)}, alerts=_more(self.alerts, tx, 1), flags=flags)

    def committed(self, node: int, message: Message) -> Observed:
        """An outbox row was committed."""
        known = {key: (messages, count) for key, messages, count in self.rows}
        messages, count = known.get((node, message.tx), ((), 0))
        known[node, message.tx] = ((*messages, message), count)
        return self._replace(rows=tuple((key, *known[key]) for key in sorted(known)))

    def logged(self, tx: int, voter: str, vote: str) -> Observed:
        """A request has reached the vote store, which writes a vote if there is none."""
        if self.vote(tx, voter):
            return self
        return self._replace(votes=tuple(sorted((*self.votes, ((tx, voter), vote)))))

    def vote(self, tx: int, voter: str) -> str:
        """The vote that is in the vote store, or nothing."""
        return dict(self.votes).get((tx, voter), "")

    def stored(self, node: int, message: Message) -> Observed:
        """The broker has got an event."""
        known = {key: (messages, count) for key, messages, count in self.rows}
        messages, count = known.get((node, message.tx), ((), 0))
        if message not in messages:
            return self._replace(loose=self.loose | {(node, message.kind, cause_of(message))})
        position = messages.index(message)
        if position > count:
            return self._replace(flags=self.flags | {"order"})
        if position == count:
            known[node, message.tx] = (messages, count + 1)
        return self._replace(rows=tuple((key, *known[key]) for key in sorted(known)))


class Judge:
    """The properties of one scope, with what depends on a part of a state remembered for that part.

    Args:
        scope: The scope.
        locals_: The local states.
        observations: What the numbers of observations in a state stand for.
        plans: The plans of all transactions, where nothing is refused.

    Attributes:
        writing: Indexes of the steps that write.
        behind: For each step those that come after it, directly or not.
    """

    def __init__(self, scope: Scope, locals_: Locals, observations: list[Observed], plans: tuple[Plan, ...]) -> None:
        self.scope = scope
        self.locals = locals_
        self.observations = observations
        self._seen: dict[tuple[str, int], bool] = {}
        needed = [i for i in range(scope.participants) if scope.writes(i) and scope.kind(i) != "retriable"]
        self._needed = {tx: frozenset((tx, index) for index in needed) for tx in range(scope.messages)}
        self.writing = [index for index in range(scope.participants) if scope.writes(index)]
        self._granted = scope.changed(**dict.fromkeys(BUDGETS, 0)) == scope.faultless()
        self._budget = scope.budget()
        self._work = {
            (step.service, plan.tx, int(step.index)): step.operations for plan in plans for step in plan.steps
        }
        self.behind = _descendants(plans[0])

    def given(self, budget: int) -> None:
        """Judge runs that began with this budget of faults."""
        self._budget = budget

    # --- parts of a state, remembered -------------------------------------------------------------------------------------------

    @by_number
    def net(self, local: int) -> dict[tuple[int, int], int]:
        """(transaction, step) -> how often it was done here, less how often it was undone."""
        return {key: did - undid for key, (did, undid) in self.locals.store(local).counts.items()}

    @by_number
    def firm(self, local: int) -> frozenset[tuple[int, int]]:
        """(transaction, step) that is in force here, or prepared."""
        store = self.locals.store(local)
        prepared = {(tx, step) for tx, branch in store.prepared.items() for step in branch.steps}
        return frozenset(prepared | {key for key, net in self.net(local).items() if net > 0})

    def _once(self, name: str, number: int, judge: Callable[[Observed], bool]) -> bool:
        known = self._seen.get((name, number))
        if known is None:
            known = self._seen[name, number] = judge(self.observations[number])
        return known

    def in_force(self, state: Any, tx: int) -> list[bool]:
        """List for each step that writes whether it is in force."""
        nets: dict[tuple[int, int], int] = {}
        for local in state[0]:
            nets.update(self.net(local))
        return [nets.get((tx, index), 0) > 0 for index in self.writing]

    # --- always -----------------------------------------------------------------------------------------------------------------

    def agreement(self, state: Any) -> bool:
        """See `ALWAYS`."""
        return self._once("agreement", state[3], _agree)

    def durable_votes(self, state: Any) -> bool:
        """See `ALWAYS`."""
        if self._once("open", state[3], _no_commit):
            return True
        firm: frozenset[tuple[int, int]] = frozenset().union(*map(self.firm, state[0]))
        required = self.required(self.observations[state[3]])
        return required is not None and required <= firm

    def required(self, seen: Observed) -> frozenset[tuple[int, int]] | None:
        """(transaction, step) that must be in force or prepared, as commit was decided; None if nothing can make up for what was refused."""
        committed = [tx for tx, outcome in seen.said | seen.branches if outcome == "committed"]
        if any(tx in seen.refused for tx in committed):
            return None
        return frozenset().union(*(self._needed[tx] for tx in committed))

    def effect_once(self, state: Any) -> bool:
        """See `ALWAYS`."""
        return not any(map(self.repeated, state[0]))

    @by_number
    def repeated(self, local: int) -> bool:
        """Return whether a step was done here more often than undone, by more than one, or less often."""
        return any(net not in (0, 1) for net in self.net(local).values())

    def undo_order(self, state: Any) -> bool:
        """See `ALWAYS`; where an operator answers for a step, its effects are not checked."""
        undone = [key for local in state[0] for key in self.undone(local)]
        if not undone:
            return True
        answered = self.answered_for(self.observations[state[3]])
        nets: dict[tuple[int, int], int] = {}
        for local in state[0]:
            nets.update(self.net(local))
        return not any(
            nets.get((tx, later), 0) > 0 for tx, index in undone if tx not in answered for later in self.behind[index]
        )

    def answered_for(self, seen: Observed) -> set[int]:
        """Transactions of which an operator answers for something."""
        return {*seen.vouched, *dict(seen.skipped)}

    @by_number
    def undone(self, local: int) -> frozenset[tuple[int, int]]:
        """(transaction, step) that was undone here, and is."""
        counts = self.locals.store(local).counts
        return frozenset(key for key, (did, undid) in counts.items() if undid and did <= undid)

    def order(self, state: Any) -> bool:
        """See `ALWAYS`."""
        return self._once("order", state[3], lambda seen: "order" not in seen.flags)

    def contract(self, state: Any) -> bool:
        """See `ALWAYS`."""
        return self._once("contract", state[3], lambda seen: "fault" not in seen.flags)

    # --- at rest ----------------------------------------------------------------------------------------------------------------

    def truth(self, state: Any) -> bool:
        """See `AT_REST`."""
        if not state[5] & ENDED:
            return True
        seen = self.observations[state[3]]
        for tx, outcome in seen.told:
            if tx in seen.vouched:
                continue
            done, undone, skipped = self._tally(state, tx)
            if (outcome == "committed" and undone > skipped) or (outcome == "aborted" and done > skipped):
                return False
            if outcome == "accepted" and (tx, "aborted") not in seen.said and not self._touched(state, tx):
                return False  # it was accepted, and has left no trace
        return True

    def _touched(self, state: Any, tx: int) -> bool:
        """Return whether any step of a transaction was ever done."""
        return any(owner == tx for local in state[0] for owner, _ in self.net(local))

    def atomicity(self, state: Any) -> bool:
        """See `AT_REST`."""
        if not state[5] & ENDED:
            return True
        seen = self.observations[state[3]]
        said = seen.said
        for tx in range(self.scope.messages):
            if tx in seen.vouched:
                continue
            done, undone, skipped = self._tally(state, tx)
            if min(done, undone) > skipped:
                return False
            if ((tx, "aborted") in said and done > skipped) or ((tx, "committed") in said and undone > skipped):
                return False
        return True

    def values(self, state: Any) -> bool:
        """See `AT_REST`."""
        return not state[5] & ENDED or all(map(self._fits, state[0]))

    @by_number
    def _fits(self, local: int) -> bool:
        """Return whether the values of one store are the sum of what was done there and not undone."""
        store = self.locals.store(local)
        name = self.locals.states.values[local].name
        expected: dict[str, float] = {}
        for (tx, index), net in self.net(local).items():
            for one in self._work.get((name, tx, index), ()):
                if one.kind == "add":
                    expected[one.key] = expected.get(one.key, 0) + net * one.amount
        found = {key: value for key, value in store.values.items() if value}
        return found == {key: value for key, value in expected.items() if value}

    def _tally(self, state: Any, tx: int) -> tuple[int, int, int]:
        """Count of the steps that write: how many are in force, how many are not, and for how many an operator answers."""
        force = self.in_force(state, tx)
        return sum(force), len(force) - sum(force), dict(self.observations[state[3]].skipped).get(tx, 0)

    def validity(self, state: Any) -> bool:
        """See `AT_REST`; only where nothing may be refused can a state tell that nothing was."""
        if not self._granted or not state[5] & ENDED or state[4] != self._budget:
            return True
        told = dict(self.observations[state[3]].told)
        return all(
            told.get(tx) in ("committed", "accepted") and all(self.in_force(state, tx))
            for tx in range(self.scope.messages)
        )

    def non_blocking(self, state: Any) -> bool:
        """See `AT_REST`."""
        if not state[5] & ENDED:
            return True
        if self.scope.lasting:
            up = [local for local in state[0] if self.locals.states.values[local].up]
            return not any(store.prepared or store.open for store in map(self.locals.store, up))
        seen = self.observations[state[3]]
        if not is_empty(state[2]) or seen.stuck:
            return False
        if len(seen.told) < self.scope.messages and state[4] & CRASH * MASK == self._budget & CRASH * MASK:
            return False
        if (
            self.locals.strategy.promise == "decided"
        ):  # then what is in force for good, or undone, was also answered, crash or not
            told = dict(seen.told)
            silent = [tx for tx in range(self.scope.messages) if tx not in told]
            if any(any(self.in_force(state, tx)) or self._was_undone(state, tx) for tx in silent):
                return False
        for local in state[0]:
            store = self.locals.store(local)
            if self.locals.busy(local) or store.prepared or store.outbox or store.open:
                return False
        return True

    def _was_undone(self, state: Any, tx: int) -> bool:
        """Return whether a step was done and undone: whoever has seen to that knows of the transaction after a crash, too."""
        counts = (self.locals.store(local).counts for local in state[0])
        return any(owner == tx and did and undid for one in counts for (owner, _), (did, undid) in one.items())

    def parked(self, state: Any) -> bool:
        """See `AT_REST`."""
        if not state[5] & ENDED:
            return True
        if "reopened" in self.observations[state[3]].flags:
            return False
        stuck = self.observations[state[3]].stuck
        return all(any(owner == tx for owner, _ in self.locals.busy(state[0][node])) for node, tx in stuck)

    def no_loss(self, state: Any) -> bool:
        """See `AT_REST`."""
        return not state[5] & ENDED or self._once("loss", state[3], _nothing_lost)

    def no_ghost(self, state: Any) -> bool:
        """See `AT_REST`."""
        if not state[5] & ENDED:
            return True
        seen = self.observations[state[3]]
        told = set(seen.loose)
        committed: set[tuple[int, str, Any]] = set()
        for (node, _), messages, count in seen.rows:
            causes = [(node, one.kind, cause_of(one)) for one in messages]
            committed.update(causes)
            told.update(causes[:count])
        answered = self.answered_for(seen)
        if any(one in committed and one[2] is not None and one[2][0] not in answered for one in seen.loose):
            return False  # it is not, word for word, what was committed
        return all(self._true(state, *one) for one in told if one[2] is not None and one[2][0] not in answered)

    def _true(self, state: Any, node: int, kind: str, cause: tuple[int, int, str]) -> bool:
        """Return whether what an event says of its cause is so: it was done, or refused, or undone; and all before it was done.

        Steps that only read leave nothing to judge by.
        """
        tx, index, what = cause
        did, undid = self.locals.store(state[0][node]).counts.get((tx, index), (0, 0))
        if not self.scope.writes(index):
            return True
        if kind == "step-refused":
            return not did or (what == "compensation" and undid > 0)
        if kind not in ("step-done", "completed"):
            return True
        return did > 0 and (kind != "completed" or self._all_done(state, tx))

    def _all_done(self, state: Any, tx: int) -> bool:
        """Return whether every step of a transaction that writes was done once."""
        done = {key for local in state[0] for key, (did, _) in self.locals.store(local).counts.items() if did}
        return all((tx, index) in done for index in self.writing)

    def always(self) -> dict[str, Callable[[Any], bool]]:
        """Predicates of every state; `termination` takes more than the state, see `simtx.checker.explorer.quiescence`."""
        return self._of(name for name in ALWAYS if name != "termination")

    def at_rest(self) -> dict[str, Callable[[Any], bool]]:
        """Predicates of states in which nothing more can happen."""
        return self._of(("non-blocking",) if self.scope.lasting else AT_REST)

    def _of(self, names: Iterable[str]) -> dict[str, Callable[[Any], bool]]:
        broker = self.locals.strategy.uses_broker
        exempt = (*extras(self.locals.strategy).exempt, *(() if broker else OF_BROKERS))
        return {name: getattr(self, name.replace("-", "_")) for name in names if name not in exempt}

    # --- goals ------------------------------------------------------------------------------------------------------------------

    def commits(self, state: Any) -> bool:
        """A transaction has come to its end with all steps in force."""
        return bool(state[5] & ENDED) and all(self.in_force(state, 0))

    def aborts(self, state: Any) -> bool:
        """A transaction has come to its end with no step in force."""
        return bool(state[5] & ENDED) and not any(self.in_force(state, 0))

    def recovers(self, state: Any) -> bool:
        """A restarted node found something to recover."""
        return "recovered" in self.observations[state[3]].flags


def _descendants(plan: Plan) -> dict[int, frozenset[int]]:
    """Steps that come after each step, directly or not."""
    behind: dict[int, set[int]] = {int(step.index): set() for step in plan.steps}
    for step in reversed(plan.steps):
        for before in step.after:
            behind[int(before)] |= {int(step.index), *behind[int(step.index)]}
    return {index: frozenset(found) for index, found in behind.items()}


def _more(counts: tuple[tuple[int, int], ...], tx: int, more: int) -> tuple[tuple[int, int], ...]:
    """Counts by transaction, with more for one."""
    known = dict(counts)
    known[tx] = known.get(tx, 0) + more
    return tuple(sorted(known.items()))


def _agree(seen: Observed) -> bool:
    held = seen.said | seen.branches
    return not any((tx, "aborted") in held for tx, outcome in held if outcome == "committed")


def _no_commit(seen: Observed) -> bool:
    return all(outcome != "committed" for _, outcome in seen.said | seen.branches)


def _nothing_lost(seen: Observed) -> bool:
    return all(count == len(messages) for _, messages, count in seen.rows)
