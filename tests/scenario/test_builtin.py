"""The built-in scenarios are sound, laptop-sized and honest about their figures."""

import tomllib

import pytest

from simtx.scenario import load, names, titles
from simtx.scenario.catalog import data_path, region

ALL = [
    "card-payment",
    "checkout",
    "checkout-outages",
    "checkout-regions",
    "transfer",
    "transfer-lab",
    "transfer-regions",
    "travel",
    "travel-regions",
]


def test_names_and_titles():
    assert names() == ALL
    assert list(titles()) == ALL
    assert all(titles().values())
    assert len(set(titles().values())) == len(ALL)


@pytest.mark.parametrize("name", ALL)
def test_is_complete_and_without_warnings(name):
    scenario = load(name)
    assert scenario.name == name
    assert scenario.title == titles()[name]
    assert scenario.description
    assert scenario.warnings == []


@pytest.mark.parametrize("name", ALL)
def test_is_moderately_loaded_and_of_laptop_size(name):
    """The busiest service is at 50 to 60 %; with outages a third lower, so that backlogs can be worked off."""
    scenario = load(name)
    busiest = max(scenario.utilisation().values())
    assert 0.5 <= busiest * (1.5 if name.endswith("-outages") else 1) <= 0.6
    assert (500 if scenario.name == "transfer-lab" else 2000) <= (scenario.run.transactions or 0) <= 4000


@pytest.mark.parametrize("name", ALL)
def test_every_figure_of_the_file_has_a_source_or_a_reason(name):
    assumptions = load(name).assumptions
    assert [path for path, why in assumptions.items() if why == "no source given"] == []


@pytest.mark.parametrize("name", ALL)
def test_money_is_conserved_and_something_is_bounded(name):
    invariants = load(name).invariants
    assert next((i.name, i.unit) for i in invariants if i.kind == "conserved") == ("money", "EUR")
    assert [i for i in invariants if i.kind == "bounds"]


@pytest.mark.parametrize("name", ALL)
def test_some_transactions_are_refused(name):
    assert any(step.refusal > 0 for step in load(name).transaction.steps)


@pytest.mark.parametrize("name", ["transfer", "checkout", "travel"])
def test_the_regional_variant_is_the_same_transaction_farther_apart(name):
    here, apart = load(name), load(f"{name}-regions")
    assert apart.transaction == here.transaction
    assert apart.invariants == here.invariants
    assert {region(service.zone) for service in here.services.values()} == {"frankfurt"}
    assert len({region(service.zone) for service in apart.services.values()}) > 1
    slowest = max(link.latency.mean() for link in apart.network.links.values())
    assert slowest > 10 * max(link.latency.mean() for link in here.network.links.values())


def test_the_shape_of_the_checkout():
    steps = load("checkout").transaction.steps
    named = {step.index: step.name for step in steps}
    assert [(s.name, s.service, s.kind, [named[i] for i in s.after]) for s in steps] == [
        ("order", "orders", "compensatable", []),
        ("reserve", "inventory", "compensatable", ["order"]),
        ("charge", "payments", "compensatable", ["order"]),
        ("dispatch", "shipping", "pivot", ["reserve", "charge"]),
        ("confirm", "orders", "retriable", ["dispatch"]),
    ]


def test_the_trip_is_booked_in_parallel():
    assert [step.after for step in load("travel").transaction.steps] == [(), (), (), (0, 1, 2)]


def test_the_bad_day_has_crashes_of_every_node_and_a_broker_outage():
    scenario = load("checkout-outages")
    crashed = {fault.node for fault in scenario.faults if fault.kind == "crash"}
    assert crashed == {"orders", "inventory", "payments", "shipping", "hub"}
    assert any(fault.kind == "broker-outage" for fault in scenario.faults)
    assert scenario.network.loss > 0
    assert scenario.transaction == load("checkout").transaction


@pytest.mark.parametrize("name", ALL)
def test_files_are_commented_or_extend_a_commented_one(name):
    text = (data_path() / "scenarios" / f"{name}.toml").read_text(encoding="utf-8")
    assert "extends" in tomllib.loads(text) or text.count("\n#") >= 5
