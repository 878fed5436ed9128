"""Followers of a service's data: copies (a cache, a search index), projections, consumer groups, event-sourced aggregates, joins.

Each module holds one set of rules as pure code, with its theory: `copies`, `projection`, `group`, `aggregate`, `join`. The simulator plays them beside the
transactions (`simtx.simulator.derived`), and `simtx.verify_derived` explores every interleaving of them in a small scope.
They are no strategies: they do not decide about a transaction, they see its commits.
"""

from simtx.protocols.derived.aggregate import AggregateRule
from simtx.protocols.derived.copies import Check, Copy, CopyRule, Update, Updater
from simtx.protocols.derived.group import GroupRule, assigned
from simtx.protocols.derived.join import JoinRule
from simtx.protocols.derived.projection import ProjectionRule

__all__ = [
    "AggregateRule",
    "Check",
    "Copy",
    "CopyRule",
    "GroupRule",
    "JoinRule",
    "ProjectionRule",
    "Update",
    "Updater",
    "assigned",
]
