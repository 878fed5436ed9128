"""Designs, the values of parameters that are played together: grids, tables, Latin hypercubes, Sobol points.

A design is a list of cells, each a value for every parameter. Points of a Sobol design can be added later and stay what they were; half of a Latin
hypercube and another half is none.

Source: `scipy.stats.qmc`; A. B. Owen, "Scrambling Sobol' and Niederreiter-Xing points", Journal of Complexity 14, 1998.
"""

from __future__ import annotations

import csv
import inspect
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import pandas as pd

from simtx.arguments import flag, require
from simtx.errors import ScenarioError
from simtx.experiments.sweep.axes import measured
from simtx.scenario.units import hint, shown

Kind: TypeAlias = Literal["grid", "sobol", "latin-hypercube"]
Values: TypeAlias = dict[str, Any]
Over: TypeAlias = Mapping[str, Any] | pd.DataFrame | Sequence[Mapping[str, Any]] | str | Path | None
"""Designs that `simtx.sweep` accepts: values by parameter, or a table of cells: a DataFrame, a list of rows, the path of a CSV file."""
MOST: Final = 1_000_000
"""Cells of a design: more are a mistake."""


@dataclass(frozen=True, slots=True)
class Range:
    """All values between two ends: an axis of a Latin hypercube or a Sobol design.

    Attributes:
        low: Lower end, a number or a quantity as text (``5ms``).
        high: Upper end.
        scale: ``linear``, or ``log``: equal ratios are equally likely.
        integer: Whether the values are whole numbers.

    Raises:
        ScenarioError: An end is no number or quantity, or the ends are in the wrong order.
    """

    low: float | str
    high: float | str
    scale: Literal["linear", "log"] = "linear"
    integer: bool = False

    def __post_init__(self) -> None:
        require(flag, self.integer, "integer", "range")
        low, high = self.ends
        if not low < high or not math.isfinite(high - low):
            raise ScenarioError(
                f"the low end is {shown(self.low)} and the high end {shown(self.high)}; the first must be less", "range"
            )
        if self.scale not in ("linear", "log"):
            raise ScenarioError(f"scale is {shown(self.scale)}; it is 'linear' or 'log'", "range")
        if self.scale == "log" and low <= 0:
            raise ScenarioError(f"a logarithmic scale needs ends above 0, not {shown(self.low)}", "range")

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends as numbers, in seconds or a second where they have a unit."""
        pairs = [measured(self.low), measured(self.high)]
        if pairs[0][0] is None or pairs[1][0] is None or pairs[0][1] != pairs[1][1]:
            raise ScenarioError(
                f"{shown(self.low)} and {shown(self.high)} are no two quantities of the same kind", "range"
            )
        return pairs[0][0], pairs[1][0]

    def at(self, share: float) -> float | int:
        """The value at a share of the way from the low end to the high one, 0 to below 1."""
        low, high = self.ends
        if self.integer:
            low, high = math.ceil(low), math.floor(high)
            return int(min(low + math.floor(share * (high - low + 1)), high))
        value = low * (high / low) ** share if self.scale == "log" else low + share * (high - low)
        return float(f"{value:.12g}")  # so that the last digits, which a library may change, are no other run


def design(over: Over, kind: Kind = "grid", points: int | None = None, seed: int = 1) -> tuple[list[str], list[Values]]:
    """Names of the parameters, and the cells.

    Args:
        over: As for `simtx.sweep`.
        kind: How `over` is combined.
        points: Number of cells of a design that is no grid.
        seed: Of its random numbers.

    Raises:
        ScenarioError: They do not make a design.
    """
    if kind not in get_args(Kind):
        raise ScenarioError(f"there is no design {shown(kind)}; {hint(str(kind), get_args(Kind))}", "design")
    if over is None:
        over = {}
    if not isinstance(over, Mapping):
        if kind != "grid" or points is not None:
            raise ScenarioError("a table has its own cells; leave 'design' and 'points' out", "design")
        return _table(over)
    names = list(over)
    if any(not isinstance(name, str) for name in names):
        raise ScenarioError("the names of parameters are text", "over")
    axes = {name: axis(values, name) for name, values in over.items()}
    if kind == "grid":
        if points is not None:
            raise ScenarioError("a grid has as many cells as its values make; 'points' is for other designs", "points")
        return names, _grid(axes)
    if isinstance(points, bool) or not isinstance(points, int) or not 1 <= points <= MOST:
        raise ScenarioError(f"must be a whole number from 1, not {points!r}", "points")
    if not axes:
        raise ScenarioError("a design needs parameters", "over")
    shares = _shares(kind, len(axes), points, seed)
    cells = [{name: _pick(one, share) for (name, one), share in zip(axes.items(), row, strict=True)} for row in shares]
    return names, _distinct(cells)


def axis(values: Any, name: str) -> list[Any] | Range:
    """The values of one parameter.

    Raises:
        ScenarioError: There are none, or one is there twice.
    """
    where = f"over: {name}"
    if isinstance(values, Range):
        return values
    if isinstance(values, Mapping) and {"low", "high"} <= set(values) <= {"low", "high", "scale", "integer"}:
        try:
            return Range(**values)
        except ScenarioError as error:
            raise ScenarioError(error.problem, where) from None
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise ScenarioError(f"{shown(values)} is no list of values, such as [50, 100]", where)
    if not hasattr(values, "__len__"):
        raise ScenarioError(f"a {type(values).__name__} can be read only once; give a list", where)
    found = [_plain(value) for value in values]
    if not found:
        raise ScenarioError("has no values", where)
    if len(found) > MOST:
        raise ScenarioError(f"has {len(found):,} values; {MOST:,} is the most", where)
    known: set[Any] = set()
    others: list[Any] = []  # tables, which no set can hold
    for value in found:
        try:
            twice = value in known
            known.add(value)
        except TypeError:
            twice = value in others
            others.append(value)
        if twice:
            raise ScenarioError(f"{shown(value)} is there twice", where)
    return found


def _plain(value: Any) -> Any:
    """Numbers of numpy as those of Python."""
    return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value


def _grid(axes: Mapping[str, list[Any] | Range]) -> list[Values]:
    for name, values in axes.items():
        if isinstance(values, Range):
            raise ScenarioError(
                "a grid needs a list of values; a range needs design='sobol' or 'latin-hypercube'", f"over: {name}"
            )
    lists: list[list[Any]] = [values for values in axes.values() if isinstance(values, list)]
    if math.prod(map(len, lists)) > MOST:
        raise ScenarioError(f"the grid has {math.prod(map(len, lists)):,} cells; {MOST:,} is the most", "over")
    return [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*lists)]


def _pick(values: list[Any] | Range, share: float) -> Any:
    return values.at(share) if isinstance(values, Range) else values[int(share * len(values))]


def _shares(kind: Kind, dimensions: int, points: int, seed: Any) -> Any:
    """Points of the unit cube, one row each. The first points of a Sobol design are the same, however many follow."""
    import numpy as np
    from scipy.stats import qmc

    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ScenarioError(f"must be a whole number from 0, not {seed!r}", "design seed")
    engine: Any = qmc.Sobol if kind == "sobol" else qmc.LatinHypercube
    random = np.random.default_rng(np.random.SeedSequence([0x5EED, seed]))
    named = "rng" if "rng" in inspect.signature(engine).parameters else "seed"
    sampler = engine(d=dimensions, **{named: random})
    if kind == "sobol":
        return sampler.random_base2(max(points - 1, 0).bit_length())[:points]
    return sampler.random(points)


def _distinct(cells: list[Values]) -> list[Values]:
    """Each cell once: whole numbers and lists of few values come again."""
    seen: list[Values] = []
    known: set[str] = set()
    for cell in cells:
        mark = repr(cell)
        if mark not in known:
            known.add(mark)
            seen.append(cell)
    return seen


def _table(over: pd.DataFrame | Sequence[Mapping[str, Any]] | str | Path) -> tuple[list[str], list[Values]]:
    """The cells of a table, a row each."""
    where = "over"
    if isinstance(over, str | Path):
        where = str(over)
        over = _read(Path(over))
    if not isinstance(over, pd.DataFrame):
        rows = list(over)
        if any(not isinstance(row, Mapping) for row in rows):
            raise ScenarioError("a list of cells has a mapping from parameter to value for each", where)
        if any(set(row) != set(rows[0]) for row in rows):
            raise ScenarioError("every cell must have a value for the same parameters", where)
        names, cells = (
            list(rows[0]) if rows else [],
            [{name: _plain(value) for name, value in row.items()} for row in rows],
        )
    else:
        names = [str(name) for name in over.columns]
        cells = [dict(zip(names, map(_plain, row), strict=True)) for row in over.itertuples(index=False, name=None)]
    if not cells or not names:
        raise ScenarioError("the table has no cells", where)
    if len(set(names)) < len(names):
        raise ScenarioError("a column is there twice", where)
    for index, cell in enumerate(cells):
        for name, value in cell.items():
            if value is None or (isinstance(value, float) and math.isnan(value)):
                raise ScenarioError(f"row {index + 1} has no value", f"{where}: {name}")
    if len(_distinct(cells)) < len(cells):
        raise ScenarioError("a cell is there twice", where)
    return names, cells


def _read(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]
        if len(set(names)) < len(names):  # pandas would give the second one another name
            raise ScenarioError("a column is there twice", str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # without index_col the first column of rows that are too long would become their name
            table = pd.read_csv(path, skipinitialspace=True, index_col=False)
        return table.set_axis(names, axis="columns") if len(names) == len(table.columns) else table
    except pd.errors.ParserWarning:
        raise ScenarioError("a row has more values than there are columns", str(path)) from None
    except FileNotFoundError:
        raise ScenarioError("there is no such file", str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(
            f"the file cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}", str(path)
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ScenarioError(f"this is no table: {str(error).strip().splitlines()[-1]}", str(path)) from None
