"""Message diagrams: what is drawn for which entry of the event log, counted on logs written by hand and on simulated ones."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import get_args

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

mpl.use("agg")

import matplotlib.pyplot as plt

import simtx
from simtx import ScenarioError
from simtx.event_log import entries
from simtx.event_log.log import EventLog
from simtx.report import diagram, sequence, spans, style


def _hand_written() -> ModuleType:
    spec = util.spec_from_file_location("traces", Path(__file__).with_name("traces.py"))
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


traces = _hand_written()


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    yield
    plt.close("all")


def _count(ax: Axes) -> Counter[str]:
    return Counter(artist.get_gid() for artist in ax.get_children() if artist.get_gid())


def _texts(ax: Axes, gid: str) -> list[str]:
    return [artist.get_text() for artist in ax.get_children() if isinstance(artist, Text) and artist.get_gid() == gid]


def test_coordinator_crash_is_drawn_entry_by_entry() -> None:
    """Three prepares and votes, four commits, four acks, an inquiry, request and answer; two messages lost; one crash."""
    ax = diagram.draw(traces.coordinator_crash(), 7)
    drawn = _count(ax)
    assert drawn["arrow"] == 3 + 3 + 1 + 3 + 1 + 3 + 1 + 2
    assert drawn["lost-message"] == 2
    assert drawn["forced"] == 3 + 1 + 3  # prepared branches, the decision, local commits
    assert drawn["lazy"] == 1  # the end record
    assert drawn["decided"] == 1
    assert drawn["timer"] == 1
    assert drawn["in-doubt"] == 3
    assert (drawn["cut"], drawn["down-lane"], drawn["restart"]) == (2, 1, 1)
    assert _texts(ax, "lost-label") == ["send commit → orders", "send commit → inventory"]
    assert _texts(ax, "lane-name") == ["client", "coordinator", "payments", "orders", "inventory"]


def test_legend_explains_what_is_there_and_nothing_else() -> None:
    crash = diagram.draw(traces.coordinator_crash(), 7).get_legend()
    calm = diagram.draw(traces.outbox_refused(), 3).get_legend()
    assert crash is not None
    assert calm is not None
    words = {text.get_text() for text in crash.get_texts()}
    assert {
        "forced to disk",
        "written lazily",
        "in doubt (locks held)",
        "node is down",
        "effect lost in the crash",
    } <= words
    assert {text.get_text() for text in calm.get_texts()} == {
        "forced to disk",
        "nothing written",
        "through the broker",
        "arrived again",
        "outcome is final",
    }


def test_broker_is_the_last_lane_and_a_second_delivery_is_told_apart() -> None:
    built = sequence.build(traces.outbox_refused(), 3)
    assert built.lanes == ["client", "orders", "payments", "broker"]
    deliveries = [(arrow.target, arrow.label, arrow.repeated) for arrow in built.arrows if arrow.kind == "delivery"]
    assert deliveries == [("payments", "placed", False), ("payments", "placed", True), ("orders", "refused", False)]
    assert [mark.kind for mark in built.marks] == ["forced", "forced", "volatile", "forced", "decided"]


def test_struck_words_have_a_line_through_them() -> None:
    """The pixels in the middle of a lost effect's words are coloured from end to end."""
    ax = diagram.draw(traces.coordinator_crash(), 7)
    figure = ax.figure
    figure.canvas.draw()  # type: ignore[union-attr]
    green = np.asarray(figure.canvas.buffer_rgba())[:, :, 1]  # type: ignore[union-attr]
    text = next(artist for artist in ax.get_children() if artist.get_gid() == "lost-label")
    box = text.get_window_extent()
    middle = len(green) - 1 - round((box.y0 + box.y1) / 2)
    words = green[middle - 1 : middle + 2, round(box.x0) + 1 : round(box.x1) - 1]
    assert (words < 160).all(axis=1).any()


def test_time_only_goes_down_and_a_message_never_rises() -> None:
    for trace, tx in ((traces.coordinator_crash(), 7), (traces.outbox_refused(), 3)):
        built = sequence.build(trace, tx)
        rows = [row for row, _ in built.times]
        assert rows == sorted(rows)
        assert all(arrow.top <= arrow.bottom for arrow in built.arrows)
        assert all(arrow.top < arrow.bottom for arrow in built.arrows if arrow.kind not in ("request", "answer"))


def test_true_to_scale_between_the_cuts() -> None:
    """A gap twice as long is twice as high; one that is a thousand times as long is cut short, and says so."""
    log = traces.Log(tx=1)
    for number, ms in enumerate((0, 10, 30, 10_030, 10_040)):
        log.add(ms, "append", f"node {number}", "record", detail="forced")
    built = sequence.build(log.trace(), 1)
    first, second, third, fourth = np.diff([row for row, _ in built.times])
    assert second == pytest.approx(2 * first)
    assert fourth == pytest.approx(first)
    assert third < 10 * first
    assert [seconds for _, seconds in built.breaks] == pytest.approx([10.0])


