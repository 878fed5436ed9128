"""Pictures are found by completion, from the object that they draw, with real signatures; errors name what was called."""

from __future__ import annotations

import inspect
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import pytest

import simtx
from simtx.report.pictures import accessors

CLASSES = [
    one
    for one in vars(accessors).values()
    if inspect.isclass(one) and issubclass(one, accessors.Pictures) and one is not accessors.Pictures
]


def methods(cls: type) -> list[tuple[str, Any]]:
    """What a class of pictures offers."""
    return [
        (name, one)
        for name, one in vars(cls).items()
        if inspect.isfunction(one) and (name == "__call__" or not name.startswith("_"))
    ]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda one: one.__name__)
def test_every_picture_has_a_real_signature_and_says_what_its_options_mean(cls: type) -> None:
    for name, method in methods(cls):
        parameters = list(inspect.signature(method).parameters.values())[1:]
        assert not any(one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL) for one in parameters), name
        keywords = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
        assert len(keywords) <= 6, name
        text = inspect.getdoc(method) or ""
        for one in parameters:
            assert f"{one.name}: " in text, (name, one.name)


@pytest.fixture(scope="module")
def run(small: simtx.Scenario) -> simtx.Run:
    return simtx.simulate(small, "2pc")


def test_errors_name_what_was_called(run: simtx.Run) -> None:
    with pytest.raises(TypeError, match=r"^run\.plot\(\) got an unexpected keyword argument 'metric'"):
        run.plot(metric="in_flight")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^run\.plot\.latency\(\) got an unexpected"):
        run.plot.latency(metric="in_flight")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^run\.plot\.queues\(\) got an unexpected keyword argument 'metric'"):
        run.plot.queues(metric="in_flight")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^run\.plot\.queues\(\) got too many positional arguments"):
        run.plot.queues("in_flight")  # type: ignore[call-arg]
    with pytest.raises(
        AttributeError, match=r"^run\.plot has no picture 'latencies'; there are derived, failures, .*latency"
    ):
        run.plot.latencies  # noqa: B018


def test_a_picture_says_what_its_function_says_but_for_the_object_that_it_draws(run: simtx.Run) -> None:
    from simtx.report.pictures.queues import queues

    assert list(inspect.signature(queues).parameters) == ["runs", *inspect.signature(run.plot.queues).parameters]
    told, mine = (inspect.getdoc(one) or "" for one in (queues, run.plot.queues))
    assert told.replace("    runs: One run, or several on the same scenario.\n", "") == mine != told


@pytest.mark.parametrize("jedi", [pytest.param(True, marks=pytest.mark.heavy), False])
def test_completion_lists_the_pictures(run: simtx.Run, jedi: bool) -> None:
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.user_ns["run"] = run
    shell.Completer.use_jedi = jedi
    with provisionalcompleter():
        found = {one.text.lstrip(".") for one in shell.Completer.completions("run.plot.", 9)}
    assert found == set(dir(run.plot)) == {name for name, _ in methods(accessors.RunPlots) if name != "__call__"}
    assert "run.plot.latency(): Distribution" in repr(run.plot)
