"""The event log of a run: one schema in every world, simulated or real.

The detail of ``apply`` and ``query`` is a JSON object. It says what one local transaction has read and changed, and is all that a check of
isolation needs (`simtx.histories.from_trace`)::

    {"steps": [1], "values": {"stock:7": [9, 8]}, "reads": [["stock:7", 9, 4], ["price:7", 40, 0]], "history": 12}

- ``steps``: the steps of the plan whose work it was.
- ``values``: (old, new) by key, as committed; empty in a ``query``.
- ``reads``: what the store has returned, first to last: [key, value] or [key, value, version]. An ``add`` is a read and a write, a guard is a
  read, a ``set`` is none. What the local transaction had changed itself is no read. It must be what the store gave out and nothing else, so that
  a stale replica or weak isolation shows. The version is the number of changes of that key that the store had committed when
  the value was current, 0 before the first; it may be left out, and is then inferred as far as the value is the only one of its kind.
  Without ``reads`` (the process died before it could write them down) it is unknown what was read.
- ``history``: number of the change in the store's own history, if it keeps one. Of two changes of one key the later has the larger number;
  without it, the order of the log has to be that of the commits.

The entry of a prepared or open branch is written when the branch ends, and holds all that the branch has read. A local transaction that is
refused has a ``query`` with the name ``refused`` if it had read anything; one that fails has none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, overload

from simtx.errors import ScenarioError
from simtx.files import LARGEST_DATA, Unreadable, read_text
from simtx.views import view

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from simtx.scenario.provenance import Provenance


class LogEntry(NamedTuple):
    """One line of the event log.

    Attributes:
        id: Number in the log, from 0; unique.
        time: Seconds since the start of the run.
        kind: What happened. Of the protocol: ``request``, ``send``, ``receive``, ``drop``, ``append``, ``transact``, ``execute``, ``prepare``,
            ``commit``, ``rollback``, ``timer``, ``publish``, ``confirm``, ``logonce``, ``logged``, ``deliver``, ``acknowledge``, ``answer``, ``decided``, ``suspect``,
            ``alert``, ``forget``, ``crash``, ``restart``, ``lost`` (an effect that a crash swallowed), ``reject`` (a message that a circuit
            breaker held back). Of the stores: ``apply`` (a local transaction changed values), ``query`` (one has only read), ``wait`` (a wait
            for locks is over), ``unlock``, ``serve`` and ``free`` (a worker starts and ends), ``read`` (of a replica), ``redeliver`` (by the
            broker), ``call`` (a request to a provider outside, and its result). Of the run: ``arrive`` (a client asks; the plan), ``ask`` (again) and ``give-up`` (of a client whose request has reached
            nobody), ``suppress`` (of one that would ask again, and has no budget), ``expire`` (a service refuses a step after the client's deadline), ``reply`` (an answer has reached a client who is not beside the entry node), ``fault`` and ``healed``, ``open`` and ``close`` (of the measured window), ``level`` (lengths of queues that have changed, at a sample of
            the timeline), ``doubt``, ``held`` and ``unpublished`` (a branch in doubt, row locks, an outbox row that are still open at the end of
            the run), ``unfinished`` (a transaction at the end of the run), ``end``. Of machines, in a full log:
            ``handle`` (a machine has reacted to an event) and ``recover`` (it was rebuilt from its records), each with everything that a
            replay needs.
        node: Where.
        tx: The business transaction, or -1 for what concerns all of them.
        cause: Id of the entry that led to this one, or None.
        actor: Who asked for it: the role on the node, ``client``, ``fault``.
        peer: The other node, if there is one.
        name: Kind of the message, name of the record, tag, outcome.
        detail: More: ``forced`` or ``lazy``, a status, the steps.
    """

    id: int
    time: float
    kind: str
    node: str
    tx: int
    cause: int | None
    actor: str
    peer: str
    name: str
    detail: str


class EventLog:
    """An immutable sequence of `LogEntry`, in the order of their times.

    Attributes:
        provenance: Where the run comes from, if it is known.
    """

    __slots__ = ("_events", "provenance")

    def __init__(self, events: Iterable[LogEntry], provenance: Provenance | None = None) -> None:
        self._events = tuple(events)
        self.provenance = provenance

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> LogEntry: ...
    @overload
    def __getitem__(self, index: slice) -> EventLog: ...
    def __getitem__(self, index: int | slice) -> LogEntry | EventLog:
        return EventLog(self._events[index], self.provenance) if isinstance(index, slice) else self._events[index]

    @property
    def transactions(self) -> list[int]:
        """Numbers of the transactions that the log knows, ascending."""
        return sorted({event.tx for event in self._events if event.tx >= 0})

    def of(self, tx: int) -> EventLog:
        """Return the entries of one transaction, with the crashes and restarts during its time.

        Args:
            tx: Number of the transaction.

        Raises:
            KeyError: The log has no such transaction.
        """
        own = [event for event in self._events if event.tx == tx]
        if not own:
            raise KeyError(f"no transaction {tx} in this trace")
        first, last = own[0].time, own[-1].time
        among = (
            e
            for e in self._events
            if e.tx == tx or (e.tx == -1 and e.kind in ("crash", "restart") and first <= e.time <= last)
        )
        return EventLog(among, self.provenance)

    def save(self, path: str | Path) -> None:
        """Write the log as JSON Lines: first the version of the format and the names of the fields, then one array for each entry.

        Args:
            path: The file; an existing one is replaced.

        Raises:
            OSError: The file cannot be written.
        """
        with Path(path).open("w", encoding="utf-8") as file:
            file.write(f"{json.dumps([_FORMAT, VERSION, *LogEntry._fields])}\n")
            file.writelines(f"{json.dumps(event, ensure_ascii=False)}\n" for event in self._events)

    @classmethod
    def load(cls, path: str | Path) -> EventLog:
        """Read a log that `save` has written, also one without a version of the format; the first line may be missing.

        Args:
            path: The file, of at most 2 GiB.

        Raises:
            ScenarioError: The file cannot be read, or is no event log; the text names the line.
        """
        path = Path(path)
        try:
            text = read_text(path, LARGEST_DATA)
        except FileNotFoundError as error:
            raise ScenarioError(error.strerror or "cannot be read", str(path)) from None
        except Unreadable as error:
            raise ScenarioError(f"cannot be read: {error}", str(path)) from None
        return cls.parse(text, path.name)

    @classmethod
    def parse(cls, text: str, source: str = "event log") -> EventLog:
        """Read a log from text.

        Args:
            text: The lines of a file that `save` has written.
            source: Name of the text in errors.

        Raises:
            ScenarioError: It is no event log; the text names the line.
        """
        lines = enumerate(text.split("\n"), 1)  # not splitlines: JSON may hold other separators unescaped
        return cls(event for number, line in lines if line.strip() and (event := _event(line, source, number)))

    def frame(self) -> pd.DataFrame:
        """The log as a table, one row an entry."""
        import pandas as pd

        frame = pd.DataFrame.from_records(self._events, columns=list(LogEntry._fields))
        frame["cause"] = frame["cause"].astype("Int64")
        return frame

    def overview(self) -> pd.DataFrame:
        """Tabulate the transactions: outcome and duration; undecided ones first, then the slowest.

        Columns: ``tx``; ``arrival_s``; ``outcome``, empty if it was not decided; ``decision_ms``, from the client's request to the decision, not a
        number without one; ``entries`` in the log; ``messages`` sent and published; ``timeouts``; ``lost``: messages and effects.
        """
        import pandas as pd

        first: dict[int, float] = {}
        decided: dict[int, LogEntry] = {}
        counts: dict[int, dict[str, int]] = {}
        for event in self._events:
            if event.tx < 0:
                continue
            first.setdefault(event.tx, event.time)
            if event.kind == "decided":
                decided.setdefault(event.tx, event)
            count = counts.setdefault(event.tx, dict.fromkeys(("entries", *_COUNTED.values()), 0))
            count["entries"] += 1
            if event.kind in _COUNTED:
                count[_COUNTED[event.kind]] += 1
        took = {tx: 1e3 * (one.time - first[tx]) for tx, one in decided.items()}
        rows = [
            {
                "tx": tx,
                "arrival_s": arrival,
                "outcome": decided[tx].name if tx in decided else "",
                "decision_ms": took.get(tx, math.nan),
                **counts[tx],
            }
            for tx, arrival in sorted(first.items(), key=lambda one: (-took.get(one[0], math.inf), one[1]))
        ]
        names = ["tx", "arrival_s", "outcome", "decision_ms", "entries", *dict.fromkeys(_COUNTED.values())]
        return pd.DataFrame(rows, columns=names)

    def slowest(self) -> int:
        """Return the number of the transaction that took longest until it was decided; of several undecided ones, the oldest.

        Raises:
            ScenarioError: The log has no transaction.
        """
        found = self.overview()
        if found.empty:
            raise ScenarioError("this log knows no transaction", "trace")
        return int(found["tx"].iloc[0])

    def diagram(
        self,
        tx: int | Literal["slowest"],
        *,
        ax: Axes | None = None,
        start: float | None = None,
        end: float | None = None,
        steps: bool = False,
        title: str = "",
        compact: bool = False,
    ) -> Axes:
        """Draw one transaction as a message sequence diagram.

        Args:
            tx: Number of the transaction; ``slowest``: of the one that took longest until it was decided, or was not.
            ax: Axes to draw into; without, a figure of the right size is made.
            start: Leave out what happened earlier, in seconds since the first event of the transaction.
            end: Leave out what happened later.
            steps: The log tells a story, a millisecond a step (`simtx.checker.Story.trace`): its steps are numbered, not timed.
            title: What to write above it; without, the number of the transaction and its outcome.
            compact: For a slide: what is the same stands in one row ("3 × prepare"), retries are counted, no label covers another.

        Raises:
            ScenarioError: The log holds no such transaction, or nothing in this span of time.
        """
        drawn: Axes = view("diagram")(
            self, self._number(tx), ax=ax, start=start, end=end, steps=steps, title=title, compact=compact
        )
        return drawn

    def player(self, tx: int | Literal["slowest"]) -> Any:
        """Show one transaction in a notebook, to step through: play, previous, next, zoom, and details of each step; without anywidget, a page.

        Args:
            tx: Number of the transaction; ``slowest``: of the one that took longest until it was decided, or was not.

        Raises:
            ScenarioError: The log holds no such transaction.
        """
        return view("player")(self, self._number(tx))

    def text(self, tx: int | Literal["slowest"], **options: Any) -> str:
        """Return the same diagram as text, one line for each event.

        Args:
            tx: Number of the transaction, or ``slowest``.
            options: Those of `simtx.report.diagram.render`.

        Raises:
            ScenarioError: The log holds no such transaction.
        """
        return str(view("diagram-text")(self, self._number(tx), **options))

    def _number(self, tx: int | str) -> int:
        """The transaction that is meant."""
        if isinstance(tx, str):
            if tx != "slowest":
                raise ScenarioError(f"must be the number of a transaction, or 'slowest', not {tx!r}", "tx")
            return self.slowest()
        return tx

    def save_otlp(self, path: str | Path, **options: Any) -> Path:
        """Write spans as OpenTelemetry's OTLP JSON, for Jaeger and others; options are those of `simtx.report.otlp.save_otlp`."""
        return Path(view("otlp")(self, path, **options))

    def save_chrome(self, path: str | Path) -> Path:
        """Write spans in Chrome's trace event format, for ``chrome://tracing`` and Perfetto."""
        return Path(view("chrome")(self, path))

    def __repr__(self) -> str:
        return f"<EventLog: {len(self)} entries of {len(self.transactions)} transactions>"

    def _repr_html_(self) -> str:
        return str(view("trace-html")(self))


