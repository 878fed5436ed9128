"""Notebooks run from top to bottom in a fresh kernel, and what is committed shows tables and pictures."""

from __future__ import annotations

import ast
import base64
import importlib
import importlib.util
import inspect
import io
import re
import subprocess
import sys
from functools import cache

import pytest
from PIL import Image

import simtx
from simtx.report.style import LOOKS
from tests.docs.pages import NOTEBOOKS, ROOT, name


@cache
def run():
    """The program that executes notebooks, and what it is made of, loaded when the first test needs them: every worker process collects this file."""
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "notebooks" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path):
    return run().nbformat.read(path, as_version=4)


# What a cell becomes on a smaller world: the same calls, fewer runs.
SHORTER = [
    (r"\breplications=\d+", "replications=2"),
    (r'"run\.transactions": 1500', '"run.transactions": 240, "run.warmup": "400ms"'),
    (r'("run\.transactions"|\btransactions)(: |=)(?!500)\d{3,}', r"\1\g<2>240"),
    (r'"run\.duration": "5s"', '"run.duration": "1.5s"'),
    (r'"run\.warmup": "(1s|500ms)"', '"run.warmup": "200ms"'),
    (r"\bbudget=90", "budget=50"),
    (r"\bbudget=40", "budget=24"),
    (r"for crashes in \(0, 1, 2\)", "for crashes in (0, 1)"),
    (r"\bparticipants=3, duplicates=0", "participants=2, duplicates=0"),
    (r'"participants": 3, ', '"participants": 2, '),
    (r"\bworkers=2", "workers=1"),
    (r'for duration in \("200ms", "500ms", "1s", "4s"\)', 'for duration in ("200ms", "4s")'),
    (r'\.loc\[\["200ms", "500ms", "1s", "4s"\]\]', '.loc[["200ms", "4s"]]'),
]

OBJECT = re.compile(r"^<[\w.]+[ :].*>$", re.DOTALL)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def kinds(notebook):
    """What each cell shows, without the data: the shape of a notebook's outputs."""
    return [
        [sorted(output.get("data", {"stream": ""})) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def decoded(png):
    return Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")


def reduced(picture):
    """The picture as it comes out of the command that executes notebooks."""
    written = io.BytesIO()
    picture.save(written, "PNG")
    return decoded(run().smaller(base64.b64encode(written.getvalue()).decode()))


def to_rgb(colour):
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def test_notebooks_are_numbered_in_the_order_of_reading():
    assert len(NOTEBOOKS) >= 3
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, len(NOTEBOOKS) + 1)]


def shorter(source):
    """The code of a cell on a smaller world: fewer runs, of fewer transactions, in smaller scopes; what it calls and shows is the same."""
    for pattern, text in SHORTER:
        source = re.sub(pattern, text, source)
    return source


def copied(path, folder, change=None, first=None):
    """A copy of a notebook, with its code changed or only its first code cells, if that is asked for."""
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = notebook.cells if first is None else code[:first]
    for cell in code:
        cell.source = cell.source if change is None else change(cell.source)
    run().nbformat.write(notebook, folder / path.name)
    return folder / path.name


def executed(path, folder, monkeypatch, first=None):
    """What its cells show on a smaller world, after they were executed in a fresh kernel."""
    monkeypatch.setattr(run(), "smaller", lambda png: png)  # has a test of its own
    return kinds(run().execute(copied(path, folder, shorter, first)))


def test_its_first_cells_execute_and_show_what_is_committed(tmp_path, monkeypatch):
    """Of the one notebook whose first cells simulate, draw and make a table; for every change of the others, `test_what_it_calls_is_there`."""
    (path,) = (one for one in NOTEBOOKS if one.name.startswith("02"))
    shown = executed(path, tmp_path, monkeypatch, 6)
    assert shown == kinds(read(path))[:6]
    assert {"image/png", "text/html"} <= {kind for cell in shown for output in cell for kind in output}


