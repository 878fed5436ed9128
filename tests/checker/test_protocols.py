"""The protocols, every interleaving and every crash point in small scopes: what holds, what does not, and how a verdict says it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape, unescape
from typing import Any

import pytest

from simtx.checker import Verdict, verify
from simtx.checker.protocols.properties import PROPERTIES
from simtx.errors import ScenarioError
from simtx.protocols import STRATEGIES, DualWrite, Outbox, Policies, Saga, TwoPhaseCommit
from simtx.protocols.extras import extras

HASTY = Policies(attempts=1, compensation_attempts=1, publish_attempts=2)
PATIENT = Policies(attempts=2, publish_attempts=2)

#: (strategy, scope); each is explored completely and every property holds in it. The first four are the ones that the project promises, or part of one.
HOLDS: list[Any] = [
    pytest.param(("2pc", {"participants": 3}), marks=pytest.mark.heavy),
    ("2pc", {"participants": 3, "duplicates": 0}),
    ("saga", {"participants": 3}),
    pytest.param(("outbox", {"messages": 2}), marks=pytest.mark.heavy),
    ("2pc", {"losses": 1, "duplicates": 0}),
    ("2pc", {"reads": 1}),
    ("2pc", {"reads": 2, "timeouts": 0}),
    pytest.param(("2pc", {"messages": 2, "duplicates": 0, "timeouts": 0}), marks=pytest.mark.heavy),
    ("2pc", {"messages": 2, "crashes": 0, "duplicates": 0, "contention": True}),
    ("2pc", {"crashes": 2, "duplicates": 0}),
    ("2pc", {"failures": 1, "duplicates": 0}),
    pytest.param((TwoPhaseCommit(work="before"), {}), marks=pytest.mark.heavy),
    # Late copies of EXECUTE and PREPARE after the commit once left a branch open for ever, with its locks.
    (TwoPhaseCommit(work="before", policies=PATIENT), {"participants": 1, "crashes": 0}),
    (TwoPhaseCommit(work="before"), {"losses": 1, "failures": 1, "duplicates": 0}),
    pytest.param(("2pc:termination=cooperative", {}), marks=pytest.mark.heavy),
    pytest.param(("2pc:termination=cooperative", {"crashes": 2, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(("2pc:termination=cooperative", {"timeouts": 2, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(("2pc:termination=cooperative", {"losses": 1, "duplicates": 0}), marks=pytest.mark.heavy),
    ("2pc:termination=cooperative", {"reads": 1}),
    ("2pc:termination=cooperative", {"failures": 1, "duplicates": 0}),
    ("2pc:termination=cooperative", {"participants": 3, "crashes": 0, "duplicates": 0}),
    pytest.param(("2pc:presumption=commit", {}), marks=pytest.mark.heavy),
    ("2pc:presumption=commit", {"losses": 1, "duplicates": 0}),
    pytest.param(("2pc:presumption=commit", {"crashes": 2, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(("2pc:presumption=commit", {"timeouts": 2, "duplicates": 0}), marks=pytest.mark.heavy),
    ("2pc:presumption=commit", {"failures": 1, "duplicates": 0}),
    ("2pc:presumption=commit", {"reads": 1}),
    ("2pc:presumption=commit", {"reads": 2}),
    pytest.param(("2pc:presumption=commit", {"participants": 3, "duplicates": 0}), marks=pytest.mark.heavy),
    ("2pc:presumption=commit", {"messages": 2, "crashes": 0, "duplicates": 0, "contention": True}),
    ("2pc:one_phase=true", {"participants": 1, "losses": 1, "crashes": 2, "timeouts": 2}),
    ("2pc:last_resource=s2", {}),
    ("2pc:last_resource=s1", {"losses": 1, "duplicates": 0}),
    ("2pc:last_resource=s2", {"crashes": 2, "duplicates": 0}),
    pytest.param(("2pc:last_resource=s2", {"failures": 1}), marks=pytest.mark.heavy),
    ("2pc:last_resource=s2", {"participants": 3, "duplicates": 0}),
    ("2pc:last_resource=s2", {"messages": 2, "crashes": 0, "duplicates": 0, "contention": True}),
    ("cornus", {"participants": 1, "losses": 1, "failures": 1}),
    ("cornus", {"timeouts": 0, "losses": 0}),
    ("cornus", {"crashes": 2, "timeouts": 0, "duplicates": 0}),
    ("cornus", {"crashes": 0, "duplicates": 0}),
    pytest.param(("cornus", {"duplicates": 0}), marks=pytest.mark.heavy),
    ("paxos-commit:faults=0", {"duplicates": 0}),
    ("paxos-commit", {"timeouts": 0, "duplicates": 0}),
    ("paxos-commit", {"crashes": 0, "timeouts": 0, "failures": 1}),
    ("paxos-commit", {"crashes": 0, "timeouts": 0, "duplicates": 0, "losses": 1}),
    pytest.param(("paxos-commit", {"crashes": 0, "duplicates": 0}), marks=pytest.mark.heavy),
    ("paxos-commit:acceptors=nodes", {"participants": 1, "timeouts": 0, "duplicates": 0}),
    pytest.param(("paxos-commit:acceptors=nodes", {"timeouts": 0, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(("paxos-commit:acceptors=nodes", {"crashes": 0, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(
        ("paxos-commit:acceptors=nodes", {"crashes": 0, "timeouts": 0, "duplicates": 0, "losses": 1}),
        marks=pytest.mark.heavy,
    ),
    pytest.param(
        ("paxos-commit:leader=participant", {"participants": 3, "timeouts": 0, "duplicates": 0}),
        marks=pytest.mark.heavy,
    ),
    pytest.param(("tcc", {}), marks=pytest.mark.heavy),
    pytest.param(("tcc", {"crashes": 2, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(("tcc", {"timeouts": 2, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(("tcc", {"failures": 1, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(("tcc", {"losses": 1, "duplicates": 0}), marks=pytest.mark.heavy),
    ("tcc", {"participants": 1}),
    ("tcc", {"reads": 1}),
    ("tcc", {"revisit": True}),
    ("tcc", {"participants": 3, "crashes": 0, "duplicates": 0}),
    pytest.param(("tcc", {"participants": 3, "timeouts": 0, "duplicates": 0}), marks=pytest.mark.heavy),
    pytest.param(("tcc", {"messages": 2, "crashes": 0, "duplicates": 0, "contention": True}), marks=pytest.mark.heavy),
    ("saga", {"losses": 1}),
    pytest.param(("saga", {"crashes": 2}), marks=pytest.mark.heavy),
    ("saga", {"pivot": 1, "participants": 3, "losses": 1}),
    ("saga", {"parallel": True, "participants": 3, "duplicates": 0}),
    ("saga", {"failures": 1}),
    (Saga(policies=PATIENT), {"timeouts": 2}),
    (Saga(completion="lazy"), {"losses": 1}),
    pytest.param(
        (Saga(completion="lazy"), {"participants": 3, "parallel": True, "duplicates": 0}), marks=pytest.mark.heavy
    ),
    ("outbox", {}),
    ("outbox", {"losses": 1, "duplicates": 0}),
    ("outbox", {"crashes": 2, "duplicates": 0}),
    ("outbox", {"failures": 1}),
    ("outbox", {"participants": 3, "pivot": 1}),
    pytest.param(("outbox", {"participants": 3, "duplicates": 0}), marks=pytest.mark.heavy),
    ("choreography", {}),
    ("choreography", {"losses": 1, "duplicates": 0}),
    ("choreography", {"failures": 1, "duplicates": 0}),
    ("choreography", {"revisit": True, "duplicates": 0}),
    ("choreography", {"participants": 3, "parallel": True, "crashes": 0}),
    ("choreography", {"participants": 3, "parallel": True, "duplicates": 0, "timeouts": 0}),
    ("choreography", {"participants": 4, "parallel": True, "crashes": 0, "duplicates": 0, "timeouts": 0}),
    ("choreography", {"crashes": 2, "duplicates": 0}),
    ("choreography", {"scenario": "checkout", "crashes": 0, "duplicates": 0, "timeouts": 0}),
    pytest.param(
        ("choreography", {"scenario": "checkout", "duplicates": 0, "timeouts": 0}),
        marks=pytest.mark.heavy,
    ),
    pytest.param(("choreography", {"participants": 3, "parallel": True}), marks=pytest.mark.heavy),
    ("choreography:monitor=true", {"duplicates": 0, "timeouts": 0}),
    # Whoever recognises requests changes nothing when one comes again.
    ("outbox", {"repeats": 1}),
    ("choreography", {"repeats": 1}),
    pytest.param(
        ("choreography", {"participants": 3, "parallel": True, "repeats": 1, "duplicates": 0, "timeouts": 0}),
        marks=pytest.mark.heavy,
    ),
    (Outbox(closing=True), {}),
    (Outbox(wake=True), {"duplicates": 0}),
    ("2pc", {"revisit": True}),
    (TwoPhaseCommit(work="before"), {"revisit": True, "duplicates": 0}),
    ("saga", {"revisit": True, "participants": 3, "duplicates": 0}),
    ("outbox", {"revisit": True}),
    # Plans that break the rules, with an operator who sees to what is stuck.
    (Saga(policies=HASTY), {"unruly": True, "interventions": 1, "failures": 1, "duplicates": 0, "timeouts": 0}),
    (Saga(policies=HASTY), {"unruly": True, "interventions": 1, "pivot": 0, "duplicates": 0}),
    (Outbox(policies=HASTY), {"unruly": True, "interventions": 1, "duplicates": 0, "timeouts": 0}),
    (Outbox(policies=HASTY), {"unruly": True, "interventions": 1, "pivot": 0, "duplicates": 0, "timeouts": 0}),
]


def name(case: tuple[Any, dict[str, Any]]) -> str:
    strategy, scope = case
    text = strategy if isinstance(strategy, str) else repr(strategy).partition("policies")[0].rstrip("(, ")
    return f"{text} {' '.join(f'{key}={value}' for key, value in scope.items())}".strip()


@pytest.mark.parametrize("case", HOLDS, ids=name)
@pytest.mark.sample(3)
def test_every_property_holds_in_every_state_of_the_scope(case: tuple[Any, dict[str, Any]]) -> None:
    strategy, scope = case
    verdict = verify(strategy, **scope)
    assert verdict.complete
    assert not verdict.violations, verdict.text
    assert all(verdict.goals.values()), verdict.goals
    assert verdict.ok


@pytest.mark.parametrize(
    ("strategy", "scope", "violated"),
    [
        (DualWrite(), {"duplicates": 0, "timeouts": 0}, {"atomicity", "effect-once"}),
        (DualWrite(), {"crashes": 0, "duplicates": 0}, {"effect-once"}),
        (DualWrite(), {"crashes": 0, "timeouts": 0}, {"effect-once"}),
        (DualWrite(acknowledge="before"), {"duplicates": 0, "timeouts": 0}, {"atomicity"}),
        (
            DualWrite(order="broker-first"),
            {"crashes": 0, "duplicates": 0, "timeouts": 0},
            {"agreement", "durable-votes", "truth", "atomicity", "no-ghost"},
        ),
    ],
)
def test_a_dual_write_fails_as_announced(strategy: DualWrite, scope: dict[str, int], violated: set[str]) -> None:
    verdict = verify(strategy, **scope)
    assert set(verdict.violations) == violated
    assert violated <= set(verdict.expected) <= set(PROPERTIES)
    assert verdict.complete
    assert not verdict.ok


def test_a_dual_write_without_faults_holds() -> None:
    """Which is why it is written so often."""
    assert verify("dual-write", crashes=0, duplicates=0, timeouts=0).ok


def test_the_rows_of_a_choreographed_saga_are_needed_until_it_is_over_also_without_faults() -> None:
    calm: dict[str, Any] = {"crashes": 0, "duplicates": 0, "timeouts": 0}
    fork = verify("choreography", participants=3, parallel=True, retained=1, **calm)
    assert set(fork.violations) == {"atomicity"}
    assert verify("choreography", participants=3, parallel=True, retained=3, **calm).ok


def test_expected_failures_are_properties() -> None:
    assert all(
        set(reasons) <= set(PROPERTIES) for reasons in (extras(kind()).weaknesses for kind in STRATEGIES.values())
    )


def test_a_verdict_states_its_bounds() -> None:
    verdict = verify("saga", crashes=0)
    assert isinstance(verdict, Verdict)
    for part in ("participants 2", "crashes 0", "duplicates 1", f"{verdict.states:,} states", f"depth {verdict.depth}"):
        assert part in verdict.text
    assert "orchestrator never 'stuck'" in verdict.not_covered
    assert "holds" in repr(verdict)
    assert set(verdict.holds) == set(verdict.checked)


@pytest.mark.parametrize(
    "verdict",
    [
        lambda: verify("saga", crashes=0),
        lambda: verify("2pc", max_states=500),
        lambda: verify("dual-write", duplicates=0, timeouts=0),
        lambda: replace(verify("2pc", max_states=50), strategy="<2pc>", undeclared=("a 'b' on '<c>' to 'd'",)),
    ],
    ids=["holds", "incomplete", "refuted", "undeclared"],
)
def test_a_verdict_as_html_says_what_its_text_says(verdict: Callable[[], Verdict]) -> None:
    """No word is missing; and cells are aligned to the left by themselves, since notebooks put them to the right."""
    shown = verdict()
    html = shown._repr_html_()
    told = Counter(re.findall(r"[\w-]+", re.sub(r"^ *\d+\. ", "", shown.text, flags=re.MULTILINE)))
    seen = Counter(re.findall(r"[\w-]+", unescape(re.sub(r"<[^<>]*>", " ", html))))
    assert not told - seen
    assert html.count("<td") == html.count('<td style="text-align:left"') == 3 * len(shown.checked)
    assert html.index(">at any time<") < html.index(">agreement<") < html.index(">at rest<") < html.index(">truth<")
    assert (html.index(">at rest<") < html.index(">atomicity<")) == ("atomicity" not in shown.violations)
    assert "<2pc>" not in html
    assert "<c>" not in html
    mark, colour = {True: ("✓", "#00704E"), False: ("✗", "#B00020"), None: ("?", "#9A4A00")}[shown.verdict]
    assert html.index(f'<b style="color:{colour}">{mark} {escape(shown.headline)}</b>') < 120
    for name in shown.violations:
        assert f'font-weight:bold">VIOLATED</span></td><td style="text-align:left">{name}</td>' in html


def test_an_exploration_that_meets_a_limit_says_incomplete() -> None:
    verdict = verify("2pc", max_states=500)
    assert not verdict.complete
    assert not verdict.ok
    assert "INCOMPLETE (max_states=500 reached)" in verdict.text
    assert "holds" not in verdict.text.split("at any time", 1)[1]
    assert verdict.holds == ()
    assert "  possible: commit not reached so far, abort" in verdict.text
    assert "  not covered so far (" in verdict.text
    assert "in this scope" not in verdict.text


def test_what_is_open_is_neither_true_nor_false() -> None:
    """For programs: true holds, false is refuted, None is not refuted so far; goals likewise."""
    whole = verify("dual-write", duplicates=0, timeouts=0)
    part = verify("dual-write", duplicates=0, timeouts=0, max_states=60)
    refuted = {"atomicity", "effect-once"}
    assert whole.as_dict()["properties"] == {name: name not in refuted for name in whole.checked}
    found = set(part.violations)
    assert not part.complete
    assert found
    assert part.as_dict()["properties"] == {name: False if name in found else None for name in part.checked}
    early = verify("2pc", max_states=500)
    assert early.as_dict()["goals"] == {"commit": None, "abort": None, "recovery": True}
    missed = verify("outbox", participants=1, duplicates=0, timeouts=0)
    assert missed.as_dict()["goals"]["recovery"] is False


def test_numbers_do_not_depend_on_the_run() -> None:
    first, second = verify("outbox", timeouts=0), verify("outbox", timeouts=0)
    assert (first.states, first.transitions, first.depth) == (second.states, second.transitions, second.depth)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"participants": 0}, "participants = 0; it must be a whole number from 1 to 8"),
        ({"crashes": -1}, "crashes = -1"),
        ({"losses": 1.5}, "losses = 1.5"),
        ({"pivot": 2}, "pivot = 2; it must be the index of a step, 0 to 1"),
        ({"pivot": True}, "pivot = True; it must be the index of a step, 0 to 1"),
        ({"retained": True}, "retained = True; it must be a number of rows, or None for all"),
        ({"reads": 3}, "reads = 3"),
        ({"retained": -1}, "retained = -1"),
        ({"isolation": "snapshot"}, "isolation = 'snapshot'; it must be 'serializable' or 'read-committed'"),
        ({"max_states": 0}, "verify: max_states: must be a whole number of at least 1, got 0"),
        ({"max_states": "3"}, "verify: max_states: must be a whole number of at least 1, got '3'"),
        ({"max_seconds": -1}, "verify: max_seconds: must be a positive number of seconds, got -1"),
        ({"max_seconds": "3"}, "verify: max_seconds: must be a positive number of seconds, got '3'"),
        ({"max_memory": 0}, "verify: max_memory: must be a whole number of at least 1, or a size such as '4GB', got 0"),
        ({"max_memory": "4 apples"}, "verify: max_memory: '4 apples' is no size; write a number and a unit"),
        ({"engine": "quick"}, "verify: engine: must be None, 'auto', 'interpreted' or 'fast', not 'quick'"),
        ({"workers": 2.0}, "verify: workers: must be a whole number of at least 1, got 2.0"),
        ({"workers": True}, "verify: workers: must be a whole number of at least 1, got True"),
        ({"progress": "yes"}, "verify: progress: must be True, False or a function, got 'yes'"),
        ({"parallel": "no"}, "verify: parallel: must be True or False, got 'no'"),
        ({"symmetry": 1}, "verify: symmetry: must be True or False, got 1"),
    ],
)
def test_a_wrong_number_gets_one_line(arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        verify("2pc", **arguments)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_gets_one_line() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'saga'"):
        verify("sagas")


def test_a_machine_with_hidden_fields_is_refused() -> None:
    """A copy and a comparison would miss them, so no verdict would be worth anything."""
    from simtx.protocols.two_phase_commit import Coordinator, Participant

    class Forgetful(Coordinator):
        def begin(self, event: Any) -> Any:
            self.hidden = 1
            return super().begin(event)

    @dataclass(frozen=True, kw_only=True)
    class Strange(TwoPhaseCommit):
        def machine(self, node: str, tx: int) -> Any:
            kind = Forgetful if node == "coordinator" else Participant
            return kind(node, tx, Policies())

    with pytest.raises(ScenarioError, match="Forgetful has fields that are not in __slots__: hidden"):
        verify(Strange())


def test_isolation_decides_whether_readers_meet() -> None:
    """Two transactions that read the same rows: under serializable one of them finds the other's locks, under read committed neither does."""
    scope = {"crashes": 0, "duplicates": 0, "timeouts": 0, "refusals": False}
    counts = {
        isolation: verify("2pc:work=before", messages=2, contention=True, reads=2, isolation=isolation, **scope)
        for isolation in ("serializable", "read-committed")
    }
    assert counts["serializable"].states > counts["read-committed"].states  # those in which a reader is turned away
    assert all(not verdict.violations for verdict in counts.values())


