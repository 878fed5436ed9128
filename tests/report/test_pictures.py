"""Every picture, whatever came of the runs: no text lies over another one, and none leaves the canvas."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

import simtx
from simtx.experiments import Comparison, Result
from simtx.protocols import strategy
from simtx.report import plots, runs
from simtx.report.pictures import canvas
from simtx.report.pictures.differences import differences
from simtx.report.pictures.distribution import distribution
from simtx.report.pictures.failures import failures
from simtx.report.pictures.heat import heat_map
from simtx.report.pictures.outcomes import outcomes
from simtx.report.pictures.over_time import over_time
from simtx.report.pictures.queues import queues

FOUR = ("2pc", "saga", "outbox", "dual-write")
FAULTS = [
    {"kind": "crash", "node": "payments", "at": "200ms", "duration": "150ms"},
    {"kind": "broker-outage", "at": "260ms", "duration": "100ms"},
    {"kind": "slow", "node": "inventory", "factor": 4, "at": "450ms", "duration": "100ms"},
]
CUT = [
    {
        "kind": "partition",
        "at": "0s",
        "duration": "1h",
        "a": ["hub", "orders"],
        "b": ["inventory", "payments", "shipping", "broker"],
    }
]


@dataclass(frozen=True, kw_only=True)
class LongName(simtx.TwoPhaseCommit):
    """A strategy of a user's own whose name is a sentence."""

    name: ClassVar[str] = "two-phase commit with a coordinator in every region and early release of read locks"


# --- runs and comparisons, made once ------------------------------------------------------------------------------------------------


def scenario(**changes: Any) -> simtx.Scenario:
    return simtx.load("checkout").replace(**{"run.transactions": 70, "run.warmup": "0s", **changes})


def twelve() -> list[Any]:
    """Options of strategies: labels are as long as they get."""
    texts = [
        "2pc",
        "2pc:work=before",
        "saga",
        "outbox",
        "dual-write",
        "dual-write:order=broker-first",
        "dual-write:acknowledge=before",
    ]
    texts += [
        "dual-write:order=broker-first,acknowledge=before",
        "outbox:reader=lock",
        "outbox:closing=true",
        "saga:order=pivot-last",
    ]
    known = []
    for text in texts:
        try:
            known.append(strategy(text))
        except simtx.ScenarioError:
            continue
    while len(known) < 12:
        number = len(known)
        known.append(type(f"Mine{number}", (simtx.TwoPhaseCommit,), {"name": f"mine-{number}"})())
    return known


def play(chosen: Any, *, replication: int = 0, **changes: Any) -> simtx.Run:
    return simtx.simulate(scenario(**changes), chosen, seed=1, replication=replication)


@pytest.fixture(scope="module")
def played() -> dict[str, list[simtx.Run]]:
    faulty = [play(one, faults=FAULTS) for one in FOUR]
    nothing = [play(one, **{"run.transactions": 5}) for one in ("2pc", "outbox")]
    for run in nothing:
        run._transactions = run.transactions.assign(measured=False)
    cut = {"faults": CUT, "run.transactions": 40, "run.drain": "1s"}
    return {
        "quiet": [play(one) for one in FOUR],
        "faults": faulty,
        "one": faulty[:1],
        "twelve": [play(one, faults=FAULTS[:1], **{"run.transactions": 30}) for one in twelve()],
        "nothing": nothing,
        "censored": [play(one, **cut) for one in ("2pc", "saga")],
        "long": [
            play(LongName(), faults=FAULTS),
            play("saga", faults=FAULTS),
            play("saga", **{"workload.rate": 60, "faults": FAULTS}),
        ],
    }


