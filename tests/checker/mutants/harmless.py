"""Changes that look like defects and are not, each with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Append, Courier, Forget, Message, Poller, Prepare, Relay, SetTimer, Transition
from simtx.protocols.commit_machine import FORGET
from simtx.protocols.outbox import OutboxService
from simtx.protocols.saga import DONE, REFUSED, RUNNING, UNKNOWN, Orchestrator
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_execution import ExecutingCoordinator
from simtx.protocols.two_phase_participant import Participant

from .catalogue import Commit2, Dual2, Harmless, Outbox2, Saga2
from .dual_write import FailureIsRefusal, KeepsNoQueue
from .outbox import Chatty
from .two_phase_participants import Before2

ONE_OF_EACH = {"crashes": 1, "duplicates": 1, "timeouts": 1}

# --- two-phase commit ------------------------------------------------------------------------------------------------------------


class NoAbortRecord(Coordinator):
    __slots__ = ()

    def abort(self, reason: str) -> Any:
        return super().abort(reason)[1:]


class NoEndRecord(Coordinator):
    __slots__ = ()

    def take_acknowledgement(self, event: Any) -> Any:
        return [effect for effect in super().take_acknowledgement(event) if not isinstance(effect, Append)]


class SilentAbort(Coordinator):
    __slots__ = ()

    def abort(self, reason: str) -> Any:
        return [effect for effect in super().abort(reason) if not isinstance(effect, Message)]


class NoSecondYes(Participant):
    __slots__ = ()

    def repeat_yes(self, event: Any) -> Any:
        return []


class KeepsVoteTimer(Coordinator):
    __slots__ = ()

    def close_vote(self) -> Any:
        return super().close_vote()[:-1]


class SilentNo(Participant):
    __slots__ = ()

    def vote(self, event: Any) -> Any:
        return [one for one in super().vote(event) if getattr(one, "kind", "") != "no"]


class AbortsWhenAsked(Coordinator):
    """An inquiry during the vote ends it."""

    __slots__ = ()

    def stay_silent(self, event: Any) -> Any:
        return self.abort("an inquiry")


class TwoCommits(Coordinator):
    __slots__ = ()

    def send_commit(self) -> Any:
        effects = super().send_commit()
        return [*effects, *(effect for effect in effects if isinstance(effect, Message))]


class RefusesForgotten(Participant):
    """Answers NO to a copy of PREPARE that finds its branch committed."""

    __slots__ = ()

    def vote(self, event: Any) -> Any:
        if event.status != "duplicate":
            return super().vote(event)
        self.state = "finished"
        return [Message("no", self.tx, self.node, self.coordinator, "duplicate"), FORGET]


class ReaffirmsForgotten(Participant):
    """Answers YES to a copy of PREPARE that finds its branch committed."""

    __slots__ = ()

    def vote(self, event: Any) -> Any:
        if event.status != "duplicate":
            return super().vote(event)
        self.state = "finished"
        return [Message("yes", self.tx, self.node, self.coordinator), FORGET]


class AnswersNoInquiry(Coordinator):
    """Does not answer whoever asks while it commits."""

    __slots__ = ()

    def tell_commit(self, event: Any) -> Any:
        return []


class AcksLater(Participant):
    """Does not acknowledge the COMMIT that it carries out."""

    __slots__ = ()

    def commit(self, event: Any) -> Any:
        return [one for one in super().commit(event) if not isinstance(one, Message)]


class PreparesReads(Participant):
    """Prepares and votes YES even if it has written nothing."""

    __slots__ = ()

    def prepare(self, event: Any) -> Any:
        operations, steps = event.body
        self.coordinator = event.sender
        self.state = "preparing"
        return [Prepare("prepared", operations, ("prepared", event.sender), (self.tx, "branch"), steps)]


class ForgetsBeforeEnd(Coordinator):
    """Forgets, and logs the end then."""

    __slots__ = ()

    def take_acknowledgement(self, event: Any) -> Any:
        return super().take_acknowledgement(event)[::-1]


class PreparesAgain(Coordinator):
    """Sends PREPARE once more before it gives up waiting for votes."""

    __slots__ = ("work",)
    transitions = tuple(
        Transition("voting", "vote", "miss_votes", ("voting", "finished")) if row.action == "miss_votes" else row
        for row in Coordinator.transitions
    )

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.work: tuple[Message, ...] = ()

    def begin(self, event: Any) -> Any:
        effects = super().begin(event)
        self.work = tuple(one for one in effects if isinstance(one, Message))
        return effects

    def miss_votes(self, event: Any) -> Any:
        late = [one for one in self.work if one.to in self.pending]
        self.work = ()
        return [*late, SetTimer("vote", self.policies.vote_timeout)] if late else super().miss_votes(event)


class CommitsToFirst(Coordinator):
    """Sends COMMIT to the first of those that have to hear it when it restarts."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        effects = super().recover(records)
        later = [one for one in effects if isinstance(one, Message)][1:]
        return [one for one in effects if one not in later]


