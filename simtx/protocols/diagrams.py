"""State diagrams of machines, made from their transition tables, so that a picture in the documentation cannot differ from the code."""

from __future__ import annotations

from simtx.protocols.contract import Machine


def to_mermaid(machine: type[Machine]) -> str:
    """The state diagram of a machine as Mermaid text (``stateDiagram-v2``), without a final newline.

    Args:
        machine: A machine class; its `transitions` are drawn. Transitions between the same two states share an arrow.
    """
    names = _states(machine)
    lines = ["stateDiagram-v2", f"    [*] --> {_identifier(machine.initial)}"]
    lines += [f'    state "{name}" as {_identifier(name)}' for name in names if _identifier(name) != name]
    for (source, target), labels in _arrows(machine).items():
        # A colon or a semicolon would end the label.
        text = "<br/>".join(labels).replace(";", ",").replace(": ", " → ")
        lines.append(f"    {_identifier(source)} --> {_identifier(target)}: {text}")
    lines += [f"    {_identifier(name)} --> [*]" for name in _final(machine)]
    return "\n".join(lines)


def to_dot(machine: type[Machine]) -> str:
    """The state diagram of a machine in Graphviz's DOT language, without a final newline.

    Args:
        machine: A machine class; its `transitions` are drawn. Transitions between the same two states share an arrow.
    """
    final = _final(machine)
    lines = [
        f'digraph "{machine.__name__}" {{',
        "    rankdir=LR",
        "    node [shape=box, style=rounded]",
        "    start [shape=point]",
    ]
    lines += [f'    "{name}"{" [peripheries=2]" if name in final else ""}' for name in _states(machine)]
    lines.append(f'    start -> "{machine.initial}"')
    for (source, target), labels in _arrows(machine).items():
        text = "\\n".join(labels).replace('"', '\\"')
        lines.append(f'    "{source}" -> "{target}" [label="{text}"]')
    lines.append("}")
    return "\n".join(lines)


def _states(machine: type[Machine]) -> tuple[str, ...]:
    """All states, the initial one first, then in the order of the table."""
    names = {machine.initial: None}
    for row in machine.transitions:
        names[row.state] = None
        names.update(dict.fromkeys(row.to))
    return tuple(names)


def _final(machine: type[Machine]) -> tuple[str, ...]:
    """States without a way out."""
    left = {row.state for row in machine.transitions}
    return tuple(name for name in _states(machine) if name not in left)


def _arrows(machine: type[Machine]) -> dict[tuple[str, str], list[str]]:
    """Labels of the arrow between each two states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in machine.transitions:
        for target in row.to:
            arrows.setdefault((row.state, target), []).append(f"{row.event} / {row.note}" if row.note else row.event)
    return arrows


def _identifier(name: str) -> str:
    """A state's name as Mermaid accepts it in arrows."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)
