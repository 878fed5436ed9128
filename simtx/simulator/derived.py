"""Derived stores in a simulated world: copies of the values of a store, which follow its commits, and which readers of their own read.

A derived store changes no transaction: what becomes of them is the same with and without it. Its rule is `simtx.protocols.derived.CopyRule`, the one that
`simtx.verify_derived` explores. Readers come in a Poisson stream until the last transaction has arrived. Several derived stores of the same keys of a service, with the same rate, meet
the same reads.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from simtx.protocols.derived.copies import Copy
from simtx.scenario.distributions import Exponential
from simtx.simulator.replica import Lag
from simtx.workload.planner import parameter_draws

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
        parameters = world.scenario.transaction.parameters
        self._draws = {
            name: parameter_draws(name, parameter, streams, f"{component}:{name}")
            for name, parameter in parameters.items()
            if "{" + name + "}" in spec.key
        }
        pattern = "".join(".+" if one.startswith("{") else re.escape(one) for one in re.split(r"({\w+})", spec.key))
        self._pattern = re.compile(pattern)
        self._ours: dict[str, bool] = {}
        self._commits: dict[str, array[float]] = {}
        """By key, when each of its versions was committed; the first is version 1."""
        self._copies: dict[str, _Kept] = {}
        self._suspects: set[str] = set()
        """Keys whose copy may not be that of the last commit."""
        self._warmup = world.scenario.run.warmup
        self._on_their_way = 0
        self._reads = self._hits = self._stale = self._lost = self._refused = 0
        self._ages: array[float] = array("d")

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
            commits = self._commits.setdefault(key, array("d"))
            commits.append(self._env.now)
            self._suspects.add(key)
            if self._rule.update == "none" or self._rule.by == "writer-before":
                continue
            due = self._lag.due(tx)
            if self._spec.loss and self._luck(tx) < self._spec.loss:
                self._lost += 1
                continue
            self._on_their_way += 1
            epoch = self._node.disk.epoch if self._rule.by == "writer" else -1
            self._env.call_at(due, self._arrive, (key, len(commits), value, epoch))

    def _arrive(self, update: tuple[str, int, float, int]) -> None:
        key, version, value, epoch = update
        self._on_their_way -= 1
        if epoch not in (-1, self._node.disk.epoch):
            self._lost += 1  # the writer has crashed before it could send it
        else:
            self._update(key, version, value)

    def _update(self, key: str, version: int, value: float) -> None:
        kept = self._kept(key)
        self._take(key, self._rule.updated(kept.copy, version), value)

    def _take(self, key: str, copy: Copy | None, value: float) -> None:
        if copy is None:
            self._refused += 1
        else:
            self._copies[key] = _Kept(copy, value, self._env.now)
            if key in self._commits:
                self._suspects.add(key)

    # --- readers ----------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The first reader is on its way."""
        if self._gap is not None:
            self._env.call_in(self._gap(), self._read, None)

    def _kept(self, key: str) -> _Kept:
        """What there is of a key, without what has expired."""
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
        key = self._spec.key.format_map({name: draw() for name, draw in self._draws.items()})
        kept = self._kept(key)
        commits = self._commits.get(key, ())
        version = kept.copy.version
        if self._env.now >= self._warmup:
            self._reads += 1
            self._hits += version is not None
            if version is not None and version < len(commits):
                self._stale += 1
                self._ages.append(self._env.now - commits[version])
        if version is None:
            self._on_their_way += 1
            filling = (key, len(commits), self._current(key), self._rule.lease(kept.copy))
            self._env.call_in(self._fill_time(), self._fill, filling)

    def _fill(self, filling: tuple[str, int, float, int]) -> None:
        key, version, value, lease = filling
        self._on_their_way -= 1
        self._take(key, self._rule.filled(self._kept(key).copy, version, lease), value)

    # --- the end ----------------------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way to it, and no wrong copy will expire."""
        return not self._on_their_way and not (self._spec.ttl is not None and self.wrong())

    def wrong(self) -> int:
        """How many copies are not that of the last commit, now."""
        self._suspects = {key for key in self._suspects if self._is_wrong(key)}
        return len(self._suspects)

    def _is_wrong(self, key: str) -> bool:
        version = self._kept(key).copy.version
        return version is not None and version != len(self._commits[key])

    def figures(self) -> dict[str, float]:
        """Its metrics, at the end of the run; docs/metrics.md defines them."""
        wrong = self.wrong()
        drift = sum(abs(self._current(key) - self._kept(key).value) for key in self._suspects)
        nan = math.nan
        ages = np.array(self._ages) * 1e3
        p50, p99 = np.quantile(ages, [0.5, 0.99]).tolist() if len(ages) else (nan, nan)
        found = {
            "reads": self._reads,
            "miss_share": 1 - self._hits / self._reads if self._reads else nan,
            "stale_share": self._stale / self._reads if self._reads else nan,
            "stale_p50_ms": p50,
            "stale_p99_ms": p99,
            "stale_max_ms": float(ages.max()) if len(ages) else nan,
            "wrong_at_end": wrong,
            "wrong_for_ever": wrong if self._spec.ttl is None else 0,
            "drift_at_end": drift,
            "updates_lost": self._lost,
            "refused": self._refused,
        }
        return {f"derived_{self._spec.name}_{name}": float(value) for name, value in found.items()}
