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

# The same names as above and in `__all__`: type checkers read those two as they stand, and a program that looked them up there would import everything.
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


_VIEWS: Final = {
    "simtx.experiments.frontier.sweeps": {"sweep-frontier": "frontier"},
    "simtx.experiments.saved": {"save-run": "save_run", "save-comparison": "save_comparison", "read": "read"},
    "simtx.experiments.sensitivity.study": {"sweep-sensitivity": "of_sweep"},
    "simtx.experiments.sweep.found": {"read-sweep": "read_sweep"},
    "simtx.experiments.sweep.sweep": {"sweep-extended": "extended"},
    "simtx.lab.timeline": {"player": "player"},
    "simtx.lab.widgets": {"explorer": "view"},
    "simtx.report.alerts": {"alerts-text": "text", "alerts-of-several": "several", "alerts-plot": "plot"},
    "simtx.report.chrome": {"chrome": "save_chrome"},
    "simtx.report.decision": {"decision-text": "text", "decision-html": "html"},
    "simtx.report.diagram": {"diagram": "draw", "diagram-text": "render"},
    "simtx.report.diff": {"difference-text": "text", "difference-html": "html"},
    "simtx.report.otlp": {"otlp": "save_otlp"},
    "simtx.report.pictures.accessors": {
        "scenario": "ScenarioPlots",
        "run": "RunPlots",
        "comparison": "ComparisonPlots",
        "sweep": "SweepPlots",
        "frontier": "FrontierPlots",
        "sensitivity": "SensitivityPlots",
    },
    "simtx.report.pictures.machine": {"machine": "machine", "automaton": "automaton"},
    "simtx.report.random_validation": {"random-validation": "plot", "random-validation-text": "text"},
    "simtx.report.review.report": {"report": "report"},
    "simtx.report.saturation": {"saturation": "drawing", "saturation-text": "text"},
    "simtx.report.stories": {
        "story": "plot",
        "story-sentence": "sentence",
        "story-text": "story_text",
        "story-html": "story_html",
        "telling-text": "text",
        "telling-html": "html",
    },
    "simtx.report.sweep_tables": {"sweep-text": "text", "sweep-html": "html"},
    "simtx.report.tables": {
        "comparison-text": "text",
        "comparison-html": "html",
        "run-html": "run_html",
        "trace-html": "trace_html",
    },
    "simtx.report.validation": {"validation": "plot", "validation-text": "text", "validation-html": "html"},
    "simtx.scenario.advice": {"scenario-warnings": "warnings"},
    "simtx.scenario.changes": {"scenario-replaced": "replaced"},
    "simtx.scenario.fingerprints": {"scenario-fingerprint": "scenario_fingerprint"},
    "simtx.scenario.show": {"scenario-graph": "graph", "scenario-text": "text", "scenario-html": "html"},
    "simtx.validation.validate_random": {"random-validation-worst": "worst_first"},
}
"""Views by which the results below draw and tell themselves: functions of the layers above by the names of their views, for `simtx.views`."""

for _module, _functions in _VIEWS.items():
    for _name, _function in _functions.items():
        _register(_name, _module, _function)
