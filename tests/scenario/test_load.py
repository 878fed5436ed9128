"""What stands in a file, or in a dict, is what the hosts see."""

import pickle
import subprocess
import sys

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.protocols.policies import Backoff, BreakerPolicy, Policies
from simtx.scenario import (
    Constant,
    Exponential,
    Lognormal,
    Scenario,
    Trigger,
    from_dict,
    load,
    names,
)
from simtx.scenario.calibration import Block, Calibration
from simtx.scenario.catalog import forced_writes
from simtx.scenario.changes import replaced


def test_durations_in_python_are_seconds_or_have_a_unit(purchase):
    purchase["services"]["shop"]["service_time"] = 0.25
    purchase["services"]["bank"]["service_time"] = "3ms"
    scenario = from_dict(purchase)
    assert scenario.services["shop"].service_time == Constant(0.25)
    assert scenario.services["bank"].service_time == Constant(0.003)


def test_distributions_may_be_objects(purchase):
    purchase["services"]["shop"]["service_time"] = Lognormal(0.004, 0.5)
    assert from_dict(purchase).services["shop"].service_time == Lognormal(0.004, 0.5)


def test_steps_are_sorted_topologically_and_refer_to_each_other_by_index(purchase):
    steps = purchase["transaction"]["steps"]
    steps[1]["kind"] = "compensatable"
    steps[1]["compensation"] = [{"key": "charged:{customer}", "parameter": "price", "amount": -1}]
    steps[0]["after"] = ["charge"]
    steps[1]["after"] = []
    steps.append({"name": "note", "service": "shop", "after": ["order", "charge"]})
    made = from_dict(purchase).transaction.steps
    assert [(step.index, step.name, step.after) for step in made] == [
        (0, "charge", ()),
        (1, "order", (0,)),
        (2, "note", (0, 1)),
    ]


def test_a_step_without_after_follows_the_one_before_it(purchase):
    assert [step.after for step in from_dict(purchase).transaction.steps] == [(), (0,)]


def test_a_parameter_without_an_amount_counts_once(purchase):
    order, charge = from_dict(purchase).transaction.steps
    assert [(o.amount, o.parameter) for o in (*order.operations, *order.compensation)] == [(1, "price"), (-1, "price")]
    assert charge.compensation == ()


def test_service_and_compensation_times_fall_back(purchase):
    """Step before service; a compensation costs what its action costs unless somebody says otherwise."""
    scenario = from_dict(purchase)
    order = scenario.transaction.steps[0]
    assert scenario.service_time(order) == scenario.compensation_time(order) == Constant(0.004)
    scenario = scenario.replace(**{"transaction.steps.order.service_time": "0.009s"})
    order = scenario.transaction.steps[0]
    assert scenario.service_time(order) == scenario.compensation_time(order) == Constant(0.009)
    scenario = scenario.replace(**{"services.shop.compensation_time": "0.002s"})
    assert scenario.compensation_time(scenario.transaction.steps[0]) == Constant(0.002)


def test_initial_values_by_key_then_by_longest_prefix(purchase):
    purchase["services"]["shop"]["store"] = {"initial": {"*": 1, "stock:*": 5, "stock:1*": 7, "stock:12": 9}}
    store = from_dict(purchase).services["shop"].store
    assert [store.initial_value(key) for key in ("stock:12", "stock:13", "stock:2", "other")] == [9, 7, 5, 1]
    assert from_dict(purchase).services["bank"].store.initial_value("stock:12") == 0


def test_defaults_hold_for_every_service_that_says_nothing_else(purchase):
    purchase["defaults"] = {"workers": 3, "store": {"lock_timeout": 0.5, "log": {"flush": "serial"}}}
    purchase["services"]["bank"]["store"] = {"log": {"flush": "parallel"}}
    services = from_dict(purchase).services
    assert [service.workers for service in services.values()] == [3, 3]
    assert [service.store.log.flush for service in services.values()] == ["serial", "parallel"]
    assert [service.store.lock_timeout for service in services.values()] == [0.5, 0.5]


