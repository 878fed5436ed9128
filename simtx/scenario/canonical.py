"""Anything that decides about a run, as one text: equal texts mean equal values *and* equal code.

A fingerprint is only as good as what goes into it. Known caches answer with old results because they leave a value out, compare a
function by its name, or do not see what a closure holds. So here

- data goes in by value, field by field, whatever its `repr` shows (that of an array leaves out most of it);
- a function or class of the user goes in by its source, with its defaults and what its closure holds. The global names that it uses go in, too, and all
  that these use in turn, however many modules away;
- a function or class of simtx or of another installed package goes in by its name and, for the package, its version. The sources of simtx have a
  fingerprint of their own (`simtx.scenario.fingerprints.code_fingerprint`);
- what changes while it is used (a generator, an iterator, a random generator) is refused: the same object would stand for other values at the next run.

What no reading of a program can see is not seen: names put together at run time (`getattr`, `exec`), files, environment variables.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import importlib
import inspect
import json
import pickle
import random
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Final

from simtx.errors import ScenarioError

LATER: Final = "later"
"""Key in the metadata of a field that came when there were results folders already: ``field(default=..., metadata={"later": True})``.

While such a field has its default, the text of a value is that of before, so that the runs of those folders are still found.
"""
_LONG: Final = 256  # numbers in a row that are hashed as an array instead of one by one
_NOT_CODE: Final = frozenset({"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__qualname__"})
#: What the decorator of dataclasses writes; it follows from the fields, and its text differs between versions of Python.
_GENERATED: Final = frozenset(
    [
        "__init__",
        "__repr__",
        "__eq__",
        "__hash__",
        "__lt__",
        "__le__",
        "__gt__",
        "__ge__",
        "__setattr__",
        "__delattr__",
        "__getstate__",
        "__setstate__",
        "__replace__",
    ]
)
_LARGE: Final = 100_000  # signs of a text that is not remembered
_REMEMBERED: Final = 512
_PLAIN: Final = (str, int, float, bool, type(None), enum.Enum, tuple, frozenset, dict, list)
_ATOMS: Final = frozenset({str, bool, type(None)})
_BY_NAME: Final = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)


def canonical(value: Any, where: str = "value") -> str:
    """The text that stands for a value.

    Args:
        value: Data, or an object whose class is the user's.
        where: What errors begin with.

    Raises:
        ScenarioError: Something in it cannot be compared by value.
    """
    return json.dumps(_Canon(where).of(value, ""), separators=(",", ":"), ensure_ascii=True)


_texts: dict[int, tuple[Any, str]] = {}


def lasting(value: Any, where: str = "value") -> str:
    """As `canonical`, of a part that many values may have in common: the text is remembered while the part is plain data of simtx, which nobody changes.

    Of a dictionary the members are remembered, and not itself.

    Raises:
        ScenarioError: As in `canonical`.
    """
    if type(value) is dict:
        return "".join(f"{json.dumps(str(key))} {lasting(one, f'{where}.{key}')}\n" for key, one in value.items())
    known = _texts.get(id(value))
    if known is not None and known[0] is value:
        return known[1]
    canon = _Canon(where)
    text = json.dumps(canon.of(value, ""), separators=(",", ":"), ensure_ascii=True)
    cls: Any = type(value)
    if (cls is tuple or _plain_fields(cls) is not None) and canon.plain and len(text) < _LARGE:
        if len(_texts) >= _REMEMBERED:
            _texts.clear()
        _texts[id(value)] = value, text  # the value stays alive, so that no other one gets its id
    return text


def untouched(value: Any, name: str) -> bool:
    """Return whether a field of a dataclass came later (`LATER`) and has its default: then it is as if it were not there."""
    cls: Any = type(value)
    one = _later(cls).get(name)
    if one is None:
        return False
    default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
    return canonical(getattr(value, name), name) == canonical(default, name)


@functools.lru_cache(maxsize=512)
def _later(cls: type) -> Mapping[str, dataclasses.Field[Any]]:
    """The fields of a dataclass that came later."""
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return {one.name: one for one in fields if one.metadata.get(LATER)}


def digest(text: str) -> str:
    """Sixteen hex digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sources(value: Any, where: str = "value") -> dict[str, str]:
    """Source text of all of the user's own code that a value depends on, by name; empty if everything in it is installed.

    Raises:
        ScenarioError: As in `canonical`.
    """
    canon = _Canon(where)
    canon.of(value, "")
    return dict(sorted(canon.texts.items()))


