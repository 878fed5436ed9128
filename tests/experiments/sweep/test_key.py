"""The key of a run holds every input by value; that each field of a scenario counts is tested with its fingerprint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import simtx
from simtx import ScenarioError
from simtx.experiments.sweep import key as keys
from simtx.experiments.sweep.ledger import RunLedger, Wanted
from simtx.experiments.sweep.study import Row, Study
from simtx.protocols import STRATEGIES, BreakerPolicy, Policies, Saga, strategy
from simtx.scenario import ClientsSpec
from simtx.scenario.canonical import LATER
from simtx.scenario.fingerprints import CodeFingerprint, code_fingerprint


@pytest.fixture
def ledger(tmp_path: Path) -> RunLedger:
    return RunLedger(tmp_path)


def run(ledger: RunLedger, scenario: simtx.Scenario, strategy: Any, seed: int = 1, replication: int = 0) -> Wanted:
    """What a sweep wants for one run."""
    study = Study(scenario, (), {"it": strategy}, seed)
    study.add([{}])
    (found,) = study.wanted([Row(0, "it", replication)], ledger)
    return found


def others(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """(option, another object of this class) for every option of a strategy, policies included, and every other value that it may have."""
    hints = get_type_hints(kind)
    base = kind()
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        if field.name == "policies":
            for policy in dataclasses.fields(Policies):
                value = getattr(Policies(), policy.name)
                empty = BreakerPolicy() if policy.name == "breaker" else 7
                changed = empty if value is None else value + 1 if isinstance(value, int | float) else type(value)(2.0)
                yield f"policies.{policy.name}", dataclasses.replace(base, policies=Policies(**{policy.name: changed}))
            continue
        now = getattr(base, field.name)
        hint = hints[field.name]
        choices = get_args(hint) if get_origin(hint) is not None else ()
        choices = ("sender",) if str in choices else choices  # the name of a service
        choices = choices or ((not now,) if isinstance(now, bool) else (now + 1,))
        for choice in choices:
            if choice != now and not isinstance(choice, type):
                yield field.name, dataclasses.replace(base, **{field.name: choice})


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_each_option_and_each_policy_is_in_the_key(name: str, tiny: simtx.Scenario, ledger: RunLedger) -> None:
    seen = {run(ledger, tiny, STRATEGIES[name]()).key: "the defaults"}
    options = set()
    for option, other in others(STRATEGIES[name]):
        found = run(ledger, tiny, other).key
        assert found not in seen, f"{option} has the key of {seen[found]}"
        seen[found] = option
        options.add(option.partition(".")[0])
    assert options >= {one.name for one in dataclasses.fields(STRATEGIES[name]) if one.init}


def test_scenario_strategy_seed_and_replication_are_in_the_key(tiny: simtx.Scenario, ledger: RunLedger) -> None:
    """Neighbouring seeds and replications share nothing, and no two of these are taken for one another."""
    given = [
        run(ledger, tiny, one(), seed, n).key for one in STRATEGIES.values() for seed in (0, 1, 11) for n in (0, 1, 11)
    ]
    given += [
        run(ledger, tiny.replace(**{path: value}), Saga()).key
        for path, value in (("workload.rate", 151), ("run.drain", "61s"))
    ]
    assert len(set(given)) == 9 * len(STRATEGIES) + 2
    assert (
        run(ledger, tiny, "saga" and Saga()).key
        == run(ledger, simtx.load("transfer").replace(**tiny.overrides), Saga()).key
    )


def test_a_changed_module_changes_the_key_and_not_the_identity(
    tiny: simtx.Scenario, ledger: RunLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run(ledger, tiny, Saga())
    code = code_fingerprint()
    edited = CodeFingerprint("another", {**code.modules, "simtx.simulator.world": "00000000"})
    monkeypatch.setattr(keys, "code_fingerprint", lambda: edited)
    after = run(ledger, tiny, Saga())
    assert after.identity == before.identity
    assert after.key != before.key
    now, then = ledger.modules(after.code), ledger.modules(before.code)
    assert [name for name in now if now[name] != then[name]] == ["simtx.simulator.world"]


MINE = """
from dataclasses import dataclass
from simtx.protocols import Saga

FACTOR = 2

def made(limit):
    @dataclass(frozen=True)
    class Mine(Saga):
        extra: int = 0
        tries = 3

        @property
        def name(self):
            return "mine"

        def machine(self, node, tx, more=1):
            return (limit, FACTOR, more) and super().machine(node, tx)

    return Mine
