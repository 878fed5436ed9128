"""A strategy of a user: what a beginner gets wrong is one clear line, at once or as the step of a story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from simtx.checker import verify
from simtx.errors import ScenarioError
from simtx.protocols import Answer, Append, Decided, Forget, Machine, Message, Plan, Prepare, Transact, Transition


class Hub(Machine):
    """Tells everybody to do it, and the client that it was done: one-phase commit."""

    __slots__ = ("left",)
    role: ClassVar[str] = "hub"
    initial: ClassVar[str] = "idle"
    transitions = (
        Transition("idle", "begin", "begin", ("waiting",)),
        Transition("waiting", "ok", "ok", ("waiting", "finished")),
    )

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.left: list[str] = []

    def begin(self, request: Any) -> Any:
        self.state = "waiting"
        self.left = [step.service for step in request.plan.steps]
        return [Message("do", self.tx, self.node, step.service, step) for step in request.plan.steps]

    def ok(self, message: Any) -> Any:
        self.left.remove(message.sender)
        if self.left:
            return []
        self.state = "finished"
        return [Decided("committed"), Answer("committed"), Forget()]


class Worker(Machine):
    """Does its step, and says so whatever came of it."""

    __slots__ = ("hub",)
    role: ClassVar[str] = "worker"
    initial: ClassVar[str] = "idle"
    transitions = (
        Transition("idle", "do", "do", ("working",)),
        Transition("working", "done", "reply", ("finished",)),
    )

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.hub = ""

    def do(self, message: Any) -> Any:
        self.state = "working"
        self.hub = message.sender
        return [Transact("done", message.body.operations, (self.tx, message.body.index), steps=(message.body.index,))]

    def reply(self, done: Any) -> Any:
        self.state = "finished"
        return [Message("ok", self.tx, self.node, self.hub), Forget()]


class OnePhase:
    """One-phase commit, with other machines or members."""

    promise = "decided"
    uses_broker = False

    def __init__(self, first: Any = Hub, worker: Any = Worker, **members: Callable[..., Any] | str) -> None:
        self.kinds = (first, worker)
        self.name = "1pc"
        self.hub = "hub"
        for name, member in members.items():
            setattr(self, name, member)

    def entry(self, plan: Plan) -> str:
        return "hub"

    def machine(self, node: str, tx: int) -> Any:
        first, worker = self.kinds
        return first(node, tx) if node == "hub" else worker(node, tx)

    def daemons(self, node: str) -> Any:
        return ()

    def check(self, plan: Plan) -> Any:
        return None


CALM: dict[str, Any] = {"crashes": 0, "duplicates": 0, "timeouts": 0}


def test_one_phase_commit_is_refuted() -> None:
    verdict = verify(OnePhase(), **CALM)
    assert {"durable-votes", "atomicity", "truth"} <= set(verdict.violations)


class Blank(Hub):
    __slots__ = ("value",)
    value: Any


class Identity(Blank):
    __slots__ = ()

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.value = object()


class Bytes(Blank):
    __slots__ = ()

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.value = bytearray()


class Nested(Blank):
    __slots__ = ()

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.value = {"a": []}


class LateNested(Blank):
    __slots__ = ()

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.value = None

    def begin(self, request: Any) -> Any:
        self.value = [([],)]
        return super().begin(request)


def begins(effect: Any) -> type[Hub]:
    """A hub with another program upon the client's request."""

    class Other(Hub):
        __slots__ = ()

        def begin(self, request: Any) -> Any:
            super().begin(request)
            return effect

    return Other


