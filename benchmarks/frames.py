"""Frames that are well-formed and that no correct peer sends, from a process that has the run's secret: none may end a run or harm its data.

    python benchmarks/frames.py [--frames 2000] [--seed 1] [2pc 2pc:work=before saga outbox dual-write]

A run is executed for real. Meanwhile an intruder, who knows the secret and calls itself like the nodes, sends each process frames of every type that it knows, with fields
left out, of other types, or out of all bounds. In the end every transaction must have the outcome that it has without an intruder, and nothing of `simtx.validation.violations` may be found;
no process may have been started again, and each must have refused something. What a correct peer may send is not tried: who has the secret is trusted with that.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import simtx
from simtx.protocols import strategy as resolve
from simtx.protocols.codec import encode
from simtx.reference.execute import played
from simtx.reference.processes.launcher import Launcher, Options
from simtx.reference.processes.schedule import Schedule
from simtx.reference.wire.connection import Connection, WireError
from simtx.validation.violations import findings

STRATEGIES = ["2pc", "2pc:work=before", "saga", "outbox", "dual-write"]
KINDS = [
    "prepare",
    "execute",
    "commit",
    "abort",
    "yes",
    "no",
    "read",
    "ack",
    "inquiry",
    "executed",
    "refused",
    "do",
    "undo",
    "resolve",
    "done",
    "undone",
    "error",
    "step-done",
    "step-refused",
    "completed",
]
ODD: list[Any] = [
    None,
    True,
    -1,
    0.5,
    10**30,
    10**400,
    "",
    "x",
    "\ud800",
    [],
    [[]],
    [1, 2, 3],
    {},
    {"$": "Step"},
    {"$": "tuple"},
]
ODD += [
    {"$": "Plan", "tx": 0, "steps": []},
    {"$": "list", "items": [None]},
    ["a", ["b"]],
    [0, [{"$": "Operation", "key": 1}]],
]
ODD += [
    [0, [{"$": "Operation", "key": "k", "amount": 1e999}]],
    [[{"$": "Operation", "key": "k", "kind": "explode"}], [0]],
]


def _ignore(*_: object) -> None:
    """Nobody listens."""


def frames(draw: random.Random, node: str, nodes: list[str], count: int, plan: Any) -> Any:
    """Frames for one process, for ever; none is one that a correct peer sends."""
    while True:
        beyond = draw.choice([count, count + 7, -1, 2**60, 10**30, "0", None, 0.5, True])
        message = {
            "$": "Message",
            "kind": draw.choice(KINDS),
            "tx": beyond,
            "sender": draw.choice(nodes),
            "to": node,
            "body": None,
        }
        how = draw.randrange(8)
        if how == 0:  # a transaction that the run does not have
            message["body"] = draw.choice([None, *ODD])
        elif how == 1:  # a body that this kind of message does not have
            message |= {
                "tx": draw.randrange(count),
                "body": draw.choice(
                    [-1, 0.5, 10**30, True, [], {"$": "Plan", "tx": 0, "steps": []}, {"$": "list", "items": [None]}]
                ),
            }
            message["body"] = [[message["body"]], [-1]] if draw.random() < 0.3 else message["body"]
            message["sender"] = draw.choice(["nobody", "client", *nodes])
        elif how == 2:  # from nobody, or to nobody
            message |= {"tx": draw.randrange(count), "sender": draw.choice(["nobody", "", 7, None, "client"])}
        elif how == 3:  # fields left out or of another type
            message.pop(draw.choice(list(message)))
            message[draw.choice(["kind", "to", "sender"])] = draw.choice(ODD)
        frame: dict[str, Any] = {
            "type": "message",
            "event": {"version": "2.0", "to": node, "tx": message.get("tx"), "message": message},
            "origin": draw.choice(ODD),
        }
        if how == 4:
            broken = copy.deepcopy(plan)
            broken[draw.choice(["tx", "steps"])] = draw.choice(ODD)
            frame = {
                "type": "request",
                "tx": draw.choice([0, beyond]),
                "plan": draw.choice([broken, *ODD]),
                "origin": draw.choice(ODD),
            }
        elif how == 5:
            odd = draw.choice(ODD)
            frame = {
                "type": "control",
                "do": draw.choice(["slow", "clock", "arm", "go", "next", "fault", "clear", odd]),
                "factor": draw.choice([odd, 0, -1, 1e300]),
            }
            frame |= {
                "kills": draw.choice([odd, [odd], [{"id": 1}]]),
                "tx": beyond,
                "kind": "loss",
                "probability": odd,
                "links": draw.choice([odd, [["a", "b"]]]),
                "origin": odd,
            }
        elif how == 6:
            frame = {
                "type": "operator",
                "do": draw.choice(["retry", "skip", "resolve", draw.choice(ODD)]),
                "tx": beyond,
                "reason": draw.choice(["", None, []]),
                "id": draw.choice(ODD),
            }
        elif how == 7:
            frame = {
                "type": draw.choice(["publish", "subscribe", "acknowledge", "answer", draw.choice(ODD)]),
                "id": draw.choice([-1, "1", None, 10**30, []]),
            }
            frame |= {
                "message": draw.choice([message, *ODD]),
                "node": draw.choice([None, 7, [], {}]),
                "outcome": draw.choice(ODD),
                "tx": beyond,
            }
        yield frame


def attacked(name: str, number: int, seed: int) -> tuple[int, list[str]]:
    """Play one run under such frames; how many were sent, and what is wrong."""
    scenario = simtx.load("transfer").replace(
        **{"workload.rate": 10, "run.transactions": 40, "run.warmup": 0, "run.drain": "30s"}
    )
    strategy = resolve(name, scenario.policies)
    schedule = Schedule.draw(scenario, seed)
    sent: dict[str, int] = {}
    problems: list[str] = []

    async def intrude(launcher: Launcher, target: str) -> None:
        draw = random.Random(f"{seed}:{target}")
        node = target.removesuffix(".relay")
        secret, nodes = launcher.folder.secret(), launcher.nodes
        plan = encode(schedule.plans[0])
        made = frames(draw, node, nodes, len(schedule.plans), plan)
        link = None
        for turn in range(number):
            if link is None or not link.is_open:  # a broker ends a connection at the first such frame
                if link is not None:
                    await link.close()
                link = Connection(
                    draw.choice(["intruder", *nodes]),
                    secret,
                    lambda: launcher.folder.locate(target),
                    _ignore,
                )
                await link.connected(20)
            try:
                sent[target] = sent.get(target, 0) + link.send(next(made))
            except (WireError, ValueError):  # what JSON cannot hold
                continue
            if turn % 10 == 9:
                await asyncio.sleep(0.01)
        if link is not None:
            await link.close()

    async def course(launcher: Launcher) -> list[int]:
        targets = [one for one in launcher.children if not one.endswith(".relay")]
        each = [asyncio.create_task(intrude(launcher, target)) for target in targets]
        left = await launcher.play()
        await asyncio.gather(*each)
        problems.extend(f"'{child.name}' was started again" for child in launcher.children.values() if child.restarts)
        return left

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        run = played(
            schedule,
            scenario,
            strategy,
            Options(seed=seed),
            place,
            "sqlite",
            "embedded",
            course=course,
            progress=_ignore,
        )
        problems += [str(one) for one in findings(run, place)]
        restarted = [event for event in run.trace if event.kind in ("restart", "crash")]
        refused = {event.node for event in run.trace if event.kind == "refuse"}
    problems += [f"'{event.node}': {event.kind}" for event in restarted]
    problems += [f"'{target}' has refused nothing" for target in sent if target not in refused]
    calm = simtx.execute(scenario, strategy, seed=seed, progress=False)
    for tx, (outcome, usual) in enumerate(zip(run.transactions["outcome"], calm.transactions["outcome"], strict=True)):
        if outcome != usual:
            problems.append(f"transaction {tx} is {outcome}, and without an intruder {usual}")
    return sum(sent.values()), problems


def main() -> int:
    """Try; 0 if nothing was harmed."""
    options = argparse.ArgumentParser()
    options.add_argument("strategies", nargs="*", default=STRATEGIES)
    options.add_argument("--frames", type=int, default=2000, help="for each process")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    failed = 0
    for name in given.strategies:
        start = time.monotonic()
        count, problems = attacked(name, given.frames, given.seed)
        print(f"{name:16} {count:7,} frames in {time.monotonic() - start:4.0f} s: {len(problems)} problems", flush=True)
        for problem in problems[:10]:
            print(f"  {problem}")
        failed += bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
