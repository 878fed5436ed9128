"""A choreographed saga with a join as a model for the explorer: branches, events that come twice, late or never, a join that crashes, and a monitor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from simtx.checker.explorer.model import Model
from simtx.protocols.derived.join import BranchState, Decision, Joined, JoinRule


@dataclass(frozen=True, kw_only=True)
class JoinScope:
    """Bounds of an exploration. Events arrive in any order.

    Attributes:
        branches: Branches that run side by side.
        refusals: Branches that may be refused.
        duplicates: Events that may come twice.
        losses: Events that may be lost, as after a dual write.
        crashes: Crashes of the join.
        timeouts: Deadlines of the join that may pass while reports are on their way.
    """

    branches: int = 2
    refusals: int = 1
    duplicates: int = 1
    losses: int = 0
    crashes: int = 1
    timeouts: int = 1


class JoinState(NamedTuple):
    """A state.

    Attributes:
        branches: How far each is.
        events: On their way: (kind, branch).
        joined: What the join keeps.
        confirmed: Branches that have said that they are undone, or were refused.
        started: Whether the saga has begun.
        alarm: Whether the monitor says that it is stuck.
        refusals: Left, as all that follows.
    """

    branches: tuple[BranchState, ...]
    events: tuple[tuple[str, int], ...]
    joined: Joined
    confirmed: tuple[int, ...]
    started: bool
    alarm: bool
    refusals: int
    duplicates: int
    losses: int
    crashes: int
    timeouts: int


def join_model(rule: JoinRule, scope: JoinScope) -> Model[JoinState]:
    """The model of one saga under a rule."""
    game = _Join(rule, scope)
    idle: BranchState = ""
    start = JoinState(
        branches=(idle,) * scope.branches,
        events=(),
        joined=Joined(),
        confirmed=(),
        started=False,
        alarm=False,
        refusals=scope.refusals,
        duplicates=scope.duplicates,
        losses=scope.losses,
        crashes=scope.crashes,
        timeouts=scope.timeouts,
    )
    at_rest = {
        "stuck-is-seen": lambda state: game.ended(state) or state.alarm,
        "no-false-alarm": lambda state: not (game.settled(state) and state.alarm),
    }
    if not scope.losses:
        at_rest["all-or-nothing"] = game.ended
    goals = {"complete": lambda state: state.joined.decision == "complete"}
    if scope.refusals or (scope.timeouts and rule.deadline):
        goals["undone"] = lambda state: state.joined.decision == "undo" and game.ended(state)
    return Model(
        name=_name(rule),
        initial=[start],
        successors=game.steps,
        invariants={
            "complete-is-complete": lambda state: (
                state.joined.decision != "complete" or all(one == "done" for one in state.branches)
            )
        },
        terminal_invariants=at_rest,
        goals=goals,
        show=game.show,
    )


def _name(rule: JoinRule) -> str:
    parts = [f"a join that counts {rule.counts}, kept in its {rule.keeps}", f"undoes {rule.undoes}"]
    parts += [] if rule.tombstones else ["no tombstones"]
    parts += [] if rule.deadline else ["no deadline"]
    return ", ".join([*parts, f"monitored from the {rule.knows} until the end is {rule.ends}"])


@dataclass(frozen=True)
class _Join:
    rule: JoinRule
    scope: JoinScope

    def steps(self, state: JoinState) -> Iterator[tuple[str, JoinState]]:
        """All that can happen next."""
        if not state.started:
            starts = tuple(("start", branch) for branch in range(self.scope.branches))
            yield "the saga begins", state._replace(started=True, events=starts)
            return
        for place, event in enumerate(state.events):
            if place and state.events[place - 1] == event:
                continue  # the same
            kind, branch = event
            gone = state._replace(events=state.events[:place] + state.events[place + 1 :])
            for text, after in self._arrives(gone, kind, branch):
                yield text, after
                if state.duplicates:
                    again = after._replace(events=_sorted(*after.events, event), duplicates=state.duplicates - 1)
                    yield f"{text}, and will come again", again
            if state.losses:
                yield f"'{kind}' of branch {branch} is lost", gone._replace(losses=state.losses - 1)
        yield from self._join(state)
        yield from self._monitor(state)

    def _arrives(self, state: JoinState, kind: str, branch: int) -> Iterator[tuple[str, JoinState]]:
        one = state.branches[branch]
        if kind == "start":
            for refuses in (False, True) if state.refusals and not one else (False,):
                after = self.rule.started(one, refuses=refuses)
                reports = state.events
                confirmed = state.confirmed
                if after != one:
                    report = "refused" if after == "refused" else "done"
                    reports = _sorted(*reports, (report, branch))
                    confirmed = (*confirmed, branch) if after == "refused" else confirmed
                yield (
                    f"branch {branch} is started{' and refuses' if refuses else ''}",
                    _with(state, branch, after)._replace(
                        events=reports, confirmed=tuple(sorted(set(confirmed))), refusals=state.refusals - refuses
                    ),
                )
        elif kind == "undo":
            after = self.rule.undone(one)
            confirmed = tuple(sorted({*state.confirmed, branch}))
            yield f"branch {branch} is undone", _with(state, branch, after)._replace(confirmed=confirmed)
        else:
            told = self.rule.told(state.joined, branch, "refused" if kind == "refused" else "done", self.scope.branches)
            yield f"the join is told that branch {branch} is {kind}", self._decided(state, told)

    def _join(self, state: JoinState) -> Iterator[tuple[str, JoinState]]:
        if state.crashes:
            crashed = state._replace(joined=self.rule.crashed(state.joined), crashes=state.crashes - 1)
            yield "the join crashes and begins again", crashed
        # Where a report can be lost, the deadline passes when nothing else can happen; before, as often as the scope says.
        if self.rule.deadline and state.joined.reported and not state.joined.decision:
            if not state.events:
                yield "the deadline of the join passes", self._decided(state, self.rule.given_up(state.joined))
            elif state.timeouts:
                early = state._replace(timeouts=state.timeouts - 1)
                yield "the deadline of the join passes", self._decided(early, self.rule.given_up(state.joined))

    def _decided(self, state: JoinState, joined: Joined) -> JoinState:
        """The state with what the join keeps now; the events of a decision to undo are in its outbox."""
        events = state.events
        if joined.decision == "undo" and not state.joined.decision:
            events = _sorted(
                *events, *(("undo", branch) for branch in self.rule.undone_by(joined, self.scope.branches))
            )
        return state._replace(joined=joined, events=events)

    def _monitor(self, state: JoinState) -> Iterator[tuple[str, JoinState]]:
        known = self.rule.knows == "start" or bool(state.joined.reported or state.joined.decision)
        over = self.rule.over(state.joined.decision, state.confirmed, self.scope.branches)
        if known and not over and not state.alarm:
            yield "the monitor says that it is stuck", state._replace(alarm=True)
        if over and state.alarm:
            yield "the monitor sees its end", state._replace(alarm=False)

    @staticmethod
    def ended(state: JoinState) -> bool:
        """Return whether the saga is decided and all of its branches are as decided."""
        decision: Decision = state.joined.decision
        if decision == "complete":
            return all(one == "done" for one in state.branches)
        return decision == "undo" and not any(one == "done" for one in state.branches)

    @classmethod
    def settled(cls, state: JoinState) -> bool:
        """Return whether, further, every branch of an undone saga knows: what was never begun may still be, as long as it does not."""
        return cls.ended(state) and (state.joined.decision == "complete" or "" not in state.branches)

    def show(self, state: JoinState) -> str:
        """A state on one line."""
        branches = ", ".join(one or "not begun" for one in state.branches)
        alarm = "; alarm" if state.alarm else ""
        way = (
            "; on their way: " + ", ".join(f"{kind} {branch}" for kind, branch in state.events) if state.events else ""
        )
        return f"branches {branches}; join {state.joined.decision or f'has {list(state.joined.reported)}'}{way}{alarm}"


def _sorted(*events: tuple[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(events))


def _with(state: JoinState, branch: int, after: BranchState) -> JoinState:
    return state._replace(branches=(*state.branches[:branch], after, *state.branches[branch + 1 :]))
