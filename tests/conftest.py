"""What all tests share."""

import signal

from hypothesis import settings

# Nothing is timed in tests: on a busy machine an example may take any time.
settings.register_profile("simtx", deadline=None)
settings.load_profile("simtx")


def pytest_configure() -> None:
    """Hear Ctrl-C, also below a shell that runs its background jobs without: tests that interrupt a child would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
