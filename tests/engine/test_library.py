"""Where the compiled loop comes from: what is damaged, or could be a stranger's, is never loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from simtx.engine import Unavailable, library


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An empty cache, and a compiler that hands out a library that was compiled before; what it has made."""
    if not library.compiler():
        pytest.skip("no C compiler")
    before = Path(library.load_library()._name)
    made: list[Path] = []

    def compile_library(target: Path) -> Path:
        made.append(target)
        return Path(shutil.copy(before, target))

    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setenv("SIMTX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SIMTX_ENGINE_LIBRARY", raising=False)
    monkeypatch.setattr(library, "SHIPPED", tmp_path / "none.so")
    monkeypatch.setattr(library, "compile_library", compile_library)
    return made


def test_a_library_is_compiled_once(compiled: list[Path], tmp_path: Path) -> None:
    library._searched()
    library._searched()
    assert len(compiled) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("size", [0, 5000])
def test_a_damaged_library_is_made_anew(compiled: list[Path], tmp_path: Path, size: int) -> None:
    library._searched()
    (place,) = (tmp_path / "cache").iterdir()
    whole = place.read_bytes()
    place.unlink()  # this process has it loaded, and must not see it change
    place.write_bytes(whole[:size])
    place.chmod(0o700)
    library._searched()
    assert len(compiled) == 2
    assert place.read_bytes() == whole


@pytest.mark.parametrize("what", ["folder", "file", "above"])
def test_what_others_can_write_to_is_not_loaded(compiled: list[Path], tmp_path: Path, what: str) -> None:
    library._searched()
    (place,) = (tmp_path / "cache").iterdir()
    {"folder": place.parent, "file": place, "above": tmp_path}[what].chmod(0o777)
    with pytest.raises(Unavailable, match=r"others than you can write to .*SIMTX_CACHE"):
        library._searched()
    assert len(compiled) == 1


def test_a_cache_that_cannot_be_written_to_says_what_would_help(
    compiled: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SIMTX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(Unavailable, match=r"could not be kept in .*SIMTX_CACHE"):
        library._searched()


def test_a_user_without_a_home_has_no_cache(compiled: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SIMTX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(Unavailable, match="home"):
        library._searched()
