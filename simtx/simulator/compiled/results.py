"""Reads the transactions that the loop in C has played: the columns of a run, and what the strategy guarantees and has not kept."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simtx.engine import layout
from simtx.engine.learn import OUTCOMES, SAYINGS
from simtx.engine.plans import Plans, pointer
from simtx.metrics.guarantees import REFUSING, Seen
from simtx.metrics.ledger import COLUMNS, Columns
from simtx.metrics.texts import Texts
from simtx.simulator.compiled.binding import Binding, view

_ENDINGS: Final = ("", "committed", "aborted", "compensated", "stuck", "in-flight", "incomplete", "lost")
_ANSWERS: Final = tuple(OUTCOMES)


def forces(bound: Binding, plans: Plans, keys: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums that the steps in force have added to each key, and by how much its value is off that."""
    steps = np.array([plans.steps_of[slot] for slot in plans.booked], dtype=np.int32)
    force, off = np.zeros(keys), np.zeros(keys)
    bound.library.engine_force(bound.engine, pointer(steps), pointer(force), pointer(off))
    return force, off


def judge(bound: Binding, plans: Plans) -> None:
    """Hold every transaction that needs a look against what the strategy guarantees (`simtx.metrics.guarantees`)."""
    head, steps = bound.head, bound.head.steps
    count = head.asked
    if not count or not head.ordered:
        return
    kind = np.dtype(layout.Transaction)
    records = view(bound.library.engine_transactions(bound.engine), kind.itemsize * count).view(kind)
    actions, undone = (
        view(address, 2 * count * steps).view(np.int16).reshape(count, steps)
        for address in (bound.library.engine_actions(bound.engine), bound.library.engine_undone(bound.engine))
    )
    claims = _claims(bound, count)
    odd, force, unfinished = np.empty(count, dtype=np.int64), np.empty(count, dtype=bool), ctypes.c_int64()
    found = bound.library.engine_odd(bound.engine, pointer(odd), pointer(force), ctypes.byref(unfinished))
    bound.world.ledger.watch.unfinished = unfinished.value
    places = [spec.service if head.writes[spec.index] else None for spec in bound.world.scenario.transaction.steps]
    for tx, forced in zip(odd[:found].tolist(), force[:found].tolist(), strict=True):
        record = records[tx]
        watch, shape = int(record["watch"]), int(record["shape"])
        if forced:
            watch |= sum(1 << (REFUSING + index) for index in plans.refusing(shape))
        bound.world.ledger.watch.judge(
            Seen(
                tx,
                str(_ENDINGS[record["outcome"]]),
                str(_ANSWERS[record["answer"]]),
                forced,
                bool(record["decision"]),
                actions[tx].tolist(),
                undone[tx].tolist(),
                places,
                watch,
                bool(record["resting"]),
                () if claims is None else _said(claims[tx].tolist()),
            )
        )


def _claims(bound: Binding, count: int) -> Any:
    """Statements of events about each transaction: a mask of steps for each of `SAYINGS`; None: there is no broker."""
    address = bound.library.engine_claims(bound.engine)
    width = len(SAYINGS)
    return view(address, 8 * width * count).view(np.uint64).reshape(count, width) if address else None


def fill(bound: Binding, columns: Columns) -> None:
    """Fill the columns of a run, in the order in which its transactions arrived."""
    count = bound.head.ordered
    if not count:
        return
    kinds: Any = np.dtype(layout.Transaction).fields
    outcomes, answers = np.empty(count, dtype=np.uint8), np.empty(count, dtype=np.uint8)
    texts = {"outcome": outcomes, "answer": answers}
    _write(bound, [(*kinds[name], pointer(codes)) for name, codes in texts.items()])
    made = columns.room(count, {"outcome": Texts(outcomes, _ENDINGS), "answer": Texts(answers, _ANSWERS)})
    of_records = [(name, cell) for name, cell in made.items() if name != "tx"]
    _write(bound, [(*kinds[COLUMNS[name]], cell.buffer_info()[0]) for name, cell in of_records])
    ctypes.memmove(made["tx"].buffer_info()[0], bound.library.engine_order(bound.engine), 8 * count)


def _write(bound: Binding, columns: Sequence[tuple[Any, int, int]]) -> None:
    """Let C write fields of the records: of each its type, where it is in a record, and where to write it."""
    count = len(columns)
    offsets, sizes = (ctypes.c_int32 * count)(), (ctypes.c_int32 * count)()
    targets = (ctypes.c_void_p * count)()
    for place, (kind, offset, target) in enumerate(columns):
        offsets[place], sizes[place], targets[place] = offset, kind.itemsize, target
    bound.library.engine_columns(bound.engine, count, offsets, sizes, targets)


def _said(masks: Sequence[int]) -> list[tuple[str, int, str]]:
    """Statements of events about one transaction, from the masks of its steps."""
    found = []
    for name, mask in zip(SAYINGS, masks, strict=True):
        kind, what = (name, "action") if name != SAYINGS[3] else (SAYINGS[2], "compensation")
        found += [(kind, index, what) for index in range(layout.STEPS) if mask >> index & 1]
    return found
