"""Finished probes of a search for a saturation, one line of a file each, so that a search that was interrupted goes on."""

from __future__ import annotations

import json
from pathlib import Path

from simtx.errors import ScenarioError
from simtx.files import LARGEST_SCENARIO, Unreadable, read_text


class Probes:
    """Throughputs that are known already.

    A line is written when its probe is finished. One that was cut off by the end of a process is taken away; lines of other searches stay.

    Args:
        path: The file; made with the first probe. None: nothing is kept.

    Raises:
        ScenarioError: It cannot be read, or is no such file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, tuple[float, ...]] = {}
        self._cut = ""
        if path is None:
            return
        try:
            text = read_text(path, LARGEST_SCENARIO)
        except FileNotFoundError:
            return
        except Unreadable as error:
            raise ScenarioError(f"cannot be read: {error}", str(path)) from None
        whole, _, self._cut = text.rpartition("\n")
        for line in whole.splitlines():
            if not line:
                continue
            try:
                probe = json.loads(line)
                self._known[probe["key"]] = tuple(float(one) for one in probe["throughput"])
            except (ValueError, TypeError, KeyError):
                raise ScenarioError("is no file of a saturation's probes; choose another name", str(path)) from None

    def known(self, key: str) -> tuple[float, ...] | None:
        """The throughput of a probe in each replication; None: it has not been finished."""
        return self._known.get(key)

    def keep(self, key: str, throughput: tuple[float, ...]) -> None:
        """A probe is finished.

        Raises:
            ScenarioError: The file cannot be written.
        """
        self._known[key] = throughput
        if self.path is None:
            return
        line = json.dumps({"key": key, "throughput": throughput}) + "\n"
        try:
            if self._cut:  # a process ended in the middle of this line
                content = self.path.read_text(encoding="utf-8")
                self.path.write_text(content[: len(content) - len(self._cut)], encoding="utf-8")
                self._cut = ""
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise ScenarioError(f"cannot be written: {error.strerror or error}", str(self.path)) from None
