"""The verdicts of `simtx.check_history` on histories that others have published: `python benchmarks/public_histories.py`.

The files stay where they are: each is downloaded from its repository at a pinned commit, once, into the folder that `--folder` names. Nothing of them is
part of simtx. The published verdict is that of the repository's own tests, of the paper that the artefact belongs to, or of the folder in which the
file lies. `--only WORD` takes the rows with that word in them.
"""

from __future__ import annotations

import argparse
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simtx.errors import ScenarioError
from simtx.histories import check_history


@dataclass(frozen=True)
class Source:
    """A repository at a commit.

    Attributes:
        repository: Owner and name on GitHub.
        commit: The commit.
        licence: What its licence file says.
    """

    repository: str
    commit: str
    licence: str

    def fetch(self, path: str, folder: Path) -> Path:
        """The file, from the folder or from the repository."""
        target = folder / self.repository.replace("/", "+") / self.commit / path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            address = f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{path}"
            with urllib.request.urlopen(address, timeout=60) as answer:
                content = answer.read()
            target.write_bytes(content)
        return target


@dataclass(frozen=True)
class Row:
    """Histories with one published verdict.

    Attributes:
        name: What they are called here.
        source: Where they are from.
        paths: The files.
        level: The level.
        published: `valid`, `not valid`, or what else was asked of them.
    """

    name: str
    source: Source
    paths: tuple[str, ...]
    level: str
    published: str


ELLE = Source("jepsen-io/elle", "ccdee6fab6c816a605ed24f72723747af054adf8", "EPL-2.0")
ELLE_CLI = Source("ligurio/elle-cli", "0e3fd6ea923f8c2f1ee89f153e0e413530b1fa43", "EPL-2.0")
AWDIT = Source("lassemoldrup/AWDIT", "cde5da557913c5a6eb5906d24f4bf20afca76b19", "MIT")
POLYSI = Source("hengxin/PolySI-PVLDB2023-Artifacts", "f16891b013b02a6e6e314eeabe4a7c4dd1e7edb9", "none (PolySI: MIT)")
ISOVISTA = Source("hengxin/IsoVista", "3547971f2eaf308507b25d620e9b6f3e35eb8129", "MIT")
PORCUPINE = Source("anishathalye/porcupine", "55508eb201b314c218d7e8412c3ea4b9499a5f53", "MIT")

SI, SESSION_SI = "snapshot-isolation", "strong-session-snapshot-isolation"

#: Folder of AWDIT's tests: its files, and the levels (read committed, read atomicity, causal consistency) of which they are.
_AWDIT_TESTS = {
    "causal": ("fully-ser", "long-fork", "lost-update", "generated/l20e200sqrt", "generated/l50e1000sqrt", "generated/l100e1000sqrt"),
    "read-atomic": ("biswas-enea", "test-ra", *(f"generated/{name}" for name in ("l4e10sqrt", "l5e20sqrt", "l6e30sqrt", "l10e100sqrt", "l100e1000sqrt"))),
    "read-committed": ("biswas-enea", "test-rc", "non-repeatable-read", *(f"generated/{name}" for name in ("l4e10sqrt", "l5e20sqrt", "l6e30sqrt", "l10e100sqrt", "l100e1000sqrt"))),
    "none": ("hb-cycle",),
}  # fmt: skip
_AWDIT_LEVELS = ("strong-session-read-committed", "strong-session-read-atomic", "causal-consistency")
_AWDIT_HOLD = {"causal": 3, "read-atomic": 2, "read-committed": 1, "none": 0}

#: Sessions, transactions a session, operations a transaction, keys, share of reads, choice of keys: one history of some settings of PolySI's figure 7.
_FIGURE_7 = (
    *(f"{n}_100_15_10000_0.5_uniform" for n in (5, 10, 20, 30)),
    *(f"20_{n}_15_10000_0.5_uniform" for n in (10, 50, 250)),
    *(f"20_100_{n}_10000_0.5_uniform" for n in (5, 30)),
    *(f"20_100_15_{n}_0.5_uniform" for n in (1000, 2000)),
)
_HISTORIES = "artifact/PolySIHistories"


