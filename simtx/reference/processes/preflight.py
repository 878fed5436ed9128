"""Checks before a real run starts anything: can the strategy play the scenario, are names and ports free."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.protocols.extras import own_nodes
from simtx.protocols.names import BROKER, CLIENT
from simtx.protocols.registry import admit

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario

PROXY: Final = "proxy"
LAUNCHER: Final = "launcher"
PROVIDER: Final = ".provider"
"""End of the name of a provider's process, behind the name of its service."""


def relay_of(node: str) -> str:
    """Name of the process of a node's relay."""
    return f"{node}.relay"


def store_of(node: str) -> str:
    """Name of the database server of a node, if it is a server of our own."""
    return f"{node}.store"


def provider_of(service: str) -> str:
    """Name of the process of the provider of a service."""
    return f"{service}{PROVIDER}"


def check(scenario: Scenario, strategy: Strategy, plans: Sequence[Any]) -> None:
    """Refuse what cannot be executed.

    Raises:
        ScenarioError: The strategy cannot play this scenario, or a name is one that the launcher needs.
    """
    if not plans:
        raise ScenarioError("no transaction arrives: nothing to execute", scenario.name)
    admit(strategy, plans[0], scenario.name, scenario.providers)
    clash = [name for name in own_nodes(strategy) if name in scenario.services]
    if clash:
        what = "hub" if clash[0] == strategy.hub else "nodes"
        raise ScenarioError(
            f"'{clash[0]}' is the name of the {strategy.name} {what}; call the service something else", "services"
        )
    taken = {BROKER, CLIENT, PROXY, LAUNCHER} & {*scenario.services, *own_nodes(strategy)}
    if taken:
        raise ScenarioError(
            f"'{min(taken)}' is the name of a process of every real run; call the service something else", "services"
        )


def check_address(host: str, port: int, count: int) -> None:
    """Refuse an address that nobody can listen on here, before anything starts.

    Args:
        host: Address to listen on.
        port: First port; 0: any.
        count: How many ports from there on may be needed.

    Raises:
        ScenarioError: One of them cannot be had; the text says which and what would be right.
    """
    for number in range(port, port + count) if port else (0,):
        try:
            with socket.create_server((host, number)):
                pass
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                problem = f"port {number} of {host} is in use: another program uses that port; choose another first port, or 0"
            else:
                problem = f"nobody can listen on {host}, port {number}: {error.strerror}; 127.0.0.1 is always there"
            raise ScenarioError(problem, "port" if error.errno == errno.EADDRINUSE else "host") from None
