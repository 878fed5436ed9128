"""Laws of a host, which the machines that it plays rely on, and the check of them on a host of your own.

A host is judged by what it leaves: the full event log of a run, which has to replay through the machines (`simtx.check_log`), and the run's
figures. Each law is one short run of a built-in strategy, with a fault at a stated place of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from simtx.conformance.check import check_log
from simtx.event_log.log import LogEntry
from simtx.metrics.run import Run
from simtx.protocols import STRATEGIES, Outbox, Saga, Strategy, TwoPhaseCommit
from simtx.scenario import Scenario, from_dict
from simtx.testing.laws import Law, expect, judge, law_in, same, select

__all__ = ["HOST_LAWS", "Play", "check_host"]

Play = Callable[[Scenario, Strategy], Run]
"""Plays a scenario under a strategy, with the faults of the scenario, and keeps the full event log: ``simtx.simulate(..., trace="full")``, or `simtx.execute`."""

_VICTIM: Final = 3  # the transaction that a fault is aimed at
_TRANSACTIONS: Final = 12
_AWAY: Final = "400ms"  # how long a node that crashed stays away

_LAWS: list[Law] = []
_law = law_in(_LAWS)


def check_host(play: Play, *, only: Collection[str] | str | None = None) -> None:
    """Check that a host plays machines as the contract says (`simtx.protocols.contract`).

    Args:
        play: Plays one run.
        only: Names of laws, or one name; None: all of `HOST_LAWS`.

    Raises:
        LawBroken: It does not; the text names the laws and what was seen.
        ScenarioError: There is no such law.
    """
    judge(select(HOST_LAWS, only), lambda law: law.check(play))


def scenario(*faults: dict[str, Any], steps: int = 3, refusal: float = 0.0) -> Scenario:
    """Twelve transactions of so many steps, a twentieth of a second apart, with these faults."""
    services = [f"s{number}" for number in range(steps)]
    service = {"workers": 4, "service_time": "2ms", "store": {"log": {"forced_write": "1ms"}}}
    return from_dict(
        {
            "services": {name: dict(service) for name in services},
            "hub": {"log": {"forced_write": "1ms"}},
            "network": {"latency": "500us"},
            "broker": {"ack_latency": "1ms", "redelivery": "300ms"},
            "transaction": {
                "steps": [
                    {
                        "name": f"step{number}",
                        "service": name,
                        "operations": [{"key": "k{tx}", "amount": 1}],
                        "compensation": [{"key": "k{tx}", "amount": -1}],
                        "refusal": refusal if name == services[-1] else 0.0,
                    }
                    for number, name in enumerate(services)
                ]
            },
            "policies": {
                "call_timeout": "500ms",
                "attempts": 20,
                "vote_timeout": "10s",
                "publish_timeout": "300ms",
                "poll_interval": "20ms",
            },
            "clients": {"ask_again": "unreached"},
            "workload": {"kind": "deterministic", "rate": "20/s"},
            "run": {"transactions": _TRANSACTIONS, "warmup": "0s", "drain": "30s"},
            "faults": list(faults),
        },
        name="conformance",
    )


def crash(node: str, effect: str, when: str) -> dict[str, Any]:
    """A crash of a node before or after an effect of one transaction."""
    return {
        "kind": "crash",
        "node": node,
        "duration": _AWAY,
        "trigger": {"transaction": _VICTIM, "effect": effect, "when": when},
    }


def _sound(run: Run) -> Run:
    """The log replays, every transaction has all of its effects or none, and nothing is left in doubt."""
    log = check_log(run.trace, run.strategy)
    expect(log.ok, f"{run.strategy.name}: the log does not replay: {'; '.join(log.problems[:3])}")
    rows = run.transactions
    same(len(rows), _TRANSACTIONS, f"{run.strategy.name}: transactions")
    same(rows["missing_effects"].sum(), 0, f"{run.strategy.name}: missing effects")
    same(rows["duplicate_effects"].sum(), 0, f"{run.strategy.name}: duplicate effects")
    bad = sorted(set(rows["outcome"]) - {"committed", "aborted", "compensated", "lost"})
    same(bad, [], f"{run.strategy.name}: outcomes that are none")
    return run


def _struck(run: Run, node: str) -> tuple[list[LogEntry], list[LogEntry]]:
    """Entries of the victim before the crash of a node, and afterwards."""
    entries = list(run.trace)
    crashes = [place for place, entry in enumerate(entries) if entry.kind == "crash" and entry.node == node]
    same(len(crashes), 1, f"{run.strategy.name}: crashes of {node}")
    own = [(place, entry) for place, entry in enumerate(entries) if entry.tx == _VICTIM]
    return (
        [entry for place, entry in own if place < crashes[0]],
        [entry for place, entry in own if place > crashes[0]],
    )


def _sent(entries: Iterable[LogEntry], node: str, name: str) -> int:
    return sum(entry.kind == "send" and entry.node == node and entry.name == name for entry in entries)


def _outcome(run: Run) -> str:
    rows = run.transactions
    return str(rows.loc[rows["tx"] == _VICTIM, "outcome"].iloc[0])


# --- laws -----------------------------------------------------------------------------------------------------------------------


@_law
def programs_are_played_in_their_order(play: Play) -> None:
    """Without faults every strategy's log replays through its machines, effect by effect, and every transaction commits."""
    for strategy in (kind() for kind in STRATEGIES.values()):
        run = _sound(play(scenario(), strategy))
        same(set(run.transactions["outcome"]), {"committed"}, f"{strategy.name}: outcomes")


