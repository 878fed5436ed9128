"""How many examples a test looks at: few for every change, many before a release."""

from __future__ import annotations

import os
from typing import Final

HEAVY: Final = os.environ.get("SIMTX_TESTS") == "heavy"
"""Whether the long tests are run: `python tests/check.py heavy` says so."""


def many(for_every_change: int, before_a_release: int) -> int:
    """The number of examples of a law; its test has the marker ``more``, by which the heavy run finds it again."""
    return before_a_release if HEAVY else for_every_change
