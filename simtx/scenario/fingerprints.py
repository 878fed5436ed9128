"""Fingerprints of what a figure depends on: the scenario, the strategy, and the code of simtx that makes numbers of them.

They are what a result is known by (`simtx.scenario.provenance`) and what a stored run is found by. Two that are equal promise equal figures; two that
differ promise nothing. Each is sixteen hex digits of a SHA-256.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.scenario.canonical import canonical, digest, lasting, sources, untouched, version_of

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.scenario.model import Scenario

#: Fields of a scenario that say something about it, and change no figure.
DESCRIPTIVE: Final = frozenset(
    {"name", "title", "description", "sources", "assumptions", "uncertainty", "path", "overrides", "_raw"}
)
#: Fields that each scenario has for itself; a trace is long.
_EACH: Final = ("workload", "run")
#: Packages whose new versions may draw other random numbers or order events otherwise.
_PACKAGES: Final = ("numpy", "simpy")
_ROOTS: Final = {"simulated": "simtx.simulator.simulate", "executed": "simtx.reference.execute"}
#: Modules above the world that make figures of several runs; what else lies in their package does not count.
_ABOVE: Final = {"simulated": ("simtx.experiments.stratified",)}
#: Packages of which every module counts: those of its processes are started by name.
_WHOLE: Final = {"executed": "simtx.reference"}
#: What only a type checker imports changes no figure, and may lie in any layer.
_FOR_TYPES: Final = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+[^\n]*\n|[ \t]*\n)+", re.MULTILINE)
_IMPORT: Final = re.compile(
    r"^[ \t]*(?:from[ \t]+(simtx[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+(simtx[\w.]+))", re.MULTILINE
)


def scenario_fingerprint(scenario: Scenario) -> str:
    """Fingerprint of everything in a scenario that a run depends on, by value: equal for equal scenarios, wherever they were read from.

    Raises:
        ScenarioError: It holds something that cannot be compared by value, such as a distribution of the user's with a generator in it.
    """
    fields = [one.name for one in dataclasses.fields(scenario) if one.name not in DESCRIPTIVE]
    values = {name: getattr(scenario, name) for name in fields if not untouched(scenario, name)}
    values["workload"] = dataclasses.replace(scenario.workload, trace=None)  # what is in the file counts, not its place
    texts = ((canonical if name in _EACH else lasting)(one, f"the scenario: {name}") for name, one in values.items())
    return digest("\n".join(f"{name} {text}" for name, text in zip(values, texts, strict=True)))


def strategy_fingerprint(strategy: Strategy) -> str:
    """Fingerprint of a strategy's class and attributes, by value; of a class that is not part of simtx its source, and that of all that it uses.

    Policies that a strategy takes from the scenario count as its own: resolve it first, by `simtx.protocols.strategy(..., policies)`.

    Raises:
        ScenarioError: It holds something that cannot be compared by value.
    """
    return digest(canonical(strategy, f"strategy {strategy.name}"))


def strategy_sources(strategy: Strategy) -> dict[str, str]:
    """Source text of the user's own code that a strategy is made of, by name; empty for the strategies of simtx.

    Raises:
        ScenarioError: It holds something that cannot be compared by value.
    """
    return sources(strategy, f"strategy {strategy.name}")


@dataclass(frozen=True, slots=True)
class CodeFingerprint:
    """Fingerprint of the code that makes numbers.

    Attributes:
        text: Sixteen hex digits for all of it.
        modules: Eight hex digits for each module of simtx that can change a number, and the version of other packages that can, by name.
    """

    text: str
    modules: Mapping[str, str]

    def changed(self, before: Mapping[str, str]) -> list[str]:
        """Names of the modules that are not as they were: changed, new or gone."""
        return sorted(name for name in {*self.modules, *before} if self.modules.get(name) != before.get(name))

    def __str__(self) -> str:
        return self.text


def code_fingerprint(world: str = "simulated") -> CodeFingerprint:
    """Fingerprint of the sources of all modules of simtx that a run can reach, and so of those alone that can change a number.

    Reached means imported, directly or by another one, from the module that plays a run; of the executed world, all that its processes are made of. Tables, pictures and the command line are above it and are
    never reached. Any change of a reached file counts, also that of a comment: nobody can know otherwise. A file that was edited
    since is read again.

    Args:
        world: ``simulated`` or ``executed``.

    Raises:
        ScenarioError: There is no such world.
    """
    if world not in _ROOTS:
        raise ScenarioError(f"world is {world!r}; it is 'simulated' or 'executed'", "code_fingerprint")
    files = _reached(_ROOTS[world], _WHOLE.get(world, ""), _ABOVE.get(world, ()))
    return _fingerprint(world, tuple((name, file, *_stamp(file)) for name, file in files.items()))


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8)
def _fingerprint(world: str, files: tuple[tuple[str, Path, int, int], ...]) -> CodeFingerprint:
    modules = {name: hashlib.sha256(_text(file).encode()).hexdigest()[:8] for name, file, _, _ in files}
    modules |= {name: version_of(name, "not installed") for name in _PACKAGES}
    modules = dict(sorted(modules.items()))
    return CodeFingerprint(digest(canonical({"world": world, **modules})), modules)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")


@lru_cache(maxsize=8)
def _reached(root: str, whole: str = "", above: tuple[str, ...] = ()) -> dict[str, Path]:
    """Files of all modules of simtx that this one imports, at its top or in a function, and of those that these import.

    Args:
        root: A module.
        whole: A package whose modules count even if nothing imports them, or nothing.
        above: Modules that count although nothing imports them, without the packages that they are in.
    """
    found: dict[str, Path] = {}
    waiting = [root, *above]
    package = _file(whole) if whole else None
    if package is not None:
        for member in package.parent.rglob("*.py"):
            inside = member.relative_to(package.parent).with_suffix("").parts
            waiting.append(".".join([whole, *inside]).removesuffix(".__init__"))
    while waiting:
        name = waiting.pop()
        if name in found or name == "simtx":  # the top only registers what draws results
            continue
        file = _file(name)
        if file is None:
            continue
        found[name] = file
        if name not in above:
            waiting.append(name.rpartition(".")[0])
        for module, names, plain in _IMPORT.findall(_FOR_TYPES.sub("", _text(file))):
            waiting.append(plain or module)
            parts = re.findall(r"(\w+)(?:\s+as\s+\w+)?", names)
            waiting += [f"{module}.{part}" for part in parts]
    return dict(sorted(found.items()))


def _file(module: str) -> Path | None:
    """The source file of a module of simtx, found without importing it; None if the name is none of a module."""
    spec = importlib.util.find_spec("simtx")
    places: Any = spec.submodule_search_locations if spec is not None else None
    for place in places or ():
        stem = Path(place).joinpath(*module.split(".")[1:])
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return file
    return None
