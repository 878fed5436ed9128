"""Strategies by name, with options as text: what the command line and `simtx.simulate(scenario, "2pc")` understand.

A strategy is given as an object (ours or the caller's own), as a name (``outbox``), or as a name with options
(``dual-write:order=broker-first,acknowledge=before``). Options are the fields of the strategy's class.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any, Final, Literal, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from simtx.arguments import named
from simtx.errors import ScenarioError
from simtx.listing import Listing
from simtx.protocols.choreographed_saga import Choreography
from simtx.protocols.contract import Plan, Promise, Strategy
from simtx.protocols.cornus import Cornus
from simtx.protocols.dual_write import DualWrite
from simtx.protocols.extras import configured, extras
from simtx.protocols.outbox import Outbox
from simtx.protocols.paxos_apart import council
from simtx.protocols.paxos_commit import MOST_FAULTS, PaxosCommit
from simtx.protocols.policies import Policies
from simtx.protocols.saga import Saga
from simtx.protocols.tcc import TryConfirmCancel
from simtx.protocols.two_phase_commit import TwoPhaseCommit

BuiltIn: TypeAlias = (
    type[TwoPhaseCommit]
    | type[PaxosCommit]
    | type[Cornus]
    | type[Saga]
    | type[TryConfirmCancel]
    | type[Outbox]
    | type[Choreography]
    | type[DualWrite]
)

STRATEGIES: Final[Mapping[str, BuiltIn]] = types.MappingProxyType(
    {
        kind.name: kind
        for kind in (TwoPhaseCommit, PaxosCommit, Cornus, Saga, TryConfirmCancel, Outbox, Choreography, DualWrite)
    }
)
"""The built-in strategies, by name."""

HUBS: Final = tuple(dict.fromkeys(kind.hub for kind in STRATEGIES.values() if kind.hub is not None))
"""Names of hubs under the built-in strategies."""

FURTHER_NODES: Final = council(MOST_FAULTS)
"""Names of nodes that built-in strategies may have beside services and hub: acceptors."""

LABELS: Final[Mapping[str, str]] = types.MappingProxyType({name: kind.label for name, kind in STRATEGIES.items()})
"""The same names for people, as in tables and pictures."""

T = TypeVar("T")
_METHODS: Final = ("entry", "machine", "daemons", "check")
_WHERE: Final = "strategy"
_SIMPLE: Final = (bool, int, float, str)
_TRUTH: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def label(chosen: Strategy | str) -> str:
    """The name of a strategy for people; a strategy that is not built in goes by its own name."""
    name = chosen if isinstance(chosen, str) else chosen.name
    return LABELS.get(name, name)


_ANSWER: Final[Mapping[str, str]] = types.MappingProxyType(
    {"decided": "the outcome is final", "accepted": "it will be worked on"}
)


@named
def strategies() -> Listing[Strategy]:
    """List the built-in strategies, with their options and default values.

    Returns:
        A mapping by name that shows itself as a table; ``strategies()["saga"]`` is a `Saga` with its default options.
    """
    rows = {}
    for name, kind in STRATEGIES.items():
        one = kind()
        options = ", ".join(f"{option}={_written(value)}" for option, value in options_of(one).items())
        rows[name] = (LABELS[name], _ANSWER[one.promise], options)
    heads = ("name", "what it is", "an answer to the client means", "options")
    foot = "simtx.simulate(SCENARIO, NAME), or with options: 2pc:work=before; or an object of your own (simtx.protocols.Strategy)"
    return Listing("strategy", rows, heads, lambda name: STRATEGIES[name](), foot)


def options_of(one: Strategy) -> dict[str, Any]:
    """The options of a built-in strategy that can be given as text, with their values."""
    return {name: getattr(one, name) for name in _textual(_options(cast("BuiltIn", type(one))))}


def _options(kind: type[Any]) -> dict[str, Any]:
    """The options that objects of a dataclass are made with, with their types."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _written(value: Any) -> str:
    """The value of an option as it is written on the command line."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def strategy(chosen: str | Strategy, policies: Policies | None = None) -> Strategy:
    """The strategy that is meant, with the policies filled in.

    Args:
        chosen: A name, a name with options (``name:option=value,option=value``), or an object that satisfies `Strategy`.
        policies: Those of the scenario, for a strategy that has none of its own.

    Raises:
        ScenarioError: There is no such strategy or option, a value does not fit, or the object lacks a member of `Strategy`.
    """
    found = _parsed(chosen) if isinstance(chosen, str) else _checked(chosen)
    if policies is None:
        return found
    return _checked(_given("configured(policies)", found, lambda: configured(found, policies)))


def admit(chosen: Strategy, plan: Plan, where: str, providers: Collection[str] = ()) -> None:
    """Make sure that a strategy can play transactions of this kind.

    Args:
        chosen: The strategy.
        plan: One of them.
        where: What errors begin with: the scenario, or the cell.
        providers: Services whose steps a provider outside does; it cannot prepare.

    Raises:
        ScenarioError: It cannot, or its `check` does not give what `Strategy` says; the text names the strategy.
    """
    try:
        problem = _given("check(plan)", chosen, lambda: chosen.check(plan))
    except ScenarioError as error:
        raise ScenarioError(str(error), where) from None
    if problem is not None and not isinstance(problem, str):
        raise ScenarioError(
            f"strategy {chosen.name}: check(plan) gives {problem!r}; it has to give a line of text, or None", where
        )
    problem = problem or _unprepared(chosen, plan, providers)
    if problem:
        raise ScenarioError(problem, f"{where}, strategy {chosen.name}")


def _unprepared(chosen: Strategy, plan: Plan, providers: Collection[str]) -> str:
    """Reason why a strategy cannot play a plan in which some services cannot prepare; empty: it can."""
    services = plan.services()
    outside = [name for name in services if name in providers]
    own = extras(chosen)
    if not outside or not {"Prepare", "Execute"} & set(own.asks):
        return ""
    if (own.one_phase and len(services) == 1) or outside == [own.last_resource]:
        return ""
    if len(outside) > 1:
        names = " and ".join(f"'{name}'" for name in outside)
        return f"{names} are providers outside, which cannot prepare, and only one service can be the last resource: use a saga or an outbox"
    return (
        f"'{outside[0]}' is a provider outside, which cannot prepare: make it the last resource "
        f"(2pc:last_resource={outside[0]}), or use a saga or an outbox"
    )


def _given(what: str, chosen: Any, member: Callable[[], T]) -> T:
    """Return what a member of a strategy gives. What it raises is the strategy's mistake, and is reported as such, in one line."""
    try:
        return member()
    except ScenarioError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ScenarioError(f"strategy {chosen.name}: {what} raises {type(error).__name__}: {text}") from error


