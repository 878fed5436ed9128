"""The explorer without any widget: what is answered at once, what is played, what is dropped, and what is kept."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Executor, Future
from types import SimpleNamespace

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.experiments.work import play
from simtx.lab.answer import TIMES, Estimate, said
from simtx.lab.controls import controls, round_trip
from simtx.lab.picture import finding
from simtx.scenario import names
from tests.lab.conftest import PATIENCE


def test_what_nobody_has_moved_is_the_scenario(opened):
    explorer = opened("checkout")
    assert explorer.current().fingerprint == simtx.load("checkout").fingerprint
    answer = explorer.wait(PATIENCE)
    assert answer.origin == "played"
    assert answer.said == ""
    one = answer.estimates["2pc"][TIMES[0]]
    assert one.n == 2
    assert one.low < one.mean < one.high


def test_a_figure_is_that_of_the_run_which_the_simulator_plays(opened):
    explorer = opened(replications=1)
    explorer.move(rate=explorer.controls["rate"].values[-1], rtt=0.02)
    answer = explorer.wait(PATIENCE)
    scenario = explorer._memory.scenario_of(explorer.state)
    assert scenario.run.transactions == 40
    for label in ("2pc", "saga"):
        run = simtx.simulate(scenario, label, seed=1)
        assert answer.estimates[label]["decision_p99_ms"].mean == run.summary["decision_p99_ms"]


def test_each_control_changes_what_it_says():
    scenario = simtx.load("checkout-regions")
    explorer = simtx.explorer(scenario, transactions=20, ahead=0, executor="serial")
    with explorer:
        explorer.move(
            {"rate": 50, "rtt": 0.2, "service:payments": 0.05, "loss": 0.01, "down": 0.02, "outbox:closing": True}
        )
        changed = explorer.current()
        assert changed.workload.rate == 50
        assert round_trip(changed) == pytest.approx(0.2)
        assert changed.services["payments"].service_time.mean() == pytest.approx(0.05)
        assert changed.services["orders"].service_time == scenario.services["orders"].service_time
        assert changed.network.loss == 0.01
        crash = next(one for one in changed.faults if one.kind == "crash")
        assert crash.duration.mean() / (crash.duration.mean() + crash.every.mean()) == pytest.approx(0.02, rel=1e-3)
        assert explorer.options()["outbox"].closing is True


def test_links_keep_their_proportion_when_the_distance_changes():
    scenario = simtx.load("travel-regions")
    with simtx.explorer(scenario, ["saga"], transactions=20, ahead=0, executor="serial") as explorer:
        explorer.move(rtt=0.1)
        now, before = explorer.current().network, scenario.network
        factor = 0.1 / round_trip(scenario)
        for a, b in before.links:
            expected = before.latency(a, b).mean() * (factor if a != b else 1.0)
            assert now.latency(a, b).mean() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", names())
def test_every_scenario_has_controls(name):
    scenario = simtx.load(name)
    found = controls(scenario, {"saga": simtx.Saga()})
    assert {"loss", "down"} <= set(found)
    for one in found.values():
        assert one.base in one.values
        if one.numeric:
            assert list(one.values) == sorted(set(one.values))
            assert one.place(one.values[0]) == 0
            assert one.place(one.values[-1]) == 1


def test_where_something_was_played_before_it_is_answered_at_once(opened):
    explorer = opened()
    explorer.wait(PATIENCE)
    explorer.move(rate=explorer.controls["rate"].values[-1])
    explorer.wait(PATIENCE)
    seen = []
    explorer.on_answer(seen.append)
    explorer.move(rate=None)
    explorer.wait(PATIENCE)
    assert [(one.origin, one.finished) for one in seen] == [("played", True)]


def test_between_points_it_is_interpolated_at_once_and_then_played(opened):
    explorer = opened(replications=1)
    values = explorer.controls["rate"].values
    for index in (0, 8, 16, 24):
        explorer.move(rate=values[index])
        explorer.wait(PATIENCE)
    seen = []
    explorer.on_answer(seen.append)
    explorer.move(rate=values[12] if values[12] != explorer.controls["rate"].base else values[13])
    explorer.wait(PATIENCE)
    assert [one.origin for one in seen] == ["interpolated", "played"]
    assert "INTERPOLATED between" in seen[0].status
    guess, real = (one.estimates["saga"][TIMES[0]] for one in seen)
    assert guess.low < guess.mean < guess.high
    assert guess.mean == pytest.approx(real.mean, rel=0.5)


def test_nothing_is_said_beyond_the_outermost_point_nor_where_something_else_was_moved(opened):
    explorer = opened(replications=1)
    values = explorer.controls["rate"].values
    for index in (8, 10, 14, 16, 17):
        explorer.move(rate=values[index])
        explorer.wait(PATIENCE)
    seen = []
    explorer.on_answer(seen.append)
    explorer.move(rate=values[-1])
    explorer.wait(PATIENCE)
    explorer.move(rate=values[9], loss=0.05)
    explorer.wait(PATIENCE)
    assert [one.origin for one in seen if not one.finished] == ["nothing", "nothing"]


def test_positions_around_are_played_ahead(opened):
    explorer = opened(replications=1, ahead=3, strategies=("saga",))
    explorer.move(rtt=0.05)
    explorer.wait(PATIENCE)
    over = threading.Event()
    explorer.on_answer(lambda answer: over.set() if len(answer.curves["saga"].played) >= 4 else None)
    over.wait(PATIENCE)
    assert over.is_set()
    assert {x for x, _ in explorer.answer.curves["saga"].played} >= {explorer.controls["rtt"].values[0], 0.05}


class Held(Executor):
    """Plays runs when the test says so; until then they stand in line, or under way."""

    _max_workers = 1

    def __init__(self):
        self.calls = []
        self.asked = threading.Condition()
        self.gate = threading.Event()  # who submits does not go on while it is closed
        self.gate.set()

    def submit(self, function, /, *arguments):
        future = Future()
        with self.asked:
            self.calls.append((future, arguments))
            self.asked.notify_all()
        assert self.gate.wait(PATIENCE)
        return future

    def until(self, count):
        with self.asked:
            assert self.asked.wait_for(lambda: len(self.calls) >= count, PATIENCE)

    def release(self):
        for future, arguments in self.calls:
            if not future.done() and (future.running() or future.set_running_or_notify_cancel()):
                future.set_result(play(*arguments))


def test_the_newest_position_wins_and_old_work_is_dropped(opened):
    held = Held()
    explorer = opened(executor=held, strategies=("saga",), replications=1)
    held.until(1)  # of the scenario as it is
    values = explorer.controls["rate"].values
    seen = []
    explorer.on_answer(seen.append)
    held.gate.clear()
    explorer.move(rate=values[0])
    held.until(2)
    for value in values[1:6]:
        explorer.move(rate=value)
    held.gate.set()
    held.until(3)
    assert held.calls[0][0].cancelled()
    done = threading.Event()

    def let_go():
        while not done.wait(0.02):
            held.release()

    helper = threading.Thread(target=let_go, daemon=True)
    helper.start()
    try:
        answer = explorer.wait(PATIENCE)
    finally:
        done.set()
        helper.join()
    assert answer.state.values == {"rate": values[5]}
    assert len(held.calls) < 7  # not every position on the way was begun
    assert seen[-1].state.values == {"rate": values[5]}
    assert all(one.state.values == {"rate": values[5]} for one in seen if one.finished)


def test_moving_something_never_waits_for_what_is_played(opened):
    held = Held()
    explorer = opened(executor=held, strategies=("saga",), replications=1)
    held.until(1)
    explorer.move(rtt=0.1)  # returns although nothing will ever be played
    assert explorer.state.values == {"rtt": 0.1}
    with pytest.raises(simtx.SimtxError, match="no answer within"):
        explorer.wait(0.01)


def test_a_failure_by_name_strikes_within_the_run(opened):
    explorer = opened("transfer", replications=1, transactions=100)
    calm = explorer.wait(PATIENCE)
    explorer.strike("coordinator-dies")
    struck = explorer.wait(PATIENCE)
    assert "dies" in struck.said
    assert struck.estimates["2pc"]["decision_p99_ms"].mean > 3 * calm.estimates["2pc"]["decision_p99_ms"].mean
    assert [one.kind for one in explorer.current().faults] == ["crash"]


def test_a_failure_lasts_as_long_in_the_picture_as_in_the_file_and_in_a_full_run(opened, tmp_path):
    """A share of each run's own length would be another failure in each of them."""
    explorer = opened("transfer", replications=1, transactions=60, executor=Held())
    explorer.strike("broker-outage")
    state, memory = explorer.state, explorer._memory
    (short,), (full,) = (memory.scenario_of(state, whole=whole).faults for whole in (False, True))
    (kept,) = simtx.load(explorer.save(tmp_path / "kept.toml")).faults
    lasts = short.duration.mean()
    assert memory.scenario.expected_length() > 5 * memory.short.expected_length()
    assert (
        full.duration.mean()
        == kept.duration.mean()
        == lasts
        == pytest.approx(0.2 * memory.short.expected_length(), rel=0.01)
    )
    assert f"broker is away for {lasts:g} s" in said(memory, state)


