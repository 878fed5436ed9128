"""Provenance of a result: what was played, what was changed in it, by which code, and the command that repeats it.

Every run and comparison has one (`run.provenance`, `comparison.provenance`), and everything made of them shows it: tables, pictures, CSV and JSON files,
saved results. A figure without it is a figure that nobody can check.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.protocols import STRATEGIES
from simtx.scenario.canonical import canonical, digest, version_of
from simtx.scenario.fingerprints import CodeFingerprint, code_fingerprint, strategy_fingerprint

if TYPE_CHECKING:
    from simtx.protocols import Policies, Strategy
    from simtx.scenario import Scenario

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHORT: Final = 8  # hex digits of a fingerprint in print


@dataclass(frozen=True, slots=True)
class Provenance:
    """Provenance of a result.

    Attributes:
        verb: What was done: ``simulate``, ``compare``, ``execute``, ``validate``.
        scenario: Name of the scenario.
        changes: What was changed in it, by path: ``{"workload.rate": 30}``. Objects are given by their `repr`.
        strategies: Fingerprint by label; empty where a strategy cannot be compared by value.
        seed: Seed of all random streams.
        replications: How many; None for a single run.
        replication: Which one; None for a comparison.
        settings: Other arguments that change what comes out, by name.
        version: Version of simtx.
        python: Version of Python.
        scenario_fingerprint: Of all of the scenario that a run depends on; see `simtx.scenario.fingerprints`.
        code_fingerprint: Of the modules that can change a number.
        modules: The same for each of them, by name.
        command: What repeats it: a line for a shell, or for Python where a shell cannot name the scenario or a strategy.
    """

    verb: str
    scenario: str
    changes: Mapping[str, Any]
    strategies: Mapping[str, str]
    seed: int
    replications: int | None
    replication: int | None
    settings: Mapping[str, Any]
    version: str
    python: str
    scenario_fingerprint: str
    code_fingerprint: str
    modules: Mapping[str, str] = field(repr=False)
    command: str

    @property
    def changed(self) -> str:
        """Changes in one line: ``workload.rate = 30``; empty if nothing was."""
        return ", ".join(f"{path} = {_shown(value)}" for path, value in self.changes.items())

    @property
    def title(self) -> str:
        """Name of the scenario with what was changed: ``checkout with workload.rate = 30``."""
        return f"{self.scenario} with {self.changed}" if self.changes else self.scenario

    def lines(self) -> list[str]:
        """Two lines for the foot of a table or picture: what it is, and what repeats it."""
        if self.replications is not None:
            times = f"{self.replications} replication{'s' if self.replications != 1 else ''}"
        else:
            times = f"replication {self.replication}"
        words = [self.title, f"seed {self.seed}, {times}", *(f"{k} {_shown(v)}" for k, v in self.settings.items())]
        return [f"{'; '.join(words)}; {self.prints}", f"repeat with: {self.command}"]

    @property
    def prints(self) -> str:
        """Version and fingerprints, in short: results that differ in these are not of the same inputs and code."""
        return f"simtx {self.version}, scenario {self.scenario_fingerprint[:_SHORT]}, code {self.code_fingerprint[:_SHORT]}"

    def to_dict(self, *, modules: bool = True) -> dict[str, Any]:
        """All of it, as JSON can write it; `from_dict` reads it again. Without `modules`, those are left out, which are many."""
        names = [one.name for one in dataclasses.fields(self) if modules or one.name != "modules"]
        return {name: _plain(getattr(self, name)) for name in names}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """Reads a dict of `to_dict`; keys that are not known are left alone, as those of a later version.

        Raises:
            ScenarioError: A key is missing.
        """
        names = [one.name for one in dataclasses.fields(cls)]
        missing = [name for name in names if name not in values]
        if missing:
            raise ScenarioError(f"'{missing[0]}' is missing", "provenance")
        return cls(**{name: values[name] for name in names})

    def columns(self) -> dict[str, Any]:
        """A few columns for a table in which rows of several results may meet, or that is all that somebody has: nothing in them is cut short."""
        return {
            "scenario": self.scenario,
            "changes": ", ".join(f"{path} = {_written(value)}" for path, value in self.changes.items()),
            "seed": self.seed,
            "simtx": self.version,
            "fingerprint": f"{self.scenario_fingerprint}-{self.code_fingerprint}",
            "repeat_with": self.command,
        }

    def same_question(self, other: Provenance) -> bool:
        """Return whether both ask the same of the same code, so that the answers have to be equal."""
        silent = {"python", "modules", "command"}
        names = [one.name for one in dataclasses.fields(self) if one.name not in silent]
        mine, others = self.to_dict(), other.to_dict()
        return all(mine[name] == others[name] for name in names)

    def __str__(self) -> str:
        return "\n".join(self.lines())


def provenance(
    verb: str,
    scenario: Scenario,
    strategies: Mapping[str, Strategy],
    *,
    seed: int,
    replications: int | None = None,
    replication: int | None = None,
    settings: Mapping[str, Any] | None = None,
    code: CodeFingerprint | None = None,
) -> Provenance:
    """Make one.

    Args:
        verb: ``simulate``, ``compare``, ``saturation``, ``execute`` or ``validate``.
        scenario: What was played.
        strategies: By label.
        seed: Seed of all random streams.
        replications: Of a comparison.
        replication: Of a run.
        settings: Further arguments that were not left at their defaults, as the verb names them.
        code: The code that played it; None: as it is now.
    """
    code = code or code_fingerprint("executed" if verb in ("execute", "validate") else "simulated")
    given = dict(settings or {})
    counts = {"replications": replications, "replication": replication}
    options = {"seed": seed, **{name: count for name, count in counts.items() if count is not None}}
    if verb == "execute":
        options.pop("replication", None)
    return Provenance(
        verb=verb,
        scenario=scenario.name,
        changes={path: _plain(value) for path, value in scenario.overrides.items()},
        strategies={label: _strategy(one) for label, one in strategies.items()},
        seed=seed,
        replications=replications,
        replication=replication,
        settings={name: _plain(value) for name, value in given.items()},
        version=version(),
        python=platform.python_version(),
        scenario_fingerprint=scenario.fingerprint,
        code_fingerprint=code.text,
        modules=dict(code.modules),
        command=command(verb, scenario, list(strategies.values()), options, given),
    )


def _strategy(one: Strategy) -> str:
    try:
        return strategy_fingerprint(one)
    except ScenarioError:  # it can be played, but nobody can say by what
        return ""


@lru_cache(maxsize=1)
def version() -> str:
    """Version of simtx; of a source tree that was never installed, ``0+unknown``."""
    return version_of("simtx", "0+unknown")


@lru_cache(maxsize=2)
def loaded_code(world: str = "simulated") -> CodeFingerprint:
    """Fingerprint of the code that this process has loaded: read once, so that a file that is edited later does not count."""
    return code_fingerprint(world)


# --- commands -----------------------------------------------------------------------------------------------------------------


def command(
    verb: str,
    scenario: Scenario,
    strategies: Sequence[Strategy],
    options: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
) -> str:
    """The line that repeats something.

    Args:
        verb: A command of the command line, and a function of the same name.
        scenario: What was played.
        strategies: By whom.
        options: Numbers that both know by the same name: ``seed``, ``replication``.
        settings: Further arguments; a text can be given to both, anything else to Python alone.
    """
    given = dict(settings or {})
    texts = [strategy_text(one, scenario.policies) for one in strategies]
    place = _place(scenario)
    changes = _changes(scenario.overrides)
    for_python = verb in ("sweep", "sensitivity") or not all(isinstance(one, str) for one in given.values())
    if for_python or place is None or changes is None or None in texts:
        return _python(verb, scenario, strategies, texts, {**options, **given})
    words = ["simtx", verb, place, *(text for text in texts if text is not None)]
    words += [word for name, value in {**options, **given}.items() for word in (f"--{name}", str(value))]
    words += [word for change in changes for word in ("--set", change)]
    return shlex.join(words)


def _python(
    verb: str,
    scenario: Scenario,
    strategies: Sequence[Strategy],
    texts: Sequence[str | None],
    options: Mapping[str, Any],
) -> str:
    place = _place(scenario)
    played = "scenario" if place is None else f"simtx.load({place!r})"
    if place is not None and scenario.overrides:
        played += f".replace(**{scenario.overrides!r})"
    names = [_code(one if text is None else text) for text, one in zip(texts, strategies, strict=True)]
    chosen = f"[{', '.join(names)}]" if verb in ("compare", "saturation", "sweep", "sensitivity") else names[0]
    if verb == "sweep":
        chosen = f"strategies={chosen}"  # behind the parameters, which may be left out
    given = (f"{name}={_code(value)}" for name, value in options.items())
    return f"simtx.{verb}({', '.join([played, chosen, *given])})"


def _code(value: Any) -> str:
    """A value as one would write it; an object that does not show itself so goes by its class."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_code(one) for one in value)}]"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = repr(value)
    return f"{type(value).__name__}(...)" if text.startswith("<") else text


