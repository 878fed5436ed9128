"""Uncertainty of calibrated inputs: building blocks were measured in samples of a size, and another sample would have given other figures.

Each block is drawn again from its own sample (bootstrap). The scenario is simulated with each of these calibrations under common random numbers. The
variance of the answer is then taken apart: between calibrations, which more replications do not shrink, and between replications, which they do.

Source: Barton, Nelson and Xie (2014, "Quantifying input uncertainty via simulation confidence intervals", *INFORMS Journal on Computing* 26(1)).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simtx.errors import ScenarioError
from simtx.experiments.sensitivity.question import Answers
from simtx.scenario.calibration import Block, Calibration, load_calibration

if TYPE_CHECKING:
    from simtx.scenario import Scenario


@dataclass(frozen=True, slots=True)
class InputUncertainty:
    """The two parts of what is not known about an answer; standard deviations on its scale.

    Attributes:
        inputs: Of the answer, because the calibration is a sample; more replications do not shrink it.
        replications: Of its mean over the replications; twice as many halve its square.
        draws: Calibrations that were drawn.
        calibration: Its name.
        smallest: The block with the smallest sample, and its size.
    """

    inputs: float
    replications: float
    draws: int
    calibration: str
    smallest: tuple[str, int]

    @property
    def total(self) -> float:
        """Standard deviation of both together."""
        return math.hypot(self.inputs, self.replications)


def resampled(calibration: Calibration, rng: np.random.Generator) -> Calibration:
    """The calibration that another sample of the same size might have given."""
    blocks = {
        name: Block.of(rng.choice(np.array(block.values), size=max(block.samples, 1)).tolist())
        for name, block in calibration.blocks.items()
    }
    return dataclasses.replace(calibration, blocks=blocks)


def calibration_of(scenario: Scenario) -> Calibration:
    """The calibration that a scenario refers to.

    Raises:
        ScenarioError: It refers to none.
    """
    name = scenario.to_dict().get("calibration")
    if not isinstance(name, str):
        raise ScenarioError(
            "refers to no calibration, whose sample sizes could say how far its figures may be off", scenario.name
        )
    return load_calibration(name, Path(scenario.path).parent if scenario.path is not None else None)


def written(calibration: Calibration, draws: int, seed: int, folder: Path) -> list[str]:
    """Write calibrations that other samples might have given, and the one itself first; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(draws + 1):
        one = calibration if number == 0 else resampled(calibration, np.random.default_rng([seed, number]))
        path = folder / f"{calibration.name}-seed-{seed}-draw-{number}.toml"
        text = one.toml()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        found.append(str(path.resolve()))
    return found


def taken_apart(calibration: Calibration, found: Answers) -> InputUncertainty:
    """The two parts, from the answers of the drawn calibrations (rows) in the replications (columns).

    Every replication meets the same random numbers under all calibrations: what is left beside the means of rows and columns is the interaction, and a part of
    the variance between the rows' means is made by it.
    """
    draws, replications = found.values.shape
    rows, columns = found.values.mean(axis=1), found.values.mean(axis=0)
    rest = found.values - rows[:, None] - columns[None, :] + found.values.mean()
    interaction = float((rest**2).sum() / max((draws - 1) * (replications - 1), 1))
    between = max(float(rows.var(ddof=1)) - interaction / replications, 0.0)
    own = float(columns.var(ddof=1)) / replications if replications > 1 else math.nan
    name = min(calibration.blocks, key=lambda one: calibration.blocks[one].samples)
    return InputUncertainty(
        math.sqrt(between), math.sqrt(own), draws, calibration.name, (name, calibration.blocks[name].samples)
    )
