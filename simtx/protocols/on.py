"""Rows of transition tables by the sort of their event: ``on.timer("running", "poll", "poll", ("running",), "read")``.

A row that names no sort takes whatever has this kind: a message whose kind is the name of a timer would fire it.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from simtx.protocols.contract import Transition

message: Final = partial(Transition, of="message")
"""A peer has sent it."""
request: Final = partial(Transition, of="request")
"""A client asks, or an operator."""
delivery: Final = partial(Transition, of="delivery")
"""The broker brings it."""
timer: Final = partial(Transition, of="timer")
"""A timer has fired."""
done: Final = partial(Transition, of="done")
"""A store operation, a publication or a request to the vote store has ended."""
