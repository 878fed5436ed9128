"""Each failure story shows what it says, and says nothing that its runs do not show."""

from __future__ import annotations

import math
import re
import tomllib

import matplotlib as mpl
import pytest

import simtx
from simtx.experiments.stories import ORDER, FailureStory
from simtx.report.catalogue import METRICS, of_beside
from simtx.scenario.catalog import data_path

mpl.use("agg")
PLACE = re.compile(r"\{([^{}]*)\}")


@pytest.mark.parametrize("name", ORDER)
def test_the_runs_show_what_the_story_says(name: str) -> None:
    """All checks hold, and every figure of the sentence is one of its runs: no place is left empty, and nothing is missing."""
    told = simtx.story(name).run()
    assert told.failed == []
    sentence = told.finding
    assert told.lesson == told.story.lesson
    assert told.lesson.count(".") == 1
    assert "{" not in sentence
    assert "–" not in sentence
    assert "nan" not in sentence
    assert len(PLACE.findall(told.story.sentence)) >= 3
    assert all(name in METRICS or of_beside(name) for name in told.story.shows)
    assert told.story.command in str(told)


@pytest.mark.parametrize("seed", [2, 8, 12])
@pytest.mark.sample(3)
def test_a_storm_of_retries_outlives_its_cause_under_other_seeds_too(seed: int) -> None:
    """Two of these calmed down by themselves while the load lasted for 10 s only."""
    assert simtx.story("retry-storm").run(seed).failed == []


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["retry-storm", "zombie-consumer"])
def test_a_story_holds_under_twenty_seeds(name: str) -> None:
    """Of a story that fails under some seeds, the sentence is a matter of luck."""
    assert {seed: told.failed for seed in range(1, 21) if (told := simtx.story(name).run(seed)).failed} == {}


def test_the_files_are_those_that_are_told() -> None:
    assert sorted(path.stem for path in (data_path() / "stories").glob("*.toml")) == sorted(ORDER)
    assert list(simtx.stories()) == list(ORDER)


def changed(name: str, **changes: object) -> FailureStory:
    """The same story with something else in its scenario."""
    raw = tomllib.loads((data_path() / "stories" / f"{name}.toml").read_text(encoding="utf-8"))
    return FailureStory(name, {**raw, "changes": {**raw["changes"], **changes}})


@pytest.mark.parametrize("name", ["coordinator-dies", "dedup-window", "broker-outage", "relay-stalls"])
def test_without_its_fault_no_story_is_told(name: str) -> None:
    """The sentence gives way to what did not come about."""
    told = changed(name, faults=[], **{"run.transactions": 60}).run()
    assert not told.holds
    assert told.finding.startswith("These runs do not show it: ")
    assert told.finding in str(told).replace("\n", " ")
    assert told.story.lesson not in str(told).replace("\n", " ")
    assert simtx.story(name).title in str(told)


def test_figures_are_those_of_the_runs() -> None:
    told = simtx.story("broker-outage").run()
    run = told.runs["outbox"]
    assert told.figure("outbox", "latency_p50_ms") == run.summary["latency_p50_ms"]
    assert told.figure("outbox", "fault_s") == 4
    assert told.figure("saga", "fault_s") == told.figure("saga", "blows") == 0
    samples = run.timeline
    meanwhile = samples[samples["time_s"].between(3, 7)]
    assert told.figure("outbox", "during_drift_gross") == meanwhile["drift_gross"].max()
    assert told.figure("outbox", "peak_in_flight") == samples["in_flight"].max()
    assert math.isnan(told.figure("saga", "during_in_flight"))
    assert f"{told.figure('dual-write', 'missing_effects'):.0f} effects" in told.finding
    with pytest.raises(simtx.ScenarioError, match="did you mean 'latency_p50_ms'"):
        told.figure("outbox", "latncy_p50_ms")
    with pytest.raises(simtx.ScenarioError, match="'2pc' is no case of this story; there are outbox, dual-write, saga"):
        told.figure("2pc", "latency_p50_ms")


def test_who_is_in_doubt_waits_for_the_coordinator_under_2pc_and_for_nobody_under_the_others() -> None:
    """The longest time that one branch was in doubt: no shorter than the outage, and no longer than two timeouts and their jitter."""
    told = simtx.story("in-doubt").run()
    policies = told.runs["2pc"].scenario.policies
    assert told.figure("2pc", "blocked_s") > told.figure("2pc", "fault_s") == 8
    patience = policies.inquiry_timeout + policies.vote_timeout
    assert patience < told.figure("paxos-commit", "blocked_s") < patience + 2 * policies.backoff.base
    alone = policies.inquiry_timeout
    assert alone < told.figure("cornus", "blocked_s") < alone + 2 * policies.backoff.base


