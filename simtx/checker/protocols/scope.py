"""The scope of a verification: how many participants and transactions, what may go wrong how often, and the plans that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict, get_args

from simtx.checker.protocols.rollout import MOST_BACKS, Rollout, Unreadable
from simtx.errors import ScenarioError
from simtx.protocols import Operation, Plan, Step, StepKind

if TYPE_CHECKING:
    from simtx.scenario import Scenario

BUDGETS: Final = (
    "crashes",
    "losses",
    "duplicates",
    "timeouts",
    "failures",
    "interventions",
    "repeats",
    "overtakes",
    "dead_letters",
)
#: A step of a plan: name, service, kind, indexes of the steps that it comes after, whether it writes.
Part: TypeAlias = tuple[str, str, StepKind, tuple[int, ...], bool]
Isolation: TypeAlias = Literal["serializable", "read-committed"]
Remembers: TypeAlias = Literal["keys", "nothing"]
_MOST: Final = 15
_STEPS: Final = 8
_REFUSE: Final = Operation("", "refuse")
#: What a step that is to be refused would add: should it take effect after all, the values of its store show it.
_TOO_MUCH: Final = 1000


class ScopeOptions(TypedDict, total=False):
    """Arguments of `simtx.verify` that are fields of `Scope`."""

    participants: int
    messages: int
    crashes: int
    losses: int
    duplicates: int
    timeouts: int
    failures: int
    interventions: int
    repeats: int
    overtakes: int
    dead_letters: int
    upgrade: Rollout | Unreadable | None
    lasting: bool
    parallel: bool
    pivot: int | None
    revisit: bool
    reads: int
    contention: bool
    refusals: bool | int
    unruly: bool
    retained: int | None
    isolation: Isolation
    provider: Remembers | None
    provider_at: int | None


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Scope of one exploration, which covers everything that these numbers allow.

    Attributes:
        participants: Services, each with one step of the transaction, unless there is a `revisit`.
        messages: Transactions that the client asks for, at any time.
        crashes: Crashes of any node at any point, a recovery included; a restart may come at any time and is free.
        losses: Messages, publications and acknowledgements that get lost while both ends are up. What is sent to a node that is down may
            be lost for free.
        duplicates: Messages and deliveries that arrive twice, the copy at any later time.
        timeouts: Timers of transactions that fire early, and publications that time out though they arrive. When nothing else can
            happen, time passes, and any timer fires for free; so do the periodic timers of daemons.
        failures: Store operations that fail for a passing reason.
        interventions: Untimely requests of an operator (``retry``, ``skip``, ``resolve``) to a transaction, at its hub if there is one. If
            there are any, an operator also turns to whatever is stuck when nothing else can happen, for free, and has it tried
            again at most once. What an operator answers for (``skip``, ``resolve``, of what is stuck) is no longer the protocol's:
            `truth`, `atomicity` and `no-ghost` do not judge it.
        repeats: Requests of the client that come again, with the same number, at any time after the first: also after it has got its
            answer, since a request may be late.
        overtakes: Local transactions that have numbered their outbox rows and are still under way while anything else happens, so that rows
            with higher numbers may appear before theirs.
        dead_letters: Messages at the broker that it gives up, at any time before they are acknowledged: it has a limit of deliveries, which crashes or a
            consumer that cannot handle the message have used up.
        upgrade: A rolling upgrade: every node begins with the old version of the events, and changes to the new one at any time, once; it writes the new one from
            then on, and reads both. This is what a consumer of the old version does with an event of the new one: ``stop`` its lane until it is
            upgraded, or ``skip`` the event, to a queue of dead letters or to nowhere. ``gated``: it would skip the event, and the upgrade takes two rounds: no node writes the new version before
            all read it. A `Rollout` has more choices. None: all have the same version.
        lasting: A crashed node stays away for good. At rest only one property is checked then: that no node that is up holds a branch in doubt, with its locks.
        parallel: The steps form a graph and not a chain: all but the last are independent, and the last comes after them; two steps
            are independent of each other.
        pivot: Index of the pivot; the steps behind it are retriable. None: all steps are compensatable.
        revisit: The last step is on the service of the first, which then has two of them.
        reads: How many of the steps, the last ones, only read.
        contention: All transactions use the same key of a service, and not each its own.
        refusals: Explore also plans in which one step is refused; of steps that are independent of each other, also plans in which two are, or all. A number:
            plans in which so many steps are refused, or fewer, whichever they are.
        unruly: Explore also plans in which a retriable step, or a compensation, is refused, which no correct plan does.
        retained: Idempotency rows that a store keeps, the oldest are pruned first; None: all.
        isolation: Of the stores: under ``serializable`` what a local transaction or a branch reads is locked, until a prepared branch ends;
            under ``read-committed`` a read takes no lock, waits for none, and sees what is committed.
        provider: The work of local transactions is done by a provider outside, which remembers the ``keys`` of requests, or
            ``nothing``. One that can be asked about a request counts as one that knows its key: as long as a request is carried out at once or never, both tell who
            repeats it how it has ended. A failure that `failures` pays for is then one of two: the request was lost, or it was done and the answer was lost. The
            provider acts at once: a request that it carries out later than its caller waits is not explored. None: stores do the work.
        provider_at: Index of the step whose service has the provider; None: all have one.
        steps: The steps of the plan, each a tuple of its name, its service, its kind, the indexes of the steps that it comes after, and whether it
            writes, as `steps_of` makes them of a scenario. They say what `participants`, `parallel`, `pivot`, `revisit` and `reads` say otherwise.

    Raises:
        ScenarioError: A number makes no sense.
    """

    participants: int = 2
    messages: int = 1
    crashes: int = 1
    losses: int = 0
    duplicates: int = 1
    timeouts: int = 1
    failures: int = 0
    interventions: int = 0
    repeats: int = 0
    overtakes: int = 0
    dead_letters: int = 0
    upgrade: Rollout | Unreadable | None = None
    lasting: bool = False
    parallel: bool = False
    pivot: int | None = None
    revisit: bool = False
    reads: int = 0
    contention: bool = False
    refusals: bool | int = True
    unruly: bool = False
    retained: int | None = None
    isolation: Isolation = "serializable"
    provider: Remembers | None = None
    provider_at: int | None = None
    steps: tuple[Part, ...] | None = None

    def __post_init__(self) -> None:
        problem = self._taken(self.steps) if self.steps is not None else ""
        problem = problem or self._problem()
        if problem:
            raise ScenarioError(problem, "verify")

    def _taken(self, steps: tuple[Part, ...]) -> str:
        """Let the steps of a plan say how many there are; what is wrong with that, or nothing."""
        count = len(steps)
        if not 1 <= count <= _STEPS:
            return f"the plan has {count} steps; a scope takes 1 to {_STEPS}: leave out those that are like others"
        for name in ("parallel", "pivot", "revisit", "reads"):
            given = getattr(self, name)
            if given not in (False, None, 0) or (name == "pivot" and given is not None):
                return f"{name} = {given!r}; the steps of the plan say that already"
        object.__setattr__(self, "participants", count)
        return ""

    def _problem(self) -> str:
        """Problem of this scope: what makes no sense in it, or nothing."""
        for name, least, most in (
            ("participants", 1, _STEPS),
            ("messages", 1, 4),
            *((budget, 0, _MOST) for budget in BUDGETS),
            ("reads", 0, self.participants),
        ):
            value: Any = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                return f"{name} = {value!r}; it must be a whole number from {least} to {most}"
        for name in ("pivot", "provider_at"):
            place: Any = getattr(self, name)
            if place is not None and (type(place) is not int or not 0 <= place < self.participants):
                return f"{name} = {place!r}; it must be the index of a step, 0 to {self.participants - 1}"
        if self.revisit and self.participants < 2:
            return "revisit = True takes at least 2 participants: one service has two steps then"
        refusals: Any = self.refusals
        if not isinstance(refusals, int) or not 0 <= refusals <= self.participants:
            return f"refusals = {refusals!r}; it must be True, False, or a number of steps, 0 to {self.participants}"
        retained: Any = self.retained
        if retained is not None and (type(retained) is not int or retained < 0):
            return f"retained = {self.retained!r}; it must be a number of rows, or None for all"
        if not (self.upgrade is None or isinstance(self.upgrade, Rollout) or self.upgrade in get_args(Unreadable)):
            return f"upgrade = {self.upgrade!r}; it must be 'stop', 'skip', 'gated', or None"
        backs: Any = self.upgrade.backs if isinstance(self.upgrade, Rollout) else 0
        if type(backs) is not int or not 0 <= backs <= MOST_BACKS:
            return f"upgrade: backs = {backs!r}; it must be a whole number from 0 to {MOST_BACKS}"
        if self.isolation not in get_args(Isolation):
            return f"isolation = {self.isolation!r}; it must be 'serializable' or 'read-committed'"
        if self.provider_at is not None and self.provider is None:
            return "provider_at says where a provider is: say what it remembers, too (provider)"
        if self.provider not in (None, *get_args(Remembers)):
            return f"provider = {self.provider!r}; it must be 'keys', 'nothing', or None: there is no provider"
        return ""

    def changed(self, **changes: Any) -> Scope:
        """Return this scope with other numbers."""
        return replace(self, **changes)

    def faultless(self) -> Scope:
        """The same plans without faults, and with nothing that could refuse a step."""
        return self.changed(
            **dict.fromkeys(BUDGETS, 0),
            refusals=False,
            unruly=False,
            contention=False,
            retained=None,
            lasting=False,
            upgrade=None,
        )

    def budget(self) -> int:
        """All budgets as one number, four bits each."""
        return sum(int(getattr(self, name)) << 4 * position for position, name in enumerate(BUDGETS))

    def options(self) -> dict[str, Any]:
        """Settings that differ from the default scope, participants, messages and budgets of faults always included."""
        always = ("participants", "messages", "crashes", "losses", "duplicates", "timeouts")
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name in always or getattr(self, one.name) != one.default
        }

    def __str__(self) -> str:
        options = self.options()
        if self.steps is not None:
            del options["participants"]
            options["steps"] = " ".join(f"{name}@{service}" for name, service, *_ in self.steps)
        return ", ".join(f"{name} {value}" for name, value in options.items())

    # --- plans ------------------------------------------------------------------------------------------------------------------

    def services(self) -> tuple[str, ...]:
        """Names of the services."""
        return tuple(dict.fromkeys(self.service(index) for index in range(self.participants)))

    def providers(self) -> dict[str, Remembers]:
        """Memory of providers, by the service that has one."""
        if self.provider is None:
            return {}
        places = self.services() if self.provider_at is None else (self.service(self.provider_at),)
        return dict.fromkeys(places, self.provider)

    def service(self, index: int) -> str:
        """The service that a step is on."""
        if self.steps is not None:
            return self.steps[index][1]
        return "s1" if self.revisit and index == self.participants - 1 else f"s{index + 1}"

    def kind(self, index: int) -> StepKind:
        """The kind of a step."""
        if self.steps is not None:
            return self.steps[index][2]
        if self.pivot is None or index < self.pivot:
            return "compensatable"
        return "pivot" if index == self.pivot else "retriable"

    def writes(self, index: int) -> bool:
        """Return whether a step writes."""
        if self.steps is not None:
            return self.steps[index][4]
        return index < self.participants - self.reads

    def variants(self, *, alike: bool = False) -> list[tuple[str, tuple[Plan, ...]]]:
        """The plans of all transactions, for each thing that may be refused; the first variant is the one where nothing is.

        A step that writes changes two values: one that all steps on its service share, and one of its own. The amounts differ from step to step, so
        that the values of a store show which work was done there, all of it or half, once or twice.

        Args:
            alike: Give all steps the same amounts, so that participants may be told apart by names only.
        """
        variants = [("nothing is refused", self._plans((), -1, alike))]
        for index in range(self.participants):
            normal = self.kind(index) != "retriable"
            if (normal and self.refusals) or (not normal and self.unruly):
                variants.append((f"step {index} of transaction 0 is refused", self._plans((index,), -1, alike)))
        for several in self._refused_together():
            names = f"{', '.join(map(str, several[:-1]))} and {several[-1]}"
            variants.append((f"steps {names} of transaction 0 are refused", self._plans(several, -1, alike)))
        if self.unruly:
            for index in range(1, self.participants):
                if self.kind(index) == "retriable":
                    break
                if self.kind(index - 1) != "compensatable":
                    continue  # there is nothing to undo
                variants.append(
                    (
                        f"step {index} and the compensation of step {index - 1} are refused",
                        self._plans((index,), index - 1, alike),
                    )
                )
        return variants

    def after(self, index: int) -> tuple[int, ...]:
        """Indexes of the steps that a step comes directly after."""
        if self.steps is not None:
            return self.steps[index][3]
        last = self.participants - 1
        if not self.parallel:
            return (index - 1,) if index else ()
        return tuple(range(last)) if index == last and last > 1 else ()

    def _before(self, index: int) -> set[int]:
        """Indexes of all steps that a step comes after."""
        return set(self.after(index)).union(*(self._before(one) for one in self.after(index)))

    def _refused_together(self) -> list[tuple[int, ...]]:
        """Steps of which several are refused in one transaction."""
        refusable = [index for index in range(self.participants) if self.kind(index) != "retriable"]
        if self.refusals is not True:
            return [group for size in range(2, self.refusals + 1) for group in combinations(refusable, size)]
        apart: list[tuple[int, ...]] = [
            (one, other)
            for one, other in combinations(refusable, 2)
            if one not in self._before(other) and other not in self._before(one)
        ]
        for size in range(len(refusable), 2, -1):
            for group in combinations(refusable, size):
                if all(pair in apart for pair in combinations(group, 2)):
                    return [*apart, group]
        return apart

    def _plans(self, refused: tuple[int, ...], irreversible: int, alike: bool) -> tuple[Plan, ...]:
        return tuple(
            Plan(
                tx,
                tuple(
                    self._step(tx, index, refused if tx == 0 else (), irreversible, alike)
                    for index in range(self.participants)
                ),
            )
            for tx in range(self.messages)
        )

    def own_key(self, tx: int, index: int) -> str:
        """The key that no other step changes."""
        return f"step-{index}" if tx == 0 else f"step-{index} of {tx}"

    def _step(self, tx: int, index: int, refused: tuple[int, ...], irreversible: int, alike: bool) -> Step:
        action: tuple[Operation, ...]
        undo: tuple[Operation, ...] = ()
        key = "x" if self.contention else f"x{tx}"
        if self.writes(index):
            step = 0 if alike else index
            # One value grows and one shrinks: what is reserved for the one is no amount that is held for the other.
            changes = ((key, 2 + step + 10 * tx), (self.own_key(tx, index), -3 - 2 * step))
            action = tuple(Operation(name, "add", amount) for name, amount in changes)
            if (
                self.kind(index) == "compensatable"
            ):  # the point of no return has no way back, nor has what comes after it
                undo = tuple(Operation(name, "add", -amount) for name, amount in changes)
            if index in refused:
                action = tuple(replace(one, amount=_TOO_MUCH) for one in action)
        else:
            action = (Operation(key, "read"),)
        if index in refused:
            action = (_REFUSE, *action)
        if index == irreversible and refused:
            undo = (_REFUSE, *undo)
        name = f"step-{index}" if self.steps is None else self.steps[index][0]
        return Step(index, name, self.service(index), action, undo, self.kind(index), self.after(index))


def steps_of(scenario: Scenario) -> tuple[Part, ...]:
    """The steps of a scenario's transaction, as `Scope` takes them: names, services, kinds, order and who writes, without keys, amounts and chances."""
    return tuple(
        (one.name, one.service, one.kind, tuple(one.after), any(operation.writes for operation in one.operations))
        for one in scenario.transaction.steps
    )
