"""Whatever is given to a public function: it is taken, or there is one clear line, and never the error of something inside."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import simtx
from simtx import Backoff, BreakerPolicy, Outbox, Policies, ScenarioError, SimtxError
from simtx.checker.protocols.scope import Scope, ScopeOptions
from simtx.experiments.sweep.runner import Settings
from simtx.experiments.sweep.sweep import Options
from simtx.protocols.derived import CopyRule

NONSENSE: list[Any] = [None, 5, -1, 2.5, math.nan, "nonsense", "", [1], {"a": 1}, (), True, object(), print, int, b"x"]
SMALL = {"run.transactions": 20, "run.warmup": "0s"}
#: What simtx makes and hands over; nobody makes one of these by hand.
RESULTS = {
    "Alerts",
    "Comparison",
    "Decision",
    "EventLog",
    "LogEntry",
    "RandomValidation",
    "Run",
    "Scenario",
    "Sweep",
    "Validation",
    "Verdict",
    "Plan",
    "Frontier",
    "Explorer",
}


class Taken(Exception):
    """All arguments were taken, and the work would begin."""


@pytest.fixture(autouse=True)
def nothing_is_played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What takes long begins after the checks, and ends there."""

    def stop(*arguments: Any, **options: Any) -> Any:
        raise Taken

    monkeypatch.chdir(tmp_path)
    modules = {
        "simtx.experiments.compare": "opened",
        "simtx.experiments.sweep.runner": "Runner.run",
        "simtx.reference.execute": "played",
        "simtx.simulator.simulate": "World",
        "simtx.validation.calibrate": "execute",
        "simtx.validation.validate": "Work",
        "simtx.checker.explorer.explore": "_search",
        "simtx.checker.protocols.compiled": "_library",
        "simtx.lab.exploring": "Explorer._begin",
    }
    for module, name in modules.items():
        owner, _, method = name.rpartition(".")
        place = importlib.import_module(module)
        monkeypatch.setattr(getattr(place, owner) if owner else place, method, stop)


@functools.cache
def small() -> simtx.Scenario:
    """A scenario, read once."""
    return simtx.load("transfer").replace(**SMALL)


def good() -> dict[str, dict[str, Any]]:
    """Arguments that every function takes."""
    scenario = small()
    both = {"scenario": scenario, "strategy": "saga"}
    return {
        "simulate": dict(both),
        "execute": dict(both),
        "validate": dict(both),
        "compare": {"scenario": scenario, "workers": 1, "replications": 1},
        "saturation": {"scenario": scenario, "strategies": ["saga"], "replications": 2, "transactions": 100},
        "sweep": {"scenario": scenario, "over": {"workload.rate": [5]}, "store": "results", "workers": 1},
        "sensitivity": {"scenario": scenario, "strategies": ["2pc"], "factors": {"workload.rate": "20%"}, "workers": 1},
        "calibrate": {"scenario": scenario},
        "load": {"scenario": scenario},
        "strata": {"scenario": scenario},
        "verify": {"strategy": "2pc"},
        "verify_derived": {"rule": CopyRule()},
        "explore": {"model": _model()},
        "check_history": {
            "history": [{"id": 1, "process": 0, "status": "ok", "start": 0, "end": 1, "ops": [["w", "x", 1]]}]
        },
        "check_log": {"trace": simtx.EventLog([]), "strategy": simtx.Saga()},
        "diff": {"a": simtx.EventLog([]), "b": simtx.EventLog([])},
        "story": {"name": "hot-key"},
        "explorer": {"scenario": scenario, "strategies": ["2pc"]},
        "watch": {"run": SimpleNamespace(trace=simtx.EventLog([]), scenario=scenario)},
        "Range": {"low": 1, "high": 2},
        "Apart": {"metric": "latency_p99_ms"},
        "Best": {"metric": "latency_p99_ms"},
        "Precision": {"metric": "latency_p99_ms"},
    }


def _model() -> Any:
    from simtx.checker import Model

    return Model(initial=[0], successors=lambda state: [("again", state)])


def public() -> Iterator[tuple[str, str]]:
    """Every parameter of every public function and option class."""
    for name in sorted(simtx.__all__):
        one = getattr(simtx, name)
        if not callable(one) or name in RESULTS or (isinstance(one, type) and issubclass(one, BaseException)):
            continue
        for parameter in inspect.signature(one).parameters:
            yield name, parameter


