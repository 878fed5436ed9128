"""Phrases that hide a term of the field or a verb do not come back."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

PHRASES = re.compile(
    r"what (has|have|had) (come|become) of|what came of|what comes of|whatever (has )?(comes?|become) of|came for nothing",
    re.IGNORECASE,
)


def test_no_text_says_what_has_come_of_something() -> None:
    files = [*ROOT.glob("simtx/**/*.py"), *ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "ARCHITECTURE.md"]
    found = {str(path.relative_to(ROOT)): PHRASES.findall(path.read_text(encoding="utf-8")) for path in files}
    assert {name: hits for name, hits in found.items() if hits} == {}
