"""Notebooks run from top to bottom in a fresh kernel, and what is committed shows tables and pictures."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from PIL import Image

from simtx.report.style import LOOKS
from tests.docs.pages import NOTEBOOKS, ROOT, name

_SPEC = importlib.util.spec_from_file_location("run_notebooks", ROOT / "notebooks" / "run.py")
assert _SPEC is not None
assert _SPEC.loader is not None
run = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(run)

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
    return decoded(run.smaller(base64.b64encode(written.getvalue()).decode()))


def to_rgb(colour):
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def test_notebooks_are_numbered_in_the_order_of_reading():
    assert len(NOTEBOOKS) >= 3
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, len(NOTEBOOKS) + 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.heavy] if path.name.startswith("04") else []) for path in NOTEBOOKS],
    ids=name,
)
def test_it_executes_and_its_committed_outputs_are_of_the_same_kinds(path, tmp_path):
    """Numbers may change with the version of NumPy; tables and pictures stay. Otherwise: python notebooks/run.py."""
    copy = shutil.copy(path, tmp_path)
    subprocess.run([sys.executable, ROOT / "notebooks" / "run.py", copy], check=True)
    assert kinds(nbformat.read(copy, as_version=4)) == kinds(nbformat.read(path, as_version=4))


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
    assert [shown.getpixel((number * 4, 0)) for number in range(4)] == colours


def test_the_pictures_of_the_first_notebook_have_the_colours_of_the_strategies():
    pictures = [
        decoded(output.data["image/png"])
        for output in outputs(nbformat.read(NOTEBOOKS[0], as_version=4))
        if "image/png" in output.get("data", {})
    ]
    for picture in (pictures[0], pictures[-1]):
        shown = {colour for _, colour in picture.getcolors(4096)}
        assert {to_rgb(look.colour) for look in LOOKS.values()} <= shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_what_is_committed_shows_no_angle_brackets(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
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
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata == run.METADATA
    for output in outputs(notebook):
        assert output.get("name") != "stderr"
        if "image/png" in output.get("data", {}):
            assert Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).mode == "P"
    assert not any(cell.metadata for cell in notebook.cells)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < 1_500_000
