"""Execute the notebooks in place, each in a fresh kernel: `python notebooks/run.py [notebook ...]`.

Without names, all of them. What says nothing about the result (versions, times of execution, progress bars) is not kept, and pictures
are reduced to 256 colours, so that the files stay small. What is simulated or explored comes out the same again on the same versions of
Python and its packages. What is measured does not: the seconds that something took, and in the fourth notebook all that was executed for
real; nor do identifiers inside sliders and drawings, and the order in which a set is written.
"""

from __future__ import annotations

import base64
import io
import re
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbclient.output_widget import OutputWidget
from PIL import Image
from scipy.spatial import cKDTree

FOLDER = Path(__file__).resolve().parent
_BAR = re.compile(r"\d+%\||\[\d+:\d\d[,<]")  # with a known end, and without one: " 10%|", "[00:05, 3 states/s]"
TIMEOUT_S = 600
"""No cell may take longer."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""What an executed notebook says about itself."""


class SilentOutput(OutputWidget):
    """An output widget that captures what is shown in it, and does not tell the kernel.

    What nbclient sends from within the handling of a message can swallow the wake-up for the reply of the cell (the socket of asyncio is told of
    changes only, and sending takes the news away): then the cell seems to take until its timeout. Nobody needs the kernel to know.
    """

    def send(self, *what: object, **more: object) -> None:
        """Say nothing."""


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs.

    Raises:
        CellExecutionError: A cell raised an exception.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=resources, record_timing=False
    )
    client.widget_registry = {"@jupyter-widgets/output": {"OutputModel": SilentOutput}}
    client.execute()
    return tidy(notebook)


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what says nothing about the result."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = _joined([one for one in cell.outputs if one.get("name") != "stderr" and not _is_bar(one)])
            for output in cell.outputs:
                if "text/html" in output.get(
                    "data", {}
                ):  # a widget that nobody runs any more shows an error, its page does not
                    output.data.pop("application/vnd.jupyter.widget-view+json", None)
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = smaller(output.data["image/png"])
    return notebook


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """What was printed in one go is one output: a busy kernel sends it in pieces."""
    joined: list[nbformat.NotebookNode] = []
    for one in outputs:
        if joined and one.output_type == joined[-1].output_type == "stream" and one.name == joined[-1].name:
            joined[-1].text += one.text
        else:
            joined.append(one)
    return joined


def _is_bar(output: nbformat.NotebookNode) -> bool:
    """Whether it is a progress bar: there is one where something has taken more than two seconds."""
    data = output.get("data", {})
    return "application/vnd.jupyter.widget-view+json" in data and _BAR.search(data.get("text/plain", "")) is not None


def smaller(png: str) -> str:
    """The same picture, in base64, in the 256 colours that it has most of; any other becomes the one that is nearest."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    numbers = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)  # a colour is one number
    unique, places, counts = np.unique(numbers.ravel(), return_inverse=True, return_counts=True)
    colours = np.stack([unique >> 16, unique >> 8 & 255, unique & 255], axis=1).astype(np.uint8)
    kept = colours[np.argsort(-counts, kind="stable")[:256]]
    _, nearest = cKDTree(kept).query(colours)
    picture = Image.fromarray(nearest[places].reshape(pixels.shape[:2]).astype(np.uint8), "P")
    picture.putpalette(kept.tobytes())
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def main(names: list[str]) -> int:
    """Execute the notebooks that are named, or all; the exit code is 1 if one failed, 2 if there is no such file."""
    paths = [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb"))
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        print(f"no such notebook: {', '.join(missing)}", file=sys.stderr)
        return 2
    failed = False
    for path in paths:
        start = time.perf_counter()
        try:
            notebook = execute(path.resolve())
        except CellExecutionError as error:
            failed = True
            print(f"{path.name}: failed\n{error}", file=sys.stderr)
            continue
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1024:.0f} kB", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
