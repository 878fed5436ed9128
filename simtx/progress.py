"""Progress bars with the time left: in a terminal and in a notebook, for what takes more than two seconds, and nowhere else.

Every command that may take long shares this. A bar inside another one stays silent, so that a comparison shows its runs and not the
transactions of each. Pipes, files and worker processes show nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from typing import TextIO

DELAY = 2.0
"""Seconds after which a bar appears that was not asked for."""
Phases: TypeAlias = Callable[[str, float], None]
"""Called with what is going on and the share that is done, 0 to 1."""

SHARE: Final = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
"""Layout of a bar that shows a share and times, and no counts."""
_inside: ContextVar[bool] = ContextVar("simtx_progress_inside", default=False)


class Bar:
    """A bar that appears when its delay is over; until then it costs a look at the clock.

    Args:
        total: What there is to do, in `unit`s; None: unknown, and then no time left is shown.
        unit: What is counted, as in ``run``.
        what: A word or two in front of the bar.
        delay: Seconds until it appears; None: never.
        layout: Format of the bar, in the form of tqdm; None: tqdm's own.
    """

    def __init__(
        self, total: float | None, unit: str, what: str = "", delay: float | None = 2.0, layout: str | None = None
    ) -> None:
        self.total = total
        self.done = 0.0
        self._options: dict[str, Any] = {"unit": f" {unit}", "bar_format": layout}
        self._what = what
        self._note = ""
        self._start = monotonic()
        self._appears = self._start + delay if delay is not None and _shown(sys.stderr) else float("inf")
        self._tqdm: Any = None

    def advance(self, amount: float = 1.0) -> None:
        """Count so much more as done."""
        self.to(self.done + amount)

    def to(self, done: float) -> None:
        """Count so much as done in all."""
        self.done = done
        if monotonic() >= self._appears:
            self._draw()

    def say(self, what: str | None = None, note: str | None = None) -> None:
        """Change the words in front of the bar, or the note behind it; they show with the next step."""
        self._what = self._what if what is None else what
        self._note = self._note if note is None else note

    def close(self) -> None:
        """Take the bar away."""
        if self._tqdm is not None:
            self._tqdm.close()
            self._tqdm = None
        self._appears = float("inf")

    def _draw(self) -> None:
        done = int(self.done) if self.done == int(self.done) else self.done
        if self._tqdm is None:
            from tqdm.auto import tqdm

            options = {"initial": done, "leave": False, "disable": False, **self._options}
            self._tqdm = tqdm(total=self.total, desc=self._what, **options)
            self._tqdm.initial = 0  # the time left goes by all that was done, and when it began
            self._tqdm.start_t -= monotonic() - self._start
        bar = self._tqdm
        if bar.desc.removesuffix(": ") != self._what:
            bar.set_description(self._what, refresh=False)
        if self._note:
            bar.set_postfix_str(self._note, refresh=False)
        bar.update(done - bar.n)


@contextmanager
def progress_bar(
    total: float | None, unit: str, *, what: str = "", wanted: bool | None = None, layout: str | None = None
) -> Iterator[Bar]:
    """A bar for the time of this block.

    Args:
        total: What there is to do; None: unknown.
        unit: What is counted.
        what: A word or two in front of the bar.
        wanted: None: shown when it takes more than two seconds; True: shown at once; False: not shown. It shows only in a terminal or
            a notebook, and not inside another bar.
        layout: Format of the bar, in the form of tqdm.
    """
    inside = _inside.get()
    delay = None if inside or wanted is False else 0.0 if wanted else DELAY
    bar = Bar(total, unit, what, delay, layout)
    token = _inside.set(True)
    try:
        yield bar
    finally:
        _inside.reset(token)
        bar.close()


@contextmanager
def phases(wanted: bool | Phases | None = None) -> Iterator[Phases]:
    """A function to call with what is going on and the share that is done.

    Args:
        wanted: As for `progress_bar`; or a function, which is called in place of showing a bar.
    """
    if callable(wanted):
        with silent():
            yield wanted
        return
    with progress_bar(1.0, "", wanted=wanted, layout=SHARE) as bar:

        def report(what: str, share: float) -> None:
            bar.say(what)
            bar.to(share)

        yield report


@contextmanager
def silent() -> Iterator[None]:
    """No bar appears inside this block: in a worker, or where another bar speaks for all."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def _shown(stream: TextIO | None) -> bool:
    """Return whether a bar has a reader: a terminal, or a notebook."""
    return in_notebook() or (stream is not None and stream.isatty())
