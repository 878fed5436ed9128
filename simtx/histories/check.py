"""The checker: from a recorded history to a report."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simtx.arguments import named
from simtx.errors import ScenarioError
from simtx.histories.cycles import find_cycles
from simtx.histories.findings import Finding
from simtx.histories.graph import Graph, build_graph
from simtx.histories.levels import Level, level_of
from simtx.histories.observations import Observations
from simtx.histories.orders import Assumptions, RegisterOrder, read_assumptions, register_orders
from simtx.histories.parsing import History, read_file, read_history
from simtx.histories.proof import settle
from simtx.histories.report import HistoryReport
from simtx.histories.runs import RunHistory, Transactions, from_trace
from simtx.histories.sentences import Sentences
from simtx.histories.sight import Sight

if TYPE_CHECKING:
    from simtx.event_log.log import EventLog
    from simtx.metrics.run import Run

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@named
def check_history(
    history: Iterable[Mapping[str, Any]] | str | Path | EventLog | Run,
    consistency: str = "serializable",
    assume: Mapping[str, Any] | Iterable[str] = _NOTHING,
    *,
    transactions: Transactions | None = None,
) -> HistoryReport:
    """Check the isolation of a recorded history, in the manner of Adya and of Elle.

    Args:
        history: The transactions, `{id, process, status: ok|fail|info, start, end, ops}`, or the path of a JSON or JSON Lines
            file of them, or of a history of Jepsen, of dbcop or in lines. An operation is `["append", key, value]`, `["w", key, value]` or `["r", key, value]`. Or a run, its event
            log, or the path of a saved one: `simtx.histories.from_trace` makes a history of it.
        consistency: `read-uncommitted`, `read-committed`, `read-atomic`, `causal-consistency`, `prefix-consistency`,
            `repeatable-read`, `snapshot-isolation`, `serializable` or `strict-serializable`, or one of them with `strong-session-` before it
            (but for `causal-consistency`, which counts sessions as it is). It decides which anomalies are forbidden and whether session
            order and real time count.
        assume: What is granted about the version orders of registers: `wfr_keys`, `sequential_keys`, `linearizable_keys` (true
            or false), `commit_order` (a list of ids) and `version_order` (a list of values by key). Lists need no grant: their reads
            tell the order. The order of the versions of a run is known from its stores.
        transactions: Of a run: whether its ``business`` transactions are checked (the default) or the ``local`` ones of its stores.

    Returns:
        The anomalies that the level forbids, with the evidence; `valid` is None where neither an anomaly was found nor an order
        of versions that explains the history.

    Raises:
        ScenarioError: The history, the level or an assumption is malformed; the text names the transaction and the field.
    """
    level = level_of(consistency)
    given = _given(history, transactions)
    report = _check(given, level, assume)
    if not isinstance(given, RunHistory) or given.likely is given or report.valid is False:
        return report
    likely = _check(given.likely, level, assume)
    if likely.valid is not False:
        return likely
    text = f"{given.ambiguous} reads fit several versions of equal value. Without them nothing forbidden is seen, but with the likeliest versions there is."
    return replace(report, valid=None, notes=(*report.notes, text))


def _given(history: object, transactions: Transactions | None) -> object:
    """The history of a run, where it is one; else what was given."""
    from simtx.event_log.log import EventLog

    if isinstance(history, (str, Path)):
        history = read_file(Path(history))
    elif not isinstance(history, EventLog):
        trace = getattr(history, "trace", None)
        history = trace if isinstance(trace, EventLog) else history
    if isinstance(history, EventLog):
        return from_trace(history, transactions or "business")
    if transactions is not None:
        problem = "applies to runs and their event logs only; a list of transactions says itself what they are"
        raise ScenarioError(problem, "transactions")
    return history


def _check(history: object, level: Level, assume: Mapping[str, Any] | Iterable[str]) -> HistoryReport:
    parsed = read_history(history)
    granted = read_assumptions(assume, parsed)
    if isinstance(history, RunHistory) and not granted.version_order:
        granted = replace(granted, version_order=history.version_order)
    seen, registers, graph, reported = _seen(parsed, granted, level)
    implied: dict[str, Any] = dict.fromkeys(level.implies, True)
    with_implied = replace(granted, **implied)
    open_ = not level.by_sight and not all(order.is_total() for order in registers.values())
    if with_implied != granted and not reported and open_:
        seen, registers, graph, reported = _seen(parsed, with_implied, level)
        for finding in reported:
            finding.against = (level.name,)
    notes: tuple[str, ...] = ()
    if not reported:
        verdict = settle(seen, registers, graph, level)
        notes = verdict.doubts
        reported = [] if verdict.finding is None else [verdict.finding]
    return HistoryReport(
        level=level,
        findings=tuple(reported),
        valid=False if reported else (None if notes else True),
        notes=notes,
        counts={status: parsed.status.count(status) for status in ("ok", "fail", "info")},
        granted=_names(granted),
        operations={parsed.name(index): parsed.ops[index] for index in _shown(parsed, reported)},
    )


def _seen(
    parsed: History, granted: Assumptions, level: Level
) -> tuple[Observations, dict[Hashable, RegisterOrder], Graph, list[Finding]]:
    """Evidence of the history at this level under these assumptions: the observations, the orders, the graph and what is forbidden."""
    seen = Observations(parsed, resolve_info=level.base != "read-uncommitted", known_committed=granted.commit_order)
    registers = register_orders(seen, granted)
    sight = Sight(seen, level) if level.by_sight else None
    sentences = Sentences(seen, registers, sight)
    for name, links in sight.missed.items() if sight else ():
        seen.findings.add(name, *sentences.of(links))
    graph = build_graph(seen, registers, level, sight.edges.values() if sight else ())
    already = {finding.name for finding in seen.findings.reported(level.forbidden)}
    for name, cycle in find_cycles(graph, level, already):
        seen.findings.add(name, *sentences.of_cycle(graph, cycle))
    return seen, registers, graph, seen.findings.reported(level.forbidden)


def _names(granted: Assumptions) -> tuple[str, ...]:
    return tuple(name for name in granted.__slots__ if getattr(granted, name))


def _shown(history: History, findings: Iterable[Any]) -> list[int]:
    names = {name for finding in findings for name in finding.transactions}
    return [index for index in range(len(history)) if history.name(index) in names]