@pytest.mark.parametrize(("name", "parameter"), list(public()))
def test_whatever_is_given_there_is_one_clear_line(name: str, parameter: str) -> None:
    function: Callable[..., Any] = getattr(simtx, name)
    taken = 0
    for value in NONSENSE:
        arguments = {**good().get(name, {}), parameter: value}
        said = None
        try:
            function(**arguments)
        except Taken:
            pass
        except SimtxError as error:
            said = str(error)
        if said is None:
            taken += 1
        else:
            assert said.strip(), value
            assert len(said.splitlines()) == 1, (value, said)
    assert taken < len(NONSENSE) - 3, "hardly anything is refused"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("simulate", {"scenario": None}, "scenario: None is no scenario; give the name of a built-in one, the path of a .toml file, or a scenario"),
    ("load", {"scenario": 5}, "scenario: 5 is no scenario; give the name of"),
    ("compare", {"replications": "a"}, "replications: must be a whole number from 1, or None, not 'a'"),
    ("compare", {"replications": math.nan}, "replications: must be a whole number from 1, or None, not nan"),
    ("compare", {"workers": "two"}, "workers: must be a whole number from 1, or None for one a processor, not 'two'"),
    ("compare", {"on_result": 5}, "on_result: must be a function, or None, not 5"),
    ("compare", {"strategies": "saga"}, "strategies: must be a list of strategies, names or objects, at least 1, not 'saga'"),
    ("compare", {"progress": 1}, "progress: must be True, False or None, not 1"),
    ("simulate", {"processes": [1]}, "processes: must be a list of functions that take the World and return a generator, not [1]"),
    ("simulate", {"trace": "ful"}, "trace: must be True, False or 'full', not 'ful'"),
    ("execute", {"progress": "yes"}, "progress: must be True, False, None or a function, not 'yes'"),
    ("execute", {"kills": [1]}, "kills: must be lists of CrashPoint by node, or None, not [1]"),
    ("execute", {"port": 70000}, "port: must be a whole number from 0 to 65535, not 70000"),
    ("execute", {"service_times": "no"}, "service_times: must be True or False, not 'no'"),
    ("validate", {"loads": (1.2,)}, "loads: must be a list of shares of saturation, numbers strictly between 0 and 1, not (1.2,)"),
    ("validate", {"calibration": "disk"}, "calibration: must be a Calibration, as simtx.calibrate makes it, or None, not 'disk'"),
    ("calibrate", {"utilisation": 1.5}, "utilisation: must be a number above 0 and below 1, not 1.5"),
    ("check_log", {"trace": [1]}, "trace: must be a list of events of a log, such as run.trace, not [1]"),
    ("Policies", {"call_timeout": -1}, "Policies: call_timeout: must be a number above 0, not -1"),
    ("Policies", {"call_timeout": math.nan}, "Policies: call_timeout: must be a number above 0, not nan"),
    ("Policies", {"poll_interval": 0}, "Policies: poll_interval: must be a number above 0, not 0"),
    ("Policies", {"attempts": 1.5}, "Policies: attempts: must be a whole number from 1, not 1.5"),
    ("Policies", {"compensation_attempts": 0}, "Policies: compensation_attempts: must be a whole number from 1, or None for ever, not 0"),
    ("Policies", {"backoff": 1}, "Policies: backoff: must be a Backoff, not 1"),
    ("Policies", {"breaker": True}, "Policies: breaker: must be a BreakerPolicy, or None, not True"),
    ("Backoff", {"cap": "5s"}, "Backoff: cap: must be a number above 0, not '5s'"),
    ("BreakerPolicy", {"threshold": 0}, "BreakerPolicy: threshold: must be a whole number from 1, not 0"),
    ("Outbox", {"wake": "yes"}, "Outbox: wake: must be True or False, not 'yes'"),
    ("Outbox", {"closing": 1}, "Outbox: closing: must be True or False, not 1"),
    ("Saga", {"policies": {}}, "Saga: policies: must be simtx.Policies, or None for the scenario's, not {}"),
    ("TwoPhaseCommit", {"policies": 5}, "TwoPhaseCommit: policies: must be simtx.Policies, or None for the scenario's, not 5"),
    ("DualWrite", {"policies": Policies}, "DualWrite: policies: must be simtx.Policies, or None for the scenario's, not <class"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "line"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_is_wrong_is_refused_in_these_words(name: str, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        getattr(simtx, name)(**{**good().get(name, {}), **arguments})
    assert str(caught.value).startswith(line)


def test_every_option_of_the_policies_is_checked() -> None:
    """A new one that is not is found here."""
    for kind in (Policies, Backoff, BreakerPolicy):
        for field in dataclasses.fields(kind):
            for wrong in ("1s", -1, math.nan, object()):
                with pytest.raises(ScenarioError, match=f"^{kind.__name__}: {field.name}: must be "):
                    kind(**{field.name: wrong})


def test_every_field_of_a_scope_is_an_argument_of_verify() -> None:
    """With its default and its documentation, for people and for type checkers."""
    given = inspect.signature(simtx.verify).parameters
    fields = {field.name: field.default for field in dataclasses.fields(Scope) if field.name != "steps"}
    assert {name: given[name].default for name in fields} == fields
    assert set(ScopeOptions.__annotations__) == set(fields)
    assert "crashes: Crashes of any node" in (simtx.verify.__doc__ or "")
    with pytest.raises(ScenarioError, match="did you mean 'crashes'"):
        simtx.verify("2pc", crashs=1)  # type: ignore[call-arg]


def test_type_checkers_know_every_option_of_a_sweep() -> None:
    given = inspect.signature(simtx.sweep).parameters
    assert set(Options.__annotations__) == set(given) - {"scenario", "over", "strategies", "dry_run"}
    settings = {field.name: field for field in dataclasses.fields(Settings)}
    assert [name for name in given if name in settings] == ["name", *(name for name in settings if name != "name")]
    for name, field in settings.items():
        assert (given[name].default, Options.__annotations__[name].__forward_arg__) == (field.default, field.type), name
        assert f"\n    {name}: " in (inspect.getdoc(simtx.sweep) or "")


def test_a_strategy_of_the_command_line_is_checked_the_same_way() -> None:
    from simtx.protocols import strategy

    assert strategy("outbox:wake=yes") == Outbox(wake=True)
    with pytest.raises(ScenarioError, match="option 'wake' is 'maybe', but must be 'true' or 'false'"):
        strategy("outbox:wake=maybe")


def test_the_old_names_work_for_one_release() -> None:
    assert (simtx.Trace, simtx.TraceEvent) == (simtx.EventLog, simtx.LogEntry)
    assert importlib.import_module("simtx.metrics.trace").TraceEvent is simtx.LogEntry
    crash_point = importlib.import_module("simtx.reference.node.crash_points").CrashPoint
    assert importlib.import_module("simtx.reference.node.killpoints").KillPoint is crash_point


def test_what_simtx_offers_is_what_completion_shows() -> None:
    """`simtx.<TAB>` shows every public name, and no module or helper that lies about."""
    assert dir(simtx) == sorted(simtx.__all__)
    for name in dir(simtx):
        assert getattr(simtx, name) is not None


def test_a_name_comes_from_where_type_checkers_take_it() -> None:
    (block,) = [node for node in ast.parse(inspect.getsource(simtx)).body if isinstance(node, ast.If)]
    imported = [
        (one.name, node.module) for node in block.body if isinstance(node, ast.ImportFrom) for one in node.names
    ]
    assert dict(imported) == simtx._HOMES


@pytest.mark.parametrize("name", sorted({name for name, _ in public() if inspect.isfunction(getattr(simtx, name))}))
def test_a_misspelt_argument_names_the_nearest(name: str) -> None:
    function: Callable[..., Any] = getattr(simtx, name)
    first = next(iter(inspect.signature(function).parameters), None)
    given = {parameter: value for parameter, value in good().get(name, {}).items() if parameter != first}
    meant = f"did you mean '{first}'" if first is not None else "the arguments are"
    with pytest.raises(ScenarioError, match=meant if name != "sensitivity" else "scenario"):
        function(**given, **{f"{first}s": 5})


class Broken(simtx.Saga):
    """A strategy of a user's own whose check does not work."""

    def check(self, plan: Any) -> str | None:
        raise KeyError("no such step")


class Unmade(simtx.Saga):
    """One whose constructor does not take its fields."""

    def __init__(self) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("method", "misspelt", "meant"),
    [
        (simtx.Comparison.best, "wher", "where"),
        (simtx.Comparison.report, "fronter", "frontier"),
        (simtx.Comparison.save, "overwrit", "overwrite"),
        (simtx.Sweep.report, "metrix", "the arguments are"),
        (simtx.Run.save, "overwrit", "overwrite"),
    ],
)
def test_a_misspelt_argument_of_a_method_names_the_nearest(method: Any, misspelt: str, meant: str) -> None:
    with pytest.raises(ScenarioError, match=f"there is no argument '{misspelt}'; .*{meant}") as refused:
        method(None, **{misspelt: 1})
    assert "self" not in str(refused.value)


def test_what_a_strategy_of_the_users_own_raises_is_one_line_with_its_name_and_the_cell() -> None:
    said = "strategy saga: check(plan) raises KeyError: 'no such step'"
    over = {"workload.rate": [5, 6]}
    calls: dict[str, Callable[[], Any]] = {
        f"transfer: {said}": lambda: simtx.simulate(small(), Broken()),
        f"transfer: {said} ": lambda: simtx.compare(small(), [Broken()], workers=1),
        f"cell workload.rate=5: {said}": lambda: simtx.sweep(small(), over, [Broken()], store=None),
        "strategy saga: configured(policies) raises TypeError": lambda: simtx.compare(small(), [Unmade()], workers=1),
        "cell workload.rate=5: strategy saga: configured(policies)": lambda: simtx.sweep(
            small(), over, [Unmade()], store=None
        ),
        "cell saga:call_timeout=1s: saga:call_timeout: an object of class Unmade cannot be made with another 'policies'": lambda: (
            simtx.sweep(small(), {"saga:call_timeout": ["1s"]}, [Unmade()], store=None)
        ),
    }
    for text, call in calls.items():
        with pytest.raises(ScenarioError) as refused:
            call()
        assert str(refused.value).startswith(text.strip())
        assert "\n" not in str(refused.value)
