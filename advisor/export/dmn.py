"""The decision table as DMN 1.3 XML (Decision Model and Notation, OMG), with the diagram that dmn-js needs to open it.

One decision with the hit policy UNIQUE, one input a deciding fact, one rule a setting. Cells list the allowed values; `-` is any value.
"""

from xml.sax.saxutils import escape, quoteattr

from ..rulebook import Rulebook, Setting

_NAMESPACES = {
    "xmlns": "https://www.omg.org/spec/DMN/20191111/MODEL/",
    "xmlns:dmndi": "https://www.omg.org/spec/DMN/20191111/DMNDI/",
    "xmlns:dc": "http://www.omg.org/spec/DMN/20180521/DC/",
    "xmlns:di": "http://www.omg.org/spec/DMN/20180521/DI/",
}
_STEP = 150  # pixels between the inputs of the diagram


def dmn(book: Rulebook) -> str:
    """The decision table as an XML document. Ids of facts and settings stay as they are, behind a prefix for their kind."""
    facts = book.decisive
    verdicts = list(dict.fromkeys(s.recommend for s in book.settings))
    spaces = " ".join(f"{name}={quoteattr(uri)}" for name, uri in _NAMESPACES.items())
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<definitions {spaces} id="advisor" name="advisor rules {book.version}" namespace="https://advisor.example/dmn">',
    ]
    for fact in facts:
        lines.append(f'  <inputData id="input_{fact.id}" name="{fact.id}">')
        lines.append(f'    <variable id="variable_{fact.id}" name="{fact.id}" typeRef="string"/>')
        lines.append("  </inputData>")
    lines.append('  <decision id="decision" name="recommendation">')
    lines.append('    <variable id="variable_recommendation" name="recommendation" typeRef="string"/>')
    for fact in facts:
        lines.append(
            f'    <informationRequirement id="requirement_{fact.id}"><requiredInput href="#input_{fact.id}"/></informationRequirement>'
        )
    lines.append('    <decisionTable id="table" hitPolicy="UNIQUE">')
    for fact in facts:
        lines.append(f'      <input id="column_{fact.id}" label={quoteattr(fact.id)}>')
        lines.append(
            f'        <inputExpression id="expression_{fact.id}" typeRef="string"><text>{fact.id}</text></inputExpression>'
        )
        lines.append(f'        <inputValues id="values_{fact.id}"><text>{_words(fact.values)}</text></inputValues>')
        lines.append("      </input>")
    lines.append('      <output id="output" label="recommendation" name="recommendation" typeRef="string">')
    lines.append(f'        <outputValues id="output_values"><text>{_words(verdicts)}</text></outputValues>')
    lines.append("      </output>")
    for setting in book.settings:
        lines += _rule(setting, [fact.id for fact in facts])
    lines += ["    </decisionTable>", "  </decision>", *_diagram([fact.id for fact in facts]), "</definitions>"]
    return "\n".join(lines)


def _rule(setting: Setting, facts: list[str]) -> list[str]:
    lines = [f'      <rule id="rule_{setting.id}">', f"        <description>{escape(setting.because)}</description>"]
    for fact in facts:
        cell = _words(setting.when[fact]) if fact in setting.when else "-"
        lines.append(f'        <inputEntry id="cell_{setting.id}_{fact}"><text>{cell}</text></inputEntry>')
    lines.append(f'        <outputEntry id="outcome_{setting.id}"><text>"{setting.recommend}"</text></outputEntry>')
    return [*lines, "      </rule>"]


def _words(values: list[str] | tuple[str, ...]) -> str:
    """Values as a list of FEEL strings; they are words, so nothing needs escaping."""
    return ",".join(f'"{v}"' for v in values)


def _diagram(facts: list[str]) -> list[str]:
    middle = _STEP * len(facts) // 2 + 10
    lines = ["  <dmndi:DMNDI>", '    <dmndi:DMNDiagram id="diagram">', _shape("decision", middle - 90, 20, 180, 80)]
    for n, fact in enumerate(facts):
        left = 20 + _STEP * n
        lines.append(_shape(f"input_{fact}", left, 200, 125, 45))
        lines.append(f'      <dmndi:DMNEdge id="edge_{fact}" dmnElementRef="requirement_{fact}">')
        lines.append(f'        <di:waypoint x="{left + 62}" y="200"/>')
        lines.append(f'        <di:waypoint x="{middle}" y="100"/>')
        lines.append("      </dmndi:DMNEdge>")
    return [*lines, "    </dmndi:DMNDiagram>", "  </dmndi:DMNDI>"]


def _shape(element: str, x: int, y: int, width: int, height: int) -> str:
    bounds = f'<dc:Bounds x="{x}" y="{y}" width="{width}" height="{height}"/>'
    return f'      <dmndi:DMNShape id="shape_{element}" dmnElementRef="{element}">{bounds}</dmndi:DMNShape>'