VERSION: Final = 1
"""Version of the format of a file; one of before that has an array in place of its first line."""
_FORMAT: Final = "simtx-event-log"
_COUNTED: Final = {
    "send": "messages",
    "publish": "messages",
    "logonce": "messages",
    "suspect": "timeouts",
    "lost": "lost",
    "drop": "lost",
}


def _event(line: str, source: str, number: int) -> LogEntry | None:
    """One line of a file; None for the first line, which says the version and the names of the fields."""
    where = f"{source}, line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        problem = getattr(error, "msg", str(error))
        raise ScenarioError(f"is not valid JSON: {problem}; expected one array an entry", where) from None
    names = ", ".join(LogEntry._fields)
    if row == list(LogEntry._fields):  # as it was before the format had a version
        return None
    if isinstance(row, list) and row[:1] == [_FORMAT]:
        if row != [_FORMAT, VERSION, *LogEntry._fields]:
            raise ScenarioError(f"is version {row[1:2]} of an event log; this simtx reads version {VERSION}", where)
        return None
    if not isinstance(row, list) or len(row) != len(LogEntry._fields):
        raise ScenarioError(f"is no entry of an event log; expected an array of {names}", where)
    for name, value, (kinds, expected) in zip(LogEntry._fields, row, _FORMS, strict=True):
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ScenarioError(f"field '{name}': expected {expected}, got {value!r}", where)
    return LogEntry(*row)


