"""The command line as a user meets it: exit codes, one-line errors, files, JSON; in a process of its own where that matters."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import simtx
from simtx.cli import main
from tests.children import command

FAST = ("--set", "run.transactions=150", "--set", "run.warmup=0.1s")


def run(*arguments: str, cwd: Path | None = None, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run `simtx` with these arguments; `code` is Python that is run before, in a process of their own."""
    if not code:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(cwd or Path.cwd()), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            done = main(list(arguments))
        return subprocess.CompletedProcess(arguments, done, out.getvalue(), err.getvalue())
    program = f"{code}\nimport sys\nfrom simtx.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def forked(*arguments: str, cwd: Path, code: str) -> subprocess.CompletedProcess[str]:
    """The same, for code that needs no fresh interpreter."""
    return command(arguments, cwd, code)


def installed(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as ``python -m simtx``."""
    return subprocess.run([sys.executable, "-m", "simtx", *arguments], capture_output=True, text=True, check=False)


def beside_size(stderr: str) -> str:
    """What stands on standard error, but for the warnings that say how small these runs are."""
    small = ("few observations", "few replications", "no steady state", "initial bias")
    return "".join(line for line in stderr.splitlines(keepends=True) if not any(words in line for words in small))


# --- fine ---------------------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    result = run(
        "--help", code="import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr))"
    )
    assert result.returncode == 0
    for name in ("scenarios", "strategies", "simulate", "compare"):
        assert f"\n  {name} " in result.stdout
    for heavy in ("numpy", "pandas", "matplotlib", "scipy", "pydantic", "simpy", "loky"):
        assert f"'{heavy}'" not in result.stderr


@pytest.mark.parametrize("command", ["scenarios", "simulate", "compare"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: simtx {command} ")


@pytest.mark.parametrize("group", [[], ["transactions"]])
def test_lists_of_commands_show_whole_sentences(
    group: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each on one line of a usual terminal; in a narrow one they take more lines, and none is cut."""
    for columns in (80, 40):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main([*group, "--help"]) == 0
        lines = capsys.readouterr().out.partition("Commands:\n")[2].rstrip().splitlines()
        commands = [line for line in lines if not line.startswith("   ")]
        assert len(commands) == (4 if group else 23)
        assert [line for line in lines if line not in commands and columns == 80] == []
        ends = [line for line, after in zip(lines, [*lines[1:], "  x"], strict=True) if not after.startswith("   ")]
        assert [line for line in ends if not line.endswith(".") or line.endswith("..")] == []


def test_version() -> None:
    result = installed("--version")
    assert (result.returncode, result.stdout) == (0, f"simtx {simtx.__version__}\n")


def test_scenarios_lists_every_one_with_its_steps() -> None:
    from simtx.scenario import names

    result = installed("scenarios")
    assert result.returncode == 0
    listed = [line.split()[0] for line in result.stdout.splitlines() if line and not line.startswith(" ")]
    assert listed == names()
    listed_as_json = json.loads(installed("scenarios", "--json").stdout)
    assert [one["name"] for one in listed_as_json] == names()
    assert listed_as_json[0]["services"] == list(simtx.load(names()[0]).services)


def test_strategies_lists_every_one_with_what_its_answer_promises(capsys: pytest.CaptureFixture[str]) -> None:
    known = simtx.strategies()
    assert main(["strategies"]) == 0
    rows = capsys.readouterr().out.splitlines()[1 : len(known) + 1]
    assert [row.split()[0] for row in rows] == list(known)
    assert all(("the outcome is final" in row) == (known[row.split()[0]].promise == "decided") for row in rows)
    assert main(["strategies", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert {name: one["promise"] for name, one in listed.items()} == {name: one.promise for name, one in known.items()}
    assert listed["2pc"]["options"] == {
        "presumption": "abort",
        "work": "with-prepare",
        "termination": "coordinator",
        "one_phase": False,
        "last_resource": None,
    }


def test_scenarios_describes_one() -> None:
    result = run("scenarios", "checkout")
    assert result.returncode == 0
    for service in simtx.load("checkout").services:
        assert service in result.stdout


def test_simulate_prints_the_summary_of_that_run(tmp_path: Path) -> None:
    result = run("simulate", "transfer", "saga", "--seed", "4", "--replication", "2", *FAST, cwd=tmp_path)
    assert (result.returncode, beside_size(result.stderr)) == (0, "")
    scenario = simtx.load("transfer").replace(**{"run.transactions": 150, "run.warmup": "0.1s"})
    digest = simtx.simulate(scenario, "saga", seed=4, replication=2).digest
    assert f"digest {digest}" in result.stdout
    assert "an answer to the client means: decided" in result.stdout
    assert list(tmp_path.iterdir()) == []  # nothing was asked to be written


def test_simulate_json_is_one_document(tmp_path: Path) -> None:
    result = run("simulate", "transfer", "2pc", "--json", *FAST, cwd=tmp_path)
    document = json.loads(result.stdout)
    assert document["promise"] == "decided"
    assert document["summary"]["transactions"] > 100
    assert document["digest"]


def test_simulate_trace_draws_one_transaction(tmp_path: Path) -> None:
    result = run("simulate", "transfer", "2pc", "--transaction", "20", "--trace", "--out", "here", *FAST, cwd=tmp_path)
    assert result.returncode == 0
    assert "transaction 20; time in ms" in result.stdout
    picture = tmp_path / "here" / "transaction-2pc-1-0-20.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"written: {picture.relative_to(tmp_path)}" in result.stdout
    table = pd.read_csv(tmp_path / "here" / "transactions-2pc-1-0.csv")
    assert set(table["repeat_with"].str.contains("simtx simulate transfer 2pc")) == {True}


@pytest.mark.parametrize(("form", "member"), [("otlp", "resourceSpans"), ("chrome", "traceEvents")])
@pytest.mark.sample(2)
def test_simulate_spans_writes_the_event_log_for_other_tools(form: str, member: str, tmp_path: Path) -> None:
    """All of it, or one transaction; a form that does not exist is refused."""
    sizes = []
    for which in ((), ("--transaction", "7")):
        result = run("simulate", "transfer", "2pc", *FAST, "--spans", form, *which, "--out", str(tmp_path))
        assert (result.returncode, beside_size(result.stderr)) == (0, "")
        written = Path(result.stdout.splitlines()[-1].removeprefix("written: "))
        assert written.name == f"spans-2pc-1-0{'-7' if which else ''}.{form}.json"
        assert json.loads(written.read_text())[member]
        sizes.append(written.stat().st_size)
    assert sizes[1] < sizes[0] / 20
    assert run("simulate", "transfer", "2pc", "--spans", "zipkin").returncode == 2


def test_compare_prints_a_table_and_writes_what_it_names(tmp_path: Path) -> None:
    """Without further options: all four strategies, and a folder named after the scenario."""
    result = run("compare", "transfer", "--replications", "2", *FAST, cwd=tmp_path)
    assert (result.returncode, beside_size(result.stderr)) == (0, "")
    assert result.stdout.splitlines()[2].split() == ["2pc", "saga", "outbox", "dual-write"]
    assert "over 2 runs of each strategy" in result.stdout
    assert result.stdout.endswith("written to simtx-transfer/: comparison.csv, comparison.json, comparison.png\n")
    folder = tmp_path / "simtx-transfer"
    with (folder / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert float(rows[0]["latency_p99_ms"]) > 0
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.iterdir()) == ["comparison.csv", "comparison.json", "comparison.png"]


def test_compare_json_is_one_document_with_intervals(tmp_path: Path) -> None:
    result = run(
        "compare", "transfer", "saga", "outbox", "--replications", "2", "--workers", "1", "--json", *FAST, cwd=tmp_path
    )
    document = json.loads(result.stdout)
    assert document["promises"] == {"saga": "decided", "outbox": "accepted"}
    one = document["strategies"]["saga"]["latency_p50_ms"]
    assert one["n"] == 2
    assert one["mean"] > 0
    assert one["half_width"] > 0
    assert document["failures"] == []


@pytest.mark.heavy
def test_compare_stops_when_the_best_is_known_and_says_so(tmp_path: Path) -> None:
    """Beside the table; and for machines, with the looks and the number of real executions."""
    wish = ("compare", "transfer", "saga", "2pc", "--until", "best decision_p50_ms", "--best", "decision_p50_ms")
    limit = ("--where", "missing_effects == 0", "--workers", "1")
    few = ("--set", "run.transactions=60", "--set", "run.warmup=0s")
    result = run(*wish, *limit, *few, cwd=tmp_path)
    assert result.returncode == 0
    assert (
        "✓ 2pc is the best one that keeps to the thresholds, by the time from request to final outcome (median; lower is better)"
        in result.stdout
    )
    assert "--until 'best decision_p50_ms'" in result.stdout
    document = json.loads(run(*wish, *limit, "--json", "--out", "other", *few, cwd=tmp_path).stdout)
    assert document["stopping"]["guaranteed"] is True
    assert document["stopping"]["rule"] == "best decision_p50_ms"
    assert document["executions"] == 20
    assert (document["decision"]["strategy"], document["decision"]["supported"]) == ("2pc", True)


def test_a_scenario_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(Path(simtx.load("transfer").path or "").read_text(encoding="utf-8"), encoding="utf-8")
    result = run("simulate", str(file), "2pc", *FAST, cwd=tmp_path)
    assert result.returncode == 0


# --- warnings -----------------------------------------------------------------------------------------------------------------


def test_saturation_is_a_warning_and_the_run_goes_on(tmp_path: Path) -> None:
    result = run(
        "simulate", "transfer", "saga", "--set", "workload.rate=2000", *FAST, "--set", "run.warmup=0.01s", cwd=tmp_path
    )
    assert result.returncode == 0
    lines = result.stderr.splitlines()
    assert lines
    assert all(line.startswith("simtx: warning: ") for line in lines)
    assert len(lines) == len(set(lines))
    assert "digest" in result.stdout


# --- bad input ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("compare",), "Missing argument"),
        (("compare", "chekout"), "did you mean 'checkout'"),
        (("compare", "no/such/file.toml"), "no/such/file.toml"),
        (("compare", "transfer", "sage"), "did you mean 'saga'"),
        (("compare", "transfer", "saga", "saga"), "saga is there twice"),
        (("compare", "transfer", "--replications", "0"), "--replications"),
        (("compare", "transfer", "--best", "events"), "--best: 'events' says how much the simulator had to do"),
        (
            ("compare", "transfer", "--best", "decision_p99_ms", "--where", "committed_share > 99"),
            "a share from 0 to 1",
        ),
        (("sensitivity", "transfer", "2pc", "--metric", "transactions"), "'transactions' says how many"),
        (("compare", "transfer", "--workers", "many"), "--workers"),
        (("simulate", "transfer"), "Missing argument 'strategy'; simtx simulate --help says what there is"),
        (("simulate", "transfer", "2pc", "--bogus"), "No such option: --bogus"),
        (("simulate", "transfer", "2pc", "--seed", "-1"), "--seed"),
        (("simulate", "transfer", "2pc:colour=red"), "has no option 'colour'"),
        (("simulate", "transfer", "2pc", "--set", "network.loss=7"), "7 is no probability"),
        (("simulate", "transfer", "2pc", "--set", "netwrk.loss=0.1"), "did you mean 'network'"),
        (("simulate", "transfer", "2pc", "--set", "loss"), "'loss' is no change; write it as workload.rate=200"),
        (("simulate", "transfer", "2pc", "--transaction", "99999", *FAST), "no transaction 99999; they are 0 to 149"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if not line.startswith("simtx: warning: few observations")]
    assert len(lines) == 1
    assert lines[0].startswith("simtx: error: ")
    assert problem in lines[0]


def test_a_refused_comparison_leaves_no_folder(tmp_path: Path) -> None:
    result = run("compare", "card-payment", "saga", "2pc", cwd=tmp_path)
    assert result.returncode == 2
    assert "make it the last resource" in result.stderr
    assert not list(tmp_path.iterdir())


def test_bad_input_is_one_line_in_a_shell_too() -> None:
    result = installed("compare", "chekout")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("simtx: error: there is no scenario 'chekout'")
    assert len(result.stderr.splitlines()) == 1


def test_unwritable_folder_is_found_before_the_run(tmp_path: Path) -> None:
    """A file is in the way; not a single run is started."""
    (tmp_path / "taken").write_text("")
    forbid = "import simtx.simulator\nsimtx.simulator.simulate = lambda *a, **k: 1 / 0"
    result = forked("compare", "transfer", "--out", "taken/folder", "--workers", "1", cwd=tmp_path, code=forbid)
    assert result.returncode == 2
    assert result.stderr.startswith("simtx: error: --out: cannot write to folder 'taken/folder': ")
    assert len(result.stderr.splitlines()) == 1


def test_a_result_file_that_cannot_be_replaced_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "mine" / "comparison.csv").mkdir(parents=True)
    forbid = "import simtx.simulator\nsimtx.simulator.simulate = lambda *a, **k: 1 / 0"
    result = forked("compare", "transfer", "--out", "mine", "--workers", "1", cwd=tmp_path, code=forbid)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "simtx: error: --out: cannot write 'mine/comparison.csv': something that is no file has this name; "
        "choose another folder with --out\n"
    )


FULL_DISK = """
import errno, pandas
def to_csv(self, path, **options):
    raise OSError(errno.ENOSPC, "no room", str(path))
pandas.DataFrame.to_csv = to_csv
"""


def test_full_disk_is_one_line_and_the_table_is_still_shown(tmp_path: Path) -> None:
    arguments = ("compare", "transfer", "2pc", "--replications", "2", "--workers", "1", "--out", "mine", *FAST)
    result = forked(*arguments, cwd=tmp_path, code=FULL_DISK)
    assert result.returncode == 2
    problem = "simtx: error: --out: cannot write 'mine/comparison.csv': No space left on device\n"
    assert beside_size(result.stderr) == problem
    assert "request to answer, median [ms]" in result.stdout
    assert "written to" not in result.stdout


FULL_AFTER = """
import builtins, errno, pathlib
real = pathlib.Path.open
class Full:
    def __init__(self, file): self.file = file
    def __getattr__(self, name): return getattr(self.file, name)
    def __enter__(self): return self
    def __exit__(self, *_): self.file.close()
    def write(self, text): raise OSError(errno.ENOSPC, "No space left on device")
def opened(self, *arguments, **options):
    file = real(self, *arguments, **options)
    return Full(file) if self.name == "comparison.csv" else file
pathlib.Path.open = opened
"""


@pytest.mark.parametrize("output", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.sample(2)
def test_a_disk_that_is_full_in_the_middle_costs_the_file_and_no_run(output: tuple[str, ...], tmp_path: Path) -> None:
    """No row can be written while the runs come in: every one of them is in the table all the same."""
    arguments = (
        "compare",
        "transfer",
        "2pc",
        "saga",
        "--replications",
        "2",
        "--workers",
        "1",
        "--out",
        "mine",
        *FAST,
        *output,
    )
    result = forked(*arguments, cwd=tmp_path, code=f"{FULL_AFTER}{FULL_DISK}")
    assert result.returncode == 2
    assert (
        result.stderr.splitlines()[-1]
        == "simtx: error: --out: cannot write 'mine/comparison.csv': No space left on device"
    )
    if output:
        document = json.loads(result.stdout)
        assert document["strategies"]["saga"]["latency_p50_ms"]["n"] == 2
        assert document["files"] == []
    else:
        assert "request to answer, median [ms]" in result.stdout
        assert "over 2 runs of each strategy" in result.stdout


BROKEN_STRATEGY = """
import simtx, simtx.simulator
def simulate(*arguments, **options):
    raise simtx.ProtocolViolation("a machine answered twice")
simtx.simulate = simtx.simulator.simulate = simulate
"""


def test_a_run_that_fails_ends_with_1_and_not_as_bad_input(tmp_path: Path) -> None:
    result = forked("simulate", "transfer", "2pc", *FAST, cwd=tmp_path, code=BROKEN_STRATEGY)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "simtx: error: a machine answered twice\n"


# --- trouble ------------------------------------------------------------------------------------------------------------------

INTERRUPT_AFTER_THREE = """
import contextlib, importlib, os, signal
module = importlib.import_module("simtx.experiments.compare")

class Bar:
    seen = 0
    def advance(self):
        self.seen += 1
        if self.seen == 3:
            {how}

@contextlib.contextmanager
def bar(*arguments, **options):
    yield Bar()

module.progress_bar = bar
"""


INTERRUPT_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("module", ["simtx.cli.app", "typer", "pandas", "numpy"])
def test_an_interrupt_while_modules_are_imported_is_one_line(module: str, tmp_path: Path) -> None:
    """In the first second: no traceback of a package, and none of ours."""
    arguments = ("compare", "transfer", "saga", "--replications", "1", *FAST)
    result = run(*arguments, cwd=tmp_path, code=INTERRUPT_IMPORT.format(module=module))
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "simtx: error: interrupted\n")


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.heavy)])
@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_interrupted_compare_writes_what_is_finished(workers: str, how: str, tmp_path: Path) -> None:
    """A signal after the third run: exit code 130, a row for each that has ended, a table, and no traceback.

    With two workers, `run` returns when nobody holds the pipes any more: none is left behind.
    """
    code = INTERRUPT_AFTER_THREE.format(how=f"os.kill(os.getpid(), signal.{how})")
    played = run if workers == "2" else forked
    result = played("compare", "transfer", "--replications", "5", "--workers", workers, *FAST, cwd=tmp_path, code=code)
    assert result.returncode == 130
    (said,) = re.findall(r"^simtx: warning: interrupted; (\d+) of 20 runs are finished$", result.stderr, re.MULTILINE)
    assert int(said) == 3 if workers == "1" else 3 <= int(said) < 20  # another worker may end one more meanwhile
    assert "Traceback" not in result.stderr
    assert "written to simtx-transfer/" in result.stdout
    with (tmp_path / "simtx-transfer" / "comparison.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == int(said)


def test_killed_compare_has_written_what_was_finished(tmp_path: Path) -> None:
    """SIGKILL after the third run: nobody can write any more, and three rows are there, the same as those of a run that ended."""
    code = INTERRUPT_AFTER_THREE.format(how="os.kill(os.getpid(), signal.SIGKILL)")
    arguments = ("compare", "transfer", "--replications", "2", "--workers", "1", *FAST)
    assert forked(*arguments, cwd=tmp_path, code=code).returncode == -signal.SIGKILL
    file = tmp_path / "simtx-transfer" / "comparison.csv"
    killed = pd.read_csv(file)
    assert len(killed) == 3
    assert run(*arguments, cwd=tmp_path).returncode == 0
    whole = pd.read_csv(file)
    assert len(whole) == 8
    pd.testing.assert_frame_equal(whole.merge(killed[["strategy", "replication"]]), whole.merge(killed))


FAIL_IN_REPLICATION_1 = """
import simtx, simtx.simulator
original = simtx.simulator.simulate
def simulate(scenario, strategy, *, seed, replication, engine):
    if replication == 1 and strategy.name == "saga":
        raise simtx.RunFailed("out of luck")
    return original(scenario, strategy, seed=seed, replication=replication, engine=engine)
simtx.simulator.simulate = simulate
"""


def test_failed_run_is_shown_with_its_repetition_and_the_rest_is_kept(tmp_path: Path) -> None:
    arguments = ("compare", "transfer", "saga", "2pc", "--replications", "3", "--workers", "1", *FAST)
    result = forked(*arguments, cwd=tmp_path, code=FAIL_IN_REPLICATION_1)
    assert result.returncode == 1
    assert "simtx: warning: saga, replication 1 failed: RunFailed: out of luck" in result.stderr
    assert (
        "simtx: repeat the failed run with: simtx simulate transfer saga --seed 1 --replication 1 "
        "--set run.transactions=150 --set run.warmup=0.1s"
    ) in result.stderr
    assert "saga 2, 2pc 3 runs" in result.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_reader_that_goes_away_is_no_traceback(unbuffered: str) -> None:
    """``simtx scenarios | head -0``: quiet, whether the output is written at once or at the end."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "simtx", "scenarios"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (1, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--version",),
        ("scenarios",),
        ("compare", "transfer", "2pc", "saga", "--replications", "2", "--workers", "1", "--json", *FAST),
        ("simulate", "transfer", "2pc", *FAST),
        ("verify", "2pc", "--crashes", "0"),
        ("verify", "2pc", "--crashes", "0", "--json"),
    ],
    ids=" ".join,
)
@pytest.mark.sample(4)
def test_output_to_a_full_device_is_one_line(arguments: tuple[str, ...], unbuffered: str, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    command = [sys.executable, "-m", "simtx", *arguments]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path, env=env
        )
    problem = "simtx: error: cannot write the output: No space left on device\n"
    assert (done.returncode, beside_size(done.stderr)) == (2, problem)


def test_an_error_that_cannot_be_told_is_an_exit_code() -> None:
    """Standard error on a full device."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "simtx", "verify", "sage"], stderr=full, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--store", "postgresql+psycopg://ada:s3cret@db/shop"),
        ("--store", "host=db user=ada password=s3cret"),
        ("--store", "postgresql://ada:s3cret@db:port/shop"),
        ("--store", "postgresql://ada:pa/s3cret@db/shop"),
        ("--broker", "nats://ada:s3cret@broker:port"),
        ("--broker", "nats://[s3cret"),
        ("--broker", "http://ada:s3cret@broker"),
        ("--broker", "nats://ada:s3cret@127.0.0.1:1"),
    ],
)
def test_no_password_is_shown(capsys: pytest.CaptureFixture[str], options: tuple[str, str]) -> None:
    assert main(["execute", "transfer", "outbox", *options]) == 2
    shown = capsys.readouterr()
    assert "cret" not in shown.out + shown.err
    assert len(shown.err.splitlines()) == 1


def test_an_address_may_come_from_a_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the command line everybody could read it."""
    monkeypatch.setenv("SIMTX_BROKER", "kafka")
    assert main(["execute", "transfer", "outbox"]) == 2
    assert "there is no broker 'kafka'" in capsys.readouterr().err
