"""simtx: which way of keeping distributed data consistent should this system use, and what will it cost?

    >>> import simtx
    >>> scenario = simtx.load("checkout")
    >>> run = simtx.simulate(scenario, "2pc", seed=1)
    >>> comparison = simtx.compare(scenario, ["2pc", "saga", "outbox", "dual-write"], replications=20)
    >>> sweep = simtx.sweep(scenario, {"workload.rate": [50, 100, 150]}, ["2pc", "saga"], store="results")
    >>> verdict = simtx.verify("2pc", participants=2, crashes=1)
    >>> lesson = simtx.story("broker-outage").run()
    >>> real = simtx.execute(scenario, "saga")
    >>> validation = simtx.validate("transfer-lab", "saga")
    >>> simtx.explorer(scenario)

Layers, from the bottom: `simtx.protocols` (pure state machines), `simtx.scenario` (services, load and faults as data), `simtx.event_log` (entries of a run),
`simtx.metrics` and `simtx.conformance` (figures of a run; whether its log keeps the contract), `simtx.alerts` (what a monitoring system would notice),
`simtx.workload` (arrivals and plans), `simtx.engine` (learned automata, and the loop in C), `simtx.simulator` (the simulated world), `simtx.reference` (real processes and databases),
`simtx.checker` (exhaustive search), `simtx.histories` (isolation of histories), `simtx.experiments`, `simtx.report`, `simtx.validation` and `simtx.testing`
(replications, tables and pictures, predictions against measurements, laws for parts of your own), `simtx.lab` (sliders and timelines in notebooks), `simtx.cli`.
Names are imported when they are first used, so that ``import simtx`` is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import PeerFault, ProtocolViolation, RunFailed, ScenarioError, SimtxError
from simtx.views import register as _register

if TYPE_CHECKING:
    __version__: str
    from simtx.alerts import Alerts, watch
    from simtx.checker.derived.verify import verify_derived
    from simtx.checker.explorer.explore import explore
    from simtx.checker.protocols.verify import Verdict, verify
    from simtx.conformance.check import check_log
    from simtx.event_log.log import EventLog, LogEntry
    from simtx.experiments import Apart, Best, Comparison, Decision, Precision
    from simtx.experiments.compare import compare
    from simtx.experiments.diff import diff
    from simtx.experiments.saturation import saturation
    from simtx.experiments.saved import read
    from simtx.experiments.sensitivity import sensitivity
    from simtx.experiments.stories import stories, story
    from simtx.experiments.sweep import Range, Sweep, sweep
    from simtx.histories import check_history
    from simtx.lab import Explorer, explorer
    from simtx.metrics.run import Run
    from simtx.protocols import Backoff, BreakerPolicy, DualWrite, Outbox, Policies, Saga, TwoPhaseCommit, strategies
    from simtx.reference.execute import execute
    from simtx.scenario import Scenario, load, scenarios
    from simtx.scenario.strata import strata
    from simtx.simulator import simulate
    from simtx.validation.calibrate import calibrate
    from simtx.validation.validate import Validation, validate
    from simtx.validation.validate_random import RandomValidation, validate_random

    Trace, TraceEvent = EventLog, LogEntry

_NAMES: Final = {
    "simtx.alerts": "Alerts watch",
    "simtx.checker.derived.verify": "verify_derived",
    "simtx.checker.explorer.explore": "explore",
    "simtx.checker.protocols.verify": "Verdict verify",
    "simtx.conformance.check": "check_log",
    "simtx.event_log.log": "EventLog LogEntry",
    "simtx.experiments": "Apart Best Comparison Decision Precision",
    "simtx.experiments.compare": "compare",
    "simtx.experiments.diff": "diff",
    "simtx.experiments.saturation": "saturation",
    "simtx.experiments.saved": "read",
    "simtx.experiments.sensitivity": "sensitivity",
    "simtx.experiments.stories": "stories story",
    "simtx.experiments.sweep": "Range Sweep sweep",
    "simtx.histories": "check_history",
    "simtx.lab": "Explorer explorer",
    "simtx.metrics.run": "Run",
    "simtx.protocols": "Backoff BreakerPolicy DualWrite Outbox Policies Saga TwoPhaseCommit strategies",
    "simtx.reference.execute": "execute",
    "simtx.scenario": "Scenario load scenarios",
    "simtx.scenario.strata": "strata",
    "simtx.simulator": "simulate",
    "simtx.validation.calibrate": "calibrate",
    "simtx.validation.validate": "Validation validate",
    "simtx.validation.validate_random": "RandomValidation validate_random",
}
_HOMES: Final = {name: home for home, names in _NAMES.items() for name in names.split()}

#: Old names, kept for one release: where they are now, and how they are called.
_OLD_NAMES: Final = {
    "Trace": ("simtx.event_log.log", "EventLog"),
    "TraceEvent": ("simtx.event_log.log", "LogEntry"),
}

__all__ = [
    "Alerts",
    "Apart",
    "Backoff",
    "Best",
    "BreakerPolicy",
    "Comparison",
    "Decision",
    "DualWrite",
    "EventLog",
    "Explorer",
    "LogEntry",
    "Outbox",
    "PeerFault",
    "Policies",
    "Precision",
    "ProtocolViolation",
    "RandomValidation",
    "Range",
    "Run",
    "RunFailed",
    "Saga",
    "Scenario",
    "ScenarioError",
    "SimtxError",
    "Sweep",
    "TwoPhaseCommit",
    "Validation",
    "Verdict",
    "__version__",
    "calibrate",
    "check_history",
    "check_log",
    "compare",
    "diff",
    "execute",
    "explore",
    "explorer",
    "load",
    "read",
    "saturation",
    "scenarios",
    "sensitivity",
    "simulate",
    "stories",
    "story",
    "strata",
    "strategies",
    "sweep",
    "validate",
    "validate_random",
    "verify",
    "verify_derived",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    home, value_name = _HOMES.get(name), name
    if name in _OLD_NAMES:
        home, value_name = _OLD_NAMES[name]
    if home is None:
        raise AttributeError(f"module 'simtx' has no attribute '{name}'")
    value = getattr(import_module(home), value_name)
    globals()[name] = value
    return value


def _version() -> str:
    """Version of the installed package; looked up when it is asked for, since that takes longer than all the rest."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("simtx")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted(__all__)


