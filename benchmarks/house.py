"""How easy the source is to live in: circles of modules, hands that parse the event log, ignored types, files that an extension takes; and what a change costs a run.

The files of each kind of extension are those of the edits in `docs/extending.md`, which tests make. With ``--against`` a simulation is timed in this tree and in another one by turns,
in CPU time, so that a change of the inside can be seen not to slow it down.

    python benchmarks/house.py
    python benchmarks/house.py --against ../other-checkout --pairs 8
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARSING = re.compile(
    r"\bdetail\.(?:split|partition|rpartition|startswith|removeprefix)\b|json\.loads\(\w+\.detail\)|_parse\(\w+\.detail\)"
)
RUN = """
import gc, time, simtx
scenario = simtx.load("checkout").replace(**{{"run.transactions": 4000, "run.warmup": "1s"}})
for strategy in {strategies!r}:
    simtx.simulate(scenario.replace(**{{"run.transactions": 400, "run.warmup": "0s"}}), strategy, seed=1)
    gc.collect()  # what the run before has left is not on this one's account
    start = time.process_time()
    simtx.simulate(scenario, strategy, seed=2)
    print(time.process_time() - start)
"""
STRATEGIES = ("2pc", "saga", "outbox")


def circles() -> list[list[str]]:
    """Circles of modules, imports for type checkers included, but for the one arrow that `tests/test_circles.py` names."""
    sys.path.insert(0, str(ROOT))
    from tests.test_circles import circles as found

    return [sorted(one) for one in found()]


def files_of_tasks() -> dict[str, int]:
    """For each extension whose edits `docs/extending.md` shows, how many files they change; tests make them."""
    sys.path.insert(0, str(ROOT))
    from tests.docs.edits import files, sections

    found = sections(ROOT / "docs" / "extending.md")
    return {one.title: len({name for edit in one.edits for name in files(edit)}) for one in found}


def seconds(tree: Path) -> dict[str, float]:
    """CPU seconds of a short simulation of each strategy in a source tree."""
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", RUN.format(strategies=STRATEGIES)],
        env={**os.environ, "PYTHONPATH": str(tree), "SIMTX_ENGINE": "interpreted"},
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(STRATEGIES, map(float, done.stdout.split()), strict=True))


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another source tree; simulations are timed in both, by turns")
    parser.add_argument("--pairs", type=int, default=6)
    arguments = parser.parse_args()
    modules = sorted((ROOT / "simtx").rglob("*.py"))
    texts = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in modules}
    lines = {name: text.count("\n") for name, text in texts.items()}
    print(
        f"modules: {len(lines)}, {sum(lines.values()):,} lines; the longest: {max(lines, key=lambda name: lines[name])}"
    )
    print(f"circles of modules: {len(circles())}")
    hands = [name for name, text in texts.items() if PARSING.search(text)]
    print(f"modules that parse the text of the event log: {len(hands)} ({', '.join(hands)})")
    print(f"ignored types: {sum(text.count('type: ignore') for text in texts.values())}")
    print("files that change for an extension, beside new ones:")
    for title, count in files_of_tasks().items():
        print(f"  {count:2} {title}")
    if arguments.against is not None:
        here, there = ROOT, arguments.against.resolve()
        took: dict[Path, list[dict[str, float]]] = {here: [], there: []}
        for number in range(arguments.pairs):
            for tree in (here, there) if number % 2 == 0 else (there, here):
                took[tree].append(seconds(tree))
        print(f"CPU time of a simulation here, as a share of the other tree's ({arguments.pairs} pairs):")
        for strategy in STRATEGIES:
            ratios = [one[strategy] / other[strategy] for one, other in zip(took[here], took[there], strict=True)]
            least = min(one[strategy] for one in took[here]) / min(one[strategy] for one in took[there])
            print(
                f"  {strategy}: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
                f"least of each {least:.2f}"
            )


if __name__ == "__main__":
    main()
