"""Copies of the values of a store: a cache, a search index. Rules of one key.

Theory of operation. The store is the **source**: each commit gives a key its next **version**. A derived store holds a **copy**, and learns of a
commit later. Four questions make a rule:

- what an **update** does: it removes the copy (``invalidate``), or puts the new value (``copy``), or there is none (``none``);
- **who** brings it: an ``event`` that follows the commit and comes at least once; the ``writer``, a process that may crash between its commit and
  the update; or ``writer-before``, which invalidates before it commits;
- whether a reader that finds no copy reads the source and **fills** it in;
- what is **checked** before a copy is taken: nothing, the ``version``, or a ``lease``.

The patterns of the literature are combinations of them. Cache-aside is ``invalidate`` with filling; write-through is ``copy`` by the writer with filling;
a cache that only forgets is ``none`` with a time to live; a search index is ``copy`` by event without filling.

**The races.** A reader misses, reads version 1 and is slow. Version 2 is committed, and its invalidation finds nothing to remove. Then the reader fills
version 1 in. Nobody comes again: the copy is wrong until the next commit of this key, or for ever. Two writers put versions 1 and 2 and arrive
in the other order; two events overtake each other: the same end. To invalidate before the commit is worse: every reader in between fills the old value.

**What holds.** ``version``: a derived store remembers for each key the highest version that an update has named to it (the *floor*) and takes nothing
below. The floor has to outlive the copy: an invalidation, or a deletion, leaves it behind (a *tombstone*). A store that forgets tombstones after a while
(Elasticsearch: `index.gc_deletes`, 60 s by default) is safe as long as nothing comes later than that. ``lease``: who
misses gets a token, an invalidation and a filling void all tokens of their key, and a filling with a void token is dropped. A lease needs no
versions. It does not help if the filling was read from a replica that lags: the token is valid, and the value is old. A **time to live** bounds
the damage of every race and prevents none.

No rule makes a copy fresh: between a commit and its update, readers see the old value. The rules decide whether they ever see the new one.

Sources: Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013 (leases, stale sets, remote markers); Elasticsearch reference, "index API:
external versioning" and "index modules: gc_deletes"; Kleppmann, "Designing Data-Intensive Applications", 2017, chapters 3 and 11 (derived data).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from simtx.errors import ScenarioError
from simtx.protocols.derived.choices import refuse_unknown

Update: TypeAlias = Literal["invalidate", "copy", "none"]
Updater: TypeAlias = Literal["event", "writer", "writer-before"]
Check: TypeAlias = Literal["none", "version", "lease"]


class Copy(NamedTuple):
    """All that a derived store keeps about one key.

    Attributes:
        version: Version of the value that readers see; None: there is no copy.
        floor: The highest version that an update has named to it, where versions are checked.
        voided: How often an update has voided the leases of this key.
    """

    version: int | None = None
    floor: int = 0
    voided: int = 0


@dataclass(frozen=True)
class CopyRule:
    """Rule by which a derived store keeps up with its source.

    Attributes:
        update: What a commit does to the copy.
        by: Who brings the update.
        fill: Whether a reader that finds no copy fills in what it reads from the source.
        check: What is looked at before something is taken.
        expires: Whether a copy has a time to live.
        tombstones: Whether the floor outlives the copy.

    Raises:
        ScenarioError: A value is none of those, or they contradict each other.
    """

    update: Update = "invalidate"
    by: Updater = "event"
    fill: bool = True
    check: Check = "none"
    expires: bool = False
    tombstones: bool = True

    def __post_init__(self) -> None:
        """Refuse what makes no sense together."""
        refuse_unknown(self, "copy")
        found = problem(self.update, self.by, self.check, fill=self.fill, expires=self.expires)
        if found is not None:
            raise ScenarioError(found[1], f"copy: {found[0]}")

    def updated(self, copy: Copy, version: int, *, deleted: bool = False) -> Copy | None:
        """Copy that an update about this version leaves; None if the check refuses it.

        Args:
            copy: The copy now.
            version: Version of the source that the update is about.
            deleted: Whether that version is a deletion.
        """
        voided = copy.voided + 1 if self.check == "lease" else copy.voided
        if self.check == "version" and version <= max(copy.floor, copy.version or 0):
            return None
        floor = version if self.check == "version" else 0
        if deleted or self.update == "invalidate":
            return Copy(None, floor if self.tombstones else 0, voided)
        return Copy(version, floor, voided)

    def lease(self, copy: Copy) -> int:
        """The token of a reader that has found no copy."""
        return copy.voided

    def filled(self, copy: Copy, version: int, lease: int) -> Copy | None:
        """The copy after a reader has filled in what it read from the source; None if the check refuses it.

        Args:
            copy: The copy now, which may have changed since the reader has missed it.
            version: Version that the reader has read.
            lease: The reader's token.
        """
        if self.check == "version" and version < max(copy.floor, copy.version or 0):
            return None
        if self.check == "lease" and lease != copy.voided:
            return None
        # A filling uses the tokens of its key up: of two readers that have missed, the second may have read less.
        return Copy(version, version if self.check == "version" else 0, copy.voided + (self.check == "lease"))

    def gone(self, copy: Copy) -> Copy:
        """The copy when its time to live is over."""
        return copy._replace(version=None) if self.tombstones else Copy(None, 0, copy.voided)


def problem(update: Update, by: Updater, check: Check, *, fill: bool, expires: bool) -> tuple[str, str] | None:
    """Contradiction within a rule: the name of the member, and one line that says what would be right."""
    if update != "copy" and not fill:
        return "fill", "nobody would ever put a copy; let readers fill it, or let the update copy the value"
    if update == "none" and not expires:
        return "update", "nothing would ever remove an old copy; give a time to live, or updates"
    if update == "copy" and by == "writer-before":
        return "by", "a copy put before the commit shows what may never be committed; use 'writer' or 'event'"
    if check == "version" and by == "writer-before" and update != "none":
        return "check", "before the commit nobody knows its version; invalidate by 'writer' or 'event'"
    if check == "lease" and update != "invalidate":
        return "check", "a lease is voided by invalidations, and there are none; use 'version'"
    return None
