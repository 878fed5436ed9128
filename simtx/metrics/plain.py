"""Figures as JSON can hold them: standard JSON has neither infinity nor "not a number"."""

from __future__ import annotations

import math
from typing import Any

INFINITY = "Infinity"
"""Text by which JSON says that something had not ended: the one that Protocol Buffers' JSON has for it, and that ``float`` in Python and ``Number`` in
JavaScript read back."""


def plain(value: Any) -> Any:
    """A value of dicts, lists, texts and numbers; what is infinite becomes the text ``Infinity`` or ``-Infinity``, what is no number null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        if math.isinf(value):
            return INFINITY if value > 0 else f"-{INFINITY}"
        return None if math.isnan(value) else float(value)
    if hasattr(value, "item"):
        return plain(value.item())
    return value