def test_faults_that_come_late_keep_the_scenario_at_its_length(opened):
    explorer = opened("checkout-outages", strategies=("saga",), executor=Held())
    assert explorer._memory.short.fingerprint == simtx.load("checkout-outages").fingerprint


# --- results folders ------------------------------------------------------------------------------------------------------------


def test_what_a_sweep_has_played_is_found_and_its_values_become_positions(opened, tmp_path):
    small = simtx.load("transfer").replace(**{"run.transactions": 40, "run.warmup": "0s"})
    sweep = simtx.sweep(
        small, {"workload.rate": [47, 90]}, ["2pc", "saga"], replications=2, store=tmp_path, executor="serial"
    )
    explorer = opened(small, store=sweep, executor=Held())
    assert {47.0, 90.0} <= set(explorer.controls["rate"].values)
    explorer.move(rate=47)
    answer = explorer.wait(PATIENCE)
    assert answer.origin == "stored"
    expected = sweep.interval({"workload.rate": 47}, "saga", "decision_p50_ms")
    assert answer.estimates["saga"][TIMES[0]].mean == pytest.approx(expected.mean)
    assert "from the results folder: 2 runs" in answer.status


def test_what_was_played_is_found_by_the_next_explorer(opened, tmp_path):
    first = opened(store=tmp_path)
    first.move(rtt=0.05)
    before = first.wait(PATIENCE)
    first.close()
    second = opened(store=tmp_path, executor=Held(), values={"rtt": 0.05})
    after = second.wait(PATIENCE)
    assert after.estimates["2pc"] == before.estimates["2pc"]


