"""Every error that simtx raises on purpose.

One base class, and below it the question "whose fault was it?": the author of a scenario, the caller of a protocol machine, a
peer on the network, or the machine at hand.
"""


class SimtxError(Exception):
    """Base of all simtx errors; its text is one line that says what, where and what would be right."""


class ScenarioError(SimtxError, ValueError):
    """A scenario, an option or another input is wrong.

    Args:
        problem: What is wrong and what would be right, one line a problem.
        where: File and field, as far as they are known.
    """

    def __init__(self, problem: str, where: str = "") -> None:
        self.problem = problem
        self.where = where
        super().__init__(f"{where}: {problem}" if where else problem)

    def __reduce__(self) -> tuple[type["ScenarioError"], tuple[str, str]]:
        """Pickle by the two parts, so that the error survives the way back from a worker process."""
        return type(self), (self.problem, self.where)


class ProtocolViolation(SimtxError, RuntimeError):
    """The host or the author of a machine broke the contract of a protocol: a bug on our side of the network."""


class PeerFault(SimtxError, ValueError):
    """A message arrived that no correct peer sends."""


class RunFailed(SimtxError, RuntimeError):
    """A run could not be completed; its text names the run and how to repeat it."""