"""


def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str] = ("", ""), limit: int = 5) -> Any:
    """A user's class, from a file of its own."""
    import importlib
    import sys

    path = tmp_path / "my_strategies.py"
    path.write_text(MINE.replace(*change) if change[0] else MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_strategies", None)
    importlib.invalidate_caches()
    import linecache

    linecache.checkcache()
    return importlib.import_module("my_strategies").made(limit)


def test_a_users_class_is_in_the_key_with_all_that_it_uses(
    tiny: simtx.Scenario, ledger: RunLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attributes make another run; code makes the same run of other code, and the class is named."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    before = run(ledger, tiny, mine(tmp_path, monkeypatch)())
    assert run(ledger, tiny, mine(tmp_path, monkeypatch)()).key == before.key
    extra = run(ledger, tiny, mine(tmp_path, monkeypatch)(extra=1))
    assert extra.identity != before.identity
    seen = {before.key, extra.key}
    changes = [("FACTOR = 2", "FACTOR = 3"), ("tries = 3", "tries = 4"), ("more=1", "more=2"), ("(limit,", "(-limit,")]
    for change in changes:
        after = run(ledger, tiny, mine(tmp_path, monkeypatch, change)())
        assert after.identity == before.identity
        assert after.key not in seen, change
        seen.add(after.key)
        now, then = ledger.modules(after.code), ledger.modules(before.code)
        assert any("Mine" in name for name in now if now[name] != then.get(name))
    closure = run(ledger, tiny, mine(tmp_path, monkeypatch, limit=6)())
    assert closure.key not in seen


def test_what_cannot_be_compared_by_value_is_refused(tiny: simtx.Scenario, ledger: RunLedger) -> None:
    """A generator gives other values to the second run: a store that took it would answer with figures of the first."""

    class Draws(Saga):
        @property
        def name(self) -> str:
            return "draws"

    strategy = Draws()
    object.__setattr__(strategy, "numbers", iter([1, 2, 3]))
    with pytest.raises(ScenarioError, match="cannot be compared by value"):
        run(ledger, tiny, strategy)


def test_what_a_file_holds_is_in_the_key_and_is_read_again(
    tiny: simtx.Scenario, ledger: RunLedger, tmp_path: Path
) -> None:
    """The same path with other arrival times is another run, although the ledger remembers the cell."""
    path = tmp_path / "arrivals.csv"

    def wanted(times: list[float]) -> Wanted:
        path.write_text("time\n" + "\n".join(map(str, times)))
        return run(
            ledger,
            tiny.replace(workload={"kind": "trace", "trace": str(path)}, **{"run.transactions": 3, "run.warmup": 0}),
            Saga(),
        )

    first = wanted([0.1, 0.2, 0.3])
    assert wanted([0.1, 0.2, 0.4]).key != first.key
    assert wanted([0.1, 0.2, 0.3]).key == first.key


def _with_a_field(*, later: bool) -> type[ClientsSpec]:
    """What a scenario says of its clients, with one field more, as a later version of simtx may have it."""

    @dataclasses.dataclass(frozen=True, slots=True)
    class Later(ClientsSpec):
        patience: float = dataclasses.field(default=1.0, metadata={LATER: True} if later else {})

    Later.__module__, Later.__qualname__ = ClientsSpec.__module__, ClientsSpec.__qualname__
    return Later


@pytest.mark.parametrize("later", [True, False])
def test_a_folder_is_read_by_a_version_with_a_further_field(
    later: bool, whole: simtx.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that is marked as one that came later leaves the runs where they are found; without the mark they would be lost."""
    before = whole.frame
    monkeypatch.setattr("simtx.scenario.compose._parts", {})  # which were made of the class of before
    monkeypatch.setattr("simtx.scenario.build.ClientsSpec", _with_a_field(later=later))
    again = simtx.read(whole.store.folder)
    assert isinstance(again, simtx.Sweep)
    assert again.scenario.clients.patience == 1.0  # type: ignore[attr-defined]
    assert again.frame.equals(before) if later else again.frame.empty


@dataclasses.dataclass(frozen=True)
class _Careful(Saga):
    """A strategy with an option that came later."""

    care: int = dataclasses.field(default=0, metadata={LATER: True})


def test_an_option_that_came_later_is_in_the_identity_once_it_is_used() -> None:
    class _Plain(Saga):
        pass

    _Plain.__qualname__, _Plain.__module__ = _Careful.__qualname__, _Careful.__module__
    assert keys.strategy_identity(_Careful()) == keys.strategy_identity(_Plain())
    assert keys.strategy_identity(_Careful(care=1)) != keys.strategy_identity(_Plain())


OF_TODAY = {
    "2pc": "6d398a63b08e9263",
    "paxos-commit": "12c10865dc716a18",
    "cornus": "95fdbf1deb31a740",
    "saga": "6600872dce9ec7d9",
    "tcc": "bc93059916bc93c6",
    "outbox": "464ebd54155291c9",
    "choreography": "69e9c20274958ce4",
    "dual-write": "dd6ba15093210262",
}
"""By what runs of the strategies are found in the results folders of today."""


@pytest.mark.parametrize("name", list(OF_TODAY))
def test_the_runs_of_todays_folders_are_found_tomorrow(name: str) -> None:
    """An option or policy that comes now needs `field(default=..., metadata={"later": True})`, see `simtx.scenario.canonical.LATER`."""
    assert keys.strategy_identity(strategy(name, Policies())) == OF_TODAY[name]