def rows() -> Iterable[Row]:
    """All rows of the table."""
    yield Row("the example of Elle's paper", ELLE, ("histories/paper-example.edn",), "strict-serializable", "not valid")
    yield Row("si-without-g-single", ELLE, ("histories/si-without-g-single.edn",), SI, "valid")
    yield Row("si-without-g-single", ELLE, ("histories/si-without-g-single.edn",), "repeatable-read", "not valid")
    yield Row("huge-scc", ELLE, ("histories/huge-scc.edn",), "strict-serializable", "not valid")
    yield Row("huge-scc", ELLE, ("histories/huge-scc.edn",), "serializable", "valid")
    yield Row("list-append-gh-30", ELLE_CLI, ("histories/elle/list-append-gh-30.edn",), "serializable", "not valid")
    for form in ("edn", "json"):
        path = f"histories/elle/rw-register.{form}"
        yield Row(f"rw-register, {form}", ELLE_CLI, (path,), "strict-serializable", "valid")
    yield Row("long-fork", ELLE_CLI, ("histories/jepsen/long-fork.edn",), SI, "not valid (long fork)")
    for name in ("bank", "counter", "set"):
        yield Row(name, ELLE_CLI, (f"histories/jepsen/{name}.edn",), "serializable", f"valid ({name})")
    cas = "histories/knossos/cas-register/good/memstress3-9.edn"
    yield Row("cas-register", ELLE_CLI, (cas,), "strict-serializable", "valid (cas-register)")
    mutex = "histories/knossos/mutex/bad/etcd.edn"
    yield Row("mutex, etcd", ELLE_CLI, (mutex,), "strict-serializable", "not valid (mutex)")
    log = "test_data/jepsen/etcd_000.log"
    yield Row("etcd_000", PORCUPINE, (log,), "strict-serializable", "not valid (cas-register)")
    for folder, files in _AWDIT_TESTS.items():
        paths = tuple(f"histories/tests/{folder}/{name}.txt" for name in files)
        for place, level in enumerate(_AWDIT_LEVELS):
            yield Row(f"tests/{folder}", AWDIT, paths, level, "valid" if place < _AWDIT_HOLD[folder] else "not valid")
    for name, path in (("Dgraph", "dgraph/history.bincode"), ("MariaDB Galera", "galera/galera.txt"), ("YugabyteDB", "yugabyte/yugabyte.txt")):  # fmt: skip
        yield Row(f"violation in {name}", POLYSI, (f"{_HISTORIES}/violations/{path}",), SESSION_SI, "not valid")
    for name in _FIGURE_7:
        path = f"{_HISTORIES}/fig7/{name}/hist-00000/history.bincode"
        yield Row(f"figure 7, {name}", POLYSI, (path,), SESSION_SI, "valid")
    for name, level in (("dgraph_si", SI), ("pg_ser_bug", "serializable"), ("yugabyte_tcc", "causal-consistency")):
        yield Row(name, ISOVISTA, (f"history/bugs/{name}.txt",), level, "not valid")


def awdit_test(text: str) -> list[dict[str, Any]]:
    """The transactions of AWDIT's form for tests: sessions between lines of =, transactions between lines of -."""
    result: list[dict[str, Any]] = []
    for session, part in enumerate(text.split("=====")):
        for transaction in part.split("-----"):
            ops: list[list[Any]] = []
            for line in transaction.split("\n"):
                if line.strip():
                    kind, key, value = line.split()
                    ops.append([kind, int(key), int(value)])
            result.append({"id": len(result), "process": session, "status": "ok", "ops": ops})
    return result


def verdict(path: Path, row: Row) -> tuple[str, str]:
    """Our verdict, and what to say of it."""
    try:
        history = awdit_test(path.read_text(encoding="utf-8")) if row.source is AWDIT else path
        report = check_history(history, row.level)
    except ScenarioError as error:
        return "not read", str(error)
    word = {True: "valid", False: "not valid", None: "unknown"}[report.valid]
    return word, ", ".join(finding.name for finding in report.findings) or " ".join(report.notes)


def main() -> None:
    """Print the table, and a line for each history whose verdict is another one than was published."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "simtx-histories")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    others = []
    print("| history | source | level | published | ours | seconds |\n|---|---|---|---|---|---|")
    for row in rows():
        if arguments.only not in f"{row.name} {row.source.repository} {row.level}":
            continue
        paths = [row.source.fetch(path, arguments.folder) for path in row.paths]
        begin = time.process_time()
        found = [verdict(path, row) for path in paths]
        seconds = time.process_time() - begin
        counted = Counter(word for word, _ in found)
        ours = ", ".join(f"{count} {word}" for word, count in counted.items()) if len(paths) > 1 else found[0][0]
        if len(paths) == 1 and found[0][0] == "not valid":
            ours += f": {found[0][1]}"
        name = f"{row.name} ({len(paths)} files)" if len(paths) > 1 else row.name
        print(
            f"| {name} | {row.source.repository} | `{row.level}` | {row.published} | {ours} | {seconds:.2f} |",
            flush=True,
        )
        for path, (word, why) in zip(paths, found, strict=True):
            if word != row.published:
                others.append(f"{path.relative_to(arguments.folder)} at {row.level}: {word}. {why}")
    print("\n" + "\n".join(others))


if __name__ == "__main__":
    main()
