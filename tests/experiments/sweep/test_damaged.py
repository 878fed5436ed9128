"""A results folder whose files were damaged is read as it was, or refused in a line: never with an error of a library, and never with other figures."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx import ScenarioError
from simtx.cli import main

_OTHER = [None, -1, 0, 1e300, "", "x", [], {}, True, [[]], {"a": 1}, float("nan"), 10**30, "../../x", ["2pc"]]


def _bytes(random_: random.Random, data: bytes) -> bytes:
    """Some bytes are other ones, missing, doubled or zero, or the end is missing."""
    changed, at, length = bytearray(data), random_.randrange(len(data)), random_.randint(1, 300)
    match random_.choice(["flip", "cut", "drop", "double", "zero"]):
        case "flip":
            for _ in range(random_.randint(1, 8)):
                changed[random_.randrange(len(changed))] = random_.randrange(256)
        case "cut":
            del changed[at:]
        case "drop":
            del changed[at : at + length]
        case "double":
            changed[at:at] = changed[at : at + length]
        case "zero":
            changed[at : at + length] = bytes(len(changed[at : at + length]))
    return bytes(changed)


def _json(random_: random.Random, data: bytes) -> bytes:
    """One value is missing or another one."""
    document = json.loads(data)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk(document)
    holder, key = random_.choice(places)
    if random_.random() < 0.3:
        del holder[key]
    else:
        holder[key] = random_.choice(_OTHER)
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def sound(
    tiny: simtx.Scenario, play: Callable[..., simtx.Sweep], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A folder in which nothing waits to be written, and the figures in it."""
    store = tmp_path_factory.mktemp("sound") / "results"
    figures = play(tiny, store).frame.drop(columns="state").to_csv()
    with sqlite3.connect(store / "ledger.sqlite") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return store, figures


@pytest.mark.parametrize("file", ["sweep.json", "ledger.sqlite", "part-000001.parquet"])
def test_a_damaged_folder_is_read_as_it_was_or_refused_in_a_line(
    sound: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    refusals: list[tuple[Path, str]] = []
    for seed in range(16):
        store = tmp_path / str(seed)
        shutil.copytree(sound[0], store, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
        random_ = random.Random(f"{file} {seed}")
        damaged = next(store.rglob(file))
        how = _json if file.endswith(".json") and seed % 4 else _bytes
        damaged.write_bytes(how(random_, damaged.read_bytes()))
        try:
            found = simtx.read(store)
            assert isinstance(found, simtx.Sweep)
            frame = found.frame
        except ScenarioError as error:
            refusals.append((store, str(error)))
            continue
        if len(frame) == 8 and file != "sweep.json":  # what it was about may be another question now
            assert frame.drop(columns="state").to_csv() == sound[1], seed
        elif len(frame) < 8:
            assert found.lacking() or file == "sweep.json", seed
    assert len(refusals) >= 3
    for store, text in refusals[:2]:
        assert main(["report", str(store), "--out", str(tmp_path / "review.html")]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert [line.removeprefix("simtx: error: ") for line in said.err.splitlines()] == text.splitlines()
