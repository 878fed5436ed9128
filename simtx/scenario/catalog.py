"""Measured figures that come with simtx: region round trips, forced writes and brokers, each with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from simtx.errors import ScenarioError
from simtx.scenario.distribution_files import read_distribution
from simtx.scenario.distributions import Constant, Distribution, ShiftedLognormal

#: A zone of its own, somewhere: for scenarios that do not care where.
LOCAL = "local"


def data_path() -> Path:
    """The folder with the data files: inside an installed package, or beside the package in a checkout.

    Raises:
        ScenarioError: It is in neither place.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_data", package.parent / "data"):
        if (folder / "regions.toml").is_file():
            return folder
    raise ScenarioError(
        f"the data files of simtx are missing: neither {package / '_data'} nor {package.parent / 'data'} has them"
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """A latency by name.

    Attributes:
        latency: The distribution.
        source: Where the figure comes from.
        evidence: ``measured``, ``vendor``, ``secondary`` or ``derived``.
        assumption: What was chosen, since the source does not tell.
    """

    latency: Distribution
    source: str
    evidence: str
    assumption: str


@dataclass(frozen=True, slots=True)
class Regions:
    """Round trips between regions.

    A zone is named after its region, ``frankfurt``, or after region and availability zone, ``frankfurt/b``; the plain name stands for
    the region's zone ``a``.

    Attributes:
        names: All regions.
        source: Where the figures come from.
        assumption: What is assumed of the tails.
    """

    names: tuple[str, ...]
    source: str
    assumption: str
    _round_trips: Mapping[tuple[str, str], float]
    _same_zone: float
    _between_zones: float
    _tails: Mapping[str, tuple[float, float]]

    def latency(self, a: str, b: str, *, tail: bool = True) -> Distribution | None:
        """One-way delay between two zones: half of the round trip, with an assumed tail or constant; None if it is not known."""
        if canonical(a) == canonical(b):
            trip, kind = self._same_zone, "same_zone"
        elif region(a) == region(b):
            trip, kind = self._between_zones, "between_zones"
        elif (region(a), region(b)) in self._round_trips:
            trip, kind = self._round_trips[region(a), region(b)], "between_regions"
        else:
            return None
        one_way = trip / 2 / 1000
        floor, sigma = self._tails[kind]
        return ShiftedLognormal.of_mean(one_way, sigma, floor) if tail else Constant(one_way)


def region(zone: str) -> str:
    """The region of a zone: what comes before the slash."""
    return zone.partition("/")[0]


def canonical(zone: str) -> str:
    """The full name of a zone: ``frankfurt`` is ``frankfurt/a``."""
    return zone if "/" in zone else f"{zone}/a"


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((data_path() / name).read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def regions() -> Regions:
    """The region matrix of ``data/regions.toml``."""
    data = _read("regions.toml")
    names = tuple(data["regions"])
    trips: dict[tuple[str, str], float] = {}
    for position, row in enumerate(names):
        for column, trip in zip(names[position + 1 :], data["round_trip"][row], strict=True):
            trips[row, column] = trips[column, row] = float(trip)
    tails = {key: (tail["floor"], tail["sigma"]) for key, tail in data["tail"].items() if isinstance(tail, dict)}
    return Regions(
        names, data["source"], data["tail"]["assumption"], trips, data["same_zone"], data["between_zones"], tails
    )


@lru_cache(maxsize=1)
def _latencies() -> dict[str, dict[str, Measured]]:
    return {
        group: {
            name: Measured(read_distribution(entry["latency"]), entry["source"], entry["evidence"], entry["assumption"])
            for name, entry in entries.items()
        }
        for group, entries in _read("latencies.toml").items()
    }


def forced_writes() -> Mapping[str, Measured]:
    """Forced-write latencies by name, from ``data/latencies.toml``."""
    return _latencies()["forced_write"]


def brokers() -> Mapping[str, Measured]:
    """Broker ack latencies by name, from ``data/latencies.toml``."""
    return _latencies()["broker"]
