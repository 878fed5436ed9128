"""Strategies by name, as text with options, and as objects of any class; each mistake gets one line that says what would be right."""

from __future__ import annotations

import pickle
from collections.abc import Iterable

import pytest

import simtx.protocols as protocols
from simtx.errors import ScenarioError
from simtx.protocols import (
    LABELS,
    STRATEGIES,
    DualWrite,
    Machine,
    Outbox,
    Plan,
    Policies,
    Promise,
    Saga,
    Strategy,
    TwoPhaseCommit,
    label,
    strategy,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2pc", TwoPhaseCommit()),
        ("saga", Saga()),
        ("outbox", Outbox()),
        ("dual-write", DualWrite()),
        ("outbox:closing=true", Outbox(closing=True)),
        ("outbox: closing = no , wake = YES ", Outbox(wake=True)),
        ("dual-write:order=broker-first,acknowledge=before", DualWrite(order="broker-first", acknowledge="before")),
        ("outbox:policies=none", Outbox()),
        ("2pc:presumption=commit", TwoPhaseCommit(presumption="commit")),
        ("saga:completion=lazy", Saga(completion="lazy")),
    ],
)
def test_a_text_means_an_object(text: str, meant: Strategy) -> None:
    assert strategy(text) == meant


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("outbx", "no strategy 'outbx' (did you mean 'outbox'?)"),
        ("dual_write", "did you mean 'dual-write'?"),
        ("Saga", "did you mean 'saga'?"),
        ("two-phase commit", "did you mean '2pc'?"),
        ("TwoPhaseCommit", "did you mean '2pc'?"),
        ("transactional outbox", "did you mean 'outbox'?"),
        (
            "xyzzy",
            "no strategy 'xyzzy'; choose '2pc', 'paxos-commit', 'cornus', 'saga', 'tcc', 'outbox', 'choreography' or 'dual-write'",
        ),
        ("", "no strategy ''"),
        ("outbox:", "not of the form option=value"),
        ("outbox:closing", "'closing' in 'outbox:closing' is not of the form option=value"),
        ("outbox:=true", "not of the form option=value"),
        (
            "outbox:closng=true",
            "'outbox' has no option 'closng' (did you mean 'closing'?); its options are 'closing', 'wake' or 'reader'",
        ),
        ("outbox:closing=maybe", "outbox: option 'closing' is 'maybe', but must be 'true' or 'false'"),
        ("outbox:closing=true,closing=no", "option 'closing' is given twice"),
        ("outbox:policies=5", "option 'policies' has no form as text"),
        ("dual-write:order=broker_first", "must be 'db-first' or 'broker-first' (did you mean 'broker-first'?)"),
        ("saga:policy=none", "'saga' has no option 'policy'"),
    ],
)
def test_a_wrong_text_gets_one_line_that_says_what_would_be_right(wrong: str, reason: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        strategy(wrong)
    assert str(caught.value).startswith("strategy: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_built_in_strategy_keeps_the_contract(name: str) -> None:
    chosen = strategy(name)
    assert isinstance(chosen, Strategy)
    assert chosen.name == name
    assert label(chosen) == label(name) == LABELS[name]
    assert pickle.loads(pickle.dumps(chosen)) == chosen  # noqa: S301 - our own bytes
    assert type(chosen).__name__ in repr(chosen)
    assert strategy(chosen) is chosen
    theirs = Policies(attempts=77)
    assert strategy(name, theirs).policies == theirs  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        chosen.policies = theirs  # type: ignore[attr-defined]


def test_policies_of_its_own_win_over_the_scenarios() -> None:
    ours = Policies(attempts=3)
    assert strategy(Outbox(policies=ours), Policies(attempts=9)) == Outbox(policies=ours)


class HandMade:
    """A user's own strategy: nothing inherited, nothing registered, no policies."""

    name = "hand-made"
    promise: Promise = "accepted"
    uses_broker = False
    hub: str | None = None

    def entry(self, plan: Plan) -> str:
        return plan.steps[0].service

    def machine(self, node: str, tx: int) -> Machine:
        return Machine(node, tx)

    def daemons(self, node: str) -> Iterable[Machine]:
        return ()

    def check(self, plan: Plan) -> str | None:
        return None


def test_a_users_own_object_is_as_good_as_ours() -> None:
    own = HandMade()
    assert strategy(own, Policies()) is own
    assert label(own) == "hand-made"


@pytest.mark.parametrize("member", ["name", "promise", "uses_broker", "hub", "entry", "machine", "daemons", "check"])
def test_an_object_that_lacks_a_member_is_refused_by_the_name_of_the_member(member: str) -> None:
    members = {name: value for name, value in vars(HandMade).items() if name != member and not name.startswith("__")}
    incomplete = type("Incomplete", (), members)()
    with pytest.raises(ScenarioError, match=f"type Incomplete is no strategy: it has no '{member}' "):
        strategy(incomplete)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ""}, "a text that is not empty"),
        ({"name": 5}, "a text that is not empty"),
        ({"promise": "soon"}, "must be 'decided' or 'accepted'"),
        ({"hub": 5}, "the name of a node, or None"),
        ({"entry": "a"}, "'entry', but not as a method"),
    ],
)
def test_an_object_with_a_wrong_member_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ScenarioError, match=reason):
        strategy(type("Wrong", (HandMade,), changes)())


def test_a_class_in_place_of_an_object_is_refused_with_the_way_out() -> None:
    with pytest.raises(ScenarioError, match=r"Outbox is a class; give an object of it: Outbox\(\)"):
        strategy(Outbox)  # type: ignore[arg-type]


def test_something_else_altogether_is_refused() -> None:
    with pytest.raises(ScenarioError, match="type int is no strategy"):
        strategy(5)  # type: ignore[arg-type]


def test_the_public_names_are_sorted_unique_and_there() -> None:
    assert len(set(protocols.__all__)) == len(protocols.__all__)
    assert all(hasattr(protocols, name) for name in protocols.__all__)
