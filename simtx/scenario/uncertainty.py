"""Uncertainty of figures: what `[uncertainty]` in a scenario states, and what the scenario is at its ends.

A path, or a pattern that fits several figures, has a percentage (``"20%"``: a fifth more or less, all figures that it fits together) or, if it fits one figure,
the two ends (``["5ms", "30ms"]``). Of a distribution, the mean is meant, and its shape stays. Nothing of it takes part in a simulation: it says how far
to look when somebody asks which assumption decides (`simtx.experiments.sensitivity`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from simtx.scenario.build import latency, zones
from simtx.scenario.distributions import Distribution
from simtx.scenario.notes import Leaf, covers
from simtx.scenario.problems import Problem, path_text
from simtx.scenario.schema import ScenarioFile
from simtx.scenario.uncertain import Figure, Uncertainty
from simtx.scenario.units import duration, duration_text, number, probability, rate, shown

_PLACE: Final = "uncertainty"
_MOST: Final = 0.95
"""Largest share: at -100 % a figure would be gone."""


def uncertainties(
    file: ScenarioFile, known: Sequence[Leaf], problems: list[Problem], *, changed: bool = False
) -> dict[str, Uncertainty]:
    """Uncertainties that a file states, by path.

    Args:
        file: The checked tables.
        known: All figures that are in it.
        problems: Problems found are added here.
        changed: Whether values were changed since the file was read: then a figure may lie beyond the ends that the file states.
    """
    found: dict[str, Uncertainty] = {}
    for pattern, stated in file.uncertainty.items():
        figures = [
            Figure(path_text(path), value, notation)
            for path, text, _, value, notation in known
            if covers(pattern, path, text)
        ]
        if not figures:
            continue  # the checks say so
        try:
            found[pattern] = _read(pattern, figures, stated, changed, file)
        except ValueError as error:
            problems.append(((_PLACE, pattern), str(error)))
    owners: dict[str, str] = {}
    for pattern, one in found.items():
        for figure in one.figures:
            other = owners.setdefault(figure.path, pattern)
            if other != pattern:
                problems.append(((_PLACE, pattern), f"'{other}' is about {figure.path}, too"))
    return found


def _read(pattern: str, figures: list[Figure], stated: Any, changed: bool, file: ScenarioFile) -> Uncertainty:
    varied = [one for one in figures if isinstance(one.value, int | float | Distribution) and one.mean != 0]
    if not varied:
        raise ValueError(_nothing(pattern, figures, file))
    if isinstance(stated, list | tuple):
        if len(varied) != 1:
            raise ValueError(f"two ends are for one figure, and it fits {len(varied)}; give a percentage")
        return _ends(pattern, varied[0], stated, changed)
    if isinstance(stated, str) and not stated.strip().endswith("%"):
        raise ValueError(f"{shown(stated)} is no percentage; write '20%', or both ends in a list")
    try:
        share = probability(stated)
    except ValueError:
        share = 0.0  # which is refused likewise
    if not 0 < share <= _MOST:
        raise ValueError(f"{shown(stated)} is not between 0% and {_MOST:.0%}; for more, give both ends in a list")
    return Uncertainty(pattern, tuple(varied), 1 - share, 1 + share)


def _nothing(pattern: str, figures: list[Figure], file: ScenarioFile) -> str:
    """Reason why there is nothing to vary, and which value to state."""
    path = figures[0].path if len(figures) == 1 else pattern
    if any(one.value == 0 for one in figures):
        return f"is 0 here, and a share of 0 is 0; state a value of '{path}' that is above 0, and vary that"
    if path != "network.latency":
        return f"has no value here; state one of '{path}', and vary that"
    placed = zones(file)
    used = list(dict.fromkeys(placed.values()))
    delays = [found.mean() for a in used for b in used if a != b and (found := latency(file.network, a, b)) is not None]
    span = (
        " to ".join(dict.fromkeys(duration_text(float(f"{one:.3g}")) for one in (min(delays), max(delays))))
        if delays
        else ""
    )
    now = f" ({span} one way between zones here)" if span else ""
    example = duration_text(float(f"{max(delays):.3g}")).replace(" ", "") if delays else "1ms"
    return (
        f"has no value of its own: each link has the round trip between its two zones{now}; state one for all links, "
        f"such as network.latency={example}, and vary that"
    )


def _ends(pattern: str, figure: Figure, stated: Any, changed: bool) -> Uncertainty:
    if len(stated) != 2:
        raise ValueError(f"{shown(stated)} does not have two ends")
    read: Callable[[Any], float] = number
    if "duration" in figure.notation:
        read = partial(duration, unit_needed=False)
    elif figure.notation == "rate":
        read = rate
    elif figure.notation == "probability":
        read = probability
    low, high = read(stated[0]), read(stated[1])
    mean = figure.mean
    if not (0 < low < high and (changed or low < mean < high)):
        raise ValueError(
            f"the ends {shown(stated[0])} and {shown(stated[1])} do not have the figure, {mean:g}, between them"
        )
    return Uncertainty(pattern, (figure,), min(low / mean, 1.0), max(high / mean, 1.0))
