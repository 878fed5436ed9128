"""The oldest versions that `pyproject.toml` allows, tried: every direct dependency at its lower bound, in an environment of its own.

    python tests/lowest.py [--folder build/lowest]

`uv` (an extra of the developers) resolves and installs them; then every module is imported, and commands that use each dependency are run. A bound that
is too low shows as an error of an import or of a command; the exit code is 1 then. It needs a package index, and takes some minutes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("reference", "cluster", "sensitivity", "histories", "lab")
IMPORTS = """
import importlib, pkgutil, simtx
for module in pkgutil.walk_packages(simtx.__path__, "simtx."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
PICTURES = """
import matplotlib
matplotlib.use("agg")
import simtx
scenario = simtx.load("transfer").replace(**{"run.transactions": 60, "run.warmup": 0})
comparison = simtx.compare(scenario, replications=2, workers=1, progress=False)
for name in dir(comparison.plot):
    if not name.startswith("_") and name in ("overview", "over_time", "latency"):
        getattr(comparison.plot, name)()
simtx.simulate(scenario, "saga").save("one")
assert len(simtx.read("one").transactions) == 60
"""
SMALL = ("--set", "run.transactions=60", "--set", "run.warmup=0")
COMMANDS = (
    ("-W", "error::DeprecationWarning:simtx", "-c", IMPORTS),
    ("-c", PICTURES),
    ("-m", "simtx", "compare", "transfer", *SMALL, "--replications", "3", "--save", "compared", "--out", "pictures"),
    ("-m", "simtx", "report", "compared", "--out", "review.html"),
    ("-m", "simtx", "verify", "2pc"),
    ("-m", "simtx", "execute", "transfer-lab", "outbox"),
    ("-m", "simtx", "execute", "transfer-lab", "outbox", "--store", "postgres", "--broker", "nats"),
)


def main() -> int:
    """Resolve, install, try; 0 if all works."""
    options = argparse.ArgumentParser()
    options.add_argument("--folder", type=Path, default=ROOT / "build" / "lowest")
    folder = options.parse_args().folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    uv = [sys.executable, "-m", "uv"]
    pins, environment = folder / "requirements.txt", folder / "venv"
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    python = environment / "bin" / "python"
    steps = [
        [*uv, "pip", "compile", "-q", "pyproject.toml", *extras, "--resolution", "lowest-direct", "-o", str(pins)],
        [*uv, "venv", "-q", "--clear", "--python", sys.executable, str(environment)],
        [*uv, "pip", "install", "-q", "--python", str(python), "-r", str(pins)],
        [*uv, "pip", "install", "-q", "--python", str(python), "--no-deps", "-e", str(ROOT)],
    ]
    for step in steps:
        subprocess.run(step, cwd=ROOT, check=True)
    failed = 0
    for command in COMMANDS:
        start = time.monotonic()
        done = subprocess.run(
            [python, *command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )
        words = " ".join(word if "\n" not in word else "..." for word in command)
        print(
            f"{'ok' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - start:.0f} s: python {words}",
            flush=True,
        )
        if done.returncode:
            failed += 1
            print("\n".join((done.stdout + done.stderr).strip().splitlines()[-12:]), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