def _place(scenario: Scenario) -> str | None:
    """Argument of `simtx.load` for it: the name of a built-in scenario, or the path of a file; None if it was made in Python."""
    if not scenario.path:
        return None
    from simtx.scenario.catalog import data_path

    path = Path(scenario.path)
    if path.parent == (data_path() / "scenarios").resolve():
        return path.stem
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _changes(overrides: Mapping[str, Any]) -> list[str] | None:
    """Changes as ``--set`` takes them; None if one of them has no form as text."""
    found = []
    for path, value in overrides.items():
        try:
            text = value if isinstance(value, str) and not _is_toml(value) else _toml(value)
        except TypeError:
            return None
        found.append(f"{path}={text}")
    return found


def _is_toml(text: str) -> bool:
    """Return whether a text would be read as something else, such as a number or a date."""
    import tomllib

    try:
        tomllib.loads(f"value = {text.strip()}")
    except tomllib.TOMLDecodeError:
        return text != text.strip()
    return True


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return _toml(value.item())
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, Mapping):
        keys = {key: str(key) if _BARE.fullmatch(str(key)) else json.dumps(str(key)) for key in value}
        return f"{{{', '.join(f'{keys[key]} = {_toml(one)}' for key, one in value.items())}}}"
    raise TypeError(type(value).__name__)  # None removes an entry, which no text says


