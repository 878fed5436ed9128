"""The figures that come with simtx are those of their sources, and can be found in a checkout and in an installed package."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import simtx.scenario
from simtx.scenario import Constant
from simtx.scenario.catalog import brokers, data_path, forced_writes, regions

# IBM Cloud VPC docs, averages of 18 July to 16 August 2026, in ms; once more, and the other way round than in the file.
ROUND_TRIPS = {
    ("washington", "dallas"): 32,
    ("sao-paulo", "dallas"): 142,
    ("london", "dallas"): 113,
    ("frankfurt", "dallas"): 123,
    ("mumbai", "dallas"): 249,
    ("tokyo", "dallas"): 145,
    ("sydney", "dallas"): 186,
    ("sao-paulo", "washington"): 122,
    ("london", "washington"): 76,
    ("frankfurt", "washington"): 86,
    ("mumbai", "washington"): 218,
    ("tokyo", "washington"): 142,
    ("sydney", "washington"): 215,
    ("london", "sao-paulo"): 181,
    ("frankfurt", "sao-paulo"): 192,
    ("mumbai", "sao-paulo"): 338,
    ("tokyo", "sao-paulo"): 283,
    ("sydney", "sao-paulo"): 325,
    ("frankfurt", "london"): 13,
    ("mumbai", "london"): 118,
    ("tokyo", "london"): 238,
    ("sydney", "london"): 261,
    ("mumbai", "frankfurt"): 118,
    ("tokyo", "frankfurt"): 229,
    ("sydney", "frankfurt"): 250,
    ("tokyo", "mumbai"): 132,
    ("sydney", "mumbai"): 152,
    ("sydney", "tokyo"): 101,
}


def test_every_pair_of_regions_is_known():
    assert len(ROUND_TRIPS) == len(regions().names) * (len(regions().names) - 1) / 2 == 28


@pytest.mark.parametrize(("pair", "trip"), ROUND_TRIPS.items(), ids=str)
def test_one_way_is_half_of_the_round_trip_in_both_directions(pair, trip):
    a, b = pair
    for one, other in ((a, b), (b, a), (f"{a}/b", f"{b}/c")):
        assert regions().latency(one, other, tail=False) == Constant(trip / 2000)
        assert regions().latency(one, other).mean() == pytest.approx(trip / 2000)


def test_the_tail_does_not_change_the_mean_and_is_a_tail():
    path = regions().latency("frankfurt", "washington")
    assert path.mean() == pytest.approx(0.043)
    assert 0.95 * 0.043 < path.quantile(0.5) < 0.043 < path.quantile(0.99)


def test_zones_of_a_region():
    """A region's plain name is its zone a; zones of one region are farther apart than nodes of one zone."""
    assert regions().latency("tokyo", "tokyo/a", tail=False) == Constant(0.05e-3)
    assert regions().latency("tokyo/b", "tokyo/b", tail=False) == Constant(0.05e-3)
    assert regions().latency("tokyo", "tokyo/b", tail=False) == Constant(0.38e-3)
    assert regions().latency("tokyo", "atlantis") is None


@pytest.mark.parametrize(
    ("name", "q", "milliseconds"),
    [
        ("nvme-consumer", None, 1.64),
        ("nvme-protected", None, 0.035),
        ("ebs-gp3", None, 1.8),
        ("redis-fsync", 0.0, 2.1),
        ("redis-fsync", 1.0, 2.7),
        ("azure-blob", 0.0, 8.3),
        ("azure-blob", 1.0, 11),
    ],
)
def test_forced_writes_are_those_of_the_source(name, q, milliseconds):
    latency = forced_writes()[name].latency
    assert (latency.mean() if q is None else latency.quantile(q)) * 1000 == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    ("name", "q", "milliseconds", "rounding"),
    [
        ("kafka", 0.99, 5, 1e-9),
        ("pulsar", 0.99, 25, 1e-9),
        ("rabbitmq", 0.99, 1, 1e-9),
        ("nats", 0.5, 0.105, 1e-9),
        ("nats", 0.99, 0.146, 5e-4),
    ],
)
def test_brokers_are_those_of_the_source(name, q, milliseconds, rounding):
    assert brokers()[name].latency.quantile(q) * 1000 == pytest.approx(milliseconds, abs=rounding)


def test_every_figure_has_a_source_its_evidence_and_what_was_assumed():
    for entry in (*forced_writes().values(), *brokers().values()):
        assert entry.source
        assert entry.assumption
        assert entry.evidence in ("measured", "vendor", "secondary", "derived")


def test_an_installed_package_finds_its_own_data(tmp_path):
    """A wheel has the files inside the package; no checkout is around."""
    package = Path(simtx.scenario.__file__).parent.parent
    ignore = shutil.ignore_patterns("__pycache__")
    (tmp_path / "simtx").mkdir()
    (tmp_path / "simtx" / "__init__.py").touch()
    for part in ("errors.py", "arguments.py", "files.py", "listing.py", "views.py"):
        shutil.copy(package / part, tmp_path / "simtx" / part)
    for part in ("scenario", "protocols"):
        shutil.copytree(package / part, tmp_path / "simtx" / part, ignore=ignore)
    shutil.copytree(data_path(), tmp_path / "simtx" / "_data")
    code = "from simtx.scenario import catalog, load; load('transfer'); print(catalog.data_path())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == (tmp_path / "simtx" / "_data").resolve()
