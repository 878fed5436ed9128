"""A local transaction as the arguments of the function ``work`` on the server, and its answer as a `Result`.

All arguments travel as text with a type named in the statement: their types, and so the prepared statement, are the same for every call.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from simtx.protocols import Execute, Prepare, Transact, codec
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.operations import FirstValues, locked
from simtx.reference.stores.base import Result
from simtx.reference.stores.postgres import sql as statements

_KINDS: Final = {"add": "a", "set": "s", "read": "r", "refuse": "x"}
_LARGEST: Final = 2**31 - 1
_TOMBSTONE: Final = codec.dumps(TOMBSTONE)
_NOTHING: Final[dict[str, tuple[float, float]]] = {}
_NOTHING_READ: Final[dict[str, float]] = {}


class Work:
    """One call of the function.

    Args:
        tx: Business transaction.
        token: What marks its row in the history.
        effect: What it is to do.
        steps: Steps that it is the work of, with those of the branch so far.
        initial: Values of keys that nobody has written.
        serializable: Whether reads lock.
        patience: Milliseconds for which it waits for locks.
        prior: What its open branch has changed so far: (old, new) by key.
        prior_reads: What its open branch has read so far, by key.
        rows: Numbers of its outbox rows; empty: they are drawn when the rows are inserted.
        work: Seconds for which it works with its locks.

    Attributes:
        statement: The call.
        arguments: Arguments of the statement.
        keys: Keys that it touches; those that it locks come first, sorted.
        locked: How many it locks.
    """

    __slots__ = ("arguments", "keys", "locked", "statement")

    def __init__(
        self,
        tx: int,
        token: int,
        effect: Transact | Execute | Prepare,
        *,
        steps: Iterable[int],
        initial: FirstValues,
        serializable: bool,
        patience: int,
        prior: Mapping[str, tuple[float, float]] = _NOTHING,
        prior_reads: Mapping[str, float] = _NOTHING_READ,
        rows: Iterable[int] = (),
        work: float = 0.0,
    ) -> None:
        operations = effect.operations
        locks = locked(operations, serializable)
        reads = {o.key for o in operations if o.kind == "read"}
        keys = self.keys = [*sorted(locks), *(sorted(reads - locks) if reads else ())]
        self.locked = len(locks)
        place = {key: str(index) for index, key in enumerate(keys, 1)}
        mode = "transact" if isinstance(effect, Transact) else "prepare" if isinstance(effect, Prepare) else "execute"
        known = None if isinstance(effect, Execute) or effect.key is None else codec.dumps(effect.key)
        arguments = self.arguments = [
            mode,
            str(tx),
            str(token),
            known,
            "".join([_KINDS[o.kind] for o in operations]),
            array([place.get(o.key, "0") for o in operations]),
            array([repr(float(o.amount)) for o in operations]),
            array(["NULL" if o.low is None else repr(float(o.low)) for o in operations]),
            array(["NULL" if o.high is None else repr(float(o.high)) for o in operations]),
            texts(keys),
            array([repr(initial(key)) for key in keys]),
            str(self.locked),
            str(patience),
            array(steps),
        ]
        if isinstance(effect, Transact):
            accepted, refused = effect.accepted, effect.refused
            arguments += [
                "true" if effect.compensation else "false",
                codec.dumps("done" if accepted is None or accepted.value is None else accepted.value),
                "{}" if accepted is None else texts([codec.dumps(message) for message in accepted.outbox]),
                None if refused is None else codec.dumps("refused" if refused.value is None else refused.value),
                "{}" if refused is None else texts([codec.dumps(message) for message in refused.outbox]),
                None if effect.undoes is None else codec.dumps(effect.undoes),
                codec.dumps(effect.undone_if),
            ]
        else:
            arguments += ["false", '"done"', "{}", None, "{}", None, None]
        arguments += [
            _TOMBSTONE,
            texts(prior),
            array([repr(old) for old, _ in prior.values()]),
            array([repr(new) for _, new in prior.values()]),
            texts(prior_reads),
            array([repr(value) for value in prior_reads.values()]),
            array(rows),
            "true" if isinstance(effect, Transact) and effect.serial_outbox else "false",
        ]
        self.statement = statements.WORK
        if work > 0:  # a schema of an earlier simtx has a function that cannot, and needs not
            self.statement = statements.WORK_INSIDE
            arguments.append(repr(float(work)))

    def changes(self, was: Sequence[float], becomes: Sequence[float | None]) -> dict[str, tuple[float, float]]:
        """(old, new) by key."""
        pairs = zip(self.keys, was, becomes, strict=False)
        return {key: (old, new) for key, old, new in pairs if new is not None}

    def locks(self, started: float, got: Sequence[float | None]) -> dict[str, float]:
        """Times at which the locks were got.

        Args:
            started: When the call began.
            got: Seconds from then until each lock was got.
        """
        return {key: started + at for key, at in zip(self.keys, got, strict=False) if at is not None}


def finish(result: Result, waited: float, locks: Mapping[str, float], now: float) -> Result:
    """Add to a result what is known of its locks: how long it has waited for them, and that they were let go now."""
    result.waited = waited
    if waited and not result.wait_end:
        result.wait_end = "granted"
    result.unlocked = tuple(locks)
    result.held = sum([now - at for at in locks.values()])
    return result


def changes_of(row: Sequence[Any]) -> dict[str, tuple[float, float]]:
    """(old, new) by key, of the arrays of keys, old and new values."""
    return {key: (old, new) for key, old, new in zip(*row, strict=True)}


def reads_of(keys: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """Values that were read, by key."""
    return dict(zip(keys, values, strict=True))


def milliseconds(seconds: float) -> int:
    """Seconds as PostgreSQL takes a timeout: whole milliseconds, at least one (zero would mean for ever)."""
    return _LARGEST if math.isinf(seconds) else max(1, min(_LARGEST, round(1000 * seconds)))


def array(items: Iterable[object]) -> str:
    """An array as PostgreSQL reads it."""
    return "{" + ",".join([str(item) for item in items]) + "}"


def texts(items: Iterable[str]) -> str:
    """An array of texts as PostgreSQL reads it."""
    return array(['"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items])
