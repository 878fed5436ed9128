"""Consistency levels, the anomalies that each forbids, and which anomaly implies which.

The levels are Adya's portable ones (*Weak Consistency*, MIT, 1999, chapters 3 and 4), snapshot isolation in the form of Cerone and
Gotsman (*Analysing Snapshot Isolation*, J. ACM 2018: no cycle whose anti-dependencies are all apart from each other), and the
session order of Daudjee and Salem (VLDB 2006). The names of anomalies, what implies what, and which level forbids which follow
Elle (Kingsbury and Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations*, VLDB 2020).

Between read committed and snapshot isolation there are three more, by the axioms of Biswas and Enea (*On the Complexity of Checking
Transactional Consistency*, OOPSLA 2019). All transactions can be put in one commit order along session order and reads. A transaction that reads
a version has not seen the writer of a later version of the same key. What it has seen is

- for read atomicity (Bailis and others, *Scalable Atomic Visibility with RAMP Transactions*, SIGMOD 2014): whose writes it has read;
- for causal consistency: that, what came before in its session, and what all of these have seen. This is the causal convergence of
  Bouajjani and others (*On Verifying Causal Consistency*, POPL 2017), with one order of versions for all;
- for prefix consistency: everything that comes before something of that in the commit order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from simtx.errors import ScenarioError

#: A transaction has seen one write of a transaction and missed another.
FRACTURED = "fractured-read"

#: A transaction has missed a write that comes before something that it has seen.
CAUSALITY = "causality-violation"

#: No order of commits has what each transaction has seen as a beginning.
PREFIX = "prefix-violation"

#: Cycles of dependencies between transactions, the gravest first.
CYCLES = ("G0", "G1c", FRACTURED, CAUSALITY, PREFIX, "G-single-item", "G-nonadjacent-item", "G2-item")

#: What a suffix says: the cycle needs an edge of session order, or of real time.
SUFFIXES = ("", "-process", "-realtime")

#: That no order of the writes is possible, as each shows a forbidden cycle.
NO_ORDER = "no-version-order"

#: Anomalies that are seen without a cycle, the gravest first.
ITEM_ANOMALIES = (
    "duplicate-elements",
    "cyclic-versions",
    "incompatible-order",
    "dirty-update",
    "G1a",
    "G1b",
    "future-read",
    "internal",
    "lost-update",
    NO_ORDER,
)

_READ_UNCOMMITTED = frozenset({"G0", "duplicate-elements", "cyclic-versions", NO_ORDER})
_READ_COMMITTED = _READ_UNCOMMITTED | {"G1a", "G1b", "G1c", "incompatible-order", "dirty-update", "future-read"}
_READ_ATOMIC = _READ_COMMITTED | {"internal", FRACTURED}
_CAUSAL = _READ_ATOMIC | {CAUSALITY}
_PREFIX = _READ_COMMITTED | {"internal", PREFIX}
_SNAPSHOT_ISOLATION = _READ_COMMITTED | {"internal", "lost-update", "G-single-item", "G-nonadjacent-item"}
_REPEATABLE_READ = _READ_COMMITTED | {"lost-update", "G-single-item", "G-nonadjacent-item", "G2-item"}
_SERIALIZABLE = _SNAPSHOT_ISOLATION | _REPEATABLE_READ

_FORBIDDEN: dict[str, frozenset[str]] = {
    "read-uncommitted": _READ_UNCOMMITTED,
    "read-committed": _READ_COMMITTED,
    "read-atomic": _READ_ATOMIC,
    "causal-consistency": _CAUSAL,
    "prefix-consistency": _PREFIX,
    "repeatable-read": _REPEATABLE_READ,
    "snapshot-isolation": _SNAPSHOT_ISOLATION,
    "serializable": _SERIALIZABLE,
    "strict-serializable": _SERIALIZABLE,
}

_SESSION = "strong-session-"

#: The level that counts session order of its own accord.
_CAUSAL_LEVEL = "causal-consistency"

#: Every accepted level, the weakest first.
LEVELS: tuple[str, ...] = tuple(_FORBIDDEN) + tuple(_SESSION + name for name in _FORBIDDEN if name != _CAUSAL_LEVEL)

#: For each level without sessions, the next weaker ones.
_WEAKER: dict[str, tuple[str, ...]] = {
    "read-uncommitted": (),
    "read-committed": ("read-uncommitted",),
    "read-atomic": ("read-committed",),
    "prefix-consistency": ("read-atomic",),
    "repeatable-read": ("read-committed",),
    "snapshot-isolation": ("prefix-consistency",),
    "serializable": ("repeatable-read", "snapshot-isolation"),
    "strict-serializable": ("serializable",),
}


def _weaker_levels() -> dict[str, frozenset[str]]:
    """Levels that each of the histories of a level is of besides, by level."""
    direct: dict[str, set[str]] = {name: set(weaker) for name, weaker in _WEAKER.items()}
    for name, weaker in _WEAKER.items():
        direct[_SESSION + name] = {name, *(_SESSION + other for other in weaker)}
    direct[_CAUSAL_LEVEL] = {_SESSION + "read-atomic"}
    direct[_SESSION + "prefix-consistency"].add(_CAUSAL_LEVEL)
    return _closed(direct)


def _closed(direct: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """Names that each name leads to, in any number of steps."""
    closed: dict[str, frozenset[str]] = {}
    for name, begin in direct.items():
        seen: set[str] = set()
        todo = list(begin)
        while todo:
            other = todo.pop()
            if other not in seen:
                seen.add(other)
                todo.extend(direct.get(other, ()))
        closed[name] = frozenset(seen)
    return closed


_IMPLIED_LEVELS = _weaker_levels()


@dataclass(frozen=True, slots=True)
class Level:
    """A consistency level: what it forbids, and which orders besides the data count.

    Attributes:
        name: The name that the user gave.
        forbidden: The anomalies that a history of this level does not show.
        session: Whether the order of transactions within a process counts.
        real_time: Whether a transaction that ended before another began counts as earlier.
    """

    name: str
    forbidden: frozenset[str]
    session: bool
    real_time: bool

    @property
    def base(self) -> str:
        """The level without `strong-session-`."""
        return self.name.removeprefix(_SESSION)

    @property
    def cycles(self) -> tuple[str, ...]:
        """The forbidden cycles without suffix, the gravest first."""
        return tuple(name for name in CYCLES if name in self.forbidden)

    @property
    def implies(self) -> frozenset[str]:
        """The assumptions about registers that hold in every history of this level; `docs/history-checking.md` has the argument."""
        reads_committed = "G1c" in self.cycles
        names = {
            "wfr_keys": reads_committed,
            "sequential_keys": self.skews and self.session,
            "linearizable_keys": self.skews and self.real_time,
        }
        return frozenset(name for name, holds in names.items() if holds)

    @property
    def weaker(self) -> frozenset[str]:
        """The other levels that every history of this level is of."""
        return _IMPLIED_LEVELS[self.name]

    @property
    def by_sight(self) -> bool:
        """Return whether all that it asks of the order of versions follows from what each transaction has seen: no order need be searched."""
        return FRACTURED in self.cycles

    @property
    def skews(self) -> bool:
        """Return whether it forbids that a transaction misses a write that comes before something that it has seen, under whatever name."""
        return not {CAUSALITY, PREFIX, "G-single-item"}.isdisjoint(self.cycles)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes that a cycle may carry at this level."""
        return ("", *(["-process"] if self.session else []), *(["-realtime"] if self.real_time else []))