class CountsExecutions(ExecutingCoordinator):
    """Counts EXECUTED, whichever step it is of."""

    __slots__ = ()

    def take_executed(self, event: Any) -> Any:
        return super().take_executed(replace(event, body=self.running[0]))


TWO_PHASE = (
    Harmless(
        "no-abort-record",
        "The coordinator does not log an abort.",
        "No record means abort: the record only saves an inquiry's answer from memory.",
        Commit2(coordinator=NoAbortRecord),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1},),
    ),
    Harmless(
        "no-end-record",
        "The coordinator does not log the end.",
        "A restart sends COMMIT again, and participants that are through acknowledge what they do not know.",
        Commit2(coordinator=NoEndRecord),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1},),
    ),
    Harmless(
        "silent-abort",
        "The coordinator sends ABORT to no participant.",
        "Participants in doubt inquire, and the answer about an unknown transaction is ABORT; they only hold their locks longer.",
        Commit2(coordinator=SilentAbort),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1}, {"losses": 1}),
    ),
    Harmless(
        "no-second-yes",
        "A participant in doubt does not vote again when PREPARE comes again.",
        "PREPARE is never repeated, only copied by the network; a lost vote ends in an abort.",
        Commit2(participant=NoSecondYes),
        ({"losses": 1, "duplicates": 1, "timeouts": 1},),
    ),
    Harmless(
        "vote-timer-kept",
        "The vote's timer is not cancelled.",
        "It fires into a state that ignores it.",
        Commit2(coordinator=KeepsVoteTimer),
        ({"crashes": 1, "timeouts": 2},),
    ),
    Harmless(
        "silent-no",
        "A participant that refuses says nothing.",
        "The coordinator takes silence for an abort, too, only later.",
        Commit2(participant=SilentNo),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1},),
        ("coordinator", "voting", "vote"),
    ),
    Harmless(
        "abort-when-asked",
        "An inquiry during the vote ends it with an abort, for all.",
        "Nothing is decided yet, so the coordinator may decide either way; it only must not answer and then go on counting.",
        Commit2(coordinator=AbortsWhenAsked),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1},),
        ("coordinator", "voting", "inquiry"),
    ),
    Harmless(
        "commit-twice",
        "COMMIT is sent twice.",
        "The second finds the branch gone, and is acknowledged.",
        Commit2(coordinator=TwoCommits),
        ({"crashes": 1, "timeouts": 1},),
        ("participant", "idle", "commit"),
    ),
    Harmless(
        "yes-of-the-forgotten",
        "A participant that has committed and forgotten answers a late copy of PREPARE with YES, and gets ABORT.",
        "A commit is forgotten only after all acknowledgements, so that nothing is left that could be rolled back.",
        Commit2(participant=ReaffirmsForgotten),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1},),
        ("coordinator", "idle", "yes"),
    ),
    Harmless(
        "no-of-the-forgotten",
        "A participant that has committed and forgotten answers a late copy of PREPARE with NO.",
        "A participant has committed only after the coordinator has decided, and then votes do not count any more.",
        Commit2(participant=RefusesForgotten),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1},),
        ("coordinator", "idle", "no"),
    ),
    Harmless(
        "yes-again",
        "A participant in doubt answers a copy of PREPARE with YES again.",
        "Votes are counted by participant, and the promise still stands.",
        Commit2(),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1},),
        ("participant", "in-doubt", "prepare"),
    ),
    Harmless(
        "ack-of-the-forgotten",
        "A participant acknowledges a COMMIT that it knows nothing of.",
        "A branch that voted YES stays until the word of the coordinator: if it is gone, it was committed.",
        Commit2(),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1}, {"losses": 1}),
        ("participant", "idle", "commit"),
    ),
    Harmless(
        "inquiry-not-answered",
        "A coordinator that commits does not answer inquiries.",
        "COMMIT is sent again by a timer of its own; the answer only makes it sooner.",
        Commit2(coordinator=AnswersNoInquiry),
        ({"crashes": 1, "timeouts": 1}, {"losses": 1, "timeouts": 1}),
        ("coordinator", "committing", "inquiry"),
    ),
    Harmless(
        "first-ack-left-out",
        "A participant does not acknowledge the COMMIT that it carries out.",
        "COMMIT comes again, and is acknowledged by one that knows nothing of it.",
        Commit2(participant=AcksLater),
        ({"crashes": 1, "timeouts": 1},),
        ("participant", "idle", "commit"),
    ),
    Harmless(
        "readers-prepare",
        "A participant that has written nothing prepares, votes YES and waits for the outcome.",
        "It costs a forced write and two messages, and promises the same.",
        Commit2(participant=PreparesReads),
        ({"reads": 1, "crashes": 1, "timeouts": 1}, {"reads": 2, "crashes": 1}),
    ),
    Harmless(
        "lazy-abort-and-end",
        "The records of an abort and of the end are lazy, and a rollback is.",
        "A lost one is made good: no record means abort, a second COMMIT is acknowledged, and a branch that comes back inquires.",
        Commit2(),
        ({"crashes": 2},),
        ("participant", "in-doubt", "abort"),
    ),
    Harmless(
        "end-after-forgetting",
        "The coordinator forgets a transaction, and logs its end then.",
        "An end without a commit before it means the same as no record.",
        Commit2(coordinator=ForgetsBeforeEnd),
        ({"crashes": 2}, {"crashes": 1, "losses": 1, "timeouts": 1}),
        ("coordinator", "idle", "inquiry"),
    ),
    Harmless(
        "prepare-again",
        "PREPARE is sent once more to those that have not voted, before the coordinator gives them up.",
        "A participant that has promised votes YES again, one that has refused is asked anew, and no decision was sent meanwhile.",
        Commit2(coordinator=PreparesAgain),
        ({"losses": 2}, {"crashes": 1, "duplicates": 1, "timeouts": 1}, {"failures": 1, "losses": 1}),
        ("participant", "in-doubt", "prepare"),
    ),
    Harmless(
        "commit-to-the-first",
        "A restarted coordinator sends COMMIT to one of those that wait for it.",
        "The timer sends it to all that have not acknowledged, and an inquiry is answered with it at once.",
        Commit2(coordinator=CommitsToFirst),
        ({"crashes": 2}, {"crashes": 1, "losses": 1}),
    ),
    Harmless(
        "executions-counted",
        "With work before the vote, EXECUTED is counted, and not taken for the step that it names.",
        "PREPARE names the steps, and a participant that has not executed all of them votes NO: this only aborts a transaction that could commit.",
        Before2(coordinator=CountsExecutions),
        ({"duplicates": 2}, {"duplicates": 1, "timeouts": 1, "parallel": True}),
        ("participant", "idle", "prepare"),
    ),
)

