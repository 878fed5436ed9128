"""Checks that the parts of a scenario fit together: names, zones, the shape of the transaction, workload, faults and the length of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from simtx.protocols.derived.copies import problem as contradiction
from simtx.protocols.names import BROKER, CLIENT, HUB, VOTE_STORE
from simtx.protocols.registry import HUBS
from simtx.scenario import build, faults, schema, steps
from simtx.scenario.broker_kinds import in_force
from simtx.scenario.catalog import LOCAL, region, regions
from simtx.scenario.conservation import conservation
from simtx.scenario.notes import Leaf, covers
from simtx.scenario.problems import Path, Problem, unknown
from simtx.scenario.traces import Arrivals
from simtx.scenario.units import duration_text, hint, shown
from simtx.scenario.versions import VERSIONS

_MOST_PATTERNS: Final = 10_000  # whose places are remembered
RESERVED = (HUB, BROKER, VOTE_STORE, CLIENT, *HUBS, "network")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)?")

#: Keys of a step whose flaws say nothing about the shape of the transaction.
_INNER = ("refusal", "service", "service_time", "compensation_time", "key", "amount", "parameter", "low", "high")


def problems(
    file: schema.ScenarioFile, figures: Sequence[Leaf], arrivals: Arrivals, spoiled: set[Path]
) -> list[Problem]:
    """All problems that span entries.

    Args:
        file: The tables, each of them valid by itself.
        figures: All that are in it.
        arrivals: The trace file, if there is one.
        spoiled: Paths of problems found before; what they touch is not judged again.
    """
    before = {_entity(path) for path in spoiled}
    seen = set(spoiled)
    found: list[Problem] = []
    # Each check with the parts of the file that it cannot judge while something in them is wrong.
    checks: Iterable[tuple[Callable[[schema.ScenarioFile], Iterator[Problem]], tuple[Path, ...]]] = (
        (services, ()),
        (zones, (("network",),)),
        (broker, ()),
        (hosts, ()),
        (upgrades, ()),
        (steps.parameters, ()),
        (steps.steps, ()),
        (steps.step_kinds, (("transaction", "steps"),)),
        (steps.operations, (("transaction", "parameters"),)),
        (steps.step_services, ()),
        (groups, (("services",), ("broker",))),
        (derived, (("transaction", "parameters"), ("services",))),
        (aggregates, (("transaction", "parameters"),)),
        (workload, ()),
        (clients, ()),
        (network, ()),
        (lambda file: run(file, arrivals), (("run",), ("workload",))),
        (faults.faults, ()),
        (policies, ()),
        (invariants, ()),
        (lambda file: notes(file, figures), (("transaction",), ("faults",), ("services",))),
    )
    for check, needed in checks:
        if not any(path[: len(part)] == part and path[-1] not in _INNER for path in seen for part in needed):
            new = [problem for problem in check(file) if _entity(problem[0]) not in before]
            found += new
            seen |= {path for path, _ in new}
    if not any(path[0] in ("transaction", "invariants", "services") for path in seen):
        found += conservation(file)
    return found


def _entity(path: Path) -> Path:
    if path[:2] == ("transaction", "steps"):
        return path[:3]
    return path[:2] if path[:1] and path[0] in ("services", "faults", "invariants", "transaction") else path[:1]


# --- nodes and zones ----------------------------------------------------------------------------------------------------------


def services(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Names of services can be told from those of other nodes, and a provider outside has no replica of ours."""
    for name, service in file.services.items():
        if service.provider is not None and service.store.replica_lag is not None:
            yield (
                ("services", name, "store", "replica_lag"),
                "a provider does the steps of this service, and has no read replica",
            )
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) is None:
            yield ("services", name), f"{shown(name)} is no name; use letters, digits, '-' and '_', a letter first"
        elif name in RESERVED:
            yield ("services", name), f"'{name}' is the name of another node; call the service something else"