def level_of(name: object) -> Level:
    """The level of that name.

    Raises:
        ScenarioError: There is no such level.
    """
    if not isinstance(name, str) or name not in LEVELS:
        if name == _SESSION + _CAUSAL_LEVEL:
            problem = f"{_CAUSAL_LEVEL!r} counts the order of sessions as it is; leave {_SESSION!r} away"
        else:
            allowed = ", ".join(_FORBIDDEN)
            near = get_close_matches(str(name), LEVELS, n=1)
            meant = f"did you mean {near[0]!r}? Allowed" if near else "allowed"
            problem = f"{name!r} is no level; {meant} are {allowed}, each but {_CAUSAL_LEVEL} also with {_SESSION!r} before it"
        raise ScenarioError(problem, "consistency")
    base = name.removeprefix(_SESSION)
    session = name.startswith(_SESSION) or base == _CAUSAL_LEVEL
    return Level(name, _forbidden(name), session, base == "strict-serializable")


def _forbidden(level: str) -> frozenset[str]:
    """The anomalies that a history of the level does not show."""
    base = level.removeprefix(_SESSION)
    forbidden = set(_FORBIDDEN[base])
    cycles = [name for name in CYCLES if name in forbidden]
    if base == _CAUSAL_LEVEL:  # that a session forgets is a violation of causality by name
        cycles = [name for name in cycles if name not in (FRACTURED, CAUSALITY)]
    if base == _CAUSAL_LEVEL or level != base:
        forbidden.update(name + "-process" for name in cycles)
    if base == "strict-serializable":
        forbidden.update(name + "-realtime" for name in cycles)
    return frozenset(forbidden)