LASTING: list[Any] = [
    ("2pc", {}, True),
    ("2pc:termination=cooperative", {}, True),
    ("2pc:presumption=commit", {}, True),
    ("paxos-commit:faults=0", {}, True),
    ("paxos-commit", {}, False),
    ("paxos-commit", {"crashes": 2}, True),
    ("paxos-commit:leader=participant", {"participants": 3}, False),
    ("paxos-commit:acceptors=nodes", {"participants": 1}, False),
    ("paxos-commit:acceptors=nodes", {"participants": 1, "crashes": 2}, True),
    pytest.param("paxos-commit:acceptors=nodes", {}, False, marks=pytest.mark.heavy),
    ("cornus", {}, False),
    ("cornus", {"crashes": 2}, False),
]


@pytest.mark.parametrize(("strategy", "scope", "blocks"), LASTING)
def test_f_crashes_for_good_leave_nobody_in_doubt_and_one_more_does(
    strategy: str, scope: dict[str, Any], blocks: bool
) -> None:
    """Who crashes stays away: two-phase commit blocks with one, Paxos Commit with F = 1 with two, votes in a store that is up never."""
    verdict = verify(strategy, lasting=True, duplicates=0, timeouts=0, **scope)
    assert verdict.complete
    assert set(verdict.violations) == ({"non-blocking"} if blocks else set())
    if blocks:
        assert verdict.violations["non-blocking"].replay().violated == ("non-blocking",)
