"""State diagrams are made from the transition tables, and those in the documentation are up to date.

In a Markdown file, a line ``<!-- machine: package.module.Class -->`` is followed by a fenced Mermaid block. To write the blocks anew::

    SIMTX_WRITE_DIAGRAMS=1 pytest tests/protocols/test_diagrams.py
"""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest

from simtx.protocols.contract import Effect, Machine, Transition
from simtx.protocols.diagrams import to_dot, to_mermaid

DOCS = Path(__file__).parents[2] / "docs"
MARK = re.compile(
    r"<!-- machine: (?P<module>[\w.]+)\.(?P<name>\w+) -->\n(?P<block>```mermaid\n.*?\n```(?![^\n]))?", re.DOTALL
)


class Lamp(Machine):
    """A lamp that burns out."""

    __slots__ = ()

    initial: ClassVar[str] = "off"
    transitions: ClassVar[tuple[Transition, ...]] = (
        Transition("off", "switch", "switch", ("on", "burnt-out"), 'light; or "bang"'),
        Transition("on", "switch", "switch", ("off",)),
        Transition("on", "touch", "switch", ("on", "off"), "hot: let go"),
    )

    def switch(self, _event: Any) -> list[Effect]:
        return []


def test_a_mermaid_diagram_shows_every_transition_of_the_table() -> None:
    """One arrow between two states; labels hold nothing that Mermaid takes for syntax; states without a way out are final."""
    assert to_mermaid(Lamp).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> off",
        '    state "burnt-out" as burnt_out',
        '    off --> on: switch / light, or "bang"',
        '    off --> burnt_out: switch / light, or "bang"',
        "    on --> off: switch<br/>touch / hot → let go",
        "    on --> on: touch / hot → let go",
        "    burnt_out --> [*]",
    ]


def test_a_dot_diagram_shows_every_transition_of_the_table() -> None:
    lines = to_dot(Lamp).splitlines()
    assert lines[0] == 'digraph "Lamp" {'
    assert lines[-1] == "}"
    assert '    start -> "off"' in lines
    assert '    "burnt-out" [peripheries=2]' in lines
    assert '    "off" -> "burnt-out" [label="switch / light; or \\"bang\\""]' in lines
    assert '    "on" -> "off" [label="switch\\ntouch / hot: let go"]' in lines


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_diagrams_in_the_documentation_are_fresh(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    def block(match: re.Match[str]) -> str:
        machine = getattr(importlib.import_module(match["module"]), match["name"])
        return f"<!-- machine: {match['module']}.{match['name']} -->\n```mermaid\n{to_mermaid(machine)}\n```"

    fresh = MARK.sub(block, text)
    if os.environ.get("SIMTX_WRITE_DIAGRAMS"):
        page.write_text(fresh, encoding="utf-8")
        return
    assert text == fresh, (
        f"stale diagram in {page.name}: SIMTX_WRITE_DIAGRAMS=1 pytest tests/protocols/test_diagrams.py"
    )


def test_two_phase_commit_is_drawn_in_the_documentation() -> None:
    """The test above would not notice a page that has lost its marks."""
    marks = MARK.findall((DOCS / "protocols" / "two-phase-commit.md").read_text(encoding="utf-8"))
    assert [name for _, name, _ in marks] == [
        "Coordinator",
        "Participant",
        "ExecutingCoordinator",
        "ExecutingParticipant",
        "PresumingCoordinator",
        "PresumedParticipant",
        "CooperativeParticipant",
        "LastResourceCoordinator",
        "LastResourceParticipant",
    ]