def test_hub_and_broker_are_where_the_first_service_is_unless_said(purchase):
    scenario = from_dict(purchase)
    assert (scenario.hub.zone, scenario.broker.zone) == ("frankfurt/a", "frankfurt/a")
    scenario = scenario.replace(**{"hub.zone": "london", "broker.zone": "tokyo"})
    assert (scenario.hub.zone, scenario.broker.zone) == ("london", "tokyo")
    assert scenario.network.latency("london", "tokyo").mean() == pytest.approx(0.119)


def test_links_exist_for_every_pair_of_zones_in_use(purchase):
    network = from_dict(purchase).replace(**{"network.client_zone": "london"}).network
    assert set(network.zones) == {"frankfurt/a", "frankfurt/b", "london"}
    assert set(network.links) == {(a, b) for a in network.zones for b in network.zones}
    assert network.latency("frankfurt/a", "frankfurt/b").mean() == pytest.approx(0.38e-3)


def test_the_last_fitting_link_wins_value_by_value(purchase):
    purchase["network"] = {
        "loss": 0.01,
        "client_zone": "london",
        "links": [
            {"between": ["frankfurt", "london"], "latency": 0.006, "loss": 0.02},
            {"from": "london", "to": "frankfurt/b", "loss": 0.5, "reorder_delay": 1},
        ],
    }
    network = from_dict(purchase).network
    assert network.link("frankfurt/a", "frankfurt/b").loss == 0.01
    assert (network.link("frankfurt/b", "london").latency, network.link("frankfurt/b", "london").loss) == (
        Constant(0.006),
        0.02,
    )
    link = network.link("london", "frankfurt/b")
    assert (link.latency, link.loss, link.reorder_delay) == (Constant(0.006), 0.5, Constant(1.0))
    assert network.link("london", "frankfurt/a").loss == 0.02


def test_zones_of_your_own(purchase):
    purchase["services"]["bank"]["zone"] = "cellar"
    purchase["network"] = {"zones": ["cellar"], "links": [{"between": ["cellar", "frankfurt"], "latency": "8ms"}]}
    network = from_dict(purchase).network
    assert network.latency("cellar", "frankfurt/a") == network.latency("frankfurt/a", "cellar") == Constant(0.008)
    assert network.latency("cellar", "cellar").mean() == pytest.approx(0.05e-3)


def test_one_latency_for_everything(purchase):
    purchase["network"] = {"latency": 0.002}
    network = from_dict(purchase).network
    assert {link.latency for link in network.links.values()} == {Constant(0.002)}


def test_named_latencies(purchase):
    purchase["hub"] = {"log": {"forced_write": "nvme-protected"}}
    assert from_dict(purchase).hub.log.forced_write == forced_writes()["nvme-protected"].latency


def test_policies_are_those_of_the_file_and_otherwise_the_defaults(purchase):
    assert from_dict(purchase).policies == Policies()
    purchase["policies"] = {"attempts": 2, "backoff": {"base": "1s"}, "breaker": {"threshold": 4}}
    assert from_dict(purchase).policies == Policies(
        attempts=2, backoff=Backoff(base=1.0), breaker=BreakerPolicy(threshold=4)
    )


def test_faults_name_nodes_also_where_the_file_names_zones(purchase):
    purchase["faults"] = [
        {"kind": "partition", "a": ["frankfurt/a"], "b": ["bank"], "at": "1s", "duration": "2s", "one_way": True},
        {
            "kind": "loss",
            "a": ["frankfurt"],
            "every": Exponential(5.0),
            "duration": "1s",
            "probability": "5%",
            "until": "9s",
        },
        {"kind": "broker-outage", "at": "3s", "duration": "1s"},
    ]
    partition, loss, outage = from_dict(purchase).faults
    assert (partition.a, partition.b, partition.one_way, partition.at) == (
        ("shop", "hub", "broker", "vote-store"),
        ("bank",),
        True,
        1.0,
    )
    nodes = ("shop", "bank", "hub", "broker", "vote-store")
    assert (loss.a, loss.b, loss.probability, loss.until) == (nodes, (), 0.05, 9.0)
    assert (loss.at, loss.every) == (None, Exponential(5.0))
    assert (outage.node, outage.duration) == ("broker", Constant(1.0))