@_law
def a_refusal_is_undone(play: Play) -> None:
    """A step that is refused leaves nothing of its transaction."""
    for strategy in (TwoPhaseCommit(), Saga(), Outbox()):
        run = _sound(play(scenario(refusal=1.0), strategy))
        expect("committed" not in set(run.transactions["outcome"]), f"{strategy.name}: a refused transaction committed")


@_law
def nothing_behind_a_forced_record_happens_before_it_is_durable(play: Play) -> None:
    """A hub that crashes before its decision is on disk has sent it to nobody, and has no record of it when it is back: presumed abort."""
    run = _sound(play(scenario(crash("hub", "Append:commit", "before")), TwoPhaseCommit()))
    before, after = _struck(run, TwoPhaseCommit.hub)
    same(_sent(before, TwoPhaseCommit.hub, "commit"), 0, "decisions that were sent before the crash")
    same(_sent(after, TwoPhaseCommit.hub, "commit"), 0, "decisions to commit that were sent after it")
    expect(_outcome(run) in ("aborted", "lost"), f"the outcome of the transaction is {_outcome(run)}")


@_law
def a_forced_record_survives_and_the_rest_of_the_program_does_not(play: Play) -> None:
    """A hub that crashes right behind its durable decision has sent it to nobody yet, and sends it to all when it has recovered."""
    run = _sound(play(scenario(crash("hub", "Append:commit", "after")), TwoPhaseCommit()))
    before, after = _struck(run, TwoPhaseCommit.hub)
    same(_sent(before, TwoPhaseCommit.hub, "commit"), 0, "decisions that were sent before the crash")
    expect(
        _sent(after, TwoPhaseCommit.hub, "commit") >= 3,
        "the decision was not sent to every participant after the recovery",
    )
    same(_outcome(run), "committed", "outcome of the transaction")


@_law
def a_prepared_branch_waits_for_its_decision_over_a_crash(play: Play) -> None:
    """A participant that crashes between its durable vote and its YES recovers in doubt, and gets the decision."""
    run = _sound(play(scenario(crash("s1", "Message:yes", "before")), TwoPhaseCommit()))
    before, after = _struck(run, "s1")
    same(_sent(before, "s1", "yes"), 0, "votes that left before the crash")
    expect(any(entry.kind == "recover" and entry.node == "s1" for entry in after), "the branch was not recovered")


@_law
def what_a_local_transaction_has_committed_is_repeated_by_nobody(play: Play) -> None:
    """A service that crashes behind the commit of a step, before its reply, does the step once."""
    run = _sound(play(scenario(crash("s1", "Message:done", "before")), Saga()))
    before, _ = _struck(run, "s1")
    same(_sent(before, "s1", "done"), 0, "replies that left before the crash")
    same(_outcome(run), "committed", "outcome of the transaction")


@_law
def an_orchestrator_goes_on_where_its_log_ends(play: Play) -> None:
    """A hub that crashes in the middle of a saga finishes it when it is back."""
    run = _sound(play(scenario(crash("hub", "Append:done", "before")), Saga()))
    _, after = _struck(run, Saga.hub)
    expect(any(entry.kind == "recover" and entry.node == Saga.hub for entry in after), "the saga was not recovered")
    same(_outcome(run), "committed", "outcome of the transaction")


@_law
def an_outbox_row_outlives_the_crash_of_its_service(play: Play) -> None:
    """A service that crashes behind the commit of a step publishes the step's event when it is back."""
    run = _sound(play(scenario(crash("s0", "Publish", "before")), Outbox()))
    same(_outcome(run), "committed", "outcome of the transaction")


@_law
def copies_and_losses_change_no_effect(play: Play) -> None:
    """Messages that are lost are asked for again, and those that come twice are worked on once."""
    faults = [{"kind": kind, "at": "0s", "duration": "300ms", "probability": 0.3} for kind in ("loss", "duplication")]
    for strategy in (TwoPhaseCommit(), Saga()):
        _sound(play(scenario(*faults), strategy))


HOST_LAWS: Final = tuple(_LAWS)
"""All laws of a host."""
