"""What the README shows is what happens: its Python runs and prints what stands below it, its commands work, its images are there."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import pytest
import typer
from typer.core import TyperGroup

import simtx
from simtx.cli import main
from simtx.cli.app import app
from tests.docs.pages import PAGES, ROOT, blocks, commands, links, name

README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference.md"
SCRIPTS = Path(sys.executable).parent
COMMANDS = sorted({command for page in PAGES for command in commands(page)})

# What a command line of the documentation becomes here: shorter runs, in an empty folder. Everything else is run as it stands.
SHORTER = {
    "simulate": ["--set", "run.transactions=200", "--set", "run.warmup=0.5s"],
    "compare": ["--replications", "2", "--set", "run.transactions=100", "--set", "run.warmup=0s", "--workers", "1"],
    "sweep": [
        *("--set", "run.duration=0.5s", "--set", "run.warmup=0.1s", "--replications", "1", "--store", "results"),
        *("--workers", "1"),
    ],
    "frontier": [
        *("--set", "run.duration=0.5s", "--set", "run.warmup=0.1s", "--replications", "1", "--store", "results"),
        *("--budget", "80", "--undecided", "99%", "--workers", "1"),
    ],
    "sensitivity": [
        *("--set", "run.transactions=40", "--set", "run.warmup=0s", "--replications", "2", "--store", "results"),
        *("--workers", "1"),
    ],
    "saturation": ["--transactions", "100", "--replications", "2", "--most-users", "4"],
    "verify": ["--crashes", "0"],
    "execute": ["--set", "run.transactions=20", "--set", "run.warmup=0s"],
    "crash-matrix": ["--places", "2"],
    "soak": ["--minutes", "0.05"],
    "calibrate": ["--transactions", "100"],
    "validate": [
        *("--transactions", "50", "--replications", "2", "--patience", "0"),
        *("--load", "0.5", "--no-failure", "--no-saturation"),
    ],
}
DRAWN = ["--random", "1", "--transactions", "50", "--replications", "2", "--patience", "0"]  # the last --random counts
# Behind these stands what a command writes.
WRITTEN = ("--out", "--save", "--keep")
# Left out, so that the shorter run is short.
WHOLE = ("--complete",)
# These take longer all the same; of those that kill processes, one line is short enough.
HEAVY = ("calibrate", "validate", "crash-matrix", "soak")
SHORT_ENOUGH = ("simtx crash-matrix saga", "simtx soak 2pc --minutes 2")
# These set up an environment or run this very test suite, or are run by a test of their own.
ELSEWHERE = ("python3 -m venv", "pip install", "tests/check.py", "-m pytest", "git clone", "cd ", ".ci/run")
SCRIPT = re.compile(r"^(?:\.venv/bin/)?python (?P<file>[\w/.-]+\.py)\b")
MODULE = re.compile(r"^(?:\.venv/bin/)?python -m (?P<module>[\w.]+) (?P<page>\S+)$")


def run_python(code):
    """What the code prints, with names of its own."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<a page>", "exec"), {"__name__": "__main__"})  # noqa: S102 - it is ours
    plt.close("all")
    return printed.getvalue()


def test_the_first_python_block_prints_what_stands_below_it():
    """Otherwise: python docs/make_pictures.py readme."""
    code, output = next((c, o) for c, o in pairwise(blocks(README)) if c.language == "python")
    assert output.language == "text"
    printed, shown = (
        re.sub(r"(scenario|code) [0-9a-f]{8}\b", r"\1 *", text) for text in (run_python(code.text), output.text)
    )
    assert printed.rstrip() == shown.rstrip()  # but for the fingerprints: they are those of the code that made it
    assert len([line for line in code.text.splitlines() if line.strip()]) <= 10


@pytest.mark.slow
def test_the_other_python_blocks_run():
    """One after the other, after the import that the first one shows: a later one goes on with what an earlier one has made."""
    _, *others = [block.text for block in blocks(README) if block.language == "python"]
    assert len(others) == 2
    printed = run_python("\n".join(["import simtx", *others]))
    assert "coordinator  *** crash ***" in printed
    assert printed.rstrip().endswith("as it must be")


@pytest.mark.slow
@pytest.mark.parametrize("code", [block.text for block in blocks(REFERENCE) if block.language == "python"])
@pytest.mark.sample(2)
def test_python_on_the_page_about_real_runs_runs(code):
    """Each block by itself; nothing is lost in what it executes, and all that is said of it is how short it is."""
    printed = run_python(f"{code}\nprint(run.summary['residual_divergence'], {{one.law for one in run.findings}})")
    divergence, _, laws = printed.partition(" ")
    assert divergence == "0.0"
    assert laws.strip() in (
        "{'quantile'}",
        "{'quantile', 'little'}",
        "{'little', 'quantile'}",
    )  # Little's: on a busy machine


