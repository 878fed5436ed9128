"""The difference of two event logs as text and HTML: a verdict, where they part first, and what led there on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from simtx.banner import banner
from simtx.event_log.diff import Difference, Parting, words
from simtx.event_log.log import LogEntry

_SHOWN: Final = 8  # entries of a chain at each of its ends; transactions in a list
_LEFT: Final = "text-align:left;vertical-align:top;padding:1px 14px 1px 0"


def headline(found: Difference) -> str:
    """The finding, in one line."""
    a, b = found.names
    if found.first is None:
        return f"{a} and {b} are the same: {found.alike:,} transactions"
    several = [one for one in found.partings if one.tx >= 0]
    faults = "" if len(several) == len(found.partings) else "faults and " if several else "only faults"
    counted = f"{len(several):,} of {found.alike + len(several):,} transactions" if several else ""
    return f"{a} and {b} differ in {faults}{counted}, first at {found.first.time:.6g} s"


def basis(found: Difference) -> str:
    """Words about what was compared, and what was not."""
    if found.what == "outcomes":
        return (
            "compared: what each transaction asked for, what was decided, and how values have changed in the end; "
            "not compared: answers, messages, records, clock, ids"
        )
    how = "and in which order" if found.order else "and how often"
    order = "" if found.order else "the order on a node, "
    return (
        f"compared: what happened in each transaction on each node, {how}, and faults ({found.compared[0]:,} and {found.compared[1]:,} entries); "
        f"not compared: {order}clock, ids, queues, locks, and how long anything took"
    )


def _told(found: Difference) -> list[Parting]:
    """The first parting, and if that is a fault, the first transaction behind it."""
    firsts = found.partings[:1]
    if firsts and firsts[0].tx < 0:
        firsts += [one for one in found.partings if one.tx >= 0][:1]
    return firsts


def _title(one: Parting) -> str:
    return "the faults part" if one.tx < 0 else f"transaction {one.tx} parts"


def _changes(found: Difference) -> list[str]:
    """Numbers of transactions that have another outcome, by what it was and is."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for tx, one, other in found.outcomes:
        kinds.setdefault((one or "undecided", other or "undecided"), []).append(tx)
    return [
        f"{len(numbers):,} {one} in {found.names[0]} and {other} in {found.names[1]}: {_listed(numbers)}"
        for (one, other), numbers in kinds.items()
    ]


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return shown + (f" and {len(numbers) - _SHOWN:,} more" if len(numbers) > _SHOWN else "")


def _cut(chain: Sequence[LogEntry]) -> list[LogEntry | None]:
    """The ends of a long chain; None stands for what is left out."""
    if len(chain) <= 2 * _SHOWN + 1:
        return list(chain)
    return [*chain[:_SHOWN], None, *chain[-_SHOWN:]]


def _line(entry: LogEntry | None) -> str:
    return "..." if entry is None else f"{entry.time:>12.6f} s  {entry.node or entry.actor:<14}  {words(entry)}"


def _verdict_lines(found: Difference) -> list[str]:
    rest = [one.tx for one in found.partings if one.tx >= 0]
    return [
        *(f"transactions that differ, by time: {_listed(rest)}" for _ in rest[:1]),
        *(["outcomes that differ:", *(f"  {line}" for line in _changes(found))] if found.outcomes else []),
        *([] if found.outcomes or found.first is None else ["every transaction has the same outcome in both"]),
    ]


def text(found: Difference) -> str:
    """The difference for a terminal."""
    out = [headline(found), basis(found), *found.notes]
    for one in _told(found):
        out += ["", f"{_title(one)}:"]
        for name, entry, chain in zip(found.names, (one.a, one.b), (one.chain_a, one.chain_b), strict=True):
            if entry is None:
                out.append(f"  {name}: has nothing that the other has not")
                continue
            out += [f"  {name}: {words(entry)}, at {entry.node or entry.actor}; what led there:"]
            out += [f"    {_line(each)}" for each in _cut(chain)]
    if found.first is not None:
        out += ["", *_verdict_lines(found)]
    return "\n".join(out)


def html(found: Difference) -> str:
    """The difference for a notebook."""
    notes = "<br>".join(escape(line) for line in (basis(found), *found.notes))
    parts = [banner(found.same, headline(found)), f"<p style='opacity:.75;font-size:smaller'>{notes}</p>"]
    for one in _told(found):
        heads = "".join(f"<th style='{_LEFT}'>{escape(name)}</th>" for name in found.names)
        cells = "".join(f"<td style='{_LEFT}'>{_chain(chain)}</td>" for chain in (one.chain_a, one.chain_b))
        parts.append(
            f"<p><b>{escape(_title(one))}</b>; what led there, the last line is the difference:</p>"
            f"<table style='border-collapse:collapse'><thead><tr>{heads}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"
        )
    lines = _verdict_lines(found)
    return "".join([*parts, *([f"<p>{'<br>'.join(map(escape, lines))}</p>"] if lines else [])])


def _chain(chain: Sequence[LogEntry]) -> str:
    """A chain of causes as lines; the last one, which is the difference, is bold."""
    if not chain:
        return "<i>has nothing that the other has not</i>"
    cut = _cut(chain)
    lines = []
    for number, entry in enumerate(cut):
        if entry is None:
            lines.append("…")
            continue
        line = f"{entry.time:.6f} s <b>{escape(entry.node or entry.actor)}</b> {escape(words(entry))}"
        lines.append(f"<span style='color:#B00020;font-weight:bold'>{line}</span>" if number == len(cut) - 1 else line)
    return "<br>".join(lines)
