"""Defects of mixed versions in a rolling upgrade: of upcasters, of how versions are compared, of who goes on without what he cannot read, and of the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from simtx.checker.protocols.rollout import Rollout
from simtx.protocols import Message, Outbox
from simtx.protocols.codec import TAG, encode
from simtx.protocols.event_schema import REVISIONS, Raw, Revision, Schema, SchemaTooNew

from .catalogue import Mutant


def same(raw: Raw) -> Raw:
    return raw


def amounts(raw: Any, change: Callable[[float], float]) -> Any:
    """Something encoded, with all of its amounts changed."""
    if isinstance(raw, dict):
        return {name: change(one) if name == "amount" else amounts(one, change) for name, one in raw.items()}
    return [amounts(one, change) for one in raw] if isinstance(raw, list) else raw


PRICES: Final = (
    Revision("8.0", same, same),
    Revision("9.0", lambda raw: amounts(raw, lambda one: one * 2), lambda raw: amounts(raw, lambda one: one / 2)),
    Revision("10.0", lambda raw: amounts(raw, lambda one: one + 1), lambda raw: amounts(raw, lambda one: one - 1)),
)
"""An amount is counted in halves from 9.0 on, and has a fee of one in it from 10.0 on; the machines have the form of 10.0."""


def prices(old: str, kind: type[Schema] = Schema) -> tuple[Schema, Schema, Schema]:
    """Schemas of an upgrade from an old version to 10.0, where all processes have this kind of schema."""
    return (
        kind(old, revisions=PRICES, current="10.0"),
        kind("10.0", writes=old, revisions=PRICES, current="10.0"),
        kind("10.0", revisions=PRICES, current="10.0"),
    )


def kinds(between: tuple[Revision, ...]) -> tuple[Schema, Schema, Schema]:
    """Schemas of an upgrade from 2.0 to 3.0, with these revisions in a process that reads both."""
    return (
        Schema("2.0", revisions=KINDS, current="3.0"),
        Schema("3.0", writes="2.0", revisions=between, current="3.0"),
        Schema("3.0", revisions=KINDS, current="3.0"),
    )


class ComparesText(Schema):
    """Compares versions as texts, so that 10.0 is older than 9.0, and reads what it takes for old in its own form."""

    def unpack(self, envelope: object) -> Message:
        if isinstance(envelope, dict) and str(envelope["version"]) > self.version:
            raise SchemaTooNew(str(envelope["version"]), self.version)
        if isinstance(envelope, dict) and envelope["version"] == "10.0" and self.version == "9.0":
            envelope = {**envelope, "version": "9.0"}
        return super().unpack(envelope)


class NewestFirst(Schema):
    """Brings an old event up to date with the newest upcaster first."""

    def _convert(self, raw: Raw, start: int, end: int) -> Raw:
        for position in range(end, start, -1):
            raw = self._revisions[position].upcast(raw)
        return super()._convert(raw, start, end) if end < start else raw


class Mislabels(Schema):
    """Writes the new form under the old version, where it should write the old one."""

    def pack(self, message: Message) -> Raw:
        return {"version": self.writes, "to": message.to, "tx": message.tx, "message": encode(message)}


def without_compensation(raw: Raw) -> Raw:
    """From 1.0 to 2.0, with a field of the steps left out that has a default."""
    new = REVISIONS[1].upcast(raw)
    body = new.get("body")
    if not isinstance(body, dict) or body.get(TAG) != "StepEvent":
        return new
    steps = [{**step, "compensation": []} for step in body["plan"]["steps"]]
    return {**new, "body": {**body, "plan": {**body["plan"], "steps": steps}}}


def renamed(raw: Raw, old: str, new: str) -> Raw:
    return {new if name == old else name: one for name, one in raw.items()}


def always_done(raw: Raw) -> Raw:
    """From 3.0 back to 2.0, with a default for the kind, whose field had another name."""
    return {**renamed(raw, "kind", "type"), "type": "step-done"}


DROPPING: Final = (REVISIONS[0], replace(REVISIONS[1], upcast=without_compensation), *REVISIONS[2:])
KINDS: Final = (
    Revision("2.0", same, same),
    Revision("3.0", lambda raw: renamed(raw, "type", "kind"), lambda raw: renamed(raw, "kind", "type")),
)
"""The field of the kind has its name from 3.0 on; the machines have that form."""
DEFAULTING: Final = (KINDS[0], replace(KINDS[1], downcast=always_done))
FROM_1_0: Final = (Schema("1.0"), Schema("2.0", writes="1.0"), Schema("2.0"))

MUTANTS = (
    Mutant(
        "old-consumer-skips",
        "A process that cannot read an event acknowledges it and goes on, in place of stopping that lane until it is upgraded.",
        Outbox(),
        "atomicity",
        {"upgrade": "skip"},
        instead={"upgrade": "stop"},
    ),
    Mutant(
        "no-gate-between-the-rounds",
        "Producers write the new version before all consumers read it, and consumers set aside what they cannot read.",
        Outbox(),
        "atomicity",
        {"upgrade": Rollout(name="ungated", unread="skip", rounds=2, gated=False)},
        instead={"upgrade": "gated"},
    ),
    Mutant(
        "downgrade-begins-with-the-newest",
        "A process that goes back to the old version begins behind what waits for it and what it cannot read any more.",
        Outbox(),
        "atomicity",
        {"upgrade": Rollout(name="back, discarding", backs=1, discards=True)},
        instead={"upgrade": Rollout(name="back", backs=1)},
    ),
    Mutant(
        "upcaster-drops-a-field",
        "An upcaster leaves out the compensations, which have a default: what is undone then does nothing.",
        Outbox(),
        "atomicity",
        {
            "upgrade": Rollout(
                name="dropping",
                schemas=(FROM_1_0[0], *(Schema("2.0", writes=writes, revisions=DROPPING) for writes in ("1.0", "2.0"))),
            )
        },
        instead={"upgrade": Rollout(name="from 1.0", schemas=FROM_1_0)},
    ),
    Mutant(
        "versions-compared-as-texts",
        "A process at 9.0 compares versions as texts, takes 10.0 for older than its own, and reads the new amounts as old ones.",
        Outbox(),
        "values",
        {"upgrade": Rollout(name="as texts", schemas=(prices("9.0", ComparesText)[0], *prices("9.0")[1:]))},
        instead={"upgrade": Rollout(name="from 9.0", schemas=prices("9.0"))},
    ),
    Mutant(
        "upcasters-in-the-wrong-order",
        "What was written two versions ago is brought up to date by the newest upcaster first.",
        Outbox(),
        "values",
        {"upgrade": Rollout(name="newest first", schemas=(prices("8.0")[0], *prices("8.0", NewestFirst)[1:]))},
        instead={"upgrade": Rollout(name="from 8.0", schemas=prices("8.0"))},
    ),
    Mutant(
        "new-form-under-the-old-version",
        "In the first round a process labels its events with the old version and writes them in the new form, which readers bring up to date once more.",
        Outbox(),
        "values",
        {
            "upgrade": Rollout(
                name="mislabeled",
                unread="skip",
                rounds=2,
                schemas=(prices("9.0")[0], prices("9.0", Mislabels)[1], prices("9.0")[2]),
            )
        },
        instead={"upgrade": Rollout(name="gated from 9.0", unread="skip", rounds=2, schemas=prices("9.0"))},
    ),
    Mutant(
        "downcaster-has-a-default",
        "In the first round a process writes the old version of a refusal with the default for its kind, and it reads as done.",
        Outbox(),
        "atomicity",
        {
            "upgrade": Rollout(
                name="defaulting",
                unread="skip",
                rounds=2,
                schemas=kinds(DEFAULTING),
            )
        },
        instead={"upgrade": Rollout(name="gated from 2.0", unread="skip", rounds=2, schemas=kinds(KINDS))},
    ),
)
