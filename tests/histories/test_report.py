"""The report: sentences, picture, HTML and plain data; and the levels' table of what they forbid."""

import io
import itertools
import json
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from simtx.errors import ScenarioError
from simtx.histories import LEVELS, HistoryReport, check_history
from simtx.histories.levels import CYCLES, SUFFIXES, implied_by, level_of, levels_against, severity

mpl.use("Agg")

SKEW: list[dict[str, Any]] = [
    {"id": "<a>", "process": 0, "status": "ok", "start": 0, "end": 1, "ops": [["r", "x", []], ["append", "y", 1]]},
    {"id": "b", "process": 1, "status": "ok", "start": 0, "end": 1, "ops": [["r", "y", []], ["append", "x", 1]]},
    {"id": "c", "process": 2, "status": "info", "ops": [["r", "x"]]},
]


def chain(length: int) -> HistoryReport:
    """A ring of that many anti-dependencies."""
    ring = [{"id": n, "status": "ok", "ops": [["r", n, []], ["append", (n + 1) % length, 1]]} for n in range(length)]
    return check_history(ring)


def test_each_edge_of_the_cycle_has_one_sentence() -> None:
    report = check_history(SKEW)
    assert report.explain().splitlines() == [
        "serializable: not valid: G2-item (2 ok, 1 info)",
        "",
        "G2-item (<a> → b → <a>), forbidden by repeatable-read:",
        "  1. <a> comes before b: <a> read x = [], without the 1 that b appended.",
        "  2. b comes before <a>: b read y = [], without the 1 that <a> appended.",
    ]
    assert str(report) == report.explain()
    assert report.explain("G2-item").splitlines() == report.explain().splitlines()[2:]


def test_every_kind_of_edge_has_its_sentence() -> None:
    lists = [
        {
            "id": "w",
            "process": 0,
            "status": "ok",
            "start": 0,
            "end": 1,
            "ops": [["append", "x", 1], ["append", "y", 1]],
        },
        {"id": "v", "process": 0, "status": "ok", "start": 2, "end": 3, "ops": [["append", "x", 2]]},
        {"id": "r", "process": 0, "status": "ok", "start": 4, "end": 5, "ops": [["r", "x", [1]]]},
        {"id": "s", "process": 1, "status": "ok", "start": 4, "end": 5, "ops": [["r", "x", [1, 2]]]},
    ]
    session = check_history(lists, "strong-session-serializable").explain()
    assert "r comes before v: r read x = [1], without the 2 that v appended." in session
    assert "v comes before r: both ran in process 0, v first." in session
    assert "v comes before r: v had ended before r began." in check_history(lists, "strict-serializable").explain()
    dirty = [
        {"id": "w", "status": "ok", "ops": [["append", "x", 1], ["append", "y", 2]]},
        {"id": "v", "status": "ok", "ops": [["append", "x", 2], ["append", "y", 1]]},
        {"id": "r", "status": "ok", "ops": [["r", "x", [1, 2]], ["r", "y", [1]]]},
    ]
    text = check_history(dirty, "read-uncommitted").explain()
    assert "w comes before v: v appended 2 to x after w had appended 1 (see the read by r)." in text
    assert "v comes before w: w appended 2 to y, which no read holds yet that holds the 1 that v appended." in text
    registers = [
        {"id": "w", "status": "ok", "ops": [["w", "x", 1], ["w", "y", 1]]},
        {"id": "v", "status": "ok", "ops": [["r", "x", 1], ["w", "x", 2], ["w", "y", 2]]},
        {"id": "r", "status": "ok", "ops": [["r", "x", 1], ["r", "y", 2]]},
        {"id": "s", "status": "ok", "ops": [["r", "x", None], ["r", "y", 1]]},
    ]
    text = check_history(registers, assume={"wfr_keys": True}).explain()
    assert "r comes before v: r read x = 1 and v wrote x = 2, which came later (wfr_keys)." in text
    assert "v comes before r: r read y = 2, which v wrote." in text
    initial = check_history([registers[0], registers[3]]).explain()
    assert "s comes before w: s read x in its initial state, before w wrote x = 1." in initial
    crossed = [
        {"id": "a", "status": "ok", "ops": [["w", "x", 2], ["r", "y", 1]]},
        {"id": "b", "status": "ok", "ops": [["w", "x", 1], ["w", "y", 1]]},
    ]
    text = check_history(crossed, assume={"commit_order": ["a", "b"]}).explain()
    assert "a comes before b: a wrote x = 2 and b wrote x = 1, which came later (commit_order)." in text