def test_a_seed_is_played_once_and_its_command_names_it() -> None:
    story = simtx.story("hot-key")
    assert story.run(2) is story.run(2)
    assert story.run(2).command == "simtx story hot-key --seed 2"
    assert story.run(2).runs["saga"].digest != story.run().runs["saga"].digest


def test_a_case_can_be_played_by_the_command_of_its_run() -> None:
    """The provenance of a run names all that the story has changed."""
    command = simtx.story("broker-outage").run().runs["outbox"].provenance.command
    assert command.startswith("simtx simulate transfer outbox ")
    assert "broker-outage" in command


@pytest.mark.parametrize("name", ["coordinator-dies", "retry-storm", "zombie-consumer"])
def test_the_picture_has_a_panel_a_case_and_shades_the_fault(name: str) -> None:
    told = simtx.story(name).run()
    figure = told.plot()
    assert [ax.get_title("left") for ax in figure.axes] == list(told.runs)
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    assert all(
        ax.get_ylim()[1] >= told.figure(case, f"peak_{told.story.look}")
        for ax, case in zip(figure.axes, told.runs, strict=True)
    )
    assert [bool(ax.get_title("right")) for ax in figure.axes] == [bool(run.data.struck) for run in told.runs.values()]
    words = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert told.lesson in words
    assert told.finding in words
    assert told.command in words
    mpl.pyplot.close(figure)


def test_what_waits_is_drawn_by_partition_beside_the_queue() -> None:
    """The same poison message: the log's partition grows until the corrected version is there, and nothing else does."""
    story = simtx.story("poison-partition")
    told = story.run()
    figure = told.plot()
    queue, log, _ = figure.axes
    assert [len(ax.get_lines()) >= count for ax, count in ((queue, 1), (log, 4))] == [True, True]
    assert all("poison, attempts from" in ax.get_title("right") for ax in figure.axes)
    assert [("dead letter" in ax.get_title("right")) for ax in figure.axes] == [True, False, True]
    most = told.figure("log", "peak_waiting_receiver")
    ax = told.runs["log"].plot.lag()
    assert f"Up to {most:.0f} events wait in partition" in ax.get_title("left").replace("\n", " ")
    assert ax.get_ylim()[1] >= most
    with pytest.raises(simtx.ScenarioError, match="there is no service 'recever'"):
        told.runs["log"].plot.lag("recever")
    with pytest.raises(simtx.ScenarioError, match="no service consumes events in this run of 'saga'"):
        simtx.simulate(
            simtx.load("transfer").replace(**{"run.transactions": 30, "run.warmup": "0s"}), "saga"
        ).plot.lag()
    mpl.pyplot.close("all")
    table = story.intervals(2)
    assert set(table.index.get_level_values("case")) == set(told.runs)
    one = table.loc["decision_p99_ms", "log"]
    assert one["low"] <= one["mean"] <= one["high"]
    assert one["mean"] == pytest.approx(sum(story.run(seed).figure("log", "decision_p99_ms") for seed in (1, 2)) / 2)
    with pytest.raises(simtx.ScenarioError, match="replications"):
        story.intervals(1)


def test_everything_shows_itself() -> None:
    listed = simtx.stories()
    assert "broker-outage" in listed._repr_html_()
    assert "simtx story NAME" in str(listed)
    story = listed["split-brain"]
    for shown in (str(story), story._repr_html_()):
        assert story.omits in shown
        assert "partition" in shown
    told = story.run()
    page = told._repr_html_()
    assert told.finding in page
    assert "only accepted" in page


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(simtx.ScenarioError, match="there is no story 'broker-outge'; did you mean 'broker-outage'"):
        simtx.story("broker-outge")
    with pytest.raises(KeyError):
        simtx.stories()["xyzzy"]
    assert simtx.stories().get("xyzzy") is None  # type: ignore[arg-type]


def test_what_is_built_in_is_listed() -> None:
    scenarios, strategies = simtx.scenarios(), simtx.strategies()
    assert scenarios["checkout"] == simtx.load("checkout")
    assert [one.name for one in strategies.values()] == [
        "2pc",
        "paxos-commit",
        "cornus",
        "saga",
        "tcc",
        "outbox",
        "choreography",
        "dual-write",
    ]
    assert "acknowledge=after" in str(strategies)
    assert "Orders, payments" in str(scenarios) or "web shop" in str(scenarios)
    with pytest.raises(simtx.ScenarioError, match="did you mean 'saga'"):
        strategies["sagas"]
    with pytest.raises(simtx.ScenarioError, match="did you mean 'checkout'"):
        scenarios["chekout"]