def test_labels_of_one_lane_do_not_print_over_each_other() -> None:
    built = sequence.build(traces.coordinator_crash(), 7)
    for lane in built.lanes:
        rows = sorted(mark.row for mark in built.marks if mark.node == lane)
        assert all(b - a >= 1 for a, b in itertools.pairwise(rows))


def test_a_part_of_the_time() -> None:
    trace = traces.coordinator_crash()
    early = sequence.build(trace, 7, end=0.0049)
    late = sequence.build(trace, 7, start=1.0)
    assert not any(mark.kind == "crash" for mark in early.marks)
    assert {arrow.label for arrow in early.arrows} == {"begin", "prepare", "prepared"}
    assert {arrow.label for arrow in late.arrows} == {"inquiry", "commit", "ack"}
    with pytest.raises(ScenarioError, match="nothing happened"):
        sequence.build(trace, 7, start=50.0)


def test_unknown_transaction_is_refused_with_what_there_is() -> None:
    with pytest.raises(ScenarioError, match="no transaction 8 in this trace; it holds 7 to 7"):
        diagram.draw(traces.coordinator_crash(), 8)
    with pytest.raises(ScenarioError, match="no transaction 8"):
        diagram.render(traces.coordinator_crash(), 8)


def test_draws_into_given_axes() -> None:
    _, ax = plt.subplots()
    assert diagram.draw(traces.outbox_refused(), 3, ax=ax) is ax


def test_leaves_no_style_behind() -> None:
    before = dict(mpl.rcParams)
    diagram.draw(traces.outbox_refused(), 3)
    assert dict(mpl.rcParams) == before


def test_text_has_one_line_an_entry() -> None:
    lines = diagram.render(traces.coordinator_crash(), 7).splitlines()
    assert len(lines) == 1 + len(traces.coordinator_crash().of(7))
    assert lines[1].split() == ["0.000", "coordinator", "<--", "client", "begin"]
    assert "       5.000  coordinator  log commit [forced]" in lines
    assert "       5.000  coordinator  *** crash ***" in lines
    assert "       5.000  coordinator  lost in the crash: send commit → orders" in lines
    assert "       6.900  payments     --x coordinator   ack (lost in the network)" in lines


# --- simulated ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["2pc", "saga", "outbox", "dual-write"])
def test_a_simulated_transaction_shows_its_forced_writes(small: simtx.Scenario, strategy: str) -> None:
    """As many filled ticks as the run counts forced writes, as many arrows between nodes as it counts messages."""
    run = simtx.simulate(small, strategy, trace=True)
    rows = run.transactions
    chosen = rows[(rows["outcome"] == "committed") & rows["measured"]].iloc[10]
    built = sequence.build(run.trace, int(chosen["tx"]))
    assert sum(mark.kind == "forced" for mark in built.marks) == chosen["forced_writes"]
    assert sum(mark.kind == "lazy" for mark in built.marks) == chosen["lazy_writes"]
    assert sum(arrow.kind == "message" for arrow in built.arrows) == chosen["messages"]
    assert built.outcome == "committed"
    assert run.trace.diagram(int(chosen["tx"])).get_title(loc="left").endswith("committed")


def test_what_a_local_transaction_changed_is_written_beside_it(small: simtx.Scenario) -> None:
    run = simtx.simulate(small, "saga", trace=True)
    rows = run.transactions
    tx = int(rows.loc[rows["outcome"] == "committed", "tx"].iloc[0])
    labels = [mark.label for mark in sequence.build(run.trace, tx).marks]
    taken = [label for label in labels if label.startswith("balance:") and "−" in label]
    given = [label for label in labels if label.startswith("balance:") and "+" in label]
    assert len(taken) == len(given) == 1
    assert taken[0].rpartition("−")[2] == given[0].rpartition("+")[2]


def test_a_message_to_a_node_that_is_down_ends_at_its_lane() -> None:
    log = traces.Log(tx=1)
    sent = log.add(0, "send", "a", "do", peer="b")
    log.add(1, "drop", "a", "do", peer="b", cause=sent, detail="down")
    lost = log.add(2, "send", "a", "do", peer="b")
    log.add(2, "drop", "a", "do", peer="b", cause=lost)
    arrows = sequence.build(log.trace(), 1).arrows
    assert [(arrow.lost, arrow.at_target) for arrow in arrows] == [(True, True), (True, False)]
    assert "do (b is down)" in diagram.render(log.trace(), 1)


def test_a_node_that_crashed_before_the_first_event_is_down_until_its_restart() -> None:
    log = traces.Log()
    log.add(0, "request", "orchestrator", "begin", peer="client", actor="client")
    sent = log.add(1, "send", "orchestrator", "do", peer="payments")
    log.add(1.2, "drop", "orchestrator", "do", peer="payments", cause=sent, detail="down")
    log.add(50, "restart", "payments", actor="fault")
    again = log.add(100, "send", "orchestrator", "do", peer="payments")
    log.add(100.2, "receive", "payments", "do", peer="orchestrator", cause=again)
    drawn = sequence.build(log.trace(), 7)
    (span,) = drawn.spans
    restart = next(mark for mark in drawn.marks if mark.kind == "restart")
    assert (span.kind, span.node, span.top, span.bottom) == ("down", "payments", 0.0, restart.row)


