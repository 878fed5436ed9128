"""Two-phase commit, the outbox and dual writes as a good user of SimPy writes them, to compare simtx with: siblings of `simpy_saga.py`.

The model, in all: four services with one server each, exponential service times of mean 2 ms; messages are lognormal, median 0.5 ms, sigma 0.5;
each service refuses with probability 0.05, after its work; requests are a Poisson process of 200/s.

- Two-phase commit: the coordinator asks all services at once. Each does its work, takes its row's lock (one of 10,000), and votes. With four votes
  for it the coordinator appends to its log (0.2 ms), answers, and tells them to commit; at the first vote against it, it answers at once. A row is
  free when that word has arrived.
- Choreography: a service does its step, and an event brings the next one on; a refusal goes back along the chain and undoes the steps. Through an
  outbox, a relay at each service reads what is new every 50 ms and publishes it; with dual writes the service publishes by itself, and waits for the broker's
  confirmation, the first one before it answers. The broker takes 0.2 ms for a message.

Nothing is measured but the latency of the answer, and when the last effect was there.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from random import Random
from typing import Any, NamedTuple

import simpy
from simpy_saga import APPEND_S, MESSAGE_MEDIAN_S, MESSAGE_SIGMA, REFUSAL, SERVICE_MEAN_S, STEPS

ARRIVALS_PER_S = 200.0
ROWS = 10_000
POLL_S = 0.05

SimPyProcess = Generator[simpy.Event, Any, Any]


class Means(NamedTuple):
    """What a run of a model gives, in seconds."""

    latency: float
    settled: float


class _Model:
    """What the protocols share."""

    def __init__(self, seed: int, transactions: int) -> None:
        self.random = Random(seed)
        self.env = simpy.Environment()
        self.services = [simpy.Resource(self.env, capacity=1) for _ in range(STEPS)]
        self.transactions = transactions
        self.latencies: list[float] = []
        self.settled: list[float] = []
        self.over = self.env.event()

    def message(self) -> simpy.Event:
        return self.env.timeout(self.random.lognormvariate(math.log(MESSAGE_MEDIAN_S), MESSAGE_SIGMA))

    def work(self) -> simpy.Event:
        return self.env.timeout(self.random.expovariate(1 / SERVICE_MEAN_S))

    def refuses(self) -> bool:
        return self.random.random() < REFUSAL

    def settle(self, arrived: float) -> None:
        self.settled.append(self.env.now - arrived)
        if len(self.settled) == self.transactions:
            self.over.succeed()

    def play(self, transaction: Any) -> Means:
        def arrivals() -> SimPyProcess:
            for _ in range(self.transactions):
                yield self.env.timeout(self.random.expovariate(ARRIVALS_PER_S))
                self.env.process(transaction())

        self.env.process(arrivals())
        self.env.run(until=self.over)
        return Means(*(math.fsum(values) / self.transactions for values in (self.latencies, self.settled)))


def two_phase_commit(seed: int, transactions: int) -> Means:
    """Simulate two-phase commit until every transaction has ended."""
    model = _Model(seed, transactions)
    env, random = model.env, model.random
    rows = [[simpy.Resource(env, capacity=1) for _ in range(ROWS)] for _ in range(STEPS)]

    def prepare(k: int, refused: simpy.Event) -> SimPyProcess:
        """Ask, work, lock, vote; the lock, if the vote is for it."""
        row = rows[k][random.randrange(ROWS)]
        yield model.message()
        with model.services[k].request() as turn:
            yield turn
            yield model.work()
            lock = row.request()
            yield lock
        if model.refuses():
            row.release(lock)
            lock = None
        yield model.message()
        if lock is None and not refused.triggered:
            refused.succeed()
        return row, lock

    def finish(vote: simpy.Process) -> SimPyProcess:
        """Bring the word to a service that has voted for it; its reply goes back."""
        row, lock = yield vote
        if lock is not None:
            yield model.message()
            row.release(lock)
            model.message()

    def transaction() -> SimPyProcess:
        arrived = env.now
        refused = env.event()
        votes = [env.process(prepare(k, refused)) for k in range(STEPS)]
        yield env.all_of(votes) | refused
        if not refused.triggered:
            yield env.timeout(APPEND_S)
        model.latencies.append(env.now - arrived)
        told = env.all_of([env.process(finish(vote)) for vote in votes])
        if not refused.triggered:
            yield told
        model.settle(arrived)  # one that is aborted has no effect to wait for

    return model.play(transaction)


def choreography(seed: int, transactions: int, *, outbox: bool) -> Means:
    """Simulate a chain of events until every transaction has ended, through an outbox or with dual writes."""
    model = _Model(seed, transactions)
    env, random = model.env, model.random
    outboxes: list[list[tuple[int, bool, float]]] = [[] for _ in range(STEPS)]

    def publish(k: int, undo: bool, arrived: float) -> SimPyProcess:
        """To the broker, which confirms it and brings it to the next service."""
        yield model.message()
        yield env.timeout(APPEND_S)
        env.process(deliver(k, undo, arrived))
        yield model.message()

    def deliver(k: int, undo: bool, arrived: float) -> SimPyProcess:
        yield model.message()
        yield from step(k, undo, arrived)

    def relay(k: int) -> SimPyProcess:
        yield env.timeout(random.random() * POLL_S)
        while True:
            events, outboxes[k] = outboxes[k], []
            for event in events:
                env.process(publish(*event))
            yield env.timeout(POLL_S)

    def step(k: int, undo: bool, arrived: float) -> SimPyProcess:
        """Do a step or undo it, and pass the event on."""
        with model.services[k].request() as turn:
            yield turn
            yield model.work()
        undo = undo or model.refuses()
        following = k - 1 if undo else k + 1
        if not 0 <= following < STEPS:
            model.settle(arrived)
        elif outbox:
            outboxes[k].append((following, undo, arrived))
        else:
            yield from publish(following, undo, arrived)

    def transaction() -> SimPyProcess:
        arrived = env.now
        yield from step(0, False, arrived)
        model.latencies.append(env.now - arrived)

    if outbox:
        for k in range(STEPS):
            env.process(relay(k))
    return model.play(transaction)
