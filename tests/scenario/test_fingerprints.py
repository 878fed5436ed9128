"""A fingerprint holds every input by value: what differs in anything that can change a figure has another one, and what does not has the same."""

from __future__ import annotations

import dataclasses
import importlib
import os
import subprocess
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simtx.errors import ScenarioError
from simtx.protocols import Backoff, BreakerPolicy, DualWrite, Outbox, Policies, Saga, TwoPhaseCommit, strategy
from simtx.scenario import (
    ClientsSpec,
    Constant,
    Scenario,
    business,
    fingerprints,
    from_dict,
    infrastructure,
    load,
    model,
)
from simtx.scenario.canonical import LATER, canonical, digest, untouched
from simtx.scenario.fingerprints import (
    DESCRIPTIVE,
    code_fingerprint,
    scenario_fingerprint,
    strategy_fingerprint,
    strategy_sources,
)

# --- scenarios ----------------------------------------------------------------------------------------------------------------


def rich() -> Scenario:
    """A scenario in which every field of the model has a value."""
    return load("checkout-outages").replace(
        **{
            "services.payments.store.replica_lag": "20ms",
            "services.payments.queue_limit": 50,
            "services.payments.compensation_time": "3ms",
            "network.client_zone": "frankfurt",
            "broker.retention": "1h",
            "policies.breaker": {"threshold": 5, "cooldown": "1s"},
            "policies.compensation_attempts": 4,
            "common_mode": {"links": 0.5},
            "faults[0].trigger": None,
        }
    )


