"""Calibrations: what the building blocks of a run take on one machine, measured there, and put in the place of a scenario's own figures.

A calibration file is TOML. It says where, when and on what it was measured. It has one table for each building block, with the sample's size, its mean,
and its distribution as equally likely values: means of equal groups of the sorted sample, so that the mean is kept exactly::

    name = "workstation-sqlite"
    date = "2026-11-22"
    [machine]
    processor = "..."
    [blocks.link."hub>service"]
    samples = 4000
    mean = "612us"
    values = ["310us", ...]

A scenario refers to it with ``calibration = "workstation-sqlite"``: a file of that name beside the scenario, in the folder ``data/calibrations``,
or a path. Then its links, forced writes and acknowledgements take the measured times, and every node is where its own links say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.errors import ScenarioError
from simtx.files import LARGEST_SCENARIO, Unreadable, parse_toml, read_text
from simtx.protocols.names import BROKER, CLIENT, HUB
from simtx.scenario.catalog import data_path
from simtx.scenario.distributions import Constant, Distribution, Empirical, Shifted
from simtx.scenario.infrastructure import CommonMode, HostSpec
from simtx.scenario.units import duration, duration_text, probability

if TYPE_CHECKING:
    from simtx.scenario.infrastructure import LogSpec, ServiceSpec
    from simtx.scenario.model import Fault, Scenario

VERSION: Final = 1
GROUPS: Final = 200
"""Values that a block is written with: the highest stands for the worst half per cent."""

SERVICE = "service"
LINKS: Final = tuple(
    f"{a}>{b}"
    for a, b in (
        (CLIENT, HUB),
        (CLIENT, SERVICE),
        (HUB, CLIENT),
        (SERVICE, CLIENT),
        (HUB, SERVICE),
        (SERVICE, HUB),
        (SERVICE, SERVICE),
    )
)
"""Paths of a message by the roles of its ends, from what causes it to what it causes."""
BLOCKS: Final[Mapping[str, str]] = {
    **{
        f"link.{link}": f"a message from {link.replace('>', ' to ')}, with all that both ends need for it"
        for link in LINKS
    },
    "local": "a local transaction without its service time, until it is durable",
    "second-phase": "the commit of a prepared branch, until it is durable",
    "forced": "a record of the hub, until it is durable",
    "publish": "an event, from the outbox or the service until its consumer works on it",
    "restart": "a process that was killed, from the end of its downtime until the others reach it again: the hub's, or that of any node",
    "restart.service": "likewise, of a service, which opens its database, too",
    "restart.broker": "likewise, of the embedded broker, with the processor time in it",
    "restart.processor": "the processor time of a hub or service in it",
}
"""Names of the blocks."""
_RESTART: Final = "restart.processor"


@dataclass(frozen=True, slots=True)
class Block:
    """One building block.

    Attributes:
        samples: Size of the sample.
        values: Equally likely values, ascending, in seconds.
    """

    samples: int
    values: tuple[float, ...]

    @staticmethod
    def of(sample: Sequence[float]) -> Block:
        """The block that a sample describes."""
        ordered = np.sort(np.asarray(sample, dtype=float))
        groups = np.array_split(ordered, min(GROUPS, len(ordered)))
        sizes = {len(group) for group in groups}
        values = np.array([group.mean() for group in groups])
        if len(sizes) > 1:  # groups of unequal size: the mean of their means is not quite that of the sample
            values *= ordered.mean() / values.mean()
        return Block(len(ordered), tuple(float(value) for value in values))

    @property
    def mean(self) -> float:
        """Its mean in seconds."""
        return sum(self.values) / len(self.values)

    def distribution(self) -> Distribution:
        """Distribution to draw from."""
        return Empirical(self.values)


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Processor time in seconds that processes take: the fields of `simtx.scenario.HostSpec` of the same names."""

    event: float
    effect: float
    transaction: float
    forced_write: float = 0.0
    event_aside: float = 0.0
    transaction_aside: float = 0.0
    forced_write_aside: float = 0.0
    mark_aside: float = 0.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured building blocks of one machine.

    Attributes:
        name: What a scenario calls it.
        date: When it was measured, ISO 8601.
        machine: Facts about the machine: processor, cores, memory, operating system, Python, file system.
        subject: What was measured: store, broker, strategy, scenario, rate.
        blocks: By name (`BLOCKS`).
        common_mode: How far the blocks are slow at the same time; None: not known, and taken as not at all.
        processor: Processor times of the processes, which share the machine's cores; None: not known, and taken as none.
        curves: Further measurements that no scenario uses, by name and then by concurrency: mean and p99 in seconds, and rate.
    """

    name: str
    date: str
    machine: Mapping[str, str]
    subject: Mapping[str, str]
    blocks: Mapping[str, Block]
    curves: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    common_mode: CommonMode | None = None
    processor: ProcessorTimes | None = None

    # --- files ------------------------------------------------------------------------------------------------------------------

    def toml(self) -> str:
        """The calibration as a file has it."""
        lines = [
            "# Measured building blocks of one machine; a scenario refers to it with `calibration`.",
            f"version = {VERSION}",
            f"name = {_text(self.name)}",
            f"date = {_text(self.date)}",
        ]
        for title, table in (("machine", self.machine), ("subject", self.subject)):
            lines += ["", f"[{title}]", *(f"{_text(key)} = {_text(value)}" for key, value in table.items())]
        for name, block in self.blocks.items():
            lines += [
                "",
                f"[blocks.{_text(name)}] # {BLOCKS[name]}",
                f"samples = {block.samples}",
                f"mean = {_text(duration_text(block.mean))}",
                f"values = [{', '.join(f'{value:.7g}' for value in block.values)}] # seconds",
            ]
        if self.common_mode is not None:
            common = self.common_mode
            lines += ["", "[common_mode] # rank correlation of what happens at the same time, and how long it lasts"]
            lines += [f"links = {common.links:.3g}", f"writes = {common.writes:.3g}"]
            lines.append(f"memory = {_text(duration_text(common.memory))}")
            lines.append(
                f"shared_flush = {common.shared_flush:.3g} # of forced writes that begin within the time below"
            )
            lines.append(f"shared_flush_within = {_text(duration_text(common.shared_flush_within))}")
        if self.processor is not None:
            lines += ["", "[processor] # processor time of a process"]
            lines += [
                f"{field.name} = {_text(duration_text(getattr(self.processor, field.name)))}"
                for field in dataclasses.fields(self.processor)
            ]
        for name, curve in self.curves.items():
            for level, figures in curve.items():
                lines += ["", f"[curves.{_text(name)}.{_text(level)}]"]
                lines += [f"{key} = {value:.6g}" for key, value in figures.items()]
        return "\n".join(lines) + "\n"

    @staticmethod
    def parse(text: str, where: str) -> Calibration:
        """Read a file's text.

        Raises:
            ScenarioError: It is no calibration.
        """
        try:
            raw = parse_toml(text)
        except Unreadable as error:
            raise ScenarioError(str(error), where) from None
        if raw.get("version") != VERSION:
            raise ScenarioError(f"is no calibration of version {VERSION} (found version {raw.get('version')!r})", where)
        blocks: dict[str, Block] = {}
        for name, table in _table(raw, "blocks", where).items():
            if name not in BLOCKS:
                raise ScenarioError(f"there is no building block '{name}'; they are {', '.join(BLOCKS)}", where)
            values = table.get("values") if isinstance(table, dict) else None
            if not isinstance(values, list) or not values:
                raise ScenarioError(f"block '{name}' has no list of 'values'", where)
            try:
                numbers = tuple(duration(value, unit_needed=False) for value in values)
            except ValueError as error:
                raise ScenarioError(f"block '{name}': {error}", where) from None
            blocks[name] = Block(int(table.get("samples", len(numbers))), numbers)
        texts = {
            title: {key: str(value) for key, value in _table(raw, title, where).items()}
            for title in ("machine", "subject")
        }
        return Calibration(
            str(raw.get("name", where)),
            str(raw.get("date", "")),
            texts["machine"],
            texts["subject"],
            blocks,
            raw.get("curves", {}),
            _common_mode(raw, where),
            _processor(raw, where),
        )

    def write(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            OSError: It cannot be written.
        """
        Path(path).write_text(self.toml(), encoding="utf-8")

    # --- use --------------------------------------------------------------------------------------------------------------------

    def apply(self, scenario: Scenario) -> Scenario:
        """The scenario as it is to be expected on that machine; what was not measured stays as it was."""
        services = {name: self._service(service) for name, service in scenario.services.items()}
        broker = scenario.broker
        if "publish" in self.blocks:
            broker = dataclasses.replace(broker, zone=BROKER, ack_latency=self._drawn("publish"), linger=Constant(0.0))
        hosts = self._hosts(scenario)
        hub = dataclasses.replace(scenario.hub, zone=HUB, log=self._log(scenario.hub.log, "forced"))
        return dataclasses.replace(
            scenario,
            services=services,
            hub=hub,
            broker=dataclasses.replace(broker, zone=BROKER),
            common_mode=self.common_mode or scenario.common_mode,
            hosts=hosts,
            network=self._network(scenario),
            transaction=dataclasses.replace(
                scenario.transaction,
                steps=tuple(
                    dataclasses.replace(
                        step,
                        service_time=self._longer(step.service_time),
                        compensation_time=self._longer(step.compensation_time),
                    )
                    for step in scenario.transaction.steps
                ),
            ),
            faults=tuple(self._fault(fault, scenario.services, hosts) for fault in scenario.faults),
        )

    def _hosts(self, scenario: Scenario) -> Mapping[str, HostSpec]:
        """The hosts of the scenario with the processor times of this machine; if it has none, this machine with all nodes and the clients on it."""
        times = self.processor
        if times is None:
            return scenario.hosts
        measured = {field.name: getattr(times, field.name) for field in dataclasses.fields(times)}
        if _RESTART in self.blocks:
            measured["restart"] = self.blocks[_RESTART].mean
        if scenario.hosts:
            return {name: dataclasses.replace(host, **measured) for name, host in scenario.hosts.items()}
        cores = self.machine.get("cores", "")
        nodes = (*scenario.services, HUB, BROKER, CLIENT)
        return {
            "machine": HostSpec(
                int(cores) if cores.isdecimal() and int(cores) else 1, 1.0, nodes, 0, parallel=False, **measured
            )
        }

    def _drawn(self, block: str) -> Distribution:
        """Time of a block beside the processor time that the processes of its ends take by themselves."""
        if self.processor is None or not block.startswith(("link.", "second-phase", "forced", "publish")):
            return self.blocks[block].distribution()
        if block == "publish":  # the broker takes it in and sends it on, and its consumer takes it in
            own = 2 * (self.processor.event + self.processor.effect)
        elif not block.startswith("link."):
            own = self.processor.forced_write
        else:
            own = 0.0 if block.endswith(f">{CLIENT}") else self.processor.event
            # a client gets to a request as a process gets to an event
            own += self.processor.event if block.startswith(f"link.{CLIENT}>") else self.processor.effect
        return Empirical(tuple(max(value - own, 0.0) for value in self.blocks[block].values))

    def _fault(self, fault: Fault, services: Iterable[str], hosts: Mapping[str, HostSpec]) -> Fault:
        """A crash lasts until the node is back, but for the processor time in it, which its host gives it."""
        of_broker = fault.kind == "broker-outage" or (fault.kind == "crash" and fault.node == BROKER)
        block = "restart.service" if fault.node in services and "restart.service" in self.blocks else "restart"
        block = "restart.broker" if of_broker else block
        if not (of_broker or fault.kind == "crash") or block not in self.blocks:
            return fault
        hosted = not of_broker and any(fault.node in host.nodes for host in hosts.values())
        own = self.blocks[_RESTART].mean if hosted and _RESTART in self.blocks and self.processor is not None else 0.0
        return dataclasses.replace(fault, duration=Shifted(fault.duration, max(self.blocks[block].mean - own, 0.0)))

    def _service(self, service: ServiceSpec) -> ServiceSpec:
        block = "second-phase" if "second-phase" in self.blocks else "local"
        store = dataclasses.replace(service.store, log=self._log(service.store.log, block))
        return dataclasses.replace(
            service,
            zone=service.name,
            store=store,
            service_time=self._longer(service.service_time),
            compensation_time=self._longer(service.compensation_time),
        )

    @property
    def _overhead(self) -> float:
        """Time of a local transaction beyond a bare commit, in seconds: its worker is busy with it, as with its service time."""
        if "second-phase" not in self.blocks or "local" not in self.blocks:
            return 0.0
        own = self.processor.transaction if self.processor is not None else 0.0
        return max(self.blocks["local"].mean - own - self._drawn("second-phase").mean(), 0.0)

    def _longer(self, time: Any) -> Any:
        return Shifted(time, self._overhead) if time is not None and self._overhead else time

    def _log(self, log: LogSpec, block: str) -> LogSpec:
        if block not in self.blocks:
            return log
        return dataclasses.replace(log, forced_write=self._drawn(block), flush="parallel")

    def _network(self, scenario: Scenario) -> Any:
        network = scenario.network
        roles = {**dict.fromkeys(scenario.services, SERVICE), HUB: HUB, BROKER: BROKER, CLIENT: CLIENT}
        before = {name: scenario.node_zone(name) or scenario.hub.zone for name in roles}
        links = {}
        for a, of in roles.items():
            for b, to in roles.items():
                link = network.link(before[a], before[b])
                measured = f"link.{of}>{to}" in self.blocks
                if BROKER in (of, to):  # the leg from publication to consumer is a block of its own
                    link = dataclasses.replace(link, latency=Constant(0.0)) if "publish" in self.blocks else link
                elif measured:
                    link = dataclasses.replace(link, latency=self._drawn(f"link.{of}>{to}"))
                elif a == CLIENT or b == CLIENT:
                    link = dataclasses.replace(link, latency=Constant(0.0))
                links[a, b] = link
        return dataclasses.replace(network, zones=tuple(roles), links=links, client_zone=CLIENT)


