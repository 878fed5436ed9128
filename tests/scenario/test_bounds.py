"""Files of others have bounds: what is wrong with one is said in one line, at once, and nothing else happens."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import simtx
from simtx.errors import ScenarioError, SimtxError
from simtx.event_log.log import EventLog
from simtx.files import DEEPEST
from simtx.reference.run_folder.audit import AuditLog, entries, verify
from simtx.reference.run_folder.folder import RunFolder
from simtx.scenario.calibration import Calibration
from simtx.scenario.catalog import data_path

BASE = 'extends = "transfer"\n'
CLOSED = '[workload]\nkind = "closed"\nthink_time = "1s"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name = "x/../../victim"\n' + BASE, "cannot be the name of a scenario: it becomes a part of names of files"),
        (BASE + "[run]\ntransactions = 1000000000000\n", "1,000,000,000,000 is more than the 20,000,000"),
        (
            BASE + '[workload]\nrate = "1000000000/s"\n[run]\nduration = "100h"\n',
            "transactions would arrive, more than",
        ),
        (BASE + CLOSED + "users = 1000000000\n", "1,000,000,000 is more than the 1,000,000"),
        (
            BASE + '[transaction.parameters]\npayer = { population = 100000000, popularity = "zipf" }\n',
            "100,000,000 is more than the 10,000,000 values that may differ in popularity",
        ),
        ('extends = "/dev/zero"\n', "it is a device or a pipe, and not a file"),
        ('extends = "./pipe"\n', "it is a device or a pipe, and not a file"),
        (BASE + '[workload]\nkind = "trace"\ntrace = "pipe"\n', "it is a device or a pipe, and not a file"),
        ("a = " + "[" * 5000 + "]" * 5000, f"it is nested deeper than {DEEPEST} levels"),
        (".".join("a" * 3000) + " = 1", f"it is nested deeper than {DEEPEST} levels"),
        (BASE + "[run]\nseed = " + "9" * 6000, "it holds a number of thousands of digits"),
        (BASE + 'calibration = "latin.toml"\n', "the calibration cannot be read: it is not UTF-8 text"),
        (BASE + 'title = "a\\u001b[2J"\n', "a text holds the sign \\x1b, which is not to be seen"),
        (BASE + "# " + "x" * (5 << 20), "it is larger than 4 MiB"),
    ],
)
def test_what_is_beyond_all_bounds_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    file = tmp_path / "given.toml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        simtx.simulate(simtx.load(file), "saga")
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_chain_of_files_ends(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.toml").write_text(f'extends = "./{number + 1}.toml"\n')
    with pytest.raises(ScenarioError, match="more than 16 files extend one another"):
        simtx.load(tmp_path / "0.toml")


@pytest.mark.parametrize("name", [".pgpass", "secrets.csv"])
def test_a_file_that_is_no_table_is_not_shown(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("db.example:5432:shop:ada:s3cret\n")
    (tmp_path / "given.toml").write_text(BASE + f'[workload]\nkind = "trace"\ntrace = "{name}"\n')
    with pytest.raises(ScenarioError) as caught:
        simtx.load(tmp_path / "given.toml")
    assert "has no column 'time'" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_keys_of_any_population_are_made_when_they_are_drawn() -> None:
    """A hundred million accounts cost what the few that are drawn do."""
    scenario = simtx.load("transfer").replace(
        **{"transaction.parameters.payer.population": 10**12, "run.transactions": 60, "run.warmup": 0}
    )
    assert len(simtx.simulate(scenario, "saga").transactions) == 60


# --- mutated files ----------------------------------------------------------------------------------------------------------------

TOKENS = (
    b"",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\0",
    b"\xff",
    b"nan",
    b"-1",
    b"1e999",
    b"9" * 5000,
    b"$",
    b"null",
    b"\n",
    b"=",
)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The content with a few places changed, doubled, dropped or cut off."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(content) + 1)
        end = min(len(content), start + draw.choice((0, 1, 2, 8, 60, 400)))
        what = draw.random()
        if what < 0.6:
            content = content[:start] + draw.choice(TOKENS) + content[end:]
        elif what < 0.8:
            content = content[:end] + content[start:end] * draw.randint(1, 3) + content[end:]
        else:
            content = content[:start] if draw.random() < 0.3 else content[:start] + content[end:]
    return content


def readers(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Files of each kind, and what reads them."""
    small = simtx.load("transfer").replace(**{"run.transactions": 3, "run.warmup": 0})
    run = simtx.simulate(small, "saga")
    run.trace.save(folder / "events.jsonl")
    run.save(folder / "saved")
    kept = RunFolder.create(folder / "run", small, run.strategy, seed=1, store="sqlite", broker="embedded")
    audit = folder / "audit.jsonl"
    with AuditLog(audit, "sender") as log:
        for tx in range(4):
            log.append("apply", tx=tx, actor="client", changes={"balance:1": (1.0, 2.0)}, history=tx)
    results = folder / "results"

    def sweep(store: Path) -> simtx.Sweep:
        over = {"workload.rate": [50, 100]}
        return simtx.sweep(small, over, ["saga"], replications=1, store=store, name="one", executor="serial")

    sweep(results).store.close()

    def read_results() -> None:
        """Of a copy, since a database is more than one file while it is open: read it, and go on with it."""
        with tempfile.TemporaryDirectory(dir=folder) as copy:
            shutil.copytree(results, copy, dirs_exist_ok=True)
            read = simtx.read(copy)
            assert isinstance(read, simtx.Sweep)
            assert len(read.frame) <= 2
            sweep(Path(copy)).frame  # noqa: B018 - looks at the store

    scenario, calibration = folder / "scenario.toml", folder / "calibration.toml"
    scenario.write_bytes((data_path() / "scenarios" / "transfer.toml").read_bytes())
    calibration.write_text(
        'version = 1\nname = "here"\n[blocks.local]\nsamples = 9\nvalues = [0.001, 0.002]\n[blocks.forced]\nvalues = [0.003]\n'
    )
    return {
        "scenario": (scenario, lambda: simtx.load(scenario)),
        "calibration": (calibration, lambda: Calibration.parse(calibration.read_text("utf-8", "replace"), "c")),
        "event log": (folder / "events.jsonl", lambda: EventLog.load(folder / "events.jsonl")),
        "history": (folder / "events.jsonl", lambda: simtx.check_history(folder / "events.jsonl")),
        "saved run": (folder / "saved" / "run.json", lambda: simtx.read(folder / "saved")),
        "saved table": (folder / "saved" / "summary.parquet", lambda: simtx.read(folder / "saved")),
        "run folder": (kept.path / "run.json", lambda: (kept.read(), kept.scenario(), kept.verify_audits())),
        "ledger of a sweep": (results / "ledger.sqlite", read_results),
        "figures of a sweep": (results / "figures" / "part-000001.parquet", read_results),
        "description of a sweep": (results / "frames" / "one" / "sweep.json", read_results),
        "audit log": (audit, lambda: (verify(audit), list(entries(audit)))),
    }


def fuzz(folder: Path, rounds: int, seed: int) -> None:
    draw = random.Random(seed)
    for kind, (file, read) in readers(folder).items():
        content = file.read_bytes()
        for number in range(rounds):
            file.write_bytes(changed := mutated(content, draw))
            said = ""
            try:
                read()
            except SimtxError as error:
                said = str(error)
            except Exception as error:
                (folder / "found").write_bytes(changed)
                raise AssertionError(f"{kind}, round {number}: {type(error).__name__}: {error}") from error
            assert len(said) < 20_000
        file.write_bytes(content)


def test_a_mutated_file_is_read_or_refused(tmp_path: Path) -> None:
    fuzz(tmp_path, 12, 1)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_mutated_files_are_read_or_refused(tmp_path: Path, seed: int) -> None:
    fuzz(tmp_path, 400, seed)
