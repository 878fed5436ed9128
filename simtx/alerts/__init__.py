"""Alerts: what a monitoring system would have said of a run, when, and of which faults it would have said nothing.

A run's event log, simulated or real, is scraped at equal intervals into a few signals (`simtx.alerts.signals`). Rules look at them
(`simtx.alerts.rules`). What they raise is held against the faults of the run (`simtx.alerts.watching`). The same rules are written for
Prometheus by `prometheus`.
"""

from simtx.alerts.rules import AlertRule, BurnRate, Change, Rate, Threshold, default_rules, prometheus, read_rules
from simtx.alerts.signals import SIGNALS, Signal, Signals, signals
from simtx.alerts.watching import Alert, Alerts, watch

__all__ = [
    "SIGNALS",
    "Alert",
    "AlertRule",
    "Alerts",
    "BurnRate",
    "Change",
    "Rate",
    "Signal",
    "Signals",
    "Threshold",
    "default_rules",
    "prometheus",
    "read_rules",
    "signals",
    "watch",
]
