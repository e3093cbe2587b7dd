"""Other formats say what the rules say, to people and to other engines."""

import json
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import zen

from advisor import rulebook
from advisor.engine import possible_rules, possible_verdicts
from advisor.export import FORMATS
from advisor.rulebook import Rulebook
from tests.conftest import Run

ROOT = Path(__file__).parent.parent.parent
BOOK = rulebook.load()
OWN = rulebook.load(ROOT / "docs" / "own-rules")
DMN = "{https://www.omg.org/spec/DMN/20191111/MODEL/}"
BOOKS = pytest.mark.parametrize("book", [BOOK, OWN], ids=["shipped", "own rules"])


def test_markdown_and_map_hold_every_row() -> None:
    """Every setting, family, concern and pitfall stands in the tables, every setting and its verdict in both maps."""
    table = FORMATS["markdown"](BOOK)
    for kind in ("settings", "mitigations", "pitfalls"):
        assert all(f"`{i}`" in table for i in BOOK.entries[kind])
    assert all(f["label"] in table for f in BOOK.entries["families"].values())
    mermaid, drawing = FORMATS["mermaid"](BOOK), FORMATS["svg"](BOOK)
    for setting in BOOK.settings:
        assert any(
            line.startswith(f"  s_{setting.id}[") and f"--> v_{setting.recommend}(" in line
            for line in mermaid.splitlines()
        )
        assert f">{setting.priority}. {setting.id}<" in drawing


@pytest.mark.parametrize(("path", "form"), [("docs/rules.md", "page"), ("docs/map.svg", "svg")])
def test_the_documents_are_those_of_the_rules(path: str, form: str) -> None:
    """What lies in docs/ is made by `advisor rules export`; make it anew after a change of the rules."""
    assert (ROOT / path).read_text(encoding="utf-8") == FORMATS[form](BOOK) + "\n"


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_format_is_printed(advisor: Run, form: str) -> None:
    """`rules export --format` prints each format, and nothing else."""
    done = advisor("rules", "export", "--format", form)
    assert done.returncode == 0 and done.stderr == "" and done.stdout == FORMATS[form](BOOK) + "\n"


def test_schemas_are_schemas_and_closed() -> None:
    """Both schemas are valid JSON Schema, allow the vocabulary and nothing else."""
    for form in ("json-schema", "record-schema"):
        jsonschema.Draft202012Validator.check_schema(json.loads(FORMATS[form](BOOK)))
    schema = json.loads(FORMATS["json-schema"](BOOK))
    facts = schema["properties"]["facts"]
    assert set(facts["properties"]) == set(BOOK.facts) and facts["additionalProperties"] is False
    assert "shifted" in facts["properties"]["test_tasks"]["enum"]
    assert json.loads(FORMATS["record-schema"](BOOK))["additionalProperties"] is False


