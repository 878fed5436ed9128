"""The process of a derived store in a real run: a cache or a search index on SQLite, its feed of changes, and its readers.

The rule is `simtx.protocols.derived.CopyRule`, the one that is simulated and explored. Updates by event are the rows of the service's history, which this process reads
from the service's file behind its checkpoint; a copy and the checkpoint are written in one local transaction, so that a process that is killed gets again what it had not done.
Updates by the writer come over a socket, from the process that has committed, and are lost with either. Readers live here, too: while the process is away nobody reads.

What readers see is written into a file, one line each, as it happens; `simtx.reference.run_folder.derived` makes the figures from it, by the code of the simulator.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from simtx.errors import PeerFault
from simtx.event_log.entries import Levels
from simtx.protocols.derived.copies import Copy, CopyRule
from simtx.protocols.operations import FirstValues
from simtx.reference.processes.program import Program
from simtx.reference.run_folder.derived import ReadsFile
from simtx.reference.stores.sqlite.copies import FILE, Changed, CopyFile, Kept, Source
from simtx.reference.wire.connection import Frame, Handler, Peer

_LOOK: Final = 0.005  # seconds between two looks at the service's history


class DerivedStore:
    """One derived store.

    Args:
        program: Its process.
    """

    def __init__(self, program: Program) -> None:
        place, incarnation = program.folder.node(program.name), program.incarnation
        self.config = config = program.config
        spec = config["derived"]
        self.rule = CopyRule(**spec["rule"])
        self.ttl: float | None = spec["ttl"]
        self.pattern = re.compile(spec["pattern"])
        self.first = FirstValues(config["source"]["initial"])
        self.source = Source(Path(config["source"]["path"]))
        self.copies = CopyFile(place / FILE)
        self.reads = ReadsFile(place / f"reads.{incarnation}.jsonl")
        self.log = program.log
        self.seen = self.copies.position
        self.followed = 0  # all of the history is read once, to know the last commit of each key
        self.last: dict[str, int] = {}  # by key, the position of its last commit
        self.suspects: set[str] = set()  # keys whose copy may not be that of the last commit
        self.open: dict[int, int] = {}  # by position, how many of its updates are on their way
        self.fillings = 0
        self.logged = -1
        self.origin: float | None = config.get("origin")
        self.over = False
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(f"{config['seed']}:{program.name}:{incarnation}")  # noqa: S311 - chances of a scenario
        self._begun = asyncio.Event()
        self._due = 0.0
        plan = json.loads((place / "plan.json").read_text())
        self._gaps: Iterator[float] = itertools.cycle(plan["gaps"])
        self._keys: Iterator[str] = itertools.cycle(plan["keys"])
        self._fill_times: Iterator[float] = itertools.cycle(plan["fill_times"])
        self._lags: Iterator[float] | None = itertools.cycle(plan["lags"]) if plan["lags"] else None

    async def run(self, program: Program) -> None:
        """Follow the service and let readers read, until asked to stop."""
        if self.origin is not None:
            self._begun.set()
        tasks = [program.beside(work()) for work in (self.follow, self.read, self.sample)]
        try:
            await program.wait()
        finally:
            for task in tasks:
                task.cancel()

    def close(self) -> None:
        """Let its files go."""
        self.source.close()
        self.copies.close()
        self.reads.close()
        self.log.close()

    # --- the source -------------------------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Look at the service's history again and again."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK)

    def look(self) -> None:
        """Read what is new in the service's history, and hand its rows on as updates if these come by event."""
        rows = self.source.after(self.followed)
        for row in rows:
            self.followed = row.position
            ours = [key for key in row.values if self.pattern.fullmatch(key)]
            self.last.update(dict.fromkeys(ours, row.position))
            self.suspects.update(ours)
        fresh = [row for row in rows if row.position > self.seen]
        if fresh and self.rule.by == "event" and self.rule.update != "none":
            self.seen = fresh[-1].position
            if not self.config["derived"]["ordered"]:
                self._random.shuffle(fresh)  # as a queue without an order hands them over
            self.open.update((row.position, 1) for row in fresh)  # before any of them lets the checkpoint go on
            for row in fresh:
                self._set_out(row)

    def _set_out(self, row: Changed) -> None:
        """The updates of a row are on their way."""
        spec = self.config["derived"]
        keys = [key for key in row.values if self.pattern.fullmatch(key)]
        arriving = []
        for key in keys:
            if spec["loss"] and self._random.random() < spec["loss"]:
                self.reads.write("lost", key, row.position)
            else:
                arriving.append(key)
        self.open[row.position] = len(arriving)
        if not arriving:
            self._done(row.position, "", None)
        for key in arriving:
            update = (key, row.position, row.values[key])
            if self._lags is None:
                self._arrive(*update)
                continue
            due = self._loop.time() + next(self._lags)
            if spec["ordered"]:
                due = self._due = max(due, self._due)
            self._loop.call_at(due, self._arrive, *update)

    def _arrive(self, key: str, position: int, value: float) -> None:
        """An update by event arrives."""
        self._done(position, key, self._updated(key, position, value))

    def _done(self, position: int, key: str, kept: Kept | None) -> None:
        """An update has had its effect: put the copy, and move the checkpoint up to the first row of which something is on its way."""
        left = self.open[position] = max(self.open[position] - 1, 0)
        if not left:
            del self.open[position]
        self.copies.write(key, kept, min(self.open) - 1 if self.open else self.seen)

    def _updated(self, key: str, position: int, value: float) -> Kept | None:
        copy = self.rule.updated(self.kept(key).copy, position)
        return self._taken(key, copy, value)

    def _taken(self, key: str, copy: Copy | None, value: float) -> Kept | None:
        if copy is None:
            self.reads.write("refused", key, None)
            return None
        self.suspects.add(key)
        return Kept(copy, value, time.monotonic())

    def update(self, frame: Frame) -> None:
        """A writer brings an update."""
        key, position, value = frame["key"], frame["position"], frame["value"]
        if type(key) is not str or type(position) is not int or not isinstance(value, int | float):
            raise PeerFault("an update without a key, a position and a value")
        if position:
            self.reads.write("update", key, position)
        kept = self._updated(key, position, float(value))
        if kept is not None:
            self.copies.write(key, kept)

    # --- readers ----------------------------------------------------------------------------------------------------------------

    def kept(self, key: str) -> Kept:
        """Copy of a key, without what has expired."""
        kept = self.copies.get(key)
        if kept is None:
            # Without filling, everything is there at the start.
            return Kept(Copy(None if self.rule.fill else 0), self.first(key), -math.inf)
        if self.ttl is not None and kept.copy.version is not None and time.monotonic() - kept.since >= self.ttl:
            kept = kept._replace(copy=self.rule.gone(kept.copy))
        return kept

    async def read(self) -> None:
        """Let readers read, each at its time; those whose time came while this process was away did not read."""
        await self._begun.wait()
        at = self.origin or 0.0
        started = time.monotonic()
        for gap, key in zip(self._gaps, self._keys, strict=False):
            at += gap
            if at < started:
                continue
            pause = at - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            if self.over:
                break
            self.read_one(key)

    def read_one(self, key: str) -> None:
        """A reader reads; if it finds no copy, it reads the database, and fills in what it has found there."""
        kept = self.kept(key)
        version = kept.copy.version
        self.reads.write("read", key, version)
        if version is None:
            value, position = self.source.read(key)
            filling = (key, position, self.first(key) if value is None else value, self.rule.lease(kept.copy))
            self.fillings += 1
            self._loop.call_later(next(self._fill_times), self._fill, *filling)

    def _fill(self, key: str, position: int, value: float, lease: int) -> None:
        self.fillings -= 1
        kept = self._taken(key, self.rule.filled(self.kept(key).copy, position, lease), value)
        if kept is not None:
            self.copies.write(key, kept)

    # --- what is asked of it ----------------------------------------------------------------------------------------------------

    def wrong(self) -> int:
        """Number of copies that are not that of the last commit, as far as the history was read."""
        self.suspects = {key for key in self.suspects if self._is_wrong(key)}
        return len(self.suspects)

    def _is_wrong(self, key: str) -> bool:
        version = self.kept(key).copy.version
        return version is not None and version < self.last.get(key, 0)

    async def sample(self) -> None:
        """Write down how many copies are wrong, for the timeline of the run."""
        while True:
            self.level()
            await asyncio.sleep(self.config["sample_every"])

    def level(self) -> int:
        """Count the copies that are wrong, and write the number down if it has changed."""
        wrong, spec = self.wrong(), self.config["derived"]
        if wrong != self.logged:
            self.logged = wrong
            self.log.log("level", spec["service"], -1, detail=Levels({f"wrong_{spec['name']}": wrong}).text())
        return wrong

    def control(self, frame: Frame) -> Frame:
        """The launcher says when the run begins and that nothing arrives any more, and asks for the state."""
        if frame.get("do") == "go":
            self.origin = float(frame["origin"])
            self._begun.set()
        self.over = self.over or frame.get("over") is True
        behind = self.source.read("")[1] > self.followed
        on_their_way = behind or self.open or self.fillings
        wrong = self.level()
        quiet = self.over and not on_their_way and not (self.ttl is not None and wrong)
        return {"type": "state", "id": frame.get("id"), "quiet": quiet, "working": [], "pending": []}

    def accept(self, peer: Peer) -> Handler:
        """Accept a peer that has connected and shown the secret."""
        handlers: dict[str, Callable[[Frame], object]] = {
            "update": self.update,
            "control": lambda frame: peer.send(self.control(frame)),
        }

        def handle(frame: Frame) -> None:
            handler = handlers.get(str(frame.get("type")))
            try:
                if handler is None:
                    raise PeerFault(f"a frame of type {str(frame.get('type'))[:40]!r}, which no derived store knows")
                handler(frame)
            except (KeyError, TypeError, ValueError) as error:
                raise PeerFault(f"malformed frame: {error}") from None

        return handle


async def run(program: Program) -> None:
    """The main coroutine of a derived store's process.

    Raises:
        StoreFailed: Its file, or that of the service, cannot be used.
    """
    program.fail_with_the_loop()
    store = DerivedStore(program)
    try:
        async with program.listening(store.accept):
            await store.run(program)
    finally:
        store.close()
