"""Functions of NumPy that write random numbers, as C calls them: so the loop makes the numbers of `simtx.workload.by_transaction` without asking Python.

Those behind `Generator.random` and its like are NumPy's interface for C (its examples of extending them load them likewise). The exponential function is
the inner loop of `numpy.exp`, as no other gives the same numbers to the last bit; where it stands is said in NumPy's ``ufuncobject.h``. Each process tries
once whether C writes what Python would draw. If it does not, or if something is not there, the loop asks Python for every block.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.random import _generator

from simtx.engine import layout
from simtx.scenario.distributions import Exponential, Lognormal, ShiftedLognormal
from simtx.workload.by_transaction import Recipe, TransactionStreams, recipe, uniform_numbers
from simtx.workload.streams import Sampled, Streams

__all__ = ["Bits", "as_source", "generators"]

_WORD: Final = (1 << 64) - 1
_POINTER_IN: Final = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_SIZES: Final = ((512, 2), (32, 1))  # numbers, and how many blocks they are in


class Bits:
    """A generator of its own for one engine, with the functions that C calls.

    Attributes:
        functions: What C gets.
    """

    __slots__ = ("_generator", "functions")

    def __init__(self, functions: layout.Generators) -> None:
        self._generator = np.random.Philox(key=0)  # C says which key and which place before it draws
        self.functions = layout.Generators.from_buffer_copy(functions)
        self.functions.bits = _inside(self._generator.capsule, b"BitGenerator")


def generators(library: ctypes.CDLL) -> Bits | None:
    """A generator for one engine; None: Python has to be asked."""
    functions = _agreed(library)
    return None if functions is None else Bits(functions)


def as_source(made: Recipe, key: int) -> layout.Source:
    """A recipe as C takes it, with the key of a stream's generator."""
    one = layout.Source()
    one.key[0], one.key[1] = key & _WORD, key >> 64
    one.raw, one.factor, one.median = layout.RAWS.index(made.raw), made.factor, made.median
    one.shifted, one.shift = int(made.shift is not None), made.shift or 0.0
    return one


@cache
def _agreed(library: ctypes.CDLL) -> layout.Generators | None:
    """The functions, if they are there and write what Python would draw."""
    functions = _found()
    if functions is None:
        return None
    bits, streams = Bits(functions), TransactionStreams(Streams(1))
    tried: tuple[Sampled, ...] = (
        uniform_numbers(),
        Exponential(0.7),
        Lognormal(0.3, 0.9),
        ShiftedLognormal(0.1, 0.3, 0.9),
    )
    for distribution in tried:
        made, draw, key = recipe(distribution), streams.fill(distribution, "a", "b"), streams.key("a", "b")
        if made is None:
            raise AssertionError("these have recipes")
        for size, blocks in _SIZES:
            wanted, got = np.empty(size), np.empty(size)
            draw(-1, 3, wanted, blocks)
            library.engine_try_source(
                ctypes.byref(bits.functions), ctypes.byref(as_source(made, key)), -1, 3, size, blocks, got.ctypes.data
            )
            if wanted.tobytes() != got.tobytes():
                return None
    return functions


def _found() -> layout.Generators | None:
    """The functions, as far as they are where NumPy says."""
    functions = layout.Generators()
    inner = _inner_loop(np.exp)
    if inner is None:
        return None
    functions.exponential, functions.data = inner
    try:
        library = ctypes.CDLL(str(_generator.__file__))
        for number, raw in enumerate(layout.RAWS):
            if raw:
                name = f"random_standard_{raw}_fill"
                functions.write[number] = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
    return functions


class _UFunc(ctypes.Structure):
    """Head of an object of `numpy.ufunc`, behind what all objects of Python have."""

    _fields_ = (
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
    )


def _inner_loop(ufunc: np.ufunc) -> tuple[int, int | None] | None:
    """The inner loop of a function of one double, and what it is called with; None: it is not where NumPy says."""
    if sys.implementation.name != "cpython":
        return None
    inside = _UFunc.from_address(id(ufunc) + object.__basicsize__)
    said = (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes)
    if (inside.nin, inside.nout, inside.nargs, inside.ntypes) != said or "d->d" not in ufunc.types:
        return None
    place = ufunc.types.index("d->d")
    function: int | None = inside.functions[place]
    data: int | None = inside.data[place] if inside.data else None
    return None if function is None else (function, data)


def _inside(capsule: Any, name: bytes) -> int:
    """The address in a capsule."""
    address = _POINTER_IN(capsule, name)
    if not isinstance(address, int):
        raise AssertionError("an empty capsule")
    return address
