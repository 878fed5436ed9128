"""Defects of log-once votes: a vote that changes, decisions from memory or from too little, a client that is not told, a vote that is said before it is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Append, Message
from simtx.protocols.commit_machine import FORGET
from simtx.protocols.cornus_coordinator import CornusCoordinator
from simtx.protocols.cornus_member import ABORTED, COMMITTED, NO, YES
from simtx.protocols.cornus_participant import CornusParticipant

from .catalogue import Cornus2, Mutant


class AbortsAlone(CornusCoordinator):
    __slots__ = ()

    def ask_store(self, event: Any) -> Any:
        return self.conclude(ABORTED, "too late")


class AnswersTooEarly(CornusCoordinator):
    __slots__ = ()

    def complete(self) -> bool:
        return bool(self.agreed)


class HeardBeforeTheAnswer(CornusCoordinator):
    __slots__ = ()

    def adopt(self, event: Any) -> Any:
        effects = super().adopt(event)
        return [effects[2], *effects[:2], *effects[3:]]


class PresumesAbort(CornusCoordinator):
    __slots__ = ()

    def nudge(self, event: Any) -> Any:
        self.state = "finished"
        return [self.send(event.sender, "abort"), FORGET]


class DecidesFromMemory(CornusParticipant):
    __slots__ = ()

    def look(self, event: Any) -> Any:
        self.state = "asking"
        return self.conclude(ABORTED)


class ReadsOnly(CornusParticipant):
    __slots__ = ()

    def take_stored(self, event: Any) -> Any:
        if event.status == "done" and event.value[1] == NO and self.attempt == 0:
            return []  # as if it had only looked, and had found nothing: it waits for a vote that may never come
        return super().take_stored(event)

    def ask_again(self, event: Any) -> Any:
        effects = super().ask_again(event)
        self.attempt = 0
        return effects


class TrustsItsOwnYes(CornusParticipant):
    __slots__ = ()

    def take_own(self, event: Any) -> Any:
        return super().take_own(replace(event, value=(event.value[0], YES)) if event.status == "done" else event)


class SaysYesBeforeItIsWritten(CornusParticipant):
    __slots__ = ()

    def vote(self, event: Any) -> Any:
        effects = super().vote(event)
        return [self.send(self.coordinator, "yes"), *effects] if self.state == "voting" else effects


class SaysNoWithoutWritingIt(CornusParticipant):
    __slots__ = ()

    def vote(self, event: Any) -> Any:
        if event.status in ("refused", "failed"):
            self.state = "finished"
            return [self.send(self.coordinator, "no", event.status), FORGET]
        return super().vote(event)


class TellsNobody(CornusParticipant):
    __slots__ = ()

    def conclude(self, result: Any, reason: str = "") -> Any:
        effects = super().conclude(result, reason)
        self.state = "finished"
        return [*(one for one in effects if not isinstance(one, Append | Message)), FORGET]


class ForgetsThatItOwesAnAnswer(CornusParticipant):
    __slots__ = ()

    def conclude(self, result: Any, reason: str = "") -> Any:
        return [one for one in super().conclude(result, reason) if not isinstance(one, Append)]


class CommitsOnItsOwnYes(CornusParticipant):
    __slots__ = ()

    def look(self, event: Any) -> Any:
        self.state = "asking"
        return self.conclude(COMMITTED)


MUTANTS = (
    Mutant(
        "cornus-aborts-alone",
        "A coordinator whose time is over aborts as under two-phase commit, though all votes in the store may be yes.",
        Cornus2(first=AbortsAlone),
        "agreement",
        {"participants": 1, "losses": 2},
    ),
    Mutant(
        "cornus-answers-too-early",
        "The coordinator commits before every vote is in the store.",
        Cornus2(first=AnswersTooEarly),
        "durable-votes",
        {},
    ),
    Mutant(
        "cornus-heard-first",
        "The coordinator lets the participant forget, and answers the client afterwards.",
        Cornus2(first=HeardBeforeTheAnswer),
        "non-blocking",
        {"participants": 1, "crashes": 1, "timeouts": 1},
    ),
    Mutant(
        "cornus-presumes-abort",
        "A coordinator that knows nothing of a transaction says ABORT, as under two-phase commit with presumed abort.",
        Cornus2(first=PresumesAbort),
        "agreement",
        {"participants": 1, "duplicates": 1},
    ),
    Mutant(
        "cornus-decides-from-memory",
        "A participant in doubt aborts when its time is over, and does not look into the store.",
        Cornus2(participant=DecidesFromMemory),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "cornus-waits-for-a-vote",
        "A participant in doubt takes a no that was written for somebody silent for a vote that may still come.",
        Cornus2(participant=ReadsOnly),
        "non-blocking",
        {"crashes": 1},
    ),
    Mutant(
        "cornus-trusts-its-own-yes",
        "A participant takes its yes for written, whatever the store says is there.",
        Cornus2(participant=TrustsItsOwnYes),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "cornus-yes-before-it-is-written",
        "A participant says YES when its branch is prepared, and writes its vote afterwards.",
        Cornus2(participant=SaysYesBeforeItIsWritten),
        "agreement",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "cornus-no-is-not-written",
        "A participant that refuses says NO and leaves no vote: a late copy of PREPARE may turn it into a yes.",
        Cornus2(participant=SaysNoWithoutWritingIt),
        "agreement",
        {"participants": 1, "duplicates": 1, "failures": 1},
    ),
    Mutant(
        "cornus-tells-nobody",
        "A participant that has found the outcome in the store tells nobody, though the client may still wait.",
        Cornus2(participant=TellsNobody),
        "non-blocking",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "cornus-owes-no-record",
        "A participant ends its branch before it has recorded that the client may still wait.",
        Cornus2(participant=ForgetsThatItOwesAnAnswer),
        "non-blocking",
        {"participants": 1, "crashes": 2},
    ),
    Mutant(
        "cornus-one-yes-is-enough",
        "A participant in doubt commits on its own yes, whatever the others have in the store.",
        Cornus2(participant=CommitsOnItsOwnYes),
        "durable-votes",
        {"timeouts": 1},
    ),
)