class _Canon:
    """One walk over a value: nested lists that JSON can write. What was met before is only named, so that circles end."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.texts: dict[str, str] = {}
        self.plain = True
        """True if all that was met is data of simtx."""
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # objects that were met stay alive, so that no other one gets their id

    def of(self, value: Any, path: str) -> Any:
        """The canonical form of whatever this is."""
        cls: Any = type(value)
        if cls in _ATOMS:  # what a scenario is made of comes first; for it, the long way comes to the same
            return value
        if cls is float or cls is int:
            return _number(value)
        if id(value) in self._seen:
            return ["again", self._seen[id(value)]]
        names = _plain_fields(cls)
        if names is not None:
            self._met(value)
            return [self.of(cls, path), *self._pairs(_state(value, names), path)]
        if cls is dict:
            self._met(value)
            return ["map", *([self.of(k, path), self.of(v, f"{path}[{k!r}]")] for k, v in value.items())]
        if cls is tuple and len(value) <= _LONG:
            return ["list", *(self.of(one, f"{path}[{index}]") for index, one in enumerate(value))]
        if cls is type:
            self._met(value)
            return self._class(value, path)
        return self._any(value, path)

    def _pairs(self, state: Iterable[tuple[str, Any]], path: str) -> list[list[Any]]:
        """Fields with the forms of their values; where a value stands is put together only for those that go on."""
        found = []
        for name, one in state:
            cls: Any = type(one)
            if cls in _ATOMS:
                found.append([name, one])
            elif cls is float or cls is int:
                found.append([name, _number(one)])
            else:
                found.append([name, self.of(one, f"{path}.{name}")])
        return found

    def _met(self, value: Any) -> None:
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)

    def _any(self, value: Any, path: str) -> Any:
        kind: Any = value if isinstance(value, type) else type(value)
        self.plain = self.plain and (isinstance(value, _PLAIN) or kind.__module__.startswith("simtx."))
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, enum.Enum):
            return ["enum", self.of(type(value), path), value.name]
        if isinstance(value, int | float):
            return _number(value)
        if isinstance(value, bytes | bytearray):
            return ["bytes", bytes(value).hex()]
        if hasattr(value, "dtype") and hasattr(value, "tobytes"):  # a number or an array of numpy
            return self._array(value, path)
        if isinstance(value, list | tuple) and len(value) > _LONG and all(type(one) is float for one in value):
            return self._numbers(value)
        if isinstance(value, Iterator | random.Random) or type(value).__module__.startswith("numpy.random"):
            raise self._refusal(value, path, "it changes while it is used; give a number or a list")
        if not isinstance(
            value, tuple | frozenset
        ):  # those may be made anew at each look, and can be compared by value
            self._met(value)
        if isinstance(value, list | tuple):
            kind = "list" if type(value) in (list, tuple) else self.of(type(value), path)
            return [kind, *(self.of(one, f"{path}[{index}]") for index, one in enumerate(value))]
        if isinstance(value, Mapping):
            return ["map", *([self.of(k, path), self.of(v, f"{path}[{k!r}]")] for k, v in value.items())]
        if isinstance(value, Set):
            return ["set", *sorted((self.of(one, path) for one in value), key=json.dumps)]
        return self._code(value, path) or self._object(value, path)

    def _refusal(self, value: Any, path: str, why: str) -> ScenarioError:
        place = f"{self.where}{path}" if path else self.where
        return ScenarioError(f"{place} holds a {type(value).__name__}, which cannot be compared by value: {why}")

    def _numbers(self, values: Any) -> list[Any]:
        import numpy as np

        data = np.asarray(values, dtype="<f8").tobytes()
        return ["numbers", len(values), hashlib.sha256(data).hexdigest()]

    def _array(self, value: Any, path: str) -> Any:
        if value.dtype.hasobject:
            return ["array", *(self.of(one, path) for one in value.ravel().tolist()), list(value.shape)]
        if not value.shape and value.dtype.kind in "biuf":
            return self.of(value.item(), path)
        return ["array", str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]

    # --- code ---------------------------------------------------------------------------------------------------------------------

    def _code(self, value: Any, path: str) -> Any:
        """The form of a function, class or module; None if it is none of these."""
        if isinstance(value, types.ModuleType):
            return self._module(value, path)
        if isinstance(value, type):
            return self._class(value, path)
        if isinstance(value, types.FunctionType):
            return self._function(value, path)
        if isinstance(value, types.MethodType):
            return ["method", self.of(value.__func__, path), self.of(value.__self__, path)]
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return ["partial", *(self.of(part, path) for part in parts)]
        if isinstance(value, staticmethod | classmethod):
            return [type(value).__name__, self.of(value.__func__, path)]
        if isinstance(value, property):
            return ["property", *(self.of(one, path) for one in (value.fget, value.fset, value.fdel))]
        if isinstance(value, functools.cached_property):
            return ["property", self.of(value.func, path)]
        if isinstance(value, _BY_NAME):
            return ["name", getattr(value, "__module__", None), value.__qualname__]
        if getattr(value, "__wrapped__", None) is not None and callable(value):  # functools.lru_cache and its like
            return ["wrapped", self.of(value.__wrapped__, path)]
        return None

    def _class(self, cls: type, path: str) -> list[Any]:
        name = f"{cls.__module__}.{cls.__qualname__}"
        known = _installed(cls.__module__)
        if known is not None:
            return ["class", name, known]
        members: list[Any] = []
        fields = getattr(cls, "__dataclass_fields__", {}) if "__dataclass_fields__" in vars(cls) else {}
        for key, member in vars(cls).items():
            if key in _NOT_CODE or isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType):
                continue
            plain = key.startswith("__") and key.endswith("__") and not callable(getattr(member, "__func__", member))
            if plain or key.startswith("_abc_") or (fields and key in _GENERATED and _is_written(member)):
                continue
            members.append([key, self.of(member, f"{path}.{key}")])
        members += [[key, self.of([one.default, one.default_factory], path)] for key, one in fields.items()]
        bases = [self.of(base, path) for base in cls.__bases__ if base is not object]
        return ["class", name, bases, sorted(members, key=lambda member: str(member[0]))]

    def _function(self, function: types.FunctionType, path: str) -> list[Any]:
        name = f"{function.__module__}.{function.__qualname__}"
        known = _installed(function.__module__ or "")
        if known is not None:
            return ["function", name, known]
        text = _source(function)
        if text is not None:
            self.texts[name] = text
        body = text if text is not None else self._bytecode(function.__code__, path)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        held = [[free, self.of(_contents(cell), f"{path}.{free}")] for free, cell in cells]
        used = [
            [key, self.of(function.__globals__[key], f"{path}.{key}")]
            for key in sorted(_names(function.__code__))
            if key in function.__globals__
        ]
        imported = [self._import(module, path) for module in sorted(_imports(function.__code__))]
        defaults = self.of([function.__defaults__, function.__kwdefaults__], path)
        return ["function", name, body, defaults, held, used, imported]

    def _bytecode(self, code: types.CodeType, path: str) -> list[Any]:
        """List the parts of code whose text is not to be had, as of a class that was typed into a prompt."""
        constants = [
            self._bytecode(one, path) if isinstance(one, types.CodeType) else self.of(_plain(one), path)
            for one in code.co_consts
        ]
        return ["code", code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]

    def _import(self, name: str, path: str) -> Any:
        known = _installed(name)
        if known is not None:
            return ["module", name, known]
        try:
            return self.of(importlib.import_module(name), path)
        except ImportError:  # then the method that imports it fails likewise, or does without
            return ["module", name, "not found"]

    def _module(self, module: types.ModuleType, path: str) -> list[Any]:
        known = _installed(module.__name__)
        if known is not None:
            return ["module", module.__name__, known]
        file = getattr(module, "__file__", None)
        text = Path(file).read_text(encoding="utf-8") if file and file.endswith(".py") else None
        if text is None:
            raise self._refusal(module, path, f"'{module.__name__}' has no source file")
        self.texts[module.__name__] = text
        others: dict[str, types.ModuleType] = {}
        for one in vars(module).values():
            name = one.__name__ if isinstance(one, types.ModuleType) else getattr(one, "__module__", None)
            if isinstance(name, str) and name in sys.modules and name != module.__name__ and _installed(name) is None:
                others[name] = sys.modules[name]
        return ["module", module.__name__, digest(text), [self.of(others[name], path) for name in sorted(others)]]

    # --- objects ------------------------------------------------------------------------------------------------------------------

    def _object(self, value: Any, path: str) -> list[Any]:
        cls = type(value)
        if dataclasses.is_dataclass(value):
            names = tuple(one.name for one in dataclasses.fields(value))
            return [self.of(cls, path), *self._pairs(_state(value, names), path)]
        if _installed(cls.__module__) is None or cls.__module__.partition(".")[0] == "simtx":
            slots = [name for base in cls.__mro__ for name in _slots(base) if hasattr(value, name)]
            state = {name: getattr(value, name) for name in slots} | dict(getattr(value, "__dict__", {}))
            return [self.of(cls, path), *self._pairs(sorted(state.items()), path)]
        if isinstance(value, types.GeneratorType | types.CoroutineType | types.FrameType):
            raise self._refusal(value, path, "it changes while it is used")
        try:  # an object of another package
            return [self.of(cls, path), hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()]
        except Exception:  # noqa: BLE001 - packages raise all kinds of errors here
            raise self._refusal(value, path, "it has no state that could be written down") from None


@functools.lru_cache(maxsize=512)
def _plain_fields(cls: type) -> tuple[str, ...] | None:
    """Fields of a dataclass of simtx that holds data and is nothing else; None of every other class."""
    other = (str, bytes, bytearray, int, float, list, tuple, Mapping, Set, Iterator, enum.Enum)
    if not dataclasses.is_dataclass(cls) or not cls.__module__.startswith("simtx.") or issubclass(cls, other):
        return None
    if any(hasattr(cls, name) for name in ("dtype", "tobytes", "__wrapped__")):
        return None
    return tuple(one.name for one in dataclasses.fields(cls))


def _state(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass with what they hold, without those that are `untouched`; then its further attributes."""
    cls: Any = type(value)
    later = _later(cls)
    for name in names:
        if hasattr(value, name) and not (name in later and untouched(value, name)):
            yield name, getattr(value, name)
    for name, one in getattr(value, "__dict__", {}).items():
        if name not in names:
            yield name, one