# --- saga ------------------------------------------------------------------------------------------------------------------------


class NoHaltRecords(Orchestrator):
    __slots__ = ()

    def _halted(self, reply: Any) -> Any:
        return [one for one in super()._halted(reply) if not isinstance(one, Append)]


class NoCancel(Orchestrator):
    __slots__ = ()

    def _committed(self, index: int, record: Any) -> Any:
        return super()._committed(index, record)[1:]


class UndoesTheRefused(Orchestrator):
    """Compensates the refused step as well."""

    __slots__ = ()

    def _compensate(self) -> Any:
        self.status[:] = [DONE if one == REFUSED else one for one in self.status]
        return super()._compensate()


class CommandsTwice(Orchestrator):
    __slots__ = ()

    def _begin(self, request: Any) -> Any:
        effects = super()._begin(request)
        return [*effects, *(one for one in effects if isinstance(one, Message))]


class LazyUndone(Orchestrator):
    """Records lazily that a step is undone, and goes on to the one before."""

    __slots__ = ()

    def _undone(self, reply: Any) -> Any:
        return [Append(one.record, forced=False) if isinstance(one, Append) else one for one in super()._undone(reply)]


class UndoneUnrecorded(Orchestrator):
    """Does not record what is undone."""

    __slots__ = ()

    def _undone(self, reply: Any) -> Any:
        return [one for one in super()._undone(reply) if not isinstance(one, Append)]


