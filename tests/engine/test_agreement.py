"""The compiled engine and the interpreted one play the same run: every column, figure and sample, down to the last bit."""

from __future__ import annotations

import os
import random
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import simtx
from simtx.engine import NotCompiled, Unavailable, layout, learn, load_library
from simtx.engine.generators import generators
from simtx.engine.library import compiler
from simtx.errors import ScenarioError
from simtx.protocols import (
    Alert,
    Courier,
    DualWrite,
    Machine,
    Message,
    Outbox,
    Policies,
    Relay,
    Saga,
    Strategy,
    TwoPhaseCommit,
)
from simtx.protocols import strategy as resolve
from simtx.protocols.cornus import Cornus
from simtx.protocols.saga_participant import Participant
from simtx.scenario import HostSpec, from_dict
from simtx.scenario.distributions import Constant, Exponential, Lognormal, ShiftedLognormal
from simtx.scenario.model import Fault, Trigger
from simtx.simulator import engines
from simtx.simulator.compiled import CompiledLoop, binding
from simtx.workload.by_transaction import TransactionStreams
from tests.simulator.worlds import chain

sys.path.insert(0, str(Path(__file__).parent))
from worlds import (
    PatientOutbox,
    differs,
    shortened,
    some_aimed_crashes,
    some_scenario,
    some_strategy,
    with_a_provider,
    with_impatient_clients,
)

try:
    load_library()
except Unavailable as error:
    if compiler():  # a loop that cannot be compiled or loaded where there is a compiler is a fault
        raise
    pytest.skip(f"no compiled engine: {error}", allow_module_level=True)

BUILT_IN = ["transfer", "transfer-lab", "travel", "travel-regions", "checkout", "checkout-regions", "checkout-outages"]
STRATEGIES = [
    Saga(),
    TwoPhaseCommit(),
    Outbox(),
    DualWrite(),
    Saga(completion="lazy"),
    TwoPhaseCommit(work="before"),
    Outbox(closing=True, wake=True),
    DualWrite(order="broker-first"),
]


