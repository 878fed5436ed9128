"""Defects of the coordinator of two-phase commit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Append, Forget, Message, Transition
from simtx.protocols.commit_machine import ABORTED, ANSWER_COMMITTED, CANCEL_VOTE, FORGET
from simtx.protocols.two_phase_coordinator import Coordinator

from .catalogue import Commit2, Mutant


class AnswersEarly(Coordinator):
    __slots__ = ()

    def close_vote(self) -> Any:
        effects = super().close_vote()
        return [ANSWER_COMMITTED, *(effect for effect in effects if effect is not ANSWER_COMMITTED)]


class SendsEarly(Coordinator):
    __slots__ = ()

    def close_vote(self) -> Any:
        effects = super().close_vote()
        sends = [effect for effect in effects if isinstance(effect, Message)]
        return [*sends, *(effect for effect in effects if not isinstance(effect, Message))]


class LazyDecision(Coordinator):
    __slots__ = ()

    def close_vote(self) -> Any:
        return [Append(one.record, forced=False) if isinstance(one, Append) else one for one in super().close_vote()]


class FirstAck(Coordinator):
    __slots__ = ()

    def take_acknowledgement(self, event: Any) -> Any:
        self.state = "finished"
        return [FORGET]


class CountsVotes(Coordinator):
    __slots__ = ()

    def first_vote(self, sender: str) -> bool:
        self.pending.pop()
        return True


class TellsAbortWhileVoting(Coordinator):
    __slots__ = ()

    def stay_silent(self, event: Any) -> Any:
        return [Message("abort", self.tx, self.node, event.sender)]


class PresumesCommit(Coordinator):
    __slots__ = ()

    def presume_abort(self, event: Any) -> Any:
        self.state = "finished"
        return [Message("commit", self.tx, self.node, event.sender), FORGET]


class RecoversToNothing(Coordinator):
    __slots__ = ()

    def recover(self, records: Any) -> Any:
        return [FORGET]


class NeverRepeats(Coordinator):
    __slots__ = ()

    def send_commit(self) -> Any:
        return super().send_commit()[:-1]


class GivesUpCommit(Coordinator):
    __slots__ = ()

    def repeat_commit(self, event: Any) -> Any:
        self.state = "finished"
        return [*(Message("abort", self.tx, self.node, one) for one in self.pending), ABORTED, FORGET]


class GivesUpVote(Coordinator):
    """Takes silence for a YES."""

    __slots__ = ()

    def miss_votes(self, event: Any) -> Any:
        return self.close_vote()


class IgnoresNo(Coordinator):
    __slots__ = ()

    def take_no(self, event: Any) -> Any:
        return super().take_read(event)


class ForgetsWhoVoted(Coordinator):
    """Logs the decision, and not whom it concerns."""

    __slots__ = ()

    def close_vote(self) -> Any:
        return [Append((*one.record[:2],)) if isinstance(one, Append) else one for one in super().close_vote()]


class ForgetsAtCommit(Coordinator):
    """Forgets a commit as soon as COMMIT is sent."""

    __slots__ = ()

    def close_vote(self) -> Any:
        effects = super().close_vote()
        self.state = "finished"
        return [*effects, Forget()]


class LateTimer(Coordinator):
    """Neither cancels the vote's timer nor ignores it after the decision."""

    __slots__ = ()
    transitions = (*Coordinator.transitions, Transition("committing", "vote", "miss_votes", ("finished",)))

    def close_vote(self) -> Any:
        return [effect for effect in super().close_vote() if effect is not CANCEL_VOTE]


