"""Phrases that hide a term of the field or a verb do not come back, and sentences stay short enough for who reads English as a foreign language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, name

PHRASES = re.compile(
    r"what (has|have|had) (come|become) of|what came of|what comes of|whatever (has )?(comes?|become) of|came for nothing",
    re.IGNORECASE,
)
# Machines and processes get, send and have; they are no people.
MACHINES = "machine|coordinator|orchestrator|participant|leader|acceptor|service|relay|courier|poller|node|monitor|hub|broker|process|worker"
PEOPLE = re.compile(
    rf"\b(hears(?!\()|hear of|believes|is believed|knocks?|({MACHINES})s? (tells?(?! of\b)|(is|are|was|were) told))\b"
)
TEXTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
MODULES = sorted(ROOT.glob("simtx/**/*.py"))

LONG = 28
"""Words; what is longer should be two sentences."""
LONGEST = 50
"""Words; nothing is longer."""
SHARE = 0.01
"""Of all sentences, so many may be long."""

_HIDDEN = re.compile(r"^```.*?^```$|<!--.*?-->", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\||#)|\n(?=\s*\w[\w ]*:\s)")
_SHORTENED = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|al|pp|p|Vol|Art|no)\.")
_END = re.compile(r"(?<=[.!?])[\"')*\]]*\s+")  # of a sentence
_PART_END = re.compile(r"(?<=[.!?:;])[\"')*\]]*\s+")  # or of a part of one
_WORD = re.compile(r"[A-Za-z0-9][\w'’.,/×%-]*")
_NAMES = 4  # with so many names of code, it is a list


def sentences(text: str, end: re.Pattern[str] = _END) -> Iterator[list[str]]:
    """The words of each sentence of a text in Markdown or of a docstring; a name of code is one word, a cell of a table is a text."""
    for paragraph in _PARAGRAPH.split(_HIDDEN.sub("", text)):
        for cell in paragraph.split("|") if paragraph.startswith("|") else [paragraph]:
            plain = re.sub(r"\]\([^)]*\)", "]", re.sub(r"``?[^`]*``?", "CODE", cell))
            for sentence in end.split(_SHORTENED.sub(r"\1", plain.strip())):
                if sentence.count("CODE") < _NAMES:
                    yield _WORD.findall(sentence)


def docstrings(path: Path) -> Iterator[str]:
    """Those of a module, and the texts below its constants."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for one in node.body:
                if (
                    isinstance(one, ast.Expr)
                    and isinstance(one.value, ast.Constant)
                    and isinstance(one.value.value, str)
                ):
                    yield one.value.value


def too_long(texts: dict[str, Iterator[str]], end: re.Pattern[str] = _END) -> list[str]:
    """What is wrong with the sentences of these texts: each that is longer than any may be, and all long ones if they are too many."""
    found = [(where, words) for where, parts in texts.items() for text in parts for words in sentences(text, end)]
    long = sorted((entry for entry in found if len(entry[1]) > LONG), key=lambda entry: -len(entry[1]))
    if len(long) <= SHARE * len(found):
        long = [entry for entry in long if len(entry[1]) > LONGEST]
    return [f"{where}: {len(words)} words: {' '.join(words)}" for where, words in long]


def _found(phrases: re.Pattern[str]) -> dict[str, list[str]]:
    texts = {name(path): path.read_text(encoding="utf-8") for path in (*TEXTS, *MODULES)}
    hits = {where: [hit[0] for hit in phrases.finditer(text)] for where, text in texts.items()}
    return {where: words for where, words in hits.items() if words}


def test_no_text_says_what_has_come_of_something() -> None:
    assert _found(PHRASES) == {}


def test_machines_are_no_people() -> None:
    assert _found(PEOPLE) == {}


def test_sentences_of_the_pages_are_short() -> None:
    """At most one in a hundred has more than 28 words, and none more than 50; only a full stop, a question mark or an exclamation mark ends one."""
    texts = {name(path): path.read_text(encoding="utf-8") for path in TEXTS}
    # The findings of stories stand in their pictures, where a semicolon parts them.
    texts["docs/stories.md"] = re.sub(r"[;:](?=\s)", ".", texts["docs/stories.md"])
    assert too_long({where: iter([text]) for where, text in texts.items()}) == []


@pytest.mark.heavy
def test_sentences_of_docstrings_are_short() -> None:
    """Likewise, but in a docstring a colon or a semicolon ends a part that is read by itself."""
    assert too_long({name(path): docstrings(path) for path in MODULES}, _PART_END) == []


def test_a_long_sentence_is_found() -> None:
    """Otherwise the limits would hold nothing."""
    words = "word " * (LONGEST + 1)
    assert too_long({"page": iter([f"Short. {words}end. " + "Short. " * 200])}) == [
        f"page: {LONGEST + 2} words: {words}end."
    ]
    assert too_long({"page": iter(["word " * LONG + "end. " + "Short. " * 200])}) == []
    assert len(too_long({"page": iter(["word " * LONG + "end. " + "Short. " * 20])})) == 1
