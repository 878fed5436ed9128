"""The process of the embedded broker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from simtx.reference.brokers.embedded_server import NAME, serve
from simtx.reference.eventlog import LogFile
from simtx.reference.process import Ending
from simtx.reference.runfolder import RunFolder


async def run_broker(path: Path, name: str, incarnation: int, config: dict[str, Any]) -> None:
    """The main coroutine of the broker's process."""
    folder = RunFolder(path)
    log = LogFile(folder.log(name, incarnation), incarnation)
    ending = Ending()
    if incarnation > config["processes"]:
        log.log("restart", NAME, -1, actor="fault", detail=name)

    def report(
        kind: str, tx: int, *, cause: int | None = None, peer: str = "", name: str = "", detail: str = ""
    ) -> None:
        log.log(kind, NAME, tx, cause, actor=NAME, peer=peer, name=name, detail=detail)

    def refused(peer: str, reason: str) -> None:
        log.log("refuse", NAME, -1, actor="network", peer=peer, detail=reason)

    ended = asyncio.get_running_loop().create_task(ending.wait())
    await serve(
        folder.node(name),
        folder.secret(),
        config,
        log=report,
        announce=lambda host, port: folder.announce(name, host, port),
        ended=ended,
        refused=refused,
        host=config["host"],
        port=config["port"],
    )
