"""All checks, the same by hand and in CI: format, lint, types, layers, tests.

Usage: python tests/check.py [names]; without names, all but the heavy tests run, and each failure is reported at the end. Types and layers are checked
beside the others. ``heavy`` runs the tests that are too long for every change, of which others have shown the like in small; ``lowest`` tries the oldest
versions of the dependencies that `pyproject.toml` allows. Before a release both are run.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent

# One worker more than two cores have: tests of real runs wait for most of their time.
PYTEST = [sys.executable, "-m", "pytest", "-q", "-n", "3", "--dist", "worksteal", "--durations", "15"]

CHECKS: dict[str, list[str]] = {
    "format": [str(SCRIPTS / "ruff"), "format", "--check", "."],
    "lint": [str(SCRIPTS / "ruff"), "check", "."],
    "types": [str(SCRIPTS / "mypy"), "simtx"],
    "layers": [str(SCRIPTS / "lint-imports")],
    "tests": [*PYTEST, "-m", "not heavy"],
    "heavy": [*PYTEST, "-m", "heavy or more"],
    "lowest": [sys.executable, "tests/lowest.py"],
}
BESIDE = ("types", "layers")
USUAL = [name for name in CHECKS if name not in ("heavy", "lowest")]


def main(names: list[str]) -> int:
    """Run the checks; the exit code is 1 if one failed, 2 if a name is wrong."""
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"no check is called {', '.join(unknown)}; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    chosen = names or USUAL
    failed = []
    beside = {name: Beside(name) for name in chosen if name in BESIDE} if len(chosen) > 1 else {}
    compileall.compile_dir(ROOT / "simtx", quiet=2)
    if {"tests", "heavy"} & set(chosen):
        collect()
    for name in sorted(chosen, key=beside.__contains__):  # those that run beside the others are waited for in the end
        start = time.perf_counter()
        command = CHECKS[name]
        print(f"== {name}: {' '.join(Path(part).name if '/' in part else part for part in command)}", flush=True)
        code = (
            beside[name].wait()
            if name in beside
            else subprocess.run(command, cwd=ROOT, env=environment(name), check=False).returncode
        )
        said = "beside the others" if name in beside else f"in {time.perf_counter() - start:.0f} s"
        print(f"== {name}: {'ok' if code == 0 else f'FAILED ({code})'} {said}", flush=True)
        if code:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed", flush=True)
    return 1 if failed else 0


def collect() -> None:
    """Collect the tests of a fresh checkout once: each worker process would else compile what they import, and rewrite their assertions, by itself."""
    if not (ROOT / "tests" / "__pycache__").exists():
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q"]
        subprocess.run(command, cwd=ROOT, env=environment("tests"), stdout=subprocess.DEVNULL, check=False)


def environment(name: str) -> dict[str, str]:
    """The environment of a check: hundreds of processes import simtx, and find its bytecode, also where Python is told to write none."""
    ours = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "SIMTX_TESTS")}
    return ours | ({"SIMTX_TESTS": "heavy"} if name == "heavy" else {})


class Beside:
    """A check that runs on one core while others go on; what it prints is shown when it is waited for."""

    def __init__(self, name: str) -> None:
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it was shown
        self._process = subprocess.Popen(
            CHECKS[name], cwd=ROOT, env=environment(name), stdout=self._printed, stderr=subprocess.STDOUT
        )

    def wait(self) -> int:
        """Its exit code, once it has ended and its text is on standard output."""
        code = self._process.wait()
        self._printed.seek(0)
        print(self._printed.read().decode(errors="replace"), end="", flush=True)
        self._printed.close()
        return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
