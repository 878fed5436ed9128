"""Make the gallery: `python docs/make_gallery.py [NAME ...]` writes docs/gallery.md and docs/images/gallery-NAME.png; with names, those pictures alone.

Each picture is drawn by the very line that the page shows. All of them come from runs of some seconds of simulated time, so that it takes less than two
minutes.
"""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "gallery.md"
SETUP = """\
import simtx

shop = simtx.load("checkout").replace(**{"run.transactions": 600, "run.warmup": "500ms"})
faults = [
    {"kind": "crash", "node": "payments", "at": "2s", "duration": "1s"},
    {"kind": "broker-outage", "at": "4s", "duration": "500ms"},
]
faulty = shop.replace(faults=faults)
run = simtx.simulate(faulty, "2pc")
quiet = simtx.compare(shop, replications=5)
comparison = simtx.compare(faulty, replications=5)
rates = simtx.sweep(shop, {"workload.rate": [50, 80, 110, 140, 170]}, ["2pc", "saga"], replications=5, store="results")
# Everybody pays into one of four accounts: who locks them over a round trip pays for distance and load.
changes = {"run.transactions": 300, "run.warmup": "500ms", "transaction.parameters.payee.population": 4}
bank = simtx.load("transfer").replace(**changes)
corners = simtx.sweep(
    bank,
    {"rtt": ["2ms", "40ms"], "workload.rate": [20, 160]},
    ["2pc", "saga"],
    parameters={"rtt": {"network.latency": 0.5}},
    replications=4,
    store="results",
    window="transactions",
)
frontier = corners.frontier("rtt", "workload.rate", "decision_p90_ms", budget=200)
study = simtx.sensitivity(
    bank.replace(**{"network.latency": "10ms", "workload.rate": 40}),
    ["2pc", "saga"],
    "decision_p90_ms",
    factors={"workload.rate": "60%", "network.latency": "50%", "services.*.service_time": "30%"},
    replications=6,
    store="results",
)
verdict = simtx.verify("saga", participants=2, crashes=1)
# Caches and a search index of the stock, which differ in their rules alone.
stock = {"service": "inventory", "key": "stock:{product}", "reads": "1000/s"}
rules = {
    "plain": {},
    "version": {"check": "version"},
    "lease": {"check": "lease"},
    "expires": {"update": "none", "ttl": "2s"},
    "through": {"update": "copy", "by": "writer"},
    "before": {"by": "writer-before"},
    "index": {"update": "copy", "fill": False, "ordered": False},
    "index_checked": {"update": "copy", "fill": False, "ordered": False, "check": "version"},
}
copied = shop.replace(derived={name: {**stock, **rule} for name, rule in rules.items()})
caches = simtx.compare(copied, ["2pc", "saga"], replications=2)
# A consumer group of the stock's events in a log with six partitions; nothing checks who writes.
instances = {"service": "inventory", "key": "stock:{product}", "instances": 3, "session": "300ms", "guard": "none"}
instances |= {"pause_every": {"distribution": "exponential", "average": "2s"}, "pause": "500ms"}
log = {"broker.partitions": 6, "broker.fetch": 50}
consumed = simtx.simulate(shop.replace(groups={"stock": instances}, **log), "saga")
"""


class Entry(NamedTuple):
    """One picture of the gallery.

    Attributes:
        name: Of the file.
        question: What it answers.
        code: The line that draws it.
        reading: How to read it, in a sentence or two.
    """

    name: str
    question: str
    code: str
    reading: str


