"""A provider outside: it does the steps of a service, and neither shares a local transaction with it nor prepares.

The service calls it, and then writes down in its own database what the answer was. The idempotency row and the outbox rows of the local transaction that
the machine has asked for go with it. Between the two a crash, or an answer that never comes, leaves it unknown whether the provider has done it. The machine
gets ``failed``, and repeats. What a repetition does depends on the provider:

- It remembers the *key* of the request: it answers as before, and does nothing.
- It can be *asked* how a request has ended: the service forces a note before each request, and asks before it repeats one. A request that the
  provider is just working on is neither done nor not done: ``failed``, and the machine comes again.
- Neither: it does it once more. A compensation then knows only what the service itself has written down, so that what was done behind an answer that was
  lost stays done.

A compensation is a request of its own, about an earlier one. A provider that knows keys or answers questions says whether there is anything to undo.

In an outage nobody reaches it, and none of its answers arrives. Whoever asks waits until the time for an answer is over, as for an answer that never comes. What the
provider had received before, it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from simtx.errors import ProtocolViolation
from simtx.protocols import Branch, Key, Transact
from simtx.simulator.work import REFUSE, Work

if TYPE_CHECKING:
    from simtx.event_log.journal import Journal
    from simtx.scenario.infrastructure import ProviderSpec
    from simtx.simulator.disk import Disk
    from simtx.simulator.environment import Environment
    from simtx.simulator.store import Store
    from simtx.simulator.workers import Workers
    from simtx.workload.provider import Behaviour

T = TypeVar("T")
_PENDING: Final = "pending"
_ANSWERS: Final = ("done", "refused")


class Known(NamedTuple):
    """Memory of a request at a provider.

    Attributes:
        answer: ``done``, ``refused``, or ``pending``.
        branch: What the service writes down upon this answer.
        since: When the request came.
    """

    answer: str
    branch: Branch | None
    since: float


class Owner(Protocol):
    """The node of the service, as its provider knows it."""

    name: str
    env: Environment
    journal: Journal | None
    disk: Disk
    pool: Workers | None
    paused: bool
    backlog: list[tuple[Callable[[Any], object], Any]]

    def outbox_written(self) -> None:
        """A local transaction with outbox rows has committed."""


class Provider:
    """The provider of one service.

    Args:
        node: The service's node.
        store: Its store: it keeps what the service writes down, and has the values that the provider changes.
        spec: What the service knows of it.
        behaviour: How it answers.

    Attributes:
        behaviour: How it answers.
        up: Whether it can be reached.
        under_way: Requests that the provider has not worked off, by transaction.
        counts: Requests by how they have ended: ``done``, ``refused``, ``unknown``, ``limited``; and ``query``.
    """

    def __init__(self, node: Owner, store: Store, spec: ProviderSpec, behaviour: Behaviour) -> None:
        self._node = node
        self._store = store
        self._env = node.env
        self._spec = spec
        self.behaviour = behaviour
        self.up = True
        self._known: dict[Key, Known] = {}
        self._noted: set[Key] = set()  # requests that the service has forced a note about
        self.under_way: Counter[int] = Counter()
        self.counts = dict.fromkeys((*_ANSWERS, "unknown", "limited", "query"), 0)

    # --- on the side of the service -----------------------------------------------------------------------------------------------

    def begin(self, work: Work) -> None:
        """A worker begins with a local transaction of which the provider does the work."""
        effect, store = work.effect, self._store
        if type(effect) is not Transact:
            raise ProtocolViolation(
                f"{work.actor.machine!r} asks {self._node.name} for a {type(effect).__name__}, which its provider cannot do"
            )
        key = effect.key
        if key is not None and store.row(key) is not None:
            self._write(work)  # it says that it is a duplicate
            return
        if not effect.operations:
            self._settle(work, key)
        elif effect.undoes is not None:
            self._settle(work, effect.undoes)
        else:
            self._prepare(work)

    def _settle(self, work: Work, about: Key | None) -> None:
        """An earlier request decides what there is to do: find out how it has ended."""
        effect, store = work.effect, self._store
        assert type(effect) is Transact  # noqa: S101 - `begin` has seen to it
        if about is not None and store.row(about) is None:
            if not self.up and self._remembers:
                self._env.call_in(self._spec.timeout, self._silence, work)
                return
            known = self._recall(about)
            if known is not None and known.answer == _PENDING:
                self._fail(work)
                return
            if known is not None:
                self._node.disk.force(self._adopt, (work, about, known), work.tx)
                return
        undoes = effect.undoes is not None and store.row(effect.undoes) == effect.undone_if
        if effect.operations and undoes:
            self._prepare(work)
        else:
            self._write(work)

    def _adopt(self, found: tuple[Work, Key, Known]) -> None:
        """Write down what the provider says of an earlier request, with the events that were to go out with it."""
        work, about, known = found
        if not self._waits(work, self._adopt, found):
            return
        self._noted_down(work, "adopt")
        branch, store = known.branch, self._store
        store.rows[about] = known.answer if branch is None or branch.value is None else branch.value
        if branch is not None and branch.outbox:
            store.outbox.begin(work)
            store.outbox.commit(work, branch.outbox)
            self._node.outbox_written()
        self._settle(work, about)

    def _noted_down(self, work: Work, what: str) -> None:
        """The service has forced something that no machine has asked for."""
        if work.actor.record is not None:
            work.actor.record.forced += 1
        if self._node.journal is not None:
            self._node.journal.called(work.actor, what)

    def _prepare(self, work: Work) -> None:
        """Force a note before the first request, if the provider can be asked about it; ask it before the second one."""
        key = work.effect.key if type(work.effect) is Transact else None
        if not self._spec.status_query or key is None:
            self._call((work, self._env.now))
        elif key not in self._noted:
            self._node.disk.force(self._note, work, work.tx)
        else:
            self._count("query", work)
            latency = self.behaviour.latency(work.tx) * self._slowness
            if self.up and latency <= self._spec.timeout:
                self._env.call_in(latency, self._answered, (work, self._env.now))
            else:
                self._env.call_in(self._spec.timeout, self._silence, work)

    def _note(self, work: Work) -> None:
        effect = work.effect
        if type(effect) is not Transact or effect.key is None or not self._waits(work, self._note, work):
            return
        self._noted.add(effect.key)
        self._noted_down(work, "intent")
        self._call((work, self._env.now))

    def _answered(self, asked: tuple[Work, float]) -> None:
        """The provider has said how the request has ended."""
        work, since = asked
        if not self.up:
            self._miss(work, since)
            return
        effect = work.effect
        if type(effect) is not Transact or effect.key is None or not self._waits(work, self._answered, asked):
            return
        known = self._known.get(effect.key)
        if known is None:
            self._call((work, self._env.now))
        elif known.answer == _PENDING:
            self._fail(work)
        else:
            self._conclude(work, known.answer)

    def _waits(self, work: Work, callback: Callable[[T], None], argument: T) -> bool:
        """Return whether the service goes on with this work: it has not crashed since, and is not paused, or it does so later."""
        node = self._node
        if node.pool is None or work.epoch != node.pool.epoch:
            return False
        if node.paused:
            node.backlog.append((callback, argument))
            return False
        return True

    def _write(self, work: Work) -> None:
        """Run the part of the local transaction that is the service's own."""
        self._store.outbox.begin(work)
        self._store.run(work)

    def _fail(self, work: Work) -> None:
        self._store.drop(work, "failed")

    def _conclude(self, work: Work, verdict: str) -> None:
        """An answer has come: write it down, with all that the local transaction was to write beside its work."""
        work.operations = () if verdict == "done" else REFUSE
        self._write(work)

    # --- the request --------------------------------------------------------------------------------------------------------------

    @property
    def _slowness(self) -> float:
        pool = self._node.pool
        return 1.0 if pool is None else pool.factor

    def _call(self, asked: tuple[Work, float]) -> None:
        """Send the request, unless the service has crashed meanwhile."""
        work, since = asked
        if not self._waits(work, self._call, asked):
            return
        spec, env, tx = self._spec, self._env, work.tx
        if not self.up:
            env.call_in(spec.timeout, self._silence, work)
            return
        if not self.behaviour.admits(env.now):
            self._count("limited", work)
            if env.now + spec.retry_after < since + spec.timeout:
                env.call_in(spec.retry_after, self._call, asked)
            else:
                env.call_in(0.0, self._fail_later, work)
            return
        latency, answered, done = self.behaviour.fate(tx, self._slowness)
        in_time = answered and latency <= spec.timeout
        if done:
            effect = work.effect
            key = effect.key if type(effect) is Transact else None
            if key is not None and self._recall(key) is None:
                self._known[key] = Known(_PENDING, None, env.now)
            request = Work(work.actor, effect)
            self.under_way[tx] += 1
            if work.actor.record is not None:
                work.actor.record.outside += 1  # its answer still counts
            env.call_in(latency / 2, self._perform, (request, work if in_time else None, latency / 2, env.now))
        if not in_time:
            env.call_in(spec.timeout, self._silence, work)

    def _fail_later(self, work: Work) -> None:
        if self._waits(work, self._fail_later, work):
            self._fail(work)

    def _miss(self, work: Work, since: float) -> None:
        """An answer does not arrive: the service goes on waiting for it."""
        self._env.call_at(max(self._env.now, since + self._spec.timeout), self._silence, work)

    def _silence(self, work: Work) -> None:
        """Give up waiting: no answer has come in time, and nobody knows whether it was done."""
        if self._waits(work, self._silence, work):
            self._count("unknown", work)
            self._fail(work)

    # --- on the side of the provider ------------------------------------------------------------------------------------------------

    @property
    def _remembers(self) -> bool:
        return self._spec.status_query or self._spec.idempotency is not None

    def _recall(self, key: Key) -> Known | None:
        """Recall an earlier request, by its key or since it can be asked; None: nothing is known of it any more."""
        known = self._known.get(key)
        if known is None or self._spec.status_query:
            return known
        kept = self._spec.idempotency
        return known if kept is not None and self._env.now - known.since <= kept else None

    def _perform(self, asked: tuple[Work, Work | None, float, float]) -> None:
        """Do what it was asked for, and answer; a request whose key is known gets the answer of the first one."""
        request, waiting, back, sent = asked
        self.under_way[request.tx] -= 1
        if not self.under_way[request.tx]:
            del self.under_way[request.tx]
        if request.actor.record is not None:
            request.actor.record.outside -= 1
        effect, store = request.effect, self._store
        assert type(effect) is Transact  # noqa: S101 - `begin` has seen to it
        key = effect.key
        known = None if key is None or self._spec.idempotency is None else self._recall(key)
        if known is not None and known.answer != _PENDING:
            verdict = known.answer
        else:
            verdict = store.perform(request)
            if key is not None:
                branch = effect.accepted if verdict == "done" else effect.refused
                self._known[key] = Known(verdict, branch, self._env.now if known is None else known.since)
        if waiting is not None:
            self._env.call_in(back, self._answer, (waiting, verdict, sent))

    def _answer(self, answer: tuple[Work, str, float]) -> None:
        work, verdict, sent = answer
        if not self.up:
            self._miss(work, sent)
        elif self._waits(work, self._answer, answer):
            self._count(verdict, work)
            self._conclude(work, verdict)

    def _count(self, what: str, work: Work) -> None:
        self.counts[what] += 1
        if self._node.journal is not None:
            self._node.journal.called(work.actor, what)

    # --- faults -------------------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Cut the provider off: nobody reaches it any more, and no answer arrives."""
        self.up = False

    def reconnect(self) -> None:
        """Let it be reached again."""
        self.up = True