# --- what goes wrong ------------------------------------------------------------------------------------------------------------


def test_wrong_input_is_said_in_one_line(opened):
    explorer = opened(executor=Held())
    with pytest.raises(ScenarioError, match="there is no control 'raet'; did you mean 'rate'"):
        explorer.move(raet=3)
    with pytest.raises(ScenarioError, match=r"rate: 1\d+\.0 is not between"):
        explorer.move(rate=1e9)
    with pytest.raises(ScenarioError, match="there is no failure"):
        explorer.strike("flood")
    with pytest.raises(ScenarioError, match="is not drawn here"):
        explorer.draw("latency")
    with pytest.raises(ScenarioError, match="ahead: must be a whole number"):
        simtx.explorer("transfer", ahead=-1)
    with pytest.raises(ScenarioError, match="there is no scenario 'transfr'"):
        simtx.explorer("transfr")


def test_what_cannot_be_played_is_an_answer_and_the_explorer_goes_on(opened, monkeypatch):
    explorer = opened(strategies=("saga",), replications=1)
    explorer.wait(PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr(
            explorer._memory, "tasks", lambda *_: (_ for _ in ()).throw(ScenarioError("does not fit", "rate"))
        )
        explorer.move(rtt=0.1)
        assert "does not fit" in explorer.wait(PATIENCE).status
    explorer.move(rtt=0.2)
    assert explorer.wait(PATIENCE).origin == "played"


def test_a_closed_explorer_says_so(opened):
    explorer = opened()
    explorer.close()
    with pytest.raises(simtx.SimtxError, match="closed"):
        explorer.wait(1)


def test_the_title_names_no_winner_by_medians_alone_whose_slow_ones_are_the_slowest():
    def title(p99: Estimate) -> str:
        medians = {"2pc": Estimate("played", 92.3), "saga": Estimate("played", 112.0)}
        tails = {"2pc": p99, "saga": Estimate("played", 371.0)}
        estimates = {name: {TIMES[0]: medians[name], TIMES[1]: tails[name]} for name in medians}
        answer = SimpleNamespace(problem="", estimates=estimates, timeouts={}, origin="played")
        return finding(answer, SimpleNamespace(strategies=["2pc", "saga"]))

    assert title(Estimate("played", 200.0)) == "Final outcome after (median): 2pc 92.3 ms, saga 112 ms"
    unended = title(Estimate("played", math.inf, watched=6310.0))
    assert unended == "Final outcome after (median): 2pc 92.3 ms, saga 112 ms; 99\u00a0%: saga 371 ms, 2pc > 6,310 ms"
