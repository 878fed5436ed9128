"""The failure stories in an explorer: played in a worker process, so that neither the sliders nor the kernel wait for them."""

from __future__ import annotations

from typing import NamedTuple


class Told(NamedTuple):
    """A failure story that was played.

    Attributes:
        title: What happens.
        lesson: What there is to learn from it, in a sentence; its title, if the runs do not show it.
        finding: What the runs show, with their figures.
        picture: SVG.
        command: The line that plays it again.
    """

    title: str
    lesson: str
    finding: str
    picture: str
    command: str


def tell(name: str, seed: int = 1) -> Told:
    """Play a failure story and draw it.

    Args:
        name: Its name.
        seed: Of all random streams.

    Raises:
        ScenarioError: There is no such story.
    """
    import matplotlib.pyplot as plt

    from simtx.experiments.stories import story
    from simtx.lab.page import svg

    found = story(name)
    telling = found.run(seed, progress=False)
    try:
        picture = svg(telling.plot, found.title)
    finally:
        plt.close("all")  # this process is nobody's notebook
    return Told(found.title, telling.lesson, telling.finding, picture, telling.command)
