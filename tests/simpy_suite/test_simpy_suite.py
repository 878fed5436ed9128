"""SimPy's own test suite, unmodified and without its tests of real time, passes with simtx's environment in place of SimPy's.

The suite is not ours to copy: it comes with the source distribution of the SimPy version that is installed, which pip fetches once into
pytest's cache folder (about 15 seconds, with network access); later runs take it from there.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

import simtx

HERE = Path(__file__).parent
VERSION = importlib.metadata.version("simpy")


def download(folder: Path) -> Path:
    """SimPy's source distribution in a folder, fetched unless it is there."""
    sdist = folder / f"simpy-{VERSION}.tar.gz"
    if not sdist.exists():
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            command += ["--no-deps", "--no-binary", "simpy", "--dest", partial, f"simpy=={VERSION}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, (
                f"pip could not fetch the sources of simpy {VERSION}:\n{done.stdout}{done.stderr}"
            )
            (found,) = Path(partial).glob("*.tar.gz")
            found.replace(sdist)  # only a whole file gets its final name
    return sdist


@pytest.fixture
def simpy_sources(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unpacked sources of the installed SimPy version."""
    with tarfile.open(download(request.config.cache.mkdir("simpy-sdist"))) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later
        archive.extractall(tmp_path, **safely)  # noqa: S202 - what pip has fetched and checked
    return tmp_path / f"simpy-{VERSION}"


@pytest.mark.heavy
def test_simpys_own_suite_passes_on_our_environment(simpy_sources: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH"))}
    environment = ours | {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(Path(simtx.__file__).parents[1])]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # nothing that happens to be installed takes part
        "SIMPY_DROP_IN_REPORT": str(report),
    }
    command = [sys.executable, "-m", "pytest", "tests", "-q", "--tb=short", "-o", "addopts=", "-p", "simpy_drop_in"]
    # SimPy's own options leave out its benchmarks: they need a plugin, and count events so that SimPy 4.1.2 itself fails two of them.
    # Its environment of real time is not replaced by ours, and its tests time the machine.
    done = subprocess.run(
        [*command, "--ignore=tests/test_benchmark.py", "--ignore=tests/test_rt.py", "-p", "no:cacheprovider"],
        cwd=simpy_sources,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, "\n".join((done.stdout + done.stderr).splitlines()[-60:])

    result = json.loads(report.read_text())
    assert result["simpy"] == VERSION
    assert result["collected"] > 100
    assert result["outcomes"] == {"passed": result["collected"]}  # none failed, skipped or expected to fail
    assert result["deselected"] == 0
    assert result["tests_with_env"] > 100
    assert result["environments"] >= result["tests_with_env"]