# --- objects --------------------------------------------------------------------------------------------------------------------


def _checked(candidate: Any) -> Strategy:
    """The object itself, if it satisfies `Strategy`."""
    if isinstance(candidate, type):
        raise ScenarioError(f"{candidate.__name__} is a class; give an object of it: {candidate.__name__}()", _WHERE)
    kind = type(candidate).__name__
    missing = [name for name in ("name", "promise", "uses_broker", "hub", *_METHODS) if not hasattr(candidate, name)]
    if missing:
        members = ", ".join(f"'{name}'" for name in missing)
        raise ScenarioError(
            f"an object of type {kind} is no strategy: it has no {members} (see simtx.protocols.Strategy); the names of ours are {_names()}",
            _WHERE,
        )
    for name in _METHODS:
        if not callable(getattr(candidate, name)):
            raise ScenarioError(f"the strategy {kind} has '{name}', but not as a method", _WHERE)
    if not isinstance(candidate.name, str) or not candidate.name:
        raise ScenarioError(
            f"the strategy {kind} has the name {candidate.name!r}; it must be a text that is not empty", _WHERE
        )
    if candidate.promise not in get_args(Promise):
        raise ScenarioError(
            f"the strategy {kind} has the promise {candidate.promise!r}; it must be {_choice(get_args(Promise))}",
            _WHERE,
        )
    if candidate.hub is not None and not isinstance(candidate.hub, str):
        raise ScenarioError(
            f"the strategy {kind} has the hub {candidate.hub!r}; it must be the name of a node, or None", _WHERE
        )
    result: Strategy = candidate
    return result


# --- text -----------------------------------------------------------------------------------------------------------------------


