"""Scenarios: services, network, workload, business transaction and faults, checked when they are loaded."""

from simtx.scenario.business import OperationSpec, Parameter, StepSpec, Transaction
from simtx.scenario.distributions import (
    Constant,
    Distribution,
    Empirical,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Mixture,
    Shifted,
    ShiftedLognormal,
    Uniform,
)
from simtx.scenario.infrastructure import Broker, CommonMode, HostSpec, Hub, Link, Log, Network, Service, Store
from simtx.scenario.load import from_dict, load, names, scenarios, titles
from simtx.scenario.model import Clients, Fault, Invariant, RunPlan, Scenario, Trigger, Workload

__all__ = [
    "Assumption",
    "Broker",
    "Clients",
    "CommonMode",
    "Constant",
    "Distribution",
    "Empirical",
    "Erlang",
    "Exponential",
    "Fault",
    "HostSpec",
    "Hub",
    "Hyperexponential",
    "Invariant",
    "Link",
    "Log",
    "Lognormal",
    "Mixture",
    "Network",
    "OperationSpec",
    "Parameter",
    "RunPlan",
    "Scenario",
    "Service",
    "Shifted",
    "ShiftedLognormal",
    "StepSpec",
    "Store",
    "Transaction",
    "Trigger",
    "Uniform",
    "Workload",
    "from_dict",
    "load",
    "names",
    "scenarios",
    "titles",
]
