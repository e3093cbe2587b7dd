"""Stage 7b: the library for coding agents: an MCP server (Model Context Protocol) over stdin and stdout.

Every call carries all that it needs, nothing is remembered between calls. What a client sends is untrusted: arguments are checked against a
closed schema, texts have the size limits of scenario files, and the one tool that writes stays inside the folder that the server was
started with. Needs the extra `mcp`.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field, StrictInt, StrictStr

from . import __version__, explain, library, starter
from .errors import AdvisorError, CannotWrite, NoProject, UnknownEntry, nearest, quoted
from .export.schemas import scenario_schema
from .record import QuestionRecord, Record, explained
from .rulebook import Rulebook
from .scenario import LONGEST_TEXT, Scenario

_LONGEST_FOLDER = 200  # characters
_INSTRUCTIONS = (
    "Recommends a family of algorithm for training on many tasks: multi-task RL, MAML, RL², PEARL, or none. Describe the scenario in the "
    "user's words, state known facts, or both; facts beat the description. Where the verdict is `undecided`, put the next question to the "
    "user and call again with the answer among the facts (`unknown` where the user does not know). The facts: list_facts."
)


class NextQuestion(BaseModel):
    """The question that helps most; null where no further answer can change the verdict."""

    question: QuestionRecord | None
    possible: list[str] = Field(description="Verdicts that are still possible.")


class Explained(BaseModel):
    """An explanation for people, and the record with the decision behind it."""

    markdown: str
    record: Record


class FactEntry(BaseModel):
    id: str
    decisive: bool = Field(description="Whether it decides the verdict, or refines the advice.")
    question: str
    why: str
    values: dict[str, str] = Field(description="Value -> what it means; empty for a number.")
    minimum: int | None = None
    maximum: int | None = None


class FactList(BaseModel):
    rules_version: str
    facts: list[FactEntry]


class RuleList(BaseModel):
    rules_version: str
    ids: dict[str, list[str]] = Field(description="Kind of rule -> ids.")
    entries: list[dict[str, Any]] = Field(description="The rules of the kind that was asked for, as they are written.")


class CreatedProject(BaseModel):
    """A starter project, or why there is none."""

    folder: str | None = Field(description="Relative to the root folder of the server.")
    family: str | None
    files: list[str]
    message: str


Function = Callable[..., Awaitable[CallToolResult]]
Description = Annotated[str, Field(max_length=LONGEST_TEXT, description="The scenario in the user's own words.")]
Facts = Annotated[dict[str, StrictStr | StrictInt | None], Field(description="Known facts; they beat the description.")]
NONE: Facts = {}  # the default of `facts`; pydantic hands every call a copy


def build(book: Rulebook, root: Path | None = None) -> MCPServer[Any]:
    """The server for a rulebook. With a root folder there is also a tool that writes starter projects, inside it alone.

    Raises CannotWrite where the root is no folder.
    """
    tools = [_tool(function, book, read_only=True) for function in _reading(book)]
    if root is not None:
        tools.append(_tool(_writing(book, _checked_root(root)), book, read_only=False))
    return MCPServer(
        "advisor",
        instructions=_INSTRUCTIONS,
        version=__version__,
        tools=tools,
        log_level="WARNING",
        subscriptions=False,
    )


def _tool(function: Function, book: Rulebook, read_only: bool) -> Tool:
    """A tool whose schema holds the rulebook's vocabulary, and which refuses arguments it does not know: none is passed over in silence."""
    about = ToolAnnotations(
        read_only_hint=read_only, destructive_hint=False, idempotent_hint=read_only, open_world_hint=False
    )
    tool = Tool.from_function(function, annotations=about)
    arguments = tool.fn_metadata.arg_model
    arguments.model_config["extra"] = "forbid"
    arguments.model_rebuild(force=True)
    schema = arguments.model_json_schema(by_alias=True)
    if "facts" in schema["properties"]:
        vocabulary = json.loads(scenario_schema(book))["properties"]["facts"]
        schema["properties"]["facts"] = {**schema["properties"]["facts"], **vocabulary, "type": "object"}
    return tool.model_copy(update={"parameters": schema})


def _reading(book: Rulebook) -> list[Function]:
    """The tools that only answer. They run one at a time, in the server's own thread: each takes milliseconds."""

    async def recommend(description: Description = "", facts: Facts = NONE) -> Annotated[CallToolResult, Record]:
        """Which family of algorithm fits a scenario, how sure that is, which facts it rests on and the words they were read from."""
        return _answer(lambda: _record(description, facts, book).as_dict())

    async def next_question(
        description: Description = "", facts: Facts = NONE
    ) -> Annotated[CallToolResult, NextQuestion]:
        """The question whose answer brings the verdict closest; none where no answer can change it any more."""

        def work() -> dict[str, Any]:
            record = _record(description, facts, book)
            question = record.next_question
            return NextQuestion(question=question, possible=record.possible).model_dump()

        return _answer(work)

    async def explain_scenario(
        description: Description = "", facts: Facts = NONE
    ) -> Annotated[CallToolResult, Explained]:
        """Everything about a scenario: facts, rule, what would change the verdict, pitfalls, mitigations, evidence from the literature."""

        def work() -> dict[str, Any]:
            told = _told(description, facts)
            answer = library.understand(told, book, library.stated(facts, book))
            shown = explain.to_markdown(explain.explain(told.text, answer, book))
            return {"markdown": shown, "record": explained(told.id, answer, book).as_dict()}

        return _answer(work)

    async def list_facts() -> Annotated[CallToolResult, FactList]:
        """Every fact with its question and its values."""
        return _answer(lambda: _fact_list(book).model_dump())

    async def list_rules(
        kind: Annotated[str, Field(description="One kind, whose rules are wanted in full; without it only ids.")] = "",
    ) -> Annotated[CallToolResult, RuleList]:
        """The rules: decision table, pitfalls, mitigations, evidence with sources, worked scenarios."""
        return _answer(lambda: _rule_list(kind, book))

    return [recommend, next_question, explain_scenario, list_facts, list_rules]


