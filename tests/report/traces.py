"""Event logs written by hand, as a simulated run would write them."""

from __future__ import annotations

from typing import Any

from simtx.event_log.log import EventLog, LogEntry


class Log:
    """Writes entries one after the other; times in milliseconds."""

    def __init__(self, tx: int = 7, start: float = 1200.0) -> None:
        self.tx = tx
        self.start = start
        self.events: list[LogEntry] = []

    def add(self, ms: float, kind: str, node: str, name: str = "", **more: Any) -> int:
        tx = -1 if kind in ("crash", "restart") else self.tx
        entry = {"cause": None, "actor": "", "peer": "", "detail": "", **more}
        number = len(self.events)
        self.events.append(LogEntry(number, (self.start + ms) / 1000, kind, node, tx, name=name, **entry))
        return number

    def trace(self) -> EventLog:
        return EventLog(self.events)


def coordinator_crash() -> EventLog:
    """2PC over three services: the coordinator dies after it sent one of three commits; the others wait in doubt."""
    log = Log()
    services = ("payments", "orders", "inventory")
    log.add(0, "request", "coordinator", "begin", peer="client", actor="client")
    prepares = [log.add(0, "send", "coordinator", "prepare", peer=name) for name in services]
    votes = []
    for number, name in enumerate(services):
        at = 0.5 + 0.15 * number
        got = log.add(at, "receive", name, "prepare", peer="coordinator", cause=prepares[number])
        log.add(at + 2.1, "prepare", name, "prepared", detail="action done forced", cause=got)
        votes.append((at + 2.1, log.add(at + 2.1, "send", name, "prepared", peer="coordinator", cause=got), name))
    for number, (at, sent, name) in enumerate(votes):
        got = log.add(at + 0.6 + 0.1 * number, "receive", "coordinator", "prepared", peer=name, cause=sent)
    log.add(5.0, "append", "coordinator", "commit", detail="forced", cause=got)
    log.add(5.0, "decided", "coordinator", "committed", cause=got)
    log.add(5.0, "answer", "coordinator", "committed", peer="client", cause=got)
    first = log.add(5.0, "send", "coordinator", "commit", peer="payments", cause=got)
    log.add(5.0, "crash", "coordinator", actor="fault")
    log.add(5.0, "lost", "coordinator", "send commit", peer="orders", cause=got)
    log.add(5.0, "lost", "coordinator", "send commit", peer="inventory", cause=got)
    got = log.add(5.7, "receive", "payments", "commit", peer="coordinator", cause=first)
    log.add(6.4, "commit", "payments", cause=got)
    ack = log.add(6.4, "send", "payments", "ack", peer="coordinator", cause=got)
    log.add(6.9, "drop", "payments", "ack", peer="coordinator", cause=ack)
    log.add(1003.0, "timer", "orders", "inquiry")
    asked = log.add(1003.0, "send", "orders", "inquiry", peer="coordinator")
    log.add(1003.5, "drop", "orders", "inquiry", peer="coordinator", cause=asked)
    log.add(1500.0, "restart", "coordinator", actor="fault")
    again = [log.add(1500.0, "send", "coordinator", "commit", peer=name) for name in services]
    acks = []
    for number, name in enumerate(services):
        at = 1500.6 + 0.2 * number
        got = log.add(at, "receive", name, "commit", peer="coordinator", cause=again[number])
        if name != "payments":
            log.add(at + 0.7, "commit", name, cause=got)
        acks.append((at + 0.7, log.add(at + 0.7, "send", name, "ack", peer="coordinator", cause=got), name))
    for at, sent, name in acks:
        got = log.add(at + 0.6, "receive", "coordinator", "ack", peer=name, cause=sent)
    log.add(1690.0, "append", "coordinator", "end", detail="lazy", cause=got)
    log.add(1690.0, "forget", "coordinator")
    return log.trace()


def outbox_refused() -> EventLog:
    """A choreography over a broker: the second service refuses, the event comes twice, the first one undoes its work."""
    log = Log(tx=3)
    log.add(0, "request", "orders", "begin", peer="client", actor="client")
    log.add(2, "transact", "orders", "place", detail="action done forced")
    log.add(2, "answer", "orders", "accepted", peer="client")
    out = log.add(27, "publish", "orders", "placed", peer="broker")
    log.add(29, "confirm", "orders", peer="broker", cause=out)
    got = log.add(29.4, "deliver", "payments", "placed", peer="broker", cause=out)
    log.add(31.5, "transact", "payments", "charge", detail="action refused forced", cause=got)
    log.add(31.5, "acknowledge", "payments", peer="broker")
    got = log.add(60.0, "deliver", "payments", "placed", peer="broker", cause=out)
    log.add(60.1, "transact", "payments", "charge", detail="action duplicate", cause=got)
    out = log.add(75, "publish", "payments", "refused", peer="broker")
    log.add(77, "confirm", "payments", peer="broker", cause=out)
    got = log.add(77.4, "deliver", "orders", "refused", peer="broker", cause=out)
    log.add(79.5, "transact", "orders", "place", detail="compensation done forced", cause=got)
    log.add(79.5, "decided", "orders", "aborted")
    return log.trace()
