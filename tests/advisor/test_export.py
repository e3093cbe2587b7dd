"""Other formats say what the rules say."""

import json

from advisor import rulebook
from advisor.export import FORMATS

BOOK = rulebook.load()


def test_markdown_and_map_hold_every_row() -> None:
    """Every setting, family, concern and pitfall stands in the tables, every setting in the map."""
    table = FORMATS["markdown"](BOOK)
    for kind in ("settings", "mitigations", "pitfalls"):
        assert all(f"`{i}`" in table for i in BOOK.entries[kind])
    assert all(f["label"] in table for f in BOOK.entries["families"].values())
    assert all(f"  {s.id}[" in FORMATS["mermaid"](BOOK) for s in BOOK.settings)


def test_schemas_are_json_and_closed() -> None:
    """The schemas allow the vocabulary and nothing else."""
    schema = json.loads(FORMATS["json-schema"](BOOK))
    facts = schema["properties"]["facts"]
    assert set(facts["properties"]) == set(BOOK.facts) and facts["additionalProperties"] is False
    assert "shifted" in facts["properties"]["test_tasks"]["enum"]
    assert json.loads(FORMATS["record-schema"](BOOK))["additionalProperties"] is False
