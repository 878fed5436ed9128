"""Violations: what must never be in a real run, whatever was killed, paused or cut meanwhile, and how it is found.

The laws, by name:

- ``blocked``: in the end nothing is stuck or in flight, while every process is up.
- ``effects``: every step of a committed transaction has taken effect exactly once, every other one not at all.
- ``truth``: the client was told nothing that is not so.
- ``agreement``: a transaction has one outcome.
- ``conservation``, ``divergence``, ``bounds``: the data are what the outcomes call for (docs/metrics.md).
- ``durability``: what a store has acknowledged is in it.
- ``replay``: the event log, replayed through the pure machines, gives the same effects (`simtx.conformance.check`).
- ``audit``: the chains of the audit logs verify.
- ``orphans``: no branch is left prepared in a store, no row in an outbox.

A dual write promises nothing about the first six; what it loses is counted by `losses`, and the last four hold for it as well.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simtx.conformance.check import check_log
from simtx.event_log.entries import Arrived, Process
from simtx.protocols.extras import extras
from simtx.protocols.operations import writes
from simtx.reference.run_folder.folder import RunFolder, RunFolderError
from simtx.reference.stores import open_store
from simtx.reference.stores.registry import PRODUCTS

if TYPE_CHECKING:
    from simtx.event_log.log import LogEntry
    from simtx.metrics.run import Run
    from simtx.protocols import Strategy

NOT_STORED: Final = "was acknowledged and is not in the store"
"""End of a line of `simtx.reference.run_folder.collect.histories` about a commit that was lost."""

_NOTHING: Final = 1e-6
_TRUE: Final = {
    "committed": {"committed", "accepted"},
    "compensated": {"aborted", "accepted"},
    "aborted": {"aborted"},
    "lost": {"aborted"},
    "incomplete": set(),
}
"""Answers that a client may have, by outcome; while a transaction is open, another one may come."""
_ADMITTED: Final = frozenset({"effects", "truth", "agreement", "conservation", "divergence", "bounds"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation.

    Attributes:
        law: Name of what is violated.
        tx: The transaction, or -1 if it is about the whole run.
        text: One line that says what is wrong.
    """

    law: str
    tx: int
    text: str

    def __str__(self) -> str:
        return f"{self.law}: {f'transaction {self.tx}: ' if self.tx >= 0 else ''}{self.text}"


def violations(run: Run, folder: str | Path | None = None) -> list[str]:
    """Violations in a run, one line each; empty: none.

    Args:
        run: A run of `simtx.execute`.
        folder: Its folder, for the audit logs and what is left in the stores; None: these are not looked at.

    Raises:
        ScenarioError: The run has no full event log.
        RunFolderError: The folder holds no run.
    """
    return [str(finding) for finding in findings(run, folder)]


def findings(run: Run, folder: str | Path | None = None) -> list[Finding]:
    """The same, with law and transaction. Expected losses of a dual write are none.

    Raises:
        ScenarioError: The run has no full event log.
        RunFolderError: The folder holds no run.
    """
    found = [*_blocked(run), *_effects(run), *_answers(run), *_data(run), *_log(run)]
    if folder is not None:
        opened = RunFolder(folder)
        found += [*_audits(opened), *_left_behind(opened)]
    if promises_nothing(run.strategy):
        found = [finding for finding in found if finding.law not in _ADMITTED]
    return found


def promises_nothing(strategy: Strategy) -> bool:
    """Return whether losses are expected: of a dual write."""
    return extras(strategy).may_lose_effects


def losses(run: Run) -> dict[str, int]:
    """Numbers of lost and doubled effects and of wrong answers: the cost of a strategy that promises nothing, and zeros for the others."""
    table = run.transactions
    told = {finding.tx for finding in _answers(run) if finding.law == "truth"}
    return {
        "transactions with missing effects": int((table["missing_effects"] > 0).sum()),
        "transactions with duplicate effects": int((table["duplicate_effects"] > 0).sum()),
        "transactions that ended half way": int((table["outcome"] == "incomplete").sum()),
        "clients told something untrue": len(told),
    }


# --- transactions -----------------------------------------------------------------------------------------------------------------


def _blocked(run: Run) -> Iterator[Finding]:
    """Transactions that are not through, although nobody is away who could help them."""
    if down(run.trace):
        return
    table = run.transactions
    for tx, outcome in zip(table["tx"], table["outcome"], strict=True):
        if outcome in ("stuck", "in-flight"):
            yield Finding("blocked", int(tx), f"{outcome} at the end of the run, while every process is up")


def down(trace: Iterable[LogEntry]) -> set[str]:
    """Processes that are down where the log ends."""
    gone: set[str] = set()
    for event in trace:
        if event.kind == "crash":
            gone.add(Process.read(event).name or event.node)
        elif event.kind == "restart":
            gone.discard(Process.read(event).name or event.node)
    return gone