def mutated(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    if value is None:
        return 7
    if isinstance(value, tuple):
        return (*value, value[-1]) if value else (("x", 1.0),)
    if isinstance(value, dict):
        return {**value, "x": 1.0}
    raise AssertionError(f"how is a {type(value).__name__} changed?")


def variants(value: Any, path: str = "") -> Any:
    """(path, copy of the value with this one part changed), for every part of it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            inside = getattr(value, field.name)
            whole = isinstance(value, Scenario) and field.name in DESCRIPTIVE
            for below, other in [("", "other")] if whole else variants(inside, ""):
                clone = object.__new__(type(value))  # the checks of a distribution are none of this test's business
                for each in dataclasses.fields(value):
                    object.__setattr__(clone, each.name, getattr(value, each.name))
                object.__setattr__(clone, field.name, other)
                yield f"{path}.{field.name}{below}", clone
        return
    yield path, mutated(value)
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            for below, other in variants(item, f"{path}[{index}]"):
                yield below, (*value[:index], other, *value[index + 1 :])
    if isinstance(value, dict):
        for key, item in value.items():
            for below, other in variants(item, f"{path}[{key}]"):
                yield below, {**value, key: other}


def test_each_field_of_a_scenario_changes_its_fingerprint():
    scenario = rich()
    seen = {scenario_fingerprint(scenario): "the scenario itself"}
    places = set()
    for path, other in variants(scenario):
        top = path.split(".")[1].partition("[")[0]
        if top in DESCRIPTIVE or path == ".workload.trace":
            assert scenario_fingerprint(other) == scenario_fingerprint(scenario), path
            continue
        found = scenario_fingerprint(other)
        assert found not in seen, f"{path} has the fingerprint of {seen[found]}"
        seen[found] = path
        places.add(top)
    assert places == {f.name for f in dataclasses.fields(Scenario)} - DESCRIPTIVE


def everything() -> Scenario:
    """A scenario with one of each that there is, and all figures that come from measurements of others stated."""
    log = {"forced_write": "1ms"}
    sell = {"key": "stock:{product}", "amount": -1, "low": 0}
    steps: list[dict[str, Any]] = [
        {
            "name": "reserve",
            "service": "orders",
            "operations": [sell],
            "compensation": [{"key": "stock:{product}", "amount": 1}],
        },
        {
            "name": "pay",
            "service": "card",
            "kind": "pivot",
            "operations": [{"key": "paid:{tx}", "kind": "set", "parameter": "price"}],
        },
    ]
    return from_dict(
        {
            "defaults": {"service_time": "5ms", "store": {"log": log}},
            "services": {"orders": {"store": {"initial": {"stock:*": 10}}}, "card": {"provider": {"latency": "200ms"}}},
            "hub": {"log": log},
            "vote_store": {"log": log},
            "network": {"latency": "1ms"},
            "broker": {"ack_latency": "1ms"},
            "transaction": {"parameters": {"product": {"population": 10}, "price": {"values": 5}}, "steps": steps},
            "workload": {"rate": 10},
            "run": {"transactions": 10},
            "clients": {"budget": {"ratio": 0.1}},
            "policies": {"breaker": {}},
            "common_mode": {"links": 0.5},
            "hosts": {"machine": {"nodes": ["*"], "event": "1ms"}},
            "derived": {"cache": {"service": "orders", "key": "stock:{product}", "reads": 5}},
            "groups": {"mail": {"service": "orders", "key": "stock:{product}"}},
            "aggregates": {"accounts": {"key": "account:{product}", "commands": 5}},
            "upgrades": [{"node": "hub", "at": "1s", "to": "2.1"}],
            "faults": [
                {"kind": "crash", "node": "orders", "duration": "1s", "trigger": {"transaction": 1, "effect": "Append"}}
            ],
            "invariants": [{"name": "stock", "kind": "bounds", "service": "orders", "prefix": "stock:", "low": 0}],
        }
    )


def met(value: Any) -> set[type]:
    """The dataclasses that a value is made of."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {type(value)}.union(*(met(getattr(value, one.name)) for one in dataclasses.fields(value)))
    members = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return set().union(*map(met, members))


OF_TODAY = {
    "services": "ea0d3fefd2f0aa77",
    "hub": "c22c8e208f84b476",
    "network": "da242caba52e8fb3",
    "broker": "73d42881c3c0acda",
    "transaction": "33a89545a9267315",
    "workload": "7edc8f3e84651fe7",
    "faults": "485be453ba5b70af",
    "policies": "bfad0b336c4caee2",
    "invariants": "4822ff7fca89141e",
    "run": "b5c11e035ff634ff",
    "deadlocks": "492bd0204b74443b",
    "vote_store": "0f01931e4286a1e3",
    "common_mode": "8245720f7ac3f78e",
    "hosts": "fb1a7dacd3088917",
    "derived": "71da8fe70cdc26f4",
    "groups": "b96f7417c7a052f0",
    "aggregates": "501c93ef7816ff31",
    "clients": "7f0e4f68fbce3a77",
    "events": "c037cef663c97ee2",
    "upgrades": "412aef44ebdc0192",
}
"""What runs in the results folders of today are found by: digests of the parts of `everything()`."""


def test_the_runs_of_todays_folders_are_found_tomorrow():
    """A part that differs has lost its runs. A field that comes now needs `field(default=..., metadata={"later": True})`, see `simtx.scenario.canonical.LATER`."""
    scenario = everything()
    specs = {
        one for module in (business, infrastructure, model) for one in vars(module).values() if isinstance(one, type)
    }
    assert met(scenario) >= {one for one in specs if dataclasses.is_dataclass(one)}
    parts = [
        one.name
        for one in dataclasses.fields(scenario)
        if one.name not in DESCRIPTIVE and not untouched(scenario, one.name)
    ]
    assert {name: digest(canonical(getattr(scenario, name))) for name in parts} == OF_TODAY
    assert scenario.fingerprint == "ab3da8de8a6fe894"


def test_a_field_that_came_later_counts_once_it_has_another_value_than_its_default():
    def prints(value: object, metadata: dict[str, bool]) -> str:
        @dataclasses.dataclass(frozen=True, slots=True)
        class Later(ClientsSpec):
            patience: object = dataclasses.field(default=1.0, metadata=metadata)

        Later.__module__, Later.__qualname__ = ClientsSpec.__module__, ClientsSpec.__qualname__
        scenario = load("transfer")
        return scenario_fingerprint(dataclasses.replace(scenario, clients=Later(patience=value)))

    before = load("transfer").fingerprint
    assert prints(1.0, {LATER: True}) == prints(1, {LATER: True}) == before
    others = [prints(value, {LATER: True}) for value in (2.0, True, None)]
    assert len({before, *others, prints(1.0, {})}) == 5


def test_a_long_list_of_numbers_counts_to_the_last_one():
    """The text that numpy and Python show of a long array leaves out its middle."""
    times = tuple(float(n) for n in range(5000))
    other = (*times[:2500], 2499.5, *times[2501:])
    assert canonical(times) != canonical(other)
    assert canonical(np.array(times)) != canonical(np.array(other))


def test_equal_scenarios_have_equal_fingerprints_in_every_process():
    code = "from simtx.scenario import load; print(load('checkout-outages').fingerprint)"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == load("checkout-outages").fingerprint


# --- strategies ---------------------------------------------------------------------------------------------------------------


def other_values(kind: Any, field: Any) -> list[Any]:
    """Every other value that an option may have."""
    hints = typing.get_type_hints(kind)
    wanted = hints[field.name]
    now = field.default
    if typing.get_origin(wanted) is typing.Literal:
        return [one for one in typing.get_args(wanted) if one != now]
    if wanted is bool:
        return [not now]
    if Policies in typing.get_args(wanted):
        return [Policies()]
    if now is None:
        return []
    return [mutated(now)]


@pytest.mark.parametrize("kind", [TwoPhaseCommit, Saga, Outbox, DualWrite])
def test_each_option_of_a_strategy_changes_its_fingerprint(kind):
    seen = {strategy_fingerprint(kind())}
    for field in dataclasses.fields(kind):
        for value in other_values(kind, field) if field.init else ():
            one = kind(**{field.name: value})
            assert strategy_fingerprint(one) not in seen, (field.name, value)
            seen.add(strategy_fingerprint(one))


def test_each_policy_changes_the_fingerprint_of_a_strategy():
    """Policies that come from the scenario are part of the strategy that is played."""
    whole = Policies(breaker=BreakerPolicy(), compensation_attempts=3)
    seen = {strategy_fingerprint(strategy("saga", whole))}
    for path, policies in variants(whole):
        found = strategy_fingerprint(strategy("saga", policies))
        assert found not in seen, path
        seen.add(found)


def test_the_four_strategies_differ_and_equal_ones_do_not():
    kinds = [TwoPhaseCommit, Saga, Outbox, DualWrite]
    assert len({strategy_fingerprint(kind()) for kind in kinds}) == 4
    assert strategy_fingerprint(strategy("saga", Policies())) == strategy_fingerprint(Saga(policies=Policies()))
    assert strategy_fingerprint(Saga(policies=Policies(backoff=Backoff(base=1)))) == strategy_fingerprint(
        Saga(policies=Policies(backoff=Backoff(base=1.0)))
    )
    assert strategy_sources(Saga()) == {}


USERS = """
    import math
    from dataclasses import dataclass, field
    from simtx.protocols import Saga, Policies
    import {helper}
    from {helper} import outer

    LIMIT = 3

    def inner(x):
        return x + LIMIT

    def factory(bound):
        def check(plan):
            return None if bound else "no"
        return check

    CHECK = factory(1)

    class Base:
        size = 5
        def entry(self, plan):
            return self.size

    @dataclass
    class Mine(Base):
        option: int = 1
        listed: list = field(default_factory=list)
        name = "mine"
        promise = "decided"
        uses_broker = False
        hub = None
        def machine(self, node, tx, again=2):
            return inner(tx) + outer(tx) + {helper}.deep(tx)
        def daemons(self, node):
            def nested():
                return LIMIT
            return ()
        def check(self, plan):
            return CHECK(plan)
"""
HELPER = """
    from {other} import deepest
    FACTOR = 2

    def outer(x):
        return FACTOR * x

    def deep(x):
        return deepest(x)
"""
OTHER = """
    def deepest(x):
        return -x
"""
CHANGES = [
    ("main", "LIMIT = 3", "LIMIT = 4"),
    ("main", "x + LIMIT", "x - LIMIT"),
    ("main", "factory(1)", "factory(2)"),
    ("main", "size = 5", "size = 6"),
    ("main", "return self.size", "return self.size + 1"),
    ("main", "again=2", "again=3"),
    ("main", "option: int = 1", "option: int = 2"),
    ("main", "default_factory=list", "default_factory=lambda: [1]"),
    ("main", 'promise = "decided"', 'promise = "accepted"'),
    ("main", "return LIMIT\n", "return LIMIT + 1\n"),
    ("helper", "FACTOR = 2", "FACTOR = 3"),
    ("helper", "FACTOR * x", "FACTOR + x"),
    ("other", "return -x", "return +x"),
]


def users(folder: Path, number: int, change: tuple[str, str, str] | None = None) -> Any:
    """The user's strategy, from files of its own, with one change."""
    texts = {"main": USERS, "helper": HELPER, "other": OTHER}
    if change is not None:
        where, old, new = change
        assert old in texts[where]
        texts[where] = texts[where].replace(old, new)
    place = folder / str(number)
    place.mkdir()
    for name, text in texts.items():
        (place / f"user_{name}.py").write_text(
            textwrap.dedent(text.format(helper="user_helper", other="user_other")), encoding="utf-8"
        )
    for name in [name for name in sys.modules if name.startswith("user_")]:
        del sys.modules[name]
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    try:
        return importlib.import_module("user_main").Mine()
    finally:
        sys.path.remove(str(place))


def test_a_change_anywhere_in_a_users_code_changes_the_fingerprint(tmp_path):
    """Constants, closures, defaults, class attributes, base classes, helpers, and modules that helpers import."""
    first = users(tmp_path, 0)
    seen = {strategy_fingerprint(first): "unchanged"}
    assert set(strategy_sources(first)) >= {"user_main.Mine.machine", "user_main.Base.entry", "user_helper"}
    for number, change in enumerate(CHANGES, start=2):
        found = strategy_fingerprint(users(tmp_path, number, change))
        assert found not in seen, f"{change} has the fingerprint of {seen[found]}"
        seen[found] = str(change)
    again = users(tmp_path, 1)
    assert seen[strategy_fingerprint(again)] == "unchanged", "the same text in another file is the same strategy"
    again.option = 9
    assert strategy_fingerprint(again) not in seen, "attributes count by value"
    again.option = 1
    again.added = "later"
    assert strategy_fingerprint(again) not in seen


def test_a_class_without_a_source_file_is_known_by_its_code():
    """As one that was typed into a prompt, or sent to `python -c`."""

    def made(body: str) -> Any:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(f"class Typed:\n  name = 'typed'\n  def machine(self, node, tx): return {body}", space)  # noqa: S102
        return space["Typed"]()

    assert strategy_fingerprint(made("tx + 1")) == strategy_fingerprint(made("tx + 1"))
    assert len({strategy_fingerprint(made(body)) for body in ("tx + 1", "tx + 2", "tx - 1", "node", "(tx, 1)")}) == 5


@pytest.mark.parametrize(
    "value",
    [iter([1, 2]), (n for n in range(3)), np.random.default_rng(1), open, sys.stdout],
    ids=["iterator", "generator", "random", "builtin", "file"],
)
def test_what_changes_while_it_is_used_is_refused(value):
    """A generator gives other values to the second run: no key of a run may hold one."""

    class Mine(Saga):
        pass

    mine = Mine()
    object.__setattr__(mine, "source", value)
    if value is open:
        strategy_fingerprint(mine)
        return
    with pytest.raises(ScenarioError, match=r"strategy saga\.source holds a .*, which cannot be compared by value"):
        strategy_fingerprint(mine)


def test_a_distribution_of_the_users_own_counts_by_value_too():
    class Twice(Constant):
        __slots__ = ()

    def with_time(one: Constant) -> Scenario:
        scenario = load("transfer")
        name, service = next(iter(scenario.services.items()))
        services = {**scenario.services, name: dataclasses.replace(service, service_time=one)}
        return dataclasses.replace(scenario, services=services)

    prints = [scenario_fingerprint(with_time(one)) for one in (Constant(1), Twice(1), Twice(2))]
    assert len(set(prints)) == 3


# --- code ---------------------------------------------------------------------------------------------------------------------


def test_every_module_that_a_run_has_loaded_is_in_the_fingerprint_and_none_that_only_shows():
    code = (
        "import sys, simtx; simtx.simulate('transfer', 'outbox').summary; "
        "print(*[name for name in sys.modules if name.startswith('simtx.')])"
    )
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    known = set(code_fingerprint().modules)
    assert loaded <= known | {"simtx.scenario.fingerprints", "simtx.scenario.canonical"}
    above = [name for name in known if name.split(".")[1:2] in (["report"], ["cli"], ["experiments"], ["checker"])]
    assert above == ["simtx.experiments.stratified"]  # it makes figures of several runs
    assert {"simtx.protocols.saga", "simtx.simulator.world", "simtx.workload.streams", "numpy"} <= known
    assert "simtx.reference.node.node" in code_fingerprint("executed").modules
    assert "simtx.reference.node.node" not in known


def test_a_change_of_a_module_is_named(tmp_path, monkeypatch):
    """A stale run can say which module changed."""
    before = code_fingerprint()
    edited = tmp_path / "saga.py"
    real = fingerprints._file

    def elsewhere(module: str) -> Path | None:
        return edited if module == "simtx.protocols.saga" else real(module)

    original = real("simtx.protocols.saga")
    assert original is not None
    edited.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(fingerprints, "_file", elsewhere)
    fingerprints._reached.cache_clear()
    try:
        assert code_fingerprint() == before
        edited.write_text(edited.read_text(encoding="utf-8") + "\nX = 1\n", encoding="utf-8")
        after = code_fingerprint()
        assert after.text != before.text
        assert after.changed(before.modules) == ["simtx.protocols.saga"]
    finally:
        fingerprints._reached.cache_clear()
    with pytest.raises(ScenarioError, match="it is 'simulated' or 'executed'"):
        code_fingerprint("real")


# --- parts in common ------------------------------------------------------------------------------------------------------------------


class Mutable(Constant):
    """A distribution of the user's, which he changes in place."""

    def __init__(self, value: float) -> None:
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "held", [value])


def test_cells_have_in_common_what_their_tables_have_in_common_to_the_byte() -> None:
    base = load("transfer")
    one, other = (base.replace(**{"workload.rate": rate}) for rate in (80, 90))
    assert one.network is other.network
    assert one.transaction is other.transaction
    assert one.fingerprint != other.fingerprint
    whole, broken = (base.replace(**{"policies.vote_timeout": value}) for value in ("1s", "1.5s"))
    assert whole.policies is not broken.policies
    base.replace(**{"services.sender.workers": 1})
    with pytest.raises(ScenarioError, match="workers"):  # equal to the 1 of before, and no number of workers
        base.replace(**{"services.sender.workers": True})


def test_a_part_that_somebody_can_change_is_looked_at_again() -> None:
    base = load("transfer")
    own = Mutable(0.001)
    name = next(iter(base.services))
    changed = dataclasses.replace(
        base, services={**base.services, name: dataclasses.replace(base.services[name], service_time=own)}
    )
    before = changed.fingerprint
    own.held.append(0.002)  # type: ignore[attr-defined]
    assert changed.fingerprint != before