def _number(value: float) -> Any:
    if isinstance(value, int) or (value == int(value) if abs(value) < 2**53 else False):
        return ["-0"] if value == 0 and str(value).startswith("-") else int(value)
    return ["float", repr(float(value))]


def _plain(constant: Any) -> Any:
    return constant if not isinstance(constant, type(Ellipsis)) else "..."


def _slots(cls: type) -> tuple[str, ...]:
    given = vars(cls).get("__slots__", ())
    return tuple(name for name in ((given,) if isinstance(given, str) else given) if name not in _NOT_CODE)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None


def _is_written(member: Any) -> bool:
    """Return whether a method was written by a decorator instead of a person."""
    code = getattr(inspect.unwrap(member) if callable(member) else member, "__code__", None)
    return code is None or code.co_filename == "<string>"


def _source(function: types.FunctionType) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError, IndentationError):
        return None


def _names(code: types.CodeType) -> set[str]:
    """Every name that a piece of code may look up in its module, inner functions included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _imports(code: types.CodeType) -> set[str]:
    """Modules that a piece of code imports when it runs, inner functions included; those relative to a package are not followed."""
    found = {str(one.argval) for one in dis.get_instructions(code) if one.opname == "IMPORT_NAME" and one.argval}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _imports(constant)
    return found


@functools.lru_cache(maxsize=1)
def _libraries() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")})


@functools.lru_cache(maxsize=512)
def _installed(module: str) -> str | None:
    """Fingerprint of an installed module: its package's version, or ``python``; None for the user's own code.

    simtx is installed wherever it lies. A package that is being worked on in a folder of its own is the user's code.
    """
    top = module.partition(".")[0]
    if top == "simtx":
        return "simtx"
    if top in sys.stdlib_module_names and top != "__main__":
        return "python"
    loaded = sys.modules.get(top)
    file = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", [])), None)
    if loaded is None or file is None or top == "__main__":
        return None
    place = Path(file).resolve()
    parts = {"site-packages", "dist-packages"} & set(place.parts)
    if not parts and not any(place.is_relative_to(folder) for folder in _libraries()):
        return None
    return str(getattr(loaded, "__version__", "")) or version_of(top, "installed")


def version_of(package: str, otherwise: str) -> str:
    """Version of an installed package, or another text if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return otherwise
