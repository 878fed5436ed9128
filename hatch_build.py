"""Build hook: compiles the event loop into the wheel, if there is a C compiler; without one the wheel is pure Python and runs are interpreted.

An editable installation compiles nothing: the loop is compiled when it is first used, into the user's cache.
"""

from __future__ import annotations

import importlib.util
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EngineHook(BuildHookInterface):
    """Compiles ``simtx/engine/loop/loop.c``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say in one line if that is not possible."""
        if version == "editable":
            return
        place = Path(self.root) / "simtx" / "engine" / "library.py"
        found = importlib.util.spec_from_file_location("engine_library", place)
        if found is None or found.loader is None:
            return
        library = importlib.util.module_from_spec(found)
        found.loader.exec_module(library)
        self.folder = tempfile.TemporaryDirectory()
        target = Path(self.folder.name) / "_loop.so"
        try:
            library.compile_library(target)
        except library.Unavailable as reason:
            self.app.display_warning(f"simtx is built without its fast engine, and runs are interpreted: {reason}")
            return
        build_data["force_include"][str(target)] = "simtx/engine/_loop.so"
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"  # the library knows no Python: one wheel serves all versions