def test_a_cycle_of_versions_is_told_with_the_assumption_behind_each_step() -> None:
    entries = [
        {"id": "a", "process": 0, "status": "ok", "start": 0, "end": 1, "ops": [["w", "x", 1]]},
        {"id": "b", "process": 1, "status": "ok", "start": 2, "end": 3, "ops": [["w", "x", 2]]},
        {"id": "c", "process": 1, "status": "ok", "start": 4, "end": 5, "ops": [["r", "x", 1]]},
        {"id": "d", "process": 1, "status": "ok", "start": 6, "end": 7, "ops": [["r", "x", None]]},
    ]
    timed = check_history(entries[:3], assume={"linearizable_keys": True}).explain("cyclic-versions")
    assert (
        "x = 1 comes before x = 2 (linearizable_keys: a met the first and had ended before b began and met the second)."
        in timed
    )
    session = check_history([entries[0], *entries[1:]], assume={"sequential_keys": True}).explain("cyclic-versions")
    assert "The initial value of x comes before x = 1." in session
    assert (
        "x = 1 comes before the initial value (sequential_keys: c met the first and then d the second, in process 1)."
        in session
    )


def test_where_reads_disagree_no_sentence_says_that_nobody_has_read_an_element() -> None:
    disagree = [
        {"id": "a", "status": "ok", "ops": [["append", "x", 1], ["append", "y", 2]]},
        {"id": "b", "status": "ok", "ops": [["append", "x", 2], ["append", "y", 1]]},
        {"id": "c", "status": "ok", "ops": [["append", "x", 3]]},
        {"id": "r", "status": "ok", "ops": [["r", "x", [1, 2]], ["r", "y", [1, 2]]]},
        {"id": "s", "status": "ok", "ops": [["r", "x", [1, 3]]]},
    ]
    text = check_history(disagree, "read-uncommitted").explain()
    assert "b appended 2 to x, which no read holds before the 1 that a appended." in text


def test_long_lists_are_shown_by_their_end() -> None:
    many = [{"id": f"t{n}", "status": "ok", "ops": [["append", "x", n]]} for n in range(20)]
    reader = {"id": "r", "status": "ok", "ops": [["r", "x", list(range(20))]]}
    stale = {"id": "s", "status": "ok", "ops": [["r", "x", list(range(19))], ["r", "x", list(range(20))]]}
    assert "s read x = [… 13 more, 13, 14, 15, 16, 17, 18]" in check_history([*many, reader, stale]).explain()


def test_plain_data_goes_through_json() -> None:
    data = json.loads(json.dumps(check_history(SKEW).to_dict()))
    assert data["valid"] is False
    assert data["anomalies"][0]["name"] == "G2-item"
    assert [step["kind"] for step in data["anomalies"][0]["steps"]] == ["rw", "rw"]


def test_an_anomaly_that_was_not_found_cannot_be_explained() -> None:
    for ask in (check_history(SKEW).explain, lambda name: check_history(SKEW).plot(anomaly=name)):
        with pytest.raises(ScenarioError, match="'G0' is not among the anomalies found \\(G2-item\\)"):
            ask("G0")


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_picture_shows_every_transaction_and_labels_every_edge() -> None:
    axes = Figure().add_subplot()
    assert check_history(SKEW).plot(axes) is axes
    shown = texts(axes)
    assert "<a>\nread x = []\nappend 1 to y" in shown
    assert "b\nread y = []\nappend 1 to x" in shown
    assert {"rw x", "rw y"} <= set(shown)
    assert axes.get_title() == "G2-item against serializable"


