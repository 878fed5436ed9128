"""The grant `version_order`: the values of each key in the order in which its store committed them."""

from __future__ import annotations

from typing import Any

import pytest

from simtx.errors import ScenarioError
from simtx.histories import check_history
from simtx.histories.observations import Observations
from simtx.histories.orders import read_assumptions, register_orders
from simtx.histories.parsing import read_history

Ops = list[list[Any]]


def history(*transactions: Ops, status: str = "ok") -> list[dict[str, Any]]:
    """Transactions t0, t1, ...; the last one has the given status."""
    last = len(transactions) - 1
    return [{"id": f"t{n}", "status": status if n == last else "ok", "ops": ops} for n, ops in enumerate(transactions)]


def test_blind_writes_have_an_order_only_by_grant() -> None:
    """Each key by itself, and each in another order: no serial order gives both."""
    writes = history([["w", "x", 1], ["w", "y", 1]], [["w", "x", 2], ["w", "y", 2]])
    assert check_history(writes).valid is True
    report = check_history(writes, assume={"version_order": {"x": [1, 2], "y": [2, 1]}})
    assert report.anomalies == {"G0"}
    assert report.explain("G0").splitlines()[1:] == [
        "  1. t0 comes before t1: t0 wrote x = 1 and t1 wrote x = 2, which came later (version_order).",
        "  2. t1 comes before t0: t1 wrote y = 2 and t0 wrote y = 1, which came later (version_order).",
    ]
    assert check_history(writes, assume={"version_order": {"x": [1, 2], "y": [1, 2]}}).valid is True


def test_what_a_transaction_wrote_first_stands_between_the_writes_of_others() -> None:
    """Its last write alone would come after both, and show nothing."""
    writes = history([["w", "x", 1], ["w", "x", 3]], [["w", "x", 2]])
    assert check_history(writes, assume={"version_order": {"x": [1, 2, 3]}}).anomalies == {"G0"}
    assert check_history(writes, assume={"version_order": {"x": [2, 1, 3]}}).valid is True


def test_the_initial_state_comes_before_the_first_of_several_writes_of_one_transaction() -> None:
    """Read skew: t1 saw y before t0, and x after it; the second write of y must not hide the first."""
    skew = history([["w", "x", 1], ["w", "y", 1], ["w", "y", 2]], [["r", "y", None], ["r", "x", 1]])
    assert check_history(skew, assume={"version_order": {"y": [1, 2]}}).anomalies == {"G-single-item"}


def test_failed_writes_stand_in_the_order_without_consequence() -> None:
    """Others come before and after each other across them."""
    failed = history([["w", "x", 1]], [["r", "x", 1], ["w", "x", 3]], [["r", "x", 3]], [["w", "x", 2]], status="fail")
    assert check_history(failed, assume={"version_order": {"x": [1, 2, 3]}}).valid is True
    assert check_history(failed, assume={"version_order": {"x": [3, 2, 1]}}).valid is False


def test_a_failed_write_does_not_part_those_around_it() -> None:
    """t0 before t1, across a write that failed, and t1 before t0."""
    parted = history([["w", "x", 1], ["w", "x", 4]], [["w", "x", 3]], [["w", "x", 2]], status="fail")
    assert check_history(parted, assume={"version_order": {"x": [1, 2, 3, 4]}}).anomalies == {"G0"}


def test_an_order_of_all_versions_is_known_to_be_one() -> None:
    """Also where a first write of a transaction stands between the last ones of others."""
    given = read_history(history([["w", "x", 1]], [["w", "x", 2], ["w", "x", 4]], [["w", "x", 3]]))
    granted = read_assumptions({"version_order": {"x": [1, 2, 4, 3]}}, given)
    assert register_orders(Observations(given, resolve_info=True), granted)["x"].is_total()
    some = read_assumptions({"version_order": {"x": [1, 2]}}, given)
    assert not register_orders(Observations(given, resolve_info=True), some)["x"].is_total()


def test_against_another_grant_it_is_cyclic() -> None:
    updates = history([["w", "x", 1]], [["r", "x", 1], ["w", "x", 2]])
    report = check_history(updates, assume={"wfr_keys": True, "version_order": {"x": [2, 1]}})
    assert "cyclic-versions" in report.anomalies
    told = report.explain("cyclic-versions")
    assert "x = 2 comes before x = 1 (version_order: the change by t1 was committed before that by t0)." in told


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ([1, 2], "expected for each key the list of its values, the first to be committed first"),
        ({"x": 1}, "expected a list of the values of 'x', got 1"),
        ({"x": [1, 3]}, "no transaction of the history writes 3 to a register 'x'"),
        ({"x": [[1]]}, "no transaction of the history writes [1] to a register 'x'"),
        ({"z": [1]}, "no transaction of the history writes 1 to a register 'z'"),
        ({"l": [1]}, "no transaction of the history writes 1 to a register 'l'"),
        ({"x": [1, 1]}, "the value 1 of 'x' stands there twice"),
    ],
)
def test_a_malformed_order_is_one_line(order: Any, problem: str) -> None:
    given = history([["w", "x", 1], ["append", "l", 1]])
    with pytest.raises(ScenarioError) as caught:
        check_history(given, assume={"version_order": order})
    assert str(caught.value) == f"assume, field 'version_order': {problem}"
