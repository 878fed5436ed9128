"""What all tests share."""

import os
import signal
import tempfile
from pathlib import Path

from hypothesis import settings

# The key under which run folders are sealed is not that of whoever runs the tests.
os.environ["XDG_STATE_HOME"] = str(Path(tempfile.gettempdir()) / f"simtx-tests-{os.getuid()}")

# Nothing is timed in tests: on a busy machine an example may take any time.
settings.register_profile("simtx", deadline=None)
settings.load_profile("simtx")


def pytest_configure() -> None:
    """Hear Ctrl-C, also below a shell that runs its background jobs without: tests that interrupt a child would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
