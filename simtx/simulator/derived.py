"""Derived stores in a simulated world: copies of the values of a store, which follow its commits, and which readers of their own read.

A derived store changes no transaction: what becomes of them is the same with and without it. Its rule is `simtx.protocols.derived.CopyRule`, the one that
`simtx.verify_derived` explores. Readers come in a Poisson stream until the last transaction has arrived. Several derived stores of the same keys of a service, with the same rate, meet
the same reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from simtx.metrics.derived import CopyMeasure
from simtx.protocols.derived.copies import Copy
from simtx.scenario.distributions import Exponential
from simtx.scenario.infrastructure import pattern_of
from simtx.simulator.replica import Lag
from simtx.workload.planner import key_draws

if TYPE_CHECKING:
    from simtx.scenario import DerivedSpec
    from simtx.simulator.node import Node
    from simtx.simulator.surroundings import Surroundings


class _Kept:
    """A copy, the value that readers see, and since when it is there."""

    __slots__ = ("copy", "since", "value")

    def __init__(self, copy: Copy, value: float, since: float) -> None:
        self.copy = copy
        self.value = value
        self.since = since


class DerivedStore:
    """Copies of some values of a service.

    Args:
        world: What it lives in.
        spec: What the scenario says of it.
        node: The node of the service.
    """

    def __init__(self, world: Surroundings, spec: DerivedSpec, node: Node) -> None:
        self._env = world.env
        self._spec = spec
        self._rule = spec.rule
        self._node = node
        self._over: Callable[[], bool] = lambda: world.arrivals_over
        component = f"derived:{spec.service}:{spec.key}"
        streams, own = world.streams, world.by_transaction
        self._lag = Lag(self._env, own.draws(spec.lag, component, "lag"), ordered=spec.ordered)
        self._luck = own.uniform(component, "loss")
        self._gap = streams.draws(Exponential(1 / spec.reads), component, "reads") if spec.reads else None
        self._fill_time = streams.draws(spec.fill_time, component, "fill-time")
        self._key = key_draws(spec.key, world.scenario.transaction.parameters, streams, component)
        self._pattern = pattern_of(spec.key)
        self._ours: dict[str, bool] = {}
        self._copies: dict[str, _Kept] = {}
        self._suspects: set[str] = set()
        """Keys whose copy may not be that of the last commit."""
        self._measure = CopyMeasure(spec.name, expires=spec.ttl is not None, warmup=world.scenario.run.warmup)
        self._on_their_way = 0

    # --- the source -------------------------------------------------------------------------------------------------------------

    def _covers(self, key: str) -> bool:
        ours = self._ours.get(key)
        if ours is None:
            ours = self._ours[key] = self._pattern.fullmatch(key) is not None
        return ours

    def begins(self, keys: Iterable[str]) -> None:
        """A local transaction that wants to change these keys begins."""
        if self._rule.by == "writer-before" and self._rule.update != "none":
            for key in filter(self._covers, keys):
                self._update(key, 0, 0.0)

    def ship(self, tx: int, changes: Mapping[str, float], _versions: Mapping[str, int]) -> None:
        """A local transaction has committed these values: its updates set out."""
        for key, value in changes.items():
            if not self._covers(key):
                continue
            version = self._measure.committed(key, self._env.now)
            self._suspects.add(key)
            if self._rule.update == "none" or self._rule.by == "writer-before":
                continue
            due = self._lag.due(tx)
            if self._spec.loss and self._luck(tx) < self._spec.loss:
                self._measure.lost += 1
                continue
            self._on_their_way += 1
            epoch = self._node.disk.epoch if self._rule.by == "writer" else -1
            self._env.call_at(due, self._arrive, (key, version, value, epoch))

    def _arrive(self, update: tuple[str, int, float, int]) -> None:
        key, version, value, epoch = update
        self._on_their_way -= 1
        if epoch not in (-1, self._node.disk.epoch):
            self._measure.lost += 1  # the writer has crashed before it could send it
        else:
            self._update(key, version, value)

    def _update(self, key: str, version: int, value: float) -> None:
        kept = self._kept(key)
        self._take(key, self._rule.updated(kept.copy, version), value)

    def _take(self, key: str, copy: Copy | None, value: float) -> None:
        if copy is None:
            self._measure.refused += 1
        else:
            self._copies[key] = _Kept(copy, value, self._env.now)
            if self._measure.latest(key):
                self._suspects.add(key)

    # --- readers ----------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The first reader is on its way."""
        if self._gap is not None:
            self._env.call_in(self._gap(), self._read, None)

    def _kept(self, key: str) -> _Kept:
        """Copy of a key and its value, without what has expired."""
        kept = self._copies.get(key)
        if kept is None:
            # Without filling, everything is there at the start.
            return _Kept(Copy(None if self._rule.fill else 0), self._first(key), -math.inf)
        ttl = self._spec.ttl
        if ttl is not None and kept.copy.version is not None and self._env.now - kept.since >= ttl:
            kept = self._copies[key] = _Kept(self._rule.gone(kept.copy), kept.value, kept.since)
        return kept

    def _first(self, key: str) -> float:
        store = self._node.store
        return 0.0 if store is None else store.first(key)

    def _current(self, key: str) -> float:
        store = self._node.store
        return 0.0 if store is None else store.read(key)

    def _read(self, _: object) -> None:
        if self._gap is None or self._over():
            return
        self._env.call_in(self._gap(), self._read, None)
        key = self._key()
        kept = self._kept(key)
        version = kept.copy.version
        self._measure.read(key, version, self._env.now)
        if version is None:
            self._on_their_way += 1
            filling = (key, self._measure.latest(key), self._current(key), self._rule.lease(kept.copy))
            self._env.call_in(self._fill_time(), self._fill, filling)

    def _fill(self, filling: tuple[str, int, float, int]) -> None:
        key, version, value, lease = filling
        self._on_their_way -= 1
        self._take(key, self._rule.filled(self._kept(key).copy, version, lease), value)

    # --- the end ----------------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Return whether nothing is on its way to it, and no wrong copy will expire."""
        return not self._on_their_way and not (self._spec.ttl is not None and self.wrong())

    def wrong(self) -> int:
        """Number of copies that are not that of the last commit, now."""
        self._suspects = {key for key in self._suspects if self._is_wrong(key)}
        return len(self._suspects)

    def _is_wrong(self, key: str) -> bool:
        version = self._kept(key).copy.version
        return version is not None and version != self._measure.latest(key)

    def figures(self) -> dict[str, float]:
        """Its metrics, at the end of the run; docs/metrics.md defines them."""
        wrong = self.wrong()
        return self._measure.figures(
            wrong, sum(abs(self._current(key) - self._kept(key).value) for key in self._suspects)
        )
