"""The compiled loop under the sanitizers of addresses and of undefined behaviour, on random scenarios: `python tests/check.py heavy`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simtx.engine.library import compile_library

_PLAYS = """
import random, sys
sys.path.insert(0, {folder!r})
from worlds import differs, some_scenario, some_strategy, with_a_provider, with_impatient_clients
for seed in range({seeds}):
    pick = random.Random(90_000 + seed)
    scenario, strategy = some_scenario(pick, transactions=60), some_strategy(pick)
    if seed % 3 == 1:
        scenario = with_impatient_clients(pick, scenario)
    if seed % 3 == 2 and strategy.name != "2pc":  # no provider can prepare
        scenario = with_a_provider(pick, scenario)
    found = differs(scenario, strategy)
    assert found == "" or found.startswith("not compiled"), (seed, found)
"""


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc on Linux")
def test_random_scenarios_touch_no_memory_that_is_not_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc")
    options = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    library = compile_library(tmp_path / "loop.so", *options)
    runtimes = []
    for name in ("libasan.so", "libubsan.so"):
        found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        if not Path(found.stdout.strip()).is_absolute():
            pytest.skip(f"gcc has no {name}")
        runtimes.append(found.stdout.strip())
    environment = {
        **os.environ,
        "SIMTX_ENGINE_LIBRARY": str(library),
        "LD_PRELOAD": ":".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own, and memory that an engine gives back as a whole
    }
    script = _PLAYS.format(folder=str(Path(__file__).parent), seeds=60)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
