"""The MCP server as a client meets it: the SDK's own client, and a real process at the other end of the pipe."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters

import advisor
from advisor import rulebook
from advisor.errors import CannotWrite
from advisor.mcp_server import build

ROOT = Path(__file__).parent.parent.parent
BOOK = rulebook.load()
READING = {"recommend", "next_question", "explain_scenario", "list_facts", "list_rules"}
MAML = {
    "training_tasks": "distribution",
    "test_tasks": "new_same_distribution",
    "task_belief": "not_required",
    "adaptation_gradients": "allowed",
}
Talk = Callable[[Client], Awaitable[Any]]


def in_process(talk: Talk, root: Path | None = None) -> Any:
    """What a conversation with a server in this process comes to."""

    async def whole() -> Any:
        async with Client(build(BOOK, root)) as client:
            return await talk(client)

    return asyncio.run(whole())


def call(name: str, arguments: dict[str, Any], root: Path | None = None) -> Any:
    """The result of one call; structured content and text must say the same."""
    result = in_process(lambda client: client.call_tool(name, arguments), root)
    if not result.is_error:
        assert json.loads(result.content[0].text) == result.structured_content
    return result


def test_a_real_process(tmp_path: Path) -> None:
    """Over pipes: tools are listed, answers are structured, slips are answered, a project is written, and the server ends with its client."""

    async def talk() -> None:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "advisor", "mcp", "--root", str(tmp_path)],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )
        async with Client(server) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == READING | {"create_project"}
            answer = await client.call_tool("recommend", {"facts": MAML})
            assert answer.structured_content["recommendation"] == "maml"
            assert (await client.call_tool("recommend", {"facts": {"test_taks": "shifted"}})).is_error
            text = "It was trained on ten cities and drives in those same ten \x1b[31m cities 🚗."
            assert not (await client.call_tool("explain_scenario", {"description": text})).is_error
            assert not (await client.call_tool("create_project", {"folder": "a/b", "family": "rl2"})).is_error
            assert (await client.call_tool("create_project", {"folder": "a/b", "family": "rl2"})).is_error

    asyncio.run(talk())
    assert (tmp_path / "a" / "b" / "README.md").is_file()


def test_garbage_on_the_pipe() -> None:
    """Lines that are no messages do not stop the server, and only messages reach stdout."""
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
    }  # fmt: skip
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    ask = {
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "recommend", "arguments": {"facts": {"test_tasks": "shifted"}}},
    }  # fmt: skip
    half = json.dumps({**ask, "id": 3}).replace("shifted", r"\ud800").encode()  # of a surrogate pair
    lines = [b"\xff\xfe no text", b"[" * 100_000, b'{"jsonrpc": "2.0"}', b"", b"x" * 1_000_000, half]
    lines = [json.dumps(hello).encode(), json.dumps(ready).encode(), *lines, json.dumps(ask).encode()]
    process = subprocess.Popen(
        [sys.executable, "-m", "advisor", "mcp"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"\n".join(lines) + b"\n")
    process.stdin.flush()
    while True:  # the answer may come after complaints about the garbage
        message = json.loads(process.stdout.readline())
        if message.get("id") == 2:
            break
    process.stdin.close()
    assert message["result"]["structuredContent"]["recommendation"] == "none_reliable"
    assert process.wait(30) == 0
    assert all(json.loads(line) for line in process.stdout)


def test_tools_say_what_they_are() -> None:
    """Without a root nothing can write; every tool is described, takes no unknown argument and publishes the schema of its result."""
    tools = in_process(lambda client: client.list_tools()).tools
    assert {tool.name for tool in tools} == READING
    for tool in tools:
        assert tool.description and tool.output_schema and tool.annotations.read_only_hint
        assert tool.input_schema["additionalProperties"] is False
        Draft202012Validator.check_schema(tool.input_schema)
        Draft202012Validator.check_schema(tool.output_schema)
    facts = next(tool for tool in tools if tool.name == "recommend").input_schema["properties"]["facts"]
    assert set(facts["properties"]) == set(BOOK.facts)


def test_answers_are_those_of_the_library() -> None:
    """A record over the wire is the library's record."""
    given = {"test_tasks": "new_same_distribution", "task_belief": "unknown", "task_count": 12}
    record = call("recommend", {"facts": given}).structured_content
    assert record == advisor.recommend(advisor.Scenario("scenario"), given).as_dict()
    asked = call("next_question", {"facts": given}).structured_content
    assert asked == {"question": record["next_question"], "possible": record["possible"]}
    assert record["next_question"]["fact"] != "task_belief"