def test_what_has_not_arrived_is_not_called_lost() -> None:
    log = traces.Log(tx=1)
    log.add(0, "send", "hub", "do", peer="a")
    lost = log.add(1, "send", "hub", "do", peer="b")
    log.add(2, "drop", "hub", "do", cause=lost, peer="b", actor="network")
    log.add(3, "publish", "a", "placed", peer="broker")
    stored = log.add(4, "publish", "a", "paid", peer="broker")
    log.add(5, "receive", "broker", "paid", cause=stored, peer="a")
    acked = log.add(6, "publish", "a", "sent", peer="broker")
    log.add(7, "confirm", "a", "sent", cause=acked, peer="broker")
    built = sequence.build(log.trace(), 1)
    fates = [(arrow.label, arrow.target, arrow.lost, arrow.under_way) for arrow in built.arrows if arrow.label != "ack"]
    assert sorted(fates) == [
        ("do", "a", False, True),
        ("do", "b", True, False),
        ("paid", "broker", False, False),
        ("placed", "broker", False, True),
        ("sent", "broker", False, False),
    ]
    ax = diagram.draw(log.trace(), 1)
    assert _count(ax)["lost-message"] == 1
    legend = ax.get_legend()
    assert legend is not None
    assert "not arrived by then" in {text.get_text() for text in legend.get_texts()}


def test_a_long_alert_is_broken_into_lines_that_nothing_else_is_printed_on() -> None:
    log = traces.Log(tx=1)
    log.add(
        0,
        "alert",
        "a",
        "a step behind the pivot was refused although it is retriable, so that an operator has to see to it",
    )
    log.add(0, "append", "a", "parked", detail="forced")
    log.add(0, "append", "b", "other", detail="forced")
    alert, parked, _ = sequence.build(log.trace(), 1).marks
    lines = alert.label.split("\n")
    assert len(lines) == 3
    assert " ".join(line.strip() for line in lines).endswith("that an operator has to see to it")
    assert parked.row - alert.row >= 1.0 + 2 * 0.6
    ax = diagram.draw(log.trace(), 1)
    figure = ax.figure
    figure.canvas.draw()  # type: ignore[union-attr]
    box = next(artist for artist in ax.get_children() if artist.get_gid() == "alert-label").get_window_extent()
    assert box.x1 <= figure.bbox.x1


def test_steps_are_numbered_and_a_title_may_be_given() -> None:
    log = traces.Log(tx=1)
    log.add(2, "append", "a", "begin", detail="forced")
    log.add(3, "append", "a", "end", detail="lazy")
    ax = diagram.draw(log.trace(), 1, steps=True, title="What goes wrong")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1202", "1203"]  # the log begins at 1.2 s
    assert ax.get_ylabel() == "step"
    assert ax.get_title(loc="left") == "What goes wrong"


def test_each_decision_has_the_colour_of_its_own_outcome() -> None:
    log = traces.Log(tx=1)
    log.add(0, "decided", "a", "aborted")
    log.add(1, "decided", "a", "committed")
    ax = diagram.draw(log.trace(), 1)
    colours = [artist.get_color() for artist in ax.get_children() if artist.get_gid() == "decided-label"]  # type: ignore[attr-defined]
    assert colours == [style.REFUSED, style.GOOD]


# --- kinds of entries -----------------------------------------------------------------------------------------------------------


def test_each_kind_of_entry_has_one_place_in_diagrams_and_one_in_spans() -> None:
    """One that nobody draws is named so: the type checker finds a forgotten one in `sequence.shown`, this test one that is listed twice."""
    places = (sequence.ArrowKind, sequence.TickKind, sequence.MarkKind, sequence.WordKind, sequence.HiddenKind)
    listed = [kind for place in places for kind in get_args(place)]
    assert sorted(listed) == sorted(entries.DETAILS)
    assert set(spans._Reader().readers) == set(entries.DETAILS)


@pytest.mark.parametrize(
    "show",
    [sequence.build, diagram.render, lambda trace, tx: spans.spans_of(trace)],
    ids=["picture", "letters", "spans"],
)
def test_an_entry_of_an_unknown_kind_is_refused_and_not_left_out(show: Callable[[EventLog, int], object]) -> None:
    log = traces.Log(tx=1)
    log.add(0, "request", "a", "begin", peer="client", actor="client")
    assert show(log.trace(), 1)
    log.add(1, "answr", "a", "committed", peer="client")
    with pytest.raises(
        entries.EntryError, match="entry 1, of a, has a kind that no event log has: 'answr'; did you mean 'answer'"
    ):
        show(log.trace(), 1)
