"""What was not let in is written down a line a second and reason, whoever knocks how often."""

from __future__ import annotations

from simtx.reference.wire.refusals import KINDS, Refusals


def test_a_flood_is_a_line_a_second_and_reason_with_a_count() -> None:
    now = 0.0
    lines: list[tuple[str, str]] = []
    refused = Refusals(lambda *line: lines.append(line), clock=lambda: now)
    for number in range(39_000):
        now = number / 2000
        refused(f"10.0.0.1:{number}", f"wrong secret: attempt {number}")
        refused("10.0.0.2", "timeout: nothing came")
    assert len(lines) == 2 * 20
    assert lines[0] == ("10.0.0.1:0", "wrong secret: attempt 0")
    assert lines[2] == ("10.0.0.1:2000", "wrong secret: attempt 2000 [and 1,999 more like it before]")
    refused.close()
    refused.close()
    assert len(lines) == 2 * 20 + 2
    assert lines[-1][1] == "timeout: nothing came [and 998 more like it before]"


def test_invented_reasons_do_not_help() -> None:
    lines: list[tuple[str, str]] = []
    refused = Refusals(lambda *line: lines.append(line), clock=lambda: 0.0)
    for number in range(10_000):
        refused("eve", f"reason {number}")
    assert len(lines) == KINDS + 1