@pytest.mark.parametrize(
    ("strategy", "part"),
    [
        (OnePhase(machine=lambda node, tx: None), r"machine\('s1', 0\) gives None"),
        (OnePhase(machine=lambda node, tx: {}[node]), r"machine\('s1', 0\) raises KeyError: 's1'"),
        (OnePhase(daemons=lambda node: None), r"daemons\('s1'\) gives None"),
        (OnePhase(entry=lambda plan: "chief"), r"entry\(plan\) is 'chief', which is no node; there are s1, s2, hub"),
        (OnePhase(check=lambda plan: False), r"check\(plan\) gives False"),
        (OnePhase(hub="s1"), "hub is 's1', which is the name of a service"),
        (OnePhase(Blank), "Blank does not set value"),
        (OnePhase(Identity), "two blank machines of Identity differ in 'value'"),
        (OnePhase(Bytes), "field 'value' of Bytes holds a bytearray"),
        (OnePhase(Nested), "field 'value' of Nested holds a list inside a dict"),
        (OnePhase(LateNested), "field 'value' of LateNested holds a list inside a list"),
        (OnePhase(begins([Message("do", 0, "hub", "nobody")])), "hub sends 'do' to 'nobody', which is no node"),
        (OnePhase(begins([Message("do", 0, "hub", "s1", [])])), "hub sends something that is no plain value"),
        (OnePhase(begins([Append(("begin", []))])), "hub keeps something on its disk that is no plain value"),
    ],
)
def test_a_beginners_mistake_is_one_line(strategy: Any, part: str) -> None:
    with pytest.raises(ScenarioError, match=part) as caught:
        verify(strategy, **CALM)
    assert "\n" not in str(caught.value)
    assert not getattr(caught.value, "__notes__", []), "no word of the checker's own affairs"


class Anonymous(Worker):
    """Does not say whose work it does."""

    __slots__ = ()

    def do(self, message: Any) -> Any:
        self.state = "working"
        return [Transact("done", message.body.operations)]


class Breaks(Hub):
    __slots__ = ()

    def ok(self, message: Any) -> Any:
        return [Message("do", self.tx, self.node, self.left[7])]


@pytest.mark.parametrize(
    ("strategy", "step"),
    [
        (
            OnePhase(begins(None)),
            "it raises ProtocolViolation: Other: 'begin' in state 'idle' gives None, and not a list",
        ),
        (OnePhase(begins(Forget())), "'begin' in state 'idle' gives a Forget, and not a list of effects"),
        (OnePhase(begins(["do"])), "Other asks for 'do', which is no effect"),
        (OnePhase(begins([Answer("yes")])), "the outcome has to be one of committed, aborted, accepted"),
        (OnePhase(worker=Anonymous), "changes data in 'done' and does not say of which step: give it `steps`"),
        (OnePhase(Breaks), "it raises IndexError in Breaks.ok: list index out of range"),
    ],
)
def test_what_shows_only_in_a_run_is_the_last_step_of_a_story(strategy: Any, step: str) -> None:
    verdict = verify(strategy, **CALM)
    assert step in verdict.violations["contract"].steps[-1]


class Retries(Worker):
    """Tries again what was refused, without waiting."""

    __slots__ = ("step",)

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.step: Any = None

    def do(self, message: Any) -> Any:
        self.step = message.body
        return super().do(message)

    def reply(self, done: Any) -> Any:
        if done.status != "refused":
            return super().reply(done)
        return [Transact("done", self.step.operations, steps=(self.step.index,))]


def test_a_program_without_an_end_is_a_finding() -> None:
    story = verify(OnePhase(worker=Retries), **CALM).violations["contract"]
    assert "asks for more than 500 effects upon one event" in story.steps[-1]
    assert len(story.steps[-1]) < 500


def test_a_machine_that_breaks_down_where_the_store_fails_ends_the_search() -> None:
    """Each failure of a program is looked at; a program that raises has not one failure more with each try."""
    assert "contract" in verify(OnePhase(Breaks), **CALM, failures=1).violations


class Prepares(Worker):
    __slots__ = ()

    def do(self, message: Any) -> Any:
        self.hub = message.sender
        self.state = "wroking"
        return [Prepare("done", message.body.operations, ("prepared",), None, (message.body.index,))]


def test_a_state_that_no_table_has_is_named() -> None:
    verdict = verify(OnePhase(worker=Prepares), **CALM)
    assert "worker 'idle' on 'do' to 'wroking'" in verdict.undeclared
    assert "not in the transition tables" in verdict.text
    assert verify("2pc", **CALM).undeclared == ()