def test_a_star_is_one_fault_for_each_node(purchase):
    purchase["faults"] = [
        {"kind": "crash", "node": "*", "at": "1s", "duration": "2s"},
        {"kind": "slow", "node": "*", "at": "1s", "duration": "2s", "factor": 3},
    ]
    made = [(fault.kind, fault.node) for fault in from_dict(purchase).faults]
    assert made == [("crash", "shop"), ("crash", "bank"), ("crash", "hub"), ("slow", "shop"), ("slow", "bank")]


def test_a_crash_at_a_place_in_a_protocol(purchase):
    purchase["faults"] = [
        {"kind": "crash", "node": "hub", "duration": "1s", "trigger": {"transaction": 7, "effect": "Append:commit"}}
    ]
    (fault,) = from_dict(purchase).faults
    assert fault.trigger == Trigger(7, "Append:commit", "after", 1)


# --- workloads ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workload", "rate"),
    [
        ({"rate": "90/min"}, 1.5),
        ({"kind": "deterministic", "rate": 4}, 4),
        ({"kind": "bursty", "rate": 10, "burst_rate": 100, "burst_on": "2s", "burst_off": "8s"}, 28),
        ({"kind": "bursty", "burst_rate": 100, "burst_on": "2s", "burst_off": "8s"}, 20),
        ({"kind": "profile", "profile": [["0s", "10/s"], ["1min", 40], [90, 0]]}, 40),
        ({"kind": "closed", "users": 5, "think_time": 1}, None),
    ],
)
def test_mean_rate(purchase, workload, rate):
    purchase["workload"] = workload
    purchase["run"] = {"duration": "3min"}
    assert from_dict(purchase).workload.mean_rate() == rate


def test_profile_is_in_seconds_and_per_second(purchase):
    purchase["workload"] = {"kind": "profile", "profile": [["0s", "10/s"], ["1min", "60/min"]]}
    assert from_dict(purchase).workload.profile == ((0.0, 10.0), (60.0, 1.0))


def test_a_trace_file_gives_times_and_parameters(tmp_path, purchase):
    (tmp_path / "day.csv").write_text("time,customer,price,weather\n0.5,c7,3.5,rain\n2,somebody,4,sun\n")
    purchase["workload"] = {"kind": "trace", "trace": "day.csv", "ignore": ["weather"]}
    purchase["run"] = {}
    scenario = from_dict(purchase, folder=tmp_path)
    assert scenario.workload.trace_times == (0.5, 2.0)
    assert scenario.workload.trace_parameters == {"customer": ("c7", "somebody"), "price": (3.5, 4.0)}
    assert scenario.workload.trace == str(tmp_path / "day.csv")
    assert scenario.workload.mean_rate() == pytest.approx(1 / 1.5)
    with pytest.raises(ScenarioError, match="3 is more than the trace has: 2"):
        from_dict({**purchase, "run": {"transactions": 3}}, folder=tmp_path)


