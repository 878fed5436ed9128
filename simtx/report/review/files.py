"""A report as files: one HTML page that needs nothing else, a decision record in the form of MADR 4, a CSV file, and a PDF if it is asked for."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from simtx.errors import ScenarioError
from simtx.report.review import build, pdf, since, table
from simtx.views import view

TEMPLATES: Final = Path(__file__).parent / "templates"
_STYLE: Final = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
_SEAL: Final = re.compile(r"\n<!-- made by simtx report; seal ([0-9a-f]{16})[^\n]*-->\n$")
_SEALED: Final = "\n<!-- made by simtx report; seal {}: a file that somebody has edited is not written over -->\n"


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a report.

    Attributes:
        page: The HTML file.
        record: The decision record.
        figures: The CSV file.
        printed: The PDF, or None.
        notes: What was done otherwise than asked, one line each.
        review: What the page says.
    """

    page: Path
    record: Path
    figures: Path
    printed: Path | None
    notes: tuple[str, ...]
    review: build.Review

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [one for one in (self.page, self.record, self.figures, self.printed) if one is not None]


def write(
    result: Any,
    path: str | Path,
    asked: build.Asked,
    *,
    earlier: str | Path | None = None,
    template: str | Path | None = None,
    as_pdf: bool = False,
) -> Written:
    """Write a report.

    Args:
        result: A comparison or a sweep.
        path: The HTML file; the others stand beside it.
        asked: What is asked for.
        earlier: The report before, or a folder with its result.
        template: A Jinja2 template in place of ours.
        as_pdf: Whether to print it, too.

    Raises:
        ScenarioError: An input is wrong, or a file cannot be written.
    """
    page = Path(path).expanduser()
    if page.suffix.lower() not in (".html", ".htm"):
        raise ScenarioError(f"'{page}' is the name of no page; write review.html", "report")
    if page.exists() and not since.is_report(page):
        raise ScenarioError(f"'{page}' is no report of simtx, and is not written over; choose another name", "report")
    if not page.parent.is_dir():
        raise ScenarioError(
            f"there is no folder '{page.parent}' for '{page.name}'; make it, or choose another", "report"
        )
    if as_pdf:
        pdf.browser()  # before anything takes time
    environment, name = _environment(template)
    before = _before(Path(earlier).expanduser(), asked) if earlier is not None else None
    review = build.review(result, asked, before, str(earlier or ""))
    text = rendered(environment, name, {"review": review, "files": _names(page)})
    record, notes = _record(page, review)
    figures = page.with_suffix(".csv")
    try:
        _replace(page, text)
        table.write_csv(figures, result, asked.confidence)
    except OSError as error:
        raise ScenarioError(f"cannot write '{error.filename or page}': {error.strerror or error}", "report") from None
    printed = pdf.printed(page) if as_pdf else None
    return Written(page, record, figures, printed, notes, review)


def _names(page: Path) -> dict[str, str]:
    return {"page": page.name, "record": page.with_suffix(".adr.md").name, "figures": page.with_suffix(".csv").name}


def _before(earlier: Path, asked: build.Asked) -> dict[str, Any]:
    """The state of the report before, or that of a result in a folder."""
    if not earlier.is_dir():
        return since.read(earlier)
    result = view("read")(earlier)
    if not hasattr(result, "strategies"):
        raise ScenarioError("holds a single run; a comparison, a sweep or a report is needed", str(earlier))
    bare = build.Asked(by=asked.by, where=asked.where, confidence=asked.confidence, runs=False)
    state = build.review(result, bare).state
    # a folder has no runs, verdicts or stories to compare with
    state["sections"] = {
        name: one for name, one in state["sections"].items() if name in ("decision", "picture", "table", "assumptions")
    }
    return state


# --- templates ----------------------------------------------------------------------------------------------------------------------


def _environment(template: str | Path | None) -> tuple[SandboxedEnvironment, str]:
    """Environment that templates come from, and the name of the one of the page. One of the user's may extend ours."""
    folders, name = [TEMPLATES], "review.html.j2"
    if template is not None:
        own = Path(template).expanduser()
        if not own.is_file():
            raise ScenarioError("there is no such template", str(own))
        folders, name = [own.parent, TEMPLATES], own.name
    return environment(tuple(folders), escaped=True), name


@lru_cache(maxsize=8)
def environment(folders: tuple[Path, ...], *, escaped: bool) -> SandboxedEnvironment:
    """An environment of Jinja2 that knows our templates."""
    made = SandboxedEnvironment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["md"] = markdown
    return made


def rendered(environment: SandboxedEnvironment, name: str, context: Mapping[str, Any]) -> str:
    """A page; its policy allows the styles that it has, by their hashes, and pictures that it holds itself: nothing else.

    Raises:
        ScenarioError: The template is wrong.
    """
    place = f"policy-{secrets.token_hex(8)}"
    try:
        text = environment.get_template(name).render({**context, "policy": place})
    except jinja2.TemplateSyntaxError as error:
        raise ScenarioError(f"{error.message}", f"{error.filename or name}, line {error.lineno}") from None
    except jinja2.TemplateError as error:
        raise ScenarioError(str(error.message or type(error).__name__), f"template {name}") from None
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in _STYLE.findall(text)]
    styles = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src {styles}; base-uri 'none'; form-action 'none'"
    return text.replace(place, policy, 1)


def markdown(text: object) -> str:
    """A text of the user's in Markdown: no sign of it means anything there, and what reads as well without is not escaped."""
    plain = " ".join(str(text).split())
    plain = re.sub(r"&(?=#|\w+;)", "&amp;", plain)
    plain = re.sub(r"<(?=[\w/!?])", "&lt;", plain)
    plain = re.sub(r"^>", "&gt;", plain)
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", plain)


# --- files --------------------------------------------------------------------------------------------------------------------------


def _record(page: Path, review: build.Review) -> tuple[Path, tuple[str, ...]]:
    """Write the decision record; one that somebody has edited stays, and the new one gets another name."""
    text = (
        environment((TEMPLATES,), escaped=False)
        .get_template("review.adr.md.j2")
        .render(review=review, files=_names(page))
    )
    sealed = text + _SEALED.format(hashlib.sha256(text.encode()).hexdigest()[:16])
    path = page.with_suffix(".adr.md")
    notes: tuple[str, ...] = ()
    if path.exists() and not _ours(path):
        other = page.with_suffix(".adr.new.md")
        notes = (f"{path.name} was edited by somebody, and is kept; the new one is {other.name}",)
        path = other
    try:
        _replace(path, sealed)
    except OSError as error:
        raise ScenarioError(f"cannot write '{path}': {error.strerror or error}", "report") from None
    return path, notes


def _ours(path: Path) -> bool:
    """Return whether a record is as we wrote it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    seal = _SEAL.search(text)
    return seal is not None and hashlib.sha256(text[: seal.start()].encode()).hexdigest()[:16] == seal[1]


def _replace(path: Path, text: str) -> None:
    """Write a file as a whole: the old one stays until the new one is there."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
