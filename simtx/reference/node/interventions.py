"""Acts of an operator at a node that is working, and the lines that are written down about them.

Every act has two lines in the node's audit log, both with the operator's name and reason: ``request`` when it is asked for, before anything
happens; and what was done, ``retry``, ``skip``, ``resolve`` or ``release``. An act without the second line did not happen.

A machine that has rows for an operator's requests in its table decides itself what it makes of them. The participants of two-phase
commit have none: there is nothing to decide for anybody but the coordinator, so that all a ``retry`` can do is to ask it again now. To end a
branch in doubt without it is a **heuristic decision**, as X/Open calls it: possible, wrong in the cases that matter, and therefore remembered. The
branch's record is kept in the log, so that the machine goes on asking; when the decision comes and differs, that is *heuristic damage*,
which is reported and stays listed until somebody has dealt with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import SimtxError
from simtx.protocols import Alert, Request
from simtx.protocols.event_schema import Partition, PartitionGate
from simtx.reference.node.inspection import inspect
from simtx.reference.node.local_work import CONFIRMED, DAMAGE
from simtx.reference.node.node import Node
from simtx.reference.node.running_machine import Intervention

if TYPE_CHECKING:
    from simtx.reference.stores.base import PreparedBranch, Store

KINDS: Final = ("retry", "skip", "resolve")
HEURISTIC: Final = "heuristic-"
MOST: Final = 1000
"""Holdings in one answer: a frame has a limit."""
OUTCOMES: Final = {"commit": "commit", "abort": "rollback"}
_LAST: Final = 2**53  # beyond any number of a transaction
_DECISION: Final = b'"name":"heuristic-'

Frame = dict[str, Any]


class Interventions:
    """Answers an operator's frames at one node.

    Args:
        node: The node.
        gate: Which partitions are stopped there.
    """

    def __init__(self, node: Node, gate: PartitionGate) -> None:
        self._node = node
        self._gate = gate
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, frame: Frame, reply: Callable[[Frame], object]) -> None:
        """Work on a frame, and reply to it some time."""

        async def work() -> None:
            try:
                answer = await self._answer(frame)
            except SimtxError as error:
                answer = _refused(str(error))
            except (TypeError, ValueError, KeyError, AttributeError) as error:  # a frame that no operator of ours sends
                answer = _refused(f"malformed frame: {type(error).__name__}: {error}"[:200])
            reply({"type": "operator", "id": frame.get("id"), **answer})

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, frame: Frame) -> Frame:
        what = frame.get("do")
        if what == "inspect":
            return await self._inspect()
        tx, reason = frame.get("tx"), str(frame.get("reason") or "").strip()
        who = f"operator:{frame.get('operator') or 'unknown'}"
        if what not in KINDS or type(tx) is not int or not -1 <= tx < _LAST or not reason:
            return _refused("an operator's request needs 'do', a number 'tx' and a 'reason'")
        if not frame.get("again"):
            self._node.tell("request", tx, who, name=what, reason=reason)
        branch = frame.get("branch")
        if branch is not None:
            return await self._branch(tx, str(branch), frame, who, reason)
        lane = Partition(self._node.name, tx)
        if what == "retry" and lane in self._gate.stopped:
            self._gate.release(lane)
            self._node.tell("release", tx, who, reason=reason)
            return _done("what was stopped is judged anew when it is delivered again", state="released")
        if tx not in self._node.actors:
            if frame.get("close"):
                self._node.tell(what, tx, who, name="closed", reason=reason)
                return _done("what was noted of it counts as dealt with", state="closed")
            return {"status": "unknown", "text": f"transaction {tx} is not known at '{self._node.name}'", "state": ""}
        machine = self._node.actors[tx].machine
        if any(row.event == "retry" for row in machine.transitions):
            return await self._request(Request(tx, None, what, reason), who)
        if what == "retry":
            self._node.tell(what, tx, who, reason=reason)
            rung = self._node.ring(tx)
            return _done(f"asked again now ({', '.join(rung)})" if rung else "it is at work", state=machine.state)
        return _refused(
            f"a {machine.role} in state '{machine.state}' does what its coordinator decides: 'retry' asks that one again"
            + (", 'resolve' with an outcome and --heuristic decides without it" if what == "resolve" else "")
        )

    async def _inspect(self) -> Frame:
        node = self._node
        working = {tx: (actor.machine.role, actor.machine.state) for tx, actor in node.actors.items()}
        stuck = dict(node.stuck)
        held = await asyncio.to_thread(inspect, node.name, node.strategy, node.store, working, stuck)
        held.sort(key=lambda one: not (one.stuck or one.branch))  # those first that nobody else may care for
        stopped = [[lane.tx, stop.reason] for lane, stop in self._gate.stopped.items()]
        shown = [one.to_json() for one in held[:MOST]]
        return {"status": "done", "held": shown, "left_out": len(held) - len(shown), "stopped": stopped[:MOST]}

    async def _request(self, request: Request, who: str) -> Frame:
        """Ask a machine that has rows for it."""
        heard: asyncio.Future[Intervention] = asyncio.get_running_loop().create_future()

        def then(outcome: Intervention) -> None:
            if any(not isinstance(effect, Alert) for effect in outcome.effects):
                name = f"{outcome.before} -> {outcome.after}"
                self._node.tell(request.kind, request.tx, who, name=name, reason=str(request.body))
            if not heard.done():
                heard.set_result(outcome)

        self._node.intervene(request, then)
        outcome = await heard
        if outcome.problem:
            return _refused(outcome.problem)
        if all(isinstance(effect, Alert) for effect in outcome.effects):
            said = [effect.reason for effect in outcome.effects if isinstance(effect, Alert)]
            text = said[0] if said else f"in state '{outcome.before}' it goes on by itself"
            return {"status": "ignored", "text": text, "state": outcome.after}
        return _done(f"{outcome.before} -> {outcome.after}", state=outcome.after)

    async def _branch(self, tx: int, name: str, frame: Frame, who: str, reason: str) -> Frame:
        """End a branch without its coordinator, or let a machine ask that one about a branch that nobody here knows."""
        node, outcome = self._node, frame.get("outcome")
        if outcome is not None:
            if outcome not in OUTCOMES:
                return _refused(f"an outcome is 'commit' or 'abort', not {outcome!r}")
            decision = OUTCOMES[str(outcome)]
            known = tx in node.actors
            if known and not node.hold(tx):
                return _refused(f"transaction {tx} is being worked on at '{node.name}' at this moment; try again")
            try:
                ended = await asyncio.to_thread(end_branch, node.store, name, decision, self._write, who, reason)
                if ended is not None and known:
                    node.heuristics[tx] = decision
            finally:
                if known:
                    node.let_go(tx)
            if ended is None:
                return _refused(f"there is no prepared branch '{name}' at '{node.name}'")
            if ended.record is not None and not known:
                node.heuristics[tx] = decision
                if tx not in node.actors:  # nobody has asked for it meanwhile
                    node.revive(tx, [ended.record])
            return _done(f"the branch was ended by a heuristic decision: {decision}", state="heuristic")
        if tx in node.actors:
            return _refused(f"transaction {tx} is being worked on at '{node.name}'")
        found = await asyncio.to_thread(node.store.branches)
        record = next((one.record for one in found if one.name == name), None)
        if record is None:
            return _refused(f"'{name}' is no branch of this run, so no coordinator of it can be asked; see --heuristic")
        await asyncio.to_thread(node.store.adopt, name)
        node.tell(str(frame["do"]), tx, who, name="adopted", reason=reason)
        if tx not in node.actors:
            node.revive(tx, [record])
        return _done("its coordinator is asked", state=node.actors[tx].machine.state)

    def _write(self, act: str, tx: int, who: str, **details: Any) -> None:
        """Write a line of the audit log, from any thread.

        Raises:
            AuditError: It cannot be written; then nothing must happen.
        """
        if self._node.audit is not None:
            self._node.audit.append(act, tx=tx, actor=who, **details)


def end_branch(
    store: Store, name: str, decision: str, tell: Callable[..., object], who: str, reason: str
) -> PreparedBranch | None:
    """End a prepared branch by an operator's decision; it blocks.

    The record of a branch of this run lives as long as the branch. It is appended to the log, where it lives until the machine forgets, so
    that the machine asks on, also after a restart. The decision is written down before it is carried out, so that it is known whatever
    happens in between.

    Args:
        store: Where it is.
        name: The database's name of it.
        decision: ``commit`` or ``rollback``.
        tell: Writes a line of the audit log: act, transaction, who, and more by name.
        who: The operator.
        reason: Why.

    Returns:
        The branch; None if there is none of this name.

    Raises:
        StoreFailed: The database refuses.
        AuditError: What `tell` raises.
    """
    branch = next((one for one in store.branches() if one.name == name), None)
    if branch is None:
        return None
    tell("resolve", branch.tx, who, name=f"{HEURISTIC}{decision}", reason=f"{reason} ({name})")
    if branch.record is None:
        store.resolve(name, commit=decision == "commit")
        return branch
    store.append(branch.tx, branch.record, forced=True)
    store.adopt(name)
    result = store.commit(branch.tx) if decision == "commit" else store.rollback(branch.tx, forced=True)
    if result.changes:
        tell(
            "apply",
            branch.tx,
            who,
            steps=result.steps,
            changes=result.changes,
            history=result.history,
            reason="a heuristic decision",
        )
    return branch


def decided(audit: Path) -> dict[int, str]:
    """Heuristic decisions that no coordinator's decision has followed yet, by transaction, from a node's audit log."""
    found: dict[int, str] = {}
    if not audit.exists():
        return found
    with audit.open("rb") as file:
        for line in file:
            if _DECISION not in line:
                continue
            try:
                entry = json.loads(line)
                tx, name = entry["tx"], entry["name"]
            except (ValueError, KeyError):  # a line that was never finished, or one that `verify` complains about
                continue
            if name in (DAMAGE, CONFIRMED):
                found.pop(tx, None)
            elif entry["act"] == "resolve":
                found[tx] = name.removeprefix(HEURISTIC)
    return found


def _refused(text: str) -> Frame:
    return {"status": "refused", "text": text, "state": ""}


def _done(text: str, *, state: str) -> Frame:
    return {"status": "done", "text": text, "state": state}
