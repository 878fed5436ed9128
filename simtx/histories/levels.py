"""Consistency levels, the anomalies that each forbids, and which anomaly implies which.

The levels are Adya's portable ones (*Weak Consistency*, MIT, 1999, chapters 3 and 4), snapshot isolation in the form of Cerone and
Gotsman (*Analysing Snapshot Isolation*, J. ACM 2018: no cycle whose anti-dependencies are all apart from each other), and the
session order of Daudjee and Salem (VLDB 2006). The names of anomalies, what implies what, and which level forbids which follow
Elle (Kingsbury and Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations*, VLDB 2020).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from simtx.errors import ScenarioError

#: Cycles of dependencies between transactions, the gravest first.
CYCLES = ("G0", "G1c", "G-single-item", "G-nonadjacent-item", "G2-item")

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
_SNAPSHOT_ISOLATION = _READ_COMMITTED | {"internal", "lost-update", "G-single-item", "G-nonadjacent-item"}
_REPEATABLE_READ = _READ_COMMITTED | {"lost-update", "G-single-item", "G-nonadjacent-item", "G2-item"}
_SERIALIZABLE = _SNAPSHOT_ISOLATION | _REPEATABLE_READ

_FORBIDDEN: dict[str, frozenset[str]] = {
    "read-uncommitted": _READ_UNCOMMITTED,
    "read-committed": _READ_COMMITTED,
    "repeatable-read": _REPEATABLE_READ,
    "snapshot-isolation": _SNAPSHOT_ISOLATION,
    "serializable": _SERIALIZABLE,
    "strict-serializable": _SERIALIZABLE,
}

_SESSION = "strong-session-"

#: Every accepted level, the weakest first.
LEVELS: tuple[str, ...] = tuple(_FORBIDDEN) + tuple(_SESSION + name for name in _FORBIDDEN)


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
        no_skew = "G-single-item" in self.cycles
        names = {
            "wfr_keys": reads_committed,
            "sequential_keys": no_skew and self.session,
            "linearizable_keys": no_skew and self.real_time,
        }
        return frozenset(name for name, holds in names.items() if holds)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes that a cycle may carry at this level."""
        return ("", *(["-process"] if self.session else []), *(["-realtime"] if self.real_time else []))


def level_of(name: object) -> Level:
    """The level of that name.

    Raises:
        ScenarioError: There is no such level.
    """
    base = name.removeprefix(_SESSION) if isinstance(name, str) else ""
    if not isinstance(name, str) or base not in _FORBIDDEN:
        allowed = ", ".join(_FORBIDDEN)
        problem = f"{name!r} is no level; allowed are {allowed}, each also with {_SESSION!r} before it"
        raise ScenarioError(problem, "consistency")
    session, real_time = name.startswith(_SESSION), base == "strict-serializable"
    forbidden = set(_FORBIDDEN[base])
    for suffix, counts in (("-process", session), ("-realtime", real_time)):
        if counts:
            forbidden.update(cycle + suffix for cycle in CYCLES if cycle in _FORBIDDEN[base])
    return Level(name, frozenset(forbidden), session, real_time)


def _implications() -> dict[str, frozenset[str]]:
    """For each anomaly, every other that it implies."""
    direct: dict[str, set[str]] = {
        "incompatible-order": {"G1a"},
        "dirty-update": {"G1a"},
        "future-read": {"G1c"},
        "lost-update": {"G2-item"},
    }
    weaker_cycle = {"G0": "G1c", "G-single-item": "G-nonadjacent-item", "G-nonadjacent-item": "G2-item"}
    for position, suffix in enumerate(SUFFIXES):
        for cycle in CYCLES:
            implied = direct.setdefault(cycle + suffix, set())
            if cycle in weaker_cycle:
                implied.add(weaker_cycle[cycle] + suffix)
            # A cycle that needs no session order is one in a history with it; and sessions run in real time.
            if position + 1 < len(SUFFIXES):
                implied.add(cycle + SUFFIXES[position + 1])
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
    suffix = next((s for s in SUFFIXES[1:] if name.endswith(s)), "")
    base = name.removesuffix(suffix)
    if suffix == "-realtime":
        return ("strict-serializable",)
    against = [level for level, forbidden in _FORBIDDEN.items() if base in forbidden]
    if not {"read-uncommitted", "read-committed"}.isdisjoint(against):
        against = against[:1]
    weakest = [level for level in against if not level.endswith("serializable")]
    return tuple((_SESSION if suffix else "") + level for level in weakest)
