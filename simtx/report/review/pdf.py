"""A page as PDF on A4, printed by a Chromium that is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from simtx.errors import ScenarioError

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_PATIENCE: Final = 120.0  # seconds
_QUIET: Final = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-pdf-header-footer",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def browser() -> str:
    """The program that prints.

    Raises:
        ScenarioError: None is installed.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise ScenarioError(
            "needs Chromium, and none was found on the PATH; install it (Debian: apt install chromium), or open the page and print it",
            "pdf",
        )
    return found


def printed(page: Path) -> Path:
    """Print a page; returns the PDF beside it.

    Raises:
        ScenarioError: There is no Chromium, or it does not print.
    """
    program, target = browser(), page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory(prefix="simtx-print-") as profile:
        new = Path(profile) / "page.pdf"
        line = [
            program,
            *_QUIET,
            f"--user-data-dir={profile}/profile",
            f"--print-to-pdf={new}",
            page.resolve().as_uri(),
        ]
        # a sandbox needs rights that containers, and root, do not have; what is opened is a file of ours that runs no script
        said = ""
        for options in ((), ("--no-sandbox",)):
            try:
                command = [line[0], *options, *line[1:]]
                done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)  # noqa: S603
            except (OSError, subprocess.TimeoutExpired) as error:
                said = str(error).splitlines()[0]
                continue
            if new.is_file() and new.stat().st_size:
                shutil.copyfile(new, target)
                return target
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            said = lines[-1] if lines else f"it ended with {done.returncode}"
    raise ScenarioError(f"{program} did not print the page: {said}", "pdf")