@pytest.fixture(scope="module")
def compared(played: dict[str, list[simtx.Run]]) -> dict[str, Comparison]:
    """Of the same runs; a second replication where intervals are wanted."""
    more = {
        name: [play(run.strategy, replication=1, faults=FAULTS if name == "faults" else []) for run in played[name]]
        for name in ("quiet", "faults")
    }
    found = {}
    for name, each in played.items():
        kept = each[:2] if name == "long" else each
        labels = [accessors_label(run, kept) for run in kept]
        results = [
            Result(label, 0, run.summary.to_dict(), run.digest, "") for label, run in zip(labels, kept, strict=True)
        ]
        results += [Result(run.strategy.name, 1, run.summary.to_dict(), run.digest, "") for run in more.get(name, [])]
        strategies = {label: run.strategy for label, run in zip(labels, kept, strict=True)}
        found[name] = Comparison(kept[0].scenario, strategies, results, seed=1, replications=2 if name in more else 1)
    return found


def accessors_label(run: simtx.Run, among: list[simtx.Run]) -> str:
    from simtx.report.pictures import canvas

    return canvas.labels(among)[among.index(run)]


# --- what is checked ----------------------------------------------------------------------------------------------------------------


def every_axes(figure: Figure) -> Iterator[Axes]:
    waiting = list(figure.axes)
    while waiting:
        ax = waiting.pop()
        yield ax
        waiting += ax.child_axes


def texts(figure: Figure) -> list[Text]:
    """All texts that are drawn."""
    found: list[Text] = [*figure.texts, *(one for legend in figure.legends for one in words_of(legend))]
    for ax in every_axes(figure):
        found += [*ax.texts, *(title for title in (ax.title, ax._left_title, ax._right_title))]
        legend = ax.get_legend()
        found += words_of(legend) if legend is not None else []
        if not ax.axison:
            continue
        for axis in (ax.xaxis, ax.yaxis):
            found += [axis.label, axis.get_offset_text()]
            found += [
                label for tick in axis._update_ticks() for label in (tick.label1, tick.label2) if label.get_visible()
            ]
    return [one for one in found if one.get_visible() and one.get_text().strip()]


def words_of(legend: Legend) -> list[Text]:
    return [legend.get_title(), *legend.get_texts()]


def problems(figure: Figure) -> list[str]:
    """Texts that leave the canvas, and pairs of texts of which one lies over the other."""
    figure.canvas.draw()
    boxes = [(one, one.get_window_extent()) for one in texts(figure)]
    wide, high = figure.bbox.width, figure.bbox.height
    found = [
        f"leaves the canvas: {one.get_text()!r}"
        for one, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > wide + 1 or box.y1 > high + 1
    ]
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        if one.get_rotation() % 90 or other.get_rotation() % 90:  # boxes of leaning words are larger than the words
            continue
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > 1.5 and up > 1.5:
            found.append(f"{one.get_text()!r} over {other.get_text()!r}")
    return found


def checked(drawn: Any) -> None:
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    wrong = problems(figure)
    plt.close("all")
    assert not wrong, "\n".join(wrong[:12])


OF_RUNS: dict[str, Callable[..., Any]] = {
    "distribution": distribution,
    "answers": functools.partial(distribution, column="latency_ms"),
    "windows": functools.partial(distribution, column="window_ms"),
    "outcomes": outcomes,
    "over_time": over_time,
    "failures": failures,
    "heat_map": heat_map,
    "queues": queues,
    "timeline": runs.timeline,
}
OF_COMPARISONS: dict[str, Callable[..., Any]] = {
    "latency": plots.latency,
    "throughput": plots.throughput,
    "outcomes": outcomes,
    "drift": plots.drift,
    "damage": plots.damage,
    "trade_off": plots.trade_off,
    "differences": differences,
    "overview": plots.overview,
}
CASES = ("quiet", "faults", "one", "twelve", "nothing", "censored", "long")


def some(names: Any) -> list[Any]:
    """All pictures of all cases; but for the hard ones, the large pictures are drawn with the heavy tests only."""
    large, hard = {"over_time", "queues", "heat_map", "overview", "failures"}, {"faults", "twelve"}
    hard_too = {("queues", "faults"), ("heat_map", "one"), ("over_time", "one"), ("queues", "one")}
    found = []
    for name, case in itertools.product(names, CASES):
        often = (name not in large and case not in ("quiet", "one")) or (case in hard and name in large)
        often = (often and (name, case) not in {("queues", "twelve"), ("over_time", "twelve")}) or (
            name,
            case,
        ) in hard_too
        found.append(pytest.param(name, case, marks=() if often else pytest.mark.heavy, id=f"{name}-{case}"))
    return found


