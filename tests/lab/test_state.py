"""The text of an explorer opens it again, whatever happened to it on its way, and so does its file."""

from __future__ import annotations

import re
import urllib.parse

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.lab import state as states
from simtx.scenario import from_dict
from tests.lab.test_explorer import Held

MOVED = {"rate": 60, "rtt": 0.02, "service:sender": 0.02, "loss": 0.01, "2pc:work": "before"}


def test_the_text_fits_into_a_link_and_opens_the_same_again(opened):
    explorer = opened("transfer", executor=Held(), replications=2, seed=7)
    explorer.move(MOVED)
    explorer.strike("broker-outage")
    explorer.draw("goodput_per_s")
    text = explorer.text
    assert len(text) < 500
    assert urllib.parse.quote(text, safe="") == text
    with simtx.explorer(text, executor=Held()) as again:
        assert again.state == explorer.state
        assert again.text == text
        assert (again.seed, again.replications, again.strategies) == (7, 2, explorer.strategies)
        assert again.current().fingerprint == explorer.current().fingerprint


def test_a_scenario_of_ones_own_travels_in_the_text(opened):
    own = simtx.load("checkout").replace(**{"workload.rate": 70, "network.loss": "1%"})
    explorer = opened(own, executor=Held())
    explorer.move(rate=50)
    assert len(explorer.text) < 500  # by its name and what is changed
    with simtx.explorer(explorer.text, executor=Held()) as again:
        assert again.scenario.fingerprint == own.fingerprint
        assert again.current().workload.rate == 50


def test_a_scenario_that_is_not_built_in_travels_with_its_tables(opened):
    own = from_dict({**simtx.load("checkout").to_dict(), "title": "A shop of ours"}, name="ours")
    explorer = opened(own, executor=Held())
    assert len(explorer.text) < 3500
    with simtx.explorer(explorer.text, executor=Held()) as again:
        assert again.scenario == own


def test_strategies_with_options_travel_in_the_text(opened):
    explorer = opened(strategies=("2pc", "2pc:work=before"), executor=Held())
    with simtx.explorer(explorer.text, executor=Held()) as again:
        assert again.strategies == explorer.strategies


def test_the_file_is_the_scenario_as_it_stands(opened, tmp_path):
    explorer = opened("checkout-regions", executor=Held(), strategies=("outbox",))
    explorer.move({"rate": 60, "rtt": 0.2, "service:orders": 0.02, "down": 0.01})
    explorer.strike("slow-participant")
    file = explorer.save(tmp_path / "mine.toml")
    assert simtx.load(file).fingerprint == explorer.current().fingerprint


def test_a_scenario_in_plain_seconds_can_be_saved(opened, tmp_path):
    tables = simtx.load("transfer").to_dict()
    tables["network"] = {"latency": 0.004}
    tables["services"]["sender"]["service_time"] = {"distribution": "exponential", "average": 0.01}
    own = from_dict(tables, name="mine")
    explorer = opened(own, executor=Held())
    assert simtx.load(explorer.save(tmp_path / "mine.toml")).fingerprint == own.fingerprint


def test_a_folder_that_is_not_there_is_said(opened, tmp_path):
    explorer = opened(executor=Held())
    with pytest.raises(ScenarioError, match="cannot be written"):
        explorer.save(tmp_path / "nowhere" / "mine.toml")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:-5], "is damaged"),
        (lambda text: text[:20] + "AAAA" + text[24:], "is damaged"),
        (lambda text: re.sub(r"simtx\d+", "simtx99", text), "is of version 99, and this simtx knows those up to"),
        (lambda text: text + "%", "is no text of an explorer"),
    ],
)
def test_a_spoiled_text_is_refused_in_one_line(opened, spoil, said):
    text = opened(executor=Held()).text
    with pytest.raises(ScenarioError, match=said):
        simtx.explorer(spoil(text))


def test_a_text_that_unpacks_without_end_is_refused():
    import base64
    import zlib

    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 5_000_000)).decode().rstrip("=")
    with pytest.raises(ScenarioError, match="is damaged"):
        simtx.explorer(f"simtx{states.VERSION}.{bomb}")


# Texts that explorers of older versions gave out, as they were; what they say below them. Never change them: somebody has put them into a link.
OLD = {
    "simtx1.eNotjtEOgjAMRf-lz9MgJj7sV4whZRRYRLp0G8YQ_t02-nZ7entvd8iBVpTI4KEIrnkkAQdZdaEpUgZ_hzYFYzghPBxsuFTjO5gH_K05Nw6kFPCqWmd2_2Z5amRPIwvBYYksHyVz7U9BMM-a-KIiMSicmIdUS5dIumwL3mhQbqF6SjZc3e9BDCXyqv2ttVJaYsA_uRxfr0hEMw": {
        "scenario": "transfer",
        "values": {"rate": 60.0, "rtt": 0.02, "2pc:work": "before"},
        "failure": "coordinator-dies",
        "metric": "goodput_per_s",
        "seed": 3,
    },
}


@pytest.mark.parametrize(("text", "expected"), OLD.items(), ids=["moved"])
def test_a_text_of_an_older_version_opens_as_what_it_meant(text, expected):
    with simtx.explorer(text, executor=Held()) as explorer:
        assert explorer.scenario.name == expected["scenario"]
        assert dict(explorer.state.values) == expected["values"]
        assert explorer.state.failure == expected["failure"]
        assert explorer.state.metric == expected["metric"]
        assert explorer.seed == expected["seed"]
        assert explorer.text.startswith(f"simtx{states.VERSION}.")


def test_every_older_version_has_a_migration():
    assert sorted(states.MIGRATIONS) == list(range(1, states.VERSION))
