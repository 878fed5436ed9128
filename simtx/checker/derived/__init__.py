"""Followers of a service's data, as models for the explorer: every interleaving of a small scope.

A model here is made of the pure rules in `simtx.protocols.derived`, which the simulator plays, too. The explorer is the one that searches the protocols.
"""

from simtx.checker.derived.aggregate import AggregateScope
from simtx.checker.derived.copies import CopyScope
from simtx.checker.derived.group import GroupScope
from simtx.checker.derived.join import JoinScope
from simtx.checker.derived.projection import ProjectionScope
from simtx.checker.derived.verify import verify_derived

__all__ = ["AggregateScope", "CopyScope", "GroupScope", "JoinScope", "ProjectionScope", "verify_derived"]