@BOOKS
def test_the_drawing_is_well_formed_and_within_its_frame(book: Rulebook) -> None:
    """The SVG is XML with a title; its boxes lie within the frame and do not overlap; there is an arrow for each setting."""
    root = ET.fromstring(FORMATS["svg"](book))
    space = "{http://www.w3.org/2000/svg}"
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert root.find(f"{space}title") is not None
    boxes = [
        tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height"))
        for r in root.findall(f"{space}rect")
        if "x" in r.attrib
    ]
    assert len(boxes) == len(book.settings) + len({s.recommend for s in book.settings})
    for i, (x, y, w, h) in enumerate(boxes):
        assert 0 <= x and 0 <= y and x + w <= width and y + h <= height
        for x2, y2, w2, h2 in boxes[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    assert len(root.findall(f"{space}path")) == len(book.settings)


def test_labels_of_own_rules_are_escaped() -> None:
    """Markup in a label stays text in every format."""
    nasty = 'a | b "c" <script>&]\n# x'
    entries = {k: dict(v) for k, v in BOOK.entries.items()}
    entries["settings"]["shifted"] = {**entries["settings"]["shifted"], "label": nasty, "because": nasty}
    entries["verdicts"]["maml"] = {**entries["verdicts"]["maml"], "label": nasty}
    settings = tuple(replace(s, because=nasty) if s.id == "shifted" else s for s in BOOK.settings)
    book = replace(BOOK, entries=entries, settings=settings)
    table = FORMATS["markdown"](book).splitlines()
    assert [len(line.replace("\\|", "").split("|")) for line in table[:9]] == [8] * 9
    assert "<script>" not in FORMATS["svg"](book) and ET.fromstring(FORMATS["svg"](book)) is not None
    assert "<script>" not in FORMATS["mermaid"](book) and FORMATS["mermaid"](book).count('"') == 4 * len(BOOK.settings)
    root = ET.fromstring(FORMATS["dmn"](book))
    assert nasty in [e.text for e in root.iter(f"{DMN}description")]


@BOOKS
def test_the_dmn_has_one_rule_a_setting_and_a_shape_for_every_part(book: Rulebook) -> None:
    """DMN 1.3 with unique ids, a UNIQUE table, one rule a setting, and a diagram in which every reference is resolved."""
    root = ET.fromstring(FORMATS["dmn"](book))
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert max(Counter(ids).values()) == 1
    table = next(root.iter(f"{DMN}decisionTable"))
    assert table.attrib["hitPolicy"] == "UNIQUE"
    assert [r.attrib["id"] for r in table.iter(f"{DMN}rule")] == [f"rule_{s.id}" for s in book.settings]
    assert all(len(r.findall(f"{DMN}inputEntry")) == len(book.decisive) for r in table.iter(f"{DMN}rule"))
    drawn = {e.attrib["dmnElementRef"] for e in root.iter() if "dmnElementRef" in e.attrib}
    assert drawn <= set(ids)
    assert {"decision", *(f"input_{f.id}" for f in book.decisive)} <= drawn


@pytest.mark.slow  # importing pyDMNrules builds the tables of its parser, 14 CPU seconds
@BOOKS
def test_pydmnrules_agrees_at_every_point(book: Rulebook) -> None:
    """An independent DMN engine reads the exported XML and gives our verdict at every full point."""
    import pyDMNrules

    engine = pyDMNrules.DMN()
    assert engine.useXML(FORMATS["dmn"](book)) == {}
    for point in book.points():
        status, results = engine.decide(point)
        last = results[-1] if isinstance(results, list) else results
        assert status == {} and (last["Result"]["recommendation"],) == possible_verdicts(point, book)


def as_jdm(dmn: str) -> str:
    """The exported DMN as the JSON decision model of zen-engine, every rule that fires collected."""
    table = next(ET.fromstring(dmn).iter(f"{DMN}decisionTable"))
    names = [e.text for e in table.findall(f"{DMN}input/{DMN}inputExpression/{DMN}text")]
    rules = []
    for rule in table.findall(f"{DMN}rule"):
        cells = [e.text or "" for e in rule.findall(f"{DMN}inputEntry/{DMN}text")]
        outcome = rule.findtext(f"{DMN}outputEntry/{DMN}text")
        row = {f"i{n}": "" if cell == "-" else cell for n, cell in enumerate(cells)}
        rules.append({"_id": rule.attrib["id"], **row, "verdict": outcome, "rule": f'"{rule.attrib["id"]}"'})
    content = {
        "hitPolicy": "collect",
        "inputs": [{"id": f"i{n}", "name": name, "field": name} for n, name in enumerate(names)],
        "outputs": [{"id": name, "name": name, "field": name} for name in ("verdict", "rule")],
        "rules": rules,
    }
    nodes = [
        {"id": "in", "type": "inputNode", "name": "in"},
        {"id": "table", "type": "decisionTableNode", "name": "table", "content": content},
        {"id": "out", "type": "outputNode", "name": "out"},
    ]
    edges = [{"id": f"{a}-{b}", "sourceId": a, "targetId": b} for a, b in (("in", "table"), ("table", "out"))]
    return json.dumps({"nodes": nodes, "edges": edges})


@BOOKS
def test_zen_engine_agrees_at_every_point(book: Rulebook) -> None:
    """A second independent engine, collecting every rule that fires, finds exactly ours at every full point."""
    decision = zen.ZenEngine().create_decision(as_jdm(FORMATS["dmn"](book)))
    for point in book.points():
        fired = decision.evaluate(point)["result"]
        assert [(hit["rule"], hit["verdict"]) for hit in fired] == [
            (f"rule_{possible_rules(point, book)[0]}", possible_verdicts(point, book)[0])
        ]