@pytest.mark.parametrize(("number", "name"), list(enumerate(BUILT_IN)))
@pytest.mark.sample(2)
def test_built_in_scenarios_are_played_alike(number: int, name: str) -> None:
    """The strategies are dealt out over the scenarios; the heavy test plays them all."""
    for place in range(4):
        assert (
            differs(shortened(name, 60), STRATEGIES[(5 * number + 2 * place + number // 2) % 8], seed=number + 1) == ""
        )


@pytest.mark.parametrize(
    "options", [{"presumption": "commit"}, {"termination": "cooperative"}, {"last_resource": "s0"}, {"one_phase": True}]
)
def test_variants_of_two_phase_commit_are_played_alike(options: dict[str, Any]) -> None:
    """Hot rows, tiny queues, short timeouts, bad links."""
    for seed in (2, 5):
        scenario = some_scenario(random.Random(seed), transactions=40)
        given = {
            name: scenario.transaction.steps[0].service if value == "s0" else value for name, value in options.items()
        }
        assert differs(scenario, TwoPhaseCommit(**given)) == ""


def test_several_steps_of_one_transaction_may_refuse() -> None:
    changes = {f"transaction.steps.{name}.refusal": 0.5 for name in ("charge", "dispatch")}
    assert differs(shortened("checkout", 60).replace(**changes), TwoPhaseCommit(), seed=1) == ""


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.sample(2)
def test_random_scenarios_are_played_alike(seed: int) -> None:
    """Hot rows, tiny queues, short timeouts, bad links, closed workloads."""
    pick = random.Random(seed)
    assert differs(some_scenario(pick, transactions=40), some_strategy(pick)) == ""


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.sample(2)
def test_several_aimed_crashes_strike_alike(seed: int) -> None:
    """Two to six of them, in scenarios as those, some of which have other faults, too."""
    pick = random.Random(seed)
    scenario, strategy = some_scenario(pick, transactions=40), some_strategy(pick)
    aimed = some_aimed_crashes(pick, list(scenario.services))
    assert differs(replace(scenario, faults=(*pick.choice([(), scenario.faults]), *aimed)), strategy, seed) == ""


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.sample(4)
def test_votes_in_a_shared_store_are_played_alike(seed: int) -> None:
    """Its log of any kind, its outages, requests that come twice or get lost, nodes that crash over a vote."""
    pick = random.Random(seed)
    scenario = some_scenario(pick, transactions=40)
    forced = pick.choice([Constant(0.0), Constant(0.004), Exponential(0.004)])
    log = replace(scenario.vote_store.log, forced_write=forced, flush=pick.choice(["parallel", "serial", "group"]))
    faults = [
        Fault(kind="vote-store-outage", node="vote-store", at=0.1, duration=Constant(0.2)),
        Fault(kind="vote-store-outage", node="vote-store", every=Exponential(0.2), duration=Exponential(0.1)),
        Fault(kind="partition", a=("vote-store",), at=0.05, duration=Constant(0.3)),
        Fault(kind="duplication", a=("vote-store",), at=0.0, duration=Constant(9.0), probability=0.5),
        Fault(
            kind="crash",
            node=pick.choice(list(scenario.services)),
            trigger=Trigger(pick.choice([0, 3, 9]), "LogOnce", pick.choice(["before", "after"]), 1),
            duration=Constant(0.1),
        ),
    ]
    struck = tuple(fault for fault in faults if pick.choice([True, False]))
    votes = replace(scenario.vote_store, log=log)
    assert differs(replace(scenario, vote_store=votes, faults=(*scenario.faults, *struck)), Cornus(), seed) == ""


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.sample(2)
def test_providers_outside_are_played_alike(seed: int) -> None:
    """One in each of some random scenarios, whatever it remembers."""
    pick = random.Random(seed)
    scenario = with_a_provider(pick, some_scenario(pick, transactions=40))
    strategy = pick.choice([Saga(), Outbox(), Outbox(reader="horizon"), DualWrite(), Saga(completion="lazy")])
    assert differs(scenario, strategy, seed) == ""


@pytest.mark.parametrize("seed", [*range(5), *range(6, 10)])
@pytest.mark.sample(2)
def test_impatient_clients_are_played_alike(seed: int) -> None:
    """Deadlines that travel, and budgets for asking again, in random scenarios."""
    pick = random.Random(seed)
    scenario, strategy = some_scenario(pick, transactions=40), some_strategy(pick)
    assert differs(with_impatient_clients(pick, scenario), strategy, seed) == ""


def test_a_request_that_crashes_its_node_at_once_has_been_received() -> None:
    """The client waits for an answer, and does not ask again as if nobody had been there."""
    host = HostSpec(2, 1.0, ("hub", "client"), 0, False, 0.0, 0.001, 0.0, 0.0)
    hosted = replace(shortened("checkout", 20).replace(**{"clients.ask_again": "unanswered"}), hosts={"host": host})
    crash = Fault(kind="crash", node="hub", trigger=Trigger(3, "Append", "before"), duration=Constant(0.2))
    aimed = replace(hosted, faults=(crash,))
    assert differs(aimed, Saga()) == ""
    (struck,) = simtx.simulate(aimed, Saga(), engine="interpreted").data.struck
    assert struck.kind == "crash"


@pytest.mark.parametrize(
    "strategy",
    [Outbox(reader="horizon"), Outbox(reader="lock", wake=True), PatientOutbox()],
    ids=["horizon", "lock", "own"],
)
def test_relays_of_all_kinds_are_played_alike(strategy: Outbox) -> None:
    for seed in (9, 13, 21):
        assert differs(some_scenario(random.Random(seed), transactions=40), strategy) == ""


@pytest.mark.parametrize(
    "strategy", [Saga(), TwoPhaseCommit(), Outbox(wake=True), DualWrite()], ids=lambda one: one.name
)
def test_hosts_are_played_alike(strategy: Strategy) -> None:
    """Everybody on one machine with two cores, which is short of them."""
    host = HostSpec(2, 1.0, ("orders", "inventory", "hub", "broker", "client"), 1, False, 0.001, 0.001, 0.002, 0.001)
    crowded = replace(shortened("checkout-outages", 40), hosts={"host": host})
    assert differs(crowded, strategy) == ""
    asides = {"event_aside": 0.0007, "transaction_aside": 0.001, "forced_write_aside": 0.0003, "mark_aside": 0.002}
    assert differs(replace(crowded, hosts={"host": replace(host, **asides)}), strategy) == ""


@pytest.mark.parametrize("strategy", [TwoPhaseCommit(), Outbox(wake=True)], ids=lambda one: one.name)
def test_restarts_that_take_processor_time_are_played_alike(strategy: Strategy) -> None:
    """Crashes hit processes that are up, down, and just starting."""
    everybody = ("orders", "inventory", "hub", "broker")
    host = HostSpec(2, 1.0, everybody, 1, False, 0.001, 0.001, 0.002, 0.001, restart=0.05)
    often = {"kind": "crash", "every": Exponential(0.2)}
    crashes = (
        Fault(**often, node="orders", duration=Constant(0.1)),
        Fault(**often, node="inventory", duration=Constant(0.1)),
        Fault(**often, node="inventory", duration=Constant(0.03)),
        Fault(**often, node="hub", duration=Constant(0.1)),
    )
    restless = replace(shortened("checkout-outages", 40), hosts={"host": host}, faults=crashes)
    assert differs(restless, strategy) == ""
    at_once = replace(restless, hosts={"host": replace(host, restart=0.0)})
    assert simtx.simulate(at_once, strategy).digest != simtx.simulate(restless, strategy).digest


class _Sorting(Relay):
    """A relay that hands rows out otherwise."""

    __slots__ = ()

    def publish(self, event: Any) -> Any:
        return super().publish(replace(event, value=tuple(reversed(event.value or ()))))


class _SortingOutbox(Outbox):
    """An outbox with such a relay."""

    def daemons(self, node: str) -> Any:
        return (_Sorting(node, self.policies or Policies()),)


class _Counting(Courier):
    """A courier that looks at the number of its row."""

    __slots__ = ()

    def go(self, event: Any) -> Any:
        return super().go(event) if self.number % 2 else [*super().go(event), Alert("even")]


class _CountingRelay(Relay):
    """A relay with such couriers."""

    __slots__ = ()
    courier_type = _Counting


class _CountingOutbox(Outbox):
    """An outbox with such a relay."""

    def daemons(self, node: str) -> Any:
        return (_CountingRelay(node, self.policies or Policies()),)


def test_a_relay_that_hands_rows_out_otherwise_is_interpreted() -> None:
    assert "not relays of a poller and couriers" in differs(shortened("transfer", 20), _SortingOutbox())


def test_a_courier_that_looks_at_its_row_is_found() -> None:
    assert "not compiled" in differs(shortened("transfer", 20), _CountingOutbox())


@pytest.mark.heavy
@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_every_strategy_on_every_built_in_scenario(name: str, strategy: Any) -> None:
    for seed in (1, 2, 3):
        assert differs(shortened(name, 2000), strategy, seed=seed) == ""


class _Hypothesis:
    """Lets hypothesis choose, so that a difference is shrunk."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def choice(self, values: list[Any]) -> Any:
        return values[self._data.draw(st.integers(0, len(values) - 1))]


@pytest.mark.heavy
@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=list(Phase)
)
@given(data=st.data())
def test_scenarios_that_hypothesis_makes(data: st.DataObject) -> None:
    pick = _Hypothesis(data)
    found = differs(some_scenario(pick, transactions=60), some_strategy(pick))
    assume("not compiled" not in found)
    assert found == ""


# --- random numbers ------------------------------------------------------------------------------------------------------------


def test_the_loop_makes_its_numbers_without_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the functions of NumPy that are here, no block of a frequent distribution is asked for."""
    assert generators(layout.bind(load_library())) is not None
    asked: list[Any] = []
    monkeypatch.setattr(TransactionStreams, "fill", lambda *_: asked.append(1))
    often = chain(
        3,
        delay=Lognormal(0.001, 0.5),
        write=Exponential(0.002),
        service_time=ShiftedLognormal(0.001, 0.002, 0.5),
        rate=50.0,
        transactions=60,
    )
    loop = CompiledLoop(often, resolve("saga", often.policies), seed=1, replication=0)
    loop.play()
    assert not asked


def test_numbers_are_the_same_where_python_is_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is where NumPy does not have these functions."""
    monkeypatch.setattr(binding, "generators", lambda library: None)
    assert differs(shortened("checkout", 60), Outbox()) == ""


def test_functions_that_write_other_numbers_are_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process compares them with what Python draws."""
    from simtx.engine import generators as module

    found = module._found()
    assert found is not None
    found.write[1], found.write[2] = found.write[2], found.write[1]
    monkeypatch.setattr(module, "_found", lambda: found)
    assert module._agreed.__wrapped__(load_library()) is None
    assert module._inner_loop(np.add) is None


def test_numpy_that_keeps_its_functions_elsewhere_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without their names in the library, without an exponential function of doubles, or where a ufunc does not begin as NumPy says, Python is asked."""
    from simtx.engine import generators as module

    with monkeypatch.context() as changed:
        changed.setattr(module._generator, "__file__", load_library()._name)  # a library without them
        assert module._found() is None
    with monkeypatch.context() as changed:
        changed.setattr(module, "_inner_loop", lambda _: None)
        assert module._found() is None
    with monkeypatch.context() as changed:
        changed.setattr(module._UFunc, "from_address", lambda _: module._UFunc(1, 1, 2, 0))  # no types
        assert module._inner_loop(np.exp) is None
    assert module._inner_loop(np.exp) is not None


# --- which engine --------------------------------------------------------------------------------------------------------------


def test_auto_takes_the_fast_engine_where_both_agree() -> None:
    scenario = shortened("transfer", engines.WORTH)
    fast = simtx.simulate(scenario, "saga")
    slow = simtx.simulate(scenario, "saga", engine="interpreted")
    assert (fast.engine, fast.engine_reason) == ("fast", "")
    assert (slow.engine, slow.engine_reason) == ("interpreted", "it was asked for")
    assert fast.digest == slow.digest
    assert fast.summary.equals(slow.summary)
    assert fast.transactions.equals(slow.transactions)
    assert fast.timeline.equals(slow.timeline)
    assert fast.quantities.equals(slow.quantities)
    assert [str(one) for one in fast.findings] == [str(one) for one in slow.findings]
    assert fast.warnings == slow.warnings


def test_small_runs_are_interpreted_without_a_word() -> None:
    run = simtx.simulate(shortened("transfer", 50), "saga")
    assert run.engine == "interpreted"
    assert "fewer than" in run.engine_reason
    assert not any("engine" in line for line in run.warnings)


def test_the_fast_engine_refuses_what_it_cannot_play() -> None:
    class Beside(Saga):
        """A saga with a daemon."""

        def daemons(self, node: str) -> Any:
            return (Participant(node, -1),)

    with pytest.raises(ScenarioError, match="daemons that are not relays"):
        simtx.simulate(shortened("transfer", 50), Beside(), engine="fast")


@pytest.mark.parametrize(
    ("strategy", "node", "effect"),
    [
        (TwoPhaseCommit(), "hub", "Append:commit"),
        (TwoPhaseCommit(), "inventory", "Prepare"),
        (Saga(), "payments", "Transact:action"),
        (Outbox(), "orders", "MarkOutbox:step-done"),
        (Outbox(reader="lock"), "orders", "Publish"),
        (DualWrite(), "orders", "Publish"),
    ],
    ids=str,
)
def test_aimed_crashes_strike_alike(strategy: Strategy, node: str, effect: str) -> None:
    """Before and behind the effect; each of them must have struck."""
    plain = replace(shortened("checkout", 30), faults=())
    for when in ("before", "after"):
        fault = Fault(kind="crash", node=node, trigger=Trigger(3, effect, when), duration=Constant(0.2))  # type: ignore[arg-type]
        aimed = replace(plain, faults=(fault,))
        assert differs(aimed, strategy) == ""
        loop = CompiledLoop(aimed, resolve(strategy, aimed.policies), seed=1, replication=0)
        loop.play()
        assert len(loop.world.struck) == 1, f"{effect} of {node} never came"


def test_too_little_memory_ends_a_run_with_a_line() -> None:
    """Wherever it is missing; the limit stands for a machine that has no more."""
    scenario, strategy = shortened("checkout-outages", 300), TwoPhaseCommit()
    chosen = resolve(strategy, scenario.policies)
    whole = CompiledLoop(scenario, chosen, seed=1, replication=0)
    whole.play()
    begun, taken = CompiledLoop(scenario, chosen, seed=1, replication=0).memory, whole.memory
    assert 0 < begun < taken
    for part in range(12):
        loop = CompiledLoop(scenario, chosen, seed=1, replication=0)
        loop.limit_memory(begun + (taken - begun) * part // 12)
        with pytest.raises(MemoryError, match=r"no memory for more than \d+ transactions"):
            loop.play()


def test_what_was_not_compiled_says_so_where_it_matters() -> None:
    scenario = shortened("checkout-outages", engines.MATTERS)
    (line,) = engines.told(scenario, "the scenario has faults")
    assert engines.told(shortened("transfer", 50), f"{engines.DIFFER}: a participant did otherwise")
    assert "interpreted engine" in line
    assert engines.told(shortened("checkout-outages", 50), "the scenario has faults") == []


class _Odd(Participant):
    """A participant that does otherwise for every other transaction."""

    def _command(self, command: Message) -> list[Any]:
        return [] if self.tx % 2 else super()._command(command)

    def _queue(self, command: Message) -> list[Any]:
        return super()._queue(command)


class _OddSaga(Saga):
    """A saga with such participants."""

    def machine(self, node: str, tx: int) -> Machine:
        made = super().machine(node, tx)
        return _Odd(node, tx) if type(made) is Participant else made


class _Shy(Saga):
    """A saga whose participants tell their transaction's number as a text."""

    def machine(self, node: str, tx: int) -> Machine:
        made = super().machine(node, tx)
        return _Telling(node, tx) if type(made) is Participant else made


class _Telling(Participant):
    def _command(self, command: Message) -> list[Any]:
        return [Message("done", self.tx, self.node, command.sender, f"about {self.tx}"), *super()._command(command)]


_Odd.transitions = Participant.transitions
_Telling.transitions = Participant.transitions


@pytest.mark.parametrize("strategy", [_OddSaga(), _Shy()], ids=["computes", "tells"])
def test_a_machine_that_looks_at_its_number_is_found(strategy: Any) -> None:
    """It branches on its number, or makes a text of it: neither may be learned as if it were the same for all."""
    assert "not compiled" in differs(shortened("transfer", 20), strategy)


def _wide(steps: int, transactions: int, **step: Any) -> CompiledLoop:
    """A saga of so many steps side by side, to be played once: its orchestrator has a state for each set of steps that are done."""
    scenario = from_dict(
        {
            "services": {f"s{number}": {"service_time": "2ms"} for number in range(steps)},
            "transaction": {
                "steps": [
                    {
                        "name": f"t{number}",
                        "service": f"s{number}",
                        "operations": [{"key": "row", "amount": 1}],
                        "compensation": [{"key": "row", "amount": -1}],
                        "after": [],
                        **step,
                    }
                    for number in range(steps)
                ]
            },
            "workload": {"kind": "poisson", "rate": 20},
            "run": {"transactions": transactions},
        },
        name="wide",
    )
    return CompiledLoop(scenario, resolve(Saga(), scenario.policies), seed=1, replication=0, runs=1)


@pytest.mark.parametrize(
    ("steps", "refusal", "share"), [(24, 0.0, learn.TRIED), (12, 0.0, learn.MOST), (8, 0.02, learn.MOST)]
)
def test_machines_without_an_end_of_states_are_given_up_early(steps: int, refusal: float, share: float) -> None:
    """Learning has taken no more than its share of what interpreting the run would: counted in pairs, and in events that could be interpreted meanwhile."""
    loop = _wide(steps, 2500, refusal=refusal)
    with pytest.raises(NotCompiled, match="new states and events"):
        loop.play()
    events = 2500 * (3 * steps + 1)
    assert loop._learner.size[1] * max(steps, learn.LEAST_COST) <= 1.2 * share * events


def test_machines_with_many_states_are_learned_where_that_pays() -> None:
    """Eight steps have about a thousand pairs: they get rarer, so that they are learned beyond the share that is just tried."""
    loop = _wide(8, 2500)
    loop.play()
    assert loop._learner.size[1] * 8 > learn.TRIED * 2500 * 25


class _Moody(Participant):
    """A participant that answers nothing more after some commands."""

    left: ClassVar[list[None]] = []

    def _command(self, command: Message) -> list[Any]:
        if not _Moody.left:
            return []
        _Moody.left.pop()
        return super()._command(command)


class _MoodySaga(Saga):
    """A saga with such participants."""

    def machine(self, node: str, tx: int) -> Machine:
        made = super().machine(node, tx)
        return _Moody(node, tx) if type(made) is Participant else made


_Moody.transitions = Participant.transitions


def test_a_machine_that_does_not_do_what_was_learned_ends_the_run() -> None:
    """The real machines of sampled transactions are played, too, and the pair is named."""
    _Moody.left = [None] * 12
    found = differs(shortened("transfer", 20), _MoodySaga())
    assert re.search(r"participant that is 'idle' did otherwise at 'do' in transaction \d", found), found


def test_the_engine_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SIMTX_ENGINE", "fast")
    assert simtx.simulate(shortened("transfer", 50), "saga").engine == "fast"
    monkeypatch.setitem(os.environ, "SIMTX_ENGINE", "quick")
    with pytest.raises(ScenarioError, match="SIMTX_ENGINE"):
        simtx.simulate(shortened("transfer", 50), "saga")