class FirstRefusalUnrecorded(Orchestrator):
    """Does not record a refusal if there is nothing to undo."""

    __slots__ = ()

    def _refused(self, reply: Any) -> Any:
        effects = super()._refused(reply)
        return effects if self.state != "aborted" else [one for one in effects if not isinstance(one, Append)]


class CommandsPivotAgain(Orchestrator):
    """Commands a silent pivot again, and never asks what has become of it."""

    __slots__ = ()

    def _resend(self, indexes: Any) -> Any:
        return [
            replace(one, kind="do") if getattr(one, "kind", "") == "resolve" else one
            for one in super()._resend(indexes)
        ]


class DeafToErrors(Orchestrator):
    """Takes no notice of errors, and waits for its timer."""

    __slots__ = ()

    def _error(self, reply: Any) -> Any:
        return []


class TurnsBackLazily(Orchestrator):
    """A restart gives up what was under way, and writes that lazily."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        effects = super().recover(records)
        if RUNNING not in self.status:
            return effects
        self.status[:] = [UNKNOWN if one == RUNNING else one for one in self.status]
        back = self._turn_back(self.status.index(UNKNOWN), UNKNOWN)
        return [Append(one.record, forced=False) if isinstance(one, Append) else one for one in back]


SAGA = (
    Harmless(
        "no-halt-records",
        "Replies that come while the saga halts are not recorded.",
        "A restart takes the outcome for unknown and compensates, which does nothing where nothing was done.",
        Saga2(orchestrator=NoHaltRecords),
        ({"participants": 3, "parallel": True, "crashes": 1},),
    ),
    Harmless(
        "no-cancel",
        "The timer is not cancelled at the end.",
        "It goes with the machine.",
        Saga2(orchestrator=NoCancel),
        ({"crashes": 1, "duplicates": 1, "timeouts": 1},),
    ),
    Harmless(
        "lazy-completion",
        "The last record is lazy; the last step is never given up.",
        "If it is lost, the last participant is asked again, and answers as before.",
        Saga2(completion="lazy"),
        (ONE_OF_EACH, {"crashes": 2, "timeouts": 1}),
    ),
    Harmless(
        "refused-is-undone",
        "The step that was refused is compensated as well.",
        "The row of the action says that it had no effect, so the compensation has none.",
        Saga2(orchestrator=UndoesTheRefused),
        (ONE_OF_EACH,),
        ("participant", "idle", "undo"),
    ),
    Harmless(
        "commands-twice",
        "The first command is sent twice.",
        "Its row recognises the second.",
        Saga2(orchestrator=CommandsTwice),
        (ONE_OF_EACH,),
    ),
    Harmless(
        "lazy-undone",
        "That a step is undone is recorded lazily.",
        "A lost record has the compensation sent again, and its row recognises it.",
        Saga2(orchestrator=LazyUndone),
        (ONE_OF_EACH, {"participants": 3, "crashes": 1}),
    ),
    Harmless(
        "undone-not-recorded",
        "That a step is undone is not recorded at all.",
        "A restart sends all compensations again, in their order, and their rows recognise them.",
        Saga2(orchestrator=UndoneUnrecorded),
        ({"crashes": 2}, {"participants": 3, "crashes": 1, "timeouts": 1}),
    ),
    Harmless(
        "first-refusal-not-recorded",
        "The refusal of the first step is not recorded.",
        "There is nothing to undo; a restart commands the step again, and its row answers that it was refused.",
        Saga2(orchestrator=FirstRefusalUnrecorded),
        (ONE_OF_EACH, {"crashes": 2}, {"parallel": True, "crashes": 1, "timeouts": 1}),
    ),
    Harmless(
        "pivot-commanded-again",
        "A silent pivot is commanded again, and not asked how it has ended.",
        "Its row answers a second command as it answers the question: done, or refused for good.",
        Saga2(orchestrator=CommandsPivotAgain),
        ({"pivot": 1, "losses": 1, "timeouts": 1}, {"pivot": 0, "crashes": 1, "duplicates": 1, "timeouts": 1}),
    ),
    Harmless(
        "errors-ignored",
        "The orchestrator takes no notice of an error that a participant reports.",
        "It is one more reply that does not come: the timer sees to it, only later.",
        Saga2(orchestrator=DeafToErrors),
        ({"failures": 1, "crashes": 1, "timeouts": 1}, {"failures": 1, "pivot": 0}),
        ("orchestrator", "running", "error"),
    ),
    Harmless(
        "turned-back-lazily",
        "A restarted orchestrator gives up what was under way, and records that lazily before it compensates.",
        "A lost record leaves the next restart the same decision to make; what is recorded later is forced, and takes it to the disk.",
        Saga2(orchestrator=TurnsBackLazily),
        ({"crashes": 2}, {"crashes": 2, "participants": 1, "losses": 1, "timeouts": 1}),
        ("orchestrator", "compensating", "done"),
    ),
)

# --- outbox ----------------------------------------------------------------------------------------------------------------------


class ReadsLater(Poller):
    """Does not read the outbox when it starts."""

    __slots__ = ()

    def start(self, event: Any) -> Any:
        return super().start(event)[:1]


class ReadsLaterRelay(Relay):
    __slots__ = ()
    poller_type = ReadsLater


class PublishesTwice(Courier):
    """Publishes its row once more when it is acknowledged, and marks it after that."""

    __slots__ = ("again",)

    def __init__(self, node: str, row: Any) -> None:
        super().__init__(node, row)
        self.again = True

    def published(self, event: Any) -> Any:
        if event.status == "done" and self.again:
            self.again = False
            return super().go(event)
        return super().published(event)


class PublishesTwiceRelay(Relay):
    __slots__ = ()
    courier_type = PublishesTwice


class LeavesItToThePoll(Courier):
    """Forgets itself when a publication fails: the row is not marked, so that the next poll takes it up again."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return super().published(event) if event.status == "done" else [Forget()]