@pytest.mark.heavy
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if not path.name.startswith("04")], ids=name)
def test_it_executes_on_a_smaller_world_and_shows_what_is_committed(path, tmp_path, monkeypatch):
    """Every cell is executed, in a fresh kernel; numbers are others, tables and pictures stay."""
    assert executed(path, tmp_path, monkeypatch) == kinds(read(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_what_it_calls_is_there(path):
    """Every name that a notebook takes from simtx, and what it gives to a function of simtx by name."""
    cells = [
        re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE) for cell in read(path).cells if cell.cell_type == "code"
    ]
    found = [node for cell in cells for node in ast.walk(ast.parse(cell))]
    for node in found:
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "simtx":
            assert {one.name for one in node.names} <= set(dir(importlib.import_module(node.module)))
        if is_ours(node):
            assert hasattr(simtx, node.attr), node.attr
    calls = [node for node in found if isinstance(node, ast.Call) and is_ours(node.func)]
    assert calls
    for call in calls:
        given = {one.arg: None for one in call.keywords if one.arg is not None}
        inspect.signature(getattr(simtx, call.func.attr)).bind_partial(*call.args, **given)


def is_ours(node):
    """Whether it is `simtx.something`."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "simtx"


@pytest.mark.heavy
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_it_executes_as_it_stands_and_shows_what_is_committed(path, tmp_path):
    """Numbers may change with the version of NumPy; tables and pictures stay. Otherwise: python notebooks/run.py."""
    copy = copied(path, tmp_path)
    subprocess.run([sys.executable, ROOT / "notebooks" / "run.py", copy], check=True)
    assert kinds(read(copy)) == kinds(read(path))


def test_every_shorter_number_is_in_a_notebook():
    code = "\n".join(cell.source for path in NOTEBOOKS for cell in read(path).cells if cell.cell_type == "code")
    for pattern, _ in SHORTER:
        assert re.search(pattern, code), pattern


def test_a_picture_keeps_the_colours_that_it_has_most_of():
    """Few colours stay as they are; of many, the rare ones become their neighbours."""
    picture = Image.new("RGB", (256, 8))
    picture.putdata([(x, y, 0) for y in range(8) for x in range(256)])
    few = Image.new("RGB", (16, 16))
    few.putdata([(x, 0, 200) for x in range(256)])
    assert reduced(few).tobytes() == few.tobytes()
    colours = [to_rgb(look.colour) for look in LOOKS.values()]
    for number, colour in enumerate(colours):
        picture.paste(colour, (number * 4, 0, number * 4 + 2, 2))
    shown = reduced(picture)
    assert len(shown.getcolors(4096)) == 256
    assert [shown.getpixel((number * 4, 0)) for number in range(len(colours))] == colours


def test_the_pictures_of_the_first_notebook_have_the_colours_of_the_strategies():
    pictures = [
        decoded(output.data["image/png"])
        for output in outputs(read(NOTEBOOKS[0]))
        if "image/png" in output.get("data", {})
    ]
    for picture in (pictures[0], pictures[-1]):
        shown = {colour for _, colour in picture.getcolors(4096)}
        assert {to_rgb(LOOKS[played].colour) for played in ("2pc", "saga", "outbox", "dual-write")} <= shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_what_is_committed_shows_no_angle_brackets(path):
    notebook = read(path)
    run().nbformat.validate(notebook)
    shown = outputs(notebook)
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert any("text/html" in output.get("data", {}) for output in shown)
    for output in shown:
        assert output.output_type != "error"
        data = output.get("data", {})
        rich = {"image/png", "text/html"} & set(data)
        assert rich or not OBJECT.match(data.get("text/plain", "").strip())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_it_was_committed_by_the_command_that_executes_it(path):
    notebook = read(path)
    assert notebook.metadata == run().METADATA
    for output in outputs(notebook):
        assert output.get("name") != "stderr"
        if "image/png" in output.get("data", {}):
            assert Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).mode == "P"
    assert not any(cell.metadata for cell in notebook.cells)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < 1_500_000
