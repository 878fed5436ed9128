"""Derived stores in a simulated world: closed forms of staleness, the races of the rules, and that they change no transaction."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.metrics.replay import summary_from_trace

KEY = {"service": "inventory", "key": "stock:{product}", "reads": "400/s"}


def shop(rules: dict[str, dict[str, Any]], **changes: Any) -> simtx.Scenario:
    """The checkout of few products, with derived stores."""
    few = {"transaction.parameters.product.population": 5, "services.inventory.store.initial": {"stock:*": 5000}}
    derived = {name: {**KEY, **rule} for name, rule in rules.items()}
    small = {"run.transactions": 200, "run.warmup": "0s", **few, **changes}
    return simtx.load("checkout").replace(derived=derived, **small)


def figures(run: simtx.Run, store: str) -> dict[str, float]:
    """The metrics of a derived store."""
    prefix = f"derived_{store}_"
    return {name.removeprefix(prefix): value for name, value in run.summary.items() if str(name).startswith(prefix)}


def test_the_share_of_stale_reads_is_that_of_theory() -> None:
    """Commits of one key at rate L, exponential lag with mean l, no order but versions.

    A reader is stale while the last commit has not arrived: L·l / (1 + L·l). What it gets was overwritten more than x ago if, further, nothing of the time x has arrived.
    """
    rule = {"update": "copy", "fill": False, "check": "version", "ordered": False, "reads": "2000/s"}
    one = {"transaction.parameters.product.population": 1, "run.transactions": 1000, "workload.rate": "60/s"}
    quick = {"services.inventory.workers": 50, "services.inventory.store.initial": {"stock:*": 1e9}}
    scenario = shop({"index": {**rule, "lag": {"distribution": "exponential", "average": "20ms"}}}, **one, **quick)
    run = simtx.simulate(scenario, "saga")
    found = figures(run, "index")
    rate = 60.0 * 1.03  # compensations of 3 % of refusals change the key again
    assert found["stale_share"] == pytest.approx(rate * 0.02 / (1 + rate * 0.02), rel=0.1)

    def older(x: float) -> float:
        return math.exp(-rate * (x - 0.02 * (1 - math.exp(-x / 0.02))) - x / 0.02)

    assert older(found["stale_p50_ms"] / 1e3) == pytest.approx(0.5, abs=0.06)
    assert older(found["stale_p99_ms"] / 1e3) == pytest.approx(0.01, abs=0.008)
    assert found["reads"] == pytest.approx(2000 * run.data.horizon, rel=0.02)


def test_the_rules_that_the_checker_refutes_leave_wrong_copies_and_the_others_none() -> None:
    """The same commits and the same readers for all of them."""
    rules: dict[str, dict[str, Any]] = {
        "aside": {},
        "version": {"check": "version"},
        "lease": {"check": "lease"},
        "before": {"by": "writer-before"},
        "through": {"update": "copy", "by": "writer"},
        "index": {"update": "copy", "fill": False, "ordered": False},
        "checked": {"update": "copy", "fill": False, "ordered": False, "check": "version"},
        "expires": {"ttl": "500ms"},
    }
    slow = {"lag": "2ms", "fill_time": {"distribution": "exponential", "average": "60ms"}, "reads": "200/s"}
    late = {**slow, "lag": {"distribution": "exponential", "average": "60ms"}}
    told = {name: {**rule, **(slow if rule.get("update") != "copy" else late)} for name, rule in rules.items()}
    wrong = dict.fromkeys(rules, 0.0)
    oldest = dict.fromkeys(rules, 0.0)
    for seed in (1, 2, 3):
        run = simtx.simulate(shop(told), "saga", seed=seed)
        for name in rules:
            found = figures(run, name)
            wrong[name] += found["wrong_for_ever"]
            oldest[name] = max(oldest[name], found["stale_max_ms"])
            assert run.timeline[f"wrong_{name}"].iloc[-1] == found["wrong_at_end"]
            assert (found["drift_at_end"] > 0) <= (found["wrong_at_end"] > 0)
    assert all(wrong[name] > 0 for name in ("aside", "before", "through", "index")), wrong
    assert all(wrong[name] == 0 for name in ("version", "lease", "checked", "expires")), wrong
    assert oldest["aside"] > 2 * oldest["version"]
    assert oldest["expires"] <= 500 + 1e-6 + oldest["version"]


def test_an_update_that_is_lost_is_lost_for_good() -> None:
    """By an event that goes astray, and by a writer whose node crashes between the commit and the update."""
    crash = [{"kind": "crash", "node": "inventory", "at": "500ms", "duration": "100ms"}]
    rules = {
        "astray": {"check": "version", "loss": "20%"},
        "writer": {"check": "version", "by": "writer", "lag": "50ms"},
        "event": {"check": "version", "lag": "50ms"},
    }
    run = simtx.simulate(shop(rules, faults=crash), "saga")
    assert figures(run, "astray")["updates_lost"] > 0
    assert figures(run, "writer")["updates_lost"] > 0
    assert figures(run, "event")["updates_lost"] == 0
    assert figures(run, "event")["wrong_at_end"] == 0


def test_a_derived_store_changes_no_transaction() -> None:
    with_store = simtx.simulate(shop({"stock": {}}), "2pc")
    without = simtx.simulate(shop({}), "2pc")
    assert with_store.transactions.equals(without.transactions)
    assert with_store.engine == "interpreted"
    with pytest.raises(ScenarioError, match="it has derived stores"):
        simtx.simulate(shop({"stock": {}}), "2pc", engine="fast")


def test_a_replay_of_the_log_has_the_same_timeline() -> None:
    scenario = shop({"stock": {}}, **{"run.transactions": 60})
    run = simtx.simulate(scenario, "saga", trace=True)
    again = summary_from_trace(run.trace, run.scenario, run.strategy)
    shared = [name for name in again.index if name in run.summary.index]
    assert again[shared].equals(run.summary[shared].astype(again.dtype))
    assert run.timeline["wrong_stock"].max() > 0


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ({"service": "inventry"}, "derived.stock.service: 'inventry' is no service; did you mean 'inventory'?"),
        ({"key": "stock:{tx}"}, "derived.stock.key: '{tx}' is no key parameter; one of"),
        ({"key": "stock:{prodct}"}, "derived.stock.key: '{prodct}' is no key parameter; did you mean 'product'?"),
        ({"fill": False}, "derived.stock.fill: nobody would ever put a copy"),
        ({"update": "none"}, "derived.stock.update: nothing would ever remove an old copy"),
        ({"check": "versions"}, "derived.stock.check: "),
    ],
)
def test_what_makes_no_sense_is_one_line(rule: dict[str, Any], line: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        shop({"stock": rule})
    assert line in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_the_picture_names_what_stays_wrong() -> None:
    import matplotlib.pyplot as plt

    rules = {"plain": {"update": "copy", "fill": False, "ordered": False, "lag": "40ms"}, "gone": {"ttl": "1s"}}
    rules["plain"]["lag"] = {"distribution": "exponential", "average": "80ms"}  # type: ignore[assignment]
    run = simtx.simulate(shop(rules), "saga", seed=2)
    wrong = int(figures(run, "plain")["wrong_for_ever"])
    axes = run.plot.derived()
    assert (
        axes.get_title(loc="left")
        .replace("\n", " ")
        .startswith(f"'plain': {wrong} cop" if wrong else "Every copy is that of the last commit")
    )
    plt.close("all")
    with pytest.raises(ScenarioError, match="has no derived stores"):
        simtx.simulate(shop({}), "saga").plot.derived()


GROUP = {
    "service": "inventory",
    "key": "stock:{product}",
    "partitions": 4,
    "instances": 2,
    "session": "200ms",
    "pause_every": {"distribution": "exponential", "average": "500ms"},
    "pause": {"distribution": "exponential", "average": "300ms"},
}


def grouped(rules: dict[str, dict[str, Any]], **changes: Any) -> simtx.Run:
    """A run with consumer groups that differ in their rules."""
    given = {name: {**GROUP, **rule} for name, rule in rules.items()}
    groups = {name: {key: one for key, one in group.items() if one is not None} for name, group in given.items()}
    return simtx.simulate(shop({}, groups=groups, **changes), "saga")


def group_figures(run: simtx.Run, name: str) -> dict[str, float]:
    """The metrics of a consumer group."""
    prefix = f"group_{name}_"
    return {one.removeprefix(prefix): value for one, value in run.summary.items() if str(one).startswith(prefix)}


def test_zombies_of_a_consumer_group_do_what_the_checker_says() -> None:
    """The same events, pauses and rebalances: no rule loses order or events but those that the exploration refutes."""
    rules = {
        "epoch": {},
        "turns": {"guard": "checkpoint"},
        "none": {"guard": "none"},
        "after": {"checkpoint": "after"},
        "end": {"begin": "end"},
    }
    run = grouped(rules)
    found = {name: group_figures(run, name) for name in rules}
    assert {one["rebalances"] for one in found.values()} == {found["epoch"]["rebalances"]}
    assert found["epoch"]["rebalances"] >= 2
    assert found["epoch"]["refused"] > 0
    for name in ("epoch", "turns"):
        assert [found[name][one] for one in ("again", "late", "skipped", "wrong_at_end")] == [0, 0, 0, 0]
    for name in ("none", "after"):
        assert found[name]["again"] >= found[name]["late"] > 0
        assert found[name]["skipped"] == 0
    assert found["end"]["skipped"] > 0
    assert found["epoch"]["lag_max_ms"] > 200 > found["epoch"]["lag_p50_ms"]


def test_who_stands_still_sends_no_heartbeat() -> None:
    """An instance that stands still again before its first heartbeat does not join meanwhile, and is taken for dead once; also where the broker was away."""
    outage = [{"kind": "broker-outage", "every": "400ms", "duration": "300ms"}]
    often = {"instances": 3, "pause_every": {"distribution": "exponential", "average": "60ms"}, "pause": "350ms"}
    for number in range(4):
        group = {**GROUP, **often, "session": f"{150 + 50 * number}ms"}
        run = simtx.simulate(shop({}, groups={"g": group}, faults=outage), "outbox")
        record = run.data.groups["g"]
        away: set[str] = set()
        for one in record.rebalances:
            if one.why == "silent":
                assert one.instance not in away
                away.add(one.instance)
            else:
                away.remove(one.instance)
                still = [
                    begin for name, begin, end in record.pauses if name == one.instance and begin < one.begin < end
                ]
                assert not still
        assert group_figures(run, "g")["again"] == group_figures(run, "g")["skipped"] == 0


def test_a_group_that_is_never_paused_is_a_queue_for_each_instance() -> None:
    """No rebalance, and a lag of the way and the work: 20 ms on the way, 5 ms of work, hardly any queue."""
    run = grouped({"calm": {"pause_every": None, "lag": "20ms", "service_time": "5ms", "instances": 4}})
    found = group_figures(run, "calm")
    assert (found["rebalances"], found["refused"], found["again"], found["skipped"]) == (0, 0, 0, 0)
    assert 25 - 1e-6 <= found["lag_p50_ms"] <= 32
    assert run.engine == "interpreted"


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ({"service": "stock"}, "groups.g.service: 'stock' is no service"),
        ({"instances": 5}, "groups.g.instances: 5 instances share 4 partitions"),
        ({"guard": "epochs"}, "groups.g.guard: "),
    ],
)
def test_a_group_that_makes_no_sense_is_one_line(rule: dict[str, Any], line: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        shop({}, groups={"g": {**GROUP, **rule}})
    assert line in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_group_reads_the_log_of_the_broker() -> None:
    """As many partitions as the broker has, unless it says how many; what is too old is gone before it was read."""
    log = {"broker.partitions": 6, "broker.fetch": 20, "broker.retention": "100ms"}
    run = grouped({"usual": {"partitions": None}, "own": {"partitions": 3}}, **log)
    assert (run.data.groups["usual"].partitions, run.data.groups["own"].partitions) == (6, 3)
    assert group_figures(run, "usual")["skipped"] > 0


def test_while_the_broker_is_down_no_event_is_read_and_none_is_lost() -> None:
    """One event at a time is fetched: what is in the hands of an instance when the broker goes down is all that it does."""
    outage = [{"kind": "broker-outage", "at": "800ms", "duration": "600ms"}]
    groups = {"g": {**GROUP, "service_time": "2ms", "lag": "1ms"}}
    del groups["g"]["pause_every"]
    run = simtx.simulate(shop({}, groups=groups, faults=outage), "outbox")
    record, found = run.data.groups["g"], group_figures(run, "g")
    assert not [time for time in record.times if 0.9 < time < 1.4]
    assert found["lag_max_ms"] > 500
    assert (found["skipped"], found["again"], found["wrong_at_end"]) == (0, 0, 0)


def test_the_seldomer_offsets_are_committed_the_more_comes_again() -> None:
    """A pause is no crash: who is moved from is away, and what it had done since its last commit is done by the next one."""
    rule = {"checkpoint": "after", "commit_time": "1ms"}
    log = {"broker.partitions": 4}
    often = group_figures(grouped({"g": rule}, **log), "g")
    seldom = group_figures(grouped({"g": rule}, **log, **{"broker.commit_every": "2s"}), "g")
    assert seldom["again"] > 1.5 * often["again"]
    assert seldom["skipped"] == 0


def test_the_record_of_a_group_tells_of_its_partitions() -> None:
    """Each partition has one owner at a time, or none while it is moved; a living member never owns what another one does."""
    run = grouped({"g": {}})
    record, found = run.data.groups["g"], group_figures(run, "g")
    assert len(record.rebalances) == found["rebalances"] >= 2
    for number in range(record.partitions):
        owners = [owner for _, partition, owner in record.owners if partition == number]
        assert owners[0]
        assert owners[-1]
        assert all(before != after for before, after in pairwise(owners))
    assert all(one.end >= one.begin for one in record.rebalances)
    assert record.times == sorted(record.times)
    assert record.waiting[-1] == 0
    assert max(record.waiting) == found["waiting_max"]
    assert run.timeline["waiting_g"].max() <= found["waiting_max"]
    assert run.timeline["waiting_g"].iloc[-1] == 0


def test_the_picture_of_a_group_says_what_its_zombies_did() -> None:
    import matplotlib.pyplot as plt

    run = grouped({"fenced": {}, "open": {"guard": "none"}})
    title = run.plot.group().get_title(loc="left").replace("\n", " ")
    assert title.startswith("'fenced': no event lost or applied twice in ")
    again = int(group_figures(run, "open")["again"])
    title = run.plot.group("open").get_title(loc="left").replace("\n", " ")
    assert title.startswith(f"'open': {again:,} event")
    assert "applied again" in title
    plt.close("all")
    with pytest.raises(ScenarioError, match="there is no consumer group 'opn'; did you mean 'open'"):
        run.plot.group("opn")
    with pytest.raises(ScenarioError, match="has no consumer groups"):
        simtx.simulate(shop({}), "saga").plot.group()


def test_a_run_with_a_group_can_be_saved_and_drawn_again(tmp_path: Path) -> None:
    run = grouped({"g": {}}, **{"run.transactions": 60})
    run.save(tmp_path / "run")
    again = simtx.read(tmp_path / "run")
    assert isinstance(again, simtx.Run)
    assert again.data.groups["g"] == run.data.groups["g"]
