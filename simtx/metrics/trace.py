"""The event log of a run: one schema in every world, simulated or real."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from simtx.metrics import views

if TYPE_CHECKING:
    import pandas as pd


class TraceEvent(NamedTuple):
    """One line of the event log.

    Attributes:
        id: Number in the log, from 0; unique.
        time: Seconds since the start of the run.
        kind: What happened. Of the protocol: ``request``, ``send``, ``receive``, ``drop``, ``append``, ``transact``, ``execute``, ``prepare``,
            ``commit``, ``rollback``, ``timer``, ``publish``, ``confirm``, ``deliver``, ``acknowledge``, ``answer``, ``decided``, ``suspect``,
            ``alert``, ``forget``, ``crash``, ``restart``, ``lost`` (an effect that a crash swallowed), ``reject`` (a message that a circuit
            breaker held back). Of the stores: ``apply`` (values changed), ``wait`` (a wait for locks is over), ``unlock``, ``serve`` and
            ``free`` (a worker starts and ends), ``read`` (of a replica), ``redeliver`` (by the broker). Of the run: ``arrive`` (a client
            asks; the plan), ``reply`` (an answer has reached a client who is not beside the entry node), ``fault``, ``open`` and ``close``
            (of the measured window), ``unfinished`` (a transaction at the end of the run), ``end``. Of machines, in a full log:
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


class Trace:
    """An immutable sequence of `TraceEvent`, in the order of their times."""

    __slots__ = ("_events",)

    def __init__(self, events: Iterable[TraceEvent]) -> None:
        self._events = tuple(events)

    def __iter__(self) -> Iterator[TraceEvent]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> TraceEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Trace: ...
    def __getitem__(self, index: int | slice) -> TraceEvent | Trace:
        return Trace(self._events[index]) if isinstance(index, slice) else self._events[index]

    @property
    def transactions(self) -> list[int]:
        """Numbers of the transactions that the log knows, ascending."""
        return sorted({event.tx for event in self._events if event.tx >= 0})

    def of(self, tx: int) -> Trace:
        """The entries of one transaction, with the crashes and restarts that fell into its time.

        Raises:
            KeyError: The log knows no such transaction.
        """
        own = [event for event in self._events if event.tx == tx]
        if not own:
            raise KeyError(f"no transaction {tx} in this trace")
        first, last = own[0].time, own[-1].time
        return Trace(
            e
            for e in self._events
            if e.tx == tx or (e.tx == -1 and e.kind in ("crash", "restart") and first <= e.time <= last)
        )

    def frame(self) -> pd.DataFrame:
        """The log as a table, one row an entry."""
        import pandas as pd

        frame = pd.DataFrame.from_records(self._events, columns=list(TraceEvent._fields))
        frame["cause"] = frame["cause"].astype("Int64")
        return frame

    def diagram(self, tx: int, **options: Any) -> Any:
        """Draw one transaction as a message sequence diagram; returns matplotlib Axes. Options are those of `simtx.report.diagram.draw`."""
        return views.view("diagram")(self, tx, **options)

    def text(self, tx: int, **options: Any) -> str:
        """The same diagram in letters, one line an event."""
        return str(views.view("diagram-text")(self, tx, **options))

    def __repr__(self) -> str:
        return f"<Trace: {len(self)} events of {len(self.transactions)} transactions>"

    def _repr_html_(self) -> str:
        table = self.frame().head(30).to_html(index=False, border=0)
        return f"<p>{len(self)} events of {len(self.transactions)} transactions; the first 30:</p>{table}"


class TraceRecorder:
    """Collects the event log while a run goes on."""

    __slots__ = ("_clock", "_events", "_messages")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._events: list[TraceEvent] = []
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
        self._events.append(TraceEvent(number, self._clock(), kind, node, tx, cause, actor, peer, name, detail))
        return number

    def sent(self, message: object, number: int) -> None:
        """Remember that this message object left with entry `number`."""
        self._messages[id(message)] = (message, number)  # the reference keeps the id from being used again

    def origin(self, message: object) -> int | None:
        """Id of the entry that sent this message object."""
        known = self._messages.get(id(message))
        return known[1] if known else None

    def trace(self) -> Trace:
        """What was recorded so far."""
        return Trace(self._events)