def _implications() -> dict[str, frozenset[str]]:
    """Anomalies that each anomaly implies."""
    direct: dict[str, set[str]] = {
        "incompatible-order": {"G1a"},
        "dirty-update": {"G1a"},
        "future-read": {"G1c"},
        "lost-update": {"G2-item"},
        CAUSALITY: {"G-single-item-process", PREFIX + "-process"},
    }
    weaker_cycle = {
        "G0": ("G1c",),
        FRACTURED: ("G-single-item", PREFIX),
        PREFIX: ("G-nonadjacent-item",),
        "G-single-item": ("G-nonadjacent-item",),
        "G-nonadjacent-item": ("G2-item",),
    }
    for position, suffix in enumerate(SUFFIXES):
        for cycle in CYCLES:
            if cycle == CAUSALITY:
                continue
            implied = direct.setdefault(cycle + suffix, set())
            implied.update(weaker + suffix for weaker in weaker_cycle.get(cycle, ()))
            # A cycle that needs no session order is one in a history with it; and sessions run in real time.
            if position + 1 < len(SUFFIXES):
                implied.add(cycle + SUFFIXES[position + 1])
    direct[FRACTURED + "-process"].add(CAUSALITY)
    return _closed(direct)


_IMPLIED = _implications()


def implied_by(names: Iterable[str]) -> frozenset[str]:
    """Every anomaly that one of these implies; a name is not in it on its own account."""
    return frozenset().union(*(_IMPLIED.get(name, frozenset()) for name in names))


def severity(name: str) -> tuple[int, int]:
    """A sort key: anomalies without a cycle first, then cycles by suffix and gravity."""
    if name in ITEM_ANOMALIES:
        return (-1, ITEM_ANOMALIES.index(name))
    suffix = next((s for s in SUFFIXES[1:] if name.endswith(s)), "")
    return (SUFFIXES.index(suffix), CYCLES.index(name.removesuffix(suffix)))


def levels_against(name: str) -> tuple[str, ...]:
    """The weakest levels that forbid this anomaly, each other level that forbids it being stronger than one of them."""
    real_time = name.endswith("-realtime")  # that sessions run in real time is no news for a level without it
    names = {name, *(other for other in implied_by([name]) if real_time or not other.endswith("-realtime"))}
    against = [level for level in LEVELS if not names.isdisjoint(_forbidden(level))]
    return tuple(level for level in against if _IMPLIED_LEVELS[level].isdisjoint(against))