def strategy_text(strategy: Strategy, policies: Policies | None = None) -> str | None:
    """A strategy as the command line would name it (``2pc:work=before``), or None if it has no such name.

    Args:
        strategy: The strategy.
        policies: Those of the scenario: a strategy that has taken them needs no word about them.
    """
    if STRATEGIES.get(strategy.name) is not type(strategy) or not dataclasses.is_dataclass(strategy):
        return None
    options = {
        one.name: getattr(strategy, one.name)
        for one in dataclasses.fields(strategy)
        if one.init and getattr(strategy, one.name) != one.default
    }
    if policies is not None and options.get("policies") == policies:
        del options["policies"]
    if not all(isinstance(value, bool | int | float | str) for value in options.values()):
        return None
    listed = ",".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()
    )
    return f"{strategy.name}:{listed}" if listed else strategy.name


# --- values -------------------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A value as JSON can write it; what it cannot is given by its `repr`."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return _plain(value.item()) if not getattr(value, "shape", ()) else _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if callable(value) and hasattr(value, "__name__"):
        return f"{value.__name__} ({_print(value)})"
    return repr(value)


def _print(value: Any) -> str:
    try:
        return digest(canonical(value))[:_SHORT]
    except ScenarioError:
        return "cannot be compared by value"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(value: Any) -> str:
    text = _written(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
