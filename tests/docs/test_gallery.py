"""The gallery is what its command would write, and shows every picture that it names."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_gallery", ROOT / "docs" / "make_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_gallery"] = module  # NamedTuple looks its module up
    spec.loader.exec_module(module)
    return module


def test_the_page_is_that_of_its_command(gallery: ModuleType) -> None:
    assert gallery.PAGE.read_text(encoding="utf-8") == gallery.page()


def test_every_picture_is_there(gallery: ModuleType) -> None:
    for entry in gallery.ENTRIES:
        path = gallery.IMAGES / f"gallery-{entry.name}.png"
        assert 5_000 < path.stat().st_size < 90_000, path.name
    assert {path.name for path in gallery.IMAGES.glob("gallery-*.png")} == {
        f"gallery-{one.name}.png" for one in gallery.ENTRIES
    }


def test_every_line_of_the_gallery_is_a_method_that_completion_finds(gallery: ModuleType) -> None:
    """`comparison.plot.differences` is a method of the pictures of a comparison, and so on."""
    from simtx.report.pictures import accessors

    owners = {
        "run": accessors.RunPlots,
        "comparison": accessors.ComparisonPlots,
        "quiet": accessors.ComparisonPlots,
        "rates": accessors.SweepPlots,
    }
    for entry in gallery.ENTRIES:
        owner, _, rest = entry.code.partition(".plot.")
        if rest and owner in owners:
            assert callable(getattr(owners[owner], rest.partition("(")[0])), entry.code
