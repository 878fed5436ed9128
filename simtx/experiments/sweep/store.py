"""A results folder: the ledger, and the figures of finished runs in Parquet files that any reader of Parquet can read.

    results/ledger.sqlite              state of every run
    results/figures/part-000001.parquet  one row a run: key, scenario, changes, strategy, seed, replication, digest, all metrics
    results/frames/NAME.parquet        the table of one sweep: its parameters are columns, failed runs are rows
    results/frames/NAME/sweep.json     what it was about: scenario, strategies, parameters, cells; `simtx.read` makes the sweep of it again

Only the process that gives out runs writes here, never a worker. A figure is in the ledger the moment that its run is finished, and moves to a file later; a file
is written under another name and renamed when it is whole. Numbers of files are given out by the ledger, so that no two processes ever write the same one.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from simtx.errors import ScenarioError
from simtx.experiments.sweep.leases import active, owner
from simtx.experiments.sweep.ledger import Entry, RunLedger

if TYPE_CHECKING:
    import pyarrow as pa

FIGURES: Final = "figures"
FRAMES: Final = "frames"
_SMALL: Final = 1000  # rows: files with fewer are put together
_MANY: Final = 16  # of small files, before they are
_INFORMATION: Final = ("key", "scenario", "changes", "strategy", "seed", "replication", "digest")
_PATIENCE: Final = 30.0


class Store:
    """An open results folder.

    Args:
        folder: Where; made if need be.

    Raises:
        ScenarioError: It cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = owner()
        self.ledger = RunLedger(folder)

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()

    # --- writing ----------------------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Move figures from the ledger to a file, small files with them.

        Raises:
            ScenarioError: A file cannot be written; nothing is lost, as the figures stay in the ledger.
        """
        if not self.ledger.unwritten():
            return
        with active(self.owner):
            self._flush()

    def _flush(self) -> None:
        end = time.monotonic() + _PATIENCE
        while (part := self.ledger.begin_part(self.owner)) is None:
            if time.monotonic() > end:
                return  # somebody else is at it, and what stays in the ledger is as safe
            time.sleep(0.05)
        rows = self.ledger.unwritten()
        if not rows:  # the other one has taken them along
            self.tidy()
            return
        small = [number for number, count, state in self.ledger.parts() if state == "whole" and count < _SMALL]
        small = small if len(small) >= _MANY else []
        path = self._part(part)
        try:
            table = self._table(rows, self.ledger.metrics())
            if small:
                table = _joined([self._read([number]) for number in small] + [table])
            with self._told(path):
                path.parent.mkdir(exist_ok=True)
                _write(table, path)
        except BaseException:
            self.tidy()
            raise
        self.ledger.end_part(part, table.column("key").to_pylist(), small)
        for number in small:
            self._part(number).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove files that were never finished."""
        for part in self.ledger.drop_parts(self.owner):
            path = self._part(part)
            for file in (path, *path.parent.glob(f".{path.name}.*")):
                file.unlink(missing_ok=True)

    def mend(self) -> int:
        """Let runs be played again whose file of figures was removed; returns how many. If the whole folder is gone, that is no wish of anybody's."""
        if not (self.folder / FIGURES).is_dir():
            return 0
        whole = [part for part, _, state in self.ledger.parts() if state == "whole"]
        return sum(self.ledger.forget_part(part) for part in whole if not self._part(part).is_file())

    def keep(self, frame: pd.DataFrame, name: str, about: Callable[[Path], None] | None = None) -> Path:
        """Write the table of a sweep, and beside it what it was about.

        Args:
            frame: The table.
            name: What it is called.
            about: Writes into a folder what the sweep was about, for `simtx.read`.

        Raises:
            ScenarioError: They cannot be written.
        """
        import pyarrow as pa

        path = self.folder / FRAMES / f"{name}.parquet"
        with self._told(path):
            path.parent.mkdir(exist_ok=True)
            _write(pa.Table.from_pandas(frame, preserve_index=False), path)
            if about is not None:
                folder = path.parent / name
                folder.mkdir(exist_ok=True)
                about(folder)
        return path

    @contextmanager
    def _told(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ScenarioError(
                f"cannot be written: {reason}; every run that was finished is kept: make room, and do the same again",
                str(path),
            ) from None

    # --- reading ----------------------------------------------------------------------------------------------------------------------

    def entries(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Entries of these runs, by key."""
        return {one.key: one for one in self.ledger.entries(keys)}

    def figures(self, keys: Sequence[str]) -> tuple[dict[str, Entry], pd.DataFrame]:
        """Entries of these runs, and the figures of those that are finished: a row a run, by key.

        Columns are in the order in which the runs, in their order, first have them, so that the table does not depend on which was finished first.

        Raises:
            ScenarioError: A file of figures is damaged or gone.
        """
        for attempt in range(3):
            entries = self.entries(keys)
            try:
                return entries, self._figures(keys, entries)
            except FileNotFoundError as error:  # put together with others meanwhile
                if attempt == 2:
                    folder = self.folder / FIGURES
                    if not folder.is_dir():
                        text = "is gone, and the figures of finished runs were in it; restore it (with an empty folder in its place they are played again)"
                        raise ScenarioError(text, str(folder)) from None
                    text = "is gone, and the figures of finished runs were in it; restore it, or ask for the sweep again, which plays them again"
                    raise ScenarioError(text, str(error.filename)) from None
        raise AssertionError("unreachable")

    def _figures(self, keys: Sequence[str], entries: Mapping[str, Entry]) -> pd.DataFrame:
        names = self.ledger.metrics()
        finished = [one for key in keys if (one := entries.get(key)) is not None and one.has_figures]
        columns = list(
            dict.fromkeys(
                name for number in dict.fromkeys(one.metrics for one in finished) for name in self._named(names, number)
            )
        )
        parts = sorted({one.part for one in finished if one.part is not None})
        frames = []
        if parts:
            read = self._read(parts).to_pandas()
            if lost := {one.key for one in finished if one.part is not None} - set(read["key"]):
                raise _damaged(self._part(parts[0]), f"{len(lost)} runs are not in it that should be")
            frames.append(
                read.drop(columns=[name for name in _INFORMATION if name != "key" and name in read]).set_index("key")
            )
        for number in sorted({one.metrics or 0 for one in finished if one.figures is not None}):
            ours = [one for one in finished if one.figures is not None and one.metrics == number]
            values = [self.ledger.values(one.figures, len(names[number])) for one in ours]
            frames.append(pd.DataFrame(values, index=[one.key for one in ours], columns=names[number], dtype=float))
        whole = pd.concat(frames) if frames else pd.DataFrame(index=pd.Index([], dtype=object))
        return whole[~whole.index.duplicated()].reindex(index=[one.key for one in finished], columns=columns)

    def _named(self, names: Mapping[int, Sequence[str]], number: int | None) -> Sequence[str]:
        """The metrics of a run.

        Raises:
            ScenarioError: The ledger does not know them.
        """
        if number is None or number not in names:
            raise self.ledger.damaged("a run has metrics without names")
        return names[number]

    def _table(self, rows: Sequence[tuple[Any, ...]], names: Mapping[int, Sequence[str]]) -> pa.Table:
        """Runs of the ledger as a table.

        Raises:
            ScenarioError: Figures are not those of a run.
        """
        import pyarrow as pa

        tables = []
        for number in dict.fromkeys(row[7] for row in rows):
            ours, metrics = [row for row in rows if row[7] == number], self._named(names, number)
            values = np.array([self.ledger.values(row[8], len(metrics)) for row in ours], dtype=float)
            values = values.reshape(len(ours), len(metrics))
            columns: dict[str, Any] = {name: [row[index] for row in ours] for index, name in enumerate(_INFORMATION)}
            columns |= {name: values[:, index] for index, name in enumerate(metrics)}
            tables.append(pa.table(columns))
        return _joined(tables)

    def _read(self, parts: Sequence[int]) -> pa.Table:
        return _joined([_table_of(self._part(part)) for part in parts])

    def _part(self, number: int) -> Path:
        return self.folder / FIGURES / f"part-{number:06d}.parquet"


def _table_of(path: Path) -> pa.Table:
    """A file of figures.

    Raises:
        FileNotFoundError: It is gone.
        ScenarioError: It is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, memory_map=False)
        table.validate(full=True)
        names = table.column_names
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from None
    if "key" not in names:
        raise _damaged(path, "it has no column 'key'")
    return table


def _damaged(path: Path, why: str) -> ScenarioError:
    why = why.replace(f" '{path}'", "")
    return ScenarioError(
        f"is damaged ({why}); restore it, or remove it and ask for the sweep again, which plays its runs again",
        str(path),
    )


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")


def _write(table: pa.Table, path: Path) -> None:
    """Write a file as a whole: it is there completely, or not at all.

    Raises:
        OSError: It cannot be written.
    """
    import pyarrow.parquet as pq

    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
