"""Rules as a file for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import yaml

from simtx.alerts.signals import SIGNALS

if TYPE_CHECKING:
    from simtx.alerts.rules import AlertRule


def prometheus(rules: Sequence[AlertRule], *, group: str = "simtx") -> str:
    """The text of a rule file that Prometheus reads.

    The services have to export the metrics that `SIGNALS` names; comments at the top say which, and what they mean.

    Args:
        rules: Which ones.
        group: Name of the group.
    """
    body = {
        "groups": [
            {
                "name": group,
                "rules": [
                    {
                        "alert": rule.name,
                        "expr": rule.expression(),
                        "for": f"{rule.hold * 1000:.0f}ms",
                        "labels": {"severity": rule.severity},
                        "annotations": {"summary": rule.summary or rule.name},
                    }
                    for rule in rules
                ],
            }
        ]
    }
    used = [one for one in SIGNALS.values() if any(one.metric in rule.expression() for rule in rules)]
    head = "".join(f"# {one.metric} ({one.kind}): {one.meaning}\n" for one in used)
    return f"# Metrics that the services export:\n{head}{yaml.safe_dump(body, sort_keys=False, width=1000)}"