def test_findings_without_a_cycle_are_drawn_as_well() -> None:
    dirty = [
        {"id": "f", "status": "fail", "ops": [["append", "x", 1]]},
        {"id": "r", "status": "ok", "ops": [["r", "x", [1]]]},
    ]
    assert "wr x" in texts(check_history(dirty).plot(Figure().add_subplot()))
    alone = [{"id": "t", "status": "ok", "ops": [["append", "x", 1], ["r", "x", []]]}]
    assert check_history(alone).plot(Figure().add_subplot()).get_title() == "internal against serializable"


def test_dollar_signs_are_no_mathematics() -> None:
    skew: list[dict[str, Any]] = [
        {**t, "ops": [[kind, f"${key}^$", value] for kind, key, value in t["ops"]]} for t in SKEW[:2]
    ]
    figure = Figure()
    axes = check_history(skew).plot(figure.add_subplot())
    figure.savefig(io.BytesIO())
    assert {"rw $x^$", "rw $y^$"} <= set(texts(axes))


def test_a_long_cycle_is_told_in_full_and_drawn_by_its_ends() -> None:
    report = chain(40)
    assert len(report.explain().splitlines()) == 43
    axes = report.plot(Figure().add_subplot())
    assert "… 29 more …" in "".join(texts(axes))
    axes.figure.draw_without_rendering()
    extents = [arrow.get_window_extent() for arrow in axes.patches]
    assert len(extents) == 12
    assert all(extent.width**2 + extent.height**2 > 25**2 for extent in extents)


def test_without_an_anomaly_the_picture_says_so() -> None:
    assert texts(check_history(SKEW[:1]).plot(Figure().add_subplot())) == ["no forbidden anomaly found"]


def test_plot_makes_its_own_axes() -> None:
    from matplotlib import pyplot as plt

    axes = check_history(SKEW).plot()
    assert axes.figure is plt.gcf()
    plt.close("all")


def test_html_is_escaped_and_holds_the_picture() -> None:
    html = check_history(SKEW)._repr_html_()
    assert "&lt;a&gt; comes before b" in html
    assert "<a>" not in html
    assert "<svg" in html
    quiet = check_history(SKEW[:1])._repr_html_()
    assert "serializable: valid (1 ok)" in quiet
    assert "<svg" not in quiet
    assert "unknown" in check_history([])._repr_html_()


def test_what_is_wrong_shows_at_first_sight() -> None:
    """Colour, weight and mark of the first line: one look for each verdict, told apart in grey too."""
    bad, good, open_ = (check_history(history)._repr_html_() for history in (SKEW, SKEW[:1], []))
    for html, mark, colour in ((bad, "✗", "#B00020"), (good, "✓", "#00704E"), (open_, "?", "#9A4A00")):
        assert html.removeprefix("<div>").startswith(f'<p style="border-left:6px solid {colour}')
        assert f'<b style="color:{colour}">{mark} serializable: ' in html
    assert '<span style="color:#B00020;font-weight:bold">G2' in bad


