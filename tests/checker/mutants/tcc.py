"""Defects of Try-Confirm-Cancel: its fence, its records, its two decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Append, Message, Transact
from simtx.protocols.contract import Branch
from simtx.protocols.tcc import TccCoordinator
from simtx.protocols.tcc_participant import TccParticipant

from .catalogue import Mutant, Tcc2


class NoFenceForCancel(TccParticipant):
    """Cancels what Try has done, and forgets a Cancel that finds nothing."""

    __slots__ = ()

    def transaction(self, command: Message) -> Transact:
        effect = super().transaction(command)
        return replace(effect, undoes=None) if command.kind == "cancel" else effect


class TriesTwice(TccParticipant):
    __slots__ = ()

    def transaction(self, command: Message) -> Transact:
        effect = super().transaction(command)
        return replace(effect, key=None) if command.kind == "try" else effect


class ConfirmsTwice(TccParticipant):
    __slots__ = ()

    def transaction(self, command: Message) -> Transact:
        effect = super().transaction(command)
        return replace(effect, key=None) if command.kind == "confirm" else effect


class TakesTombstoneForTried(TccParticipant):
    __slots__ = ()

    def transaction(self, command: Message) -> Transact:
        effect = super().transaction(command)
        if command.kind == "try":
            return replace(effect, key=(self.tx, "another"), accepted=Branch("tried"))
        return effect


class KeepsHeld(TccParticipant):
    """Gives back what was taken, and leaves it among what is held."""

    __slots__ = ()

    def transaction(self, command: Message) -> Transact:
        effect = super().transaction(command)
        if command.kind != "cancel":
            return effect
        return replace(effect, operations=tuple(one for one in effect.operations if not one.key.endswith("~held")))


class LazyBegin(TccCoordinator):
    __slots__ = ()

    def begin(self, event: Any) -> Any:
        return [replace(one, forced=False) if isinstance(one, Append) else one for one in super().begin(event)]


class LazyConfirm(TccCoordinator):
    __slots__ = ()

    def take_tried(self, event: Any) -> Any:
        return [replace(one, forced=False) if isinstance(one, Append) else one for one in super().take_tried(event)]


class ConfirmsEarly(TccCoordinator):
    """Takes the first reservation for all of them."""

    __slots__ = ()

    def take_tried(self, event: Any) -> Any:
        self.pending = [event.sender]
        return super().take_tried(event)


class LeavesTheUnheard(TccCoordinator):
    """Cancels where somebody has answered, and takes silence for nothing reserved."""

    __slots__ = ()

    def miss_tries(self, event: Any) -> Any:
        self.held = self.answered()
        return super().miss_tries(event)


class GivesUpCancel(TccCoordinator):
    __slots__ = ()

    def repeat(self, event: Any) -> Any:
        if self.state != "cancelling":
            return super().repeat(event)
        self.held = []
        return self.close()


class CancelsOnRecovery(TccCoordinator):
    """A restart cancels whatever was not ended, the confirm record notwithstanding."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        return super().recover([one for one in records if one[0] != "confirm"])


class TakesFailureForNothing(TccCoordinator):
    """A Try that has failed for a passing reason is not cancelled, though a copy of it may still reserve."""

    __slots__ = ()

    def take_failed(self, event: Any) -> Any:
        return self.take_refused(event)


MUTANTS = (
    Mutant(
        "cancel-without-fence",
        "Cancel gives back without looking whether anything was reserved.",
        Tcc2(participant=NoFenceForCancel),
        "effect-once",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "cancel-keeps-held",
        "Cancel gives back what Try has taken, and leaves it among the amounts that are held.",
        Tcc2(participant=KeepsHeld),
        "values",
        {"participants": 2},
    ),
    Mutant(
        "late-try-reserves",
        "A Try that comes after its Cancel does not look at the tombstone, and reserves.",
        Tcc2(participant=TakesTombstoneForTried),
        "values",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "try-without-row",
        "A copy of Try reserves once more.",
        Tcc2(participant=TriesTwice),
        "effect-once",
        {"participants": 1, "duplicates": 1},
    ),
    Mutant(
        "confirm-without-row",
        "A copy of Confirm gives once more.",
        Tcc2(participant=ConfirmsTwice),
        "values",
        {"participants": 1, "duplicates": 1},
    ),
    Mutant(
        "begin-lazy",
        "TRY is sent before the record of whom to cancel is durable.",
        Tcc2(coordinator=LazyBegin),
        "atomicity",
        {"crashes": 1},
    ),
    Mutant(
        "confirm-lazy",
        "The client is told, and CONFIRM sent, before the decision is durable.",
        Tcc2(coordinator=LazyConfirm),
        "agreement",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "confirms-early",
        "The coordinator confirms when the first service has reserved.",
        Tcc2(coordinator=ConfirmsEarly),
        "durable-votes",
        {},
    ),
    Mutant(
        "unheard-not-cancelled",
        "Who has not answered TRY in time is not cancelled.",
        Tcc2(coordinator=LeavesTheUnheard),
        "truth",
        {"participants": 1, "timeouts": 1},
    ),
    Mutant(
        "cancel-given-up",
        "CANCEL is sent once.",
        Tcc2(coordinator=GivesUpCancel),
        "truth",
        {"losses": 1},
    ),
    Mutant(
        "confirm-forgotten",
        "A restarted coordinator cancels what it had decided to confirm.",
        Tcc2(coordinator=CancelsOnRecovery),
        "agreement",
        {"participants": 1, "crashes": 1},
    ),
    Mutant(
        "failed-try-not-cancelled",
        "A Try that has failed is taken for a refusal that is stored.",
        Tcc2(coordinator=TakesFailureForNothing),
        "truth",
        {"participants": 1, "failures": 1, "duplicates": 1},
    ),
    Mutant(
        "fence-rows-pruned",
        "The rows of the fence are pruned while copies may still arrive.",
        Tcc2(),
        "effect-once",
        {"participants": 1, "duplicates": 1, "retained": 0},
    ),
)