def test_the_block_of_the_tests_is_found_by_continuous_integration():
    """`.ci/run` takes it out of the README by these marks."""
    text = README.read_text(encoding="utf-8")
    marked = text[text.index("<!-- tests -->") : text.index("<!-- end -->")]
    (block,) = re.findall(r"^```\w*\n(.*?)^```", marked, re.MULTILINE | re.DOTALL)
    assert block.splitlines() == [
        "python3 -m venv .venv",
        ".venv/bin/pip install --no-compile -e '.[lab,reference,dev]'",
        ".venv/bin/python tests/check.py",
    ]


def test_the_picture_of_the_first_screen_is_a_picture():
    pictures = [target for target in links(README) if target.endswith(".png")]
    assert pictures
    head = (ROOT / pictures[0]).read_bytes()[:24]
    width, height = struct.unpack(">II", head[16:24])
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert width > 600
    assert height > 300


def test_the_commands_of_the_documentation_were_found():
    assert any(command.endswith("simtx compare checkout") for command in COMMANDS)


def lines_of_simtx():
    """Command lines that start simtx, each once; for every change those of the README are run, and one of each command that is on other pages only."""
    first = {command.removeprefix(".venv/bin/") for command in commands(README)}
    every = {command.removeprefix(".venv/bin/") for command in COMMANDS}
    seen = set()
    for command in sorted(every, key=lambda command: (command not in first, command)):
        if "simtx " in command and not any(e in command for e in ELSEWHERE):
            name = shlex.split(command)[1]
            often = (command in first or name not in seen) and (name not in HEAVY or command in SHORT_ENOUGH)
            seen.add(name)
            yield pytest.param(command, marks=[pytest.mark.slow, *([] if often else [pytest.mark.heavy])])


def with_files_of(root, words):
    """The words with the paths of the files of the project that they read.

    A file that a command writes is in the folder of the test, also where somebody has played the command in the project, and it has left a file there.
    """
    return [
        str(root / word) if before not in WRITTEN and (root / word).is_file() else word
        for before, word in pairwise(["", *words])
    ]


def test_a_command_writes_no_file_of_the_project(tmp_path: Path) -> None:
    for file in ("review.html", "costs.toml"):
        (tmp_path / file).touch()
    report = ["report", "runs", "--out", "review.html"]
    assert with_files_of(tmp_path, report) == report
    assert with_files_of(tmp_path, ["sweep", "costs.toml"]) == ["sweep", str(tmp_path / "costs.toml")]


def saved_for_a_report(folder):
    """What the line before that of a report has saved in its folder."""
    scenario = simtx.load("transfer").replace(**{"run.transactions": 40, "run.warmup": 0})
    simtx.compare(scenario, ["2pc", "saga"], replications=2, workers=1, progress=False).save(folder)


@pytest.mark.parametrize("command", list(lines_of_simtx()))
def test_a_command_line_of_simtx_works(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It ends with exit code 0, prints something and leaves no traceback.

    A validation may also say that it has missed a target, and a check of a history that something is wrong with it.
    """
    words = shlex.split(command)
    assert words[0] == "simtx"
    if words[1] == "report":
        saved_for_a_report(tmp_path / words[2])
    as_it_stands = "--help" in words or (words[1] == "simulate" and "--set" in words)
    shorter = DRAWN if "--random" in words else SHORTER.get(words[1], [])
    words = [*(w for w in words[1:] if w not in WHOLE), *(shorter if not as_it_stands else [])]
    words = with_files_of(ROOT, words)
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words)
    finally:
        plt.close("all")
    shown = capfd.readouterr()
    fine = (0, 1) if words[0] in ("validate", "check-history") else (0,)
    assert code in fine, shown.err
    assert shown.out.strip()
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("command", [line.values[0] for line in lines_of_simtx()])
def test_the_options_of_every_command_line_are_there(command: str) -> None:
    """Also of those that take too long to be run for every change, as they stand."""
    name, *words = shlex.split(str(command))[1:]
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    chosen = group.commands[name]
    assert "--help" in words or chosen.make_context(name, words).params


def test_the_table_of_commands_names_every_command() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    _, _, table = README.read_text(encoding="utf-8").partition("## All commands")
    assert [command for command in group.commands if f"`simtx {command}`" not in table] == []


def test_the_program_is_installed() -> None:
    done = subprocess.run([str(SCRIPTS / "simtx"), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("simtx ")


@pytest.mark.parametrize("command", [c for c in COMMANDS if "simtx " not in c and not any(e in c for e in ELSEWHERE)])
def test_every_other_command_names_what_exists(command):
    script, module = SCRIPT.match(command), MODULE.match(command)
    assert script or module, f"no test knows what to do with: {command}"
    if script:
        assert (ROOT / script["file"]).is_file()
    if module:
        assert (ROOT / (module["module"].replace(".", "/") + ".py")).is_file()
        assert (ROOT / module["page"]).is_file()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_speak_of_this_project_alone(page):
    """No paths of somebody's machine, no tabs, no trailing blanks, no headings that skip a level."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(work|tmp|home|root)/", text)
    assert "\t" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    levels = [len(found) for found in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