def test_checking_does_not_load_the_plotting_library() -> None:
    code = (
        "import sys; from simtx.histories import check_history; check_history([]).explain(); "
        "print([m for m in ('matplotlib', 'networkx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- levels ---------------------------------------------------------------------------------------------------------------------


def test_each_level_forbids_what_weaker_levels_forbid() -> None:
    chains = [
        ["read-uncommitted", "read-committed", "repeatable-read", "serializable", "strict-serializable"],
        ["read-committed", "read-atomic", "snapshot-isolation", "serializable"],
        ["read-committed", "prefix-consistency", "snapshot-isolation", "serializable"],
    ]
    for names in chains:
        for weaker, stronger in itertools.pairwise(names):
            for prefix in ("", "strong-session-"):
                above, below = level_of(prefix + stronger), level_of(prefix + weaker)
                assert below.name in above.weaker
                assert below.forbidden - above.forbidden <= implied_from(above.forbidden)


def implied_from(forbidden: frozenset[str]) -> set[str]:
    """The anomalies that show one of these under another name, as each implies one of them."""
    names = (cycle + suffix for cycle in CYCLES for suffix in SUFFIXES)
    return {name for name in names if implied_by([name]) & forbidden}


def test_causal_consistency_has_its_place_between_levels_of_sessions() -> None:
    causal = level_of("causal-consistency")
    assert causal.session
    assert {"strong-session-read-atomic", "read-atomic", "read-committed"} < causal.weaker
    assert "causal-consistency" in level_of("strong-session-prefix-consistency").weaker
    assert "causal-consistency" in level_of("strong-session-serializable").weaker
    assert "causal-consistency" not in level_of("serializable").weaker, "it does not count sessions"
    with pytest.raises(ScenarioError, match="counts the order of sessions as it is"):
        level_of("strong-session-causal-consistency")


def test_the_table_of_anomalies_and_levels() -> None:
    """After Adya, Cerone and Elle; write skew separates snapshot isolation from serializability, `internal` repeatable read."""
    base = {
        "G0": "read-uncommitted",
        "duplicate-elements": "read-uncommitted",
        "cyclic-versions": "read-uncommitted",
        "G1a": "read-committed",
        "G1b": "read-committed",
        "G1c": "read-committed",
        "dirty-update": "read-committed",
        "incompatible-order": "read-committed",
        "future-read": "read-committed",
        "internal": "read-atomic",
        "fractured-read": "read-atomic repeatable-read",
        "prefix-violation": "prefix-consistency repeatable-read",
        "lost-update": "repeatable-read snapshot-isolation",
        "G-single-item": "repeatable-read snapshot-isolation",
        "G-nonadjacent-item": "repeatable-read snapshot-isolation",
        "G2-item": "repeatable-read",
    }
    for name, weakest in base.items():
        assert levels_against(name) == tuple(weakest.split())
        for level in weakest.split():
            assert not {name, *implied_by([name])}.isdisjoint(level_of(level).forbidden)
    assert levels_against("causality-violation") == ("causal-consistency", "strong-session-repeatable-read")
    assert levels_against("G2-item-process") == ("strong-session-repeatable-read",)
    assert levels_against("G0-realtime") == ("strict-serializable",)
    assert "G2-item" not in level_of("snapshot-isolation").forbidden
    assert "internal" not in level_of("repeatable-read").forbidden


def test_only_session_levels_know_process_cycles_and_only_strict_ones_real_time() -> None:
    for name in LEVELS:
        forbidden = level_of(name).forbidden
        assert any(a.endswith("-process") for a in forbidden) == level_of(name).session
        assert any(a.endswith("-realtime") for a in forbidden) == name.endswith("strict-serializable")


def test_what_implies_what() -> None:
    assert {"G1c", "G0-process", "G0-realtime", "G1c-process", "G1c-realtime"} == implied_by(["G0"])
    assert "G2-item" in implied_by(["lost-update"])
    assert {"G-nonadjacent-item", "G2-item", "G-single-item-process"} <= implied_by(["G-single-item"])
    assert "G-single-item" not in implied_by(["G0", "G1c", "G1b", "lost-update"])
    assert implied_by([]) == frozenset()


def test_the_gravest_comes_first() -> None:
    names = ["G2-item-realtime", "G2-item", "G0-process", "internal", "G0", "G1a"]
    assert sorted(names, key=severity) == ["G1a", "internal", "G0", "G2-item", "G0-process", "G2-item-realtime"]
