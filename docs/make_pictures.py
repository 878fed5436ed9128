"""Make what pages show: `python docs/make_pictures.py [checkout] [in-doubt] [readme] [stories]`; without names, all of it.

`checkout` is the picture that `simtx compare checkout` writes; `in-doubt` is drawn by the second Python block of the README; `readme`
runs the first one and puts its output below it; `stories` plays the failure stories and writes their pictures and what they teach into their page. A test
fails when a text is stale.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import simtx  # after the choice of the backend

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
README = ROOT / "README.md"
STORIES = ROOT / "docs" / "stories.md"

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def checkout() -> Path:
    """The comparison of the first screen, with the defaults of the command line."""
    comparison = simtx.compare("checkout", replications=20, seed=1)
    return _save(comparison.plot(), "checkout.png")


def in_doubt() -> Path:
    """The message diagram of a coordinator that crashes before its decision."""
    return _save(_last_value(_PYTHON.findall(README.read_text(encoding="utf-8"))[1]).figure, "in-doubt.png")


def readme() -> Path:
    """The output below the first Python block."""
    text = README.read_text(encoding="utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(_PYTHON.findall(text)[0], "README.md", "exec"), {})  # noqa: S102 - our own page
    output = printed.getvalue().rstrip() + "\n"
    README.write_text(_OUTPUT.sub(lambda _: output, text, count=1), encoding="utf-8")
    return README


def stories() -> Path:
    """The page of the failure stories: of each its picture, its lesson, what its runs show, and what of it the model does not have."""
    (IMAGES / "stories").mkdir(parents=True, exist_ok=True)
    parts = []
    for name, story in simtx.stories().items():
        told = story.run()
        _save(told.plot(), f"stories/{name}.png")
        parts.append(f"\n## `{name}`: {story.title[0].lower()}{story.title[1:]}\n\n**{told.lesson}** {told.finding}\n")
        if story.omits:
            parts.append(f"\nNot in the model: {story.omits}\n")
        parts.append(f"\n![{story.title}](images/stories/{name}.png)\n")
    page = STORIES.read_text(encoding="utf-8")
    head = page[: page.index("<!-- stories: ")]
    mark = page[len(head) :].partition("\n")[0]
    STORIES.write_text(f"{head}{mark}\n{''.join(parts)}", encoding="utf-8")
    return STORIES


def _last_value(code: str) -> Any:
    """What the last line of the code is worth, as a notebook would show it."""
    *before, last = code.strip().splitlines()
    names: dict[str, Any] = {"simtx": simtx}
    exec(compile("\n".join(before), "README.md", "exec"), names)  # noqa: S102 - our own page
    return eval(last, names)  # noqa: S307 - our own page


def _save(figure: Any, name: str) -> Path:
    """Write the picture with few colours and without the time of its making: the same data give the same bytes."""
    from PIL import Image

    written = io.BytesIO()
    figure.savefig(written, dpi=110, bbox_inches="tight", metadata={"Software": None})
    IMAGES.mkdir(exist_ok=True)
    picture = Image.open(written).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(IMAGES / name, "PNG", optimize=True)
    return IMAGES / name


MAKERS: dict[str, Callable[[], Path]] = {
    "checkout": checkout,
    "in-doubt": in_doubt,
    "readme": readme,
    "stories": stories,
}


def main(names: list[str]) -> int:
    """Make what is named, or all; the exit code is 2 if a name is wrong."""
    unknown = [name for name in names if name not in MAKERS]
    if unknown:
        print(f"nothing is called {', '.join(unknown)}; there are {', '.join(MAKERS)}", file=sys.stderr)
        return 2
    for name in names or MAKERS:
        path = MAKERS[name]()
        print(f"{name}: {path.relative_to(ROOT)}, {path.stat().st_size / 1024:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