class AbortsOnRecovery(Coordinator):
    """A restart aborts whatever was not ended, the commit record notwithstanding."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        if not records or records[-1][0] != "commit":
            return super().recover(records)
        self.state = "finished"
        return [ABORTED, *(Message("abort", self.tx, self.node, one) for one in records[-1][1:]), FORGET]


class LeavesClientAlone(Coordinator):
    """Does not tell the client of a commit."""

    __slots__ = ()

    def close_vote(self) -> Any:
        return [effect for effect in super().close_vote() if effect is not ANSWER_COMMITTED]


class NeverClosesWithRead(Coordinator):
    """Lets readers drop out, and does not look whether that was the last vote."""

    __slots__ = ()

    def take_read(self, event: Any) -> Any:
        if self.first_vote(event.sender):
            self.updating.remove(event.sender)
        return []


class VotesInOrder(Coordinator):
    """Expects votes in the order in which it asked for them."""

    __slots__ = ()

    def first_vote(self, sender: str) -> bool:
        return sender == self.pending[0] and super().first_vote(sender)


class LastStepOnly(Coordinator):
    """Sends a service with several steps the work of the last one."""

    __slots__ = ()

    def begin(self, event: Any) -> Any:
        last = {step.service: step for step in event.plan.steps}
        return super().begin(replace(event, plan=replace(event.plan, steps=tuple(last.values()))))


MUTANTS = (
    Mutant(
        "answer-before-decision",
        "The client is answered before the decision is forced.",
        Commit2(coordinator=AnswersEarly),
        "agreement",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "commit-before-decision",
        "COMMIT leaves before the decision is forced.",
        Commit2(coordinator=SendsEarly),
        "agreement",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "lazy-decision",
        "The decision is written lazily.",
        Commit2(coordinator=LazyDecision),
        "agreement",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "forget-after-first-ack",
        "The coordinator forgets after the first acknowledgement.",
        Commit2(coordinator=FirstAck),
        "agreement",
        {"participants": 2, "timeouts": 1},
    ),
    Mutant(
        "forget-at-commit",
        "The coordinator forgets as soon as COMMIT is sent.",
        Commit2(coordinator=ForgetsAtCommit),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "votes-counted",
        "Votes are counted, and not identified.",
        Commit2(coordinator=CountsVotes),
        "durable-votes",
        {"participants": 2, "duplicates": 1},
    ),
    Mutant(
        "abort-while-voting",
        "An inquiry during the vote is answered with ABORT, and the vote goes on.",
        Commit2(coordinator=TellsAbortWhileVoting),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "presumed-wrong",
        "A transaction that is not known is presumed committed, with the log of presumed abort.",
        Commit2(coordinator=PresumesCommit),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "coordinator-recovers-to-nothing",
        "A restarted coordinator does not take its commits up.",
        Commit2(coordinator=RecoversToNothing),
        "agreement",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "commit-never-repeated",
        "The coordinator sends COMMIT once, and waits for acknowledgements for ever.",
        Commit2(coordinator=NeverRepeats),
        "non-blocking",
        {"participants": 1, "losses": 1},
    ),
    Mutant(
        "commit-given-up",
        "The coordinator turns to ABORT when acknowledgements do not come.",
        Commit2(coordinator=GivesUpCommit),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "silence-is-yes",
        "The coordinator takes a missing vote for a YES.",
        Commit2(coordinator=GivesUpVote),
        "durable-votes",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "no-is-ignored",
        "A NO only drops the participant from the second phase.",
        Commit2(coordinator=IgnoresNo),
        "durable-votes",
        {"participants": 1},
    ),
    Mutant(
        "decision-without-names",
        "The decision's record names one participant only.",
        Commit2(coordinator=ForgetsWhoVoted),
        "agreement",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "vote-timer-after-decision",
        "The vote's timer fires after the decision, and aborts.",
        Commit2(coordinator=LateTimer),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "abort-on-recovery",
        "A restarted coordinator aborts what was under way, although the commit record is there.",
        Commit2(coordinator=AbortsOnRecovery),
        "agreement",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "commit-not-answered",
        "The client is not told of a commit.",
        Commit2(coordinator=LeavesClientAlone),
        "non-blocking",
        {"participants": 1},
    ),
    Mutant(
        "read-closes-no-vote",
        "A READ is counted, and the vote not closed if it was the last.",
        Commit2(coordinator=NeverClosesWithRead),
        "validity",
        {"participants": 1, "reads": 1, "refusals": False},
    ),
    Mutant(
        "votes-in-order",
        "A vote that comes before that of a participant that was asked earlier is not taken.",
        Commit2(coordinator=VotesInOrder),
        "validity",
        {"participants": 2, "refusals": False},
    ),
    Mutant(
        "last-step-only",
        "A participant with several steps is sent the work of the last one.",
        Commit2(coordinator=LastStepOnly),
        "durable-votes",
        {"participants": 2, "revisit": True},
    ),
)