_WHOLE: Final = ((int,), "a whole number")
_TEXT: Final = ((str,), "text")
_FORMS: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    _WHOLE,
    ((float, int), "a number"),
    _TEXT,
    _TEXT,
    _WHOLE,
    ((int, type(None)), "a whole number or null"),
    _TEXT,
    _TEXT,
    _TEXT,
    _TEXT,
)


class LogRecorder:
    """Collects the event log while a run goes on."""

    __slots__ = ("_clock", "_events", "_messages")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._events: list[LogEntry] = []
        self._messages: dict[int, tuple[object, int]] = {}

    def log(
        self,
        kind: str,
        node: str,
        tx: int,
        cause: int | None = None,
        *,
        actor: str = "",
        peer: str = "",
        name: str = "",
        detail: str = "",
    ) -> int:
        """Write one entry at the current time; returns its id."""
        number = len(self._events)
        self._events.append(LogEntry(number, self._clock(), kind, node, tx, cause, actor, peer, name, detail))
        return number

    def sent(self, message: object, number: int) -> None:
        """Remember that this message object left with entry `number`."""
        self._messages[id(message)] = (message, number)  # the reference keeps the id from being used again

    def origin(self, message: object) -> int | None:
        """Id of the entry that sent this message object."""
        known = self._messages.get(id(message))
        return known[1] if known else None

    def trace(self) -> EventLog:
        """Entries that were recorded so far."""
        return EventLog(self._events)