@pytest.mark.parametrize(("name", "case"), some(OF_RUNS))
@pytest.mark.sample(13)
def test_texts_of_a_picture_of_runs_neither_overlap_nor_leave_the_canvas(
    name: str, case: str, played: dict[str, list[simtx.Run]]
) -> None:
    checked(OF_RUNS[name](played[case]))


@pytest.mark.parametrize(("name", "case"), some(OF_COMPARISONS))
@pytest.mark.sample(13)
def test_texts_of_a_picture_of_a_comparison_neither_overlap_nor_leave_the_canvas(
    name: str, case: str, compared: dict[str, Comparison]
) -> None:
    if name == "differences" and case == "one":
        with pytest.raises(simtx.ScenarioError, match="a difference needs two strategies"):
            differences(compared[case])
        return
    checked(OF_COMPARISONS[name](compared[case]))


# --- pictures of other objects, and how pictures look -------------------------------------------------------------------------------


OTHERS: dict[str, Callable[[simtx.Run], Any]] = {
    "coordinator": lambda run: run.plot.machine("coordinator"),
    "participant": lambda run: run.plot.machine("participant"),
    "relay": lambda run: simtx.Outbox().diagram("relay"),
    "executing": lambda run: simtx.TwoPhaseCommit(work="before").diagram(),
    "two zones": lambda run: run.scenario.plot(),
    "four zones": lambda run: simtx.load("checkout-regions").plot(),
    "compact": lambda run: run.trace.diagram(5, compact=True),
    "compact, crashed": lambda run: run.trace.diagram(int(run.transactions["decision_ms"].idxmax()), compact=True),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.sample(2)
def test_texts_of_machines_zones_and_transactions_neither_overlap_nor_leave_the_canvas(
    name: str, played: dict[str, list[simtx.Run]]
) -> None:
    checked(OTHERS[name](played["one"][0]))


def test_a_row_of_a_machine_is_grey_unless_the_run_took_it(played: dict[str, list[simtx.Run]]) -> None:
    table = played["one"][0].plot.machine("coordinator").child_axes[1]
    said = {text.get_text().replace("\n", " "): text.get_color() for text in table.texts}
    taken = next(colour for words, colour in said.items() if words.startswith("begin: PREPARE to all (70 times)"))
    missing = {colour for words, colour in said.items() if words.endswith("(not taken)")}
    assert missing
    assert taken not in missing
    with pytest.raises(simtx.ScenarioError, match="2pc has no role 'cordinator'; did you mean 'coordinator'"):
        simtx.TwoPhaseCommit().diagram("cordinator")
    plt.close("all")


def test_the_numbers_of_a_machine_stand_on_their_arrows() -> None:
    """One that floats belongs to no arrow, or to the wrong one."""
    figure = simtx.Saga().diagram().get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    states = figure.axes[0].child_axes[0]
    curves = [
        np.concatenate(
            arrow.get_transform().transform_path(arrow.get_path()).interpolated(1).to_polygons(closed_only=False)
        )
        for arrow in states.patches
    ]
    on_curves = np.concatenate([np.linspace(a, b, 30) for one in curves for a, b in itertools.pairwise(one)])
    numbers = [text for text in states.texts if re.fullmatch(r"[\d, –]+", text.get_text())]
    assert len(numbers) >= 10
    for text in numbers:
        box = text.get_window_extent()
        middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        assert np.hypot(*(on_curves - middle).T).min() < 10, text.get_text()  # dots
    plt.close("all")


def test_a_compact_diagram_says_equal_messages_once(played: dict[str, list[simtx.Run]]) -> None:
    """Four participants, one row."""
    run = played["one"][0]
    words = [text.get_text() for text in run.trace.diagram(5, compact=True).texts]
    assert {"4 × prepare", "4 × yes", "4 × commit", "4 × ack"} <= set(words)
    assert "prepare" in words  # the record of each participant
    plt.close("all")


@pytest.mark.parametrize("name", ["distribution", "outcomes", "failures"])
@pytest.mark.sample(3)
def test_nothing_on_a_slide_is_smaller_than_nine_points(name: str, played: dict[str, list[simtx.Run]]) -> None:
    figure = OF_RUNS[name](played["faults"], figsize=(13.33, 7.5)).get_figure(root=True)
    assert min(one.get_fontsize() for one in texts(figure)) >= 9
    assert figure.get_figwidth() == 13.33
    plt.close("all")


def test_a_dark_style_and_a_font_size_of_the_users_are_kept(played: dict[str, list[simtx.Run]]) -> None:
    with plt.style.context("dark_background"), mpl.rc_context({"font.size": 15}):
        ax = distribution(played["faults"])
        figure = ax.get_figure(root=True)
        assert figure is not None
        assert figure.get_facecolor() == (0.0, 0.0, 0.0, 1.0)
        assert ax.title.get_fontsize() or ax._left_title.get_fontsize() > 15
        for line in ax.get_lines():
            assert sum(mpl.colors.to_rgb(line.get_color())) > 1.0, line.get_color()
    plt.close("all")


def test_a_figure_of_the_callers_says_what_the_picture_is_about(played: dict[str, list[simtx.Run]]) -> None:
    figure, ax = plt.subplots()
    assert distribution(played["faults"], ax=ax) is ax
    said = " ".join(text.get_text() for text in ax.texts).replace("\n", " ")
    for words in (
        "checkout with run.transactions = 70",
        "faults = 3 entries",
        "100/s offered",
        "seed 1, replication 0",
    ):
        assert words in said
    assert not figure.texts
    plt.close("all")


def test_two_runs_of_one_strategy_are_told_apart(played: dict[str, list[simtx.Run]]) -> None:
    before = played["faults"][1]
    after = play("saga", faults=FAULTS, **{"workload.rate": 60})
    legend = distribution([before, after]).get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["saga, checkout as it is", "saga, workload.rate = 60"]
    colours = {line.get_color() for line in legend.get_lines()}
    assert len(colours) == 2
    plt.close("all")


def test_a_run_that_ends_in_a_fault_says_nothing_of_its_recovery() -> None:
    """There is no time behind the fault in which it could be seen."""
    fault = {"kind": "crash", "node": "payments", "at": "200ms", "duration": "1h"}
    run = play("saga", faults=[fault], **{"run.drain": "1s", "run.transactions": 40})
    ax = failures(run)
    assert ax.get_title(loc="left").replace("\n", " ").startswith("A fault is in force when the run ends")
    assert not any("0 s" in text.get_text() for text in ax.texts if text.get_gid() is None)
    checked(ax)


def test_every_strategy_that_leaves_clients_without_an_answer_is_named(played: dict[str, list[simtx.Run]]) -> None:
    ax = outcomes(played["censored"])
    title = ax.get_title(loc="left").replace("\n", " ")
    assert {run.strategy.name for run in played["censored"]} == {"2pc", "saga"}
    assert "without an answer: " in title
    assert all(name in title.partition("without an answer: ")[2] for name in ("2pc", "saga"))
    plt.close("all")


def test_the_colours_of_a_heat_map_count_whole_transactions(played: dict[str, list[simtx.Run]]) -> None:
    figure = heat_map(played["one"]).get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    bar = next(one for one in figure.axes if one.get_ylabel() == "transactions in a cell")
    said = [label.get_text() for label in bar.get_yticklabels(which="both") if label.get_text()]
    assert said
    assert all(words.replace(",", "").isdigit() and words != "0" for words in said), said
    plt.close("all")


def test_a_picture_says_how_many_runs_have_its_figures(compared: dict[str, Comparison]) -> None:
    """Of three replications one failed under one strategy, and none of another's recovered: nobody shall read three."""
    whole = compared["quiet"]
    assert "2 replications" in subtitle(plots.latency(whole))
    results = [one for one in whole.results if (one.strategy, one.replication) != ("saga", 1)]
    part = Comparison(whole.scenario, whole.objects, results, seed=1, replications=2)
    for name in ("latency", "throughput", "drift", "damage", "trade_off", "outcomes"):
        assert "figures of 1 to 2 of 2 runs" in subtitle(OF_COMPARISONS[name](part)), name
    assert "figures of 1 to 2 of 2 pairs of runs" in subtitle(differences(part, "2pc", metrics=["goodput_per_s"]))
    plt.close("all")


def subtitle(ax: Axes) -> str:
    return " ".join(one.get_text() for one in ax.texts if one.get_gid() == canvas.SUBTITLE).replace("\n", " ")


@pytest.mark.parametrize("name", ["outcomes", "timeline", "answers"])
def test_words_stay_on_axes_of_the_callers_and_say_where_they_are_from(
    name: str, played: dict[str, list[simtx.Run]]
) -> None:
    """In the middle of matplotlib's usual figure, without a layout engine, and at any resolution."""
    figure, axes = plt.subplots()
    OF_RUNS[name](played["faults"], ax=axes)
    assert played["faults"][0].provenance.prints in subtitle(axes)
    assert not problems(figure)
    figure.set_dpi(70)
    checked(figure)


@pytest.mark.parametrize("name", ["latency", "differences"])
def test_words_of_a_comparison_stay_on_axes_of_the_callers(name: str, compared: dict[str, Comparison]) -> None:
    figure, axes = plt.subplots()
    OF_COMPARISONS[name](compared["faults"], ax=axes)
    assert "simtx " in subtitle(axes)
    checked(figure)


@pytest.mark.parametrize("name", ["distribution", "outcomes", "latency"])
def test_a_figure_may_be_small_until_its_words_have_no_room(
    name: str, played: dict[str, list[simtx.Run]], compared: dict[str, Comparison]
) -> None:
    draw, data = (OF_RUNS[name], played["faults"]) if name in OF_RUNS else (OF_COMPARISONS[name], compared["faults"])
    with pytest.raises(simtx.ScenarioError, match="figsize: the words of this picture need") as caught:
        draw(data, figsize=(3, 2))
    least = [float(one) for one in re.findall(r"\d+\.\d", str(caught.value))[:2]]
    checked(draw(data, figsize=tuple(least)))


def test_a_slide_keeps_its_size_and_its_foot_can_be_read(played: dict[str, list[simtx.Run]]) -> None:
    figure = distribution(played["faults"], figsize=(10, 5.625)).get_figure(root=True)
    assert figure is not None
    assert tuple(figure.get_size_inches()) == (10, 5.625)
    assert min(one.get_fontsize() for one in texts(figure)) >= 9
    checked(figure)


def test_strategies_differ_in_grey_and_for_those_who_see_no_green() -> None:
    """Where two colours are near each other in grey, marker and dash differ."""
    from simtx.report import style

    looks = style.looks([*FOUR, "mine", "yours", "theirs"])
    for one, other in itertools.combinations(looks.values(), 2):
        assert one.marker != other.marker
        if abs(_grey(one.colour) - _grey(other.colour)) < 0.1:
            assert one.dashes != other.dashes or one.marker != other.marker
    assert (
        len(
            {
                (look.colour, look.marker, str(look.dashes))
                for look in style.looks([f"s{i}" for i in range(12)]).values()
            }
        )
        == 12
    )


def _grey(colour: str) -> float:
    red, green, blue = mpl.colors.to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_the_load_curve_marks_where_a_strategy_stops_to_keep_up(tmp_path: Any) -> None:
    """One worker of 22 ms is full at 45 a second: 30 are done, 120 are not."""
    small = scenario(**{"run.transactions": 60, "services.payments.workers": 1})
    sweep = simtx.sweep(
        small,
        {"workload.rate": [20, 120]},
        ["2pc", "outbox"],
        replications=2,
        workers=1,
        store=tmp_path,
        progress=False,
    )
    ax = sweep.plot.load("latency_p99_ms")
    assert len(ax.child_axes) == 3  # a panel for each promise, and goodput
    assert "until 20/s" in ax.get_title(loc="left")
    checked(ax)
    with pytest.raises(simtx.ScenarioError, match="'rte' is no parameter"):
        sweep.plot.load(rate="rte")