def _writing(book: Rulebook, root: Path) -> Function:
    """The tool that writes."""

    async def create_project(
        folder: Annotated[str, Field(description="A new folder, relative to the server's root folder.")],
        description: Description = "",
        facts: Facts = NONE,
        family: Annotated[str, Field(description="multi_task, maml, rl2 or pearl: insist on it.")] = "",
        dry_run: Annotated[bool, Field(description="Only list the files.")] = False,
    ) -> Annotated[CallToolResult, CreatedProject]:
        """Writes a starter project around the recommended reference implementation into a new folder."""

        def work() -> dict[str, Any]:
            target = _inside(root, folder)
            given = library.stated(facts, book)
            told = Scenario(target.name) if family and not description and not facts else _told(description, facts)
            answer = library.understand(told, book, given)
            try:
                project = starter.write(target, told, answer, book, family=family or None, dry_run=dry_run)
            except NoProject as none:  # undecided and out of scope are answers, not errors
                return CreatedProject(
                    folder=None, family=None, files=[], message=f"{none.message}. {none.hint}"
                ).model_dump()
            verb = "would be written" if dry_run else "written; its README.md says what comes next"
            return CreatedProject(
                folder=project.folder.relative_to(root).as_posix(),
                family=project.family,
                files=list(project.files),
                message=f"{len(project.files)} files {verb}",
            ).model_dump()

        return _answer(work)

    return create_project


def _told(description: str, facts: Mapping[str, Any]) -> Scenario:
    """The text as a scenario; the facts are handed on as answers. Raises EmptyScenario where there is neither."""
    if not description.strip() and facts:
        return Scenario("scenario")
    return library.read({"description": description})


def _record(description: str, facts: Mapping[str, Any], book: Rulebook) -> Record:
    return library.recommend_with(_told(description, facts), facts, book)


def _answer(work: Callable[[], dict[str, Any]]) -> CallToolResult:
    """The result as structured content and, for clients that know none, the same as text. A slip of the caller's is a tool error."""
    try:
        found = work()
    except AdvisorError as error:
        raise ToolError(explain.printable(str(error))) from None
    text = json.dumps(found, ensure_ascii=False)
    return CallToolResult(content=[TextContent(text=text)], structured_content=found)


def _fact_list(book: Rulebook) -> FactList:
    entries = [
        FactEntry(
            id=fact.id,
            decisive=fact.decisive,
            question=fact.question,
            why=fact.why,
            values={value: fact.labels[value] for value in fact.values},
            minimum=None if fact.values else fact.minimum,
            maximum=None if fact.values else fact.maximum,
        )
        for fact in book.facts.values()
    ]
    return FactList(rules_version=book.version, facts=entries)


def _rule_list(kind: str, book: Rulebook) -> dict[str, Any]:
    if kind and kind not in book.entries:
        hint = nearest(kind, book.entries) or ", ".join(book.entries)
        raise UnknownEntry(f"no kind is called `{quoted(kind)}`", hint=hint)
    chosen = {name: list(entries) for name, entries in book.entries.items() if kind in ("", name)}
    full = [dict(entry) for entry in book.entries[kind].values()] if kind else []
    return {"rules_version": book.version, "ids": chosen, "entries": json.loads(json.dumps(full, default=str))}


def _checked_root(root: Path) -> Path:
    if not root.is_dir():
        raise CannotWrite(
            "is no folder", str(root), "--root DIR: a folder that exists, in which projects may be written"
        )
    return root.resolve()


def _inside(root: Path, folder: str) -> Path:
    """The folder that a client named, links followed. Raises CannotWrite unless it lies inside the root and is not the root itself."""
    hint = "give a new folder, relative to the server's root, such as: my-project"
    if not folder.strip() or len(folder) > _LONGEST_FOLDER or not folder.isprintable():
        raise CannotWrite("is no name for a folder", quoted(folder), hint)
    parts = Path(folder).parts
    if Path(folder).is_absolute() or ".." in parts or "\\" in folder:
        raise CannotWrite("leads out of the root folder", quoted(folder), hint)
    try:
        target = (root / folder).resolve()
    except (OSError, RuntimeError) as fault:  # a loop of links
        raise CannotWrite("can't be followed", quoted(folder), hint) from fault
    if target == root or root not in target.parents:
        raise CannotWrite("leads out of the root folder", quoted(folder), hint)
    return target