def _parsed(text: str) -> Strategy:
    name, colon, options = text.partition(":")
    name = name.strip()
    kind = STRATEGIES.get(name)
    if kind is None:
        raise ScenarioError(f"there is no strategy '{name}'{_hint(name)}; choose {_names()}", _WHERE)
    if not colon:
        return kind()
    return kind(**options_in(text, name, options, kind, _WHERE))


def options_in(text: str, name: str, options: str, kind: type[Any], where: str) -> dict[str, Any]:
    """The values of options that were written as text, ``option=value,option=value``, by name.

    Args:
        text: All that was written.
        name: What has the options.
        options: They.
        kind: Its class, a dataclass whose fields they are.
        where: What errors begin with.

    Raises:
        ScenarioError: There is no such option, one is given twice, or a value does not fit.
    """
    known = _options(kind)
    values: dict[str, Any] = {}
    for part in options.split(","):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not option:
            raise ScenarioError(f"'{part.strip()}' in '{text}' is not of the form option=value", where)
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            guess = f" (did you mean '{close[0]}'?)" if close else ""
            raise ScenarioError(
                f"'{name}' has no option '{option}'{guess}; its options are {_choice(_textual(known))}", where
            )
        if option in values:
            raise ScenarioError(f"option '{option}' is given twice in '{text}'", where)
        values[option] = _value(known[option], value, f"{name}: option '{option}'", where)
    return values


def _value(kind: Any, text: str, what: str, where: str = _WHERE) -> Any:
    """The value of an option, of the type that its field has."""
    problem = ""
    if type(None) in _alternatives(kind) and text.lower() == "none":
        return None
    for option in _alternatives(kind):
        if get_origin(option) is Literal:
            for value in get_args(option):
                if str(value) == text:
                    return value
            close = difflib.get_close_matches(text, [str(value) for value in get_args(option)], n=1)
            problem = f"must be {_choice(get_args(option))}" + (f" (did you mean '{close[0]}'?)" if close else "")
        elif option is bool:
            if text.lower() in _TRUTH:
                return _TRUTH[text.lower()]
            problem = "must be 'true' or 'false'"
        elif option in (int, float):
            try:
                return option(text)
            except ValueError:
                problem = "must be a whole number" if option is int else "must be a number"
        elif option is str:
            return text
    if not problem:  # policies, for example
        raise ScenarioError(f"{what} has no form as text; set it in Python or in the scenario file", where)
    raise ScenarioError(f"{what} is '{text}', but {problem}", where)


def option(kind: type[Any], name: str, value: Any, what: str) -> Any:
    """A value for an option of a strategy: text as on the command line, or a value of the type that the field has.

    Args:
        kind: Class of the strategy, a dataclass.
        name: One of its fields.
        value: What it shall be.
        what: What errors begin with.

    Raises:
        ScenarioError: The value does not fit.
    """
    wanted = get_type_hints(kind)[name]
    textual = _textual({name: wanted})
    if value is None and type(None) in _alternatives(wanted):
        return None
    if textual and isinstance(value, _SIMPLE):
        return _value(wanted, str(value), what)
    if textual:
        raise ScenarioError(f"{what} is a {type(value).__name__}; it must be a number, a text or a truth value", _WHERE)
    return value


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types that a field may have: those of a union, or the one."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _textual(known: Mapping[str, Any]) -> list[str]:
    """The options that can be given as text."""
    return [
        name
        for name, kind in known.items()
        if any(one in _SIMPLE or get_origin(one) is Literal for one in _alternatives(kind))
    ]


def _hint(name: str) -> str:
    """The nearest name or label, which may have been meant."""
    meant = {**{known: known for known in STRATEGIES}, **{text: known for known, text in LABELS.items()}}
    meant.update({text.replace(" ", "-"): known for known, text in LABELS.items()})
    meant.update({kind.__name__.lower(): known for known, kind in STRATEGIES.items()})
    close = difflib.get_close_matches(name.lower().replace("_", "-"), meant, n=1)
    return f" (did you mean '{meant[close[0]]}'?)" if close else ""


def _names() -> str:
    return _choice(STRATEGIES)


def _choice(names: Any) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}" if quoted else "none"
