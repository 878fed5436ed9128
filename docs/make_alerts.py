"""Write the table of alerts under every failure story: `python docs/make_alerts.py`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import simtx

PAGE = Path(__file__).resolve().parent / "alerts.md"
MARKS = "<!-- stories -->", "<!-- end -->"


def rows() -> list[str]:
    """One row for each case of each story: what failed, when it was noticed and by which rule, and what fired for nothing."""
    lines = [
        "| story | case | what fails | noticed after | first by | also | false alarms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, story in simtx.stories().items():
        for label, run in story.run(1).runs.items():
            found = simtx.watch(run)
            false = ", ".join(dict.fromkeys(one.rule.name for one in found.false)) or "-"
            link = f"[{name}](stories.md)"
            cause = "a rolling upgrade" if run.scenario.upgrades else "poison" if run.scenario.broker.poisoned else ""
            if (
                not found.struck and cause
            ):  # no fault that has a beginning and an end: what fires is not false, and not timed
                lines.append(f"| {link} | {label} | {cause} | not timed | - | {false} | - |")
                continue
            if not found.struck:
                lines.append(f"| {link} | {label} | nothing | - | - | - | {false} |")
                continue
            seen = [one for one in found.noticed if one.rules]
            first = seen[0] if seen else None
            what = found.struck[0].name + (f", {len(found.struck)} times" if len(found.struck) > 1 else "")
            after = "never" if first is None else f"{first.fault.begin + first.after - found.struck[0].begin:.3g} s"
            also = list(
                dict.fromkeys(rule for one in seen for rule in one.rules if first is None or rule != first.rules[0])
            )
            lines.append(
                f"| {link} | {label} | {what} | {after} | {first.rules[0] if first else '-'} | {', '.join(also) or '-'} | {false} |"
            )
    return lines


def main() -> int:
    """Replace what stands between the marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, after = MARKS
    table = "\n".join([before, *rows(), after])
    written = re.sub(f"{re.escape(before)}.*?{re.escape(after)}", lambda _: table, page, flags=re.DOTALL)
    PAGE.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
