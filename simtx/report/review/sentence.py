"""The decision of a report in one sentence, with its certainty and three reasons: written from figures, by rules.

The rules, in this order, of a comparison:

1. What decides is `Comparison.best`: thresholds first, then the metric. Nothing here says more than it supports.
2. One strategy alone is no choice, however good it is.
3. No strategy keeps to the thresholds: then none is named.
4. The runs support one, and its figure or that of an admissible other one is a configured timeout: then settings were ranked, and nobody is the choice.
5. The runs support one, and its figure is infinite, since too much had not ended with the runs: then nobody is the choice.
6. The runs support one: it is named, with where the winner changes if a frontier of the same strategies and metric names it, too.
7. By a time of all transactions it is one that commits much less than another one: then nobody is the choice.
8. They do not: then the first word is "Undecided", and what is open and what would settle it follow.

Of a sweep the same is said of its cells: in how many of them which strategy is supported, and over one parameter between which values it changes. A
frontier looks at the metric alone. So its flip point is left out of the sentence as soon as a threshold has turned any of its strategies away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from simtx.metrics.guarantees import GUARANTEE
from simtx.metrics.intervals import HIGHER_IS_BETTER, Interval
from simtx.metrics.laws import BEYOND, thin
from simtx.report import catalogue
from simtx.report.decision import ranks_settings, rows
from simtx.report.sweep_tables import with_unit
from simtx.report.tables import RELIABLE

if TYPE_CHECKING:
    from simtx.experiments import Comparison, Decision
    from simtx.experiments.comparison import Result
    from simtx.experiments.frontier import Frontier
    from simtx.experiments.sweep import Sweep
    from simtx.scenario import Scenario

Kind = Literal["yes", "open", "no"]
_FEW: Final = 4
_UNSTEADY: Final = {
    ("flow",): "a law of operation does not hold",
    ("little", "utilisation"): "no steady state, so that figures depend on how long a run is,",
    ("start",): "the warm-up is too short",
    ("capacity",): "a capacity is nearly used up, or more than that,",
}
"""Laws of which the first lines of a report speak, and what they say."""
_COSTS: Final = (
    "decision_p99_ms",
    "latency_p99_ms",
    "goodput_per_s",
    "committed_share",
    "compensated_share",
    "drift_gross_mean",
    "window_p99_ms",
    "in_doubt_seconds",
    "recovery_s",
    "messages_per_transaction",
    "forced_writes_per_transaction",
)
"""Metrics that a choice may have to be paid with, in the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A decision in words.

    Attributes:
        kind: ``yes``: the runs support it; ``open``: they do not; ``no``: nobody keeps to the thresholds.
        strategy: Who is named; empty: nobody.
        sentence: One sentence.
        certainty: How sure it is, in a few words.
        reasons: Up to three sentences.
        gains: In what the one that is named is better than another one, told apart by the runs.
        costs: In what it is worse.
    """

    kind: Kind
    strategy: str
    sentence: str
    certainty: str
    reasons: tuple[str, ...]
    gains: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()


def of_comparison(comparison: Comparison, decision: Decision, frontier: Frontier | None = None) -> Statement:
    """Decision of a comparison.

    Args:
        comparison: The runs.
        decision: Of it, by `Comparison.best`.
        frontier: Where the winner changes, if that was looked for.
    """
    words = catalogue.metric(decision.metric).words
    named = decision.strategy or ""
    gains, costs, looked = _told_apart(comparison, decision)
    reasons = _reasons(decision, costs, looked)
    more = (tuple(gains[:_FEW]), tuple(costs[:_FEW])) if supports(decision) else ((), ())
    figures = {row[0]: row[2] for row in rows(decision)}
    sure = _certainty(decision) + _thin(comparison, decision.metric) + _untested([comparison.scenario], decision)
    sure += _unsteady(comparison)
    if len(decision.ranking) == 1:
        only = str(decision.ranking.index[0])
        kept = _kept_alone(decision)
        return Statement("open", "", f"No choice: {only} alone was looked at{kept}.", sure, reasons)
    if not decision.candidates:
        return Statement(
            "no",
            "",
            f"None of them: no strategy keeps to all thresholds ({'; '.join(_limits(decision))}).",
            sure,
            reasons,
        )
    if decision.supported and not supports(decision):
        most = "lowest" if decision.better == "lower" else "highest"
        if _unended(decision):
            text = f"Undecided: too much had not ended under {named} when the runs ended: its {words} is infinite."
            return Statement("open", "", text, f"the runs ended too early; {sure.split('; ')[1]}", reasons)
        text = (
            f"Undecided: by the {words} {named} would be the {most}, but the figure of {_listed(ranks_settings(decision))} is a timeout of the "
            "configuration and says nothing about speed."
        )
        return Statement("open", "", text, f"no speed was compared; {sure.split('; ')[1]}", reasons)
    if decision.supported:
        sentence = f"{_named(decision, words, figures)}{_flip(decision, frontier)}"
        if not decision.guaranteed:
            sentence += "; not guaranteed, since the runs ended early"
        return Statement("yes", named, f"{sentence}.", sure, reasons, *more)
    return Statement("open", "", f"{_undecided(comparison, decision, words)}.", sure, reasons)


def _certainty(decision: Decision) -> str:
    sure = f"{100 * decision.confidence:g} % for all statements together"
    support = (
        "supported by the runs" if decision.supported and len(decision.ranking) > 1 else "not supported by the runs"
    )
    if len(decision.ranking) == 1:
        support = "nothing was compared"
    elif not decision.candidates:
        support = "all are turned away by the runs"
    if decision.supported and len(decision.ranking) > 1:
        rest = _fewest([decision]) or f"; {'all runs are complete' if decision.guaranteed else 'not guaranteed'}"
        return f"{support}; {sure}{rest}"
    return f"{support}; {sure}"


def _fewest(decisions: Sequence[Decision]) -> str:
    """Note that cells have fewer runs than intervals are tested for."""
    least = min((int(one.ranking["n"].min()) for one in decisions if len(one.ranking)), default=RELIABLE)
    runs = f"{least} run{'s' if least != 1 else ''}"
    return "" if least >= RELIABLE else f"; only {runs} of each, and intervals are tested for {RELIABLE} and more"


def _thin(result: Comparison | Sweep, metric: str) -> str:
    """Note that a quantile decides beyond which hardly anything was observed in a run."""
    counts = result.frame["transactions"].dropna() if "transactions" in result.frame else ()
    least = float(min(counts, default=math.inf))
    beyond = thin(metric, least)
    few = f"; runs of {least:,.0f} measured transactions have fewer than {BEYOND} beyond {beyond}: a few slow ones make the figure"
    return few if beyond else ""


def _unsteady(comparison: Comparison) -> str:
    """Note that runs were not in a steady state, or kept no law of operation: their averages and quantiles depend on how long they lasted."""
    finished = [one for one in comparison.results if not one.error]
    told = ""
    for laws, what in _UNSTEADY.items():
        counts = Counter(one.strategy for one in finished if any(found.law in laws for found in one.findings))
        if counts:
            total = Counter(one.strategy for one in finished)
            runs = _listed([f"{count} of {total[name]} runs of {name}" for name, count in counts.items()])
            told += f"; {what} in {runs}"
    return told


def supports(decision: Decision) -> bool:
    """Return whether the runs support a strategy, and not a setting or an end that came too early.

    A quantile that is a configured timeout, of the best one or of another one beside it, ranks who gives up soonest.
    """
    return decision.supported and not ranks_settings(decision) and not _unended(decision)


def _unended(decision: Decision) -> bool:
    """Return whether the figure of the best one is infinite: so much had not ended with the runs."""
    return decision.strategy is not None and math.isinf(decision.ranking["mean"].to_dict()[decision.strategy])


def _untested(scenarios: Sequence[Scenario], decision: Decision) -> str:
    """Note that nothing was done to test whether effects get lost, where a threshold asks for it."""
    about = (
        {str(one).split(" ", 1)[0] for one in decision.thresholds["threshold"]} if len(decision.thresholds) else set()
    )
    if not scenarios or not about & {"missing_effects", "duplicate_effects", "residual_divergence"}:
        return ""
    links = [link for one in scenarios for link in one.network.links.values()]
    lossy = any(link.loss or link.duplication for link in links)
    tried = lossy or any(one.faults for one in scenarios)
    return "" if tried else "; no fault was played: what happens in crashes and outages is not tested"


def refuted(statement: Statement, verdicts: Sequence[tuple[str, Any]]) -> Statement:
    """The statement, unless the model checker refutes whom it names: then nobody is named.

    Args:
        statement: What the runs say.
        verdicts: Of the model checker, each with the label of its strategy.
    """
    verdict = next((one for label, one in verdicts if label == statement.strategy), None)
    if not statement.strategy or verdict is None or not verdict.violations:
        return statement
    text = f"Undecided: by the runs it would be {statement.strategy}, but the model checker refutes it on {_listed(list(verdict.violations))}."
    return replace(statement, kind="open", strategy="", sentence=text, gains=(), costs=())


def broken(statement: Statement, results: Iterable[Result]) -> Statement:
    """The statement, with whose runs have violated what the strategy guarantees; if it names one of these, nobody is named.

    Args:
        statement: What the runs say.
        results: All runs that it is about, of every cell.
    """
    names: dict[str, dict[str, int]] = {}
    for one in results:
        for found in one.findings:
            if found.law == GUARANTEE and not one.error:
                of = names.setdefault(one.strategy, {})
                of[found.place] = of.get(found.place, 0) + 1
    if not names:
        return statement
    told = _listed([f"{name} ({_listed(list(of))})" for name, of in names.items()])
    if statement.strategy in names:
        text = f"Undecided: by the figures it would be {statement.strategy}, but runs have violated what is guaranteed: {told}."
        return replace(statement, kind="open", strategy="", sentence=text, gains=(), costs=())
    return replace(statement, sentence=f"{statement.sentence} Runs have violated what is guaranteed: {told}.")


def _alone(decision: Decision) -> bool:
    """Return whether thresholds have turned all others away, so that the metric ranks nobody."""
    out = int((decision.ranking["standing"] == "not admissible").sum())
    return out > 0 and out == len(decision.ranking) - 1


def _named(decision: Decision, words: str, figures: Mapping[str, str]) -> str:
    """Name the strategy, and say why in a few words."""
    limits = _limits(decision)
    if _alone(decision):
        return f"{decision.strategy}: the only one {_kept(limits)}"
    most = "lowest" if decision.better == "lower" else "highest"
    among = f", among strategies {_kept(limits)}" if limits else ""
    return f"{decision.strategy}: the {most} {words}, {figures[decision.strategy or '']}{among}"


def _kept(limits: Sequence[str]) -> str:
    """Limits that a strategy keeps to, behind a noun: ``without effects missing at the end, with time from request to answer (99 %) < 200 ms``."""
    without = [one.removeprefix("no ") for one in limits if one.startswith("no ")]
    others = [one for one in limits if not one.startswith("no ")]
    parts = [f"without {_listed(without, 'or')}"] if without else []
    parts += [f"with {_listed(others)}"] if others else []
    return ", ".join(parts)


def _limits(decision: Decision) -> list[str]:
    """The thresholds in words: ``effects missing at the end == 0``; the last of them, if it has turned anybody away: what is guaranteed."""
    limits = dict.fromkeys(decision.thresholds["threshold"]) if len(decision.thresholds) else ()
    return [
        *(limit_text(str(one)) for one in limits),
        *(["no violations of what is guaranteed"] if decision.violated else []),
    ]


def limit_text(threshold: str) -> str:
    """A threshold as people read it: ``time from request to answer (99 %) < 200 ms``, ``no effects missing at the end``."""
    name, sign, limit = threshold.split(" ", 2)
    shown = catalogue.metric(name)
    if sign == "==" and float(limit) == 0:
        return f"no {shown.words.removeprefix('number of ').removeprefix('share of ')}"
    unit = "" if shown.unit in ("{value}", "per run", "count") else f" {shown.unit}"
    return f"{shown.words} {sign} {catalogue.number(float(limit) * shown.scale)}{unit}".rstrip()


def _missed(threshold: str) -> str:
    """Say what a strategy does that misses a threshold: ``has effects missing at the end``."""
    text = limit_text(threshold)
    return f"has {text.removeprefix('no ')}" if text.startswith("no ") else f"misses {text}"


def _kept_alone(decision: Decision) -> str:
    standings = set(decision.thresholds["standing"]) if len(decision.thresholds) else set()
    if not standings:
        return ""
    if "not met" in standings:
        return ", and it misses a threshold"
    return (
        ", and whether it keeps to the thresholds is open"
        if "undecided" in standings
        else ", and it keeps to the thresholds"
    )


def _undecided(comparison: Comparison, decision: Decision, words: str) -> str:
    """Open questions, and what would settle them."""
    named = decision.strategy
    if named is None:
        first = decision.notes[0] if decision.notes else f"no strategy can be named the best by the {words}"
        return f"Undecided: {first}"
    if int(comparison.frame["strategy"].value_counts().max() if len(comparison.frame) else 0) < 2:
        return "Undecided: one run of each strategy decides nothing; make ten or more"
    rivals = [name for name in decision.candidates if name != named]
    if rivals:
        first = f"Undecided between {_listed([named, *rivals])}, by the {words}"
    elif len(decision.doubted):
        limits = _listed(list(dict.fromkeys(limit_text(str(one)) for one in decision.doubted["threshold"])))
        first = f"Undecided: whether {named} keeps to {limits} is open"
    else:
        first = f"Undecided: {named} looks best by the {words}, and runs of others failed or have no value"
    return "; ".join([first, *decision.advice[:1]])


def _replications(more: float) -> str:
    """A number of further replications, to two digits: more are not known."""
    return f"{float(f'{more:.2g}'):,.0f} more replication{'s' if more > 1 else ''}"


def _flip(decision: Decision, frontier: Frontier | None) -> str:
    """Say where the winner changes, as far as the frontier is about the same question and thresholds turn none of its strategies away."""
    if frontier is None or frontier.metric != decision.metric or frontier.better != decision.better:
        return ""
    out = set(decision.ranking.index[decision.ranking["standing"] == "not admissible"])
    if out & set(frontier.strategies) or decision.strategy not in frontier.strategies:
        return ""
    mark = "" if frontier.guaranteed else " (not guaranteed)"
    if len(frontier.axes) != 1:
        return f"; over {_listed([axis.name for axis in frontier.axes])}: {frontier.caption}{mark}"
    crossings = frontier.crossings
    if not crossings:
        return f"; over {frontier.axes[0].name}, {frontier.axes[0].text(frontier.axes[0].low)} to {frontier.axes[0].text(frontier.axes[0].high)}: {frontier.caption}{mark}"
    if crossings[0].below == decision.strategy:
        return f", {frontier.caption.removeprefix(f'{decision.strategy}, ')}{mark}"
    return f"; over {frontier.axes[0].name}: {frontier.caption}{mark}"


# --- reasons ------------------------------------------------------------------------------------------------------------------------


def _reasons(decision: Decision, costs: Sequence[str], looked: int) -> tuple[str, ...]:
    """Three sentences: the figures that decide, what the thresholds say, and what it is paid with."""
    price = f"It is paid for: {costs[0]}." if costs else ""
    if costs and not supports(decision):
        price = f"If {decision.strategy} were taken: {costs[0]}."
    if not costs and looked and supports(decision):
        price = f"In none of {looked} other figures that were looked at do the runs show it to be worse than another admissible one."
    return tuple(one for one in (_figures(decision), _threshold_words(decision), price) if one)


def _figures(decision: Decision) -> str:
    """The metric of the best one beside the next one."""
    by = catalogue.noted(decision.metric, f"{decision.better} is better; comparisons hold together")
    every = rows(decision)
    table = [row for row in every if row[1] != "not admissible"] or every
    first = table[0]
    text = f"By the {by} {first[0]} has {first[2]}"
    if len(table) > 1:
        others = [f"{row[0]} {row[2]}{f' ({row[3]})' if row[3] else ''}" for row in table[1:]]
        text += f"; {'; '.join(others)}"
    return f"{text}."


def _threshold_words(decision: Decision) -> str:
    judged = decision.thresholds
    if not len(judged):
        return "No threshold was set, so that the metric decides alone."
    missed = judged[judged["standing"] == "not met"]
    doubted = judged[judged["standing"] == "undecided"]
    parts = []
    for name in dict.fromkeys(missed["strategy"]):
        limits = [_missed(str(one)) for one in missed.loc[missed["strategy"] == name, "threshold"]]
        parts.append(f"{name} {_listed(limits)}")
    for name in dict.fromkeys(doubted["strategy"]):
        limits = [limit_text(str(one)) for one in doubted.loc[doubted["strategy"] == name, "threshold"]]
        parts.append(f"whether {name} keeps to {_listed(limits)} is open")
    if not parts:
        never = judged["note"].str.contains("as many others", na=False).any()
        names, count = list(decision.ranking.index), int(decision.ranking["n"].max())
        alone = len(names) == 1
        runs = f"{'the one run' if count == 1 else f'the {count} runs'}{'' if alone else ' of each'}"
        who = f"{names[0]} keeps" if alone else "All keep"
        return f"{who} to the thresholds{f' in {runs}' if never else ''}: {'; '.join(_limits(decision))}."
    kept = [str(name) for name in decision.ranking.index if name not in {*missed["strategy"], *doubted["strategy"]}]
    rest = f"; {_listed(kept)} keep{'s' if len(kept) == 1 else ''} to all" if kept else ""
    return f"Thresholds: {'; '.join(parts)}{rest}."


def _told_apart(comparison: Comparison, decision: Decision) -> tuple[list[str], list[str], int]:
    """Say in what the one that is named is better and worse than admissible others; and how much was looked at.

    The confidence holds for all that was looked at.
    """
    named = decision.strategy
    standings = decision.ranking["standing"]
    rivals = [str(name) for name in standings.index if name != named and standings[name] != "not admissible"]
    metrics = [name for name in _COSTS if name in comparison.metrics and name != decision.metric]
    if named is None or not rivals or not metrics:
        return [], [], 0
    level = 1 - (1 - decision.confidence) / (len(rivals) * len(metrics))
    gains: list[str] = []
    costs: list[str] = []
    for metric in metrics:
        for rival in rivals:
            # answers of one promise alone are like with like
            if metric.startswith("latency_") and comparison.promises[rival] != comparison.promises[named]:
                continue
            words, worse = _side(comparison, named, rival, metric, level)
            if words:
                (costs if worse else gains).append(words)
    return gains, costs, len(metrics)


def _side(comparison: Comparison, named: str, rival: str, metric: str, level: float) -> tuple[str, bool]:
    """Say how the one that is named compares with another one by a metric, and whether it is worse; no words: the runs do not tell."""
    shown = catalogue.metric(metric)
    table = comparison.differences(rival, [metric], level)
    mean, low, high, n = (float(table[metric, part][f"{named} - {rival}"]) for part in ("mean", "low", "high", "n"))
    if not all(map(math.isfinite, (mean, low, high))) or low <= 0 <= high:
        return "", False
    near, far = sorted((abs(low), abs(high)))
    size, ends = catalogue.estimate(Interval(abs(mean), near, far, int(n)), shown.scale)
    unit = catalogue.unit(shown, comparison.scenario)
    unit = f" {'points' if unit == '%' else unit}" if unit not in ("", "count") else ""
    more = mean > 0
    words = f"the {shown.words} is {size} {ends}{unit} {'higher' if more else 'lower'} than that of {rival} (paired, {100 * level:.4g} %)"
    return words, more != (metric in HIGHER_IS_BETTER)


# --- sweeps -------------------------------------------------------------------------------------------------------------------------


def of_sweep(
    sweep: Sweep,
    decisions: Mapping[int, Decision],
    metric: str,
    confidence: float,
    frontier: Frontier | None = None,
    scenarios: Sequence[Scenario] = (),
) -> Statement:
    """Decision of a sweep.

    Args:
        sweep: The runs.
        decisions: Of each cell, at a confidence with which all of them hold together.
        metric: What ranks.
        confidence: With which they do.
        frontier: Where the winner changes, if that was looked for.
        scenarios: Of all cells, as far as they are known: without a fault in any of them the statement says that none was played.
    """
    words = catalogue.metric(metric).words
    each = list(decisions.values())
    winners = [str(one.strategy) if supports(one) else "" for one in each]
    counts = Counter(winner for winner in winners if winner)
    cells = len(each)
    open_cells = winners.count("")
    nobody = sum(not one.candidates for one in each)
    limits = list(dict.fromkeys(limit for one in each for limit in _limits(one)))
    turned_away = [
        name for name in sweep.strategies if any(_is_out(one, name) and name not in one.violated for one in each)
    ]
    sure = f"{100 * confidence:g} % for the statements of all cells together"
    sure += f"{_fewest(each)}{_thin(sweep, metric)}{_untested(scenarios, each[0]) if each else ''}"
    kept = f", among strategies {_kept(limits)}" if limits else ""
    reasons = [_cell_words(counts, open_cells, nobody, cells)]
    if turned_away:
        reasons.append(
            f"{_listed(turned_away)} miss{'es' if len(turned_away) == 1 else ''} a threshold in at least one cell."
        )
    elif limits:
        reasons.append("No strategy misses a threshold in any cell.")
    undecided = [one for one in each if not supports(one) and one.candidates]
    stakes = [one.at_stake for one in undecided if one.little_open]
    known = [one.more for one in undecided if one.more > 0 and math.isfinite(one.more) and not one.little_open]
    if stakes:
        reasons.append(
            f"In {len(stakes)} of the undecided cells another strategy is better than the one that looks best by {100 * max(stakes):.2g} % at most: more "
            "replications are hardly worth it there."
        )
    if known:
        fewest = min(int(one.ranking["n"].min()) for one in each if len(one.ranking))
        reasons.append(
            f"About {_replications(max(*known, RELIABLE - fewest))} of each would settle {len(known)} of the undecided cells, if means and spreads are as they are now."
        )
    early = Counter(one.aborting for one in each if one.aborting)
    reasons += [
        f"By this time {name} would be named in {count} of the undecided cells, but it commits much less than another strategy there: what is aborted "
        "early also ends early."
        for name, count in early.items()
    ]
    if len(sweep.strategies) == 1:
        text = f"No choice: {sweep.strategies[0]} alone was looked at, in {cells} cells."
        return Statement("open", "", text, f"nothing was compared; {sure}", tuple(reasons[:1]))
    if nobody == cells:
        text = f"None of them: in no cell does a strategy keep to all thresholds ({'; '.join(limits)})."
        return Statement("no", "", text, f"all are turned away by the runs; {sure}", tuple(reasons))
    usable = frontier is not None and frontier.metric == metric and not set(frontier.strategies) & set(turned_away)
    usable = usable and frontier is not None and not _unlike(sweep, frontier)
    if frontier is not None and not usable:
        reasons.append(
            "The frontier looks at the metric alone, and thresholds turn some of its strategies away: the cells decide."
            if frontier.metric == metric and not _unlike(sweep, frontier)
            else "The frontier compares answers that promise different things: the cells decide."
            if frontier.metric == metric
            else f"The frontier is of another metric, the {catalogue.metric(frontier.metric).words}: the cells decide."
        )
    if usable and frontier is not None:
        where = (
            ""
            if set(frontier.strategies) == set(sweep.strategies)
            else f", between {_listed(list(frontier.strategies))}"
        )
        decided = any(share > 0 for share in frontier.areas.values())
        lead = frontier.caption[0].upper() + frontier.caption[1:] if not decided else frontier.caption
        flipped = f"{lead}, by the {words}{where}."
        sure = (
            f"{100 * frontier.confidence:g} % at each point; {frontier.support}; undecided {_share(frontier.undecided)}"
        )
        sure += f"{_thin(sweep, metric)}{_untested(scenarios, each[0]) if each else ''}"
        return Statement("yes" if decided else "open", "", flipped, sure, tuple(reasons))
    if not counts:
        return Statement(
            "open",
            "",
            f"Undecided in all {cells} cells, by the {words}.",
            f"not supported by the runs; {sure}",
            tuple(reasons),
        )
    line = _along(sweep, list(decisions), winners)
    if len(counts) == 1 and not open_cells:
        name = next(iter(counts))
        text = f"{name}, in all {cells} cells: the {catalogue.best(metric)} {words}{kept}."
        return Statement("yes", name, text, f"supported by the runs; {sure}", tuple(reasons))
    text = line or _listed([f"{name} in {count} of {cells} cells" for name, count in counts.most_common()])
    rest = f"; {open_cells} of {cells} cells are undecided" if open_cells and not line else ""
    if 2 * open_cells > cells:
        text, rest = f"Undecided in {open_cells} of {cells} cells; {text}", ""
    return Statement(
        "open" if 2 * open_cells > cells else "yes",
        next(iter(counts)) if len(counts) == 1 and 2 * open_cells <= cells else "",
        f"{text}{rest}: the {catalogue.best(metric)} {words}{kept}.",
        f"supported by the runs where a strategy is named; {sure}",
        tuple(reasons),
    )


def _unlike(sweep: Sweep, frontier: Frontier) -> bool:
    """Return whether a frontier ranks answers that mean different things."""
    promises = {sweep.study.strategies[name].promise for name in frontier.strategies if name in sweep.study.strategies}
    return frontier.metric.startswith("latency_") and len(promises) > 1


def _share(value: float) -> str:
    return "nowhere" if not value else "less than 1 %" if value < 0.005 else f"{100 * value:.0f} %"


def _cell_words(counts: Mapping[str, int], open_cells: int, nobody: int, cells: int) -> str:
    parts = [f"{name} is supported in {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1])]
    if open_cells - nobody:
        parts.append(f"{open_cells - nobody} {'is' if open_cells - nobody == 1 else 'are'} undecided")
    if nobody:
        parts.append(f"in {nobody} nobody keeps to the thresholds")
    return f"Of {cells} cell{'s' if cells != 1 else ''}: {'; '.join(parts)}."


def _is_out(decision: Decision, name: str) -> bool:
    return name in decision.ranking.index and bool(decision.ranking["standing"][name] == "not admissible")


def _along(sweep: Sweep, numbers: Sequence[int], winners: Sequence[str]) -> str:
    """Over one parameter with numbers: ``2pc up to 80/s of workload.rate, saga from 120/s; between them undecided``; empty if it is not that simple."""
    if len(sweep.parameters) != 1:
        return ""
    name = sweep.parameters[0]
    cells = sweep.cells[name]
    values: list[Any] = [cells[number] for number in numbers]
    if not all(isinstance(value, int | float) or hasattr(value, "dtype") for value in values):
        return ""
    order = sorted(range(len(values)), key=lambda i: values[i])
    stretches: list[tuple[str, Any, Any]] = []
    for i in order:
        if stretches and stretches[-1][0] == winners[i]:
            stretches[-1] = (winners[i], stretches[-1][1], values[i])
        else:
            stretches.append((winners[i], values[i], values[i]))
    said: Callable[[Any], str] = lambda value: with_unit(sweep, name, value)  # noqa: E731
    named = [one for one in stretches if one[0]]
    if len(stretches) > 5 or not named:
        return ""
    parts = []
    for position, (winner, low, high) in enumerate(stretches):
        first, last = position == 0, position == len(stretches) - 1
        if low == high:
            where = f"at {said(low)}"
        elif first:
            where = f"up to {said(high)}"
        elif last:
            where = f"from {said(low)}"
        else:
            where = f"from {said(low)} to {said(high)}"
        parts.append(f"{winner or 'undecided'} {where}")
    return f"{', '.join(parts)} of {name}"


def _listed(parts: Sequence[str], word: str = "and") -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}" if parts else ""
