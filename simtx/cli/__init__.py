"""The command line: the verbs of `simtx` for a shell. Heavy modules are imported only by the command that needs them."""

from __future__ import annotations


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    from simtx.cli.start import quietly

    with quietly():
        from simtx.cli.app import main as run
    return run(arguments)


__all__ = ["main"]
