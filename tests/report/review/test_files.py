"""The files of a report: what stands in them, what is escaped, what is compared with an earlier one, and what is never written over."""

from __future__ import annotations

import base64
import csv
import dataclasses
import json
import pickle
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

import simtx
from simtx import ScenarioError
from simtx.experiments import Comparison
from simtx.report.review import pdf, pictures, since
from simtx.report.review.background import COVERAGE, LEFT_OUT, stress
from simtx.report.review.build import SECTIONS, WHERE, Asked, review
from simtx.report.review.files import markdown
from simtx.report.review.table import measures

ROOT = Path(__file__).parents[3]
EVIL = """<script>alert("x")</script><img src=x onerror=alert(1)> & 'quoted' {{ 7 * 7 }} ]]> </script><b>"""


class Page(HTMLParser):
    """What a browser would make of a page: tags, ids, texts, addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, which take most of the time of a report."""
    nothing = pictures.Picture("data:,", "nothing")
    for name in ("drawn", "of_figure", "story"):
        monkeypatch.setattr(pictures, name, lambda *_, **__: nothing)


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    parsed = Page(text)
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "data", "action", "srcset"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (tag, address)
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert "@import" not in text
    assert "url(" not in text
    policy = next(one["content"] for tag, one in parsed.tags if tag == "meta" and one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    scripts = [one for tag, one in parsed.tags if tag == "script"]
    assert [one["type"] for one in scripts] == ["application/json"]
    pictures = [one for tag, one in parsed.tags if tag == "img"]
    assert len(pictures) >= 4
    assert all(one["alt"] for one in pictures)


def test_the_sections_are_all_there_in_their_order(page: Path) -> None:
    parsed = Page(page.read_text(encoding="utf-8"))
    ids = [one["id"] for tag, one in parsed.tags if tag == "h2"]
    assert ids == [name for name, _ in SECTIONS]
    for words in (
        "crash of payments",
        "--transaction",
        "not verified in this scope",
        "likely sign",
        "4.2 Run length",
        "n = 3",
    ):
        assert words in parsed.text


@pytest.mark.usefixtures("bare")
def test_texts_of_users_are_texts(crashed: Comparison, tmp_path: Path) -> None:
    scenario = dataclasses.replace(crashed.scenario, title=EVIL, name=EVIL)
    evil = Comparison(scenario, crashed.objects, crashed.results, seed=1, replications=3)
    page = evil.report(tmp_path / "review.html", runs=False)
    parsed = Page(page.read_text(encoding="utf-8"))
    assert not [one for tag, one in parsed.tags if tag in ("b", "iframe", "object")]
    assert all(one.get("src", "data:").startswith("data:") for tag, one in parsed.tags if tag == "img")  # type: ignore[union-attr]
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
    assert 'alert("x")' in parsed.text
    assert "{{ 7 * 7 }}" in parsed.text
    record = (tmp_path / "review.adr.md").read_text(encoding="utf-8")
    assert "<script" not in record
    assert since.read(page)["provenance"]["scenario"] == EVIL


def test_markdown_of_users_means_nothing() -> None:
    assert markdown("> committed > 95 %, R&D, a < b, &lt;") == "&gt; committed > 95 %, R&D, a < b, &amp;lt;"
    assert markdown("a *b* [c](d) <i>\n# e | `f`") == "a \\*b\\* \\[c\\](d) &lt;i> \\# e \\| \\`f\\`"


def test_the_record_is_one_of_madr(page: Path, crashed: Comparison) -> None:
    text = page.with_suffix(".adr.md").read_text(encoding="utf-8")
    head = text.split("---")[1]
    assert re.search(r"^status: proposed$", head, re.MULTILINE)
    assert re.search(r"^date: \d{4}-\d\d-\d\d$", head, re.MULTILINE)
    assert [line for line in head.split("\n") if line.endswith(": []")] == [
        "decision-makers: []",
        "consulted: []",
        "informed: []",
    ]
    headings = re.findall(r"^##+ (.*)$", text, re.MULTILINE)
    assert headings[:6] == [
        "Context and Problem Statement",
        "Decision Drivers",
        "Considered Options",
        "Decision Outcome",
        "Consequences",
        "Confirmation",
    ]
    assert headings[6:9] == ["Pros and Cons of the Options", "2pc", "2pc:work=before"]
    assert crashed.provenance.command in text.split("### Confirmation")[1].split("##")[0]


def test_a_figure_of_the_record_is_a_sentence_with_units(page: Path, made: Callable[..., Comparison]) -> None:
    """Also where it has no interval, as a drift that was zero in every run."""
    comparison = made(
        {
            "2pc": {"drift_peak": [0, 0, 0], "committed_share": [0.7, 0.71, 0.69], "decision_p99_ms": [30, 31, 32]},
            "saga": {
                "drift_peak": [150, 156, 162],
                "committed_share": [0.9, 0.91, 0.89],
                "decision_p99_ms": [10, 11, 12],
            },
        }
    )
    table = measures(comparison, comparison.best("decision_p99_ms"))
    sentences = {line.label: line.cells[0].sentence for line in table.panels[0].lines}
    assert (table.baseline, table.panels[0].heads[0]) == ("saga", "2pc")
    interval = r"\[−?[\d.]+, −?[\d.]+\]"
    assert re.fullmatch(
        rf"the net drift \(peak\) is 0 EUR; the difference from saga is −156[.\d]* EUR {interval}",
        sentences["net drift, peak [EUR]"],
    )
    assert re.fullmatch(
        rf"the share of committed transactions is 70[.\d]* % {interval}; the difference from saga is −20[.\d]* points.*",
        sentences["committed [%]"],
    )
    record = page.with_suffix(".adr.md").read_text(encoding="utf-8")
    told = [line for line in record.splitlines() if "; the difference from " in line]
    assert told
    assert not [line for line in told if "  " in line or " ," in line or " ;" in line]


@pytest.mark.usefixtures("bare")
def test_a_record_that_somebody_edited_is_kept(crashed: Comparison, tmp_path: Path) -> None:
    page = crashed.report(tmp_path / "review.html", runs=False)
    record = tmp_path / "review.adr.md"
    before = record.read_text(encoding="utf-8")
    crashed.report(page, runs=False)
    assert record.read_text(encoding="utf-8") == before
    record.write_text(before.replace("decision-makers: []", "decision-makers: [Ada]"), encoding="utf-8")
    crashed.report(page, runs=False)
    assert "Ada" in record.read_text(encoding="utf-8")
    assert (tmp_path / "review.adr.new.md").read_text(encoding="utf-8") == before


def test_the_table_for_machines_has_every_figure(page: Path, crashed: Comparison) -> None:
    with page.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(crashed.strategies) * len(crashed.metrics)
    row = next(one for one in rows if one["strategy"] == "outbox" and one["metric"] == "decision_p99_ms")
    one = crashed.interval("outbox", "decision_p99_ms")
    assert [float(row[name]) for name in ("mean", "low", "high")] == [one.mean, one.low, one.high]
    assert (row["n"], row["unit"], row["confidence"]) == ("3", "ms", "0.95")
    assert next(one["unit"] for one in rows if one["metric"] == "aborted_share") == "share"
    assert next(one["unit"] for one in rows if one["metric"] == "drift_peak") == "EUR"


@pytest.mark.usefixtures("bare")
def test_the_same_again_has_changed_nowhere(page: Path, crashed: Comparison, tmp_path: Path) -> None:
    again = crashed.report(tmp_path / "review.html", since=page)
    text = again.read_text(encoding="utf-8")
    assert '<span class="new">changed</span>' not in text
    assert "Nothing: scenario, code, verdict and figures are as in" in Page(text).text


@pytest.mark.usefixtures("bare")
def test_what_changed_is_named_and_its_sections_are_marked(page: Path, crashed: Comparison, tmp_path: Path) -> None:
    other = simtx.compare(
        crashed.scenario.replace(**{"workload.rate": 90}), ["2pc", "outbox"], replications=3, workers=1, progress=False
    )
    path = other.report(tmp_path / "review.html", since=page, where=["decision_p99_ms < 1"], runs=False)
    text = path.read_text(encoding="utf-8")
    parsed = Page(text)
    assert re.search(r"workload\.rate: 100\S* → 90", parsed.text)
    assert "was: " in parsed.text
    marked = {section for section in dict(SECTIONS) if re.search(rf'<h2 id="{section}">[^\n]*changed</span>', text)}
    assert {"decision", "table", "again"} <= marked
    assert not {"left-out", "since"} & marked


@pytest.mark.usefixtures("bare")
def test_a_folder_with_a_result_stands_for_a_report(crashed: Comparison, tmp_path: Path) -> None:
    crashed.save(tmp_path / "old")
    page = crashed.report(tmp_path / "review.html", since=tmp_path / "old", runs=False)
    assert "Nothing: scenario" in Page(page.read_text(encoding="utf-8")).text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<p>hello</p>", "is no report of simtx, and no folder with a result"),
        ('<script type="application/json" id="simtx-review">{"format": 1}</script>', "its block of data is damaged"),
        ('<script type="application/json" id="simtx-review">[</script>', "its block of data is damaged"),
        ('<script type="application/json" id="simtx-review">{"format": 99}</script>', "later version of simtx"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "old.html"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=line):
        since.read(file)


def test_no_sign_of_a_state_ends_its_block() -> None:
    text = since.block({"a": "</script><!-- <script> & é"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!-- <script> & é"}


@pytest.mark.usefixtures("bare")
def test_something_else_is_not_written_over(crashed: Comparison, tmp_path: Path) -> None:
    file = tmp_path / "thesis.html"
    file.write_text("years of work", encoding="utf-8")
    with pytest.raises(ScenarioError, match="is no report of simtx, and is not written over"):
        crashed.report(file)
    with pytest.raises(ScenarioError, match=r"write review\.html"):
        crashed.report(tmp_path / "review.docx")
    assert file.read_text(encoding="utf-8") == "years of work"


@pytest.mark.usefixtures("bare")
def test_a_template_of_ones_own(crashed: Comparison, tmp_path: Path) -> None:
    own = tmp_path / "own.j2"
    own.write_text(
        '{% extends "review.html.j2" %}{% block decision %}<h2 id="mine">{{ review.title }}</h2><style>p { margin: 0 }</style>{% endblock %}',
        encoding="utf-8",
    )
    page = crashed.report(tmp_path / "review.html", template=own, runs=False)
    text = page.read_text(encoding="utf-8")
    assert '<h2 id="mine">' in text
    assert '<h2 id="decision">' not in text
    assert text.count("'sha256-") == 2
    own.write_text("{% if %}", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"own\.j2, line 1: "):
        crashed.report(page, template=own, runs=False)
    own.write_text("{{ review.nothing }}", encoding="utf-8")
    with pytest.raises(ScenarioError, match="nothing"):
        crashed.report(page, template=own, runs=False)


def test_without_a_browser_a_pdf_is_one_line(
    crashed: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf.shutil, "which", lambda _: None)
    with pytest.raises(ScenarioError, match=r"^pdf: needs Chromium, and none was found") as caught:
        crashed.report(tmp_path / "review.html", pdf=True)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("bare")
def test_nothing_of_a_folder_is_unpickled(crashed: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    crashed.save(tmp_path / "saved")
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    read = simtx.read(tmp_path / "saved")
    assert isinstance(read, Comparison)
    read.report(tmp_path / "review.html", runs=False)


@pytest.mark.usefixtures("bare")
def test_runs_that_this_code_plays_otherwise_are_not_shown(crashed: Comparison, tmp_path: Path) -> None:
    others = [one._replace(digest="0" * 64) for one in crashed.results]
    comparison = Comparison(crashed.scenario, crashed.objects, others, seed=1, replications=3)
    text = Page(comparison.report(tmp_path / "review.html").read_text(encoding="utf-8")).text
    assert "this code plays replication 0 otherwise" in text
    assert "most open" not in text


def test_a_run_that_is_asked_for_twice_is_not_played_where_it_is_too_long(
    crashed: Comparison, made: Callable[..., Comparison]
) -> None:
    from simtx.report.review.stories import played

    long = simtx.load("transfer").replace(**{"run.transactions": 20_000})
    found = played(Comparison(long, crashed.objects, crashed.results, seed=1, replications=3))
    assert not found.runs
    assert "take longer than a report should" in found.why[0]


def test_stress_des_is_filled_in(crashed: Comparison) -> None:
    items = stress(crashed, crashed, crashed.best("decision_p99_ms", WHERE))
    assert len(items) == 20
    assert all(one.says for one in items)


def test_the_coverage_is_that_of_the_page_on_statistics() -> None:
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = text.split("In percent of 20,000 trials at 95 %")[1].split("Counts take few values")[0]
    rows = [
        [float(cell) for cell in re.findall(r"\| (\d\d\.\d) ", line + " ")]
        for line in table.split("\n")
        if re.search(r"\d\d\.\d \|", line)
    ]
    for column, n in enumerate((5, 10, 20, 50)):
        values = [row[column] for row in rows if len(row) > column]
        low, high = COVERAGE[n]
        assert low <= min(values)
        assert high >= max(values)
        assert abs(low - min(values)) <= 0.6
        assert abs(high - max(values)) <= 0.6


def test_what_is_left_out_stands_in_the_pages_that_it_is_from() -> None:
    pages = " ".join(
        " ".join((ROOT / name).read_text(encoding="utf-8").split()) for name in ("README.md", "docs/validation.md")
    )
    for words in (
        "share the cores",
        "get slower under load",
        "scheduler",
        "Forced writes",
        "bandwidth",
        "query planner",
        "not replicated",
        "one after the other",
    ):
        assert words in pages, words
    assert len(LEFT_OUT) == 8
    assert all(one.sign for one in LEFT_OUT)


@pytest.mark.usefixtures("bare")
def test_no_threshold_is_asked_for_by_name_as_on_the_command_line(crashed: Comparison) -> None:
    for where in ("none", ["none"], []):
        assert review(crashed, Asked(runs=False, where=where)).statement.reasons[1].startswith("No threshold was set")


def test_the_slowest_transaction_is_a_timeline_in_the_page(page: Path) -> None:
    """As it is in a notebook, without its script."""
    found = re.search(
        r'<details>.*?src="data:image/svg\+xml;base64,([^"]+)"', page.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found is not None
    picture = base64.b64decode(found[1]).decode()
    assert picture.startswith("<svg")
    assert "http://www.w3.org/2000/svg" in picture
    assert picture.count('class="part"') > 10
    assert "<script" not in picture


@pytest.mark.usefixtures("bare")
def test_verdicts_and_their_bounds_are_shown(crashed: Comparison) -> None:
    verdict = simtx.verify("2pc", participants=1, crashes=0)
    found = review(crashed, Asked(runs=False, verdicts=[("", verdict)]))
    mine = {one.what: one for one in found.checks}
    assert mine["Model checker: 2pc"].kind == "yes"
    assert "Model checker: outbox" not in mine
    assert str(verdict.scope) in " ".join(mine["Model checker: 2pc"].says)
    (said,) = mine["Model checker"].says
    assert said.startswith("not verified in this scope: 2pc:work=before, saga, outbox; simtx verify 2pc:work=before, ")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"by": "latency_p98_ms"}, "latency_p9"),
        ({"where": "latency"}, "is no threshold"),
        ({"confidence": 2}, "confidence is 2"),
        ({"frontier": 3}, "frontier: must be what sweep.frontier"),
        ({"verdicts": "yes"}, "verdicts: must be what simtx.verify"),
        ({"template": "nowhere.j2"}, "there is no such template"),
        ({"since": "nowhere.html"}, "cannot be read"),
        ({"pdf": 1}, "pdf: must be True or False"),
        ({"at": {"workload.rate": 100}}, "at: is for a sweep"),
    ],
)
@pytest.mark.usefixtures("bare")
def test_what_is_wrong_is_one_line(crashed: Comparison, tmp_path: Path, options: dict[str, object], line: str) -> None:
    with pytest.raises(ScenarioError, match=line):
        crashed.report(tmp_path / "review.html", runs=False, **options)  # type: ignore[arg-type]
