"""What all tests share."""

import os
import signal
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The key under which run folders are sealed is not that of whoever runs the tests.
os.environ["XDG_STATE_HOME"] = str(Path(tempfile.gettempdir()) / f"simtx-tests-{os.getuid()}")

# The matrices here are small: threads of the linear algebra would wait for each other, and take seven times the processor.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# The test processes are as many as the processors: a comparison that is not told how many workers to use starts none.
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

# Nothing is timed in tests: on a busy machine an example may take any time, and so may drawing it. For every change the examples are the same
# ones, so that what fails fails because of the change; before a release they are drawn anew.
settings.register_profile(
    "simtx",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("SIMTX_TESTS") != "heavy",
)
settings.load_profile("simtx")


def pytest_configure() -> None:
    """Hear Ctrl-C, also below a shell that runs its background jobs without: tests that interrupt a child would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test with the marker ``sample(n)`` the first case and every n-th after it are played for every change; the others are heavy."""
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("sample")
        if marker is not None:
            test = item.nodeid.partition("[")[0]
            if seen[test] % marker.args[0]:
                item.add_marker(pytest.mark.heavy)
            seen[test] += 1
