"""docs/scenarios.md says everything that a file may contain, and what it shows works."""

import dataclasses
import re
from pathlib import Path

import pytest

from simtx.scenario import build, load, names, schema
from simtx.scenario.reference import rewritten

DOCUMENT = Path(__file__).parents[2] / "docs" / "scenarios.md"
TABLES = [
    model
    for model in vars(schema).values()
    if isinstance(model, type) and issubclass(model, schema.Table) and model is not schema.Table
]


@pytest.fixture(scope="module")
def document() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_the_reference_is_up_to_date(document):
    """Otherwise: python -m simtx.scenario.reference docs/scenarios.md."""
    assert rewritten(document) == document


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model.__name__)
def test_every_key_is_described_with_its_notation_and_default(document, model):
    for name, field in model.model_fields.items():
        assert schema.meaning(model, name)
        row = re.compile(rf"^\| `{field.alias or name}` \| [^|]+ \| [^|]+ \| .+ \|$", re.MULTILINE)
        assert row.search(document)


def test_a_default_that_a_table_and_its_spec_state_is_the_same():
    """Who leaves a key out of a file, and who leaves the field out of a spec made by hand, mean the same; None: other keys decide it."""
    compared, differing = 0, []
    for table in TABLES:
        if not hasattr(table, "spec") or table is schema.ClientBackoffFile:
            continue  # the defaults of the latter are those of clients, and compared there
        for one in dataclasses.fields(table.spec):
            field = table.model_fields.get(one.name)
            usual = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
            if usual is dataclasses.MISSING or field is None or field.is_required():
                continue
            said = field.get_default(call_default_factory=True)
            if said is None:
                continue
            said = build.spec(type(usual), said) if isinstance(said, schema.Table) else said
            compared += 1
            if (tuple(said) if isinstance(said, list) else said) != usual:
                differing.append((table.__name__, one.name, said, usual))
    assert differing == []
    assert compared > 60


def test_every_built_in_scenario_is_named(document):
    assert [name for name in names() if f"`{name}`" not in document] == []


def test_the_first_file_works(document, tmp_path):
    text = re.findall(r"```toml\n(.*?)```", document, re.DOTALL)[0]
    (tmp_path / "purchase.toml").write_text(text)
    scenario = load(tmp_path / "purchase.toml")
    assert scenario.title == "A purchase over two services"
    assert scenario.warnings == []