def _effects(run: Run) -> Iterator[Finding]:
    table = run.transactions
    for tx, outcome, missing, doubled in zip(
        table["tx"], table["outcome"], table["missing_effects"], table["duplicate_effects"], strict=True
    ):
        if outcome == "incomplete":
            yield Finding("effects", int(tx), "ended half way: steps were done, and nobody works on it any more")
        if outcome == "in-flight":
            continue  # what is missing may still come
        if missing:
            yield Finding("effects", int(tx), f"{outcome}, but {missing} of its effects are missing")
        if doubled:
            yield Finding("effects", int(tx), f"{outcome}, but {doubled} effects are too many")


def _answers(run: Run) -> Iterator[Finding]:
    """Answers to clients and decisions of machines, beside the outcomes."""
    told: defaultdict[int, set[str]] = defaultdict(set)
    decided: defaultdict[int, set[str]] = defaultdict(set)
    writing: dict[int, bool] = {}
    for event in run.trace:
        if event.kind in ("answer", "reply"):
            told[event.tx].add(event.name)
        elif event.kind == "decided":
            decided[event.tx].add(event.name)
        elif event.kind == "arrive":
            writing[event.tx] = any(writes(operations) for _, operations in Arrived.read(event).operations())
    outcomes = dict(zip(run.transactions["tx"], run.transactions["outcome"], strict=True))
    for tx, names in sorted(decided.items()):
        if len(names) > 1:
            yield Finding("agreement", tx, f"was decided to be {' and '.join(sorted(names))}")
    for tx, names in sorted(told.items()):
        if {"committed", "aborted"} <= names:
            yield Finding("truth", tx, "the client was told 'aborted' and 'committed'")
        outcome = outcomes.get(tx)
        allowed = _TRUE.get(str(outcome))
        if allowed is None or not writing.get(tx, True):
            continue  # not over yet, or without effects: any answer fits
        untrue = sorted(names - allowed)
        if untrue:
            yield Finding("truth", tx, f"the client was told '{untrue[0]}', but the outcome is {outcome}")


# --- data -------------------------------------------------------------------------------------------------------------------------


def _data(run: Run) -> Iterator[Finding]:
    open_ones = bool(run.transactions["outcome"].isin(("stuck", "in-flight")).any()) and bool(down(run.trace))
    if not open_ones:  # what is in flight because a process is down is neither lost nor too much
        for quantity in run.data.quantities:
            if abs(quantity.final) > _NOTHING:
                yield Finding(
                    "conservation",
                    -1,
                    f"{quantity.name}: {quantity.final:+g} {quantity.unit} in the end, not 0".strip(),
                )
        if run.data.residual > _NOTHING:
            yield Finding(
                "divergence", -1, f"the values differ from what the outcomes call for by {run.data.residual:g} in all"
            )
    for line in run.data.bounds_violated:
        yield Finding("bounds", -1, line)
    for line in run.warnings:
        if line.endswith(NOT_STORED):
            yield Finding("durability", -1, line)


# --- logs and stores --------------------------------------------------------------------------------------------------------------


def _log(run: Run) -> Iterator[Finding]:
    for problem in check_log(run.trace, run.strategy).problems:
        yield Finding("replay", -1, problem)


def _audits(folder: RunFolder) -> Iterator[Finding]:
    for node, lines in folder.verify_audits().items():
        for line in lines:
            yield Finding("audit", -1, f"{node}: {line}")


def _left_behind(folder: RunFolder) -> Iterator[Finding]:
    """Remains in the stores; of those that are files, since a server has ended with the run."""
    files = {
        path for product in PRODUCTS.values() if product.file for path in folder.path.glob(f"nodes/*/{product.file}")
    }
    for path in sorted(files):
        config = folder.config(path.parent.name)
        try:
            store = open_store({**_spec(config), "path": str(path)})
        except (TypeError, ValueError, KeyError) as error:
            raise RunFolderError(f"'{config}' is damaged: {error}".splitlines()[0]) from None
        try:
            for branch in store.branches():
                yield Finding("orphans", branch.tx, f"{path.parent.name}: its branch is still prepared")
            for tx in sorted(store.pending_outbox()):
                yield Finding("orphans", tx, f"{path.parent.name}: its outbox rows are not published")
        finally:
            store.close()


def _spec(file: Path) -> dict[str, Any]:
    """Description of the store in the configuration of a process.

    Raises:
        RunFolderError: It is damaged.
    """
    try:
        spec = dict(json.loads(file.read_bytes())["store"])
        if spec["kind"] not in PRODUCTS or PRODUCTS[spec["kind"]].server:
            raise ValueError(f"a store of kind {spec['kind']!r} is no file")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(f"'{file}' is damaged: {type(error).__name__}: {error}".splitlines()[0]) from None
    return spec


def counted(found: Iterable[Finding]) -> dict[str, int]:
    """Number of violations of each law, the laws in alphabetical order."""
    return dict(sorted(Counter(finding.law for finding in found).items()))
