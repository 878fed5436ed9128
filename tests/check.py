"""All checks, the same by hand and in CI: format, lint, types, layers, tests.

Usage: python tests/check.py [names]; without names, all but the heavy tests run, and each failure is reported at the end. ``heavy`` runs the tests
that are too long for every change: real runs of which others have shown the like in small.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent

PYTEST = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "--durations", "15"]

CHECKS: dict[str, list[str]] = {
    "format": [str(SCRIPTS / "ruff"), "format", "--check", "."],
    "lint": [str(SCRIPTS / "ruff"), "check", "."],
    "types": [str(SCRIPTS / "mypy"), "simtx"],
    "layers": [str(SCRIPTS / "lint-imports")],
    "tests": [*PYTEST, "-m", "not heavy"],
    "heavy": [*PYTEST, "-m", "heavy"],
}
USUAL = [name for name in CHECKS if name != "heavy"]


def main(names: list[str]) -> int:
    """Run the checks; the exit code is 1 if one failed, 2 if a name is wrong."""
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"no check is called {', '.join(unknown)}; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    failed = []
    for name in names or USUAL:
        start = time.perf_counter()
        print(f"== {name}: {' '.join(Path(part).name if '/' in part else part for part in CHECKS[name])}", flush=True)
        code = subprocess.run(CHECKS[name], cwd=ROOT, check=False).returncode
        print(
            f"== {name}: {'ok' if code == 0 else f'FAILED ({code})'} in {time.perf_counter() - start:.0f} s", flush=True
        )
        if code:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
