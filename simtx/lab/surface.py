"""Interpolates between the points that were played: a Gaussian process for each strategy and metric, and nothing beyond the outermost point.

The process is that of the frontier (`simtx.experiments.frontier.gp`). What is positive is interpolated as a logarithm. A figure that had not ended
is taken for the time that was watched, which it exceeds. So what is interpolated beside it is too low rather than too high; `Guess.beyond` says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.experiments.frontier.gp import Floats, GaussianProcess
from simtx.lab.controls import Control
from simtx.lab.memory import Known

if TYPE_CHECKING:
    from simtx.lab.memory import Shapes

_FEWEST: Final = 4
"""Points from which on a surface is drawn, and one more for each control beyond the first."""
_MOST: Final = 40
"""Points that a surface is made of: the nearest."""
_NOISE: Final = 0.1
"""Standard deviation of one run that is assumed while no point has two, as a share of the figure."""
_GROWTH: Final = 1.4
"""Factor by which the number of points has to grow until the length scales are fitted again."""
_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Guess:
    """Estimate of a figure where nothing was played.

    Attributes:
        mean: The middle.
        low: Lower end of a band that contains it in 95 of 100 cases, if the surface is as smooth as the process assumes.
        high: Upper end.
        points: How many points it rests on.
        beyond: Whether a figure of a point had not ended.
    """

    mean: float
    low: float
    high: float
    points: int
    beyond: bool = False


class Surface:
    """Interpolates between points.

    Args:
        controls: All controls, by name.
        points: What is known; only numbers differ between them.
        at: Where the middle is: the nearest points count.
        shapes: What was fitted before, which is taken again: fitting is what takes long.
        again: Fit once more what was fitted with far fewer points.
    """

    def __init__(
        self,
        controls: Mapping[str, Control],
        points: Sequence[Known],
        at: Mapping[str, Any],
        shapes: Shapes | None = None,
        *,
        again: bool = False,
    ) -> None:
        self._controls = controls
        self._shapes: Shapes = {} if shapes is None else shapes
        self._again = again
        names = dict.fromkeys(name for one in points for name in one.values if controls[name].numeric)
        self._points = list(points)
        self.axes = [name for name in names if len({self._value(one.values, name) for one in points}) > 1]
        places = np.array([self._place(one.values) for one in self._points]).reshape(len(points), len(self.axes))
        if len(self._points) > _MOST:
            distance = ((places - np.array(self._place(at))) ** 2).sum(axis=1)
            nearest = np.sort(np.argsort(distance, kind="stable")[:_MOST])
            self._points = [self._points[index] for index in nearest]
            places = places[nearest]
        self._places: Floats = places
        self._fitted: dict[tuple[str, str], tuple[GaussianProcess, Floats, bool, bool] | None] = {}

    def _value(self, values: Mapping[str, Any], name: str) -> Any:
        return values.get(name, self._controls[name].base)

    def _place(self, values: Mapping[str, Any]) -> list[float]:
        return [self._controls[name].place(self._value(values, name)) for name in self.axes]

    def at(self, values: Mapping[str, Any], label: str, metric: str) -> Guess | None:
        """Estimate of a figure of a strategy; None: there are too few points, or only elsewhere."""
        return self.along([values], label, metric)[0]

    def along(self, listed: Sequence[Mapping[str, Any]], label: str, metric: str) -> list[Guess | None]:
        """The same at several places."""
        fitted = self._fit(label, metric)
        if fitted is None:
            return [None] * len(listed)
        process, sites, logarithmic, beyond = fitted
        low, high = sites.min(axis=0), sites.max(axis=0)
        places = np.array([self._place(one) for one in listed])
        inside = ((places >= low - 1e-9) & (places <= high + 1e-9)).all(axis=1)
        same = np.array([not self._elsewhere(one) for one in listed])
        means, errors = process.predict(places)
        found: list[Guess | None] = []
        for mean, error, good in zip(means, errors, inside & same, strict=True):
            ends = [mean, mean - _Z * error, mean + _Z * error]
            three = [math.exp(min(one, 700.0)) for one in ends] if logarithmic else ends
            if metric.endswith("_share"):
                three = [min(max(one, 0.0), 1.0) for one in three]
            found.append(Guess(three[0], three[1], three[2], len(sites), beyond) if good else None)
        return found

    def _elsewhere(self, values: Mapping[str, Any]) -> bool:
        """Return whether a control that no point has moved stands elsewhere than at all of them."""
        return any(
            name not in self.axes
            and self._controls[name].numeric
            and self._points
            and self._value(values, name) != self._value(self._points[0].values, name)
            for name in values
        )

    def _fit(self, label: str, metric: str) -> tuple[GaussianProcess, Floats, bool, bool] | None:
        if (label, metric) not in self._fitted:
            self._fitted[label, metric] = self._process(label, metric)
        return self._fitted[label, metric]

    def _process(self, label: str, metric: str) -> tuple[GaussianProcess, Floats, bool, bool] | None:
        if not self.axes:
            return None
        rows, samples, beyond = [], [], False
        for row, one in enumerate(self._points):
            summaries = one.figures.get(label, {}).values()
            values = [summary.get(metric, math.nan) for summary in summaries]
            watched = [summary.get("watched_ms", math.nan) for summary in summaries]
            finite = [w if math.isinf(v) and v > 0 else v for v, w in zip(values, watched, strict=True)]
            beyond = beyond or any(math.isinf(value) for value in values)
            finite = [value for value in finite if math.isfinite(value)]
            if finite:
                rows.append(row)
                samples.append(finite)
        if len(rows) < _FEWEST + len(self.axes) - 1:
            return None
        logarithmic = all(value > 0 for values in samples for value in values) and not metric.endswith("_share")
        if logarithmic:
            samples = [[math.log(value) for value in values] for values in samples]
        means = np.array([float(np.mean(values)) for values in samples])
        counts = np.array([len(values) for values in samples], dtype=float)
        squares = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in samples)
        degrees = float(np.sum(counts - 1))
        assumed = _NOISE if logarithmic else _NOISE * float(np.abs(means).mean())
        variance = squares / degrees if degrees >= 3 else max(assumed**2, squares / max(degrees, 1.0))
        sites = self._places[rows]
        key = (label, metric, tuple(self.axes))
        fitted, shape = self._shapes.get(key, (0, None))
        if shape is None or (self._again and len(sites) > _GROWTH * fitted):
            process = GaussianProcess(sites, means, np.diag(variance / counts), start=shape)
            self._shapes[key] = (len(sites), process.shape)
        else:
            process = GaussianProcess(sites, means, np.diag(variance / counts), shape)
        return process, sites, logarithmic, beyond