def broker(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Check the broker: what is in memory only does not outlive a crash; mechanisms fit each other."""
    given, said = in_force(file.broker), file.broker.model_fields_set
    if given["ack"] == "memory" and given["deduplication_after_restart"] == "all":
        yield (
            ("broker", "deduplication_after_restart"),
            'a broker that acks from memory loses its messages in a crash, and their ids with them; \'all\' needs ack = "quorum" or "fsync"',
        )
    for name, need, there in (
        ("fetch", "partitions", given["partitions"]),
        ("commit_every", "partitions", given["partitions"]),
        ("nack_delay", "nack", given["nack"]),
        ("deduplication_by", "deduplication_window", given["deduplication_window"]),
        ("poison_until", "poison", given["poison"] or given["poison_transactions"]),
    ):
        if name in said and not there:
            yield ("broker", name), f"means nothing without '{need}'"
    if given["deduplication_by"] == "producer" and given["deduplication_after_restart"] == "stored":
        yield (
            ("broker", "deduplication_by"),
            "a broker that knows producers keeps their ids apart from its messages: deduplication_after_restart is 'all' or 'none'",
        )
    if given["partitions"]:
        if not given["ordered"]:
            yield (
                ("broker", "ordered"),
                "a partition is read in order; without order there is only a queue (partitions = 0)",
            )
        for name in ("backoff", "delivery_limit"):
            if name in said and not given["nack"]:
                yield (
                    ("broker", name),
                    "a log delivers nothing again by itself; with nack = true its consumer tries again",
                )


def upgrades(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Every node that is upgraded exists, and writes what it reads."""
    known = (*file.services, HUB)
    for position, one in enumerate(file.upgrades):
        path: Path = ("upgrades", position)
        yield from unknown((*path, "node"), one.node, "node that speaks versions", (*known, "*"))
        if one.gap and one.node != "*":
            yield (*path, "gap"), "is between several nodes; it belongs to node = '*'"
        if one.writes is not None and VERSIONS.index(one.writes) > VERSIONS.index(one.to):
            yield (*path, "writes"), f"a process that reads up to {one.to} cannot write {one.writes}"


def hosts(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Every node is on one host at most, and a host has nodes that exist."""
    known = (*file.services, HUB, BROKER, CLIENT)
    placed: dict[str, str] = {}
    for name, host in file.hosts.items():
        for index, node in enumerate(host.nodes):
            path: Path = ("hosts", name, "nodes", index)
            if node != "*" and node not in known:
                yield path, f"{shown(node)} is no node; {hint(node, (*known, '*'))}"
            elif node in placed:
                what = "the rest of the nodes is" if node == "*" else f"'{node}' is"
                yield path, f"{what} on host '{placed[node]}' already"
            placed.setdefault(node, name)
        asides = (host.event_aside, host.transaction_aside, host.forced_write_aside, host.mark_aside)
        if not any((host.event, host.effect, host.transaction, host.forced_write, host.restart, *asides)):
            yield (
                ("hosts", name),
                "takes no processor time for anything; give 'event', 'effect', 'transaction', 'forced_write' or 'restart' (`simtx calibrate` measures them)",
            )


def _named(path: Path, name: str) -> Iterator[Problem]:
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is None:
        yield path, f"{shown(name)} is no name; use letters, digits and '_', a letter first"


def groups(file: schema.ScenarioFile) -> Iterator[Problem]:
    """A consumer group follows a service, and every instance can have a partition."""
    for name, one in file.groups.items():
        yield from _named(("groups", name), name)
        yield from unknown(("groups", name, "service"), one.service, "service", file.services)
        count = build.partitions(one, file.broker)
        if one.instances > count:
            yield (
                ("groups", name, "instances"),
                f"{one.instances} instances share {count} partitions, each of which has one owner; give it as many partitions at least",
            )


def aggregates(file: schema.ScenarioFile) -> Iterator[Problem]:
    """The keys of commands can be drawn."""
    for name, one in file.aggregates.items():
        yield from _named(("aggregates", name), name)
        yield from _template(file, one.key, ("aggregates", name, "key"))


def _template(file: schema.ScenarioFile, key: str, path: Path) -> Iterator[Problem]:
    """The parameters of a template of keys are key parameters of the transaction."""
    keys = [name for name, one in file.transaction.parameters.items() if one.population is not None]
    for used in re.findall(r"{([^{}]*)}", key):
        if used not in keys:
            yield path, f"'{{{used}}}' is no key parameter{f'; {hint(used, keys)}' if keys else ', and there is none'}"


def derived(file: schema.ScenarioFile) -> Iterator[Problem]:
    """A derived store follows a service, its keys can be drawn, and its rule does not contradict itself."""
    for name, one in file.derived.items():
        yield from _named(("derived", name), name)
        yield from unknown(("derived", name, "service"), one.service, "service", file.services)
        yield from _template(file, one.key, ("derived", name, "key"))
        found = contradiction(one.update, one.by, one.check, fill=one.fill, expires=one.ttl is not None)
        if found is not None:
            yield ("derived", name, found[0]), found[1]


def zones(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Every zone is known, and every two nodes are linked."""
    known = (*regions().names, LOCAL, *file.network.zones)
    sound = True
    places: list[tuple[Path, str | None]] = [(("services", name, "zone"), s.zone) for name, s in file.services.items()]
    places += [(("hub", "zone"), file.hub.zone), (("broker", "zone"), file.broker.zone)]
    places += [(("vote_store", "zone"), file.vote_store.zone)]
    places += [(("network", "client_zone"), file.network.client_zone)]
    for position, link in enumerate(file.network.links):
        path: Path = ("network", "links", position)
        if (link.between is None) == (link.from_ is None and link.to is None):
            yield path, "a link is given by 'between', or by 'from' and 'to'"
            sound = False
        elif link.between is not None and len(link.between) != 2:
            yield (*path, "between"), f"two zones are needed, not {len(link.between)}"
            sound = False
        elif link.between is None and (link.from_ is None or link.to is None):
            yield path, f"'{'from' if link.from_ is None else 'to'}' is missing"
            sound = False
        else:
            places += [((*path, "between", index), end) for index, end in enumerate(link.between or ())]
            places += [((*path, "from"), link.from_), ((*path, "to"), link.to)]
    for path, zone in places:
        if zone is not None and not (_ZONE.fullmatch(zone) and (region(zone) in known or zone in known)):
            yield path, f"{shown(zone)} is no known zone; {hint(region(zone), known)}"
            sound = False
    if not sound:
        return
    placed = build.zones(file)
    missing: dict[tuple[str, ...], tuple[str, str]] = {}
    seen: set[tuple[str, str]] = set()
    for node, zone in placed.items():
        for other, other_zone in placed.items():
            if (zone, other_zone) not in seen and build.latency(file.network, zone, other_zone) is None:
                missing.setdefault(tuple(sorted((zone, other_zone))), (node, other))
            seen.add((zone, other_zone))
    for (a, b), (node, other) in missing.items():
        yield (
            ("network", "links"),
            f"no latency between '{a}' and '{b}', which '{node}' and '{other}' need; add a link with between = ['{a}', '{b}']",
        )


# --- workload and run ---------------------------------------------------------------------------------------------------------


def workload(file: schema.ScenarioFile) -> Iterator[Problem]:
    """A workload has what its kind needs, and nothing of another kind."""
    load = file.workload
    needed, optional = schema.WORKLOAD_KEYS[load.kind]
    given = load.model_fields_set - {"kind"}
    for key in needed:
        if key not in given:
            yield ("workload", key), f"is missing: a {load.kind} workload needs it"
    for key in type(load).model_fields:
        if key in given and key not in (*needed, *optional):
            yield ("workload", key), f"does not belong to a {load.kind} workload; drop it, or change the kind"
    for key in ("rate", "burst_rate"):
        if key in needed and getattr(load, key) == 0:
            yield ("workload", key), "is zero; nothing would ever arrive"
    if "profile" in given and load.kind == "profile":
        times = [time for time, _ in load.profile]
        if not times:
            yield ("workload", "profile"), "is empty; write pairs such as ['0s', '100/s']"
        elif any(later <= earlier for earlier, later in pairwise(times)):
            yield ("workload", "profile"), "the times must ascend"
        elif load.profile[-1][1] == 0 and file.run.transactions is not None:
            yield (
                ("workload", "profile"),
                "the last rate holds for ever and is zero; give the run a 'duration' instead of 'transactions'",
            )


def clients(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Clients have time to ask again, and do so while their request can still be recognised."""
    given = file.clients
    again = given.ask_again == "unanswered"
    yield from _backoff(given.backoff, ("clients", "backoff"))
    if "timeout" in given.model_fields_set and not again:
        yield ("clients", "timeout"), 'belongs to ask_again = "unanswered"; drop it, or change ask_again'
    if given.budget is not None and given.ask_again == "never":
        yield ("clients", "budget"), 'is for clients who ask again; drop it, or change ask_again = "never"'
    if again and given.timeout >= given.deadline:
        yield (
            ("clients", "timeout"),
            f"{duration_text(given.timeout)} is not below deadline = {duration_text(given.deadline)}",
        )
    retention = file.policies.dedup_retention
    if again and given.deadline >= retention:
        yield (
            ("clients", "deadline"),
            f"{duration_text(given.deadline)} is too long to ask again: requests are recognised for {duration_text(retention)}",
        )


def network(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Some messages arrive."""
    if file.network.loss == 1:
        yield (
            ("network", "loss"),
            "is 1: no message would ever arrive; what is cut for a time is a fault of kind 'partition'",
        )


MOST_TRANSACTIONS: Final = 20_000_000
"""Number of transactions in one run: two thirds of a kilobyte each, and a fraction of a millisecond."""
MOST_USERS: Final = 1_000_000


def run(file: schema.ScenarioFile, arrivals: Arrivals) -> Iterator[Problem]:
    """A run has one length, and its warm-up is shorter."""
    plan = file.run
    rows = len(arrivals.times)
    if plan.transactions is not None and plan.duration is not None:
        yield ("run",), "give either 'transactions' or 'duration', not both"
        return
    if plan.transactions is None and plan.duration is None and file.workload.kind != "trace":
        yield ("run",), "give 'transactions' or 'duration'"
        return
    if file.workload.kind == "trace" and rows and plan.transactions is not None and plan.transactions > rows:
        yield ("run", "transactions"), f"{plan.transactions} is more than the trace has: {rows}"
        return
    if plan.transactions is not None and plan.transactions > MOST_TRANSACTIONS:
        yield (
            ("run", "transactions"),
            f"{plan.transactions:,} is more than the {MOST_TRANSACTIONS:,} that a run may have",
        )
        return
    if file.workload.users is not None and file.workload.users > MOST_USERS:
        yield ("workload", "users"), f"{file.workload.users:,} is more than the {MOST_USERS:,} that a run may have"
        return
    if plan.recovery is not None and not plan.stratify:
        yield ("run", "recovery"), "belongs to stratify = true"
    if plan.stratify and plan.duration is None:
        yield ("run", "stratify"), "needs 'duration', the length of the quiet run; 'transactions' says nothing of time"
    if plan.stratify and not any(fault.every is not None for fault in file.faults):
        yield ("run", "stratify"), "there is no fault with 'every' to play by itself"
    length = plan.duration
    said = "lasts"
    if length is None:
        if file.workload.kind == "trace":
            length = arrivals.times[(plan.transactions or rows) - 1] if rows else None
        else:
            rate = build.workload(file.workload, None, (), {}).mean_rate() if file.workload.kind != "closed" else None
            length = plan.transactions / rate if rate and plan.transactions is not None else None
        said = "is expected to last"
    if length is not None and plan.warmup >= length > 0:
        lasting = f"{duration_text(plan.warmup)} is not shorter than the run, which {said} {duration_text(length)}"
        yield ("run", "warmup"), f"{lasting}; choose a shorter one (0s: none), or a longer run"


# --- policies, invariants, notes -------------------------------------------------------------------------------------------------


def policies(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Back-off does not start above its cap."""
    yield from _backoff(file.policies.backoff, ("policies", "backoff"))


def _backoff(backoff: schema.BackoffFile | schema.ClientBackoffFile, path: Path) -> Iterator[Problem]:
    if backoff.cap < backoff.base:
        yield (*path, "cap"), f"{duration_text(backoff.cap)} is below base = {duration_text(backoff.base)}"


def invariants(file: schema.ScenarioFile) -> Iterator[Problem]:
    """An invariant has what its kind needs, and speaks of services that exist."""
    named = [entry.name for entry in file.invariants]
    for position, entry in enumerate(file.invariants):
        path: Path = ("invariants", position)
        if entry.name in named[:position]:
            yield (*path, "name"), f"'{entry.name}' is the name of invariants[{named.index(entry.name)}] too"
        for index, term in enumerate(entry.terms):
            yield from unknown((*path, "terms", index, "service"), term.service, "service", file.services)
        if entry.service is not None:
            yield from unknown((*path, "service"), entry.service, "service", file.services)
        other = ("service", "prefix", "low", "high") if entry.kind == "conserved" else ("terms",)
        for key in other:
            if getattr(entry, key) not in (None, []):
                yield (*path, key), f"does not belong to an invariant of kind '{entry.kind}'"
        if entry.kind == "conserved" and not entry.terms:
            yield (*path, "terms"), "is missing: a conserved sum needs terms"
        if entry.kind == "bounds":
            yield from _bounds(file, entry, path)


def _bounds(file: schema.ScenarioFile, entry: schema.InvariantFile, path: Path) -> Iterator[Problem]:
    for key in ("service", "prefix"):
        if getattr(entry, key) is None:
            yield (*path, key), "is missing: bounds need it"
    if entry.low is None and entry.high is None:
        yield path, "bounds need 'low', 'high', or both"
    low = entry.low if entry.low is not None else float("-inf")
    high = entry.high if entry.high is not None else float("inf")
    if low > high:
        yield (*path, "low"), f"{low:g} is above high = {high:g}"
    elif entry.service in file.services and entry.prefix is not None:
        for key, value in file.services[entry.service].store.initial.items():
            if key.rstrip("*").startswith(entry.prefix) and not low <= value <= high:
                yield path, f"'{key}' of '{entry.service}' starts at {value:g}, outside of the bounds"


_last: dict[str, int] = {}


def _fits_one(pattern: str, figures: Sequence[Leaf]) -> bool:
    """Return whether a pattern fits a figure; the place where it last did is looked at first, for the cells of a sweep have the same figures."""
    place = _last.get(pattern)
    if place is not None and place < len(figures) and covers(pattern, *figures[place][:2]):
        return True
    for place, (path, text, *_) in enumerate(figures):
        if covers(pattern, path, text):
            if len(_last) > _MOST_PATTERNS:
                _last.clear()
            _last[pattern] = place
            return True
    return False


def notes(file: schema.ScenarioFile, figures: Sequence[Leaf]) -> Iterator[Problem]:
    """Sources, assumptions and uncertainties are about figures that exist."""
    for table in ("sources", "assumptions", "uncertainty"):
        for pattern in getattr(file, table):
            if not _fits_one(pattern, figures):
                near = hint(pattern, [text for _, text, *_ in figures], otherwise="")
                yield (
                    (table, pattern),
                    f"there is no figure at this path; {near if near.startswith('did') else 'see the reference of the format'}",
                )
