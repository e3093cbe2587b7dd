"""Stage 4: Rulebook -> other formats: the tables as Markdown, the map as Mermaid, JSON Schema of scenario files and of records."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from .record import Record
from .rulebook import Rulebook


def markdown(book: Rulebook) -> str:
    """The decision table, the families, concerns and pitfalls as Markdown."""
    e = book.entries
    facts = [fact.id for fact in book.decisive]
    lines = [f"| setting | {' | '.join(f'`{f}`' for f in facts)} | recommended |", "|---" * (len(facts) + 2) + "|"]
    for setting in book.settings:
        cells = [", ".join(f"`{v}`" for v in setting.when[f]) if f in setting.when else "any" for f in facts]
        label = e["verdicts"][setting.recommend]["label"]
        lines.append(f"| `{setting.id}`: {e['settings'][setting.id]['label']} | {' | '.join(cells)} | {label} |")
    lines += ["", "| family | adapts at test by | best for |", "|---|---|---|"]
    lines += [f"| {f['label']} | {f['adapts_by']} | {f['best_for']} |" for f in e["families"].values()]
    lines += ["", "| concern | mitigations |", "|---|---|"]
    lines += [f"| `{i}` | {'; '.join(o['label'] for o in c['options'])} |" for i, c in e["mitigations"].items()]
    lines += ["", "| pitfall | the mistake | the fact against it |", "|---|---|---|"]
    lines += [f"| `{i}` | {p['mistake']} | {p['truth']} |" for i, p in e["pitfalls"].items()]
    return "\n".join(lines)


def mermaid(book: Rulebook) -> str:
    """The map from settings to verdicts, in the order of priority."""
    lines = ["flowchart LR"]
    for setting in book.settings:
        label = book.entries["settings"][setting.id]["label"]
        verdict = book.entries["verdicts"][setting.recommend]["label"]
        lines.append(f'  {setting.id}["{setting.priority}. {label}"] --> {setting.recommend}["{verdict}"]')
    return "\n".join(lines)


def scenario_schema(book: Rulebook) -> str:
    """The JSON Schema of a scenario file."""
    facts: dict[str, Any] = {}
    for fact in book.facts.values():
        counted = {"type": "integer", "minimum": fact.minimum, "maximum": fact.maximum}
        chosen = {"enum": [*fact.values, "unknown", None]}
        facts[fact.id] = {"description": fact.question, **(chosen if fact.values else counted)}
    properties = {
        "id": {"type": "string", "maxLength": 200},
        "description": {"type": "string", "description": "The scenario in your own words."},
        "text": {"type": "string", "description": "Another name of `description`."},
        "facts": {"type": "object", "properties": facts, "additionalProperties": False},
    }
    return json.dumps(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "advisor scenario",
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        },
        indent=2,
    )


def record_schema(book: Rulebook) -> str:
    """The JSON Schema of a record."""
    return json.dumps(Record.model_json_schema(by_alias=True), indent=2)


FORMATS: Mapping[str, Callable[[Rulebook], str]] = {
    "markdown": markdown,
    "mermaid": mermaid,
    "json-schema": scenario_schema,
    "record-schema": record_schema,
}
