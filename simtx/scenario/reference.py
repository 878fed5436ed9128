"""The reference of the file format, made from the schema: ``python -m simtx.scenario.reference`` prints it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from simtx.scenario import schema
from simtx.scenario.broker_kinds import KINDS
from simtx.scenario.catalog import brokers, forced_writes, regions
from simtx.scenario.distribution_files import FORMS
from simtx.scenario.distributions import Distribution
from simtx.scenario.fields import written_as
from simtx.scenario.problems import inner
from simtx.scenario.units import duration_text

BEGIN = "<!-- begin of the part that `python -m simtx.scenario.reference docs/scenarios.md` writes -->"
END = "<!-- end of that part -->"


def markdown() -> str:
    """All tables of a file with their keys, notations and defaults; the distributions; the names of measured figures."""
    lines = ["## All keys", "", "At the top of a file, beside the tables of a scenario, may stand:", ""]
    lines += ["| key | meaning |", "|---|---|"]
    lines += [f"| `{key}` | {meaning} |" for key, meaning in schema.MERGED.items()]
    places: dict[type[schema.Table], list[str]] = {}
    for place, model in _tables(schema.ScenarioFile, ""):
        places.setdefault(model, []).append(place)
    for model, headings in places.items():
        lines += ["", f"### {', '.join(headings)}", "", (inspect.getdoc(model) or "").strip(), ""]
        lines += ["| key | written as | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            meaning = schema.meaning(model, name).replace("|", "\\|")
            lines.append(f"| `{field.alias or name}` | {_notation(field)} | {_default(field)} | {meaning} |")
    lines += ["", "## Distributions", "", "| `distribution =` | further keys |", "|---|---|"]
    for kind, keys in FORMS.items():
        shown = [" or ".join(f"`{key}`" for key in ((form,) if isinstance(form, str) else form)) for form in keys]
        lines.append(f"| `{kind}` | {', '.join(shown)} |")
    lines += [
        "",
        "## Names of measured figures",
        "",
        "| name | for | mean | source | evidence |",
        "|---|---|---|---|---|",
    ]
    for use, entries in (("forced_write", forced_writes()), ("ack_latency", brokers())):
        for name, entry in entries.items():
            mean = duration_text(entry.latency.mean())
            lines.append(f"| `{name}` | `{use}` | {mean} | {entry.source} | {entry.evidence} |")
    lines += [
        "",
        "## Kinds of brokers",
        "",
        "| `broker.kind` | what it is | its defaults | checked against | simpler here |",
    ]
    lines += ["|---|---|---|---|---|"]
    for name, product in KINDS.items():
        own = ", ".join(f"`{key} = {_toml(key, value)}`" for key, value in product.mechanisms.items())
        lines.append(
            f"| `{name}` | {product.what} | {own or 'those of the table above'} | {product.checked} | {product.differs} |"
        )
    names = ", ".join(f"`{name}`" for name in regions().names)
    lines += ["", f"Regions: {names}. Source: {regions().source}."]
    return "\n".join(lines)


def _toml(key: str, value: Any) -> str:
    """A default of a kind of brokers, as a file would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    durations = ("redelivery", "retention", "commit_every", "nack_delay", "deduplication_window")
    return (
        f'"{duration_text(value).replace(" ", "")}"'
        if key in durations
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )


def _tables(model: type[schema.Table], path: str, *, listed: bool = False) -> Iterator[tuple[str, type[schema.Table]]]:
    """Every table of a file with the header that it has there; the entries of a list write their tables inline."""
    yield f"`[{path}]`" if path else "The top of a file", model
    for name, field in model.model_fields.items():
        kind, key = inner(field.annotation), field.alias or name
        several = get_origin(kind) in (dict, list)
        entry = inner(get_args(kind)[-1]) if several else kind
        if not (isinstance(entry, type) and issubclass(entry, schema.Table)):
            continue
        if listed:
            yield f"`{key}` of `[{path}]`", entry
        else:
            below = f"{path}.{key}" if path else key
            if get_origin(kind) is list:
                yield from _tables(entry, f"[{below}]", listed=True)
            else:
                yield from _tables(entry, f"{below}.NAME" if several else below)


def _notation(field: FieldInfo) -> str:
    if text := written_as(field):
        return text
    kind = inner(field.annotation)
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{choice}"`' for choice in get_args(kind))
    if get_origin(kind) is dict:
        return "table"
    if get_origin(kind) is list:
        return "list of tables" if issubclass(inner(get_args(kind)[0]), schema.Table) else "list of texts"
    return {bool: "`true` or `false`", str: "text"}.get(kind, "table")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value: Any = field.get_default(call_default_factory=True)  # type: ignore[call-overload, unused-ignore]
    if value is None:
        return "absent"
    if isinstance(value, schema.Table):
        return "its own defaults"
    if isinstance(value, Distribution):
        for entries in (forced_writes(), brokers()):
            for name, entry in entries.items():
                if entry.latency == value:
                    return f'`"{name}"`'
        return value.describe()
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if value in ({}, [], (), ""):
        return "empty"
    if isinstance(value, str):
        return f'`"{value}"`'
    return duration_text(value) if "duration" in written_as(field) else f"{value:g}"


def rewritten(document: str) -> str:
    """The document with its generated part made anew."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{markdown()}\n\n{END}{after}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        target = Path(sys.argv[1])
        target.write_text(rewritten(target.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write(markdown() + "\n")
