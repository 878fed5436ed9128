"""The command line: the verbs of `simtx` for a shell. Heavy modules are imported only by the command that needs them."""

from simtx.cli.app import main

__all__ = ["main"]
