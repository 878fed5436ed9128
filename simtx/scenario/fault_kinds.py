"""Every kind of fault, listed once: whom it can hit, which figure says how strong it is, and what it means for those who wait.

A new kind needs a name in `FaultKind` and a row in `FAULT_KINDS`. Each world then says what the kind does there: type checkers refuse
a simulator or a real execution that forgets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

FaultKind: TypeAlias = Literal[
    "crash",
    "pause",
    "slow",
    "partition",
    "loss",
    "duplication",
    "reorder",
    "store-outage",
    "broker-outage",
    "vote-store-outage",
    "provider-outage",
    "provider-degraded",
    "clock-drift",
]
Place: TypeAlias = Literal["node", "service", "links", "broker", "vote-store", "provider"]
Strength: TypeAlias = Literal["factor", "probability"]


@dataclass(frozen=True, slots=True)
class FaultTraits:
    """Traits of all faults of one kind.

    Attributes:
        place: What it hits: a ``node`` (a service or the hub), a ``service``, ``links``, the ``broker``, the ``vote-store``, or the ``provider`` of a service.
        strength: The figure that says how strong it is, or None if there is none.
        further: A second figure, which may be given.
        down: Whether its target does nothing at all while it lasts.
        delays: Whether messages wait for its end.
        triggered: Whether a trigger can aim it at a place in a protocol.
        noun: What a sentence calls it, before "of" and the target.
    """

    place: Place
    noun: str
    strength: Strength | None = None
    further: Strength | None = None
    down: bool = False
    delays: bool = False
    triggered: bool = False


FAULT_KINDS: Final[Mapping[FaultKind, FaultTraits]] = MappingProxyType(
    {
        "crash": FaultTraits("node", "crash", down=True, delays=True, triggered=True),
        "pause": FaultTraits("node", "pause", delays=True),
        "slow": FaultTraits("service", "slowness", "factor"),
        "partition": FaultTraits("links", "partition", down=True, delays=True),
        "loss": FaultTraits("links", "loss", "probability"),
        "duplication": FaultTraits("links", "duplication", "probability"),
        "reorder": FaultTraits("links", "reorder", "probability"),
        "store-outage": FaultTraits("service", "outage of the store", down=True, delays=True),
        "broker-outage": FaultTraits("broker", "outage", down=True, delays=True),
        "vote-store-outage": FaultTraits("vote-store", "outage", down=True, delays=True),
        "provider-outage": FaultTraits("provider", "outage of the provider", down=True, delays=True),
        "provider-degraded": FaultTraits("provider", "degradation of the provider", "factor", further="probability"),
        "clock-drift": FaultTraits("node", "clock-drift", "factor"),
    }
)
"""All kinds of faults."""

LINK_FAULTS: Final = frozenset(kind for kind, traits in FAULT_KINDS.items() if traits.place == "links")
"""Kinds that hit links."""
DOWN_FAULTS: Final = frozenset(kind for kind, traits in FAULT_KINDS.items() if traits.down)
"""Kinds whose target does nothing at all while they last."""
NOUNS: Final[Mapping[str, str]] = MappingProxyType({kind: traits.noun for kind, traits in FAULT_KINDS.items()})
"""Noun for each kind in sentences, before "of" and the target."""