def load_calibration(name: str, folder: Path | None = None) -> Calibration:
    """A calibration by name or path.

    Args:
        name: Name of a file without ``.toml`` beside the scenario or in ``data/calibrations``, or a path.
        folder: Folder of the scenario.

    Raises:
        ScenarioError: There is none, or it is damaged.
    """
    places = list(_places(name, folder))
    for path in places:
        if path.exists():
            try:
                text = read_text(path, LARGEST_SCENARIO)
            except (Unreadable, FileNotFoundError) as error:
                raise ScenarioError(f"the calibration cannot be read: {error}", str(path)) from None
            return Calibration.parse(text, path.name)
    looked = ", ".join(f"'{path}'" for path in places)
    raise ScenarioError(f"there is no calibration '{name}' (looked for {looked}); make one with `simtx calibrate`")


def _places(name: str, folder: Path | None) -> Iterable[Path]:
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        yield path if folder is None else folder / path
        return
    if folder is not None:
        yield folder / f"{name}.toml"
    yield Path(f"{name}.toml")
    yield data_path() / "calibrations" / f"{name}.toml"


def _table(raw: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        raise ScenarioError(f"'{name}' is no table", where)
    return table


def _common_mode(raw: Mapping[str, Any], where: str) -> CommonMode | None:
    table = _table(raw, "common_mode", where)
    if not table:
        return None
    try:
        links, writes, shared = (probability(table.get(name, 0.0)) for name in ("links", "writes", "shared_flush"))
        memory = duration(table.get("memory"), unit_needed=False, zero=False)
        within = duration(table.get("shared_flush_within", "400us"), unit_needed=False, zero=False)
    except ValueError as error:
        raise ScenarioError(f"'common_mode': {error}", where) from None
    return CommonMode(links, writes, memory, shared, within)


def _processor(raw: Mapping[str, Any], where: str) -> ProcessorTimes | None:
    table = _table(raw, "processor", where)
    if not table:
        return None
    try:
        times = [
            duration(table.get(field.name, 0.0), unit_needed=False, zero=True)
            for field in dataclasses.fields(ProcessorTimes)
        ]
    except ValueError as error:
        raise ScenarioError(f"'processor': {error}", where) from None
    return ProcessorTimes(*times)


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