ENTRIES = (
    Entry(
        "overview",
        "Which strategy, at a glance?",
        "quiet.plot()",
        "Four panels: latency, throughput, drift of the data, and the trade-off between latency and drift.",
    ),
    Entry(
        "latency",
        "How long does it take, and until when?",
        "quiet.plot.latency()",
        'Filled marks are medians, open ones 99 % quantiles. An answer that says "accepted" has a place of its own: it promises less than one that says "decided".',
    ),
    Entry(
        "distribution",
        "How slow are the slow ones?",
        "comparison.plot.distribution()",
        "The vertical axis is stretched towards 100 %: the slowest hundredth gets as much room as the nine hundredths before it. Marks are at 50, 90 and 99 %.",
    ),
    Entry(
        "answers",
        "How soon is a client answered?",
        'comparison.plot.distribution(column="latency_ms")',
        "Answers with different promises are in different panels.",
    ),
    Entry(
        "windows",
        "For how long is the data inconsistent?",
        "comparison.plot.windows()",
        "The time from the first effect of a transaction to its last. The legend counts transactions without effects.",
    ),
    Entry(
        "outcomes",
        "How do transactions end?",
        "comparison.plot.outcomes()",
        "A row of marks for each outcome that occurred, with intervals over the replications.",
    ),
    Entry(
        "differences",
        "By how much do strategies differ?",
        'comparison.plot.differences("2pc")',
        "Strategy minus 2pc, paired by replication. An open mark means that the interval contains 0: the runs do not tell the two apart.",
    ),
    Entry(
        "over-time",
        "What happens in an outage, and does it heal?",
        "comparison.plot.over_time()",
        "Red: a fault is in force. Hatched: no more arrivals, the system drains.",
    ),
    Entry(
        "failures",
        "How long until all is as before?",
        "comparison.plot.failures()",
        "Above: the faults. Below: how long each strategy took until backlog, drift and transactions in flight were back.",
    ),
    Entry(
        "timeline",
        "How far is the data out of balance?",
        "run.plot()",
        "One column of `run.timeline`; the last value is at the end of the line.",
    ),
    Entry(
        "heat-map",
        "Who waits, and when?",
        "comparison.plot.heat_map()",
        "A cell is darker the more transactions it holds. Two groups at one time show as two bands.",
    ),
    Entry("queues", "Where do they wait?", "run.plot.queues()", "One line for each service."),
    Entry(
        "derived",
        "What do readers of a cache or a search index see?",
        "caches.plot.derived()",
        "Left: the share of stale reads. Right: the age of stale values. A cross marks copies that stay wrong until their key is written again.",
    ),
    Entry(
        "group",
        "Who reads which partition, and what does a zombie do?",
        "consumed.plot.group()",
        "A bar has the colour and the hatch of the partition's owner, and is pale while that stands still. Shaded: a silent instance, until others have its partitions. Below: events that wait.",
    ),
    Entry(
        "lag",
        "How many events wait, and in which partition?",
        'simtx.story("poison-partition").run().runs["log"].plot.lag("receiver")',
        "A line a partition, the longest one in colour; of a queue there is one line. Red: attempts at a poison event fail, or a fault is in force.",
    ),
    Entry(
        "upgrade",
        "What does a rolling upgrade cost, in which order?",
        'simtx.story("rolling-upgrade").run().plot()',
        "The picture of a failure story: a panel a case, all on one scale. Here a line a partition.",
    ),
    Entry(
        "load",
        "Up to which load does it work?",
        "rates.plot.load()",
        "Vertical lines are knees: the highest rate at which 95 % of the offered load is still decided.",
    ),
    Entry(
        "frontier",
        "Where does the winner change?",
        "frontier.plot()",
        "A shade for each winner, stripes where the runs do not decide.",
    ),
    Entry(
        "tornado",
        "Which assumption matters?",
        "study.plot()",
        "The change of the answer at both ends of each factor. The bar of the noise shows how large a change can be by chance.",
    ),
    Entry(
        "flips",
        "Which assumption flips the answer?",
        'study.plot("flips")',
        "A bar that ends before the line flips the answer within the stated uncertainty.",
    ),
    Entry(
        "topology",
        "What is simulated?",
        'simtx.load("checkout-regions").plot()',
        "Zones, the services in them with their steps, and the links with their delay one way.",
    ),
    Entry(
        "machine",
        "What does the protocol do?",
        'run.plot.machine("coordinator")',
        "Numbers at the arrows are those of the table. Transitions that this run has not taken are grey.",
    ),
    Entry(
        "explored",
        "What has an exploration covered?",
        "simtx.Saga().diagram(of=verdict)",
        "The same for a verdict of `simtx.verify`.",
    ),
    Entry(
        "transaction",
        "What happened to this transaction?",
        "run.trace.diagram(300, compact=True)",
        "For a slide: equal messages share one row. Without `compact` every message has its own arrow, true to scale.",
    ),
)


@cache
def names() -> dict[str, Any]:
    """What the setup defines; its results go into a folder that is thrown away."""
    defined: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        exec(compile(SETUP.replace('"results"', repr(folder)), "gallery", "exec"), defined)  # noqa: S102 - our own code
    return defined


def draw(entry: Entry) -> Path:
    """Draw one picture by its line, with few colours and without the time of its making."""
    import io

    from PIL import Image

    drawn = eval(entry.code, names())  # noqa: S307 - our own code
    figure = drawn if hasattr(drawn, "savefig") else drawn.get_figure(root=True)
    written = io.BytesIO()
    figure.savefig(written, dpi=80, metadata={"Software": None})
    plt.close("all")
    path = IMAGES / f"gallery-{entry.name}.png"
    Image.open(written).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)
    return path


def page() -> str:
    """The text of the page."""
    parts = [
        "# Pictures\n",
        "This page shows the pictures of simtx, one for each question, with the line that draws it. Each is a method of the object that it draws: type `run.plot.` and press the Tab key. A picture of",
        "one axes takes `ax` and `figsize`; all return the matplotlib Axes. The title says the finding; the line below says scenario, changes, load, seed and replications. Your `rcParams` (a dark",
        "style, `font.size`) are kept. `python docs/make_gallery.py` makes this page, and draws each picture by the line above it, after\n",
        f"```python\n{SETUP}```\n",
        *(
            f"## {one.question}\n\n`{one.code}`\n\n{one.reading}\n\n![{one.question}](images/gallery-{one.name}.png)\n"
            for one in ENTRIES
        ),
    ]
    return "\n".join(parts)


def main(wanted: list[str]) -> int:
    """Make what is named, or all; the exit code is 2 if a name is wrong."""
    known = {one.name: one for one in ENTRIES}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"nothing is called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    PAGE.write_text(page(), encoding="utf-8")
    for name in wanted or known:
        path = draw(known[name])
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
