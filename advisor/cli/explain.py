"""`advisor explain`: everything about one scenario."""

from typing import Annotated

import typer

from .. import rulebook as rulebooks
from .. import scenario as scenarios
from .common import AsJson, ReaderName, RulesFolder, ScenarioArgument, open_console, print_json, understand


def explain(
    scenario: ScenarioArgument,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    reader: ReaderName = "careful",
    rules: RulesFolder = None,
) -> None:
    """Everything about one scenario: facts, rule, what would change it, pitfalls, evidence."""
    from .. import explain as stage
    from ..record import explained

    book = rulebooks.load(rules)
    told = scenarios.load(scenario)
    recommendation = understand(told, book, reader=reader)
    if as_json:
        print_json(explained(told.id, recommendation, book).as_dict())
        return
    explanation = stage.explain(told.text, recommendation, book)
    if markdown:
        print(stage.to_markdown(explanation))
    else:
        stage.to_terminal(explanation, open_console())
