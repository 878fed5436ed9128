"""The client's process: it asks for the transactions of the schedule and waits for the answers.

An open workload keeps to its arrival times, whatever the answers do. So a slow system is not spared the load that it would have met
(no coordinated omission). Arrival times are met by a thread of its own, since an event loop's timers are a millisecond coarse.

What a client does when no answer comes is the scenario's (`simtx.scenario.ClientsSpec`), as in a simulated run: a request for which there is no
connection has reached nobody, and is asked for again. Of one that was written to a connection nobody knows whether it was read; it is asked
for again only if the strategy recognises it.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from dataclasses import dataclass
from typing import get_args

from simtx.event_log import journal
from simtx.protocols import Outcome
from simtx.protocols.names import CLIENT
from simtx.protocols.policies import Backoff, RetryBudget
from simtx.reference.processes.calls import Links
from simtx.reference.processes.program import Program
from simtx.reference.run_folder.event_log import entry_id
from simtx.reference.wire.connection import Connection, Frame, Handler, Peer

_SOON = 60.0  # seconds between the word to begin and the beginning
_OUTCOMES = get_args(Outcome)


@dataclass(slots=True)
class _Call:
    """A client who waits for an answer: when it has asked first, the id of its last entry of the log, and how often it has asked again."""

    tx: int
    since: float
    number: int
    attempt: int = 0
    unreached: bool = False


class Client:
    """Plays the workload.

    Args:
        program: Its process.
    """

    def __init__(self, program: Program) -> None:
        self._log = program.log
        self._config = config = program.config
        self._refused = program.refused
        self._links = Links(program.name, program.folder)
        self._loop = asyncio.get_running_loop()
        lines = (program.folder.path / "schedule.jsonl").read_text().splitlines()
        self._schedule = [json.loads(line) for line in lines]
        self._open: dict[int, _Call] = {}  # those without an answer, by transaction
        self._backoff = Backoff(*config["backoff"])
        self._budget = None if config["budget"] is None else RetryBudget(*config["budget"])
        self._random = random.Random(f"{config['seed']}:{CLIENT}")  # noqa: S311 - jitter, not cryptography
        self._waiting: set[int] = set()  # those whose user has not lost patience, in a closed workload
        self._next = 0
        self.begun = False
        self.over = False

    def link(self, entry: str) -> Connection:
        """The connection to an entry node."""
        return self._links.to(entry, self.on_frame)

    async def connect(self) -> None:
        """Connect to all entry nodes before the clock starts."""
        for entry in self._config["entries"]:
            await self.link(entry).connected(10.0)

    # --- the workload -----------------------------------------------------------------------------------------------------------

    def go(self, origin: float) -> None:
        """Start: the clock of the run is at zero at this time of `time.monotonic`."""
        self.begun = True
        config = self._config
        self._loop.call_later(max(origin + config["warmup"] - time.monotonic(), 0.0), self._open_window)
        if config["duration"] is not None:
            self._loop.call_later(max(origin + config["duration"] - time.monotonic(), 0.0), self._end_of_arrivals)
        if config["users"]:
            for number in range(config["users"]):  # a loop's clock is time.monotonic, as the origin's
                self._loop.call_at(origin + config["think"][number % len(config["think"])], self.arrive)
        else:
            threading.Thread(target=self._keep_time, args=(origin,), daemon=True).start()

    def _keep_time(self, origin: float) -> None:
        for entry in self._schedule:
            due = origin + entry["at"]
            while (left := due - time.monotonic()) > 0:
                time.sleep(left)
            if self.over:
                return
            try:
                self._loop.call_soon_threadsafe(self.arrive)
            except RuntimeError:  # the loop is closed: the run was ended
                return

    def _open_window(self) -> None:
        self._log.log("open", "", -1)

    def _end_of_arrivals(self) -> None:
        if not self.over:
            self.over = True
            self._log.log("close", "", -1)

    def arrive(self) -> None:
        """Ask for the next transaction."""
        if self.over or self._next >= len(self._schedule):
            return
        entry = self._schedule[self._next]
        tx = self._next
        self._next += 1
        number = self._log.log("arrive", CLIENT, tx, actor=CLIENT, peer=entry["entry"], detail=entry["detail"])
        if self._budget is not None:
            self._budget.earn()
        call = self._open[tx] = _Call(tx, self._loop.time(), number)
        self._ask(call)
        if self._config["users"]:
            self._waiting.add(tx)
            self._loop.call_later(self._config["deadline"], self._goes_on, tx)
        if self._next == len(self._schedule) and self._config["ends_with_last"]:
            self._end_of_arrivals()

    def _ask(self, call: _Call) -> None:
        """Send a request; if there is nobody to take it, or if no answer comes, ask again later."""
        entry, config = self._schedule[call.tx], self._config
        to = entry["entry"]
        frame = {"type": "request", "tx": call.tx, "plan": entry["plan"], "origin": call.number}
        if config["deadline_travels"]:  # on the clock of the machine, which is that of all processes
            frame["deadline"] = call.since + config["deadline"]
        call.unreached = not self.link(to).send(frame)
        wait = self._random.random() * self._backoff.bound(call.attempt)
        again = config["ask_again"] != "never"
        if call.unreached:
            journal.unreached(self._log, call.tx, call.number, to, "down")
        elif config["insists"]:
            wait += config["timeout"]
        else:
            return
        left = call.since + config["deadline"] - self._loop.time()
        if again and wait < left:
            self._loop.call_later(wait, self._ask_again, call, call.attempt)
        elif call.unreached:
            self._loop.call_later(max(left, 0.0), self._give_up, call)

    def _ask_again(self, call: _Call, attempt: int) -> None:
        if call.tx in self._open and call.attempt == attempt:
            to = self._schedule[call.tx]["entry"]
            if self._budget is not None and not self._budget.spend():
                journal.suppressed(self._log, call.tx, call.number, to)
                if call.unreached:  # nobody will ask for it any more
                    call.unreached = False
                    left = call.since + self._config["deadline"] - self._loop.time()
                    self._loop.call_later(max(left, 0.0), self._give_up, call)
                return
            call.attempt += 1
            call.number = journal.asked_again(self._log, call.tx, call.number, to, call.attempt)
            self._ask(call)

    def _give_up(self, call: _Call) -> None:
        if self._open.pop(call.tx, None) is not None:
            journal.gave_up(self._log, call.tx, call.number, self._schedule[call.tx]["entry"])

    @property
    def asking(self) -> int:
        """Transactions whose requests have reached nobody so far, and that will be asked for again."""
        if self._config["ask_again"] == "never":
            return 0
        return sum(call.unreached for call in self._open.values())

    def on_frame(self, frame: Frame) -> None:
        """An answer."""
        if frame.get("type") != "answer":
            return
        tx = frame.get("tx")
        if type(tx) is not int or tx not in self._open or frame.get("outcome") not in _OUTCOMES:
            return
        call = self._open.pop(tx)
        if self._loop.time() - call.since > self._config["deadline"]:
            return
        self._log.log(
            "reply", CLIENT, tx, entry_id(frame.get("origin")), actor="network", name=str(frame.get("outcome"))
        )
        self._goes_on(tx)

    def _goes_on(self, tx: int) -> None:
        if tx in self._waiting:
            self._waiting.discard(tx)
            think = self._config["think"]
            self._loop.call_later(think[self._next % len(think)], self.arrive)

    # --- control ----------------------------------------------------------------------------------------------------------------

    def accept(self, peer: Peer) -> Handler:
        """The launcher has connected."""

        def handle(frame: Frame) -> None:
            try:
                self._obey(frame)
            except (LookupError, TypeError, ValueError, ArithmeticError) as error:
                self._refused(peer.name, f"malformed frame: {error}")
                return
            answer = {"over": self.over, "quiet": not self.asking, "unanswered": len(self._open)}
            peer.send({"type": "state", "id": frame.get("id"), **answer})

        return handle

    def _obey(self, frame: Frame) -> None:
        """Do what the launcher says."""
        what = frame.get("do")
        if what == "go":
            origin = float(frame["origin"])
            if self.begun or abs(origin - time.monotonic()) > _SOON:
                raise ValueError("it begins once, and now")
            self.go(origin)
        elif what == "next":  # whatever the schedule says; a message without an answer is sent again
            tx = frame.get("tx", self._next)
            if type(tx) is not int or not 0 <= tx < len(self._schedule):
                raise ValueError("there is no such transaction in this run")
            if tx >= self._next:
                self._next = tx
                self.arrive()
        elif what == "end":
            self._end_of_arrivals()

    async def close(self) -> None:
        """Disconnect."""
        self.over = True
        await self._links.close()


async def run(program: Program) -> None:
    """The main coroutine of the client's process."""
    client = Client(program)
    await client.connect()
    async with program.listening(client.accept):
        try:
            with program.metered():
                await program.wait()
        finally:
            await client.close()