def _loader(module: str, function: str) -> Callable[[], Callable[..., Any]]:
    return lambda: getattr(import_module(module), function)


def _register_views() -> None:
    """Teach the results below how to draw themselves; the plotting layer is imported when a picture is asked for."""
    for name, module, function in (
        ("save-run", "simtx.experiments.saved", "save_run"),
        ("save-comparison", "simtx.experiments.saved", "save_comparison"),
        ("read", "simtx.experiments.saved", "read"),
        ("read-sweep", "simtx.experiments.sweep.found", "read_sweep"),
        ("sweep-extended", "simtx.experiments.sweep.sweep", "extended"),
        ("sweep-frontier", "simtx.experiments.frontier.sweeps", "frontier"),
        ("sweep-sensitivity", "simtx.experiments.sensitivity.study", "of_sweep"),
        ("report", "simtx.report.review.report", "report"),
        ("alerts-text", "simtx.report.alerts", "text"),
        ("alerts-of-several", "simtx.report.alerts", "several"),
        ("alerts-plot", "simtx.report.alerts", "plot"),
        ("saturation", "simtx.report.saturation", "drawing"),
        ("saturation-text", "simtx.report.saturation", "text"),
        ("diagram", "simtx.report.diagram", "draw"),
        ("player", "simtx.lab.timeline", "player"),
        ("explorer", "simtx.lab.widgets", "view"),
        ("diagram-text", "simtx.report.diagram", "render"),
        ("otlp", "simtx.report.otlp", "save_otlp"),
        ("chrome", "simtx.report.chrome", "save_chrome"),
        ("scenario", "simtx.report.pictures.accessors", "ScenarioPlots"),
        ("scenario-replaced", "simtx.scenario.changes", "replaced"),
        ("scenario-fingerprint", "simtx.scenario.fingerprints", "scenario_fingerprint"),
        ("scenario-warnings", "simtx.scenario.advice", "warnings"),
        ("scenario-graph", "simtx.scenario.show", "graph"),
        ("scenario-text", "simtx.scenario.show", "text"),
        ("scenario-html", "simtx.scenario.show", "html"),
        ("machine", "simtx.report.pictures.machine", "machine"),
        ("automaton", "simtx.report.pictures.machine", "automaton"),
        ("run", "simtx.report.pictures.accessors", "RunPlots"),
        ("decision-text", "simtx.report.decision", "text"),
        ("decision-html", "simtx.report.decision", "html"),
        ("comparison", "simtx.report.pictures.accessors", "ComparisonPlots"),
        ("comparison-text", "simtx.report.tables", "text"),
        ("comparison-html", "simtx.report.tables", "html"),
        ("sweep", "simtx.report.pictures.accessors", "SweepPlots"),
        ("sweep-text", "simtx.report.sweep_tables", "text"),
        ("sweep-html", "simtx.report.sweep_tables", "html"),
        ("frontier", "simtx.report.pictures.accessors", "FrontierPlots"),
        ("sensitivity", "simtx.report.pictures.accessors", "SensitivityPlots"),
        ("run-html", "simtx.report.tables", "run_html"),
        ("trace-html", "simtx.report.tables", "trace_html"),
        ("difference-text", "simtx.report.diff", "text"),
        ("difference-html", "simtx.report.diff", "html"),
        ("story", "simtx.report.stories", "plot"),
        ("story-sentence", "simtx.report.stories", "sentence"),
        ("story-text", "simtx.report.stories", "story_text"),
        ("story-html", "simtx.report.stories", "story_html"),
        ("telling-text", "simtx.report.stories", "text"),
        ("telling-html", "simtx.report.stories", "html"),
        ("validation", "simtx.report.validation", "plot"),
        ("validation-text", "simtx.report.validation", "text"),
        ("validation-html", "simtx.report.validation", "html"),
        ("random-validation", "simtx.report.random_validation", "plot"),
        ("random-validation-text", "simtx.report.random_validation", "text"),
        ("random-validation-worst", "simtx.validation.validate_random", "worst_first"),
    ):
        _register(name, _loader(module, function))


_register_views()