def test_explanation_and_lists() -> None:
    """An explanation holds the decision, facts come with their values, a kind of rules comes in full."""
    told = call("explain_scenario", {"facts": MAML}).structured_content
    assert told["markdown"].startswith("# MAML") and told["record"]["decision"]["rules"] == ["gradient_budget"]
    facts = call("list_facts", {}).structured_content["facts"]
    assert [fact["id"] for fact in facts] == list(BOOK.facts)
    rules = call("list_rules", {"kind": "families"}).structured_content
    assert rules["ids"] == {"families": ["maml", "pearl", "rl2"]} and len(rules["entries"]) == 3
    assert set(call("list_rules", {}).structured_content["ids"]) == set(BOOK.entries)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("recommend", {}, "error[empty-scenario]"),
        ("recommend", {"description": " \n"}, "error[empty-scenario]"),
        ("recommend", {"fatcs": {}}, "fatcs"),
        ("recommend", {"facts": {"tset_tasks": "shifted"}}, "did you mean `test_tasks`?"),
        ("recommend", {"facts": {"tset_tasks": "unknown"}}, "did you mean `test_tasks`?"),
        ("recommend", {"facts": {"\x1b[2J": "x"}}, "\\x1b"),
        ("recommend", {"facts": {"test_tasks": True}}, "valid string"),
        ("recommend", {"facts": {"test_tasks": ["shifted"]}}, "valid string"),
        ("recommend", {"facts": {"task_count": 10**30}}, "error[unknown-value]"),
        ("recommend", {"facts": [1]}, "valid dictionary"),
        ("recommend", {"description": "x" * 200_001}, "at most 200000"),
        ("recommend", {"description": "a robot\0"}, "NUL"),
        ("list_rules", {"kind": "pitfall"}, "did you mean `pitfalls`?"),
        ("list_rules", {"kind": "../facts"}, "error[unknown-entry]"),
        ("create_project", {"folder": "p", "family": "mmal"}, "did you mean `maml`?"),
        ("create_project", {"folder": "p"}, "error[empty-scenario]"),
        ("no_such_tool", {}, "no_such_tool"),
    ],
)  # fmt: skip
def test_hostile_and_misspelt_input(name: str, arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    """What can't be used is refused with words that say what is wrong; no control character comes back and nothing is written."""
    result = call(name, arguments, tmp_path)
    said = result.content[0].text
    assert result.is_error and words in said, said
    assert all(c.isprintable() or c == "\n" for c in said)
    assert list(tmp_path.iterdir()) == []


def test_projects_stay_inside_the_root(tmp_path: Path) -> None:
    """No name leads out of the root: no absolute path, no `..`, no link, no odd character; the root itself is not taken."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    os.symlink(outside, root / "link")
    os.symlink(tmp_path / "not-yet", root / "dangling")
    os.symlink(root / "loop", root / "loop")
    names = [
        "", " ", ".", "..", "../x", "a/../../x", "a/../b", str(outside), "/", "~/../x/..", "link", "link/x", "dangling", "dangling/x",
        "loop/x", "a\0b", "a\nb", "a\x1b[2Jb", "a\\..\\..\\b", "x" * 201, "\u202ex",
    ]  # fmt: skip
    for name in names:
        result = call("create_project", {"folder": name, "family": "rl2"}, root)
        assert result.is_error and "error[cannot-write]" in result.content[0].text, name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside", "root"] and list(outside.iterdir()) == []
    assert sorted(p.name for p in root.iterdir()) == ["dangling", "link", "loop"]


def test_creating_a_project(tmp_path: Path) -> None:
    """A dry run writes nothing; what can't be decided is an answer and no error; a used folder is refused."""
    shown = call("create_project", {"folder": "arm", "facts": MAML, "dry_run": True}, tmp_path).structured_content
    assert shown["family"] == "maml" and shown["folder"] == "arm" and list(tmp_path.iterdir()) == []
    written = call("create_project", {"folder": "arm", "facts": MAML}, tmp_path).structured_content
    assert written["files"] == shown["files"]
    there = [p.relative_to(tmp_path / "arm").as_posix() for p in (tmp_path / "arm").rglob("*") if p.is_file()]
    assert sorted(there) == sorted(written["files"])
    again = call("create_project", {"folder": "arm", "facts": MAML}, tmp_path)
    assert again.is_error and "error[folder-not-empty]" in again.content[0].text
    open_ = call("create_project", {"folder": "x", "facts": {"task_count": 3}}, tmp_path).structured_content
    assert open_["folder"] is None and "still possible" in open_["message"] and not (tmp_path / "x").exists()


def test_the_root_must_be_a_folder(tmp_path: Path) -> None:
    """A root that is not there is refused at the start."""
    with pytest.raises(CannotWrite, match="is no folder"):
        build(BOOK, tmp_path / "nowhere")