def test_files_beside_the_tables_are_found_from_everywhere(tmp_path, purchase, monkeypatch):
    """A trace and a calibration are where the file is that names them, also behind `extends`, `replace` and a change of folder."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "day.csv").write_text("time\n0.5\n2\n")
    purchase["workload"] = {"kind": "trace", "trace": "day.csv"}
    purchase["run"] = {}
    monkeypatch.chdir(tmp_path / "base")
    by_dict = from_dict(purchase)
    in_folder = from_dict(purchase, folder=tmp_path / "base")
    disk = Calibration("disk", "2026-01-01", {}, {}, {"forced": Block(1, (0.001,))})
    (tmp_path / "base" / "disk.toml").write_text(disk.toml())
    (tmp_path / "base" / "shop.toml").write_text(
        'extends = "transfer"\ncalibration = "disk"\nworkload = { kind = "trace", trace = "day.csv" }\n'
        'run = { transactions = 2, warmup = "0s" }\n'
    )
    (tmp_path / "child.toml").write_text('extends = "base/shop.toml"\ntitle = "from another folder"\n')
    monkeypatch.chdir("/")
    for scenario in (by_dict, in_folder, load(tmp_path / "base" / "shop.toml"), load(tmp_path / "child.toml")):
        assert scenario.replace(**{"network.loss": 0.01}).workload.trace_times == (0.5, 2.0)


# --- saturation and other warnings --------------------------------------------------------------------------------------------


def test_utilisation_is_rate_times_work_over_workers(purchase):
    scenario = from_dict(purchase)
    assert scenario.utilisation() == pytest.approx({"shop": 0.24, "bank": 0.48})
    assert scenario.warnings == []
    assert scenario.replace(**{"services.bank.workers": 4}).utilisation()["bank"] == pytest.approx(0.12)


def test_saturation_is_a_warning_and_not_an_error(purchase):
    (line,) = from_dict(purchase).replace(**{"workload.rate": 150}).warnings
    assert line == (
        "services.bank: saturated, utilisation 1.20 at 150/s with 1 worker: its queue grows as long as the run lasts; "
        "it takes 125/s at most"
    )


def test_a_serial_log_saturates_too(purchase):
    purchase["services"]["shop"]["store"] = {"log": {"forced_write": "20ms", "flush": "serial"}}
    (line,) = from_dict(purchase).warnings
    assert line == (
        "services.shop.store.log: saturated, at least 1 forced write a transaction, one after the other, "
        "keep it busy 1.20 of the time at 60/s; use flush = 'group'"
    )


def test_a_producer_without_patience_is_a_warning(purchase):
    broker = {"linger": "30ms", "ack_latency": "20ms"}
    patient = from_dict({**purchase, "broker": broker, "policies": {"publish_timeout": "60ms"}})
    hasty = from_dict({**purchase, "broker": broker, "policies": {"publish_timeout": "50ms"}})
    assert not any("publish_timeout" in line for line in patient.warnings)
    assert any(line.startswith("policies.publish_timeout: not longer than") for line in hasty.warnings)


def test_what_nothing_uses_is_a_warning(purchase):
    purchase["services"]["spare"] = {"service_time": 0.001}
    purchase["transaction"]["parameters"]["colour"] = {"population": 3}
    purchase["invariants"].append({"name": "limit", "kind": "bounds", "service": "bank", "prefix": "limt:", "low": 0})
    assert from_dict(purchase).warnings == [
        "transaction.parameters.colour: no operation uses it",
        "services.spare: no step runs on it",
        "invariants.limit: no operation on 'bank' touches a key that begins with 'limt:'",
    ]


def test_a_change_asks_for_units_as_a_file_does(purchase):
    """Zero needs none, nor does anything that is no duration; it is a change that is asked, and not what was there before."""
    scenario = from_dict(purchase)
    for changes, line in (
        ({"run.warmup": 7}, "scenario: run.warmup: 7 has no unit; write '7ms' or '7s'"),
        (
            {"services.shop.service_time": 0.005},
            "scenario: services.shop.service_time: 0.005 has no unit; write '0.005ms' or '0.005s'",
        ),
        (
            {"defaults": {"store": {"lock_timeout": 2}}},
            "scenario: defaults.store.lock_timeout: 2 has no unit; write '2ms' or '2s'",
        ),
        (
            {"faults": [{"kind": "crash", "node": "shop", "at": 3, "duration": "1s"}]},
            "scenario: faults[0].at: 3 has no unit; write '3ms' or '3s'",
        ),
        (
            {"network.latency": {"distribution": "exponential", "average": 0.01}},
            "scenario: network.latency.average: 0.01 has no unit; write '0.01ms' or '0.01s'",
        ),
    ):
        with pytest.raises(ScenarioError) as caught:
            scenario.replace(**changes)
        assert str(caught.value) == line
    changed = scenario.replace(
        **{"run.warmup": 0, "workload.rate": 7, "services.shop.workers": 2, "network.latency": Constant(0.01)}
    )
    assert (changed.run.warmup, changed.workload.rate) == (0, 7)
    assert type(changed.to_dict()["workload"]["rate"]) is int, "and it stays what it was"
    assert changed.replace(title="once more") == changed


def test_seconds_that_are_meant_as_such_are_noted_with_their_unit(purchase):
    """For the cells of a sweep, whose values are columns of numbers."""
    scenario = from_dict(purchase)
    changes = {"network.latency": 0.01, "workload.rate": 7, "run.warmup": 0, "services.shop.service_time": 1e-5}
    changed = replaced(scenario, changes, units_needed=False)
    assert changed.overrides == {
        "network.latency": "0.01s",
        "workload.rate": 7,
        "run.warmup": 0,
        "services.shop.service_time": "1e-05s",
    }
    assert changed == scenario.replace(**changed.overrides)


def test_a_change_that_another_one_has_ended_is_not_named_any_more() -> None:
    """A run has a length in transactions or in time: titles and commands that repeat it name the one in force."""
    timed = simtx.load("transfer").replace(**{"run.duration": "20s", "run.warmup": 0})
    counted = timed.replace(**{"run.transactions": 400})
    assert counted.overrides == {"run.warmup": 0, "run.transactions": 400}
    assert counted == simtx.load("transfer").replace(**counted.overrides)
    assert timed.replace(**{"run.duration": None, "run.transactions": 5}).run.transactions == 5


# --- where figures come from --------------------------------------------------------------------------------------------------


def test_every_figure_has_a_source_or_is_an_assumption(purchase):
    purchase["sources"] = {"services.bank.service_time": "measured in May"}
    purchase["assumptions"] = {"workload.*": "a busy day"}
    purchase["defaults"] = {"store": {"log": {"forced_write": "ebs-gp3"}}}
    scenario = from_dict(purchase)
    assert scenario.sources["services.bank.service_time"] == "measured in May"
    assert "services.bank.service_time" not in scenario.assumptions
    assert scenario.assumptions["workload.rate"] == "a busy day"
    assert scenario.assumptions["services.shop.service_time"] == "no source given"
    assert (
        scenario.sources["services.*.store.log.forced_write"] == "Amazon EBS gp3, about 1.8 ms: earezki.com (secondary)"
    )
    assert scenario.assumptions["policies"] == "default of simtx"
    assert scenario.sources["network.latency"].startswith("IBM Cloud VPC docs")
    assert "mean of a shifted lognormal" in scenario.assumptions["network.latency"]
    told = simtx.simulate(scenario, "saga").warnings
    assert scenario.warnings == told[: len(scenario.warnings)], "the same kind of thing, before what the run has to say"


def test_an_assumption_has_its_value_beside_its_reason(purchase):
    """Written as people write it; of several figures, each with what it belongs to."""
    purchase["services"]["shop"]["workers"] = 3
    purchase["defaults"] = {"store": {"lock_timeout": "250ms"}}
    purchase["assumptions"] = {"services.*.workers": "a guess", "workload.rate": "a busy day"}
    assumptions = from_dict(purchase).assumptions
    rate = assumptions["workload.rate"]
    assert (rate, rate.why, rate.value) == ("a busy day", "a busy day", "60/s")
    assert assumptions["services.*.service_time"].value.startswith("shop 4 ms; bank exponential")
    assert assumptions["services.*.store.lock_timeout"].value == "250 ms"
    assert assumptions["services.*.workers"].value == "shop 3; bank 1"
    assert "call_timeout 1 s; attempts 5" in assumptions["policies"].value
    assert assumptions["network.latency"].value == "by the round trips of regions.toml"
    again = pickle.loads(pickle.dumps(rate))  # noqa: S301
    assert (again, again.value, repr(again)) == (rate, rate.value, "Assumption(value='60/s', why='a busy day')")
    for name in names():
        assert all(one.value for one in load(name).assumptions.values()), name


def test_a_note_on_a_table_covers_what_is_in_it_and_the_nearest_note_wins(purchase):
    purchase["assumptions"] = {"services": "guesses", "services.bank": "a better guess"}
    assumptions = from_dict(purchase).assumptions
    assert assumptions["services.shop.service_time"] == "guesses"
    assert assumptions["services.bank.service_time"] == "a better guess"


# --- extending ----------------------------------------------------------------------------------------------------------------


def test_a_file_extends_another_one(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'extends = "transfer"\ntitle = "Mine"\nworkload.rate = 10\n[services.receiver]\nworkers = 7\n'
        '[run]\nduration = "30s"\n'
    )
    (tmp_path / "yours.toml").write_text('extends = "mine.toml"\nservices.receiver.zone = "london"\n')
    base, mine, yours = load("transfer"), load(tmp_path / "mine.toml"), load(tmp_path / "yours.toml")
    assert (mine.name, mine.title, yours.name, yours.title) == ("mine", "Mine", "yours", "Mine")
    assert (mine.run.transactions, mine.run.duration) == (None, 30.0)  # a length replaces the other one
    assert mine.services["receiver"].workers == yours.services["receiver"].workers == 7
    assert mine.services["sender"] == base.services["sender"]
    assert yours.services["receiver"].zone == "london"
    assert mine.transaction == base.transaction


def test_a_dict_extends_a_scenario_too(tmp_path):
    scenario = from_dict({"extends": "transfer", "workload": {"rate": 5}}, name="slow")
    assert (scenario.name, scenario.workload.rate) == ("slow", 5)
    assert scenario.transaction == load("transfer").transaction
    with pytest.raises(ScenarioError, match=r"^extends: there is no scenario 'transfr'; did you mean 'transfer'\?$"):
        from_dict({"extends": "transfr"})


def test_distributions_and_lists_are_replaced_as_a_whole(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'extends = "transfer"\ninvariants = []\n'
        '[defaults]\nservice_time = { distribution = "uniform", low = "1ms", high = "3ms" }\n'
        '[workload]\nkind = "closed"\nusers = 20\nthink_time = "1s"\n'
    )
    (tmp_path / "poisson.toml").write_text('extends = "mine.toml"\n[workload]\nkind = "poisson"\nrate = 5\n')
    mine = load(tmp_path / "mine.toml")
    assert mine.invariants == ()
    assert mine.services["sender"].service_time.describe() == "uniform, 1 ms to 3 ms"
    assert load(tmp_path / "poisson.toml").workload.users == 0


# --- changing -----------------------------------------------------------------------------------------------------------------


def test_replace_makes_a_checked_copy_and_leaves_the_original(purchase):
    base = from_dict(purchase, name="purchase")
    changed = base.replace(**{"workload.rate": 30, "network.loss": "1%", "transaction.steps[1].refusal": 0.5})
    assert (changed.workload.rate, changed.network.loss, changed.transaction.steps[1].refusal) == (30, 0.01, 0.5)
    assert (base.workload.rate, base.network.loss, base.transaction.steps[1].refusal) == (60, 0, 0)
    assert changed.overrides == {"workload.rate": 30, "network.loss": "1%", "transaction.steps[1].refusal": 0.5}
    assert base == from_dict(purchase, name="purchase") != changed
    assert (
        changed.replace(**{"workload.rate": 60, "network.loss": None, "transaction.steps.charge.refusal": None}) == base
    )


def test_replace_takes_numpy_numbers_and_distributions(purchase):
    np = pytest.importorskip("numpy")
    changed = from_dict(purchase).replace(
        **{"services.shop.workers": np.int64(3), "workload.rate": np.float64(9), "broker.linger": Exponential(0.01)}
    )
    assert (changed.services["shop"].workers, changed.workload.rate, changed.broker.linger) == (
        3,
        9.0,
        Exponential(0.01),
    )
    assert type(changed.services["shop"].workers) is int


def test_a_workload_of_another_kind_keeps_what_it_can_use(purchase):
    base = from_dict(purchase)
    assert base.replace(**{"workload.kind": "deterministic"}).workload.rate == 60
    closed = base.replace(**{"workload.users": 5, "workload.think_time": "1s", "workload.kind": "closed"})
    assert (closed.workload.rate, closed.workload.users) == (0, 5)
    with pytest.raises(ScenarioError, match=r"workload\.think_time: is missing: a closed workload needs it"):
        base.replace(**{"workload.kind": "closed", "workload.users": 5})


def test_a_new_length_replaces_the_old_one(purchase):
    changed = from_dict(purchase).replace(**{"run.duration": "12s"})
    assert (changed.run.transactions, changed.run.duration) == (None, 12)


def test_replaced_defaults_reach_the_services(purchase):
    changed = from_dict(purchase).replace(**{"defaults.store.log.forced_write": "azure-blob"})
    assert {s.store.log.forced_write for s in changed.services.values()} == {forced_writes()["azure-blob"].latency}


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("workload.rat", 5, "shop: workload.rat: unknown key; did you mean 'rate'?"),
        ("worklod.rate", 5, "shop: worklod.rate: unknown key; did you mean 'workload'?"),
        ("workload.rate", -5, "shop: workload.rate: -5 is negative; a rate is at least 0"),
        ("services.bnak.workers", 2, "shop: services.bnak.workers: there is no 'bnak'; did you mean 'bank'?"),
        ("transaction.steps.chrge.refusal", 0.1, "shop: transaction.steps.chrge.refusal: there is no entry 'chrge'; did you mean 'charge'?"),
        ("transaction.steps[5].refusal", 0.1, "shop: transaction.steps[5].refusal: there is no entry 5; the list has 2, counted from 0"),
        ("network.links[9].latency", "1ms", "shop: network.links[9].latency: there is no entry 9, as the scenario has no such list"),
        ("network.links[0]", "1ms", "shop: network.links[0]: there is no entry 0, as the scenario has no such list"),
        ("workload..rate", 5, "shop: 'workload..rate' is no path; write it like 'workload.rate' or 'transaction.steps[0].refusal'"),
        ("workload.rate.mean", 5, "shop: workload.rate.mean: there is no table to put 'mean' into"),
        ("transaction.steps.charge.kind", "retriable", "shop: transaction.steps[1].kind: 'charge' is retriable, but there is no pivot before it; make the last step that may be refused the pivot"),
    ],
)  # fmt: skip
def test_a_wrong_change_gets_one_line(purchase, path, value, line):
    with pytest.raises(ScenarioError) as caught:
        from_dict(purchase, name="shop").replace(**{path: value})
    assert str(caught.value) == line


def test_a_dict_is_not_changed_by_what_is_made_of_it(purchase):
    scenario = from_dict(purchase)
    purchase["workload"]["rate"] = 1
    assert scenario.replace(**{"network.loss": 0.1}).workload.rate == 60
    scenario.to_dict()["workload"]["rate"] = 1
    assert scenario.to_dict()["workload"]["rate"] == 60


# --- identity -----------------------------------------------------------------------------------------------------------------


def test_a_scenario_travels_to_another_process():
    scenario = load("checkout-outages").replace(**{"workload.rate": 20})
    twin = pickle.loads(pickle.dumps(scenario))  # noqa: S301
    assert isinstance(twin, Scenario)
    assert (twin, twin.overrides, twin.sources) == (scenario, scenario.overrides, scenario.sources)
    assert twin.replace(**{"workload.rate": 100}) == load("checkout-outages")


def test_the_fingerprint_is_of_what_a_run_depends_on(purchase):
    """Not of titles, notes, notations, or the order of hashing in this process."""
    scenario = from_dict(purchase)
    assert scenario.replace(title="Something else", sources={"workload.rate": "x"}).fingerprint == scenario.fingerprint
    assert scenario.replace(**{"services.shop.service_time": "4ms"}).fingerprint == scenario.fingerprint
    assert scenario.replace(**{"services.shop.service_time": "5ms"}).fingerprint != scenario.fingerprint
    code = "from simtx.scenario import load; print(load('checkout-outages').fingerprint)"
    prints = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert prints == {load("checkout-outages").fingerprint}


def test_loading_a_scenario_again_is_the_same_scenario():
    scenario = load("checkout")
    assert load(scenario) is scenario
    assert load("checkout") == scenario


def test_importing_is_light():
    """What the command line pays on every call: no scipy, pandas, networkx or matplotlib."""
    code = "import sys, simtx.scenario; print(sorted({'scipy', 'pandas', 'networkx', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_outage_longer_than_the_deduplication_remembers_is_warned_about():
    """After an hour, the idempotency rows of five minutes ago are gone: a compensation does not find what it has to undo."""
    outage = {"kind": "broker-outage", "at": "5s", "duration": "1h"}
    scenario = simtx.load("checkout").replace(faults=[outage])
    (line,) = [line for line in scenario.warnings if "dedup_retention" in line]
    assert line.startswith("policies.dedup_retention: 5 min, but a broker-outage lasts 1 h")
    assert not scenario.replace(**{"policies.dedup_retention": "2h"}).warnings
