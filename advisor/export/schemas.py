"""JSON Schema of scenario files and of records."""

import json
from typing import Any

from ..record import Record
from ..rulebook import Rulebook
from ..scenario import LONGEST_TEXT

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def scenario_schema(book: Rulebook) -> str:
    """The JSON Schema of a scenario file."""
    facts: dict[str, Any] = {}
    for fact in book.facts.values():
        counted = {"type": "integer", "minimum": fact.minimum, "maximum": fact.maximum}
        open_ = ["unknown", "", None]
        allowed = {"enum": [*fact.values, *open_]} if fact.values else {"anyOf": [counted, {"enum": open_}]}
        facts[fact.id] = {"description": fact.question, **allowed}
    text = {"type": ["string", "null"], "maxLength": LONGEST_TEXT}
    properties = {
        "id": {"type": ["string", "integer", "null"]},
        "description": {**text, "description": "The scenario in your own words."},
        "text": {**text, "description": "Another name of `description`."},
        "facts": {"type": ["object", "null"], "properties": facts, "additionalProperties": False},
    }
    schema = {
        "$schema": _DIALECT,
        "title": "advisor scenario",
        "description": f"A scenario file for advisor, rules {book.version}: a description, facts, or both.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "anyOf": [
            {"required": ["description"], "properties": {"description": {"type": "string", "pattern": "\\S"}}},
            {"required": ["text"], "properties": {"text": {"type": "string", "pattern": "\\S"}}},
            {"required": ["facts"], "properties": {"facts": {"type": "object", "minProperties": 1}}},
        ],
    }
    return json.dumps(schema, indent=2, ensure_ascii=False)


def record_schema(book: Rulebook) -> str:
    """The JSON Schema of a record, with the names that these rules know."""
    schema = Record.model_json_schema(by_alias=True)
    properties = schema["properties"]
    verdicts = sorted(book.entries["verdicts"])
    properties["recommendation"]["anyOf"][0] = {"enum": verdicts}
    properties["possible"]["items"] = {"enum": [v for v in verdicts if v != "undecided"]}
    properties["framing"] = {"enum": sorted({e["framing"] for e in book.entries["verdicts"].values()})}
    properties["rule"]["anyOf"][0] = {"enum": sorted(book.entries["settings"])}
    properties["pitfalls"]["items"] = {"enum": sorted(book.entries["pitfalls"])}
    properties["facts"]["propertyNames"] = {"enum": list(book.facts)}
    return json.dumps({"$schema": _DIALECT, **schema, "title": "advisor record"}, indent=2, ensure_ascii=False)
