"""Building blocks are taken from a log as they are, kept in a file without loss, and lead a scenario to the same latencies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simtx
from simtx.errors import ScenarioError
from simtx.scenario import Scenario, from_dict
from simtx.scenario.calibration import BLOCKS, Block, Calibration, load_calibration
from simtx.validation import calibrate as module
from simtx.validation.blocks import blocks
from simtx.validation.calibrate import at_utilisation, calibrate, calibrated, machine, rate_at
from simtx.validation.calibrate import measured as legs_of

LINK, WRITE, WORK, ACK = 0.003, 0.002, 0.010, 0.004


def known(**more: object) -> Scenario:
    """A scenario whose building blocks all take a known, constant time."""
    log = {"forced_write": WRITE, "flush": "parallel"}
    service = {"workers": 4, "service_time": WORK, "store": {"log": log}}
    return from_dict(
        {
            "title": "Known",
            "services": {"a": service, "b": service},
            "hub": {"log": log},
            "network": {"latency": LINK, "client_zone": "local"},
            "broker": {"ack_latency": ACK, "linger": 0.0},
            "transaction": {
                "name": "t",
                "steps": [
                    {
                        "name": "one",
                        "service": "a",
                        "operations": [{"key": "x{tx}", "amount": 1}],
                        "compensation": [{"key": "x{tx}", "amount": -1}],
                    },
                    {"name": "two", "service": "b", "kind": "pivot", "operations": [{"key": "y{tx}", "amount": 1}]},
                ],
            },
            "workload": {"kind": "deterministic", "rate": 5.0},
            "run": {"transactions": 40},
            "policies": {"poll_interval": 0.001},
            **more,
        },
        name="known",
    )


def only(values: list[float]) -> float:
    assert max(values) - min(values) < 1e-9
    return values[0]


@pytest.mark.parametrize("strategy", ["2pc", "saga"])
def test_blocks_of_a_known_world_are_what_they_are(strategy: str) -> None:
    run = simtx.simulate(known(), strategy, trace=True)
    found = blocks(run.trace, run.strategy.hub)
    for link in ("link.client>hub", "link.hub>client", "link.hub>service", "link.service>hub"):
        assert only(found[link]) == pytest.approx(LINK)
    assert only(found["local"]) == pytest.approx(WORK + WRITE)  # a simulated log does not tell the service time apart
    assert only(found["forced"]) == pytest.approx(WRITE)


def test_the_leg_of_an_event_goes_from_the_relay_to_the_consumers_worker() -> None:
    run = simtx.simulate(known(), "outbox", trace=True)
    found = blocks(run.trace, None)
    assert only(found["publish"]) == pytest.approx(LINK + ACK + LINK)  # to the broker, on its disk, to the consumer
    assert only(found["link.client>service"]) == pytest.approx(LINK)


@pytest.mark.parametrize("strategy", ["2pc", "saga", "outbox"])
def test_a_prediction_from_measured_blocks_has_the_latencies_of_what_was_measured(strategy: str) -> None:
    """Measure a world, forget its figures, put the measured blocks into a scenario that knows nothing of them: the same latencies."""
    world = known()
    measured = simtx.simulate(world, strategy, trace=True)
    found = calibrated([legs_of(measured)], "x", {})
    unknown = known(network={"latency": 0.5}, broker={"ack_latency": 0.5, "linger": 0.2})
    unknown = unknown.replace(
        **{
            "services.a.store.log.forced_write": "0.3s",
            "services.b.store.log.forced_write": "0.3s",
            "hub.log.forced_write": "0.3s",
        }
    )
    prepared = unknown.replace(
        **{"services.a.service_time": 0.0, "services.b.service_time": 0.0}
    )  # inside `local` here
    predicted = simtx.simulate(found.apply(prepared), strategy)
    assert predicted.summary.latency_mean_ms == pytest.approx(measured.summary.latency_mean_ms, rel=1e-6)
    assert predicted.summary.settle_p50_ms == pytest.approx(measured.summary.settle_p50_ms, rel=0.05)


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=1000))
def test_a_block_keeps_the_mean_of_its_sample(sample: list[float]) -> None:
    block = Block.of(sample)
    assert block.mean == pytest.approx(float(np.mean(sample)), rel=1e-9)
    assert block.samples == len(sample)
    assert list(block.values) == sorted(block.values)


def example() -> Calibration:
    rng = np.random.default_rng(1)
    found = {name: Block.of(rng.lognormal(-6, 0.5, 500)) for name in BLOCKS}
    return Calibration(
        "lab",
        "2026-01-01",
        machine() | {"processor": 'a "fast" one\\'},
        {"store": "sqlite"},
        found,
        {"forced write": {"1": {"mean": 0.001}}},
    )


def test_a_file_holds_all_of_a_calibration(tmp_path: Path) -> None:
    ours = example()
    ours.write(tmp_path / "lab.toml")
    back = load_calibration("lab", tmp_path)
    assert (back.name, back.date, back.machine, back.subject) == (ours.name, ours.date, ours.machine, ours.subject)
    assert back.curves == {"forced write": {"1": {"mean": 0.001}}}
    for name, block in ours.blocks.items():
        assert back.blocks[name].samples == block.samples
        assert back.blocks[name].values == pytest.approx(block.values, rel=1e-6)


def test_a_scenario_file_refers_to_a_calibration_by_name(tmp_path: Path) -> None:
    example().write(tmp_path / "lab.toml")
    (tmp_path / "mine.toml").write_text('extends = "transfer"\ncalibration = "lab"\n')
    scenario = simtx.load(str(tmp_path / "mine.toml"))
    block = example().blocks["link.hub>service"]
    assert scenario.network.latency("hub", "sender").mean() == pytest.approx(block.mean, rel=1e-6)
    changed = scenario.replace(**{"workload.rate": 10})
    assert changed.network.latency("hub", "sender").mean() == pytest.approx(block.mean, rel=1e-6)
    assert (
        simtx.simulate(changed.replace(**{"run.transactions": 50, "run.warmup": 0.0}), "saga").summary.transactions
        == 50
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "version"),
        ("version = 2", "version 1"),
        ("version = [", "this is not TOML"),
        ('version = 1\n[blocks."link.moon>earth"]\nvalues = [1]', "no building block 'link.moon>earth'"),
        ("version = 1\n[blocks.local]\nsamples = 3", "no list of 'values'"),
        ('version = 1\n[blocks.local]\nvalues = ["soon"]', "block 'local'"),
        ("version = 1\nblocks = 3", "'blocks' is no table"),
    ],
)
def test_a_damaged_calibration_is_one_clear_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    (tmp_path / "mine.toml").write_text('extends = "transfer"\ncalibration = "bad"\n')
    with pytest.raises(ScenarioError, match=problem) as refusal:
        simtx.load(str(tmp_path / "mine.toml"))
    assert "\n" not in str(refusal.value)
    assert "mine.toml: calibration" in str(refusal.value)


def test_a_calibration_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no calibration 'nowhere'.*make one with `simtx calibrate`"):
        load_calibration("nowhere", tmp_path)


def test_the_rate_of_a_utilisation_is_that_of_the_busiest_service() -> None:
    scenario = known().replace(**{"services.b.workers": 1})
    assert rate_at(scenario, 0.5) == pytest.approx(0.5 * 1 / WORK)
    assert max(at_utilisation(scenario, 0.3, 100).utilisation().values()) == pytest.approx(0.3)
    idle = known().replace(**{"services.a.service_time": 0.0, "services.b.service_time": 0.0})
    with pytest.raises(ScenarioError, match="no service"):
        rate_at(idle, 0.5)


def test_this_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real runs of two strategies, real forced writes: every block that they have, and no figure that another disk would refute."""
    monkeypatch.setattr(module, "_SECONDS", 0.1)  # of each of ten levels
    monkeypatch.setattr(module, "_WARMUP", 0.2)
    monkeypatch.setattr(
        module.Watcher, "after", lambda self, begin: []
    )  # on a busy machine too few legs are left beside the stalls
    found = calibrate(scenario="transfer", strategies=("saga", "outbox"), transactions=40, utilisation=0.15)
    assert {"link.client>hub", "link.hub>service", "link.service>hub", "local", "forced", "publish"} <= set(
        found.blocks
    )
    assert found.blocks["local"].samples >= 120
    assert found.blocks["local"].mean > 1e-5  # how long they take at most is the machine's affair
    assert found.blocks["link.hub>service"].mean > 1e-5
    forced = found.curves["forced write"]
    assert {"1", "16"} <= forced.keys()
    assert all(point["rate"] > 0 for point in forced.values())  # whether group commit pays is the disk's affair
    assert found.machine == machine()
    assert found.subject["store"] == "sqlite"
