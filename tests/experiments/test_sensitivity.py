"""Sensitivity: effects, flips, indices against closed forms; what must not change the answer; noise and inputs apart; runs that failed are named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.experiments.sensitivity import flips as flip
from simtx.experiments.sensitivity import indices
from simtx.experiments.sensitivity.inputs import resampled, taken_apart
from simtx.experiments.sensitivity.question import Answers
from simtx.experiments.sensitivity.tornado import positions, tornado
from simtx.scenario.calibration import Block, Calibration
from simtx.scenario.uncertain import Figure, Uncertainty

RNG = np.random.default_rng


def _factors(*names: str, share: float = 0.2) -> dict[str, Uncertainty]:
    return {name: Uncertainty(name, (Figure(name, 10.0, "number"),), 1 - share, 1 + share) for name in names}


def _runs(answer: Any, places: list[dict[str, float]], noise: float = 0.0, seed: int = 1) -> Answers:
    """Replications of an answer at positions of factors, under common random numbers."""
    common, own = RNG(seed).standard_normal(8), RNG(seed + 1).standard_normal((len(places), 8))
    return Answers(np.array([[answer(place) + 2 * u for u in common] for place in places]) + noise * own, "plain")


# --- one at a time ------------------------------------------------------------------------------------------------------------------


def _linear(place: dict[str, float]) -> float:
    return 3 * place.get("a", 0.0) - 5 * place.get("b", 0.0) + 0.5 * place.get("c", 0.0)


def test_a_tornado_has_the_effects_of_both_ends_and_common_noise_drops_out() -> None:
    factors = _factors("a", "b", "c")
    table = tornado(factors, _runs(_linear, positions(list(factors))), 0.95)
    assert table["factor"].tolist() == ["b", "a", "c"]
    assert table["low"].tolist() == pytest.approx([5, -3, -0.5])
    assert table["high"].tolist() == pytest.approx([-5, 3, 0.5])
    assert table["low_to"].tolist() == pytest.approx(table["low"].tolist())
    assert table["swing"].tolist() == pytest.approx([10, 6, 1])


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "a", "b")])
@pytest.mark.parametrize(("sign", "shift"), [(1, 0.0), (-1, 0.0), (1, 100.0)])
def test_order_sign_and_shift_do_not_change_what_matters_most(order: tuple[str, ...], sign: int, shift: float) -> None:
    factors = _factors(*order)
    table = tornado(factors, _runs(lambda place: shift + sign * _linear(place), positions(list(order)), 0.01), 0.95)
    assert table["factor"].tolist() == ["b", "a", "c"]
    assert table["swing"].tolist() == pytest.approx([10, 6, 1], abs=0.1)


# --- flips --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([-2, -1, 0.5], 2 / 3),  # between what is and the high end
        ([1, -1, -3], -0.5),
        ([-1.5, -1, -0.5], 2.0),  # beyond the high end, on the straight line
        ([-1, -1, -1], math.inf),
        ([-1.1, -1, -0.9], math.inf),  # ten times its uncertainty
        ([1, -1, 1], -0.5),  # equally near on both sides
        ([0, 0, 1], 0.0),
    ],
)
def test_the_distance_to_a_flip_is_where_the_curve_is_zero_first(means: list[float], expected: float) -> None:
    assert flip.crossings([-1.0, 0.0, 1.0], np.array(means, dtype=float)) == pytest.approx([expected])


def _flips(
    answer: Any, names: tuple[str, ...] = ("a", "b", "c"), noise: float = 0.1, seed: int = 1, sign: int = 1
) -> Any:
    factors = _factors(*names)
    values = {}
    for name in names:
        found = _runs(answer, [{}, {name: -1.0}, {name: 1.0}], noise, seed)
        values[name] = sign * (found.values - 2 * RNG(seed).standard_normal(8))
    return flip.flips(factors, dict.fromkeys(names, (0.0, -1.0, 1.0)), values, 0.95, 1)


def test_factors_are_ranked_by_their_distance_to_the_flip_in_units_of_their_uncertainty() -> None:
    table = _flips(lambda place: -1 + 4 * place.get("a", 0.0) - 2 * place.get("b", 0.0) + 0.1 * place.get("c", 0.0))
    assert table["factor"].tolist() == ["a", "b", "c"]
    assert table["distance"].tolist()[:2] == pytest.approx([0.25, -0.5], abs=0.08)
    assert table["distance"].tolist()[2] == math.inf
    assert table["change"].tolist()[:2] == pytest.approx([0.05, -0.1], abs=0.02)
    assert table["value"].tolist()[:2] == pytest.approx([10.5, 9.0], abs=0.2)
    assert (table["nearest"] <= table["distance"].abs()).all()
    assert (table["distance"].abs() <= table["furthest"]).all()


def test_where_the_strategies_are_not_told_apart_the_answer_may_have_flipped_already() -> None:
    """No factor moves anything here; three replications, of which one says otherwise, do not say that nothing flips."""
    values = {"a": np.tile([-3.0, -2.0, 1.0], (3, 1))}
    table = flip.flips(_factors("a"), {"a": (0.0, -1.0, 1.0)}, values, 0.95, 1)
    assert table.iloc[0][["nearest", "distance"]].tolist() == [0.0, math.inf]


def test_exchanging_the_strategies_changes_no_distance() -> None:
    def answer(place: dict[str, float]) -> float:
        return -1 + 4 * place.get("a", 0.0) - 2 * place.get("b", 0.0)

    straight, turned = _flips(answer), _flips(answer, sign=-1)
    assert straight["factor"].tolist() == turned["factor"].tolist()
    for column in ("distance", "nearest", "furthest"):
        assert straight[column].tolist() == pytest.approx(turned[column].tolist())


def test_another_order_of_the_factors_gives_the_same_ranking() -> None:
    def answer(place: dict[str, float]) -> float:
        return -1 + 4 * place.get("a", 0.0) - 2 * place.get("b", 0.0)

    assert _flips(answer, noise=0.0)["factor"].tolist() == _flips(answer, ("c", "b", "a"), noise=0.0)["factor"].tolist()


def test_the_interval_of_a_distance_covers_it_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        row = _flips(lambda place: -1 + 2 * place.get("a", 0.0), ("a",), noise=0.6, seed=100 + 2 * seed).iloc[0]
        covered += row["nearest"] <= 0.5 <= row["furthest"]
    assert covered >= 50  # the bootstrap of eight replications covers about nine times in ten


# --- all together -------------------------------------------------------------------------------------------------------------------


def _sobol_points(count: int, dimensions: int) -> Any:
    from scipy.stats import qmc

    return qmc.Sobol(dimensions, seed=np.random.default_rng(1)).random(count)


def test_sobol_indices_of_a_surface_with_an_interaction_are_those_of_its_closed_form() -> None:
    """The surface is 2 a + b + 3 (a - 1/2)(c - 1/2): shares by hand."""
    places = _sobol_points(64, 3)
    surface = 2 * places[:, 0] + places[:, 1] + 3 * (places[:, 0] - 0.5) * (places[:, 2] - 0.5)
    values = surface[:, None] + 0.05 * RNG(3).standard_normal((64, 6))
    table, noise = indices.sobol(["a", "b", "c"], places, Answers(values, "plain"), 0.95, 1)
    parts = np.array([4 / 12, 1 / 12, 9 / 144])
    whole = parts.sum()
    table = table.set_index("factor")
    assert table["first"].to_dict() == pytest.approx({"a": parts[0] / whole, "b": parts[1] / whole, "c": 0.0}, abs=0.04)
    assert table["total"].to_dict() == pytest.approx(
        {"a": (parts[0] + parts[2]) / whole, "b": parts[1] / whole, "c": parts[2] / whole}, abs=0.04
    )
    assert noise == pytest.approx(0.0025 / (0.0025 + whole), rel=0.2)
    inside = (table["total_low"] <= table["total"]) & (table["total"] <= table["total_high"])
    assert inside.all()


def test_noise_makes_indices_less_certain_and_is_no_interaction() -> None:
    places = _sobol_points(32, 2)
    surface = places @ np.array([2.0, 1.0])
    widths = []
    for size in (0.02, 0.6):
        values = surface[:, None] + size * RNG(4).standard_normal((32, 6))
        table, _ = indices.sobol(["a", "b"], places, Answers(values, "plain"), 0.95, 1)
        widths.append(float((table["first_high"] - table["first_low"]).mean()))
        assert (table["total"] - table["first"]).abs().max() < 0.12
    assert widths[1] > 2 * widths[0]


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(ScenarioError, match="7 cells do not do for 2 factors; 8 are needed"):
        indices.sobol(["a", "b"], RNG(1).random((7, 2)), Answers(RNG(1).random((7, 3)), "plain"), 0.95, 1)


def test_morris_finds_the_effect_over_the_whole_range_and_what_does_nothing_has_none() -> None:
    names = ["a", "b", "c"]
    places = indices.morris_positions(names, 10, 1)
    answer = 3 * places[:, 0] - 5 * places[:, 1]
    values = answer[:, None] + 0.3 * RNG(5).standard_normal((len(places), 8))
    table, noise = indices.morris(names, places, Answers(values, "plain"), 0.95, 1)
    assert table["factor"].tolist() == ["b", "a", "c"]
    assert table["mu"].tolist() == pytest.approx([-10, 6, 0], abs=0.3)
    assert table["mu_star"].tolist()[2] < 0.5
    assert noise == pytest.approx(0.3 * math.sqrt(2 / 8) / (2 / 3), rel=0.15)


@pytest.mark.parametrize("method", ["morris", "sobol"])
def test_an_answer_that_is_no_number_never_reaches_an_index(method: str) -> None:
    places = indices.morris_positions(["a", "b"], 4, 1)
    values = np.ones((len(places), 3))
    values[2, 1] = math.nan
    found = Answers(values, "plain")
    with pytest.raises(ScenarioError, match="some answers are no numbers"):
        getattr(indices, method)(["a", "b"], places, found, 0.95, 1)


# --- inputs -------------------------------------------------------------------------------------------------------------------------


def _calibration(samples: int) -> Calibration:
    block = Block(samples, tuple(np.sort(RNG(6).exponential(0.001, 200)).tolist()))
    return Calibration("mine", "", {}, {}, {"forced": block})


@pytest.mark.parametrize("samples", [100, 2500])
def test_another_sample_of_the_same_size_differs_by_its_standard_error(samples: int) -> None:
    calibration = _calibration(samples)
    block = calibration.blocks["forced"]
    means = [resampled(calibration, RNG(seed)).blocks["forced"].mean for seed in range(200)]
    assert np.mean(means) == pytest.approx(block.mean, rel=0.03)
    assert np.std(means) == pytest.approx(np.std(block.values) / math.sqrt(samples), rel=0.15)


def test_what_inputs_and_what_replications_leave_open_are_told_apart() -> None:
    """More replications shrink the one and not the other."""
    parts = []
    for replications in (10, 160):
        found = []
        for seed in range(20):
            rng = RNG([seed, replications])
            rows, columns = 0.5 * rng.standard_normal((25, 1)), 2.0 * rng.standard_normal(replications)
            values = rows + columns + 0.7 * rng.standard_normal((25, replications))
            found.append(taken_apart(_calibration(400), Answers(values, "plain")))
        parts.append((np.mean([one.inputs for one in found]), np.mean([one.replications for one in found])))
    assert parts[0][0] == pytest.approx(0.5, abs=0.06)
    assert parts[1][0] == pytest.approx(0.5, abs=0.05)
    assert parts[0][1] == pytest.approx(2 / math.sqrt(10), rel=0.15)
    assert parts[1][1] == pytest.approx(2 / math.sqrt(160), rel=0.15)


# --- with runs ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> simtx.Scenario:
    return simtx.load("transfer").replace(
        **{
            "run.transactions": 60,
            "run.warmup": "0.05s",
            "uncertainty": {"workload.rate": "30%", "services.*.service_time": "40%"},
        }
    )


PLAY: dict[str, Any] = {"replications": 3, "executor": "serial", "progress": False}


def test_a_study_of_two_strategies_has_effects_flips_and_noise_and_repeats_nothing(
    tiny: simtx.Scenario, tmp_path: Path
) -> None:
    found = simtx.sensitivity(tiny, ["2pc", "saga"], store=tmp_path, **PLAY)
    assert set(found.table["factor"]) == {"workload.rate", "services.*.service_time"}
    assert found.noise > 0
    assert found.flips is not None
    assert found.winner in ("2pc", "saga", "")
    played: list[Any] = []
    again = simtx.sensitivity(
        tiny, ["2pc", "saga"], store=tmp_path, on_result=lambda row, outcome: played.append(row), **PLAY
    )
    assert not played
    assert again.caption == found.caption
    text = str(found)
    sure = "supported: " if found.winner else "not supported: "
    assert text.startswith(f"{sure}latency_p99_ms of 2pc against saga: {found.effect(found.answer.mean)} (95 %: ")  # type: ignore[union-attr]
    first = found.table.iloc[0]
    assert f"{100 * math.expm1(first['low']):+.3g} %" in text
    assert f"noise between replications: {found.noise_text}" in text
    assert (found.effect(math.log(1.5)), found.size(math.log(3))) == ("+50 %", "3 times")
    assert found.as_dict()["method"] == "tornado"


def test_factors_may_be_given_in_place_of_what_the_scenario_states(tiny: simtx.Scenario, tmp_path: Path) -> None:
    found = simtx.sensitivity(
        tiny, ["saga"], "forced_writes_per_transaction", factors={"hub.log.forced_write": "50%"}, store=tmp_path, **PLAY
    )
    assert found.table["factor"].tolist() == ["hub.log.forced_write"]
    assert found.table["swing"].tolist() == pytest.approx([0.0], abs=1e-9)
    assert found.flips is None
    call = "['saga'], metric='forced_writes_per_transaction', factors={'hub.log.forced_write': '50%'}, replications=3)"
    assert found.provenance.command.startswith("simtx.sensitivity(simtx.load('transfer').replace(")
    assert found.provenance.command.endswith(call)
    assert str(found).startswith("not supported: no factor moves forced_writes_per_transaction of saga")


def test_a_sweep_that_is_there_gives_indices_without_a_further_run(tiny: simtx.Scenario, tmp_path: Path) -> None:
    over = {"workload.rate": simtx.Range(60, 240), "hub.log.forced_write": simtx.Range("1ms", "4ms")}
    runs = simtx.sweep(tiny.replace(uncertainty=None), over, ["2pc"], design="sobol", points=8, store=tmp_path, **PLAY)
    before = len(runs)
    found = runs.sensitivity("latency_p50_ms")
    assert len(runs) == before
    assert set(found.table["factor"]) == {"workload.rate", "hub.log.forced_write"}
    assert found.table["total"].is_monotonic_decreasing
    assert found.table["total"].sum() > 0.9
    only = indices.sobol(["a"], RNG(1).random((8, 1)), Answers(RNG(1).random((8, 3)), "plain"), 0.95, 1)[0]
    assert only["total"].tolist() == [1.0]
    assert 0 < found.noise < 1


def test_failed_runs_are_refused_by_name(tiny: simtx.Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run in twelve fails; nothing is computed from the others as if it were not there."""
    import simtx.simulator

    simulate = simtx.simulator.simulate

    def failing(*arguments: Any, **options: Any) -> Any:
        if options.get("replication") == 2:
            raise RuntimeError("does not work")
        return simulate(*arguments, **options)

    monkeypatch.setattr(simtx.simulator, "simulate", failing)
    with pytest.raises(
        ScenarioError, match=r"runs have failed \(the first: .*saga, replication 2, RuntimeError: does not work\)"
    ):
        simtx.sensitivity(tiny, ["saga"], store=tmp_path, **PLAY)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"strategies": ["2pc", "saga", "outbox"]}, "strategies: give a list of one strategy, or of two that are compared"),
        ({"method": "tornado?"}, "method: 'tornado?' is no method; did you mean 'tornado'?"),
        ({"factors": {"workload.rat": "20%"}}, "factors: workload.rat: there is no figure at this path; did you mean 'workload.rate'?"),
        ({"factors": {"network.latency": "30%"}}, "factors: network.latency: has no value of its own: each link has the round trip between its two zones (380 us one way"),
        ({"factors": {"network.loss": "30%"}}, "factors: network.loss: is 0 here, and a share of 0 is 0; state a value of 'network.loss'"),
        ({"factors": {}}, "transfer: states no uncertainty"),
        ({"factors": ["workload.rate"]}, "factors: must be uncertainties by path"),
        ({"calibrations": 5}, "transfer: refers to no calibration"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_one_line(tiny: simtx.Scenario, tmp_path: Path, arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        simtx.sensitivity(
            tiny, **{"strategies": ["2pc", "saga"], "store": tmp_path, **PLAY, "replications": 2, **arguments}
        )
    assert str(refused.value).startswith(error)


def test_who_aborts_most_of_them_wins_nothing_by_a_time_of_all_transactions(
    tiny: simtx.Scenario, tmp_path: Path
) -> None:
    """A vote has no time to arrive: two-phase commit is the sooner one, and commits almost nothing."""
    hasty = tiny.replace(**{"policies.vote_timeout": "2ms"})
    found = simtx.sensitivity(hasty, ["2pc", "saga"], "decision_p99_ms", store=tmp_path, **PLAY)
    assert found.answer is not None
    assert found.answer.high < 0, "2PC has the lower figure"
    assert found.winner == ""
    said = "not supported: decision_p99_ms ranks nobody in "
    assert found.support.startswith(said)
    assert "2pc commits much less than saga" in found.support
    assert found.caption.startswith(
        "2pc and saga do not compare by decision_p99_ms: what is aborted early also ends early"
    )
    committed = simtx.sensitivity(tiny, ["2pc", "saga"], "decision_p99_ms", store=tmp_path, **PLAY)
    assert (committed.early, committed.ranked) == ("", True)
    partly = {"policies.vote_timeout": "1s", "uncertainty": {"policies.vote_timeout": ["5ms", "2s"]}}
    away = simtx.sensitivity(tiny.replace(**partly), ["2pc", "saga"], "decision_p50_ms", store=tmp_path, **PLAY)
    assert away.ranked
    assert away.winner == "2pc"
    assert away.caption.endswith("; in some cells who leads commits much less")
    assert "\nwarning: decision_p50_ms ranks nobody in 1 of " in str(away)