class LeavesItToThePollRelay(Relay):
    __slots__ = ()
    courier_type = LeavesItToThePoll


class UndoesWithoutALook(OutboxService):
    """A compensation has its inbox row, and does not look at the row of its action."""

    __slots__ = ()

    def _undo(self) -> Any:
        (one,) = super()._undo()
        return [replace(one, undoes=None)]


OUTBOX = (
    Harmless(
        "reads-later",
        "A restarted relay does not read its outbox.",
        "The next poll does.",
        Outbox2(relay=ReadsLaterRelay),
        (ONE_OF_EACH,),
    ),
    Harmless(
        "publishes-twice",
        "A relay publishes each event twice.",
        "The consumer's inbox row recognises the second.",
        Outbox2(relay=PublishesTwiceRelay),
        ({"losses": 1, "participants": 2},),
    ),
    Harmless(
        "leaves-it-to-the-poll",
        "A relay does not come back to a publication that has failed.",
        "Its row is not marked, so that the next poll does.",
        Outbox2(relay=LeavesItToThePollRelay),
        ({"losses": 1, "participants": 2},),
    ),
    Harmless(
        "two-events",
        "A step commits two events to the same consumer.",
        "Order and inbox rows see to it.",
        Outbox2(service=Chatty),
        ({"crashes": 1, "duplicates": 1},),
    ),
    Harmless(
        "undo-without-a-look",
        "A compensation does not look whether its action took effect.",
        "In a chain a step is refused only after the step before it was done, so that only done steps are undone.",
        Outbox2(service=UndoesWithoutALook),
        (ONE_OF_EACH, {"participants": 3, "crashes": 1}),
        ("service", "idle", "step-refused"),
    ),
    Harmless(
        "lazy-marks",
        "The relay's marks are not forced.",
        "A lost mark has the event published again, and the consumer's inbox row recognises it.",
        Outbox2(),
        ({"crashes": 1},),
    ),
)

# --- dual write ------------------------------------------------------------------------------------------------------------------

DUAL_WRITE = (
    Harmless(
        "queue-left-to-the-broker",
        "What arrives while another event is worked on is not kept.",
        "It is not acknowledged either, so the broker brings it again; acknowledged on arrival it would be lost.",
        Dual2(service=KeepsNoQueue),
        ({}, {"participants": 3, "revisit": True, "failures": 1}),
        ("service", "publishing", "step-refused"),
    ),
    Harmless(
        "failure-told-as-refusal",
        "A transient failure of an action is taken for a refusal.",
        "Nothing was applied, and all that was done before is undone; behind a pivot, where nothing leads back, it is a defect.",
        Dual2(service=FailureIsRefusal),
        ({"failures": 2},),
    ),
)

HARMLESS = (*TWO_PHASE, *SAGA, *OUTBOX, *DUAL_WRITE)
