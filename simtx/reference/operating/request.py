"""Requests of an operator: whether and how one can be done, decided from the list of open transactions before anything happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from simtx.errors import ScenarioError
from simtx.protocols import Strategy
from simtx.reference.node.interventions import KINDS, OUTCOMES
from simtx.reference.operating.open_transactions import NOTED, OpenTransaction

Kind: TypeAlias = Literal["retry", "skip", "resolve"]


class OperateError(ScenarioError):
    """The operator's request makes no sense there; the text says why, and what would."""


@dataclass(frozen=True, slots=True)
class InterventionRequest:
    """Request of an operator.

    Attributes:
        target: Number of a transaction, or a database's name of a branch.
        kind: ``retry``, ``skip`` or ``resolve``.
        reason: Why.
        operator: Who.
        node: Where; None: wherever it fits.
        outcome: Of a heuristic decision, ``commit`` or ``abort``.
        heuristic: Whether a heuristic decision is meant.
    """

    target: int | str
    kind: Kind
    reason: str
    operator: str
    node: str | None
    outcome: str | None
    heuristic: bool

    @property
    def who(self) -> str:
        """Name of the operator in the audit log."""
        return f"operator:{self.operator}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Choice of the rows, and of one of three ways.

    Attributes:
        rows: One for each node.
        way: ``ask`` the machines; ``branch``: end it in the store; ``close``: note that it was dealt with.
    """

    rows: list[OpenTransaction]
    way: Literal["ask", "branch", "close"]

    @property
    def tx(self) -> int:
        """The transaction; -1 if it is not known."""
        return self.rows[0].transaction


def check(request: InterventionRequest, nodes: list[str]) -> None:
    """Refuse what can never be right.

    Raises:
        OperateError: It cannot be done; the text says why.
    """
    if request.kind not in KINDS:
        raise OperateError(f"an operator can retry, skip or resolve, not '{request.kind}'")
    if request.node is not None and request.node not in nodes:
        raise OperateError(f"there is no node '{request.node}'; the nodes are {', '.join(nodes)}")
    if request.outcome is not None and request.outcome not in OUTCOMES:
        raise OperateError(f"an outcome is 'commit' or 'abort', not '{request.outcome}'")
    if (request.outcome is not None or request.heuristic) and request.kind != "resolve":
        raise OperateError("an outcome goes with 'resolve' only")
    if request.heuristic and request.outcome is None:
        raise OperateError("a heuristic decision needs its outcome: commit or abort")


def choose(rows: list[OpenTransaction], request: InterventionRequest, strategy: Strategy) -> Choice:
    """Advice about what can be done.

    Raises:
        OperateError: Nothing like that; the text says what can.
    """
    named = isinstance(request.target, str)
    what = f"branch '{request.target}'" if named else f"transaction {request.target}"
    mine = [row for row in rows if (row.branch if named else row.transaction) == request.target]
    mine = [row for row in mine if request.node in (None, row.node) and (named or row.transaction >= 0)]
    if not mine:
        where = f" at '{request.node}'" if request.node else ""
        silent = ", ".join(f"'{row.node}'" for row in rows if row.problem == "unreachable")
        but = f" (but {silent} cannot be asked)" if silent else ""
        raise OperateError(f"{what} is not open{where}{but}; 'simtx transactions list' shows what is")
    if request.outcome is not None:
        return Choice([_decidable(mine, what, request, strategy)], "branch")
    orphan = next((row for row in mine if row.problem == "orphan" and row.transaction < 0), None) or next(
        (row for row in mine if row.reason.startswith("prepared by another")), None
    )
    if orphan is not None:
        raise OperateError(
            f"{what} was {orphan.reason}; if nobody will end it, 'resolve' with an outcome and --heuristic does"
        )
    if request.kind == "resolve" and (noted := [row for row in mine if row.problem in NOTED]):
        return Choice(noted, "close")
    if request.kind == "retry" or all(row.problem == "orphan" for row in mine):
        return Choice(_one_a_node(mine), "ask")
    able = _one_a_node([row for row in mine if _can_be_asked(row, strategy)])
    if not able:
        row = mine[0]
        does = (
            f"a {row.role} in state '{row.state}' does what is decided elsewhere" if row.role else "no machine is left"
        )
        decide = "; 'resolve' with an outcome and --heuristic decides without it" if row.branch else ""
        raise OperateError(
            f"{what} cannot be {_DONE[request.kind]} at '{row.node}': {does}; 'retry' asks again{decide}"
        )
    waiting_ = [row for row in able if row.problem in ("stuck", "parked")] or able
    if len(waiting_) > 1:
        nodes = ", ".join(row.node for row in waiting_)
        raise OperateError(f"{what} waits at several nodes: say which of {nodes} with --node")
    return Choice(waiting_, "ask")


_DONE: Final = {"retry": "retried", "skip": "skipped", "resolve": "resolved"}


def _decidable(
    mine: list[OpenTransaction], what: str, request: InterventionRequest, strategy: Strategy
) -> OpenTransaction:
    """The branch that a heuristic decision is about.

    Raises:
        OperateError: There is none, or several, or it is not really meant.
    """
    branches = [row for row in mine if row.branch]
    if not branches:
        raise OperateError(f"{what} has no prepared branch: under '{strategy.name}' it is resolved without an outcome")
    if len(branches) > 1:
        nodes = ", ".join(row.node for row in branches)
        raise OperateError(f"{what} is prepared at several nodes: say which of {nodes} with --node")
    row = branches[0]
    if not request.heuristic:
        raise OperateError(
            f"to {request.outcome} {what} at '{row.node}' without its coordinator ({row.reason}) is a heuristic decision, which may leave"
            " the data inconsistent for good; 'retry' asks the coordinator, --heuristic says that it is meant"
        )
    return row


def _can_be_asked(row: OpenTransaction, strategy: Strategy) -> bool:
    """Return whether the machine there has rows for an operator's requests."""
    if row.transaction < 0 or not row.role:
        return False
    machine = strategy.machine(row.node, row.transaction)
    return machine.role == row.role and any(one.event == "retry" for one in machine.transitions)


def _one_a_node(rows: list[OpenTransaction]) -> list[OpenTransaction]:
    return list({row.node: row for row in reversed(rows)}.values())[::-1]
