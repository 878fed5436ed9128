"""``simtx.diff``: the first divergence of two runs, wherever their event logs are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from simtx.arguments import checked, choice, flag, shown
from simtx.errors import ScenarioError
from simtx.event_log.diff import Compared, Difference, difference
from simtx.event_log.log import EventLog
from simtx.experiments.saved import read
from simtx.metrics.run import Run
from simtx.scenario.provenance import Provenance

_WHAT: Final = "a run, an event log, or the path of: a run that was saved, the folder of a real run, an event log, a folder with one event log"


@checked(what=choice("entries", "outcomes"), order=flag)
def diff(
    a: Run | EventLog | str | Path, b: Run | EventLog | str | Path, *, what: Compared = "entries", order: bool = False
) -> Difference:
    """Find where two runs part: the first entry that only one of them has, with its chain of causes.

    Runs are compared transaction by transaction: what happened on each node, and how often. Clocks, ids, durations, queues and locks are not compared;
    the order on a node only with `order`.

    Args:
        a: A run, an event log, or a path: of a run that `Run.save` has written, of the folder of a real run, or of an event log.
        b: Likewise.
        what: ``entries``: all entries, for two versions, or a simulated and a real run; ``outcomes``: requests, decisions
            and the final changes of values, for two strategies.
        order: Whether the order of entries is compared, too, on each node in each transaction.

    Returns:
        The difference: ``first``, the earliest parting, ``partings`` by transaction, and ``outcomes`` that differ.

    Raises:
        ScenarioError: One of them is no run or event log, or cannot be read.
    """
    (first, origin_a, name_a), (second, origin_b, name_b) = _log(a, "a"), _log(b, "b")
    names = (name_a, name_b) if name_a != name_b else (f"{name_a} (A)", f"{name_b} (B)")
    return difference(first, second, what=what, order=order, names=names, notes=_notes(origin_a, origin_b))


def _log(given: object, parameter: str) -> tuple[EventLog, Provenance | None, str]:
    """The event log that is meant, where it comes from, and what to call it."""
    if isinstance(given, Run):
        return given.trace, given.provenance, _name(given)
    if isinstance(given, EventLog):
        return given, given.provenance, parameter.upper()
    if not isinstance(given, str | Path) or not str(given):
        raise ScenarioError(f"must be {_WHAT}; not {type(given).__name__}", parameter)
    path = Path(given).expanduser()
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        raise ScenarioError(f"there is no such file or folder; give {_WHAT}", str(path))
    if (path / "nodes").is_dir() and (path / "run.json").is_file():
        return _real(path)
    if (path / "run.json").is_file():
        run = read(path)
        if isinstance(run, Run):
            return run.trace, run.provenance, str(path)
    logs = sorted(path.glob("events-*.jsonl"))
    if len(logs) == 1:
        return _file(logs[0])[0], None, str(path)
    if logs:
        raise ScenarioError(f"holds {len(logs)} event logs; name one: {', '.join(one.name for one in logs)}", str(path))
    raise ScenarioError(f"holds no event log; give {_WHAT}", str(path))


def _file(path: Path) -> tuple[EventLog, Provenance | None, str]:
    trace = EventLog.load(path)
    if not len(trace):
        raise ScenarioError("is empty: no entry of an event log", str(path))
    return trace, None, str(path)


def _real(path: Path) -> tuple[EventLog, Provenance | None, str]:
    """The log files of all processes of a real run, in one order; its zero is its first entry of a transaction."""
    from simtx.reference.run_folder.collect import merged
    from simtx.reference.run_folder.event_log import entries
    from simtx.reference.run_folder.folder import RunFolder

    folder = RunFolder.open(path)
    rows = entries(folder.logs())
    if not rows:
        raise ScenarioError("the processes of this run have logged nothing", str(path))
    origin = min((row[1] for row in rows if row[4] >= 0), default=min(row[1] for row in rows))
    return merged(rows, origin), None, str(path)


def _name(run: Run) -> str:
    real = "" if run.data.origin is None else ", real"
    return f"{run.strategy.name} on {run.scenario.name}{real}, seed {run.seed}/{run.replication}"


def _notes(a: Provenance | None, b: Provenance | None) -> list[str]:
    """Differences of the runs themselves."""
    if a is None or b is None:
        return []
    said = [
        ("the world", a.verb, b.verb),
        ("scenario", a.scenario, b.scenario),
        ("strategy", ", ".join(a.strategies), ", ".join(b.strategies)),
        ("seed", str(a.seed), str(b.seed)),
        ("replication", str(a.replication), str(b.replication)),
        ("version", a.version, b.version),
        ("fingerprint of the code", a.code_fingerprint[:8], b.code_fingerprint[:8]),
    ]
    for path in dict.fromkeys((*a.changes, *b.changes)):
        one, other = (shown(side.changes[path]) if path in side.changes else "" for side in (a, b))
        said.append((path, one, other))
    return [
        f"{what}: {one or 'as it was'} in A, {other or 'as it was'} in B" for what, one, other in said if one != other
    ]
